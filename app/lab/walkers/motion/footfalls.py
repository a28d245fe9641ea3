"""When and where the feet land."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects, gaussian_filter1d, label

from app.body.skeleton import JOINT, SIDES, Skeleton
from app.lab.walkers import normative
from app.lab.walkers.curves import Curves, Recorded, Textbook
from app.lab.walkers.gait import GaitTraits
from app.lab.walkers.motion.easing import smooth
from app.lab.walkers.path import Path
from app.types import Doubles, Ints

MIDSTANCE = 0.24
"""Phase at which the hip passes over the ankle."""

_GRID = 240.0
"""Samples a second on which the speed is integrated."""
_MARGIN = 3.0
"""Seconds walked before the first and after the last frame, so that every step has its neighbours."""
_SLOWEST = 0.45
"""Speed in m/s whose cadence is kept while a walker starts or stops: the steps get shorter, not endlessly slow."""
_STILL = 0.02
"""Speed in m/s below which somebody stands."""
_REST_PHASE = 0.08
"""Phase at which somebody stands: both feet are down between heel contact and the other's toe-off."""


class Footfalls:
    """Time, phase and distance on a fine grid of N samples, and where every foot lands in each of C gait cycles.

    `time` s, `speed` m/s, `arc` m along the path, `phase` of the left foot's cycle and `vigour` (how much of the
    normative angles is used: 0 standing, 1 from 0.6 m/s on) are (N,). `offsets` (2,) are the phases by which left and
    right foot start their cycles; `first` is the number of the first cycle. For every cycle and foot: `toe_off` (C, 2),
    the phase at which stance ends; `step_in` and `step_out` (C, 2) m, the steps before and after; `place` (C, 2, 2) m,
    the point of the floor below the ankle; `yaw` (C, 2) radians. `curves` are the walker's angles.
    """

    def __init__(
        self, skeleton: Skeleton, traits: GaitTraits, path: Path, speed: Doubles, fps: float, phase: float,
        seed: int | None,
    ) -> None:  # fmt: skip
        self.skeleton, self.traits, self.path = skeleton, traits, path
        end = (len(speed) - 1) / fps
        self.time = np.arange(-_MARGIN, end + _MARGIN, 1 / _GRID)
        self.speed = np.interp(self.time, np.arange(len(speed)) / fps, speed)
        arc = np.cumsum(self.speed) / _GRID
        self.arc = arc - np.interp(0.0, self.time, arc)
        self.phase, moves = self._phases(phase)
        effort = np.maximum(smooth(self.speed / 0.6), 0.4 * moves)
        self.vigour = np.asarray(gaussian_filter1d(effort, 0.12 * _GRID, mode="nearest", truncate=3))
        self.offsets = np.array([0.0, 0.5 + traits.timing_asymmetry])
        self._place_feet(None if seed is None else np.random.default_rng([seed, 0x57E9]))
        self.curves = self._curves(seed)

    def time_of(self, phase: Doubles) -> Doubles:
        """Return when the left foot's cycle is at `phase`, s."""
        return np.asarray(np.interp(phase, self.phase, self.time))

    def angle(self, name: str, speed: Doubles, phase: Doubles, side: int = 0) -> Doubles:
        """Return an angle of trunk or arm, degrees, at `phase` of the left foot's cycle, which counts the strides."""
        own = phase - self.offsets[side]
        number = np.floor(own)
        return self.curves.angle(name, own - number, speed, side, np.asarray(number, np.int64) - self.first)

    def ankle_at(self, side: int, cycle: Ints, ankle: Doubles) -> Doubles:
        """Put an ankle (M, 2), ahead and up in the foot's plane, where the foot lands in row `cycle`: (M, 3) m."""
        direction = self.yaw[cycle, side]
        ahead = ankle[:, :1] * np.stack([np.cos(direction), np.sin(direction)], -1)
        return np.concatenate([self.place[cycle, side] + ahead, ankle[:, 1:]], 1)

    def _phases(self, phase: float) -> tuple[Doubles, NDArray[np.bool_]]:
        """Return the phase of every sample, and whether it advances there.

        Whoever stops goes on to the next phase at which both feet are down.
        """
        rate = self._cadence(np.maximum(self.speed, _SLOWEST)) / 120
        still = self.speed < _STILL
        at_rest = _REST_PHASE + (0.5 if phase % 1 >= 0.5 else 0.0)
        total, done = at_rest if still[0] else 0.0, 0
        for (standing,) in find_objects(label(still)[0]):
            reached = total + rate[done : standing.start].sum() / _GRID
            goal = np.ceil((reached - _REST_PHASE) * 2 - 1e-9) / 2 + _REST_PHASE
            rate[standing][reached + np.cumsum(rate[standing]) / _GRID > goal] = 0.0
            total, done = reached + rate[standing].sum() / _GRID, standing.stop
        # The tiny slope keeps the phase invertible while somebody stands.
        phases = np.cumsum(np.maximum(rate, 1e-6)) / _GRID
        phases += at_rest - phases[0] if still[0] else phase - np.interp(0.0, self.time, phases)
        return phases, rate > 0

    def _cadence(self, speed: Doubles) -> Doubles:
        leg, manner = self.skeleton.leg_length, self.traits.manner
        if manner is None:
            return normative.cadence(speed, leg, self.traits.walk_ratio)
        return np.maximum(manner.cadence(speed, leg), 60 * speed / (normative.LONGEST_STEP * leg))

    def _curves(self, seed: int | None) -> Curves:
        manner = self.traits.manner
        if manner is None:
            return Textbook()
        rng = None if seed is None else np.random.default_rng([seed, 0x57EA])
        return Recorded(manner, rng, len(self.yaw), self.traits.variability)

    def _place_feet(self, rng: np.random.Generator | None) -> None:
        traits, left_right = self.traits, np.array([1.0, -1.0])
        self.first = int(np.floor((self.phase[0] - self.offsets).min())) - 1
        count = int(np.floor((self.phase[-1] - self.offsets).max())) + 2 - self.first
        contacts = self.first + np.arange(count)[:, None] + self.offsets
        stance_speed = np.interp(self.time_of(contacts + 0.3), self.time, self.speed)
        self.toe_off = np.clip(normative.toe_off(stance_speed) + traits.stance, 0.54, 0.7)
        arc = np.interp(self.time_of(contacts + MIDSTANCE), self.time, self.arc)
        steps = np.diff(arc.ravel(), prepend=arc[0, 0], append=arc[-1, -1]).clip(0.0)
        self.step_in, self.step_out = steps[:-1].reshape(-1, 2), steps[1:].reshape(-1, 2)
        share = np.clip(self.step_in / 0.7, 0, 1)
        arc += share * (traits.hip_offset + traits.step_asymmetry * self.step_in * left_right)
        lateral = traits.step_width / 2 * left_right * np.ones((count, 1))
        if rng is not None:
            # SD about 2 cm: approximate, from general knowledge of Owings & Grabiner (2004), not checked against it.
            arc += share * traits.variability * 0.012 * np.clip(rng.standard_normal((count, 2)), -2, 2)
            lateral += share * traits.variability * 0.009 * np.clip(rng.standard_normal((count, 2)), -2, 2)
        place, heading = self.path.at(arc)
        forward = np.stack([np.cos(heading), np.sin(heading)], -1)
        leftward = np.stack([-np.sin(heading), np.cos(heading)], -1)
        ankles, hips = ([JOINT[f"{joint}_{side}"] for side in SIDES] for joint in ("ankle", "hip"))
        ahead = (self.skeleton.rest[ankles, 0] - self.skeleton.rest[hips, 0]).astype(np.float64)
        self.place = place + lateral[..., None] * leftward + ahead[:, None] * forward
        self.yaw = heading + np.radians([traits.toe_out_l, -traits.toe_out_r])
