"""Whether stated probabilities can be believed: each claim is compared with what turned out to be true."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.gallery.distances import Distances
from app.lab.evaluation.bootstrap import Doubles
from app.recognise.scores import ScoreModel
from app.types import Bools, Ints

GALLERY_SIZES = (1, 4, 10, 25)
"""Numbers of people in the galleries of `random_searches`."""
_BINS = 10


@dataclass(frozen=True, eq=False)
class Claims:
    """What was claimed about searches, and what was true.

    `probability` (n,) is the stated probability that the nearest person is the right one, `right` (n,) whether this
    was so, and `size` (n,) the number of people in the gallery.
    """

    probability: Doubles
    right: Bools
    size: Ints

    @classmethod
    def joined(cls, parts: Sequence[Claims]) -> Claims:
        """Return the claims of all `parts`."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in cls.__dataclass_fields__))

    def bins(self) -> list[tuple[float, float, int]]:
        """Sort the claims into tenths: mean stated probability, share that was right, number; without empty bins."""
        place = np.minimum((self.probability * _BINS).astype(np.int64), _BINS - 1)
        return [
            (float(self.probability[inside].mean()), float(self.right[inside].mean()), int(inside.sum()))
            for inside in (place == number for number in np.unique(place))
        ]

    def error(self) -> float:
        """Return the expected calibration error: by how much a claim's bin is wrong on average (Naeini 2015)."""
        return sum(count * abs(stated - true) for stated, true, count in self.bins()) / len(self.right)


def random_searches(
    scores: ScoreModel,
    distances: Distances,
    people: Ints,
    recordings: Sequence[str],
    count: int = 2000,
) -> Claims:
    """Search for random walks in random galleries of one walk each; note what `scores` claim about the nearest.

    `scores` were fitted to other people. `distances` (n, n) are between all walks, `people` (n,) is whose they are, and
    `recordings` (n,) which of the person's recordings. There are `count` searches for each of `GALLERY_SIZES` that does
    not need more people. In half of them the gallery holds another recording of the walk's person.
    """
    rng = np.random.default_rng(0)
    names, person = np.unique(people, return_inverse=True)
    _, recording = np.unique(np.array(recordings), return_inverse=True)
    order = np.argsort(person, kind="stable")
    starts = np.searchsorted(person[order], np.arange(len(names)))
    found = []
    for size in (size for size in GALLERY_SIZES if size < len(names)):
        probes = rng.integers(0, len(people), count)
        own = person[probes]
        mates = (person == own[:, None]) & (recording != recording[probes, None])
        known = (rng.random(count) < 0.5) & mates.any(1)
        # Draw one walk of every person (of the probe's person one of another recording), then `size` of these people.
        lots = np.where(mates | (person != own[:, None]), rng.random(mates.shape), -1)
        best = np.maximum.reduceat(lots[:, order], starts, axis=1)
        chosen = np.where(lots == best[:, person], distances[probes], np.inf)
        table = np.minimum.reduceat(chosen[:, order], starts, axis=1)
        turns = rng.random(table.shape)
        turns[np.arange(count), own] = np.where(known, -1, 2)
        gallery = np.argsort(turns, axis=1)[:, :size]
        in_gallery = np.take_along_axis(table, gallery, axis=1)
        nearest = in_gallery.argmin(1)
        probability = scores.probabilities(in_gallery)[np.arange(count), nearest]
        found.append(Claims(probability, known & (nearest == 0), np.full(count, size)))
    return Claims.joined(found)
