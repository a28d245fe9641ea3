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
from app.errors import NobodyFoundError, VideoError
from app.files import explained, written_whole
from app.progress import Progress, Stopwatch
from app.results.page import page
from app.results.pictures import pictures_of
from app.results.portraits import BestCrops
from app.results.render import regions_to_blur, render, skeletons_of
from app.results.report import FailureReport, ModelReport, Report, VideoReport, to_csv, to_json
from app.results.view import ShownVideo
from app.runs.build import build
from app.runs.compare import compare, report_of
from app.settings import Settings
from app.stages import Stages
from app.video.reader import VideoReader, resolve_video
from app.video.summary import write_summary
from app.walks.analyse import AnalysedVideo, analyse
from app.walks.archive import read_walks
from app.workspace import in_use

logger = logging.getLogger(__name__)

_LONGEST_NAME = 110  # bytes
VIDEO_SUFFIXES = {".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv", ".flv", ".3gp"}

Shown: TypeAlias = tuple[AnalysedVideo, VideoReport]
"""A video, and what `results.json` says of it."""


@dataclass(frozen=True)
class Result:
    """What a run made: its folder, and the content of `results.json`."""

    folder: Path
    report: Report

    def refuse_failures(self) -> None:
        """Say, when all else is done, which probes could not be used.

        Raises:
            VideoError: there are some.
        """
        _refuse([failure.reason for failure in self.report.failures])


def find_videos(gallery: str, probes: Sequence[str], folder: Path) -> tuple[Path, list[Path]]:
    """Find the videos; a name is taken as given, else looked up in `folder`.

    Without probes every other video of `folder` is one.

    Raises:
        VideoError: a file is missing, the gallery or every probe is no video, or the gallery is also a probe.
    """
    gallery_path, *given = resolved([gallery, *probes], folder)
    probe_paths = list(dict.fromkeys(given))
    if not probes:
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
    check_headers(probe_paths, gallery_path)
    return gallery_path, probe_paths


def resolved(names: Sequence[str], folder: Path) -> list[Path]:
    """Find each video; a name is taken as given, else looked up in `folder`.

    Raises:
        VideoError: files are missing; all of them are named.
    """
    paths: list[Path] = []
    missing: list[str] = []
    for name in names:
        try:
            paths.append(resolve_video(name, folder))
        except VideoError as error:
            missing.append(str(error))
    _refuse(missing)
    return paths


def check_headers(probes: Sequence[Path], gallery: Path | None = None) -> None:
    """Say before the long work, not after it, that nothing can come of it.

    Some bad probes do not lose the others: `analyse_probes` has them among the failures.

    Raises:
        VideoError: the gallery or every probe is no video; all that are none are named.
    """
    reasons: dict[Path, str] = {}
    for path in [*([gallery] if gallery else []), *probes]:
        try:
            with VideoReader(path):
                pass
        except VideoError as error:
            reasons[path] = str(error)
    if gallery in reasons or all(probe in reasons for probe in probes):
        _refuse(list(reasons.values()))


def _refuse(reasons: Sequence[str]) -> None:
    if len(reasons) > 1:
        raise VideoError("\n- ".join([f"{len(reasons)} videos cannot be used.", *reasons]))
    if reasons:
        raise VideoError(reasons[0])


