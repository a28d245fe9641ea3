"""The model of how people walk (`app.lab.walkers.population`), computed from recordings and from a table of strides.

The recordings are few people (14), so every part is pulled towards what the walkers were before: the mean towards the
curves of `app.lab.walkers.normative`, and the differences between people towards the spreads of `GaitTraits`, which
also give the model directions in which 14 people happen not to differ.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.files import written_whole
from app.lab.walkers import normative
from app.lab.walkers.curves import Textbook
from app.lab.walkers.mocap.acclaim import MotionFileError, read_motion, read_skeleton
from app.lab.walkers.mocap.cycles import Cycle, cycles
from app.lab.walkers.population import (
    CURVE_NAMES,
    LEGS_AND_ARMS,
    MEASURE_UNIT,
    MEASURES,
    REFERENCE,
    SIZE,
    TRUNK,
    WIDTH,
    Population,
    fourier,
    log_step,
    mirrored,
    rows,
)
from app.types import Bools, Doubles, Ints

HELD_OUT = ("07", "08", "16", "32", "38", "39")
"""Subjects of the CMU database who are kept out of the fit, for `walkers-real`.

All subjects with three or more straight walks are among them but 35, whose 19 walks are needed here: they alone say how
the walks of one person differ. 32 and 38 have two walks each.
"""

_LEG = ("thigh", "knee", "foot")
_ANKLE_HEIGHT = 0.08
"""From the ankle joint to the floor, m, roughly: the table's legs reach to the floor, the recordings' to the ankle."""
_MARKERS = 3.0
"""Degrees by which the mean of all recordings may be wrong because of how the markers sit."""
_PRIOR_PEOPLE, _PRIOR_WALKS = 6.0, 6.0
"""How many people, and walks, the spreads of before are worth beside the recorded ones."""
_ROUGHNESS = 1.2
"""Degrees by which people differ besides all named traits, in the slowest wave of every curve."""
_MODES = (32, 24, 16)
"""Directions that are kept, of people, walks and strides."""


@dataclass(frozen=True, eq=False)
class Strides:
    """N strides as vectors (N, SIZE) of `app.lab.walkers.population`: whose they are, and the speeds, (N,) each."""

    vectors: Doubles
    subjects: Ints
    walks: Ints
    speeds: Doubles

    def of(self, chosen: Bools) -> Strides:
        """Return the chosen ones."""
        return Strides(self.vectors[chosen], self.subjects[chosen], self.walks[chosen], self.speeds[chosen])


def fit_recordings(recordings: Path, steps: Path) -> tuple[Population, dict[str, tuple[float, ...]]]:
    """Fit the model to the recordings in a folder, without those of `HELD_OUT`, and to a table of steps.

    Returns it, and by curve how far it says that people, walks and strides are from their mean (RMS degrees).

    Raises:
        MotionFileError: a file is missing or cannot be read.
    """
    table = read_steps(steps)
    strides = strides_of(recorded_cycles(recordings), fit_step(table)[0])
    population = fit(strides.of(~np.isin(strides.subjects, [int(subject) for subject in HELD_OUT])), table)
    parts = (population.person, population.walk, population.stride)
    return population, {
        name: tuple(float(np.sqrt(np.sum(modes[:, rows(name)] ** 2))) for modes in parts) for name in CURVE_NAMES
    }


def recorded_cycles(folder: Path, only: Collection[str] | None = None) -> dict[tuple[str, str], list[Cycle]]:
    """Read the walks that ``index.csv`` in `folder` lists, all or those of `only` some subjects, by subject and trial.

    Raises:
        MotionFileError: a file is missing or cannot be read.
    """
    walks = {}
    skeletons = {}
    for row in _table(folder / "index.csv"):
        subject, trial = row["subject"], row["trial"]
        if only is not None and subject not in only:
            continue
        if subject not in skeletons:
            skeletons[subject] = read_skeleton(folder / subject / f"{subject}.asf")
        recording = read_motion(folder / subject / f"{subject}_{trial}.amc", skeletons[subject])
        walks[subject, trial] = list(cycles(recording, float(row["frames_per_second"])))
    return walks


def strides_of(walks: Mapping[tuple[str, str], Sequence[Cycle]], step: Doubles, either_first: bool = False) -> Strides:
    """Make vectors of the strides in which a cycle of the left foot and the next of the right are known.

    With `either_first` also those in which the right foot's cycle begins first.

    The static offsets that markers leave are taken out of every subject: thigh and knee of either side get the mean of
    the normative curve, the sole is flat in mid-stance, and pelvis and thorax are upright and straight on the whole.
    `step` is that of `Population`.
    """
    vectors, subjects, numbers, speeds = [], [], [], []
    for number, ((subject, _), found) in enumerate(walks.items()):
        lefts, rights = ([cycle for cycle in found if cycle.side == side] for side in (0, 1))
        for left in lefts:
            pairs = [right for right in rights if left.start < right.start < left.end]
            if either_first and not pairs:
                pairs = [right for right in rights if right.start < left.start < right.end]
            if pairs:
                vectors.append(_vector(left, pairs[0], step))
                subjects.append(int(subject))
                numbers.append(number)
                speeds.append(left.speed)
    strides = Strides(np.array(vectors), np.array(subjects), np.array(numbers), np.array(speeds))
    for subject in np.unique(strides.subjects):
        own = strides.subjects == subject
        strides.vectors[own] -= _static_offsets(strides.vectors[own].mean(axis=0))
    return strides


def _vector(left: Cycle, right: Cycle, step: Doubles) -> Doubles:
    vector = np.zeros(SIZE)
    for side, cycle in (("l", left), ("r", right)):
        for name in LEGS_AND_ARMS:
            vector[rows(f"{name}_{side}")] = coefficients(cycle.curves[name], cycle.stance if name in _LEG else None)
    for name in TRUNK:
        # The normative curves of rotation count forward on the left as positive.
        sign = -1.0 if name.endswith("rotation") else 1.0
        vector[rows(name)] = sign * coefficients(left.curves[name], None)
    leg = 0.5 * (left.leg + right.leg) + _ANKLE_HEIGHT
    longer = np.log(60 * left.speed / left.cadence) - float(log_step(step, left.speed, leg, 0.5, 40.0))
    stance = 0.5 * (left.stance + right.stance) - float(normative.toe_off(np.array(left.speed)))
    measures = (longer, stance, left.step_width, left.toe_out, right.toe_out, left.sway)
    vector[-len(MEASURES) :] = np.array(measures) / MEASURE_UNIT
    return vector


def coefficients(curve: Doubles, toe_off: float | None) -> Doubles:
    """Return the Fourier coefficients (WIDTH,) of a curve at even phases, its last point the first of the next cycle.

    With `toe_off` the cycle is stretched so that this phase becomes the normative one.
    """
    given = np.linspace(0, 1, len(curve))
    if toe_off is not None:
        given = np.interp(given, [0.0, toe_off, 1.0], [0.0, normative.TOE_OFF, 1.0])
    phase = np.arange(200) / 200
    closed = curve - (curve[-1] - curve[0]) * (np.linspace(0, 1, len(curve)) - 0.5)
    return np.asarray(np.interp(phase, given, closed) @ fourier(phase) / len(phase))


def _static_offsets(mean: Doubles) -> Doubles:
    """Return what the markers of a subject with this mean vector add, as a vector."""
    offsets, usual = np.zeros(SIZE), normative_vectors()[0]
    basis = fourier(np.arange(100) / 100)
    for side in "lr":
        offsets[rows(f"foot_{side}").start] = np.median((basis @ mean[rows(f"foot_{side}")])[15:30])
        for name in ("thigh", "knee"):
            first = rows(f"{name}_{side}").start
            offsets[first] = mean[first] - usual[first]
    for name in TRUNK:
        offsets[rows(name).start] = mean[rows(name).start]
    return offsets


def fit(strides: Strides, table: Sequence[Mapping[str, str]]) -> Population:
    """Compute the model from the strides of the people to learn from, and from the table of steps."""
    step, step_spread = fit_step(table)
    speed, speed_spread = fit_speed(table)
    normal, normal_slope = normative_vectors()
    subjects = np.unique(strides.subjects)
    means = np.array([strides.vectors[strides.subjects == subject].mean(axis=0) for subject in subjects])
    speeds = np.array([strides.speeds[strides.subjects == subject].mean() for subject in subjects])
    faster = speeds - speeds.mean()
    band = _bands()
    # How much the recordings say about the slope, against a doubt of 4 degrees per m/s about the normative one.
    trust = np.sum(faster**2) / (0.5 * band) ** 2
    trust /= trust + 1 / 16
    both = np.concatenate([means, mirrored(means)])
    seen = np.concatenate([faster, faster]) @ (both - both.mean(axis=0)) / (2 * np.sum(faster**2))
    slope = trust * seen + (1 - trust) * normal_slope
    slope[-len(MEASURES) :] = 0.0
    at_reference = both - np.outer(np.concatenate([speeds, speeds]) - REFERENCE, slope)
    weight = (0.5 * band) ** 2 / ((0.5 * band) ** 2 * (1 + 1 / len(subjects)) + _MARKERS**2)
    mean = weight * at_reference.mean(axis=0) + (1 - weight) * normal
    mean[-len(MEASURES) :] = 0.0
    # The table's steps are shorter than the recorded ones of legs as long, which may be the walkway or how the leg was
    # measured: half of the difference is kept.
    step[0] += 0.5 * float(at_reference.mean(axis=0)[-len(MEASURES)] * MEASURE_UNIT[0])
    residuals = strides.vectors - np.outer(strides.speeds - REFERENCE, slope)
    residuals = residuals - at_reference.mean(axis=0)
    people, walks, within, counts = _components(residuals, strides)
    prior, prior_walks = _prior_covariances()
    people = _pulled(people, counts[0], prior, _PRIOR_PEOPLE)
    walks = _pulled(walks, counts[1], prior_walks, _PRIOR_WALKS)
    people[-len(MEASURES) :] *= (scale := _measure_scale(people, step_spread))[:, None]
    people[:, -len(MEASURES) :] *= scale
    modes = [_modes(covariance, count) for covariance, count in zip((people, walks, within), _MODES, strict=True)]
    return Population(mean, slope, modes[0], modes[1], modes[2], step, step_spread, speed, speed_spread)


def write(population: Population, path: Path) -> None:
    """Write the model's numbers; `OutputError` where that fails."""
    with written_whole(path) as temporary, temporary.open("wb") as file:
        arrays = {name: np.asarray(value, np.float32) for name, value in vars(population).items()}
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def normative_vectors() -> tuple[Doubles, Doubles]:
    """Return the normative curves as a vector at the model's speed, and how it changes per m/s."""
    slow, middle, fast = (_normative_vector(REFERENCE + change) for change in (-0.4, 0.0, 0.4))
    return middle, (fast - slow) / 0.8


