"""How long work reports its progress: a stage begins, so many frames are done, it ends."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Protocol

_STOPPING = b"\nStopping. Finished work is kept: run the same command again to go on. Ctrl-C again ends at once.\n"


def tell_stopping() -> None:
    """Say that Ctrl-C was heeded. It is written to the file itself, because a signal may interrupt a print."""
    with suppress(OSError):
        os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, _STOPPING)


class Progress(Protocol):
    """A place where progress is shown. One that shows several stages at once says so: ``at_once = 2``."""

    def stage(self, title: str, total: int | None) -> AbstractContextManager[Callable[[int], None]]:
        """Show a stage of `total` frames (None: unknown); the value entered is called with each number done."""


class Silent:
    """Shows nothing."""

    at_once = 2

    @contextmanager
    def stage(self, title: str, total: int | None) -> Iterator[Callable[[int], None]]:
        yield lambda done: None


class Titled:
    """Shows a stage elsewhere under a title that says more than its own. Without `progress` nothing is shown."""

    def __init__(self, progress: Progress | None, title: str) -> None:
        self._progress, self._title = progress or Silent(), title

    def stage(self, title: str, total: int | None) -> AbstractContextManager[Callable[[int], None]]:
        return self._progress.stage(self._title, total)


class Stoppable:
    """Shows progress elsewhere. Once it is stopped, work that reports progress to it is interrupted."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Interrupt the work, whichever thread does it, at its next report."""
        self._stopped.set()

    @contextmanager
    def stage(self, title: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """Show a stage of `total` frames; see `Progress`; `KeyboardInterrupt` where it is stopped."""
        with self._progress.stage(title, total) as advance:

            def report(done: int) -> None:
                if self._stopped.is_set():
                    raise KeyboardInterrupt
                advance(done)

            yield report


class Stopwatch:
    """Measures the seconds of each named step, and of the whole run. Steps may overlap where threads do."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._lock = threading.Lock()
        self._started = time.perf_counter()

    @contextmanager
    def measure(self, step: str) -> Iterator[None]:
        """Add the time of the block to `step`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - start
            with self._lock:
                self.seconds[step] += spent

    def timings(self) -> dict[str, float]:
        """Return the seconds by step so far, and `total` since the watch was made."""
        return {**self.seconds, "total": time.perf_counter() - self._started}
