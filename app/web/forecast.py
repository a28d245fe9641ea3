"""How long a run will still take: all of its videos are followed, then all are painted."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

_WINDOW = 30.0  # s of work from which a pace is taken
_ENOUGH = 3.0  # s of work before which nothing is said about it
_PAINTED = 25e6  # px/s, measured at 854x480 on two busy cores; holds until there is a pace of its own


@dataclass(frozen=True)
class PlannedStep:
    """A step that is to come: its title, its frames where they are known, and the px of one where it is painted."""

    title: str
    frames: int | None
    pixels: int | None = None


class _Pace:
    """Units of work (frames or pixels) a second, over the last half minute of work."""

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
    """Follows the steps of a run and says how long all that is left will take.

    A step that is skipped, as its video was followed before or cannot be used, is over when a later one begins. Times
    are those of a clock that runs steadily, in s.
    """

    def __init__(self, plan: Sequence[PlannedStep]) -> None:
        self._plan = list(plan)
        self._place, self._done = 0, 0
        self._time: float | None = None
        self._following, self._painting = _Pace(), _Pace()

    def begin(self, title: str, frames: int | None) -> None:
        """A step begins; `frames` where they are known by now.

        Raises:
            ValueError: it is not in the plan.
        """
        self._place = [step.title for step in self._plan].index(title)
        self._done, self._time = 0, None
        if frames is not None:
            self._plan[self._place] = replace(self._plan[self._place], frames=frames)

    def advance(self, done: int, time: float) -> None:
        """So many frames of the step are done."""
        pixels = self._plan[self._place].pixels
        pace = self._following if pixels is None else self._painting
        if self._time is not None:  # the first frames of a step take longer: networks warm up
            pace.add(time - self._time, (done - self._done) * (pixels or 1))
        self._done, self._time = done, time

    def end(self) -> None:
        """The step is over."""
        self._place, self._done = self._place + 1, 0

    def left(self) -> float | None:
        """Return the seconds until the last step is over; None while nobody can know."""
        following, painting = self._following.rate(), self._painting.rate() or _PAINTED
        seconds = 0.0
        for place, step in enumerate(self._plan[self._place :], self._place):
            rate = following if step.pixels is None else painting / step.pixels
            if rate is None or step.frames is None:
                return None
            # A header's frame count is a hint: there may be more.
            seconds += max(0, step.frames - (self._done if place == self._place else 0)) / rate
        return seconds