def _normative_vector(speed: float) -> Doubles:
    vector, textbook = np.zeros(SIZE), Textbook()
    phase = np.arange(200) / 200
    basis = fourier(phase) / len(phase)
    for name in CURVE_NAMES:
        base, _, side = name.rpartition("_")
        known = base if side in ("l", "r") else name
        if known == "foot":
            angles = (textbook.angle(one, phase, speed) for one in ("thigh", "knee", "ankle"))
            thigh, knee, ankle = angles
            curve = knee - thigh - ankle
        else:
            curve = textbook.angle(known, phase, speed)
        vector[rows(name)] = curve @ basis
    return vector


def _bands() -> Doubles:
    """Return for every number of the vector the half width of its normative band, degrees."""
    result = np.full(SIZE, 1.0)
    for name in CURVE_NAMES:
        base, _, side = name.rpartition("_")
        known = base if side in ("l", "r") else name
        curve: normative.Curve = normative.ANKLE if known == "foot" else getattr(normative, known.upper())
        result[rows(name)] = curve.sd
    return result


def _components(residuals: Doubles, strides: Strides) -> tuple[Doubles, Doubles, Doubles, tuple[float, float]]:
    """Return the covariances between people, between walks and between strides, and how many the first two are worth.

    Nested analysis of variance; what cannot be because it is negative is cut to zero. A walk and its mirror image are
    equally likely, so both are counted.
    """
    within, degrees = np.zeros((SIZE, SIZE)), 0
    walk_means, owners, sizes = [], [], []
    for walk in np.unique(strides.walks):
        own = residuals[strides.walks == walk]
        apart = own - own.mean(axis=0)
        within += _outer(apart)
        degrees += len(own) - 1
        walk_means.append(own.mean(axis=0))
        owners.append(strides.subjects[strides.walks == walk][0])
        sizes.append(len(own))
    within /= degrees
    means, whose, count = np.array(walk_means), np.array(owners), np.array(sizes)
    walks, walk_degrees = np.zeros((SIZE, SIZE)), 0
    person_means, noise = [], []
    for person in np.unique(whose):
        own = means[whose == person]
        walks += _outer(own - own.mean(axis=0))
        walk_degrees += len(own) - 1
        person_means.append(own.mean(axis=0))
        noise.append(np.mean(1 / count[whose == person]))
    walks = _positive(walks / max(walk_degrees, 1) - within * np.mean(1 / count))
    people_means = np.array(person_means)
    degrees_of_people = len(people_means) - 1
    each = np.array([np.sum(whose == person) for person in np.unique(whose)])
    people = _outer(people_means) / degrees_of_people - walks * np.mean(1 / each) - within * np.mean(noise / each)
    return _positive(people), walks, within, (float(degrees_of_people), float(walk_degrees))


