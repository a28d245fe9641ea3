"""From the walks of all videos to who is who."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.gallery.distances import Distances, Metric, distances_between
from app.recognise.calibration import derive_threshold, impostor_distances
from app.recognise.domain import adapt
from app.recognise.identities import join_fragments, name_identities
from app.recognise.matching import Agreement, agreement, confidence, match
from app.recognise.scores import find_scores
from app.results.report import CandidateReport, TrackReport, VideoReport
from app.stages import Stages
from app.types import Embedding, Match
from app.walks.analyse import AnalysedVideo
from app.walks.archive import read_walks

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answer:
    """Who a usable walk is: the identity with the match behind it, which a gallery walk has not.

    `probability` is that of the identity, or of the nearest candidate of somebody unknown; None where nothing is known
    of what distances mean here. `agreement` is that of the walk's pieces, see `agreements`.
    """

    identity: str | None
    match: Match | None
    probability: float | None = None
    agreement: Agreement | None = None


@dataclass(frozen=True)
class Compared:
    """`answers` for each video, the gallery first, by track id; `identities` in order of appearance."""

    answers: list[dict[int, Answer]]
    identities: list[str]


def compare(known: AnalysedVideo, seen: Sequence[AnalysedVideo], stages: Stages) -> Compared:
    """Name the gallery's walks, and match the walks of each probe to them."""
    settings = stages.settings.match
    videos = [known, *seen]
    embeddings = [[walk.embedding for walk in video.usable() if walk.embedding] for video in videos]
    frames = [[walk.track.frame_indices for walk in video.usable()] for video in videos]
    within = [distances_between(own, own, settings.metric) for own in embeddings]
    impostors = np.concatenate([impostor_distances(d, f) for d, f in zip(within, frames, strict=True)])
    threshold = settings.threshold if settings.threshold is not None else _threshold(videos, impostors, stages)
    scores = find_scores(stages.gait.card, settings.metric)
    if scores is not None:
        domain = adapt(scores, impostors, sum(map(len, embeddings)))
        logger.info("Probabilities: %s.", domain.note)
        scores = domain.scores

    tracks = [walk.track for walk in known.usable()]
    groups = list(range(len(tracks)))
    if settings.join_fragments:
        groups = join_fragments(tracks, within[0], threshold, float(known.info.fps))
    identities = name_identities(known.name, tracks, groups)
    answers = [{t.track_id: Answer(name, None) for t, name in zip(tracks, identities, strict=True)}]
    for video, own, own_frames in zip(seen, embeddings[1:], frames[1:], strict=True):
        ids = [walk.track.track_id for walk in video.usable()]
        distances = distances_between(own, embeddings[0], settings.metric)
        matches = match(distances, own_frames, identities, threshold, ids)
        sure = scores.of_matches(matches, own_frames) if scores is not None else [None] * len(matches)
        votes = agreements(matches, own, embeddings[0], identities, settings.metric)
        answers.append(
            {
                track_id: Answer(each.identity, each, _rounded(one), vote)
                for track_id, each, one, vote in zip(ids, matches, sure, votes, strict=True)
            }
        )
    return Compared(answers, sorted(set(identities)))


def agreements(
    matches: Sequence[Match],
    embeddings: Sequence[Embedding],
    known: Sequence[Embedding],
    identities: Sequence[str],
    metric: Metric,
    neighbours: int = 1,
) -> list[Agreement | None]:
    """Let the pieces of each walk vote (`app.recognise.matching.agreement`), where the gait model saw it in pieces.

    Args:
        matches: of the walks.
        embeddings: of the walks.
        known: of the gallery's walks.
        identities: the identity of each gallery walk.
        metric: of the distance.
        neighbours: how many of a person's nearest walks count.
    """
    return [
        agreement(found, distances_between(embedding.of_pieces(), known, metric), identities, neighbours)
        if embedding.pieces is not None
        else None
        for found, embedding in zip(matches, embeddings, strict=True)
    ]


def report_of(video: AnalysedVideo, answers: dict[int, Answer]) -> VideoReport:
    """Return what `results.json` says of a video."""
    tracks = []
    for walk in video.walks:
        answer = answers.get(walk.track.track_id)
        found = answer.match if answer else None
        identity = answer.identity if answer else None
        candidates = found.candidates if found else ()
        votes = answer.agreement if answer else None
        if identity and votes and votes.divided:
            logger.warning(
                "%s: track %d is named %s, but only %d of the %d pieces of the walk are nearest to %s.",
                *(video.name, walk.track.track_id, identity, votes.agreeing, votes.pieces, identity),
            )
        distance = found.distance if found else None
        if distance is None and candidates:
            distance = candidates[0].distance
        tracks.append(
            TrackReport(
                track_id=walk.track.track_id,
                frames=walk.track.frame_indices.tolist(),
                boxes=walk.track.boxes.astype(np.float64).round(2).tolist(),
                status="unusable" if answer is None else "identified" if identity else "unknown",
                identity=identity,
                confidence=round(confidence(found), 4) if found and identity else None,
                distance=distance,
                threshold=found.threshold if found else None,
                probability=answer.probability if answer else None,
                pieces=votes.pieces if votes else None,
                agreeing=votes.agreeing if votes else None,
                reason=walk.reason or (found.reason if found else None),
                candidates=[CandidateReport(identity=c.identity, distance=c.distance) for c in candidates],
            )
        )
    return VideoReport(
        video=str(video.info.path),
        name=video.name,
        width=video.info.width,
        height=video.info.height,
        fps=float(video.info.fps),
        frame_count=video.frame_count,
        warnings=list(video.warnings),
        tracks=tracks,
    )


def _rounded(probability: float | None) -> float | None:
    return None if probability is None else round(probability, 4)


def _threshold(videos: Sequence[AnalysedVideo], impostors: Distances, stages: Stages) -> float:
    # The halves of walks are embedded only where nobody is seen together with anybody: it doubles the work.
    genuine = None if len(impostors) else _half_distances(videos, stages)
    derived = derive_threshold(impostors, genuine)
    logger.info("The threshold is %.4g: %s.", derived.value, derived.source)
    if derived.warning:
        logger.warning("%s", derived.warning)
    return derived.value


def _half_distances(videos: Sequence[AnalysedVideo], stages: Stages) -> Distances:
    """Distances between the first and the second half of each usable walk (n,), from the archived silhouettes."""
    halves: list[tuple[Embedding, Embedding]] = []
    for video in videos:
        usable = {walk.track.track_id for walk in video.usable()}
        for walk in read_walks(video.archive):
            if walk.track.track_id in usable and walk.sequence is not None and len(walk.sequence) > 1:
                middle = len(walk.sequence) // 2
                both = [walk.sequence.part(slice(middle)), walk.sequence.part(slice(middle, None))]
                first, second = stages.gait.embed(both)
                halves.append((first, second))
    return np.array([distances_between([a], [b], stages.settings.match.metric)[0, 0] for a, b in halves])
