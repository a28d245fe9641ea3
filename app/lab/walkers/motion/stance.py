"""The pelvis, and the feet while they stand on the floor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.body.rotation import oriented
from app.lab.walkers import normative
from app.lab.walkers.gait import GaitTraits
from app.lab.walkers.motion.easing import smooth, smoother
from app.lab.walkers.motion.footfalls import MIDSTANCE, Footfalls
from app.lab.walkers.motion.leg import Leg
from app.types import Doubles, Ints

_FOOT_FLAT = 0.11
"""Phase at which the sole is down."""
_TRAILING = 0.3
"""Phase from which a stance foot may lift its heel to reach."""
_HEEL_OFF = 0.31
"""Heel rise begins terminal stance (approximate, from general knowledge of Perry & Burnfield 2010, ch. 2)."""
_EARLIER, _HIGHER = 0.12, 45.0
"""How much earlier (phase) and higher (degrees) the heel rises per step over leg length."""
_STANDING_KNEE = 6.0
"""Knee flexion of somebody who stands, degrees."""
_SOFT = 0.0015
"""How sharply, in m, the pelvis' height gives way where a leg would be too short."""


@dataclass(eq=False)
class StandingFoot:
    """One foot at N times as if it stood on the floor.

    `cycle` (N,) is its row in the footfalls, `share` (N,) the phase within that cycle, `toe_off` (N,) the phase at
    which stance ends, `pitch` (N,) degrees (heel up positive), `ankle` (N, 3) m.
    """

    cycle: Ints
    share: Doubles
    toe_off: Doubles
    pitch: Doubles
    ankle: Doubles


