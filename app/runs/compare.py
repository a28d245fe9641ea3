"""The main job: a gallery video, probe videos, and who is who.

The people of the gallery video become a gallery that lives in memory for one run. From there on everything is as in
`app.runs.identify`, so the same people get the same answer either way.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from app.errors import NobodyFoundError
from app.recognise.identities import gallery_of, join_fragments, name_identities
from app.recognise.judge import Decision, Scene, Space, check_settings, learn_limits
from app.recognise.pieces import half_distances
from app.recognise.scores import find_scores
from app.results.report import FailureReport
from app.results.result import NamedVideo, Result
from app.runs.identify import name_walks
from app.runs.videos import reasons_against, walks_of_gallery_and_probes
from app.stages import Run
from app.video.sources import distinct_names
from app.walks.analysed import AnalysedVideo


def compare(gallery: Path, probes: Sequence[Path], run: Run, *, fresh: bool = False) -> Result:
    """Name the walkers of `probes` after those of the video `gallery`; with `fresh`, what earlier runs found is not
    used.

    A probe that cannot be used does not stop the others: it is among the failures of the result.

    Raises:
        GaitprintError: nothing could be done. Nothing is left half-written.
    """
    match = run.settings.match
    check_settings(match, find_scores(run.stages.gait.card, match.metric))
    names = distinct_names([gallery, *probes])
    gallery_video, analysed, failures = walks_of_gallery_and_probes(gallery, probes, names, run, fresh=fresh)
    if not gallery_video.usable():
        raise NobodyFoundError(f"The gallery {gallery} has no walk that can be used. {reasons_against(gallery_video)}.")
    with run.watch.measure("match"):
        return compare_walks(gallery_video, analysed, run, failures)


def compare_walks(
    gallery_video: AnalysedVideo, probes: Sequence[AnalysedVideo], run: Run, failures: Sequence[FailureReport] = ()
) -> Result:
    """Name the walks of `probes` after the people of `gallery_video`; see `compare`."""
    identities = identities_of(gallery_video, probes, run)
    with closing(gallery_of(gallery_video, identities)) as people:
        named = name_walks(probes, people, run)
    decisions = {track_id: Decision(name) for track_id, name in identities.items()}
    return Result(run, NamedVideo(gallery_video, decisions), named, sorted(set(identities.values())), failures)


def identities_of(gallery_video: AnalysedVideo, probes: Sequence[AnalysedVideo], run: Run) -> dict[int, str]:
    """Name the people of a gallery video ``<video>-001`` and so on. Return the names by track number.

    The fragments of one person's broken track get one name, if the settings say so. How alike they must be is learnt
    from the people who are in view together in any video of the run.
    """
    settings, tracks = run.settings.match, [walk.track for walk in gallery_video.usable()]
    groups = list(range(len(tracks)))
    if settings.join_fragments and len(tracks) > 1:
        videos = [gallery_video, *probes]
        card, walks = run.stages.gait.card, sum(len(video.usable()) for video in videos)
        scores = find_scores(card, settings.metric)
        space = Space.of(scores, settings)
        impostors = np.concatenate([space.impostors(Scene.of(video), settings.metric) for video in videos])
        genuine = half_distances(videos, run.stages) if not len(impostors) else np.zeros(0)
        limits = learn_limits(card, settings, impostors, genuine, walks, scores)
        within = space.within(Scene.of(gallery_video), settings.metric)
        groups = join_fragments(tracks, within, limits.threshold.value, float(gallery_video.info.fps))
    names = name_identities(gallery_video.name, tracks, groups)
    return {track.track_id: name for track, name in zip(tracks, names, strict=True)}
