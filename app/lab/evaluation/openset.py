"""Open-set identification: half of the people are known, the other half are strangers who should stay unknown.

And how far probabilities can be believed: what was said beside what was so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.gallery.distances import Distances
from app.recognise.scores import ScoreModel
from app.types import Bools, Ints

RATES = (0.01, 0.1)
"""False-positive identification rates at which the false-negative one is reported."""
GALLERY_SIZES = (1, 4, 10, 25)
"""People in the galleries of `trials`."""
BINS = 10


@dataclass(frozen=True)
class Rate:
    """An error rate, 0..1: its mean over the draws, and the 95 % interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float], resampled: Sequence[float]) -> Rate:
        """Take the mean of `values` and the interval of `resampled`."""
        low, high = np.quantile(resampled, [0.025, 0.975]).tolist()
        return cls(float(np.mean(values)), low, high)


@dataclass(frozen=True)
class OpenSet:
    """False-negative identification rate by false-positive one, and the equal error rate of probe with person."""

    probes: int
    fnir: dict[float, Rate]
    eer: Rate


def nearest_walks(distances: Distances, owners: Ints, people: int, dropped: Bools | None = None) -> Distances:
    """From gallery walks to people: the distance of each one's nearest walk, (n, people).

    Args:
        distances: (n, m), probes to gallery walks.
        owners: the number of each gallery walk's person, from 0 (m,).
        people: how many there are; who has no walk is infinitely far.
        dropped: (n, m), what a probe is not compared with.
    """
    shown = distances if dropped is None else np.where(dropped, np.inf, distances)
    table = np.full((len(distances), people), np.inf)
    for person in np.unique(owners).tolist():
        table[:, person] = shown[:, owners == person].min(1)
    return table


def open_set(table: Distances, people: Ints, draws: int = 20, samples: int = 200, seed: int = 0) -> OpenSet:
    """Draw who is known and who is a stranger, `draws` times.

    A probe of somebody known fails where somebody else is nearer, or the right one is beyond the threshold; a stranger
    is a false alarm where anybody is within it (ISO/IEC 19795-1:2021). The threshold is the largest at which no more
    than the given share of the strangers' probes are. The intervals are of another draw whose people, known ones and
    strangers apart, are drawn again with replacement.

    Args:
        table: (n, people), from probes to people (`nearest_walks`).
        people: whose probe it is, the number of a column (n,).
        draws: how many divisions the rates are the means of.
        samples: how many the intervals come from.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    count = table.shape[1]
    plain: list[list[float]] = []
    again: list[list[float]] = []
    for number in range(draws + samples):
        order = rng.permutation(count)
        known, strangers = order[: count // 2], order[count // 2 :]
        times = np.zeros(count)
        for group in (known, strangers):
            drawn = rng.integers(0, len(group), len(group)) if number >= draws else np.arange(len(group))
            times[group] = np.bincount(drawn, minlength=len(group))
        (plain if number < draws else again).append(_one_draw(table, people, known, times))
    return OpenSet(
        probes=len(table),
        fnir={
            rate: Rate.of([each[column] for each in plain], [each[column] for each in again])
            for column, rate in enumerate(RATES)
        },
        eer=Rate.of([each[-1] for each in plain], [each[-1] for each in again]),
    )


def _one_draw(table: Distances, people: Ints, known: Ints, times: NDArray[np.float64]) -> list[float]:
    """The false-negative rate at each of `RATES`, then the equal error rate; each person counts `times`."""
    mine = np.isin(people, known)
    near = table[:, known]
    nearest = near.min(1)
    right = known[near.argmin(1)] == people
    alarms, weights = nearest[~mine], times[people[~mine]]
    order = np.argsort(alarms)
    passed = np.cumsum(weights[order]) / weights.sum()
    rates = []
    for rate in RATES:
        # The first stranger too many is not within the threshold any more.
        threshold = alarms[order[np.searchsorted(passed, rate + 1e-9, side="right").clip(max=len(order) - 1)]]
        missed = ~(right & (nearest < threshold))[mine]
        rates.append(float(np.average(missed, weights=times[people[mine]])))
    own = table[mine, people[mine]]
    other = near[people[:, None] != known]
    counts = np.broadcast_to(times[people][:, None] * times[known], near.shape)[people[:, None] != known]
    return [*rates, _equal_error_rate(own, times[people[mine]], other, counts)]


def _equal_error_rate(
    own: Distances, own_weights: NDArray[np.float64], other: Distances, other_weights: NDArray[np.float64]
) -> float:
    """Where as much of `own` is refused as of `other` accepted."""
    distances = np.concatenate([own, other])
    order = np.argsort(distances)
    genuine = np.concatenate([own_weights / own_weights.sum(), np.zeros(len(other))])[order]
    impostor = np.concatenate([np.zeros(len(own)), other_weights / other_weights.sum()])[order]
    refused, accepted = 1 - np.cumsum(genuine), np.cumsum(impostor)
    place = int(np.argmin(np.abs(refused - accepted)))
    return max(0.0, float(refused[place] + accepted[place]) / 2)


@dataclass(frozen=True, eq=False)
class Claims:
    """What was said of searches, and what was so: `probability` (n,) that the nearest is right, `right` (n,) whether;
    `size` (n,) of the gallery."""

    probability: NDArray[np.float64]
    right: Bools
    size: Ints

    @classmethod
    def joined(cls, parts: Sequence[Claims]) -> Claims:
        """Return those of all `parts`."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in cls.__dataclass_fields__))

    def bins(self) -> list[tuple[float, float, int]]:
        """Sort the claims into tenths: mean probability said, share that was right, how many; empty ones left out."""
        place = np.minimum((self.probability * BINS).astype(np.int64), BINS - 1)
        chosen = [place == number for number in range(BINS)]
        return [
            (float(self.probability[own].mean()), float(self.right[own].mean()), int(own.sum()))
            for own in chosen
            if own.any()
        ]

    def error(self) -> float:
        """Return the expected calibration error: the mean over claims of how far their bin is off (Naeini 2015)."""
        return sum(count * abs(said - so) for said, so, count in self.bins()) / len(self.right)

    def log_loss(self) -> float:
        """Return the mean of -log of the probability given to what was so."""
        given = np.where(self.right, self.probability, 1 - self.probability)
        return float(-np.log(np.maximum(given, 1e-12)).mean())