def _pulled(seen: Doubles, degrees: float, prior: Doubles, worth: float) -> Doubles:
    """Pull a covariance with `degrees` of freedom towards `prior`: its directions, not the size of any curve."""
    pulled = (degrees * seen + worth * prior) / (degrees + worth)
    scale = np.ones(SIZE)
    for name in CURVE_NAMES:
        part = rows(name)
        scale[part] = np.sqrt(np.trace(seen[part, part]) / np.trace(pulled[part, part]))
    return np.asarray(pulled * scale * scale[:, None])


def _outer(vectors: Doubles) -> Doubles:
    other = mirrored(vectors)
    return np.asarray(0.5 * (vectors.T @ vectors + other.T @ other))


def _positive(covariance: Doubles) -> Doubles:
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray((vectors * np.maximum(values, 0)) @ vectors.T)


def _modes(covariance: Doubles, count: int) -> Doubles:
    """Return the `count` strongest directions (count, SIZE), scaled so that the whole variance is kept."""
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
    lost = values.sum() / values[:count].sum()
    return np.asarray((vectors[:, :count] * np.sqrt(values[:count] * lost)).T)


def _measure_scale(people: Doubles, step_spread: float) -> Doubles:
    """Return by what the measures' rows are multiplied, so that people differ as much as they are known to."""
    known = np.array([step_spread, 0.012, 0.026, 5.0, 5.0, 0.005]) / MEASURE_UNIT
    return np.asarray(known / np.sqrt(np.diag(people)[-len(MEASURES) :]))


