"""How somebody walks, measured on the body in space: steps, their length and timing, and joint angles over the cycle.

Heel contacts and toe-offs are where a foot is farthest before and behind the pelvis (Zeni et al., Gait & Posture 2008).
Lengths are in heights of the body, since a camera alone does not tell how tall somebody is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

from app.body.kinematics import poses_of
from app.body.mannequin import STATURE, Mannequin
from app.body.skeleton import JOINT, SIDES, forward_kinematics
from app.body.view import AZIMUTH, ELEVATION
from app.types import BodyMotion, Doubles, Floats, Measure

ANGLES = ("hip", "knee", "ankle")
"""The angles of `cycles`: flexion of thigh, knee and ankle in degrees."""
PHASES = np.linspace(0, 1, 101)
_RATE = 100.0
"""Frames a second to which a walk is brought before anything is measured."""
_TURNS = 0.7
"""Somebody turns whose views have a mean shorter than this: those that are 90 degrees apart have one of 0.71."""
_STEP = 0.7
"""A foot comes down again after at least this share of the usual cycle."""


@lru_cache(maxsize=1)
def usual_cycle() -> Floats:
    """Return mean and spread over virtual walkers of hip, knee and ankle over the gait cycle, (3, 101, 2) degrees.

    The file ``band.npy`` is made by `app.lab.training.bodies.write_band`.
    """
    band: Floats = np.load(Path(__file__).with_name("band.npy"), allow_pickle=False).astype(np.float32)
    return band


@dataclass(frozen=True, eq=False)
class Gait:
    """A walk over time, `_RATE` frames a second: per side, the events in s and the angles.

    `contacts` and `lifts` are times of heel contacts and toe-offs; `angles` (2, 3, T) degrees; `reach` (2, T) m of the
    ankle before the pelvis; `arms` (2, T) degrees of the arm before the vertical.
    """

    times: Doubles
    contacts: tuple[Doubles, Doubles]
    lifts: tuple[Doubles, Doubles]
    angles: Doubles
    reach: Doubles
    arms: Doubles

    @classmethod
    def of(cls, motion: BodyMotion) -> Gait:
        """Measure a walk."""
        poses = poses_of(motion)
        joints, _ = forward_kinematics(Mannequin.load().rest(motion.shape).skeleton, poses)
        own = (motion.frame_indices - motion.frame_indices[0]) / motion.fps
        return cls.of_joints(joints, own)

    @classmethod
    def of_joints(cls, joints: Floats, times: Doubles) -> Gait:
        """Measure joints (T, 21, 3) m in the walking frame at `times` (T,) in s."""
        fine = np.arange(times[0], times[-1] + 1e-9, 1 / _RATE)
        flat = joints.reshape(len(joints), -1)
        smooth = np.stack([_spline(fine, times, column.astype(np.float64)) for column in flat.T], 1).reshape(
            -1, *joints.shape[1:]
        )
        angles, reach, arms, contacts, lifts = [], [], [], [], []
        for side in SIDES:
            place = {
                name: smooth[:, JOINT[f"{name}_{side}"]]
                for name in ("hip", "knee", "ankle", "toe", "shoulder", "wrist")
            }
            thigh = _leaning(place["knee"] - place["hip"])
            shank = _leaning(place["ankle"] - place["knee"])
            foot = place["toe"] - place["ankle"]
            sole = np.degrees(np.arctan2(foot[:, 2], foot[:, 0]))
            # The toe joint lies lower than the ankle where the foot stands flat.
            flat_foot = float(np.percentile(sole, 50))
            angles.append(np.stack([thigh, thigh - shank, sole - flat_foot - shank]))
            arms.append(_leaning(place["wrist"] - place["shoulder"]))
            ahead = gaussian_filter1d(place["ankle"][:, 0] - smooth[:, 0, 0], 0.04 * _RATE, mode="nearest")
            reach.append(ahead)
            contacts.append(fine[_peaks(ahead)])
            lifts.append(fine[_peaks(-ahead)])
        return cls(
            fine, (contacts[0], contacts[1]), (lifts[0], lifts[1]), np.stack(angles), np.stack(reach), np.stack(arms)
        )

    def cycles(self) -> Floats:
        """Return hip, knee and ankle over every whole cycle of either foot, float32 (N, 3, 101) degrees."""
        found = [
            np.stack([np.interp(start + PHASES * (end - start), self.times, angle) for angle in self.angles[side]])
            for side, start, end in self._cycles()
        ]
        return np.array(found, np.float32).reshape(-1, len(ANGLES), len(PHASES))

    def _cycles(self) -> Iterator[tuple[int, float, float]]:
        usual = np.concatenate([np.diff(times) for times in self.contacts])
        if not len(usual):
            return
        middle = float(np.median(usual))
        for side, times in enumerate(self.contacts):
            for start, end in zip(times[:-1].tolist(), times[1:].tolist(), strict=True):
                if _STEP * middle < end - start < middle / _STEP:
                    yield side, start, end

    def measures(self) -> list[Measure]:
        """Return what can be measured: cadence, steps, stance, arms and how far the sides differ."""
        steps: list[list[float]] = [[], []]
        lengths: list[list[float]] = [[], []]
        events = sorted((float(time), side) for side, times in enumerate(self.contacts) for time in times)
        for (before, one), (time, other) in pairwise(events):
            if one != other:
                steps[other].append(time - before)
        for side, times in enumerate(self.contacts):
            for time in times:
                ahead, behind = (float(np.interp(time, self.times, self.reach[i])) for i in (side, 1 - side))
                lengths[side].append((ahead - behind) / STATURE)
        stance: list[list[float]] = [[], []]
        swing: list[list[float]] = [[], []]
        for side, start, end in self._cycles():
            lifted = self.lifts[side][(self.lifts[side] > start) & (self.lifts[side] < end)]
            if len(lifted):
                stance[side].append(100 * (float(lifted[0]) - start) / (end - start))
            within = (self.times >= start) & (self.times <= end)
            swing[side].append(float(np.ptp(self.arms[side, within])))
        every = [*steps[0], *steps[1]]
        found = []
        if every:
            cadence = [60 / step for step in every if step > 0.1]
            found.append(Measure("cadence", "steps/min", *_mean(cadence)))
        for name, unit, sides in (
            ("step time", "s", steps), ("step length", "body heights", lengths), ("stance share", "%", stance),
            ("arm swing", "degrees", swing),
        ):  # fmt: skip
            if sides[0] or sides[1]:
                left, right = (float(np.mean(side)) if side else None for side in sides)
                found.append(Measure(name, unit, *_mean([*sides[0], *sides[1]]), left, right))
        for name, sides in (("step time asymmetry", steps), ("step length asymmetry", lengths)):
            if len(sides[0]) > 1 and len(sides[1]) > 1:
                found.append(_asymmetry(name, sides))
        return found


def measures_of(motion: BodyMotion) -> list[Measure]:
    """Return what can be measured of a walk, and from where the camera sees it.

    The camera's azimuth is left out where somebody turns.
    """
    towards = -motion.view[:, 2].astype(np.float64)  # from the walker to the camera
    x, y, z = towards.mean(axis=0)
    found = [*Gait.of(motion).measures(), Measure(ELEVATION, "degrees", _degrees(z, np.hypot(x, y)), None, len(motion))]
    if np.hypot(x, y) > _TURNS * np.hypot(towards[:, 0], towards[:, 1]).mean():
        found.append(Measure(AZIMUTH, "degrees", _degrees(y, x), None, len(motion)))
    return found


def _degrees(sine: float, cosine: float) -> float:
    return float(np.degrees(np.arctan2(sine, cosine)))


def _leaning(bone: Doubles) -> Doubles:
    """Return how far downward bones (T, 3) lean forward in the plane of walking, degrees."""
    return np.degrees(np.arctan2(bone[:, 0], -bone[:, 2]))


def _spline(fine: Doubles, times: Doubles, values: Doubles) -> Doubles:
    from scipy.interpolate import CubicSpline

    if len(times) < 3:
        return np.interp(fine, times, values)
    return np.asarray(CubicSpline(times, values)(fine))


def _peaks(signal: Doubles) -> np.ndarray:
    """Return where a foot is farthest, at least half a second apart; the ends of a walk are no peaks."""
    found, _ = find_peaks(signal, distance=int(0.5 * _RATE), prominence=0.15)
    return np.asarray(found)


def _mean(values: list[float]) -> tuple[float, float | None, int]:
    spread = float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
    return float(np.mean(values)), spread, len(values)


def _asymmetry(name: str, sides: list[list[float]]) -> Measure:
    """Return the difference of left and right in % of their mean."""
    (left, wrong_left, n), (right, wrong_right, m) = (_mean(side) for side in sides)
    usual = (left + right) / 2
    wrong = float(np.hypot(wrong_left or 0, wrong_right or 0))
    return Measure(
        name, "%", 100 * abs(left - right) / usual, 100 * wrong / usual, n + m,
        left, right,
    )  # fmt: skip
