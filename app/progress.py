"""How long work reports its progress: a stage begins, so many frames are done, it ends."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Progress(Protocol):
    """A place where progress is shown."""

    def stage(self, title: str, total: int | None) -> AbstractContextManager[Callable[[int], None]]:
        """Show a stage of `total` frames (None: unknown); the value entered is called with each number done."""
        ...


class Silent:
    """Shows nothing."""

    @contextmanager
    def stage(self, title: str, total: int | None) -> Iterator[Callable[[int], None]]:
        yield lambda done: None


class Stopwatch:
    """Measures the seconds of each named step, and of the whole run. Steps may overlap where threads do."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._started = time.perf_counter()

    @contextmanager
    def measure(self, step: str) -> Iterator[None]:
        """Add the time of the block to `step`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[step] += time.perf_counter() - start

    def timings(self) -> dict[str, float]:
        """Return the seconds by step so far, and `total` since the watch was made."""
        return {**self.seconds, "total": time.perf_counter() - self._started}
