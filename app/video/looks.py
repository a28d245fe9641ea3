"""Looks: the frames of a video in which people are looked for, so many a second, and what lies between them."""

from __future__ import annotations

import math

import numpy as np

from app.types import Floats, Ints

_EXACT = 1e-6


class Looks:
    """Chooses the frames of a video that are looked at, evenly spread over time: `rate` in a second.

    Of a video with fewer frames in a second, each one is.
    """

    def __init__(self, fps: float, rate: float) -> None:
        self.rate = min(fps, rate)
        self._share = self.rate / fps
        self._last = -1

    def number(self, index: int) -> int:
        """Return the time of the frame `index` in looks."""
        return math.floor(index * self._share + _EXACT)

    def due(self, index: int) -> bool:
        """Whether the frame `index` is looked at. Ask once for each frame that there is, in their order."""
        number = self.number(index)
        if number <= self._last:
            return False
        self._last = number
        return True


def between(frames: Ints, boxes: Floats) -> tuple[Ints, Floats]:
    """Return a box for every frame from the first to the last look at a person: (T,) and (T, 4) px.

    `frames` (N,) rise, and `boxes` are (N, 4) px. Between two looks the box moves on a straight line. That holds for a
    gap in a track as well, where somebody is hidden for a moment: afterwards it is known where the person came out.
    """
    every = np.arange(frames[0], frames[-1] + 1)
    sides = [np.interp(every, frames, side) for side in boxes.T]
    return every, np.stack(sides, axis=1).astype(np.float32)
