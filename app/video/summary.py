"""`summary.gif`: the gallery and a probe side by side, for chats and READMEs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Event

import cv2
import numpy as np
from PIL import Image as Pictures

from app.files import written_whole
from app.types import Image
from app.video.colours import colour_of

_RATE = 10  # frames/s: GIF counts in hundredths of a second, and this is enough to see legs swing
_SECONDS = 4.0  # the longest duration
_HEIGHT = 420  # px; lowered if the two would make the GIF too large for a chat, as wide videos do
_AREA = 200_000  # px of the two pictures together
_COLOURS = 128
_STILL = 12  # grey levels; smaller changes are noise, which would need more bytes than the people
_EXACT = 1e-6


class Excerpt:
    """Keeps small pictures of a few seconds of a video while its painted frames pass by."""

    def __init__(self, size: tuple[int, int], start: float, count: int) -> None:
        """Keep `count` pictures of `size` (width and height in px), ten a second from `start` s on."""
        self._size, self._start, self._count = size, start, count
        self.pictures: list[Image] = []
        """RGB."""
        self._complete = Event()

    def look(self, image: Image, time: float) -> None:
        """Take the painted frame `image`, uint8 (H, W, 3) BGR, which is shown from `time` s on."""
        due = math.floor((time - self._start) * _RATE + 1 + _EXACT)
        missing = min(due, self._count) - len(self.pictures)  # more than one where frames are rare
        if missing > 0:
            small = cv2.resize(image, self._size, interpolation=cv2.INTER_AREA)
            self.pictures += [np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2RGB), np.uint8)] * missing
        if len(self.pictures) == self._count:
            self._complete.set()

    def end(self) -> None:
        """Take no more pictures: the video is over."""
        self._complete.set()

    def wait(self) -> None:
        """Wait until all pictures are there, or the video is over."""
        self._complete.wait()


def excerpts(sizes: Sequence[tuple[int, int]], lengths: Sequence[float], starts: Sequence[float]) -> list[Excerpt]:
    """Return an empty excerpt for each video that is shown; all have the same height and length.

    The GIF lasts for 4 s, or as long as the shortest of `lengths` (s). Each video starts at its place in `starts` (s),
    or earlier if it would end too soon.
    """
    height = min(_HEIGHT, math.isqrt(int(_AREA / sum(wide / tall for wide, tall in sizes)))) // 2 * 2
    seconds = min(_SECONDS, *lengths)
    return [
        Excerpt(
            (max(2, round(height * wide / tall)), max(2, height)),
            max(0.0, min(start, length - seconds)),
            max(1, round(seconds * _RATE)),
        )
        for (wide, tall), length, start in zip(sizes, lengths, starts, strict=True)
    ]


def write_summary(parts: Sequence[Excerpt], out: Path) -> None:
    """Write excerpts side by side as the endless GIF `out`, with MoviePy. It appears when it is complete.

    Raises:
        OutputError: no permission, no space.
    """
    count = max(len(part.pictures) for part in parts)
    columns = [part.pictures + part.pictures[-1:] * (count - len(part.pictures)) for part in parts]
    write_pictures([np.concatenate(row, axis=1) for row in zip(*columns, strict=True)], out, _RATE)


def write_pictures(pictures: Sequence[Image], out: Path, rate: float) -> None:
    """Write pictures, RGB (H, W, 3), as the endless GIF `out` with `rate` a second, with MoviePy.

    Raises:
        OutputError: no permission, no space.
    """
    from moviepy import ImageSequenceClip

    film = ImageSequenceClip(list(_in_few_colours(pictures)), fps=rate)
    with written_whole(out) as temporary:
        film.write_gif(str(temporary), fps=rate, logger=None)


def _in_few_colours(pictures: Sequence[Image]) -> Iterator[Image]:
    """Reduce the pictures to one palette and keep pixels that hardly change: a fifth of the time, half of the bytes.

    MoviePy's writer would give each picture a palette of its own, so that even a still wall would change all the time.
    """
    sample = np.concatenate([picture[::2, ::2] for picture in pictures[:: max(1, len(pictures) // 6)]])
    # Boxes are small, but their colours show who is who. Enough of each is added to get it into the palette.
    marks = np.array([colour_of(place) for place in range(8)], np.uint8).repeat(sample.shape[1] * 4, axis=0)
    sample = np.concatenate([sample, marks.reshape(-1, sample.shape[1], 3)])
    palette = Pictures.fromarray(sample).quantize(_COLOURS, method=Pictures.Quantize.MEDIANCUT)
    current = pictures[0]
    for picture in pictures:
        still = cv2.inRange(cv2.absdiff(picture, current), (0, 0, 0), (_STILL - 1,) * 3)
        current = np.asarray(cv2.copyTo(current, still, picture.copy()), np.uint8)
        reduced = Pictures.fromarray(current).quantize(palette=palette, dither=Pictures.Dither.NONE)
        yield np.asarray(reduced.convert("RGB"), np.uint8)
