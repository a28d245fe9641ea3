"""How recorded people walk: curves of the joints, and how people, their walks and their strides differ in them.

``population.npz`` is computed from recordings (`app.lab.walkers.mocap.fit`) and holds numbers alone. A walk is a vector
of `SIZE` numbers: Fourier coefficients of 16 curves, in degrees, and a few measures of the stride. It is the sum of a
mean that depends on the speed and of three normal draws: what a person has of their own, what is special to one walk,
and what changes from stride to stride.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.types import Doubles

HARMONICS = 8
"""Fourier terms of a curve beside its mean."""
WIDTH = 2 * HARMONICS + 1
LEGS_AND_ARMS = ("thigh", "knee", "foot", "shoulder", "elbow")
"""Angles with a left and a right curve, each over its own foot's cycle."""
TRUNK = ("pelvis_rotation", "pelvis_obliquity", "pelvis_tilt", "chest_rotation", "chest_sway", "chest_lean")
"""Angles with one curve, over the left foot's cycle."""
MEASURES = ("step", "stance", "step_width", "toe_out_l", "toe_out_r", "lateral_sway")
"""What else is drawn with the curves: the logarithm of the step's length over the usual one, the phase of toe-off over
the usual one, m, degrees, degrees, m. They are deviations from the mean, in units of `MEASURE_UNIT`."""
MEASURE_UNIT = np.array([0.02, 0.004, 0.01, 2.0, 2.0, 0.002])

CURVE_NAMES = (*(f"{name}_{side}" for side in "lr" for name in LEGS_AND_ARMS), *TRUNK)
SIZE = WIDTH * len(CURVE_NAMES) + len(MEASURES)

REFERENCE = 1.3
"""m/s at which the mean is given."""


def rows(name: str) -> slice:
    """Return where the coefficients of a curve are in the vector of a walk."""
    start = CURVE_NAMES.index(name) * WIDTH
    return slice(start, start + WIDTH)


def fourier(phase: NDArray[np.floating[Any]]) -> Doubles:
    """Return the basis functions at `phase` (N,), (N, WIDTH).

    A curve is its product with the coefficients, whose sum of squares is the curve's mean square.
    """
    turns = 2 * np.pi * np.asarray(phase, np.float64)[..., None] * np.arange(1, HARMONICS + 1)
    return np.concatenate([np.ones((*turns.shape[:-1], 1)), np.sqrt(2) * np.cos(turns), np.sqrt(2) * np.sin(turns)], -1)


def mirrored(vectors: Doubles) -> Doubles:
    """Return the vectors (..., SIZE) of the same walks seen in a mirror."""
    result = vectors.copy()
    for name in LEGS_AND_ARMS:
        left, right = rows(f"{name}_l"), rows(f"{name}_r")
        result[..., left], result[..., right] = vectors[..., right], vectors[..., left]
    # The left foot's cycle becomes the right foot's, half a cycle later: odd harmonics change their signs.
    late = (-1.0) ** np.arange(1, HARMONICS + 1)
    shift = np.concatenate([[1.0], late, late])
    for name in TRUNK:
        sign = 1.0 if name in ("pelvis_tilt", "chest_lean") else -1.0
        result[..., rows(name)] = sign * shift * vectors[..., rows(name)]
    first = SIZE - len(MEASURES)
    toe_l, toe_r = first + MEASURES.index("toe_out_l"), first + MEASURES.index("toe_out_r")
    result[..., toe_l], result[..., toe_r] = vectors[..., toe_r], vectors[..., toe_l]
    return result


def log_step(terms: Doubles, speed: Doubles | float, leg: float, female: float, age: float) -> Doubles:
    """Return the logarithm of the usual length of a step in m, by the `terms` of `Population.step`.

    `speed` in m/s; `leg` m from the hip to the floor; `female` from 0 to 1; `age` years.
    """
    faster = np.log(np.maximum(speed, 0.2))
    values = (1.0, faster, faster**2, np.log(leg), female - 0.5, max(age - 60.0, 0.0) / 10)
    return np.asarray(sum(term * value for term, value in zip(terms, values, strict=True)))