def _prior_covariances() -> tuple[Doubles, Doubles]:
    """Return how people, and their walks, differed before there were recordings: the spreads of the gait traits."""
    people, walks = np.zeros((SIZE, SIZE)), np.zeros((SIZE, SIZE))
    for direction, session in _trait_directions():
        people += _outer(direction[None])
        walks += session**2 * _outer(direction[None])
    for name in CURVE_NAMES:
        waves = np.arange(1, (WIDTH + 1) // 2)
        size = _ROUGHNESS * np.concatenate([[0.0], waves**-1.5, waves**-1.5]) / np.sqrt(2)
        people[rows(name), rows(name)] += np.diag(size**2)
        walks[rows(name), rows(name)] += 0.09 * np.diag(size**2)
    known = np.array([0.045, 0.012, 0.026, 5.0, 5.0, 0.005]) / MEASURE_UNIT
    last = slice(-len(MEASURES), None)
    people[last, last] += np.diag(known**2)
    walks[last, last] += np.diag((0.3 * known) ** 2)
    return people, walks


def _trait_directions() -> Iterator[tuple[Doubles, float]]:
    """Yield what one standard deviation of each trait adds to the vector, and the share that changes between walks."""
    phase: Doubles = np.arange(200) / 200
    basis = fourier(phase) / len(phase)
    stance = phase < normative.TOE_OFF
    swing: Doubles = np.where(stance, 0.0, np.sin(np.pi * (phase - normative.TOE_OFF) / (1 - normative.TOE_OFF)))
    loading: Doubles = np.sin(np.pi * np.clip(phase / 0.38, 0.0, 1.0)) ** 2
    late: Doubles = np.where(
        stance, np.clip((phase - 0.31) / 0.31, 0, 1) ** 2.1, np.cos(np.pi / 2 * np.clip((phase - 0.62) / 0.2, 0, 1))
    )
    early: Doubles = np.clip(1 - phase / 0.11, 0, 1) ** 1.5 + np.clip((phase - 0.85) / 0.15, 0, 1) ** 2
    knee, shoulder, elbow = normative.KNEE(phase), normative.SHOULDER(phase), normative.ELBOW(phase)

    def sides(shift: Mapping[str, NDArray[np.floating[Any]]], signs: tuple[float, float] = (1.0, 1.0)) -> Doubles:
        vector = np.zeros(SIZE)
        for side, sign in zip("lr", signs, strict=True):
            for name, curve in shift.items():
                vector[rows(f"{name}_{side}")] = sign * curve @ basis
        return vector

    def trunk(name: str, curve: Doubles) -> Doubles:
        vector = np.zeros(SIZE)
        vector[rows(name)] = curve @ basis
        return vector

    one = np.ones_like(phase)
    yield sides({"knee": 0.25 * loading * knee}), 0.3
    # Knee and foot turn with the shank: more swing flexion tips the foot as well.
    yield sides({"knee": 0.075 * swing * knee, "foot": 0.075 * swing * knee}), 0.3
    yield sides({"knee": 2.2 * stance}), 0.3
    yield sides({"foot": -4.0 * early}), 0.35
    yield sides({"foot": 5.0 * late}), 0.3
    yield sides({"foot": -2.5 * swing}), 0.3
    yield sides({"shoulder": 0.34 * (shoulder - shoulder.mean()), "elbow": 0.34 * (elbow - elbow.mean())}), 0.35
    yield sides({"shoulder": 0.2 * (shoulder - shoulder.mean()), "elbow": 0.2 * (elbow - elbow.mean())}, (1, -1)), 0.35
    yield sides({"shoulder": 5.0 * one}), 0.3
    yield sides({"elbow": 9.0 * one}), 0.3
    yield sides({"elbow": 0.35 * (elbow - elbow.mean())}), 0.3
    for name, share in (
        ("chest_sway", 0.45), ("chest_rotation", 0.4), ("pelvis_obliquity", 0.3), ("pelvis_rotation", 0.4),
    ):  # fmt: skip
        curve: normative.Curve = getattr(normative, name.upper())
        yield trunk(name, share * curve(phase)), 0.3


def fit_step(table: Sequence[Mapping[str, str]]) -> tuple[Doubles, float]:
    """Fit the length of a step: the terms of `Population.log_step`, and how much people differ (of 1).

    The change with the speed is that within people; what is left of each person depends on leg, sex and age.
    """
    people: dict[str, list[Mapping[str, str]]] = {}
    for row in table:
        people.setdefault(row["Subject"], []).append(row)
    inner, target = [], []
    for found in people.values():
        speed = np.log([float(row["Speed"]) for row in found])
        step = np.log([float(row["StepLength"]) for row in found])
        terms = np.stack([speed, speed**2], 1)
        inner.append(terms - terms.mean(axis=0))
        target.append(step - step.mean())
    by_speed = np.linalg.lstsq(np.concatenate(inner), np.concatenate(target), rcond=None)[0]
    design, left = [], []
    for found in people.values():
        speed = np.log([float(row["Speed"]) for row in found])
        step = np.log([float(row["StepLength"]) for row in found])
        left.append(np.mean(step - by_speed[0] * speed - by_speed[1] * speed**2))
        design.append((1.0, np.log(float(found[0]["LegLength"])), *_sex_and_age(found[0])))
    outer = np.linalg.lstsq(np.array(design), np.array(left), rcond=None)[0]
    spread = float(np.std(np.array(left) - np.array(design) @ outer, ddof=len(outer)))
    return np.array([outer[0], by_speed[0], by_speed[1], outer[1], outer[2], outer[3]]), spread


def fit_speed(table: Sequence[Mapping[str, str]]) -> tuple[Doubles, float]:
    """Fit the comfortable speed: the terms of `Population.comfortable_speed`, and how much people differ, m/s."""
    people = {row["Subject"]: row for row in table}.values()
    design = np.array([(1.0, float(row["Height"]) - 1.67, *_sex_and_age(row)) for row in people])
    speed = np.array([float(row["SpeedComf"]) for row in people])
    found = np.linalg.lstsq(design, speed, rcond=None)[0]
    return found, float(np.std(speed - design @ found, ddof=len(found)))


def _sex_and_age(row: Mapping[str, str]) -> tuple[float, float]:
    return (0.5 if row["Gender"] == "F" else -0.5), max(float(row["Age"]) - 60.0, 0.0) / 10


def read_steps(path: Path) -> list[dict[str, str]]:
    """Read the table of steps (``h2a.csv``); `MotionFileError` where the file cannot be read, or lacks a column."""
    return _table(path, ("Subject", "Gender", "Age", "Height", "LegLength", "SpeedComf", "Speed", "StepLength"))


def _table(path: Path, columns: Iterable[str] = ("subject", "trial", "frames_per_second")) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            table = list(csv.DictReader(file))
    except OSError as error:
        raise MotionFileError(f"{path} cannot be read: {error.strerror}.") from error
    missing = set(columns) - set(table[0] if table else ())
    if missing:
        raise MotionFileError(f"{path} has no column {', '.join(sorted(missing))}.")
    return table
