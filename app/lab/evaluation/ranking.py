"""How well people are found again: pure functions of distances, in NumPy.

A *search* is one probe against a gallery; its walks are ordered by rising distance, of equal ones the earlier first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array

from app.types import Bools, Ints

Doubles = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Searches:
    """What n searches found, whatever the shape of n.

    `first` int64, how many others come before the first right walk; `precision` and `inverse`, the average precision
    and the inverse negative penalty; `own` and `other`, the distances of the nearest right and the nearest wrong walk.
    A probe of whom the gallery has no walk has `first` -1, NaN and `own` infinity.
    """

    first: Ints
    precision: Doubles
    inverse: Doubles
    own: Doubles
    other: Doubles

    @classmethod
    def empty(cls, shape: tuple[int, ...]) -> Searches:
        """Return searches that found nothing at all."""
        nothing, never = np.full(shape, np.nan), np.full(shape, np.inf)
        return cls(np.full(shape, -1), nothing, nothing.copy(), never, never.copy())


def search(distances: Doubles, probes: Ints, gallery: Ints, dropped: Bools | None = None) -> Searches:
    """Search for each probe.

    Average precision is that of information retrieval, the mean of the precisions at each right walk; the inverse
    negative penalty (Ye et al., TPAMI 2022, section 3.3) is the precision at the last of them.

    Args:
        distances: (n, m).
        probes: identities, (n,).
        gallery: identities, (m,).
        dropped: (n, m), what a probe is not compared with.
    """
    right = probes[:, None] == gallery
    if dropped is not None:
        distances = np.where(dropped, np.inf, distances)
        right &= ~dropped
    result = Searches.empty((len(probes),))
    np.min(distances, axis=1, where=right, initial=np.inf, out=result.own)
    np.min(distances, axis=1, where=~right, initial=np.inf, out=result.other)
    order = np.argsort(distances, axis=1, kind="stable")
    rows, places = np.nonzero(np.take_along_axis(right, order, axis=1))
    counts = np.bincount(rows, minlength=len(probes))
    known = counts > 0
    ends = np.cumsum(counts)
    number = np.arange(1, len(rows) + 1) - (ends - counts)[rows]
    result.first[known] = places[(ends - counts)[known]]
    precision = np.bincount(rows, number / (places + 1), len(probes))
    result.precision[known] = precision[known] / counts[known]
    result.inverse[known] = counts[known] / (places[ends[known] - 1] + 1)
    return result


def cmc(first: Ints, ranks: int) -> Doubles:
    """Return the share of searches whose first right walk is among the nearest 1 to `ranks`, (ranks,).

    Those with -1 count as failed; leave them out where the convention is to do so.
    """
    found = np.bincount(first[(first >= 0) & (first < ranks)], minlength=ranks)
    shares: Doubles = np.cumsum(found) / len(first)
    return shares


def false_negatives(own: Doubles, other: Doubles, rate: float) -> float:
    """Return the false-negative identification rate at a false-positive one (ISO/IEC 19795-1:2021).

    Every search counts twice: with the probe's walks in the gallery, where it fails when somebody else is nearer or
    the right one is not within the threshold; and without them, where anybody within the threshold is a false alarm.
    The threshold is the largest at which no more than `rate` of the latter are alarms.

    Args:
        own: distances of the nearest right walk, (n,); probes without one (infinity) count only as strangers.
        other: distances of the nearest wrong walk, (n,).
        rate: of false alarms, 0 to below 1.
    """
    threshold = np.sort(other)[int(rate * len(other) + 1e-9)]
    mated = np.isfinite(own)
    return float(np.mean(~((own < other) & (own < threshold))[mated]))


class DistanceCounts:
    """How often which distance occurs between walks of one person (`own`) and of two (`other`): int64 (bins,) each.

    The bins divide 0 to `largest` evenly; what lies beyond counts in the last.
    """

    def __init__(self, largest: float, bins: int = 1 << 16) -> None:
        self.largest = largest
        self.own = np.zeros(bins, np.int64)
        self.other = np.zeros(bins, np.int64)

    def add(self, distances: Doubles, right: Bools) -> None:
        """Count `distances`; `right`, of the same shape, says which are of one person."""
        bins = len(self.own)
        place = np.clip(distances * (bins / self.largest), 0, bins - 1).astype(np.int64)
        self.own += np.bincount(place[right], minlength=bins)
        self.other += np.bincount(place[~right], minlength=bins)

    def equal_error_rate(self) -> float:
        """Return the error rate at the threshold where as many of `own` are refused as of `other` accepted.

        Exact to one bin; NaN where one of them is empty.
        """
        if not (self.own.any() and self.other.any()):
            return float("nan")
        refused = 1 - np.cumsum(self.own) / self.own.sum()
        accepted = np.cumsum(self.other) / self.other.sum()
        place = int(np.argmin(np.abs(refused - accepted)))
        return float(refused[place] + accepted[place]) / 2

    def shares(self, bins: int) -> tuple[Doubles, Doubles, Doubles]:
        """Return `bins` bins over the distances that occur: their middles, and the shares of `own` and of `other`."""
        used = np.flatnonzero(self.own + self.other)
        low, high = (int(used[0]), int(used[-1]) + 1) if len(used) else (0, len(self.own))
        width = self.largest / len(self.own)
        edges = np.linspace(low * width, high * width, bins + 1)
        middles = (np.arange(low, high) + 0.5) * width
        own, other = (
            np.histogram(middles, edges, weights=counts[low:high] / max(1, counts.sum()))[0]
            for counts in (self.own, self.other)
        )
        return (edges[:-1] + edges[1:]) / 2, own, other


def reranked(distances: Doubles, probes: int, k1: int = 6, k2: int = 6, weight: float = 0.3) -> Doubles:
    """Re-rank by k-reciprocal neighbours (Zhong et al., CVPR 2017, sections 3.2 to 3.4).

    As is usual for gait, distances are not squared and `k1` is 6; the paper squares and takes 20 for Market-1501.

    Args:
        distances: (n, n) between all walks, the `probes` first, then the gallery.
        probes: how many of them are probes.
        k1: neighbours of a walk.
        k2: neighbours whose encodings are averaged.
        weight: of the original distance in the result.

    Returns:
        (probes, n - probes), 0..1.
    """
    scaled = distances / np.maximum(distances.max(axis=1, keepdims=True), 1e-12)
    order = np.argsort(scaled, axis=1, kind="stable")[:, : max(k1 + 1, k2)]
    mutual = _mutual(order[:, : k1 + 1])
    half = _mutual(order[:, : int(np.around(k1 / 2)) + 1])
    overlap = csr_array(mutual @ half.T).multiply(mutual)
    enough = csr_array(overlap @ diags_array(1 / half.sum(axis=1))) > 2 / 3
    expanded = csr_array(mutual + enough.astype(np.float64) @ half).tocoo()
    strengths = np.exp(-scaled[expanded.row, expanded.col])
    encoding = csr_array((strengths, (expanded.row, expanded.col)), expanded.shape)
    encoding = csr_array(diags_array(1 / encoding.sum(axis=1)) @ encoding)
    if k2 > 1:
        nearest = order[:, :k2]
        rows = np.repeat(np.arange(len(nearest)), nearest.shape[1])
        mean = csr_array((np.full(nearest.size, 1 / nearest.shape[1]), (rows, nearest.ravel())), distances.shape)
        encoding = csr_array(mean @ encoding)
    columns = encoding[probes:].tocsc()
    result: Doubles = weight * scaled[:probes, probes:]
    for row in range(probes):
        mine = slice(encoding.indptr[row], encoding.indptr[row + 1])
        shared = columns[:, encoding.indices[mine]]  # whose encodings overlap with this one, and how much
        values = np.minimum(shared.data, np.repeat(encoding.data[mine], np.diff(shared.indptr)))
        common = np.bincount(shared.indices, values, result.shape[1])
        result[row] += (1 - weight) * (1 - common / (2 - common))
    return result


def _mutual(order: Ints) -> csr_array:
    """Who of the nearest of each is among whose nearest as well: 1, (n, n)."""
    n, k = order.shape
    near = csr_array((np.ones(n * k), (np.repeat(np.arange(n), k), order.ravel())), (n, n))
    return csr_array(near.multiply(near.T))


def mean_with_interval(
    sums: Doubles, counts: Doubles, seed: int = 0, times: int = 1000, level: float = 0.95
) -> tuple[float, float, float]:
    """Return the field's mean over the gallery's views, then over the probes' views, and its percentile interval.

    People are drawn with all of their walks, which are too alike to be drawn singly (Efron & Tibshirani 1993,
    chapter 13): as `app.lab.evaluation.metrics.bootstrap` does, in one product of matrices.

    Args:
        sums: (people, probe views, gallery views), what is averaged, summed over each person's probes.
        counts: how many probes these are; a pair of views without any is left out, all NaN where there is none at all.
        seed: of the draws.
        times: how often as many people as there are are drawn.
        level: how much of the distribution lies in the interval.
    """
    people = len(sums)
    draws = np.random.default_rng(seed).integers(0, people, (times, people))
    values = []
    for block in np.array_split(draws, max(1, draws.size >> 20)):
        offsets = people * np.arange(len(block))[:, None]
        weights = np.bincount((block + offsets).ravel(), minlength=block.size).reshape(block.shape).astype(np.float64)
        values.append(means_of(cells(np.tensordot(weights, sums, 1), np.tensordot(weights, counts, 1))))
    low, high = np.quantile(np.concatenate(values), [(1 - level) / 2, (1 + level) / 2])
    return float(means_of(cells(sums.sum(axis=0), counts.sum(axis=0)))), float(low), float(high)


def cells(sums: Doubles, counts: Doubles) -> Doubles:
    """Return sums / counts, NaN where there is nothing."""
    table: Doubles = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
    return table


def row_means(table: Doubles) -> Doubles:
    """Return the means over the last axis of (..., rows, columns), leaving NaN out: NaN where nothing is left."""
    known = ~np.isnan(table)
    return cells(np.where(known, table, 0).sum(axis=-1), known.sum(axis=-1).astype(np.float64))


def means_of(table: Doubles) -> Doubles:
    """Return the means of the `row_means` of (..., rows, columns): (...)."""
    return row_means(row_means(table))
