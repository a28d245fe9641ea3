"""The one judge: who each walk is, how far a walk may be from a person, and how probable the name is.

Every command asks this judge: the main job, whose gallery video is a gallery that lives for one run, `identify`, the
live watch, the web page and the Python interface. So the same people get the same answer everywhere.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

import numpy as np

from app.errors import GalleryError, SettingsError
from app.gallery.distances import Distances, Metric, distances_between, is_same_recording, part_distances
from app.gallery.sql import GalleryStore
from app.gallery.store import EnrolledWalk
from app.recognise.adaptation import Shared, embeddings_around, middles, people_in
from app.recognise.calibration import Threshold, derive_threshold, impostor_distances
from app.recognise.covisible import covisible, own_frames
from app.recognise.domain import adapt
from app.recognise.matching import Agreement, agreement, confidence, identity_distances, match
from app.recognise.scores import ScoreModel, find_scores
from app.recognise.stature import Stature, statures_of, with_statures
from app.settings import MatchSettings
from app.types import Candidate, Doubles, Embedding, Ints, Match, ModelCard, Track
from app.walks.analysed import AnalysedVideo

logger = logging.getLogger(__name__)

_MOST_WALKS = 400
"""A threshold is derived from so many of the newest walks of the gallery and of each video: their 80,000 pairs are
enough. What the walks of a source or a video share is measured on as many."""
_WALKS_AT_ONCE = 64
"""The pieces of so many walks are compared with the gallery at once."""


@dataclass(frozen=True)
class Decision:
    """Who one walk is, and everything that can be said about it.

    `match` is the comparison behind the decision; None for a walk that belongs to the gallery itself. `probability` is
    that of `identity`, or of the nearest candidate of an unknown walk; None where nothing is known of what distances
    mean here. `agreement` says how many pieces of the walk agree; None where the gait model saw it whole.
    `recording_of` is the person whom the gallery has this very recording of. Its distance says nothing about
    recognition, so there is no probability then.
    """

    identity: str | None
    match: Match | None = None
    probability: float | None = None
    agreement: Agreement | None = None
    recording_of: str | None = None

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
        name = self.identity or self.candidates[0].identity
        others = [candidate.distance for candidate in self.candidates if candidate.identity != name]
        return others[0] - self.distance if others else None

    @property
    def confidence(self) -> float | None:
        """How clear the decision is, 0..1 (`app.recognise.matching.confidence`).

        None without an identity, and for a recording that the gallery has.
        """
        is_compared = self.match is not None and self.identity is not None and self.recording_of is None
        return confidence(self.match) if self.match and is_compared else None

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

    `scores` are the calibrated scores, adapted to this place. They are None where the model has no scores or where they
    do not hold here; `note` says why.
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

    The distances between people who certainly differ show whether the scores hold (`app.recognise.domain`). The
    threshold is that of the settings, if they give one. Otherwise it is that of the scores at ``settings.far``. Where
    no scores hold, it is derived from the distances.

    Args:
        impostors: distances between walks of people who certainly differ (n,).
        genuine: distances between walks that are certainly of one person (m,).
        walks: how many walks these distances come from.
        scores: what the model's distances mean, from `find_scores`.

    Raises:
        GalleryError, SettingsError: see `check_settings`.
    """
    check_settings(settings, scores)
    note = f"no calibrated scores are known for {card.name}"
    if scores is not None:
        domain = adapt(scores, impostors, walks)
        scores, note = domain.scores, domain.note
    if settings.threshold is not None:
        threshold = Threshold(settings.threshold, "as the settings say")
    elif scores is not None:
        threshold = Threshold(
            scores.threshold(settings.far), f"{100 * settings.far:.3g} % false accepts, as measured on {scores.data}"
        )
    else:
        threshold = derive_threshold(impostors, genuine)
    return Limits(threshold, scores, note)


