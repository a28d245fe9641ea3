"""How well people are found again: pure functions of distances, in NumPy.

A search compares one probe with a gallery and orders the gallery's walks by rising distance. Of walks at the same
distance, the one that comes first in the gallery comes first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array, diags_array

from app.lab.evaluation.bootstrap import Doubles, Figure, percentile_interval, resampled_counts
from app.types import Bools, Ints


@dataclass(frozen=True, eq=False)
class Searches:
    """The results of searches, in arrays of one shape.

    `first` (int64) is the number of wrong walks before the first right one. `precision` is the average precision and
    `inverse` the inverse negative penalty. `own` and `other` are the distances of the nearest right and the nearest
    wrong walk. Where the gallery has no walk of the probe's person, `first` is -1, `precision` and `inverse` are NaN,
    and `own` is infinite.
    """

    first: Ints
    precision: Doubles
    inverse: Doubles
    own: Doubles
    other: Doubles

    @classmethod
    def empty(cls, shape: tuple[int, ...]) -> Searches:
        """Return searches in empty galleries."""
        nothing, never = np.full(shape, np.nan), np.full(shape, np.inf)
        return cls(np.full(shape, -1), nothing, nothing.copy(), never, never.copy())


def search(distances: Doubles, probes: Ints, gallery: Ints, dropped: Bools | None = None) -> Searches:
    """Search for each probe, given `distances` between probes and gallery (n, m), and the identities of both.

    A probe is not compared with walks that are `dropped` (n, m). The average precision is that of information
    retrieval: the mean of the precisions at each right walk. The inverse negative penalty (Ye et al., TPAMI 2022,
    section 3.3) is the precision at the last right walk.
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
    """Return the cumulative match characteristic: how many searches succeed at rank 1, 2, ... `ranks` (ranks,).

    A search with `first` -1 counts as failed. Leave such searches out where a benchmark's convention is to do so.
    """
    found = np.bincount(first[(first >= 0) & (first < ranks)], minlength=ranks)
    shares: Doubles = np.cumsum(found) / len(first)
    return shares


def reranked(distances: Doubles, probes: int, k1: int = 6, k2: int = 6, weight: float = 0.3) -> Doubles:
    """Re-rank by k-reciprocal neighbours (Zhong et al., CVPR 2017, sections 3.2 to 3.4).

    `distances` (n, n) are between all walks, first the probes, of which there are `probes`, then the gallery. Those
    from the probes to the gallery are returned, 0 to 1. `k1` is the number of neighbours of a walk, `k2` the number of
    neighbours whose encodings are averaged, and `weight` that of the original distance in the result. As is usual for
    gait, distances are not squared and `k1` is 6. The paper squares them and takes 20 for Market-1501.
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
        shared = columns[:, encoding.indices[mine]]  # the encodings that overlap with this one
        values = np.minimum(shared.data, np.repeat(encoding.data[mine], np.diff(shared.indptr)))
        common = np.bincount(shared.indices, values, result.shape[1])
        result[row] += (1 - weight) * (1 - common / (2 - common))
    return result


def _mutual(order: Ints) -> csr_array:
    """Return 1 where two walks are among the nearest neighbours of each other (n, n)."""
    n, k = order.shape
    near = csr_array((np.ones(n * k), (np.repeat(np.arange(n), k), order.ravel())), (n, n))
    return csr_array(near.multiply(near.T))


def mean_with_interval(sums: Doubles, counts: Doubles, times: int = 1000) -> Figure:
    """Return the field's mean over the gallery's views, then over the probes' views, with its bootstrap interval.

    `sums` (people, probe views, gallery views) are those of the values of each person's probes, and `counts` the
    numbers of these probes. A pair of views without probes is left out; without any, each number is None. In each of
    the `times` samples of the bootstrap, people are drawn with all of their walks.
    """
    means = [
        means_of(cells(np.tensordot(weights, sums, 1), np.tensordot(weights, counts, 1)))
        for weights in resampled_counts(len(sums), times)
    ]
    value = means_of(cells(sums.sum(axis=0), counts.sum(axis=0)))
    numbers = (float(value), *percentile_interval(np.concatenate(means)).tolist())
    return Figure(*(none_for_nan(number) for number in numbers))


def none_for_nan(value: float) -> float | None:
    """Return `value`, or None where it is not a number, as JSON has no NaN."""
    return None if np.isnan(value) else value


def cells(sums: Doubles, counts: Doubles) -> Doubles:
    """Return sums / counts, with NaN where the count is 0."""
    table: Doubles = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
    return table


def row_means(table: Doubles) -> Doubles:
    """Return the means over the last axis of (..., rows, columns) without NaN; NaN where nothing else is left."""
    known = ~np.isnan(table)
    return cells(np.where(known, table, 0).sum(axis=-1), known.sum(axis=-1).astype(np.float64))


def means_of(table: Doubles) -> Doubles:
    """Return the means of the `row_means` of (..., rows, columns), of shape (...)."""
    return row_means(row_means(table))
