"""Estimates how long a run will still take. First all of its videos are analysed, then all are painted."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

_WINDOW = 30.0  # s of work over which the speed is averaged
_ENOUGH = 3.0  # s of work that are needed before a speed is given
_PAINTED = 25e6  # px/s, measured at 854x480 on two busy cores; used until the speed of this run is known


@dataclass(frozen=True)
class PlannedStep:
    """A step of a run: its title, its number of frames if known, and the px of a frame if frames are painted."""

    title: str
    frames: int | None
    pixels: int | None = None


class _Speed:
    """The speed in units of work (frames or pixels) a second, over the last half minute of work."""

    def __init__(self) -> None:
        self._marks = deque([(0.0, 0.0)])

    def add(self, seconds: float, units: float) -> None:
        worked, done = self._marks[-1]
        self._marks.append((worked + seconds, done + units))
        while self._marks[-1][0] - self._marks[0][0] > _WINDOW and len(self._marks) > 2:
            self._marks.popleft()

    def rate(self) -> float | None:
        seconds, units = (last - first for first, last in zip(self._marks[0], self._marks[-1], strict=True))
        return units / seconds if seconds >= _ENOUGH and units > 0 else None


class Forecast:
    """Follows the steps of a run and estimates how long the rest will take.

    A step may be skipped because its video was analysed before or cannot be used; it counts as done when a later step
    begins. A step that is not in the plan, such as fitting bodies, comes before the next one, at a speed of its own.
    Times come from a monotonic clock, in s.
    """

    def __init__(self, plan: Sequence[PlannedStep]) -> None:
        self._plan = list(plan)
        self._place, self._done = 0, 0
        self._time: float | None = None
        self._following, self._painting = _Speed(), _Speed()
        self._others: dict[str, _Speed] = {}

    def begin(self, title: str, frames: int | None) -> None:
        """Begin a step, of so many frames if that is known by now."""
        titles = [step.title for step in self._plan]
        if title not in titles:
            titles.insert(self._place, title)
            self._plan.insert(self._place, PlannedStep(title, frames))
            self._others[title] = _Speed()
        self._place = titles.index(title)
        self._done, self._time = 0, None
        if frames is not None:
            self._plan[self._place] = replace(self._plan[self._place], frames=frames)

    def advance(self, done: int, time: float) -> None:
        """Note that so many frames of the step are done by now."""
        pixels = self._plan[self._place].pixels
        usual = self._following if pixels is None else self._painting
        speed = self._others.get(self._plan[self._place].title, usual)
        if self._time is not None:  # the first frames of a step take longer, because networks warm up
            speed.add(time - self._time, (done - self._done) * (pixels or 1))
        self._done, self._time = done, time

    def end(self) -> None:
        """End the step."""
        self._place, self._done = self._place + 1, 0

    def left(self) -> float | None:
        """Return in how many s the last step will end; None while that cannot be estimated."""
        following, painting = self._following.rate(), self._painting.rate() or _PAINTED
        seconds = 0.0
        for place, step in enumerate(self._plan[self._place :], self._place):
            rate = following if step.pixels is None else painting / step.pixels
            if step.title in self._others:
                rate = self._others[step.title].rate()
            if rate is None or step.frames is None:
                return None
            # A header's frame count is a hint: there may be more.
            seconds += max(0, step.frames - (self._done if place == self._place else 0)) / rate
        return seconds
