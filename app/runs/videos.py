"""From video files to walks: the first step of every run that reads whole videos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from app.errors import NobodyFoundError, VideoError
from app.files import as_text
from app.recognise.pieces import split_switches
from app.results.report import FailureReport
from app.stages import Run
from app.video.sources import refuse_videos
from app.walks.analyse import analyse
from app.walks.analysed import AnalysedVideo
from app.workspace import in_use


def walks_of(video: Path, name: str, run: Run, *, fresh: bool = False) -> AnalysedVideo:
    """Find the walks of a video, which this run calls `name`, and cut each track that goes over to somebody else.

    With `fresh`, what an earlier run found in the same video is not used.

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
    _, analysed, failures = _walks_of_all(None, list(zip(videos, names, strict=True)), run, fresh)
    return analysed, failures


def walks_of_gallery_and_probes(
    gallery: Path, probes: Sequence[Path], names: Sequence[str], run: Run, *, fresh: bool = False
) -> tuple[AnalysedVideo, list[AnalysedVideo], list[FailureReport]]:
    """Find the walks of a gallery and of its probes, several videos at once; `names` begin with the gallery's.

    Raises:
        GaitprintError: the gallery cannot be used, or none of the probes; see `walks_of` and `walks_of_probes`.
    """
    found, analysed, failures = _walks_of_all(
        (gallery, names[0]), list(zip(probes, names[1:], strict=True)), run, fresh
    )
    assert found is not None
    return found, analysed, failures


_Video: TypeAlias = tuple[Path, str]


def _walks_of_all(
    needed: _Video | None, videos: Sequence[_Video], run: Run, fresh: bool
) -> tuple[AnalysedVideo | None, list[AnalysedVideo], list[FailureReport]]:
    """Find the walks of the video that is `needed`, and of those that may fail."""

    def find(video: _Video, own: Run) -> AnalysedVideo | FailureReport:
        path, name = video
        try:
            return walks_of(path, name, own, fresh=fresh)
        except (VideoError, NobodyFoundError) as error:
            if video is needed:
                raise
            return FailureReport(video=as_text(path), reason=as_text(error))

    every = [*([] if needed is None else [needed]), *videos]
    # Of a file that is given twice, the second time takes what the first has left in the cache.
    are_distinct = len({path.resolve() for path, _ in every}) == len(every)
    results = run.side_by_side(find, every, 2 if are_distinct else 1)
    first = None if needed is None else results.pop(0)
    analysed = [result for result in results if isinstance(result, AnalysedVideo)]
    failures = [result for result in results if isinstance(result, FailureReport)]
    if not analysed:
        refuse_videos([failure.reason for failure in failures])
    assert not isinstance(first, FailureReport)
    return first, analysed, failures


def reasons_against(video: AnalysedVideo) -> str:
    """Return why none of the walks of a video can be used, for at most eight of them."""
    return "; ".join(f"track {walk.track.track_id}: {walk.reason}" for walk in video.walks[:8])
