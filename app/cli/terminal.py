"""The terminal: the console for results, the console for messages, the progress bars, and the log.

Every command prints through this module, so that lines never break a progress bar and streams are used alike:
results, progress and warnings go to standard output, errors to standard error. Where standard output carries data for
another program (JSON, live events), warnings go to standard error too: ``with show_log(error_console)``.
"""

from __future__ import annotations

import io
import json
import logging
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.segment import Segment
from rich.table import Column
from rich.text import Text

_COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Characters that a terminal obeys, or that turn the direction of a text around."""


class _Terminal(Console):
    """A console on which text stays text: no note, file name or message can give the terminal commands."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Show commands in the text as escapes such as ``\\x1b``; the console's own are kept apart from the text."""
        for segment in super().render(renderable, options):
            text, style, control = segment
            yield segment if control or text.isprintable() else Segment(_COMMANDS.sub(_escaped, text), style)


def _escaped(character: re.Match[str]) -> str:
    return repr(character[0])[1:-1]


console = _Terminal()
"""Standard output."""
error_console = _Terminal(stderr=True)
"""Standard error."""


def say(text: str, style: str = "", *, to: Console = console) -> None:
    """Print a line as it is: no markup is interpreted, and the terminal wraps it, so that paths can be copied."""
    to.print(Text(text, style=style), soft_wrap=True)


def accept_all_text() -> None:
    """Let standard output and standard error take every character.

    What their encoding lacks (ASCII, cp1252) is written as an escape such as ``\\xeb``, and so are the bytes of file
    names that are no text. A long run must not end with an error because of a name that cannot be printed.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def write_json(content: Any, *, indent: int | None = None, to: TextIO | None = None) -> None:
    """Print a JSON value for another program, by default on standard output; whatever the encoding, it stays JSON.

    What JSON does not know, such as a date, is written as its text. Without `indent` it is one line.
    """
    out = to or sys.stdout
    ascii_only = not (out.encoding or "").lower().startswith("utf")
    text = json.dumps(content, indent=indent, default=str, ensure_ascii=ascii_only)
    # JSON itself escapes only some of these, and line breaks are never part of a value here.
    text = _COMMANDS.sub(lambda character: f"\\u{ord(character[0]):04x}", text)
    print(text, file=out, flush=True)


class _FrameRate(ProgressColumn):
    def __init__(self) -> None:
        super().__init__(Column(no_wrap=True))

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:5.1f} frames/s" if speed else "      frames/s")


class ProgressBars(Progress):
    """Progress bars on standard output, one for each piece of work; a context manager.

    `stage` is what `app.progress.Progress` asks for; `counter` is for downloads, whose size is known once they begin.

    A bar consists of `columns`, by default its title, the bar, how many are done, and the time left. Where `transient`,
    bars vanish when the work is done, and are not shown at all where standard output is no terminal.
    """

    def __init__(self, *columns: ProgressColumn, transient: bool = False) -> None:
        super().__init__(
            *(columns or (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())),
            console=console,
            transient=transient,
            disable=transient and not console.is_terminal,
            auto_refresh=console.is_terminal,  # elsewhere only their last state is shown
            refresh_per_second=5,
            speed_estimate_period=10,
        )

    at_once = 2
    """So many stages may be shown at once: each has a bar of its own."""

    @classmethod
    def of_frames(cls) -> ProgressBars:
        """Bars for stages that go through the frames of a video, with frames/s."""
        return cls(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=8),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            _FrameRate(),
            TimeRemainingColumn(elapsed_when_finished=True, table_column=Column(no_wrap=True)),
        )

    @contextmanager
    def stage(self, title: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """Show a stage of `total` frames (None: unknown); the function yielded is called with each number done."""
        task = self.add_task(escape(title), total=total)
        done = 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            # The frame count in a video's header is a hint, so the total grows where there are more frames.
            self.update(task, completed=done, total=max(total, done) if total is not None else None)

        yield advance
        self.update(task, total=done, completed=done)

    def counter(self, title: str) -> Callable[[int, int | None], None]:
        """Add a bar, and return a function that sets how many are done and how many there are."""
        task = self.add_task(escape(title), total=None)
        return lambda done, total: self.update(task, completed=done, total=total)


class _Lines(logging.Handler):
    """Prints the project's warnings, and dimmed what it merely tells, above the progress bars."""

    def __init__(self, to: Console, *, times: bool) -> None:
        super().__init__()
        self._to = to
        self.setFormatter(logging.Formatter("%(asctime)s  %(message)s" if times else "%(message)s", "%H:%M:%S"))

    def emit(self, record: logging.LogRecord) -> None:
        is_warning = record.levelno >= logging.WARNING
        text = f"{'Warning: ' if is_warning else ''}{self.format(record)}"
        say(text, "yellow" if is_warning else "dim", to=self._to)


@contextmanager
def show_log(to: Console = console, *, times: bool = False) -> Iterator[None]:
    """Print what the project's modules log, warnings and information, on a console.

    Within another `show_log` the inner one alone prints. With `times`, each line begins with the time of day.
    """
    root = logging.getLogger("app")
    handlers, level, propagate = root.handlers[:], root.level, root.propagate
    for outer in handlers:
        if isinstance(outer, _Lines):
            root.removeHandler(outer)
    root.addHandler(_Lines(to, times=times))
    root.setLevel(logging.INFO)
    root.propagate = False  # libraries that set up logging of their own would print each line again
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        root.propagate = propagate