@dataclass(frozen=True, eq=False)
class Scene:
    """The walks that one video, or one camera, has shown: their embeddings and tracks."""

    embeddings: Sequence[Embedding]
    tracks: Sequence[Track]

    @classmethod
    def of(cls, video: AnalysedVideo) -> Scene:
        """Return the usable walks of a video."""
        usable = video.usable()
        embeddings = [walk.embedding for walk in usable if walk.embedding is not None]
        return cls(embeddings, [walk.track for walk in usable])

    @property
    def frames(self) -> list[Ints]:
        """The frames of each track in which it certainly has a body of its own."""
        return own_frames(self.tracks)

    def newest(self) -> Scene:
        """Return the scene with its newest walks, which are enough to measure something on."""
        return Scene(self.embeddings[-_MOST_WALKS:], self.tracks[-_MOST_WALKS:])

    def shared(self) -> Shared | None:
        """Return what its newest walks share; None where there are none."""
        if not self.embeddings:
            return None
        newest = self.newest()
        parts = np.stack([embedding.parts for embedding in newest.embeddings])
        return Shared.of(parts, people_in(parts, covisible(newest.frames)))


@dataclass(frozen=True, eq=False)
class Space:
    """How walks of different videos are compared.

    `centre` (P, C) is the middle of the training's videos; None where embeddings are compared as they are. `sources`
    are what the walks of each video in the gallery share, and `people` is how many people the gallery has. Without
    `adapt` the middle of every video is taken to be the training's.
    """

    centre: Doubles | None
    adapt: bool
    sources: Mapping[str, Shared] = field(default_factory=dict)
    people: int = 0

    @classmethod
    def of(cls, scores: ScoreModel | None, settings: MatchSettings, people: int = 0) -> Space:
        """Return the space of calibrated scores, for a gallery of so many people."""
        return cls(None if scores is None else scores.middle, settings.adapt, {}, people)

    def middles(self, scene: Shared | None) -> tuple[dict[str, Doubles], Doubles]:
        """Return the middle of each source of the gallery, and that of a scene that is compared with it.

        Raises:
            ValueError: embeddings are compared as they are, so there are no middles.
        """
        if self.centre is None:
            raise ValueError("embeddings that are compared as they are have no middles")
        if not self.adapt:
            return dict.fromkeys(self.sources, self.centre), self.centre
        videos = [*self.sources.values(), *([scene] if scene else [])]
        people = max(self.people, scene.people if scene else 0)
        found = middles(videos, self.centre, people)
        return dict(zip(self.sources, found, strict=False)), found[-1] if scene else self.centre

    def knowing(self, walks: Sequence[EnrolledWalk], embeddings: Sequence[Embedding]) -> Space:
        """Return this space with the sources of some more of the gallery's walks."""
        by_source: dict[str, list[int]] = {}
        for index, walk in enumerate(walks):
            by_source.setdefault(walk.source, []).append(index)
        sources = dict(self.sources)
        for source, own in by_source.items():
            people = np.array([walks[index].person_id for index in own])
            sources[source] = Shared.of(np.stack([embeddings[index].parts for index in own]), people)
        return replace(self, sources=sources)

    def knowing_all(self, gallery: GalleryStore, walks: Sequence[EnrolledWalk]) -> Space:
        """Return this space with the sources of all these walks of one gait model, which are in the gallery."""
        missing = {walk.source for walk in walks} - set(self.sources)
        if self.centre is None or not missing:
            return self
        more = gallery.newest_walks(walks[0].model_id, _MOST_WALKS, missing)
        return self.knowing(more, gallery.embeddings([walk.walk_id for walk in more]))

    def in_gallery(self, embeddings: Sequence[Embedding], scene: Shared | None) -> list[Embedding]:
        """Return a scene's embeddings as if they had been filmed where the gallery was, on average.

        The search of a large gallery compares embeddings as they are, so it needs them. There are none where nothing
        is known of scenes.
        """
        if self.centre is None or not self.sources:
            return []
        sources, middle = self.middles(scene)
        moved = np.mean(list(sources.values()), axis=0) - middle
        return [replace(one, parts=(one.parts + moved).astype(np.float32), pieces=None) for one in embeddings]

    def gallery_distances(
        self, walks: Sequence[EnrolledWalk], embeddings: Sequence[Embedding], metric: Metric, *, whole: bool = False
    ) -> Distances:
        """Return the distances between walks of the gallery (n, n): as walks are named, or those of `whole` walks.

        Calibrated scores are held against those of whole walks (`_of_means`).
        """
        if self.centre is None:
            return distances_between(embeddings, embeddings, metric)
        moved = _around_sources(walks, embeddings, self.middles(None)[0])
        distances = _of_means(moved, metric) if whole else distances_between(moved, moved, metric)
        if self.adapt:
            sources = np.array([walk.source for walk in walks])
            widening = np.array([self.sources[walk.source].widening for walk in walks])
            distances /= np.where(sources[:, None] == sources, widening[:, None], 1)
        return distances

    def within(self, scene: Scene, metric: Metric) -> Distances:
        """Return the distances between the walks of a scene (n, n)."""
        shared = scene.shared()
        if self.centre is None or shared is None:
            return distances_between(scene.embeddings, scene.embeddings, metric)
        return _of_means(embeddings_around(scene.embeddings, self.middles(shared)[1]), metric)

    def impostors(self, scene: Scene, metric: Metric) -> Distances:
        """Return the distances between walks of a scene that share a frame, so that they are of different people (n,).

        The newest walks count. What a scene's own share of the mean adds to them is taken off (`Shared.widening`).
        """
        scene = scene.newest()
        distances = impostor_distances(self.within(scene, metric), scene.frames)
        shared = scene.shared()
        is_widened = self.centre is not None and self.adapt and shared is not None
        return distances / shared.widening if is_widened and shared is not None else distances


