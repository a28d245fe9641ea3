"""How large a network of free size looks at a video: as large as the people in it need, and no larger.

At the start and then every `EVERY` seconds, one frame is looked at in the largest of `SIZES`, where small people are
found if there are any. The lower quartile of the heights found in the last `LOOKS` looks decides about all frames up
to the next look: the network's own size is used as long as people of that height are `LEAST` to `MOST` px high in it,
otherwise the smallest size in which they are at least `LEAST` (larger than its own) or `MOST` px high (smaller). What a
frame's detections are follows from the frames before it alone, whatever the batches are.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Sequence

import numpy as np

from app.types import Detections, Floats, Frame, VideoInfo

SIZES = (416, 512, 640, 800, 960)
"""The longer sides, px, that a frame may be scaled to."""
LEAST, MOST = 56, 128
"""Heights in px, after scaling, between which the network's own size will do for people. They were measured, see
docs/decisions/2026-11-29-looking-larger.md."""
EVERY = 2.0
"""Seconds between two looks."""
LOOKS = 5
"""So many looks are remembered."""
SURE = 0.5
"""Score from which a detection counts as a person."""
LARGER = 2.0
"""No frame is enlarged more than this."""

logger = logging.getLogger(__name__)


class Looking:
    """The size of a network's pictures over one video. `size` is the longer side of the next frames, px."""

    def __init__(self, own: int) -> None:
        """Take the network's `own` size, px, for as long as nobody is seen."""
        self._own = own
        self._name = "A video"
        self._begin(25.0)

    def start(self, video: VideoInfo) -> None:
        """Forget the video before."""
        self._name = video.path.name
        self._begin(float(video.fps))

    def _begin(self, fps: float) -> None:
        self.size = self._own
        self._every = max(1, round(EVERY * fps))
        self._next = 0
        self._told = False
        self._heights: deque[Floats] = deque(maxlen=LOOKS)

    def groups(self, frames: Sequence[Frame]) -> Iterator[tuple[bool, Sequence[Frame]]]:
        """Yield frames that have the same size, and whether the first of them is to be looked at in the largest."""
        first = 0
        while first < len(frames):
            closely = frames[first].index >= self._next
            if closely:
                self._next = frames[first].index + self._every
            last = next((i for i in range(first, len(frames)) if frames[i].index >= self._next), len(frames))
            yield closely, frames[first:last]
            first = last

    def largest(self, frame: Frame) -> int:
        """Return the size of a look at `frame`."""
        sizes = [size for size in SIZES if size <= LARGER * max(frame.image.shape[:2])]
        return max(sizes, default=SIZES[0])

    def learn(self, frame: Frame, people: Detections) -> None:
        """Choose the size after a look at `frame` that has found `people`, in px of the frame."""
        sure = people.boxes[people.scores >= SURE]
        if len(sure):
            self._heights.append(sure[:, 3] - sure[:, 1])
        if not self._heights:
            return
        small = float(np.quantile(np.concatenate(self._heights), 0.25))
        largest = self.largest(frame)
        at_one = max(frame.image.shape[:2]) / max(small, 1.0)  # the size in which they are one px high
        least, most = (
            next((size for size in SIZES if tall * at_one <= size <= largest), largest) for tall in (LEAST, MOST)
        )
        size = min(max(self._own, least), most)
        if size != self.size:
            # Later changes are many in a crowd, and say nothing new.
            level = logging.DEBUG if self._told else logging.INFO
            text = "%s: people are %.0f px high, so the detector looks at %d px."
            logger.log(level, text, self._name, small, size)
            self._told = True
        self.size = size
