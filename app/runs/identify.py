"""Naming the people of videos after a gallery."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from app.gallery.store import JSON, GalleryStore
from app.recognise.judge import Decision, Judge, check_comparable
from app.recognise.pieces import half_distances
from app.recognise.scores import find_scores
from app.results.result import NamedVideo, Result
from app.runs.videos import walks_of_probes
from app.stages import Run
from app.video.sources import distinct_names
from app.walks.analyse import AnalysedVideo


def identify(videos: Sequence[Path], gallery: GalleryStore, run: Run, *, fresh: bool = False) -> Result:
    """Name the walkers of `videos` after the people of `gallery`. Who was named is written into the gallery's log.

    A video that cannot be used does not lose the others: it is among the failures of the result.

    Args:
        videos: videos of the people to name.
        gallery: the people to know.
        run: the models, and where progress is shown.
        fresh: whether to ignore what an earlier run found in the same videos.

    Raises:
        GalleryError: nobody in the gallery can be compared, or the scores know nothing about so small a false accept
            rate.
        GaitprintError: nothing could be done; nothing is left half-written.
    """
    card, match = run.stages.gait.card, run.settings.match
    check_comparable(gallery, card)
    scores = find_scores(card, match.metric, gallery.path)
    if scores is not None and match.threshold is None and not match.closed:
        scores.threshold(match.far)  # a rate that is too small is reported before the long work, not after it
    found, failures = walks_of_probes(videos, distinct_names(videos), run, fresh=fresh)
    with run.watch.measure("match"):
        named = name_walks(found, gallery, run)
    for one in named:
        _record(one, gallery)
    decisions = [decision for one in named for decision in one.decisions.values()]
    identities = sorted({decision.identity for decision in decisions if decision.identity is not None})
    portraits = {name: picture for name in identities if (picture := gallery.thumbnail(name)) is not None}
    return Result(run, None, named, identities, failures, portraits)


def name_walks(videos: Sequence[AnalysedVideo], gallery: GalleryStore, run: Run) -> list[NamedVideo]:
    """Let the judge name the walks of videos.

    Raises:
        GalleryError: nobody in the gallery can be compared, or the scores know nothing about so small a false accept
            rate.
    """
    stages = run.stages
    judge = Judge.of(
        gallery, stages.gait.card, run.settings.match, videos, halves=lambda: half_distances(videos, stages)
    )
    return [NamedVideo(video, judge.decide_video(video)) for video in videos]


def survey(videos: Sequence[Path], run: Run) -> Result:
    """Find everybody who walks in `videos`, and name nobody.

    Raises:
        VideoError: none of the videos can be used.
    """
    found, failures = walks_of_probes(videos, distinct_names(videos), run)
    unnamed = [NamedVideo(v, {walk.track.track_id: Decision(None) for walk in v.usable()}) for v in found]
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
    gallery.record("identify", video=named.video.info.path.name, matches=matches, unknown=unknown)