class Stance:
    """The pelvis and both legs as if they were in stance, at N times.

    `phase`, `arc` m, `speed` m/s, `vigour` and `heading` radians are (N,); `pelvis` N rotations; `pelvis_angles`
    (3, N) radians: rotation, obliquity and tilt; `root` (N, 3) m; `hip` two of (N, 3) m; `feet` both feet.
    """

    def __init__(self, footfalls: Footfalls, legs: Sequence[Leg], times: Doubles) -> None:
        self._footfalls, self._legs, traits = footfalls, legs, footfalls.traits
        self.phase, self.arc, self.speed, self.vigour = (
            np.interp(times, footfalls.time, values)
            for values in (footfalls.phase, footfalls.arc, footfalls.speed, footfalls.vigour)
        )
        turn = 2 * np.pi * self.phase
        # Forward by a centimetre in single support, back in double support (Perry, ch. 7, in words; approximate).
        self._place, self.heading = footfalls.path.at(self.arc - 0.008 * self.vigour * np.sin(2 * turn - 1.2))
        sway = traits.lateral_sway * self.vigour * np.sin(turn - 2 * np.pi * 0.06)
        self._place += sway[:, None] * np.stack([-np.sin(self.heading), np.cos(self.heading)], -1)
        self.pelvis_angles = self._pelvis_angles()
        yaw, roll, tilt = self.pelvis_angles
        self.pelvis = oriented(self.heading + yaw, roll, tilt)
        self._to_hip = [np.asarray(self.pelvis.apply(leg.hip)) for leg in legs]
        self.feet = [self._standing(side) for side in (0, 1)]
        height = self._pelvis_height()
        height = np.minimum(*(self._lift_heel(side, height) for side in (0, 1)))
        self.root = np.concatenate([self._place, height[:, None]], axis=1)
        self.hip = [self.root + offset for offset in self._to_hip]

    def _pelvis_angles(self) -> Doubles:
        """Return rotation, obliquity and tilt of the pelvis, (3, N) radians."""
        traits, vigour = self._footfalls.traits, self.vigour
        rotation, obliquity, tilt = (
            self._footfalls.angle(f"pelvis_{name}", self.speed, self.phase)
            for name in ("rotation", "obliquity", "tilt")
        )
        angles = (
            -vigour * traits.pelvis_rotation * rotation,
            vigour * traits.pelvis_obliquity * obliquity,
            vigour * tilt + traits.pelvis_tilt,
        )
        return np.asarray(np.radians(np.stack(angles)))

    def _standing(self, side: int) -> StandingFoot:
        footfalls = self._footfalls
        own = self.phase - footfalls.offsets[side]
        # Rounding must not throw an event at a heel contact into the cycle before.
        number = np.floor(own + 1e-9)
        share = own - number
        cycle = np.clip(number.astype(np.int64) - footfalls.first, 0, len(footfalls.yaw) - 1)
        pitch = self._planned_pitch(side, cycle, share)
        ankle = footfalls.ankle_at(side, cycle, self._legs[side].foot.standing_ankle(pitch))
        return StandingFoot(cycle, share, footfalls.toe_off[cycle, side], pitch, ankle)

    def _planned_pitch(self, side: int, cycle: Ints, share: Doubles) -> Doubles:
        footfalls = self._footfalls
        steps = np.stack([footfalls.step_in[cycle, side], footfalls.step_out[cycle, side]])
        steps /= footfalls.skeleton.leg_length
        toe_off = footfalls.toe_off[cycle, side]
        phase = normative.TOE_OFF * np.minimum(share / toe_off, 1.0)
        pitch = footfalls.curves.stance_pitch(phase, self.speed, side, cycle)
        if pitch is not None:
            return np.asarray(self.vigour * pitch)
        return _stance_pitch(share, toe_off, steps, self.vigour, footfalls.traits)

    def _pelvis_height(self) -> Doubles:
        """Return the height that the stance legs want, lowered softly to what both legs can reach."""
        wanted, weights = zip(*(self._wanted_height(side) for side in (0, 1)), strict=True)
        weight = np.array(weights) + 1e-9
        height: Doubles = np.sum(weight * wanted, 0) / weight.sum(0)
        for limit, soft in [self._height_limit(side) for side in (0, 1)]:
            height = -soft * np.logaddexp(-height / soft, -limit / soft)
        return height

    def _wanted_height(self, side: int) -> tuple[Doubles, Doubles]:
        """Return the pelvis' height at which the knee has its normative flexion, and the weight of that wish."""
        foot = self.feet[side]
        phase = normative.TOE_OFF * np.minimum(foot.share / foot.toe_off, 1.0)
        knee = self._footfalls.curves.angle("knee", phase, self.speed, side, foot.cycle)
        flexion = _stance_knee(phase, knee, self.vigour, self._footfalls.traits)
        double = np.maximum(foot.toe_off - 0.5, 0.04)
        weight = smoother(foot.share / double) * smoother((foot.toe_off - foot.share) / double)
        return self._height_at(side, foot.ankle, self._legs[side].reach(flexion)), weight

    def _height_limit(self, side: int) -> tuple[Doubles, Doubles]:
        """Return the height beyond which a leg that leads or is about to land would be too short, and its softness.

        A leg about to land limits the pelvis the more the nearer its heel contact is.
        """
        footfalls, foot, leg = self._footfalls, self.feet[side], self._legs[side]
        lands = foot.share > (1 + foot.toe_off) / 2
        after = np.minimum(foot.cycle + 1, len(footfalls.yaw) - 1)
        landing = leg.foot.standing_ankle(self._planned_pitch(side, after, np.zeros_like(foot.share)))
        bearing = np.where(lands[:, None], footfalls.ankle_at(side, after, landing), foot.ankle)
        limit = self._height_at(side, bearing, leg.reach(1.5))
        ahead = 1 - foot.share
        rate = 0.15 + 4 * MIDSTANCE * footfalls.step_in[after, side] ** 2 / (0.9 * footfalls.skeleton.leg_length)
        limit += np.where(lands, rate * ahead + 5.0 * ahead**2, np.where(foot.share > _TRAILING, np.inf, 0.0))
        return limit, footfalls.curves.softness * _SOFT * (1 + 2 * np.where(lands, smooth(ahead / 0.06), 0.0))

    def _height_at(self, side: int, ankle: Doubles, reach: Doubles, rows: Ints | slice = slice(None)) -> Doubles:
        """Return the height of the pelvis (M,) m at which hip and ankle (M, 3) are `reach` apart, at times `rows`."""
        place, offset = self._place[rows], self._to_hip[side][rows]
        apart = np.sum((place + offset[:, :2] - ankle[:, :2]) ** 2, axis=1)
        return np.asarray(np.sqrt(np.maximum(reach**2 - apart, 1e-4)) + ankle[:, 2] - offset[:, 2])

    def _lift_heel(self, side: int, height: Doubles) -> Doubles:
        """Lift the heel of a trailing foot as far as its leg would otherwise be too short for the pelvis' height.

        Returns the height, lowered where even that is not enough.
        """
        footfalls, leg, foot = self._footfalls, self._legs[side], self.feet[side]
        trailing = np.flatnonzero((foot.share > _TRAILING) & (foot.share <= foot.toe_off + 1e-9))
        hip = (np.concatenate([self._place, height[:, None]], 1) + self._to_hip[side])[trailing]

        def ankle_of(pitch: Doubles) -> Doubles:
            return footfalls.ankle_at(side, foot.cycle[trailing], leg.foot.standing_ankle(pitch))

        def distance(pitch: Doubles) -> Doubles:
            return np.asarray(np.linalg.norm(hip - ankle_of(pitch), axis=1))

        pitch = np.maximum(foot.pitch[trailing], 0.0)
        at = distance(pitch)
        excess = at - leg.reach(2.5)
        goal = at - 0.5 * (excess + np.sqrt(excess**2 + 4 * (footfalls.curves.heel_softness) ** 2))
        for _ in range(5):  # Newton's method
            slope = (distance(pitch + 0.5) - at) / 0.5
            pitch = np.clip(pitch + np.clip((goal - at) / np.minimum(slope, -2e-4), -8.0, 12.0), 0.0, 85.0)
            at = distance(pitch)
        foot.pitch[trailing], foot.ankle[trailing] = pitch, ankle_of(pitch)
        limit = np.full_like(height, np.inf)
        limit[trailing] = self._height_at(side, foot.ankle[trailing], leg.reach(1.5), trailing)
        return np.minimum(height, limit)