@dataclass(frozen=True, eq=False)
class Learnt:
    """What a judge learns from a gallery alone, whichever videos it is to judge.

    `space` says how walks are compared. `impostors` (n,) are distances between walks of different people, and `genuine`
    (m,) between walks of one person. They come from the `walks` newest ones.
    """

    scores: ScoreModel | None
    space: Space
    impostors: Distances
    genuine: Distances
    walks: int

    @classmethod
    def of(cls, gallery: GalleryStore, card: ModelCard, settings: MatchSettings) -> Learnt:
        """Learn from a gallery as it is now; `GalleryError` where the gallery is empty or of another gait model."""
        check_comparable(gallery, card)
        return cls.of_model(gallery, card.model_id, settings, find_scores(card, settings.metric, gallery.path))

    @classmethod
    def of_model(
        cls, gallery: GalleryStore, model_id: str, settings: MatchSettings, scores: ScoreModel | None
    ) -> Learnt:
        """Learn from the walks of one gait model, of which the gallery has some; `scores` are its calibrated ones."""
        walks = gallery.newest_walks(model_id, _MOST_WALKS)
        embeddings = gallery.embeddings([walk.walk_id for walk in walks])
        owners = np.array([walk.person_id for walk in walks])
        space = Space.of(scores, settings, people=len(np.unique(owners))).knowing(walks, embeddings)
        distances = space.gallery_distances(walks, embeddings, settings.metric, whole=True)
        pairs = np.triu(np.ones(distances.shape, np.bool_), 1)
        same = owners[:, None] == owners
        return cls(scores, space, distances[pairs & ~same], distances[pairs & same], len(walks))


