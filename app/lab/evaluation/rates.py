"""Error rates of verification and of open-set identification (ISO/IEC 19795-1:2021).

A genuine distance lies between two walks of one person, an impostor distance between walks of two people. A search is
mated where the probe's person is in the gallery, and non-mated where the probe is a stranger.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.gallery.distances import Distances
from app.lab.evaluation.bootstrap import Doubles
from app.types import Bools


def false_negative_identification_rate(
    mated: Distances,
    non_mated: Distances,
    false_positive_rate: float,
    mated_weights: Doubles | None = None,
    non_mated_weights: Doubles | None = None,
) -> float:
    """Return the FNIR at the threshold that a FPIR, from 0 to below 1, allows.

    A non-mated search is a false positive where anybody lies within the threshold. The threshold is the largest at
    which no more than the given share of these searches are false positives. A mated search fails where somebody else
    is nearer than the right person, or the right person is not within the threshold.

    `mated` (n,) is the distance to the right person in each mated search, infinite where somebody else is nearer, and
    `non_mated` (m,) that to the nearest person in each other search. The weights say how often each search counts;
    None: once.
    """
    order = np.argsort(non_mated)
    weights = np.ones(len(non_mated)) if non_mated_weights is None else non_mated_weights[order]
    passed = np.cumsum(weights) / weights.sum()
    # The first stranger who would be one too many is outside the threshold.
    first_outside = np.searchsorted(passed, false_positive_rate + 1e-9, side="right").clip(max=len(order) - 1)
    missed = ~(mated < non_mated[order[first_outside]])
    return float(np.average(missed, weights=mated_weights))


def equal_error_rate(genuine: NDArray[Any], impostor: NDArray[Any]) -> float:
    """Return the error rate at the threshold that refuses as many genuine pairs as it accepts impostor pairs.

    `genuine` and `impostor` (n,) are how many such pairs have each distance, or fall into each bin of distances, in
    rising order. NaN is returned where there are none of one kind.
    """
    if not (genuine.any() and impostor.any()):
        return float("nan")
    refused = 1 - np.cumsum(genuine) / genuine.sum()
    accepted = np.cumsum(impostor) / impostor.sum()
    place = int(np.argmin(np.abs(refused - accepted)))
    return max(0.0, float(refused[place] + accepted[place]) / 2)


class DistanceCounts:
    """A histogram of distances that grows block by block: `genuine` and `impostor`, int64 (bins,) each.

    The bins divide 0 to `largest` evenly. Whatever lies beyond counts in the last bin.
    """

    def __init__(self, largest: float) -> None:
        self.largest = largest
        self.genuine, self.impostor = np.zeros((2, 1 << 16), np.int64)

    def add(self, distances: Distances, genuine: Bools) -> None:
        """Count `distances`; `genuine`, of the same shape, says which lie between walks of one person."""
        bins = len(self.genuine)
        place = np.clip(distances * (bins / self.largest), 0, bins - 1).astype(np.int64)
        self.genuine += np.bincount(place[genuine], minlength=bins)
        self.impostor += np.bincount(place[~genuine], minlength=bins)

    def equal_error_rate(self) -> float:
        """Return the equal error rate, exact to one bin; NaN where a kind of pairs is missing."""
        return equal_error_rate(self.genuine, self.impostor)

    def shares(self, bins: int) -> tuple[Doubles, Doubles, Doubles]:
        """Divide the distances that occur into `bins` bins: their middles, and the shares of genuine and of impostor
        pairs in each.
        """
        used = np.flatnonzero(self.genuine + self.impostor)
        low, high = (int(used[0]), int(used[-1]) + 1) if len(used) else (0, len(self.genuine))
        width = self.largest / len(self.genuine)
        edges = np.linspace(low * width, high * width, bins + 1)
        middles = (np.arange(low, high) + 0.5) * width
        genuine, impostor = (
            np.histogram(middles, edges, weights=counts[low:high] / max(1, counts.sum()))[0]
            for counts in (self.genuine, self.impostor)
        )
        return (edges[:-1] + edges[1:]) / 2, genuine, impostor
