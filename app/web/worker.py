"""One run in a separate process: ``python -m app.web.worker``.

A `Task` is the first line of standard input; the end of standard input means that the server is gone. Messages go to
standard output, one JSON object a line: ``step`` with the seconds ``left`` of the whole run (null while that cannot be
estimated), ``model``, ``warning`` or ``error``. Nothing heavy is imported before the work starts, because the server
imports `Task` from here.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TextIO

from pydantic import BaseModel

from app.errors import GaitprintError
from app.files import written_whole
from app.web.forecast import Forecast, PlannedStep
from app.web.jobs import Kind, Step
from app.web.outcome import KnownIdentity, Outcome, SeenVideo

if TYPE_CHECKING:
    from app.gallery.sql import GalleryStore
    from app.results.result import Result
    from app.stages import Run, Stages

_EVERY = 0.25  # s between two messages about the same step
_RATE_OVER = 10.0  # the rate is the mean over so many s


class TaskVideo(BaseModel):
    """A video by its id. `frames`, which is a hint, and the `pixels` of a frame say how long it may take."""

    video_id: str
    path: Path
    frames: int | None = None
    pixels: int


class Task(BaseModel):
    """What the worker must do.

    `gallery` is the video whose people ``compare`` recognises. `database` is the gallery whose people ``identify``
    recognises, at the false accept rate `far`.
    """

    kind: Kind
    gallery: TaskVideo | None
    probes: list[TaskVideo]
    database: str | Path
    far: float
    config: Path | None
    assignments: list[str]
    work: Path
    result: Path

    @property
    def videos(self) -> list[TaskVideo]:
        """All videos, the gallery video first."""
        return [*([self.gallery] if self.gallery else []), *self.probes]

    def outcome_videos(self) -> list[SeenVideo]:
        """Return the names of the folders and of the painted copy of each video."""
        from app.results.outputs import painted_names
        from app.video.sources import distinct_names

        names = distinct_names([video.path for video in self.videos])
        painted = painted_names(*((names[0], names[1:]) if self.gallery else (None, names)))
        return [
            SeenVideo(video_id=video.video_id, name=name, painted=file)
            for video, name, file in zip(self.videos, names, painted, strict=True)
        ]

    def plan(self) -> list[PlannedStep]:
        """Return the steps of the run, with the titles that the run gives them."""
        videos = list(zip(self.videos, self.outcome_videos(), strict=True))
        return [
            *(PlannedStep(f"{names.name}: follow and cut out", video.frames) for video, names in videos),
            *(PlannedStep(f"{names.painted}: paint", video.frames, video.pixels) for video, names in videos),
        ]

    def without_paths(self, text: str) -> str:
        """Return a message with the names of videos instead of their paths."""
        for video in self.videos:
            text = text.replace(str(video.path), video.path.name)
        return text


class Reporter:
    """Sends progress and messages to the server; it is an `app.progress.Progress`."""

    def __init__(self, out: TextIO, forecast: Forecast) -> None:
        self._out, self._forecast = out, forecast

    def say(self, what: str, content: Any, **more: Any) -> None:
        """Send one message."""
        self._out.write(json.dumps({what: content, **more}) + "\n")
        self._out.flush()

    def announce(self, stages: Stages) -> None:
        """Send a line about each model."""
        for line in stages.lines():
            self.say("model", line)

    @contextmanager
    def stage(self, title: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """Show a stage of `total` frames; see `app.progress.Progress`."""
        forecast, done, last_message = self._forecast, 0, 0.0
        marks = deque([(time.monotonic(), 0)])

        def send_step(now: float) -> None:
            since, before = marks[0]
            rate = (done - before) / (now - since) if done > before and now > since else None
            # The frame count in a header is only a hint. Without the maximum, the page might show 105 %.
            expected = max(total, done) if total is not None else None
            step = Step(title=title, done=done, total=expected, rate=rate)
            self.say("step", step.model_dump(), left=forecast.left())

        def advance(count: int) -> None:
            nonlocal done, last_message
            done += count
            now = time.monotonic()
            marks.append((now, done))
            while now - marks[0][0] > _RATE_OVER and len(marks) > 2:
                marks.popleft()
            forecast.advance(done, now)
            if now - last_message >= _EVERY:
                send_step(now)
                last_message = now

        forecast.begin(title, total)
        send_step(time.monotonic())
        yield advance
        total = done
        forecast.end()
        send_step(time.monotonic())


def work(task: Task, reporter: Reporter) -> None:
    """Do a task. When this returns, its result folder exists and is complete.

    Raises:
        GaitprintError: the videos or the settings cannot be used.
    """
    from app.runs.build import begin
    from app.settings import Settings

    fixed = {
        "output.folder": task.work,
        "output.silhouettes": True,
        "output.features": True,
        "output.report": True,
        "match.far": task.far,
    }
    run = begin(Settings.load(task.config, task.assignments, fixed), reporter, reporter.announce)
    result, identities = _KINDS[task.kind](task, run)
    folder = result.write()
    by_path = {str(video.path): names for video, names in zip(task.videos, task.outcome_videos(), strict=True)}
    outcome = Outcome(
        videos=[by_path[named.report.video] for named in result.videos],
        identities=identities,
        failures=[task.without_paths(failure.reason) for failure in result.failures],
    )
    with written_whole(task.result) as temporary:
        temporary.mkdir(parents=True)
        for folder_of_run, folder_of_result in (("GaitFeatures", "features"), ("GaitSilhouette", "silhouettes")):
            (task.work / folder_of_run).rename(temporary / folder_of_result)
        folder.rename(temporary / "run")
        (temporary / "outcome.json").write_text(outcome.model_dump_json(indent=1), encoding="utf-8")


def _compare(task: Task, run: Run) -> tuple[Result, list[KnownIdentity]]:
    """Recognise the people of a gallery video."""
    from app.runs.compare import compare

    assert task.gallery is not None
    result = compare(task.gallery.path, [video.path for video in task.probes], run)
    names = set(result.identities)
    return result, _identities(names, names, {})


def _identify(task: Task, run: Run) -> tuple[Result, list[KnownIdentity]]:
    """Recognise the people of the gallery."""
    from app.gallery.opening import open_store
    from app.runs.identify import identify

    with open_store(task.database, create=False) as gallery:
        before = _persons(gallery)
        result = identify([video.path for video in task.probes], gallery, run)
        # People who were renamed or forgotten during the run may still be named in the result.
        persons = _persons(gallery) | before
    return result, _identities(set(result.identities), set(result.people), persons)


def _persons(gallery: GalleryStore) -> dict[str, tuple[int, list[int]]]:
    """Return the id of everybody in a gallery and the ids of their walks, by name."""
    walks: dict[int, list[int]] = defaultdict(list)
    for walk in gallery.walks():
        walks[walk.person_id].append(walk.walk_id)
    return {person.name: (person.person_id, walks[person.person_id]) for person in gallery.people()}


def _survey(task: Task, run: Run) -> tuple[Result, list[KnownIdentity]]:
    """Find people, and name nobody."""
    from app.runs.identify import survey

    return survey([video.path for video in task.probes], run), []


_KINDS = {"compare": _compare, "identify": _identify, "survey": _survey}


def _identities(named: set[str], near: set[str], persons: Mapping[str, tuple[int, list[int]]]) -> list[KnownIdentity]:
    """Return the names in a result, with the colours that they have in the painted videos."""
    from app.video.colours import css_colour

    colours = {name: css_colour(place) for place, name in enumerate(sorted(named))}
    identities = []
    for name in sorted(named | near):
        person_id, walks = persons.get(name, (None, []))
        identities.append(KnownIdentity(name=name, colour=colours.get(name), person_id=person_id, walks=walks))
    return identities


class _Warnings(logging.Handler):
    """Sends the project's warnings."""

    def __init__(self, task: Task, reporter: Reporter) -> None:
        super().__init__(logging.WARNING)
        self._task, self._reporter = task, reporter

    def emit(self, record: logging.LogRecord) -> None:
        self._reporter.say("warning", self._task.without_paths(record.getMessage()))


def _end_with_server() -> None:
    """Wait until the server is gone, then end at once, because the next server may start any moment."""
    while os.read(0, 1):  # not from sys.stdin, because this thread would hold its lock when the program ends
        pass
    os._exit(1)


def _unwind(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)  # so that half-written files are removed


def main() -> int:
    """Do the task that comes on standard input.

    Returns:
        0 when it is done, 2 if the videos or settings cannot be used, 143 when it was told to stop.
    """
    signal.signal(signal.SIGTERM, _unwind)
    # What a library prints must not be read as a message.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    task = Task.model_validate_json(sys.stdin.readline())
    threading.Thread(target=_end_with_server, daemon=True).start()
    reporter = Reporter(out, Forecast(task.plan()))
    logging.getLogger("app").addHandler(_Warnings(task, reporter))
    try:
        work(task, reporter)
    except GaitprintError as error:
        reporter.say("error", task.without_paths(str(error)))
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
