"""One run, in a process of its own: ``python -m app.web.worker``.

A `Task` comes as the first line of standard input, whose end means that the server is gone. What happens is told on
standard output, one JSON object a line: ``step``, ``model``, ``warning`` or ``error``. Nothing heavy is imported before
the work starts, because the server takes `Task` from here.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TextIO

from pydantic import BaseModel

from app.errors import GaitprintError
from app.files import written_whole
from app.web.jobs import Kind, Step
from app.web.outcome import KeptWalks, KnownIdentity, Outcome, SeenVideo

if TYPE_CHECKING:
    from app.pipeline.report import Report, VideoReport
    from app.settings import Settings

_EVERY = 0.25  # s between two messages about the same step
_RATE_OVER = 10.0  # s


class TaskVideo(BaseModel):
    """A video by its id."""

    video_id: str
    path: Path


class Task(BaseModel):
    """What is to be done: `gallery` is the video of the people to know, to ``compare`` with; `database` holds those to
    ``identify``.
    """

    kind: Kind
    gallery: TaskVideo | None
    probes: list[TaskVideo]
    database: Path
    config: Path | None
    assignments: list[str]
    work: Path
    result: Path

    @property
    def videos(self) -> list[TaskVideo]:
        """All videos, the gallery first."""
        return [*([self.gallery] if self.gallery else []), *self.probes]

    def without_paths(self, text: str) -> str:
        """Return a message with the names of videos instead of where they lie."""
        for video in self.videos:
            text = text.replace(str(video.path), video.path.name)
        return text


class Reporter:
    """Tells the server how the work goes; a `Progress` of the pipeline."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def say(self, what: str, content: Any) -> None:
        """Send one message."""
        self._out.write(json.dumps({what: content}) + "\n")
        self._out.flush()

    def announce(self, line: str) -> None:
        """Tell of a model."""
        self.say("model", line)

    @contextmanager
    def stage(self, title: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """Show a stage of `total` frames; see `app.pipeline.progress.Progress`."""
        done, said = 0, 0.0
        marks = deque([(time.monotonic(), 0)])

        def tell(now: float) -> None:
            since, before = marks[0]
            rate = (done - before) / (now - since) if done > before and now > since else None
            # A header's frame count is a hint: nothing is ever done to 105 %.
            most = max(total, done) if total is not None else None
            left = (most - done) / rate if rate and most is not None else None
            self.say("step", Step(title=title, done=done, total=most, rate=rate, left=left).model_dump())

        def advance(count: int) -> None:
            nonlocal done, said
            done += count
            now = time.monotonic()
            marks.append((now, done))
            while now - marks[0][0] > _RATE_OVER and len(marks) > 2:
                marks.popleft()
            if now - said >= _EVERY:
                tell(now)
                said = now

        tell(time.monotonic())
        yield advance
        total = done
        tell(time.monotonic())


def work(task: Task, reporter: Reporter) -> None:
    """Do a task; its result folder is there, whole, when this returns.

    Raises:
        GaitprintError: the videos or the settings cannot be used.
    """
    from app.settings import Settings

    named = {"output.folder": task.work, "output.silhouettes": True, "output.features": True, "output.report": True}
    settings = Settings.load(task.config, task.assignments, named)
    done = _KINDS[task.kind](task, settings, reporter)
    ids = {str(video.path): video.video_id for video in task.videos}
    gallery, probes = done.report.gallery, done.report.probes
    before = f"G-{Path(gallery.video).stem}_P-" if gallery else ""
    painted = {gallery.video: "gallery"} if gallery else {}
    painted |= {probe.video: f"{before}{Path(probe.video).stem}" for probe in probes}
    outcome = Outcome(
        videos=[SeenVideo(video_id=ids[v], name=Path(v).stem, painted=f"{out}.mp4") for v, out in painted.items()],
        identities=done.identities,
        failures=[task.without_paths(str(failure)) for failure in done.failures],
    )
    reports = [*([gallery] if gallery else []), *probes]
    with written_whole(task.result) as temporary:
        temporary.mkdir(parents=True)
        for name, kept in (("GaitFeatures", "features"), ("GaitSilhouette", "silhouettes")):
            (task.work / name).rename(temporary / kept)
        _embed_pieces(reports, settings, temporary)
        for report in reports:
            crops = temporary / "crops" / Path(report.video).stem
            crops.mkdir(parents=True)
            for track_id, jpeg in _crops(report, settings).items():
                (crops / f"{track_id}.jpg").write_bytes(jpeg)
        done.folder.rename(temporary / "run")
        (temporary / "outcome.json").write_text(outcome.model_dump_json(indent=1), encoding="utf-8")


@dataclass(frozen=True)
class _Done:
    """A finished run: its folder, what it says, the videos that could not be used, and the names that stand in it."""

    folder: Path
    report: Report
    failures: Sequence[GaitprintError]
    identities: list[KnownIdentity]


def _compare(task: Task, settings: Settings, reporter: Reporter) -> _Done:
    """Name people after those of a gallery video."""
    from app.pipeline.demo import run

    assert task.gallery is not None
    probes = [video.path for video in task.probes]
    result = run(task.gallery.path, probes, settings, reporter, announce=reporter.announce)
    assert result.report.gallery is not None
    names = {track.identity for track in result.report.gallery.tracks if track.identity}
    return _Done(result.folder, result.report, result.failures, _identities(names, names, {}))


def _identify(task: Task, settings: Settings, reporter: Reporter) -> _Done:
    """Name people after those of the gallery's database."""
    from app.gallery.sqlite import SqliteGallery
    from app.pipeline.identify import IdentifyOptions, run

    probes = [video.path for video in task.probes]
    with SqliteGallery(task.database) as gallery:
        result = run(probes, gallery, settings, IdentifyOptions(), reporter, announce=reporter.announce)
        persons = {person.name: person.person_id for person in gallery.people()}
    tracks = [track for probe in result.report.probes for track in probe.tracks]
    named = {track.identity for track in tracks if track.identity}
    near = {candidate.identity for track in tracks for candidate in track.candidates}
    return _Done(result.folder, result.report, result.failures, _identities(named, near, persons))


def _survey(task: Task, settings: Settings, reporter: Reporter) -> _Done:
    """Find everybody who walks and name nobody."""
    from app.pipeline.build import build
    from app.pipeline.compare import Answer, report_of
    from app.pipeline.demo import analyse_probes, write_run
    from app.pipeline.progress import Stopwatch

    started, watch = time.perf_counter(), Stopwatch()
    with watch.measure("load"):
        stages = build(settings)
    for line in stages.lines():
        reporter.announce(line)
    probes = [video.path for video in task.probes]
    seen, failures = analyse_probes(probes, [path.stem for path in probes], stages, reporter, watch)
    unnamed = [{walk.track.track_id: Answer(None, None) for walk in video.usable()} for video in seen]
    shown = [(video, report_of(video, answers)) for video, answers in zip(seen, unnamed, strict=True)]
    folder, report = write_run(None, shown, [], stages, reporter, watch, started)
    return _Done(folder, report, failures, [])


_KINDS = {"compare": _compare, "identify": _identify, "survey": _survey}


def _identities(named: set[str], near: set[str], persons: Mapping[str, int]) -> list[KnownIdentity]:
    """Give the names, in alphabetical order as runs do, the colours of the painted videos."""
    from app.video.paint import colour_of

    colours = {name: "#{:02x}{:02x}{:02x}".format(*colour_of(place)) for place, name in enumerate(sorted(named))}
    return [
        KnownIdentity(name=name, colour=colours.get(name), person_id=persons.get(name)) for name in sorted(named | near)
    ]


def _embed_pieces(reports: Sequence[VideoReport], settings: Settings, result: Path) -> None:
    """Embed the pieces of tracks that go over to somebody else: what is kept of those is of the whole track."""
    pieces = [
        (KeptWalks(result, Path(report.video).stem), track, report.fps)
        for report in reports
        for cut in {track.part_of for track in report.tracks if track.part_of}
        # The first piece, which has the track's own number, comes last: the others are cut from what is kept of it.
        for track in sorted(report.tracks, key=lambda track: -track.track_id)
        if cut in (track.part_of, track.track_id)
    ]
    if not pieces:
        return
    from app.pipeline.build import build

    gait = build(settings).gait
    for kept, track, fps in pieces:
        sequence = kept.cut(track.part_of or track.track_id, track.frames[0], track.frames[-1], fps)
        (embedding,) = gait.embed([sequence])
        kept.write(track.track_id, embedding, sequence)


def _crops(report: VideoReport, settings: Settings) -> dict[int, bytes]:
    """Return the best picture of each track, a JPEG, blurred as the painted videos are."""
    from app.pipeline.render import regions_to_blur
    from app.report.pictures import BestCrops
    from app.video.blur import blur
    from app.video.reader import VideoReader

    best, regions = BestCrops(report), regions_to_blur(report, settings.output.blur)
    with VideoReader(Path(report.video)) as frames:
        for frame in frames:
            blur(frame.image, regions.get(frame.index, ()))
            best.look(frame)
    return best.jpegs()


class _Warnings(logging.Handler):
    """Sends the project's warnings."""

    def __init__(self, task: Task, reporter: Reporter) -> None:
        super().__init__(logging.WARNING)
        self._task, self._reporter = task, reporter

    def emit(self, record: logging.LogRecord) -> None:
        self._reporter.say("warning", self._task.without_paths(record.getMessage()))


def _end_with_server() -> None:
    """Wait until the server is gone, then end at once: the next server may start any moment, and clears up."""
    while os.read(0, 1):  # not sys.stdin, whose lock this thread would hold when the program ends
        pass
    os._exit(1)


def _unwind(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)  # so that half-written files are removed


def main() -> int:
    """Do the task on standard input.

    Returns:
        0 when it is done, 2 when the input is at fault, 143 when it was told to stop.
    """
    signal.signal(signal.SIGTERM, _unwind)
    # Whatever a library prints must not be taken for a message.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    task = Task.model_validate_json(sys.stdin.readline())
    threading.Thread(target=_end_with_server, daemon=True).start()
    reporter = Reporter(out)
    logging.getLogger("app").addHandler(_Warnings(task, reporter))
    try:
        work(task, reporter)
    except GaitprintError as error:
        reporter.say("error", task.without_paths(str(error)))
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
