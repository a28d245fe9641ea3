"""One leg in swing: the normative curves, bent so that they begin and end as stance does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from app.lab.walkers import normative
from app.lab.walkers.motion.easing import smooth
from app.lab.walkers.motion.footfalls import Footfalls
from app.lab.walkers.motion.leg import Leg
from app.lab.walkers.motion.stance import Stance
from app.types import Bools, Doubles

OverSwing: TypeAlias = Callable[[Doubles], Doubles]
"""A value as a function of the share of swing that has passed."""

PROBE = 0.004
"""Phase between the two times at which the rates at toe-off and heel contact are measured."""
_CLEARANCE = 0.015
"""Lowest the sole comes in mid swing, m (approximate, from general knowledge of Winter 1991, not checked)."""
_BLEND = 0.5
"""Share of swing within which a leg leaves the way stance ended and takes the way the next begins."""


def event_phases(footfalls: Footfalls) -> Doubles:
    """Return the phases (4, C, 2) just before and at toe-off, and at and just after heel contact, of every foot."""
    contact = footfalls.first + np.arange(len(footfalls.yaw))[:, None] + footfalls.offsets
    off = contact + footfalls.toe_off
    return np.stack([off - PROBE, off, contact, contact + PROBE])


@dataclass(eq=False)
class LegMotion:
    """One leg over T frames, as inverse kinematics needs it.

    `ankle` (T, 3) m; `pitch` of the foot, `extension` of the toes, degrees (T,); `yaw` (T,) radians; `swings` (T,).
    """

    ankle: Doubles
    pitch: Doubles
    extension: Doubles
    yaw: Doubles
    swings: Bools

    def contacts(self) -> Bools:
        """Return which of heel, ball and tip stand still on the floor, (T, 3)."""
        down = ~self.swings
        flat_toes = self.extension >= self.pitch - 0.05
        on_toes = down & (self.pitch >= -1e-6)
        return np.stack([down & (self.pitch <= 1e-6), on_toes & flat_toes, on_toes], -1)


class Swing:
    """The motion of one leg; `stance` is known at the T frames and, after them, at the events of `event_phases`."""

    def __init__(self, footfalls: Footfalls, leg: Leg, stance: Stance, side: int, frames: int) -> None:
        self._footfalls, self._leg, self._stance = footfalls, leg, stance
        self._side, self._frames = side, frames
        self._foot = stance.feet[side]
        self._cycle, share = self._foot.cycle[:frames], self._foot.share[:frames]
        toe_off = self._foot.toe_off[:frames]
        self._width = 1 - toe_off
        self._passed = np.clip((share - toe_off) / self._width, 0.0, 1.0)
        self._swings = share > toe_off
        self._speed, self._vigour = stance.speed[:frames], stance.vigour[:frames]

    def motion(self) -> LegMotion:
        """Return the leg at every frame, in stance and in swing."""
        leg, t, held = self._leg, self._passed, self._foot
        bend, lean, pitch_at = self._angles()
        pitch = np.where(self._swings, pitch_at(t), held.pitch[: self._frames])
        extension = self._toe_extension(pitch)
        ankle = self._swinging_ankle(bend(t), lean(t))
        # The sole keeps clear of the floor; at both ends of swing nothing is changed.
        bump = np.sin(np.pi * t) ** 2
        short = _CLEARANCE * bump - ankle[:, 2] - leg.foot.lowest(pitch, extension)
        ankle[:, 2] += 0.5 * (short + np.sqrt(short**2 + (0.006 * bump) ** 2))
        ankle = np.where(self._swings[:, None], ankle, held.ankle[: self._frames])
        yaws, turn = self._footfalls.yaw[:, self._side], smooth(t)
        yaw = yaws[self._cycle] * (1 - turn) + yaws[np.minimum(self._cycle + 1, len(yaws) - 1)] * turn
        return LegMotion(ankle, pitch, extension, yaw, self._swings)

    def _at_events(self, values: Doubles) -> Doubles:
        """Return the values (4, C) of this foot at its events."""
        return values[self._frames :].reshape(4, -1, 2)[:, :, self._side]

    def _bent(self, curve: OverSwing, stance: Doubles, limits: tuple[float, float]) -> OverSwing:
        """Bend `curve` to the values and rates which `stance`, known at every time, has at the ends of swing.

        `limits` are the largest rates per cycle that are taken over at toe-off and at heel contact: landing is an
        impact, after which the rates may differ.
        """
        before, first, last, after = self._at_events(stance)
        begins = np.clip((first - before) / PROBE, -limits[0], limits[0])[self._cycle] * self._width
        ends = np.roll(np.clip((after - last) / PROBE, -limits[1], limits[1]), -1)[self._cycle] * self._width
        zero, tiny = np.zeros(self._frames), 0.01
        start, end = curve(zero), curve(zero + 1)
        value0 = first[self._cycle] - start
        value1 = np.roll(last, -1)[self._cycle] - end
        slope0 = begins - (curve(zero + tiny) - start) / tiny
        slope1 = ends - (end - curve(zero + 1 - tiny)) / tiny

        def value(t: Doubles) -> Doubles:
            early, late = np.minimum(t / _BLEND, 1.0), np.minimum((1 - t) / _BLEND, 1.0)
            return np.asarray(
                curve(t)
                + value0 * (1 + 2 * early) * (1 - early) ** 2
                + slope0 * _BLEND * early * (1 - early) ** 2
                + value1 * (1 + 2 * late) * (1 - late) ** 2
                - slope1 * _BLEND * late * (1 - late) ** 2
            )

        return value

    def _curve(self, name: str) -> OverSwing:
        def value(t: Doubles) -> Doubles:
            phase = normative.TOE_OFF + (1 - normative.TOE_OFF) * t
            angle = self._footfalls.curves.angle(name, phase, self._speed, self._side, self._cycle)
            return self._vigour * angle

        return value

    def _angles(self) -> tuple[OverSwing, OverSwing, OverSwing]:
        """Return knee flexion, lean of the line from hip to ankle, and pitch of the foot, degrees, over swing."""
        leg, traits, stance = self._leg, self._footfalls.traits, self._stance
        thigh, knee, ankle = (self._curve(name) for name in ("thigh", "knee", "ankle"))
        line = self._foot.ankle - stance.hip[self._side]
        ahead = line[:, 0] * np.cos(stance.heading) + line[:, 1] * np.sin(stance.heading)

        def lifted(t: Doubles) -> Doubles:
            return traits.knee_swing * knee(t)

        def leaning(t: Doubles) -> Doubles:
            return thigh(t) - leg.thigh_lead(lifted(t))

        def tipping(t: Doubles) -> Doubles:
            """Foot pitch for the normative ankle angle on the shank as it swings."""
            shank = lean(t) + leg.thigh_lead(bend(t)) - bend(t)
            return -shank - ankle(t) - traits.ankle_swing * np.sin(np.pi * t) * self._vigour

        bend = self._bent(lifted, leg.knee_flexion(np.linalg.norm(line, axis=1)), (700.0, 100.0))
        lean = self._bent(leaning, np.degrees(np.arctan2(ahead, -line[:, 2])), (900.0, 150.0))
        return bend, lean, self._bent(tipping, self._foot.pitch, (900.0, 0.0))

    def _swinging_ankle(self, knee: Doubles, lean: Doubles) -> Doubles:
        """Return the ankle (T, 3) m for these angles in degrees (T,), before it is lifted clear of the floor."""
        stance, frames = self._stance, self._frames
        line = self._foot.ankle - stance.hip[self._side]
        cosine, sine = np.cos(stance.heading), np.sin(stance.heading)
        aside = line[:, 1] * cosine - line[:, 0] * sine
        across = self._bent(np.zeros_like, aside, (1.0, 1.0))(self._passed)
        reach = self._leg.reach(np.maximum(knee, 2.0))
        length = np.sqrt(np.maximum(reach**2 - across**2, 1e-6))
        forward, down = length * np.sin(np.radians(lean)), length * np.cos(np.radians(lean))
        cosine, sine = cosine[:frames], sine[:frames]
        way = np.stack([forward * cosine - across * sine, forward * sine + across * cosine, -down], -1)
        return np.asarray(stance.hip[self._side][:frames] + way)

    def _toe_extension(self, pitch: Doubles) -> Doubles:
        foot, t = self._leg.foot, self._passed
        at_off = foot.toe_extension(self._at_events(self._foot.pitch)[1])[self._cycle]
        # The toes are held up in swing (Perry, ch. 4, in words; the size, and a shoe's toe spring, approximate).
        held = 18.0 * self._vigour * np.sin(np.pi * t) ** 2
        return np.where(self._swings, at_off * (1 - smooth(t / 0.6)) + held, foot.toe_extension(pitch))
