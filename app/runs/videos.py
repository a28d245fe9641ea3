"""From video files to walks: the first step of every run that reads whole videos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from app.errors import NobodyFoundError, VideoError
from app.files import as_text
from app.recognise.pieces import split_switches
from app.results.report import FailureReport
from app.stages import Run
from app.video.sources import refuse_videos
from app.walks.analyse import AnalysedVideo, analyse
from app.workspace import in_use


def walks_of(video: Path, name: str, run: Run, *, fresh: bool = False) -> AnalysedVideo:
    """Find the walks of a video, and cut each track that goes over to somebody else.

    Args:
        video: the file.
        name: what the video is called in this run.
        run: the models, and where progress is shown.
        fresh: whether to ignore what an earlier run found in the same video.

    Raises:
        VideoError: the video cannot be read.
        NobodyFoundError: no pedestrian is seen in it.
        OutputError: the cache cannot be written.
    """
    with in_use(run.settings.output.folder):
        analysed = analyse(video, name, run, fresh=fresh)
        with run.watch.measure("switches"):
            return split_switches(analysed, run.stages)


def walks_of_probes(
    videos: Sequence[Path], names: Sequence[str], run: Run, *, fresh: bool = False
) -> tuple[list[AnalysedVideo], list[FailureReport]]:
    """Find the walks of several videos. Return the videos, and the failures of those that cannot be used.

    Raises:
        VideoError: none of them can be used. The message has the reason for each.
    """
    analysed: list[AnalysedVideo] = []
    failures: list[FailureReport] = []
    for video, name in zip(videos, names, strict=True):
        try:
            analysed.append(walks_of(video, name, run, fresh=fresh))
        except (VideoError, NobodyFoundError) as error:
            failures.append(FailureReport(video=as_text(video), reason=as_text(error)))
    if not analysed:
        refuse_videos([failure.reason for failure in failures])
    return analysed, failures


def reasons_against(video: AnalysedVideo) -> str:
    """Return why none of the walks of a video can be used, for at most eight of them."""
    return "; ".join(f"track {walk.track.track_id}: {walk.reason}" for walk in video.walks[:8])
