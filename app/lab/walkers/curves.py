"""The angles of the joints over the gait cycle, as the motion needs them: a textbook's, or a recorded manner's."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from app.lab.walkers import normative
from app.lab.walkers.population import REFERENCE, SIZE, TRUNK, Manner, Population, fourier, rows
from app.types import Doubles, Ints

_SPEEDS = (0.8, 1.7)
"""m/s between which recorded curves change with the speed; outside they stay as at the nearer end."""
_STILL = 2.0
"""Degrees of foot pitch that count as noise while the sole is on the floor."""


class Curves(Protocol):
    """The curves of one person. Angles are degrees; flexion, dorsiflexion and heel up are positive.

    `softness` says how softly the pelvis gives way to a leg that is too short, of the usual; `heel_softness` m how
    softly a heel rises for the same reason.
    """

    softness: float
    heel_softness: float

    def angle(
        self, name: str, phase: Doubles, speed: Doubles | float, side: int = 0, cycle: Ints | None = None
    ) -> Doubles:
        """Return an angle at `phase` of a gait cycle, by the names of `normative` in small letters.

        `side` is 0 left, 1 right; `cycle` the numbers from 0 of the cycles, where these differ from each other.
        """

    def arm(self, side: int) -> tuple[float, float, float]:
        """Return about which angles shoulder and elbow swing: swing's middle, how far the arm hangs, elbow's middle."""

    def stance_pitch(self, phase: Doubles, speed: Doubles, side: int, cycle: Ints) -> Doubles | None:
        """Return the foot against the floor in stance; None where the traits say how it rolls."""


class Textbook:
    """The curves of `app.lab.walkers.normative`, the same for everybody and every stride."""

    softness, heel_softness = 1.0, 0.0003

    def angle(
        self, name: str, phase: Doubles, speed: Doubles | float, side: int = 0, cycle: Ints | None = None
    ) -> Doubles:
        """See `Curves`."""
        curve: normative.Curve = getattr(normative, name.upper())
        return curve(phase, speed)

    def arm(self, side: int) -> tuple[float, float, float]:
        """See `Curves`."""
        middle = 0.5 * (normative.SHOULDER(np.array(0.02)) + normative.SHOULDER(np.array(0.52)))
        return float(middle), 0.5 * float(middle), float(normative.ELBOW(np.array(0.3)))

    def stance_pitch(self, phase: Doubles, speed: Doubles, side: int, cycle: Ints) -> Doubles | None:
        """See `Curves`."""
        return None


class Recorded:
    """The curves of a manner; with `rng`, each of `cycles` strides is a little different, `variability` times as much
    as usual."""

    # These curves do not know how long the steps become, so that legs are too short more often.
    softness, heel_softness = 2.5, 0.002

    def __init__(
        self, manner: Manner, rng: np.random.Generator | None = None, cycles: int = 1, variability: float = 1.0
    ) -> None:
        population = Population.load()
        self._mean = population.mean + np.array(manner.vector)
        self._slope = population.slope
        self._strides = np.zeros((1, SIZE))
        if rng is not None:
            self._strides = variability * population.draw("stride", rng, cycles + 1)

    def angle(
        self, name: str, phase: Doubles, speed: Doubles | float, side: int = 0, cycle: Ints | None = None
    ) -> Doubles:
        """See `Curves`."""
        if name == "ankle":
            thigh, knee, foot = (self.angle(one, phase, speed, side, cycle) for one in ("thigh", "knee", "foot"))
            return knee - thigh - foot
        part = rows(name if name in TRUNK else f"{name}_{'lr'[side]}")
        faster = np.clip(speed, *_SPEEDS) - REFERENCE
        basis = fourier(phase)
        value = basis @ self._mean[part] + faster * (basis @ self._slope[part])
        if cycle is None or len(self._strides) == 1:
            return np.asarray(value)
        # From each stride to the next without a jump, and always equally far from the mean.
        share = np.clip(phase, 0.0, 1.0)
        later = share * share * (3 - 2 * share)
        weights = np.stack([1 - later, later]) / np.hypot(1 - later, later)
        last = len(self._strides) - 1
        for weight, shift in zip(weights, (0, 1), strict=True):
            stride = self._strides[np.clip(cycle + shift, 0, last), part]
            value = value + weight * np.sum(basis * stride, axis=-1)
        return np.asarray(value)

    def arm(self, side: int) -> tuple[float, float, float]:
        """See `Curves`."""
        shoulder, elbow = (float(self._mean[rows(f"{name}_{'lr'[side]}").start]) for name in ("shoulder", "elbow"))
        return shoulder, shoulder, elbow

    def stance_pitch(self, phase: Doubles, speed: Doubles, side: int, cycle: Ints) -> Doubles | None:
        """See `Curves`."""
        pitch = self.angle("foot", phase, speed, side, cycle)
        return np.asarray(np.minimum(pitch * pitch**2 / (pitch**2 + _STILL**2), 80.0))