@dataclass(frozen=True)
class Judge:
    """Names walks after the people of one gallery. `Judge.of` makes one.

    `threshold` is None in a closed set. `scores` say what distances mean here, or are None where that is not known.
    `space` says how walks are compared, and `note` whether the model's calibrated scores hold here.
    """

    gallery: GalleryStore
    settings: MatchSettings
    threshold: Threshold | None
    scores: ScoreModel | None
    space: Space
    note: str = ""

    @classmethod
    def of(
        cls,
        gallery: GalleryStore,
        card: ModelCard,
        settings: MatchSettings,
        videos: Sequence[AnalysedVideo] = (),
        *,
        together: Sequence[Scene] = (),
        halves: Callable[[], Distances] = lambda: np.zeros(0),
        learnt: Learnt | None = None,
    ) -> Judge:
        """Make a judge, whose threshold is learnt from the gallery and from the people who are in view together.

        Scores that were fitted to the gallery's own walks are preferred to those of the model (`find_scores`).

        Args:
            videos: videos in which people may be in view together.
            together: what live sources have shown.
            halves: returns the distances between the halves of walks (n,). It is called only where there is nothing
                else to derive a threshold from, because the gait network has to run again for it.
            learnt: what another judge has learnt from the same gallery with the same card, metric and adaptation.

        Raises:
            GalleryError: the gallery is empty or of another gait model, or see `check_settings`.
        """
        learnt = learnt or Learnt.of(gallery, card, settings)
        scores, space, genuine = learnt.scores, learnt.space, learnt.genuine
        scenes = [*map(Scene.of, videos), *together]
        impostors = np.concatenate([learnt.impostors, *(space.impostors(scene, settings.metric) for scene in scenes)])
        if not len(impostors) and not len(genuine) and settings.threshold is None and not settings.closed:
            genuine = halves()
        tracks = sum(len(scene.newest().tracks) for scene in scenes)
        limits = learn_limits(card, settings, impostors, genuine, learnt.walks + tracks, scores)
        note = limits.note if scores is not None else ""
        return cls(gallery, settings, None if settings.closed else limits.threshold, limits.scores, space, note)

    def explain(self) -> None:
        """Log what the threshold is, where it comes from, and whether the calibrated scores hold here."""
        if self.note:
            logger.info("Calibration: %s.", self.note)
        if self.threshold is not None:
            logger.info("The threshold is %.4g (%s).", self.threshold.value, self.threshold.source)
            if self.threshold.warning:
                logger.warning("%s", self.threshold.warning)

    def decide(
        self,
        embeddings: Sequence[Embedding],
        tracks: Sequence[Track],
        seen: Scene | None = None,
        statures: Mapping[int, Stature] | None = None,
    ) -> list[Decision]:
        """Name the walks of one video, or of the people in view of a camera: one decision for each, in order.

        Walks that share a frame never receive the same name (`app.recognise.matching.match`), and no walk receives a
        name of which somebody has said that it is not this one (`GalleryStore.deny`). `seen` is everything that the
        camera has shown, which tells what it does to walks; None: these walks.

        Raises:
            GalleryError: nobody in the gallery can be compared.
        """
        if not embeddings:
            return []
        metric, neighbours = self.settings.metric, self.settings.neighbours
        frames = own_frames(tracks)
        denied = [others.keys() for others in self.gallery.denied(embeddings)]
        # People in view together need different names. So each walk needs one candidate more than it meets others. The
        # search is so deep that even the people with the most walks cannot fill the list alone.
        rivals = int(covisible(frames).sum(axis=1).max())
        depth = neighbours + sum(self.gallery.most_walks(rivals + 1))
        model_id = embeddings[0].model_id
        shared = (seen or Scene(embeddings, tracks)).shared()
        queries = [*embeddings, *self.space.in_gallery(embeddings, shared)]
        found = self.gallery.search(queries, depth, metric)
        people = self.gallery.names_of({neighbour.person_id for row in found for neighbour in row})
        recordings = [
            people[row[0].person_id] if row and is_same_recording(row[0].distance, embedding, metric) else None
            for row, embedding in zip(found, embeddings, strict=False)
        ]
        recordings = [None if name in others else name for name, others in zip(recordings, denied, strict=True)]
        # All walks of these people are compared, so that the mean over the nearest is exact for every walk.
        walks = self.gallery.walks_of(people, model_id)
        enrolled = self.gallery.embeddings([walk.walk_id for walk in walks])
        if self.space.centre is not None:
            sources, middle = self.space.knowing_all(self.gallery, walks).middles(shared)
            enrolled = _around_sources(walks, enrolled, sources)
            embeddings = embeddings_around(embeddings, middle)
        names = [people[walk.person_id] for walk in walks]
        distances = distances_between(embeddings, enrolled, metric)
        if statures and self.settings.stature and self.scores is not None:
            seen_statures = [statures.get(track.track_id) for track in tracks]
            enrolled_statures = [Stature.of(walk.measures) for walk in walks]
            distances = with_statures(distances, seen_statures, enrolled_statures, self.scores.evidence[1])
        matches = match(
            distances,
            frames,
            names,
            self.threshold.value if self.threshold else None,
            [track.track_id for track in tracks],
            neighbours,
            denied,
        )
        probabilities: Sequence[float | None] = [None] * len(matches)
        if self.scores is not None:
            people_compared = self.gallery.people_with(model_id)
            probabilities = self.scores.of_matches(matches, frames, people_compared, closed=self.settings.closed)
        return [
            Decision(each.identity, each, None if recording else probability, votes, recording)
            for each, probability, votes, recording in zip(
                matches, probabilities, self._agreements(matches, embeddings, enrolled, names), recordings, strict=True
            )
        ]

    def decide_video(self, video: AnalysedVideo) -> dict[int, Decision]:
        """Name the usable walks of a video. Return the decisions by track number.

        A warning says where pieces of a walk disagree, and where the gallery has the very recording.
        """
        usable = video.usable()
        embeddings = [walk.embedding for walk in usable if walk.embedding is not None]
        decisions = self.decide(embeddings, [walk.track for walk in usable], statures=statures_of(video))
        for walk, decision in zip(usable, decisions, strict=True):
            if decision.recording_of is not None:
                logger.warning(
                    "%s: track %d is the very recording that %s was enrolled from, so it says nothing about how well "
                    "others are recognised.",
                    *(video.name, walk.track.track_id, decision.recording_of),
                )
            votes = decision.agreement
            if decision.identity is not None and votes is not None and votes.divided:
                logger.warning(
                    "%s: track %d is named %s, but only %d of the %d pieces of the walk are nearest to %s.",
                    *(video.name, walk.track.track_id, decision.identity, votes.agreeing, votes.pieces),
                    decision.identity,
                )
        return {walk.track.track_id: decision for walk, decision in zip(usable, decisions, strict=True)}

    def _agreements(
        self,
        matches: Sequence[Match],
        embeddings: Sequence[Embedding],
        enrolled: Sequence[Embedding],
        names: Sequence[str],
    ) -> list[Agreement | None]:
        """Return how many pieces of each walk agree; None for a walk that the network saw whole."""
        people = list(dict.fromkeys(names))
        found: list[Agreement | None] = []
        for start in range(0, len(matches), _WALKS_AT_ONCE):
            some = slice(start, start + _WALKS_AT_ONCE)
            pieces = [embedding.of_pieces() for embedding in embeddings[some]]
            distances = distances_between(list(chain.from_iterable(pieces)), enrolled, self.settings.metric)
            table = identity_distances(distances, names, self.settings.neighbours)
            ends = np.cumsum([len(each) for each in pieces])
            for decided, each, end in zip(matches[some], pieces, ends, strict=True):
                found.append(agreement(decided, table[end - len(each) : end], people))
        return found


