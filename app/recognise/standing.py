"""Which walks of a person help to recognise them: each is left out once and compared with the rest of the gallery."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from app.gallery.distances import distances_between
from app.gallery.store import EnrolledWalk, GalleryStore
from app.recognise.matching import identity_distances
from app.settings import MatchSettings

_RIVALS = 20  # further walks that are searched for each walk, to find the nearest other people


@dataclass(frozen=True)
class Standing:
    """How a walk stands between its own person and others, if it were a walk that is to be named.

    `own` is its distance to the person's other walks, None where there is no other one. `other` is its distance to the
    nearest other person, `nearest`; both are None where there is nobody else. Both are means over the nearest walks
    (`app.recognise.matching.identity_distances`), of one gait network alone.
    """

    walk_id: int
    own: float | None
    other: float | None
    nearest: str | None

    @property
    def harms(self) -> bool:
        """Whether somebody else is nearer than the person's own other walks."""
        return self.own is not None and self.other is not None and self.other < self.own


def standings(gallery: GalleryStore, name: str, match: MatchSettings) -> list[Standing]:
    """Compare each walk of a person with the person's other walks and with everybody else.

    Args:
        gallery: where the person is.
        name: the person.
        match: how walks are compared; `metric` and `neighbours` count.

    Raises:
        GalleryError: nobody has that name.
    """
    found: dict[int, Standing] = {}
    walks = gallery.walks(name)
    for model_id in dict.fromkeys(walk.model_id for walk in walks):
        own = [walk for walk in walks if walk.model_id == model_id]
        found |= {one.walk_id: one for one in _of_one_model(gallery, own, match)}
    return [found[walk.walk_id] for walk in walks]


def _of_one_model(gallery: GalleryStore, own: list[EnrolledWalk], match: MatchSettings) -> list[Standing]:
    embeddings = gallery.embeddings([walk.walk_id for walk in own])
    near = gallery.search(embeddings, len(own) + _RIVALS, match.metric)
    rivals = {neighbour.person_id for row in near for neighbour in row} - {own[0].person_id}
    names = gallery.names_of(rivals)
    others = gallery.walks_of(names, own[0].model_id)
    table = identity_distances(
        distances_between(embeddings, gallery.embeddings([walk.walk_id for walk in others]), match.metric),
        [names[walk.person_id] for walk in others],
        match.neighbours,
    )
    people = list(dict.fromkeys(names[walk.person_id] for walk in others))
    among = distances_between(embeddings, embeddings, match.metric)
    np.fill_diagonal(among, np.inf)
    found = []
    for row, walk in enumerate(own):
        nearest = int(table[row].argmin()) if people else None
        rest = np.sort(among[row])[: min(match.neighbours, len(own) - 1)]
        found.append(
            Standing(
                walk.walk_id,
                float(rest.mean()) if len(rest) else None,
                float(table[row, nearest]) if nearest is not None else None,
                people[nearest] if nearest is not None else None,
            )
        )
    return found
