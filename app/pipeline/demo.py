"""The main job: a gallery video, probe videos, and who is who."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

import app
from app.errors import GaitprintError, NobodyFoundError, VideoError
from app.files import explained, written_whole
from app.pipeline.analyse import AnalysedVideo, analyse
from app.pipeline.archive import read_walks
from app.pipeline.build import Stages, build
from app.pipeline.compare import compare, report_of
from app.pipeline.progress import Progress, Stopwatch
from app.pipeline.render import regions_to_blur, render, skeletons_of
from app.pipeline.report import ModelReport, Report, VideoReport, to_csv, to_json
from app.report.page import page
from app.report.pictures import BestCrops, pictures_of
from app.report.view import ShownVideo
from app.settings import Settings
from app.video.reader import VideoReader, resolve_video
from app.video.summary import write_summary

logger = logging.getLogger(__name__)

_LONGEST_NAME = 110  # bytes
VIDEO_SUFFIXES = {".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv", ".flv", ".3gp"}

Shown: TypeAlias = tuple[AnalysedVideo, VideoReport]
"""A video, and what `results.json` says of it."""


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
    names = distinct_names([gallery, *probes])

    known = analyse(gallery, names[0], stages, settings.output.folder, progress, watch, fresh=fresh)
    if not known.usable():
        reasons = "; ".join(f"track {walk.track.track_id}: {walk.reason}" for walk in known.walks[:8])
        raise NobodyFoundError(f"The gallery {gallery} has no walk that can be used. {reasons}.")
    seen, failures = analyse_probes(probes, names[1:], stages, progress, watch, fresh=fresh)
    with watch.measure("match"):
        compared = compare(known, seen, stages)
        reports = [report_of(video, answers) for video, answers in zip([known, *seen], compared.answers, strict=True)]
    shown = list(zip(seen, reports[1:], strict=True))
    target, report = write_run((known, reports[0]), shown, compared.identities, stages, progress, watch, started)
    return Result(target, report, failures)


def analyse_probes(
    probes: Sequence[Path],
    names: Sequence[str],
    stages: Stages,
    progress: Progress,
    watch: Stopwatch,
    *,
    fresh: bool = False,
) -> tuple[list[AnalysedVideo], tuple[GaitprintError, ...]]:
    """Analyse all probes under their `names`; one that cannot be used is among the failures and does not lose the rest.

    Raises:
        GaitprintError: none can be used.
    """
    seen: list[AnalysedVideo] = []
    failures: list[GaitprintError] = []
    for probe, name in zip(probes, names, strict=True):
        try:
            seen.append(analyse(probe, name, stages, stages.settings.output.folder, progress, watch, fresh=fresh))
        except (VideoError, NobodyFoundError) as error:
            failures.append(error)
            if len(failures) == len(probes):
                raise
            logger.warning("%s The other probes are used.", error)
    return seen, tuple(failures)


def write_run(
    known: Shown | None,
    seen: Sequence[Shown],
    identities: Sequence[str],
    stages: Stages,
    progress: Progress,
    watch: Stopwatch,
    started: float,
    portraits: Mapping[str, bytes] | None = None,
) -> tuple[Path, Report]:
    """Write the folder of a run, whole or not at all.

    In it lie the painted videos, `results.json`, `results.csv`, `summary.gif` and `report.html`.

    Args:
        known: the gallery's video with what is said of it; None where the gallery is no video.
        seen: the probes.
        identities: the gallery's names, which fix the colours.
        stages: the models, and the settings.
        progress: where progress is shown.
        watch: holds the seconds of each step so far.
        started: what `time.perf_counter` said when the run began.
        portraits: JPEGs of the gallery's people by name, for the page; those in the gallery's video need none.

    Returns:
        The folder and what its `results.json` holds.
    """
    settings = stages.settings
    videos = [known, *seen] if known else list(seen)
    before = f"G-{known[0].name}_P-" if known else ""
    names = [*(["gallery"] if known else []), *(f"{before}{video.name}" for video, _ in seen)]
    target = free_name(settings.output.folder / "OutputVideos" / datetime.now().strftime("%Y_%m_%d_%H_%M_%S"))
    with written_whole(target) as temporary:
        temporary.mkdir()
        outs = [temporary / f"{name}.mp4" for name in names]
        shown: list[ShownVideo] = []
        for (video, report), out in zip(videos, outs, strict=True):
            joints = settings.pose.paint or settings.output.blur == "faces"
            skeletons = skeletons_of(read_walks(video.archive)) if joints else {}
            blurred = regions_to_blur(report, settings.output.blur, skeletons)
            crops = BestCrops(report)
            painted = skeletons if settings.pose.paint else {}
            render(video.info.path, report, identities, out, progress, watch, painted, blurred, crops.look)
            if settings.output.report:
                with watch.measure("report"):
                    shown.append(ShownVideo(report, out, pictures_of(report, read_walks(video.archive), crops.jpegs())))
        if settings.output.summary and known:
            with watch.measure("summary"):
                starts = [_first_second(report) for _, report in videos[:2]]
                out = temporary / "summary.gif"
                write_summary(outs[0], outs[1], out, gallery_start=starts[0], probe_start=starts[1])
        whole = Report(
            gaitprint=app.__version__,
            created=datetime.now().astimezone().isoformat(timespec="seconds"),
            models={stage: ModelReport.of(card) for stage, card in stages.cards().items()},
            settings=_plain(asdict(settings)),
            timings={step: round(spent, 3) for step, spent in watch.seconds.items()}
            | {"total": round(time.perf_counter() - started, 3)},
            gallery=known[1] if known else None,
            probes=[report for _, report in seen],
        )
        with explained(target):
            (temporary / "results.json").write_text(to_json(whole), encoding="utf-8")
            (temporary / "results.csv").write_text(to_csv(whole), encoding="utf-8")
            if settings.output.report:
                html = page(
                    whole,
                    shown[0] if known else None,
                    shown[1:] if known else shown,
                    identities,
                    portraits,
                    embed_videos=settings.output.embed_videos,
                )
                (temporary / "report.html").write_text(html, encoding="utf-8")
    return target, whole


def _first_second(video: VideoReport) -> float:
    """Return when, in s, the first walk that is not unusable begins."""
    frames = [track.frames[0] for track in video.tracks if track.status != "unusable"]
    return min(frames, default=0) / video.fps


def distinct_names(videos: Sequence[Path]) -> list[str]:
    """Name each video by its stem; the second of two with one stem gets ``-2``.

    Long stems are cut: ``G-<gallery>_P-<probe>.mp4`` must fit into the 255 bytes of a file name.
    """
    names: list[str] = []
    for video in videos:
        stem = video.stem.encode()[:_LONGEST_NAME].decode(errors="ignore")
        name, number = stem, 1
        while name in names:
            number += 1
            name = f"{stem}-{number}"
        names.append(name)
    return names


def free_name(path: Path) -> Path:
    """Return `path`, or with ``_2``, ``_3`` ... where another run of the same second has taken it."""
    number = 1
    free = path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}_{number}")
    return free


def _plain(value: Any) -> Any:
    """Return settings as JSON can hold them: paths become strings."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return str(value) if isinstance(value, Path) else value
