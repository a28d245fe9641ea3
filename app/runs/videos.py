"""From video files to walks: what every run that looks at whole videos begins with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from app.errors import NobodyFoundError, VideoError
from app.recognise.pieces import split_switches
from app.results.report import FailureReport
from app.stages import Run
from app.video.sources import refuse_videos
from app.walks.analyse import AnalysedVideo, analyse
from app.workspace import in_use


def walks_of(video: Path, name: str, run: Run, *, fresh: bool = False) -> AnalysedVideo:
    """Find the walks of a video; a track that goes over to somebody else is cut there.

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
        found = analyse(video, name, run, fresh=fresh)
        with run.watch.measure("switches"):
            return split_switches(found, run.stages)


def walks_of_probes(
    videos: Sequence[Path], names: Sequence[str], run: Run, *, fresh: bool = False
) -> tuple[list[AnalysedVideo], list[FailureReport]]:
    """Find the walks of several videos. One that cannot be used does not lose the others: it is among the failures.

    Raises:
        VideoError: none of them can be used; it says why of each.
    """
    found: list[AnalysedVideo] = []
    failures: list[FailureReport] = []
    for video, name in zip(videos, names, strict=True):
        try:
            found.append(walks_of(video, name, run, fresh=fresh))
        except (VideoError, NobodyFoundError) as error:
            failures.append(FailureReport(video=str(video), reason=str(error)))
    if not found:
        refuse_videos([failure.reason for failure in failures])
    return found, failures


def reasons_against(video: AnalysedVideo) -> str:
    """Say why none of the walks of a video can be used."""
    return "; ".join(f"track {walk.track.track_id}: {walk.reason}" for walk in video.walks[:8])