def _of_means(walks: Sequence[Embedding], metric: Metric) -> Distances:
    """Return the distances between whole walks, however many views each has (n, n).

    Calibrated scores were learnt from them, so a video's people are held against the training's by them as well. The
    more views two people have, the nearer the nearest of them are.
    """
    parts = np.stack([walk.parts for walk in walks])
    return part_distances(parts, parts, metric)


def _around_sources(
    walks: Sequence[EnrolledWalk], embeddings: Sequence[Embedding], middles: Mapping[str, Doubles]
) -> list[Embedding]:
    """Return walks of the gallery, each around the middle of its source."""
    return [
        moved
        for walk, embedding in zip(walks, embeddings, strict=True)
        for moved in embeddings_around([embedding], middles[walk.source])
    ]


def check_settings(settings: MatchSettings, scores: ScoreModel | None) -> None:
    """Check the settings that decide the threshold, with the scores of the gait model or the gallery, before the long
    work.

    Raises:
        SettingsError: there is a threshold for a closed set, which has none.
        GalleryError: the scores were measured with too few people for so small a false accept rate. Only the rate of a
            threshold that has to be derived matters.
    """
    if settings.closed and settings.threshold is not None:
        raise SettingsError(
            f"A closed set has no threshold, because every walk gets the best name. Leave out either the threshold "
            f"{settings.threshold:g} or --closed."
        )
    if scores is not None and settings.threshold is None and not settings.closed:
        scores.threshold(settings.far)


def check_comparable(gallery: GalleryStore, card: ModelCard) -> None:
    """Check, before the long work, that a gallery has walks of the gait model of the run.

    Raises:
        GalleryError: the gallery is empty, or all its walks come from other gait models than that of `card`.
    """
    models = gallery.model_ids()
    if not models:
        raise GalleryError("The gallery is empty. Add people to it: python -m app enrol VIDEO --name NAME.")
    if card.model_id not in models:
        raise GalleryError(
            f"The walks in the gallery come from the model {', '.join(models)}, not from {card.model_id}. Walks of "
            "different models cannot be compared. Use the gallery's model, or embed its walks again: "
            "python -m app gallery re-embed."
        )
