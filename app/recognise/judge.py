"""The one judge: who each walk is, how far a walk may be from a person, and how probable the name is.

Every command asks this judge: the main job, whose gallery video is a gallery that lives for one run, `identify`, the
live watch, the web page and the Python interface. So the same people get the same answer everywhere.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from app.errors import GalleryError
from app.gallery.distances import Distances, distances_between
from app.gallery.store import GalleryStore
from app.recognise.calibration import Threshold, derive_threshold, impostor_distances
from app.recognise.covisible import visibility
from app.recognise.domain import adapt
from app.recognise.matching import Agreement, agreement, confidence, match
from app.recognise.scores import ScoreModel, find_scores
from app.settings import MatchSettings
from app.types import Candidate, Embedding, Match, ModelCard, Track
from app.walks.analyse import AnalysedVideo

logger = logging.getLogger(__name__)

_MOST_WALKS = 400
"""The newest gallery walks, from which a threshold is derived: 80,000 pairs are enough."""


@dataclass(frozen=True)
class Decision:
    """Who one walk is, and everything that can be said about it.

    `match` is the comparison behind the decision; None for a walk that belongs to the gallery itself. `probability` is
    that of `identity`, or of the nearest candidate of an unknown walk; None where nothing is known of what distances
    mean here. `agreement` says how many pieces of the walk agree; None where the gait model saw it whole.
    """

    identity: str | None
    match: Match | None = None
    probability: float | None = None
    agreement: Agreement | None = None

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """Everybody the walk was compared with in detail, by rising distance."""
        return self.match.candidates if self.match else ()

    @property
    def distance(self) -> float | None:
        """The distance to `identity`, or to the nearest candidate of an unknown walk."""
        if self.match is not None and self.match.distance is not None:
            return self.match.distance
        return self.candidates[0].distance if self.candidates else None

    @property
    def margin(self) -> float | None:
        """How much further the next candidate is than `distance`. It is negative where somebody else is nearer."""
        if self.distance is None:
            return None
        others = [candidate.distance for candidate in self.candidates if candidate.identity != self.identity]
        rest = others if self.identity is not None else others[1:]
        return rest[0] - self.distance if rest else None

    @property
    def confidence(self) -> float | None:
        """How clear the decision is, 0..1 (`app.recognise.matching.confidence`); None without an identity."""
        return confidence(self.match) if self.match and self.identity is not None else None

    @property
    def threshold(self) -> float | None:
        """The largest distance that counted as the same person."""
        return self.match.threshold if self.match else None

    @property
    def reason(self) -> str | None:
        """Why there is no identity."""
        return self.match.reason if self.match else None


@dataclass(frozen=True)
class Limits:
    """How far a walk may be from a person, and what distances mean.

    `scores` are the calibrated scores as they hold here, None where they do not or where the model has none; `note`
    says why.
    """

    threshold: Threshold
    scores: ScoreModel | None
    note: str


def learn_limits(
    card: ModelCard,
    settings: MatchSettings,
    impostors: Distances,
    genuine: Distances,
    walks: int,
    scores: ScoreModel | None,
) -> Limits:
    """Decide how far a walk may be from a person, and whether the calibrated scores of the model hold here.

    People who surely differ say whether the scores hold (`app.recognise.domain`). The threshold is the one that the
    settings give; else the one of the scores at ``settings.far``; else, where no scores hold, one derived from the
    people who surely differ.

    Args:
        card: the gait model's.
        settings: how walks are compared.
        impostors: distances between walks of people who surely differ (n,).
        genuine: distances between walks that are surely of one person (m,).
        walks: how many walks these distances come from.
        scores: what the model's distances mean, from `find_scores`.

    Raises:
        GalleryError: the scores know nothing about so small a false accept rate.
    """
    note = f"no calibrated scores are known for {card.name}"
    if scores is not None:
        scores.threshold(settings.far)  # a rate that is too small is an error even where the scores do not hold
        domain = adapt(scores, impostors, walks)
        scores, note = domain.scores, domain.note
    if settings.threshold is not None:
        threshold = Threshold(settings.threshold, "given")
    elif scores is not None:
        threshold = Threshold(scores.threshold(settings.far), f"{settings.far:.2%} false accepts, {scores.data}")
    else:
        threshold = derive_threshold(impostors, genuine)
    return Limits(threshold, scores, note)


class Judge:
    """Names walks after the people of one gallery. Made by `Judge.of`."""

    def __init__(
        self,
        gallery: GalleryStore,
        settings: MatchSettings,
        threshold: Threshold | None,
        scores: ScoreModel | None,
    ) -> None:
        self.gallery = gallery
        self.settings = settings
        self.threshold = threshold
        """None in a closed set."""
        self.scores = scores
        """What distances mean here; None where nothing is known."""

    @classmethod
    def of(
        cls,
        gallery: GalleryStore,
        card: ModelCard,
        settings: MatchSettings,
        videos: Sequence[AnalysedVideo] = (),
        *,
        together: Mapping[tuple[int, int], float] | None = None,
        halves: Callable[[], Distances] = lambda: np.zeros(0),
    ) -> Judge:
        """Learn the threshold from the gallery and from the people who are seen together.

        Scores learnt from the gallery's own walks come before those of the model (`find_scores`).

        Args:
            gallery: the people to know.
            card: the gait model's.
            settings: how walks are compared.
            videos: videos in which people are seen together.
            together: distances of tracks that were seen together, by their numbers, where there is no whole video.
            halves: returns the distances between the halves of walks (n,). It is called only where nobody is known to
                differ from anybody, as it makes the gait network work a second time.

        Raises:
            GalleryError: the gallery is empty or of another gait model, or the scores know nothing about so small a
                false accept rate.
        """
        check_comparable(gallery, card)
        walks = [walk for walk in gallery.walks() if walk.model_id == card.model_id][-_MOST_WALKS:]
        known = gallery.embeddings([walk.walk_id for walk in walks])
        distances = distances_between(known, known, settings.metric)
        owners = np.array([walk.person_id for walk in walks])
        pairs = np.triu(np.ones(distances.shape, np.bool_), 1)
        same = owners[:, None] == owners
        seen_together = together or {}
        impostors = np.concatenate(
            [
                distances[pairs & ~same],
                *(distances_between_people(video, settings) for video in videos),
                list(seen_together.values()),
            ]
        )
        tracks = len({track for pair in seen_together for track in pair}) + sum(len(v.usable()) for v in videos)
        genuine = distances[pairs & same]
        scores = find_scores(card, settings.metric, gallery.path)
        if not len(impostors) and not len(genuine) and settings.threshold is None and not settings.closed:
            genuine = halves()
        limits = learn_limits(card, settings, impostors, genuine, len(walks) + tracks, scores)
        if scores is not None:
            logger.info("Probabilities: %s.", limits.note)
        if settings.closed:
            return cls(gallery, settings, None, limits.scores)
        logger.info("The threshold is %.4g: %s.", limits.threshold.value, limits.threshold.source)
        if limits.threshold.warning:
            logger.warning("%s", limits.threshold.warning)
        return cls(gallery, settings, limits.threshold, limits.scores)

    def decide(self, embeddings: Sequence[Embedding], tracks: Sequence[Track]) -> list[Decision]:
        """Name the walks of one video, or those in view of a camera.

        Walks that share a frame never receive the same name (`app.recognise.matching.match`).

        Args:
            embeddings: of the walks.
            tracks: where the walks were seen.

        Returns:
            One decision for each walk, in order.

        Raises:
            GalleryError: nobody in the gallery can be compared.
        """
        if not embeddings:
            return []
        metric, neighbours = self.settings.metric, self.settings.neighbours
        frames = [track.frame_indices for track in tracks]
        people = {person.person_id: person for person in self.gallery.people()}
        # People who are seen together need different names, so for each walk as many people are searched for as are
        # seen at once; and the search goes so deep that the walks of the nearest people cannot fill the list alone.
        at_once = int(visibility(frames).sum(axis=1).max())
        most_walks = sorted((person.walks for person in people.values()), reverse=True)[:at_once]
        found = self.gallery.search(embeddings, neighbours + sum(most_walks), metric)
        near = {neighbour.person_id for neighbours_of_walk in found for neighbour in neighbours_of_walk}
        # All walks of those people, so that the mean over their nearest is exact for every walk of the video.
        comparable = [walk for walk in self.gallery.walks() if walk.model_id == embeddings[0].model_id]
        walks = [walk for walk in comparable if walk.person_id in near]
        known = self.gallery.embeddings([walk.walk_id for walk in walks])
        names = [people[walk.person_id].name for walk in walks]
        matches = match(
            distances_between(embeddings, known, metric),
            frames,
            names,
            self.threshold.value if self.threshold else None,
            [track.track_id for track in tracks],
            neighbours,
        )
        probabilities: Sequence[float | None] = [None] * len(matches)
        if self.scores is not None:
            people_compared = len({walk.person_id for walk in comparable})
            probabilities = self.scores.of_matches(matches, frames, people_compared, closed=self.settings.closed)
        return [
            Decision(each.identity, each, probability, self._agreement(each, embedding, known, names))
            for each, probability, embedding in zip(matches, probabilities, embeddings, strict=True)
        ]

    def decide_video(self, video: AnalysedVideo) -> dict[int, Decision]:
        """Name the usable walks of a video; the decisions by track number."""
        usable = video.usable()
        embeddings = [walk.embedding for walk in usable if walk.embedding is not None]
        decisions = self.decide(embeddings, [walk.track for walk in usable])
        for walk, decision in zip(usable, decisions, strict=True):
            votes = decision.agreement
            if decision.identity is not None and votes is not None and votes.divided:
                logger.warning(
                    "%s: track %d is named %s, but only %d of the %d pieces of the walk are nearest to %s.",
                    *(video.name, walk.track.track_id, decision.identity, votes.agreeing, votes.pieces),
                    decision.identity,
                )
        return {walk.track.track_id: decision for walk, decision in zip(usable, decisions, strict=True)}

    def _agreement(
        self, found: Match, embedding: Embedding, known: Sequence[Embedding], names: Sequence[str]
    ) -> Agreement | None:
        if embedding.pieces is None:
            return None
        distances = distances_between(embedding.of_pieces(), known, self.settings.metric)
        return agreement(found, distances, names, self.settings.neighbours)


def distances_between_people(video: AnalysedVideo, settings: MatchSettings) -> Distances:
    """Return the distances between walks of a video that share a frame, so that they are of different people (n,)."""
    usable = video.usable()
    own = [walk.embedding for walk in usable if walk.embedding is not None]
    return impostor_distances(
        distances_between(own, own, settings.metric), [walk.track.frame_indices for walk in usable]
    )


def check_comparable(gallery: GalleryStore, card: ModelCard) -> None:
    """Say before the long work that a gallery is of no use for a gait model.

    Raises:
        GalleryError: it is empty, or all its walks are of other gait models than `card`'s.
    """
    models = gallery.model_ids()
    if not models:
        raise GalleryError("The gallery is empty. Add people to it: python -m app enrol VIDEO --name NAME.")
    if card.model_id not in models:
        raise GalleryError(
            f"The walks in the gallery were embedded by {', '.join(models)}, not by {card.model_id}. Walks of "
            "different models cannot be compared. Use that model, or embed the walks again: "
            "python -m app gallery re-embed."
        )