def run(
    gallery: Path,
    probes: Sequence[Path],
    settings: Settings,
    progress: Progress,
    *,
    announce: Callable[[Stages], None] = lambda stages: None,
    fresh: bool = False,
) -> Result:
    """Name the walkers of `probes` after those of `gallery` and write everything under the output folder.

    A probe that cannot be used does not lose the others: it is among the failures of the result.

    Args:
        gallery: video of the people to know.
        probes: videos of the people to name.
        settings: the run's settings.
        progress: where progress is shown.
        announce: called with the models when they are loaded.
        fresh: whether to ignore what an earlier run found in the same videos.

    Raises:
        GaitprintError: nothing could be done; nothing is left half-written.
    """
    started = time.perf_counter()
    watch = Stopwatch()
    with watch.measure("load"):
        stages = build(settings)
    announce(stages)
    names = distinct_names([gallery, *probes])

    with in_use(settings.output.folder):
        known = analyse(gallery, names[0], stages, settings.output.folder, progress, watch, fresh=fresh)
    if not known.usable():
        reasons = "; ".join(f"track {walk.track.track_id}: {walk.reason}" for walk in known.walks[:8])
        raise NobodyFoundError(f"The gallery {gallery} has no walk that can be used. {reasons}.")
    seen, failures = analyse_probes(probes, names[1:], stages, progress, watch, fresh=fresh)
    with watch.measure("match"):
        compared = compare(known, seen, stages)
        reports = [report_of(video, answers) for video, answers in zip([known, *seen], compared.answers, strict=True)]
    shown = list(zip(seen, reports[1:], strict=True))
    gallery_shown = known, reports[0]
    return write_run(gallery_shown, shown, compared.identities, stages, progress, watch, started, failures=failures)


def analyse_probes(
    probes: Sequence[Path],
    names: Sequence[str],
    stages: Stages,
    progress: Progress,
    watch: Stopwatch,
    *,
    fresh: bool = False,
) -> tuple[list[AnalysedVideo], list[FailureReport]]:
    """Analyse all probes under their `names`; one that cannot be used is among the failures and does not lose the rest.

    Raises:
        VideoError: none can be used; it says why of each.
    """
    seen: list[AnalysedVideo] = []
    failures: list[FailureReport] = []
    folder = stages.settings.output.folder
    with in_use(folder):
        for probe, name in zip(probes, names, strict=True):
            try:
                seen.append(analyse(probe, name, stages, folder, progress, watch, fresh=fresh))
            except (VideoError, NobodyFoundError) as error:
                failures.append(FailureReport(video=str(probe), reason=str(error)))
    if not seen:
        _refuse([failure.reason for failure in failures])
    return seen, failures


def write_run(
    known: Shown | None,
    seen: Sequence[Shown],
    identities: Sequence[str],
    stages: Stages,
    progress: Progress,
    watch: Stopwatch,
    started: float,
    portraits: Mapping[str, bytes] | None = None,
    failures: Sequence[FailureReport] = (),
) -> Result:
    """Write the folder of a run, whole or not at all.

    In it lie the painted videos, `results.json`, `results.csv`, `summary.gif`, `report.html` and the best picture of
    each person (`crops/<video>/<track>.jpg`).

    Args:
        known: the gallery's video with what is said of it; None where the gallery is no video.
        seen: the probes.
        identities: the gallery's names, which fix the colours.
        stages: the models, and the settings.
        progress: where progress is shown.
        watch: holds the seconds of each step so far.
        started: what `time.perf_counter` said when the run began.
        portraits: JPEGs of the gallery's people by name, for the page; those in the gallery's video need none.
        failures: the probes that could not be used.
    """
    settings = stages.settings
    videos = [known, *seen] if known else list(seen)
    before = f"G-{known[0].name}_P-" if known else ""
    names = [*(["gallery"] if known else []), *(f"{before}{video.name}" for video, _ in seen)]
    target = free_name(settings.output.folder / "OutputVideos" / datetime.now().strftime("%Y_%m_%d_%H_%M_%S"))
    with in_use(settings.output.folder), written_whole(target) as temporary:
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
                with watch.measure("report"), explained(target):
                    jpegs = crops.jpegs()
                    _write_crops(jpegs, temporary / "crops" / video.name)
                    shown.append(ShownVideo(report, out, pictures_of(report, read_walks(video.archive), jpegs)))
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
            failures=list(failures),
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
    return Result(target, whole)


def _write_crops(jpegs: Mapping[int, bytes], folder: Path) -> None:
    folder.mkdir(parents=True)
    for track_id, picture in jpegs.items():
        (folder / f"{track_id}.jpg").write_bytes(picture)


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