@dataclass(frozen=True, eq=False)
class Population:
    """The model.

    `mean` (SIZE,) at 1.3 m/s; `slope` (SIZE,) per m/s; `person`, `walk` and `stride` (M, SIZE) the directions in which
    people, walks and strides differ, each as long as its standard deviation. `step` (6,) and `step_spread` give the
    length of a step (`log_step`), `speed` (4,) and `speed_spread` the comfortable speed.
    """

    mean: Doubles
    slope: Doubles
    person: Doubles
    walk: Doubles
    stride: Doubles
    step: Doubles
    step_spread: float
    speed: Doubles
    speed_spread: float

    @classmethod
    def load(cls) -> Population:
        """Read the model that comes with the program."""
        return _load()

    def draw(self, what: str, rng: np.random.Generator, count: int | None = None) -> Doubles:
        """Draw what is special to a ``person``, a ``walk`` or (count, SIZE) for each of `count` ``stride``s."""
        modes: Doubles = getattr(self, what)
        shape = (len(modes),) if count is None else (count, len(modes))
        return np.asarray(np.clip(rng.standard_normal(shape), -2.2, 2.2) @ modes)

    def comfortable_speed(self, stature: float, female: float, age: float) -> float:
        """Return the usual comfortable speed in m/s of people of `stature` m."""
        return float(self.speed @ (1.0, stature - 1.67, female - 0.5, max(age - 60.0, 0.0) / 10))


@lru_cache(maxsize=1)
def _load() -> Population:
    with np.load(Path(__file__).with_name("population.npz"), allow_pickle=False) as file:
        arrays: dict[str, Any] = {name: file[name].astype(np.float64) for name in file.files}
    for name in ("step_spread", "speed_spread"):
        arrays[name] = float(arrays[name])
    return Population(**arrays)


@dataclass(frozen=True)
class Manner:
    """How one person moves, beside `app.lab.walkers.gait.GaitTraits`.

    `vector` is what is added to the population's mean (see `Population`), `female` from 0 to 1 and `age` years decide
    about the length of the steps. Recorded people bring a `vector` of their own.
    """

    vector: tuple[float, ...]
    female: float = 0.5
    age: float = 40.0

    def measure(self, name: str) -> float:
        """Return one of `MEASURES` as a deviation from the mean, in its own unit."""
        place = MEASURES.index(name)
        return self.vector[SIZE - len(MEASURES) + place] * float(MEASURE_UNIT[place])

    def changed(self, by: Doubles) -> Manner:
        """Return the manner with `by` (SIZE,) added."""
        return Manner(tuple((np.array(self.vector) + by).tolist()), self.female, self.age)

    def stiffer(self, side: str, amount: float) -> Manner:
        """Return the manner with the leg on `side` moving less: knee by 25, thigh and foot by 15 % at `amount` 1.

        A foot that would drag is lifted by the motion all the same, which bends the knee again.
        """
        whole, by = Population.load().mean + np.array(self.vector), np.zeros(SIZE)
        for name, share in (("knee", 0.25), ("thigh", 0.15), ("foot", 0.15)):
            part = rows(f"{name}_{side}")
            by[part.start + 1 : part.stop] = -share * amount * whole[part.start + 1 : part.stop]
        by[rows(f"knee_{side}").start] = -0.2 * amount * whole[rows(f"knee_{side}").start]
        return self.changed(by)

    def cadence(self, speed: Doubles, leg: float) -> Doubles:
        """Return steps a minute at `speed` m/s (N,) of somebody with a leg of `leg` m."""
        step = np.exp(log_step(Population.load().step, speed, leg, self.female, self.age) + self.measure("step"))
        return np.asarray(60 * speed / step)
