"""The main job: a gallery video, probe videos, and who is who."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import app
from app.errors import GaitprintError, NobodyFoundError, VideoError
from app.files import explained, written_whole
from app.gallery.calibration import derive_threshold
from app.gallery.identities import name_walks
from app.gallery.matching import confidence, match
from app.pipeline.analyse import AnalysedVideo, analyse
from app.pipeline.build import Stages, build
from app.pipeline.progress import Progress, Stopwatch
from app.pipeline.render import render
from app.pipeline.report import CandidateReport, ModelReport, Report, TrackReport, VideoReport, to_csv, to_json
from app.settings import Settings
from app.types import Embedding, Match
from app.video.reader import VideoReader, resolve_video
from app.video.summary import write_summary

logger = logging.getLogger(__name__)

VIDEO_SUFFIXES = {".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv", ".flv", ".3gp"}


@dataclass(frozen=True)
class Result:
    """What a run made: its folder, the content of `results.json`, and the probes that could not be used."""

    folder: Path
    report: Report
    failures: tuple[GaitprintError, ...]


def find_videos(gallery: str, probes: Sequence[str], folder: Path) -> tuple[Path, list[Path]]:
    """Find the videos; a name is taken as given, else looked up in `folder`.

    Without probes every other video of `folder` is one.

    Raises:
        VideoError: a file is missing, is no video, or the gallery is also a probe.
    """
    gallery_path = resolve_video(gallery, folder)
    if probes:
        probe_paths = list(dict.fromkeys(resolve_video(probe, folder) for probe in probes))
    else:
        probe_paths = [
            path
            for path in (sorted(folder.iterdir()) if folder.is_dir() else [])
            if path.suffix.lower() in VIDEO_SUFFIXES and not path.samefile(gallery_path)
        ]
        if not probe_paths:
            raise VideoError(f"There is no probe: give one with --probe FILE, or put videos into {folder}/.")
    for probe in probe_paths:
        if probe.samefile(gallery_path):
            raise VideoError(
                f"{probe} is given both as gallery and as probe: everybody would match themselves. Give another video."
            )
    for path in (gallery_path, *probe_paths):
        with VideoReader(path):  # a bad header is said before the long work, not after it
            pass
    return gallery_path, probe_paths


def run(
    gallery: Path,
    probes: Sequence[Path],
    settings: Settings,
    progress: Progress,
    *,
    announce: Callable[[str], None] = lambda line: None,
    fresh: bool = False,
) -> Result:
    """Name the walkers of `probes` after those of `gallery` and write everything under the output folder.

    A probe that cannot be used does not lose the others: it is among the failures of the result.

    Args:
        gallery: video of the people to know.
        probes: videos of the people to name.
        settings: the run's settings.
        progress: where progress is shown.
        announce: called with one line for each stage.
        fresh: whether to ignore what an earlier run found in the same videos.

    Raises:
        GaitprintError: nothing could be done; nothing is left half-written.
    """
    started = time.perf_counter()
    watch = Stopwatch()
    with watch.measure("load"):
        stages = build(settings)
    for line in stages.lines():
        announce(line)
    folder = settings.output.folder
    names = _distinct_names([gallery, *probes])

    known = analyse(gallery, names[0], stages, folder, progress, watch, fresh=fresh)
    if not known.usable():
        reasons = "; ".join(f"track {walk.track.track_id}: {walk.reason}" for walk in known.walks[:8])
        raise NobodyFoundError(f"The gallery {gallery} has no walk that can be used. {reasons}.")
    seen: list[AnalysedVideo] = []
    failures: list[GaitprintError] = []
    for probe, name in zip(probes, names[1:], strict=True):
        try:
            seen.append(analyse(probe, name, stages, folder, progress, watch, fresh=fresh))
        except (VideoError, NobodyFoundError) as error:
            failures.append(error)
            if len(failures) == len(probes):
                raise
            logger.warning("%s The other probes are used.", error)
    with watch.measure("match"):
        gallery_report, probe_reports, identities = _compare(known, seen, settings)

    target = _free_name(folder / "OutputVideos" / datetime.now().strftime("%Y_%m_%d_%H_%M_%S"))
    with written_whole(target) as temporary:
        temporary.mkdir()
        painted = temporary / "gallery.mp4"
        render(Path(known.info.path), gallery_report, identities, painted, progress, watch)
        for video, video_report in zip(seen, probe_reports, strict=True):
            out = temporary / f"G-{known.name}_P-{video.name}.mp4"
            render(Path(video.info.path), video_report, identities, out, progress, watch)
            if settings.output.summary and video is seen[0]:
                with watch.measure("summary"):
                    write_summary(painted, out, temporary / "summary.gif")
        report = Report(
            gaitprint=app.__version__,
            created=datetime.now().astimezone().isoformat(timespec="seconds"),
            models={stage: ModelReport.of(card) for stage, card in stages.cards().items()},
            settings=_plain(asdict(settings)),
            timings={step: round(spent, 3) for step, spent in watch.seconds.items()}
            | {"total": round(time.perf_counter() - started, 3)},
            gallery=gallery_report,
            probes=probe_reports,
        )
        with explained(target):
            (temporary / "results.json").write_text(to_json(report), encoding="utf-8")
            (temporary / "results.csv").write_text(to_csv(report), encoding="utf-8")
    return Result(target, report, tuple(failures))
