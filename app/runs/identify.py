"""Naming the people in videos after a gallery."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from app.files import as_text
from app.gallery.sql import GalleryStore
from app.gallery.store import JSON
from app.recognise.judge import Decision, Judge, check_comparable, check_settings
from app.recognise.pieces import half_distances
from app.recognise.scores import find_scores
from app.results.result import NamedVideo, Result
from app.runs.videos import walks_of_probes
from app.stages import Run
from app.video.sources import distinct_names
from app.walks.analysed import AnalysedVideo


def identify(videos: Sequence[Path], gallery: GalleryStore, run: Run, *, fresh: bool = False) -> Result:
    """Name the walkers of `videos` after the people of `gallery`, and write their names into the gallery's log.

    A video that cannot be used does not stop the others: it is among the failures of the result. With `fresh`, what
    earlier runs found in the videos is not used.

    Raises:
        GalleryError: nobody in the gallery can be compared, the log cannot be written, or the scores do not reach so
            small a false accept rate.
        GaitprintError: nothing could be done. Nothing is left half-written.
    """
    card, match = run.stages.gait.card, run.settings.match
    check_comparable(gallery, card)
    gallery.need_log()
    check_settings(match, find_scores(card, match.metric, gallery.path))
    analysed, failures = walks_of_probes(videos, distinct_names(videos), run, fresh=fresh)
    with run.watch.measure("match"):
        named = name_walks(analysed, gallery, run)
    for video in named:
        _record(video, gallery)
    decisions = [decision for video in named for decision in video.decisions.values()]
    identities = sorted({decision.identity for decision in decisions if decision.identity is not None})
    portraits = {name: picture for name in identities if (picture := gallery.thumbnail(name)) is not None}
    return Result(run, None, named, identities, failures, portraits)


def name_walks(videos: Sequence[AnalysedVideo], gallery: GalleryStore, run: Run) -> list[NamedVideo]:
    """Let the judge name the walks of videos; `GalleryError` where nobody in the gallery can be compared."""
    stages = run.stages
    judge = Judge.of(
        gallery, stages.gait.card, run.settings.match, videos, halves=lambda: half_distances(videos, stages)
    )
    judge.explain()
    return [NamedVideo(video, judge.decide_video(video)) for video in videos]


def survey(videos: Sequence[Path], run: Run) -> Result:
    """Find everybody who walks in `videos`, and name nobody; `VideoError` where none of the videos can be used."""
    analysed, failures = walks_of_probes(videos, distinct_names(videos), run)
    unnamed = [
        NamedVideo(video, {walk.track.track_id: Decision(None) for walk in video.usable()}) for video in analysed
    ]
    return Result(run, None, unnamed, [], failures)


def _record(named: NamedVideo, gallery: GalleryStore) -> None:
    """Write into the gallery's log who was named in a video."""
    matches: list[JSON] = [
        {
            "track_id": track_id,
            "name": decision.identity,
            "distance": decision.distance,
            "probability": decision.probability,
        }
        for track_id, decision in named.decisions.items()
        if decision.identity is not None
    ]
    unknown = len(named.decisions) - len(matches)
    gallery.record("identify", video=as_text(named.video.info.path.name), matches=matches, unknown=unknown)
