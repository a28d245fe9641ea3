"""Which walks of a person help to recognise them: each is left out once and compared with the rest of the gallery."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from app.gallery.sql import GalleryStore
from app.gallery.store import EnrolledWalk
from app.recognise.judge import Learnt
from app.recognise.matching import identity_distances
from app.recognise.scores import ScoreModel
from app.recognise.stature import Stature, with_statures
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


def standings(
    gallery: GalleryStore,
    name: str,
    match: MatchSettings,
    scores_of: Callable[[str], ScoreModel | None] = lambda model_id: None,
) -> list[Standing]:
    """Compare each walk of a person with the person's other walks and with everybody else, as the judge compares walks.

    Of `match`, `metric`, `adapt`, `stature` and `neighbours` count. `scores_of` returns the calibrated scores of a gait
    model, by its id.

    Raises:
        GalleryError: nobody has that name.
    """
    found: dict[int, Standing] = {}
    walks = gallery.walks(name)
    for model_id in dict.fromkeys(walk.model_id for walk in walks):
        own = [walk for walk in walks if walk.model_id == model_id]
        learnt = Learnt.of_model(gallery, model_id, match, scores_of(model_id))
        found |= {one.walk_id: one for one in _of_one_model(gallery, own, match, learnt)}
    return [found[walk.walk_id] for walk in walks]


def _of_one_model(
    gallery: GalleryStore, own: list[EnrolledWalk], match: MatchSettings, learnt: Learnt
) -> list[Standing]:
    embeddings = gallery.embeddings([walk.walk_id for walk in own])
    near = gallery.search(embeddings, len(own) + _RIVALS, match.metric)
    rivals = {neighbour.person_id for row in near for neighbour in row} - {own[0].person_id}
    names = gallery.names_of(rivals)
    others = gallery.walks_of(names, own[0].model_id)
    embeddings += gallery.embeddings([walk.walk_id for walk in others])
    space = learnt.space.knowing_all(gallery, [*own, *others])
    distances = space.gallery_distances([*own, *others], embeddings, match.metric)[: len(own)]
    if match.stature and learnt.scores is not None:
        statures = [Stature.of(walk.measures) for walk in (*own, *others)]
        distances = with_statures(distances, statures[: len(own)], statures, learnt.scores.evidence[1])
    table = identity_distances(distances[:, len(own) :], [names[walk.person_id] for walk in others], match.neighbours)
    people = list(dict.fromkeys(names[walk.person_id] for walk in others))
    among = distances[:, : len(own)]
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