def trials(
    scores: ScoreModel,
    distances: Distances,
    people: Ints,
    recordings: Sequence[str],
    count: int = 2000,
    prior: float = 0.5,
    seed: int = 0,
) -> Claims:
    """Search for random walks in random galleries of one walk each, and note what `scores` say of the nearest.

    With probability `prior` the gallery holds another recording of the walk's person.

    Args:
        scores: learnt from other people.
        distances: (n, n) between walks.
        people: whose walks they are (n,).
        recordings: which of that person's (n,).
        count: searches for each of `GALLERY_SIZES` that the people suffice for.
        prior: share of searches for somebody in the gallery.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    names, person = np.unique(people, return_inverse=True)
    _, recording = np.unique(np.array(recordings), return_inverse=True)
    said, right, sizes = [], [], []
    for size in (size for size in GALLERY_SIZES if size < len(names)):
        probes = rng.integers(0, len(people), count)
        own = person[probes]
        mates = (person == own[:, None]) & (recording != recording[probes, None])
        known = (rng.random(count) < prior) & mates.any(1)
        # A random walk of everybody, of the probe's person one of another recording; then `size` random people.
        lots = np.where(mates | (person != own[:, None]), rng.random(mates.shape), -1)
        order = np.argsort(person, kind="stable")
        starts = np.searchsorted(person[order], np.arange(len(names)))
        best = np.maximum.reduceat(lots[:, order], starts, axis=1)
        chosen = np.where(lots == best[:, person], distances[probes], np.inf)
        table = np.minimum.reduceat(chosen[:, order], starts, axis=1)
        turns = rng.random(table.shape)
        turns[np.arange(count), own] = np.where(known, -1, 2)
        gallery = np.argsort(turns, axis=1)[:, :size]
        shown = np.take_along_axis(table, gallery, axis=1)
        nearest = shown.argmin(1)
        said.append(scores.probabilities(shown, prior)[np.arange(count), nearest])
        right.append(known & (nearest == 0))
        sizes.append(np.full(count, size))
    return Claims(np.concatenate(said), np.concatenate(right), np.concatenate(sizes))
