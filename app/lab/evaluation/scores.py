"""Compute the figures of a protocol from embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.errors import SettingsError
from app.gallery.distances import Metric, part_distances
from app.lab.data.opengait import DataSetError
from app.lab.evaluation.bootstrap import Doubles, Figure
from app.lab.evaluation.protocol import Group, Names, Protocol
from app.lab.evaluation.ranking import (
    Searches,
    cells,
    cmc,
    mean_with_interval,
    none_for_nan,
    reranked,
    row_means,
    search,
)
from app.lab.evaluation.rates import DistanceCounts, false_negative_identification_rate
from app.types import Bools, Floats, Ints

RANKS = 20
"""The highest rank of the cumulative match characteristic."""
FALSE_POSITIVE_RATES = (0.01, 0.1)
"""False-positive identification rates (FPIR) at which the false-negative rate (FNIR) is reported."""
_BINS = 80
_BLOCK = 1 << 22  # distances at once: 32 MiB


@dataclass(frozen=True)
class Histogram:
    """Distances: the middles of the bins, and the shares of pairs of one person (`own`) and of two (`other`)."""

    distances: list[float]
    own: list[float]
    other: list[float]


@dataclass(frozen=True)
class Score:
    """The figures of one group of probes; shares are 0 to 1.

    `searches` is the number of searches that count. In `without_mate` of them the gallery has no walk of the probe's
    person: these count as failed in ranks, and not at all in mAP and mINP. `metrics` are the means over views,
    `by_view` the means of each probe view. `tables` (probe views, gallery views) has every metric for every pair of
    views, also for pairs that the means leave out, and None where nothing was compared. `cmc` is Rank-1 to Rank-20 of
    all searches together. `fnir` is the false-negative identification rate by false-positive rate. `eer` is the equal
    error rate of pairs of walks.
    """

    name: str
    probes: int
    gallery: int
    searches: int
    without_mate: int
    metrics: dict[str, Figure]
    probe_views: list[str]
    gallery_views: list[str]
    tables: dict[str, list[list[float | None]]]
    by_view: dict[str, list[float | None]]
    cmc: list[float]
    fnir: dict[str, float]
    eer: float | None
    distances: Histogram


def score(
    features: Floats,
    people: Names,
    views: Names,
    groups: Sequence[Group],
    protocol: Protocol,
    *,
    metric: Metric = "euclidean",
    rerank: bool = False,
) -> list[Score]:
    """Score each group of probes, given the embeddings of all walks, float32 (N, P, C), and the person and view of each
    (N,).

    Distances are computed in blocks, so that memory does not grow with the product of probes and gallery. Only
    `rerank`, by k-reciprocal neighbours, needs all of them at once.

    Raises:
        SettingsError: the protocol compares view by view and cannot be re-ranked.
        DataSetError: there is nothing to compare.
    """
    need_comparable(views, groups, protocol, rerank)
    _, identities = np.unique(people, return_inverse=True)
    return [
        _Comparison(features, identities.astype(np.int64), views, group, protocol, metric, rerank).score()
        for group in groups
    ]


def need_comparable(views: Names, groups: Sequence[Group], protocol: Protocol, rerank: bool) -> None:
    """Check that there is something to compare. Arguments and errors are those of `score`."""
    if rerank:
        need_rerankable(protocol)
    if protocol.gallery_views == "each" and protocol.exclude == "same view":
        for group in groups:
            if len(np.unique(views[np.concatenate([group.probes, group.gallery])])) == 1:
                raise DataSetError(
                    f"The probes '{group.name}' and their gallery have one view only, and this protocol does not "
                    "compare walks of the same view. Give a data set with several views, or another protocol."
                )


def need_rerankable(protocol: Protocol) -> None:
    """Raise `SettingsError` where a protocol does not compare with the whole gallery at once."""
    if protocol.gallery_views == "each":
        raise SettingsError(
            "--rerank needs the whole gallery at once, but this protocol compares view by view. Leave --rerank out, or "
            "choose a protocol such as casia-b-all-views."
        )


class _Comparison:
    """The searches of one group: a row for each probe, a column for each gallery (one in all, or one for each view)."""

    def __init__(
        self,
        features: Floats,
        people: Ints,
        views: Names,
        group: Group,
        protocol: Protocol,
        metric: Metric,
        rerank: bool,
    ) -> None:
        self.group, self.protocol = group, protocol
        self.probes, self.gallery = people[group.probes], people[group.gallery]
        self.probe_views, self.row_view = np.unique(views[group.probes], return_inverse=True)
        each = protocol.gallery_views == "each"
        self.gallery_views, self.walk_view = np.unique(
            views[group.gallery] if each else np.full(len(group.gallery), "all"), return_inverse=True
        )
        same = protocol.exclude == "same view"
        self.counted: Bools = np.ones((len(self.probes), len(self.gallery_views)), np.bool_)
        if each and same:
            self.counted = views[group.probes][:, None] != self.gallery_views
        self.searches = Searches.empty(self.counted.shape)
        self.pairs = DistanceCounts(1.0 if rerank else _largest(features, metric))
        whole = _reranked(features, group, metric) if rerank else None
        rows = max(1, _BLOCK // len(self.gallery))
        for start in range(0, len(self.probes), rows):
            block = slice(start, start + rows)
            chosen = group.probes[block]
            distances = (
                part_distances(features[chosen], features[group.gallery], metric) if whole is None else whole[block]
            )
            dropped = None
            if same and not each:
                dropped = views[chosen][:, None] == views[group.gallery]
                dropped &= self.probes[block, None] == self.gallery
            self._search(block, distances, dropped)

    def _search(self, block: slice, distances: Doubles, dropped: Bools | None) -> None:
        for column in range(len(self.gallery_views)):
            members = np.flatnonzero(self.walk_view == column)
            part = distances[:, members]
            found = search(part, self.probes[block], self.gallery[members], dropped)
            for name, values in vars(found).items():
                getattr(self.searches, name)[block, column] = values
            right = self.probes[block, None] == self.gallery[members]
            counts = np.broadcast_to(self.counted[block, column, None], part.shape)
            counts = counts if dropped is None else counts & ~dropped
            self.pairs.add(part[counts], right[counts])

    def score(self) -> Score:
        found = self.searches
        values = {name: _values(name, found) for name in self.protocol.metrics}
        first, own, other = found.first[self.counted], found.own[self.counted], found.other[self.counted]
        known = np.isfinite(own)
        mated = np.where(own < other, own, np.inf)[known]
        rates = FALSE_POSITIVE_RATES if known.any() else ()
        middles, genuine, impostor = self.pairs.shares(_BINS)
        return Score(
            name=self.group.name,
            probes=len(self.probes),
            gallery=len(self.gallery),
            searches=len(first),
            without_mate=int((first < 0).sum()),
            metrics={name: self._figure(value) for name, value in values.items()},
            probe_views=self.probe_views.tolist(),
            gallery_views=self.gallery_views.tolist(),
            tables={name: [_plain(row) for row in self._table(value)] for name, value in values.items()},
            by_view={name: _plain(row_means(self._table(self._fair(value)))) for name, value in values.items()},
            cmc=cmc(first, RANKS).tolist(),
            # Every search counts as mated, and without the probe's own walks as a stranger's.
            fnir={str(rate): false_negative_identification_rate(mated, other, rate) for rate in rates},
            eer=none_for_nan(self.pairs.equal_error_rate()),
            distances=Histogram(middles.tolist(), genuine.tolist(), impostor.tolist()),
        )

    def _figure(self, values: Doubles) -> Figure:
        owners, person = np.unique(self.probes, return_inverse=True)
        sums, counts = self._sums(self._fair(values), person, len(owners))
        return mean_with_interval(sums, counts)

    def _fair(self, values: Doubles) -> Doubles:
        """Return `values` without those of view pairs that the means leave out."""
        return np.where(self.counted, values, np.nan)

    def _table(self, values: Doubles) -> Doubles:
        """Return the means for each pair of views (probe views, gallery views)."""
        sums, counts = self._sums(values, np.zeros(len(values), np.int64), 1)
        return cells(sums[0], counts[0])

    def _sums(self, values: Doubles, person: Ints, people: int) -> tuple[Doubles, Doubles]:
        """Return the sums and the numbers of `values`, each (people, probe views, gallery views)."""
        shape = (people, len(self.probe_views), len(self.gallery_views))
        sums, counts = np.zeros(shape), np.zeros(shape)
        known = ~np.isnan(values)
        np.add.at(sums, (person, self.row_view), np.where(known, values, 0))
        np.add.at(counts, (person, self.row_view), known)
        return sums, counts


def _values(metric: str, found: Searches) -> Doubles:
    if metric == "mAP":
        return found.precision
    if metric == "mINP":
        return found.inverse
    rank = int(metric.removeprefix("Rank-"))
    return ((found.first >= 0) & (found.first < rank)).astype(np.float64)


def _largest(features: Floats, metric: Metric) -> float:
    """Return an upper bound of all distances."""
    if metric == "cosine":
        return 2.0
    norms = np.sqrt(np.einsum("npc,npc->np", features, features))
    return 2 * float(norms.max(axis=0).mean()) or 1.0


def _reranked(features: Floats, group: Group, metric: Metric) -> Doubles:
    both = features[np.concatenate([group.probes, group.gallery])]
    return reranked(part_distances(both, both, metric), len(group.probes))


def _plain(values: Doubles) -> list[float | None]:
    return [none_for_nan(value) for value in values.tolist()]
