"""Parts of a camera's picture: areas that are ignored or of interest, lines that are crossed, and pictures in which
nothing moves. Coordinates are shares of width and height, so they hold for every size of picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import cv2
import numpy as np

from app.types import Detections, Image, VideoInfo

Point: TypeAlias = tuple[float, float]
_WIDTH = 160  # of the small picture in which movement is looked for, in px
_NOISE = 16  # grey levels by which a pixel may change without movement
_MOVED = 0.002  # share of changed pixels that is movement


@dataclass(frozen=True)
class Areas:
    """Where people count: outside of the polygons `ignore`, and inside of one of `interest` where there are any.

    People are where their feet are. `lines` are pairs of points by name.
    """

    ignore: Sequence[Sequence[Point]] = ()
    interest: Sequence[Sequence[Point]] = ()
    lines: Mapping[str, tuple[Point, Point]] = field(default_factory=dict)

    def keep(self, detections: Detections, info: VideoInfo) -> Detections:
        """Return the detections that count."""
        if not (self.ignore or self.interest) or not len(detections.boxes):
            return detections
        counts = np.array([self._counts(foot(box, info)) for box in detections.boxes])
        return Detections(detections.boxes[counts], detections.scores[counts])

    def crossed(self, before: Point, after: Point) -> list[tuple[str, str]]:
        """Return the lines crossed on the way between two places, each with the side to which: ``left`` or ``right``.

        Sides are as seen when looking from the line's first point to its second.
        """
        found = []
        for name, (a, b) in self.lines.items():
            sides, ends = _side(a, b, before) * _side(a, b, after), _side(before, after, a) * _side(before, after, b)
            if sides < 0 and ends < 0:
                found.append((name, "right" if _side(a, b, after) > 0 else "left"))
        return found

    def _counts(self, place: Point) -> bool:
        if any(_inside(polygon, place) for polygon in self.ignore):
            return False
        return not self.interest or any(_inside(polygon, place) for polygon in self.interest)


def foot(box: np.ndarray, info: VideoInfo) -> Point:
    """Return where the person in a box, xyxy in px, stands."""
    left, _, right, bottom = (float(side) for side in box)
    return (left + right) / 2 / info.width, bottom / info.height


class Stillness:
    """Tells whether anything moved since the last picture that was looked at."""

    def __init__(self) -> None:
        self._last: Image | None = None

    def is_still(self, image: Image) -> bool:
        """Whether the picture, uint8 (H, W, 3), shows what the last one did that moved; noise is no movement."""
        height = max(1, round(image.shape[0] * _WIDTH / image.shape[1]))
        small = cv2.cvtColor(cv2.resize(image, (_WIDTH, height), interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2GRAY)
        grey = np.asarray(cv2.GaussianBlur(small, (5, 5), 0), np.uint8)
        if self._last is not None and np.mean(cv2.absdiff(grey, self._last) > _NOISE) < _MOVED:
            return True
        self._last = grey
        return False


def _side(a: Point, b: Point, place: Point) -> float:
    """Return on which side of the line from `a` to `b` a place is: above 0 to the right, as y grows downwards."""
    return (b[0] - a[0]) * (place[1] - a[1]) - (b[1] - a[1]) * (place[0] - a[0])


def _inside(polygon: Sequence[Point], place: Point) -> bool:
    return cv2.pointPolygonTest(np.array(polygon, np.float32), place, measureDist=False) >= 0
