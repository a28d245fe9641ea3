"""Naming people in videos after the gallery that is kept, and bringing walks into it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from app.errors import GalleryError
from app.gallery.distances import Distances, Metric, distances_between
from app.gallery.store import JSON, GalleryStore
from app.progress import Progress, Stopwatch
from app.recognise.calibration import Threshold, derive_threshold, impostor_distances
from app.recognise.domain import adapt
from app.recognise.matching import Agreement, match
from app.recognise.pieces import split_switches
from app.recognise.scores import ScoreModel, find_scores
from app.results.report import VideoReport
from app.runs.build import build
from app.runs.compare import Answer, agreements, report_of
from app.runs.demo import Result, analyse_probes, distinct_names, write_run
from app.settings import Settings
from app.stages import Stages
from app.types import Candidate, Embedding, Match, ModelCard, Track
from app.walks.analyse import AnalysedVideo

logger = logging.getLogger(__name__)

_MOST_WALKS = 400
"""Gallery walks from which a threshold is derived, the newest: 80,000 pairs are enough."""


@dataclass(frozen=True)
class IdentifyOptions:
    """How people are named.

    `far` is the share of comparisons with a stranger that may pass the threshold, where calibrated scores say what
    distances mean; `neighbours` how many of a person's nearest walks count (the mean of their distances).
    """

    far: float = 0.01
    neighbours: int = 3


@dataclass(frozen=True)
class Named:
    """Who one walk is.

    `distance` is to `identity`, or to the nearest candidate of somebody unknown; `margin` how much further the next
    candidate is (None where there is none); `probability` that it is that person, None where no scores fit the model;
    `segment` the first and last frame; `agreement` that of the walk's pieces (`app.runs.compare.agreements`).
    """

    track_id: int
    identity: str | None
    distance: float | None
    margin: float | None
    probability: float | None
    reason: str | None
    candidates: tuple[Candidate, ...]
    segment: tuple[int, int]
    match: Match
    agreement: Agreement | None = None


@dataclass(frozen=True)
class Judge:
    """How far a walk may be from a person, and what a distance means.

    `scores` are None where none hold; `people` is how many the gallery has.
    """

    threshold: Threshold
    scores: ScoreModel | None = None
    people: int = 0

    def named(self, tracks: Sequence[Track], matches: Sequence[Match]) -> list[Named]:
        """Return what is to be said of the matches of one video."""
        frames = [track.frame_indices for track in tracks]
        sure = self.scores.of_matches(matches, frames, self.people) if self.scores else [None] * len(matches)
        return [self._named(*one) for one in zip(tracks, matches, sure, strict=True)]

    def _named(self, track: Track, found: Match, probability: float | None) -> Named:
        distance, others = found.distance, [c.distance for c in found.candidates if c.identity != found.identity]
        if found.identity is None and others:
            distance, *others = others
        return Named(
            track_id=track.track_id,
            identity=found.identity,
            distance=distance,
            margin=others[0] - distance if others and distance is not None else None,
            probability=probability,
            reason=found.reason,
            candidates=found.candidates,
            segment=(int(track.frame_indices[0]), int(track.frame_indices[-1])),
            match=found,
        )


def run(
    videos: Sequence[Path],
    gallery: GalleryStore,
    settings: Settings,
    options: IdentifyOptions,
    progress: Progress,
    *,
    announce: Callable[[Stages], None] = lambda stages: None,
    fresh: bool = False,
) -> Result:
    """Name the walkers of `videos` after those of the gallery, write everything under the output folder, keep a log.

    A video that cannot be used does not lose the others: it is among the failures of the result.

    Args:
        videos: of the people to name.
        gallery: the people to know.
        settings: the run's settings.
        options: how people are named.
        progress: where progress is shown.
        announce: called with the models when they are loaded.
        fresh: whether to ignore what an earlier run found in the same videos.

    Raises:
        GalleryError: nobody in the gallery can be compared, or the scores say nothing about so small a rate.
        GaitprintError: nothing could be done; nothing is left half-written.
    """
    started = time.perf_counter()
    watch = Stopwatch()
    with watch.measure("load"):
        stages = build(settings)
    announce(stages)
    check_comparable(gallery, stages.gait.card)
    scores = find_scores(stages.gait.card, settings.match.metric, gallery.path)
    if scores is not None and settings.match.threshold is None:
        scores.threshold(options.far)  # a rate that is too small is said before the long work, not after it
    found, failures = analyse_probes(videos, distinct_names(videos), stages, progress, watch, fresh=fresh)
    with watch.measure("match"):
        seen = [split_switches(video, stages) for video in found]
        judge = judge_of(gallery, stages, options, seen)
        answers = [identify(video, gallery, stages, options, judge) for video in seen]
        shown = [(video, _report(video, named)) for video, named in zip(seen, answers, strict=True)]
    identities = sorted({one.identity for named in answers for one in named if one.identity is not None})
    pictures = {name: picture for name in identities if (picture := gallery.thumbnail(name)) is not None}
    result = write_run(None, shown, identities, stages, progress, watch, started, pictures, failures)
    for video, named in zip(seen, answers, strict=True):
        matches: list[JSON] = [
            {"track_id": one.track_id, "name": one.identity, "distance": one.distance, "probability": one.probability}
            for one in named
            if one.identity is not None
        ]
        gallery.record("identify", video=video.info.path.name, matches=matches, unknown=len(named) - len(matches))
    return result


def identify(
    analysed: AnalysedVideo,
    gallery: GalleryStore,
    stages: Stages,
    options: IdentifyOptions,
    judge: Judge | None = None,
) -> list[Named]:
    """Name the usable walks of a video, best passed through `split_switches` before.

    Args:
        analysed: the video.
        gallery: the people to know.
        stages: the models, and the settings.
        options: how people are named.
        judge: the threshold; None derives it from the gallery and this video (`judge_of`).

    Returns:
        One for each usable walk, in the order of the video's walks.

    Raises:
        GalleryError: nobody in the gallery can be compared.
    """
    judge = judge or judge_of(gallery, stages, options, [analysed])
    metric, neighbours = stages.settings.match.metric, options.neighbours
    tracks = [walk.track for walk in analysed.usable()]
    embeddings = [walk.embedding for walk in analysed.usable() if walk.embedding is not None]
    if not embeddings:
        return []
    known, names = _near(embeddings, gallery, metric, neighbours)
    matches = _matched(distances_between(embeddings, known, metric), tracks, names, judge.threshold.value, neighbours)
    votes = agreements(matches, embeddings, known, names, metric, neighbours)
    return [replace(one, agreement=vote) for one, vote in zip(judge.named(tracks, matches), votes, strict=True)]


def recognise(
    embeddings: Sequence[Embedding],
    tracks: Sequence[Track],
    gallery: GalleryStore,
    metric: Metric,
    threshold: float,
    neighbours: int,
) -> list[Match]:
    """Match the walks of one video with the people of the gallery who come near any of them.

    Walks that share a frame never receive the same name (`app.recognise.matching.match`).

    Args:
        embeddings: of the walks.
        tracks: where they were seen.
        gallery: the people to know.
        metric: of the distance.
        threshold: the largest distance that is still the same person.
        neighbours: how many of a person's nearest walks count.

    Returns:
        One match for each walk; its candidates are at least the two nearest people.

    Raises:
        GalleryError: nobody in the gallery can be compared.
    """
    if not embeddings:
        return []
    known, names = _near(embeddings, gallery, metric, neighbours)
    return _matched(distances_between(embeddings, known, metric), tracks, names, threshold, neighbours)


def _near(
    embeddings: Sequence[Embedding], gallery: GalleryStore, metric: Metric, neighbours: int
) -> tuple[list[Embedding], list[str]]:
    """All walks of the people who come near any of `embeddings`, and the name of each."""
    people = {person.person_id: person for person in gallery.people()}
    # So deep that the walks of the nearest person cannot fill the list alone.
    depth = neighbours + max((person.walks for person in people.values()), default=0)
    near = {one.person_id for found in gallery.search(embeddings, depth, metric) for one in found}
    # All walks of those people, so that the mean over their nearest is exact for every walk of the video.
    model_id = embeddings[0].model_id
    walks = [walk for walk in gallery.walks() if walk.person_id in near and walk.model_id == model_id]
    return gallery.embeddings([walk.walk_id for walk in walks]), [people[walk.person_id].name for walk in walks]


def _matched(
    distances: Distances, tracks: Sequence[Track], names: Sequence[str], threshold: float, neighbours: int
) -> list[Match]:
    frames, numbers = [track.frame_indices for track in tracks], [track.track_id for track in tracks]
    return match(distances, frames, names, threshold, numbers, neighbours)


def judge_of(
    gallery: GalleryStore,
    stages: Stages,
    options: IdentifyOptions,
    seen: Sequence[AnalysedVideo] = (),
    together: Mapping[tuple[int, int], float] | None = None,
) -> Judge:
    """Decide how far a walk may be from a person.

    People who surely differ, those of the gallery and those seen together, say whether the calibrated scores of the
    gait model hold here (`app.recognise.domain`). The threshold is the one that the settings give; else that of
    the scores at `options.far`; else, where none hold, one derived from those people alone. Scores learnt from the
    gallery's own walks come before those of the model (`app.recognise.scores.find_scores`).

    Args:
        gallery: the people to know.
        stages: the models, and the settings.
        options: how people are named.
        seen: videos in which people are seen together.
        together: distances of tracks seen together, by their numbers, where there is no whole video.

    Raises:
        GalleryError: the scores say nothing about so small a rate.
    """
    card, settings = stages.gait.card, stages.settings.match
    walks = [walk for walk in gallery.walks() if walk.model_id == card.model_id][-_MOST_WALKS:]
    known = gallery.embeddings([walk.walk_id for walk in walks])
    distances, owners = distances_between(known, known, settings.metric), np.array([walk.person_id for walk in walks])
    pairs = np.triu(np.ones(distances.shape, np.bool_), 1)
    same = owners[:, None] == owners
    together = together or {}
    impostors = np.concatenate(
        [distances[pairs & ~same], *(_impostors(video, settings.metric) for video in seen), list(together.values())]
    )
    scores = find_scores(card, settings.metric, gallery.path)
    if scores is not None:
        tracks = len({track for pair in together for track in pair}) + sum(len(video.usable()) for video in seen)
        domain = adapt(scores, impostors, len(walks) + tracks)
        logger.info("Scores: %s.", domain.note)
        scores = domain.scores
    if settings.threshold is not None:
        return Judge(Threshold(settings.threshold, "given"), scores, len(set(owners.tolist())))
    if scores is not None:
        threshold = Threshold(scores.threshold(options.far), f"{options.far:.2%} false accepts, {scores.data}")
    else:
        threshold = derive_threshold(impostors, distances[pairs & same])
    logger.info("The threshold is %.4g: %s.", threshold.value, threshold.source)
    if threshold.warning:
        logger.warning("%s", threshold.warning)
    return Judge(threshold, scores, len(set(owners.tolist())))


def _impostors(video: AnalysedVideo, metric: Metric) -> Distances:
    usable = video.usable()
    own = [walk.embedding for walk in usable if walk.embedding is not None]
    return impostor_distances(distances_between(own, own, metric), [walk.track.frame_indices for walk in usable])


def check_comparable(gallery: GalleryStore, card: ModelCard) -> None:
    """Say at once, before the long work, that a gallery is of no use.

    Raises:
        GalleryError: it is empty, or all its walks are of other gait models than `card`'s.
    """
    models = gallery.model_ids()
    if not models:
        raise GalleryError("The gallery is empty. Bring people into it: python -m app enrol VIDEO --name NAME.")
    if card.model_id not in models:
        raise GalleryError(
            f"The gallery's walks are of {', '.join(models)}, not of {card.model_id}, and walks of different models "
            "cannot be compared. Use that model, or embed the walks again: python -m app gallery re-embed."
        )


def _report(video: AnalysedVideo, named: Sequence[Named]) -> VideoReport:
    by_track = {one.track_id: one for one in named}
    answers = [Answer(one.identity, one.match, one.probability, one.agreement) for one in named]
    report = report_of(video, dict(zip(by_track, answers, strict=True)))
    part_of = {walk.track.track_id: walk.part_of for walk in video.walks}
    tracks = []
    for track in report.tracks:
        one = by_track.get(track.track_id)
        margin = one.margin if one else None
        tracks.append(track.model_copy(update={"margin": margin, "part_of": part_of[track.track_id]}))
    return report.model_copy(update={"tracks": tracks})