def _stance_pitch(share: Doubles, toe_off: Doubles, steps: Doubles, vigour: Doubles, traits: GaitTraits) -> Doubles:
    """Foot against floor in stance, degrees: toes up at contact, flat, heel rise (Perry, ch. 3: the rockers).

    `steps` (2, N) are the steps that brought the foot here and that follow, over the leg length: before a long one
    the heel rises earlier and higher, or the leg would be too short.
    """
    before, after = np.clip(steps - normative.REFERENCE_STEP, -0.5, 0.16)
    heel_off = _HEEL_OFF - _EARLIER * after
    landing = np.clip(1 - share / _FOOT_FLAT, 0.0, 1.0) ** 1.5
    rising = np.clip((share - heel_off) / (toe_off - heel_off), 0.0, 1.0) ** 2.1
    push = np.minimum(traits.push_off + _HIGHER * after, 80.0)
    return np.asarray(vigour * (rising * push - landing * traits.heel_strike * (1 + 1.2 * before)))


def _stance_knee(phase: Doubles, knee: Doubles, vigour: Doubles, traits: GaitTraits) -> Doubles:
    """Knee flexion wanted in stance, degrees, where the curve says `knee`.

    The trait scales the wave of loading response alone.
    """
    loading = np.sin(np.pi * np.clip(phase / 0.38, 0.0, 1.0)) ** 2
    wanted = knee * (1 + (traits.knee_stance - 1) * loading) + traits.knee_offset
    return np.maximum(_STANDING_KNEE + vigour * (wanted - _STANDING_KNEE), 2.5)
