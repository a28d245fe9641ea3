"""Progress for tests: one that remembers, and one that interrupts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Remembered:
    """Remembers how much of each stage was done, and how much there was."""

    def __init__(self) -> None:
        self.stages: dict[str, tuple[int, int | None]] = {}

    @contextmanager
    def stage(self, title: str, total: int | None) -> Iterator[Callable[[int], None]]:
        def advance(count: int) -> None:
            self.stages[title] = (self.stages[title][0] + count, total)

        self.stages[title] = (0, total)
        yield advance


class Steps:
    """Remembers what was done after each step, and ends the work as Ctrl-C does when `stop` of a stage are done."""

    def __init__(self, stop: int | None = None) -> None:
        self.seen: list[tuple[int, int | None]] = []
        self.titles: list[str] = []
        self._stop = stop

    @contextmanager
    def stage(self, title: str, total: int | None) -> Iterator[Callable[[int], None]]:
        done = 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            self.seen.append((done, total))
            if done == self._stop:
                raise KeyboardInterrupt

        self.titles.append(title)
        yield advance


class Interrupted:
    """Ends the work as Ctrl-C does, as soon as something is done."""

    @contextmanager
    def stage(self, title: str, total: int | None) -> Iterator[Callable[[int], None]]:
        def advance(count: int) -> None:
            raise KeyboardInterrupt

        yield advance
