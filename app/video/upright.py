"""From decoded pictures to BGR images as people see them: upright, with square pixels, of one size and range."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, cast

import av
import cv2
import numpy as np
from av.video.reformatter import Colorspace, ColorTrc, VideoReformatter

from app.types import Bytes, Doubles, Image

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

_DARKEST_WHITE, _BRIGHTEST_WHITE = 100.0, 300.0
"""The white of a scene in cd/m2. BT.2408 sets it to 203; films made from ordinary video have it at 100."""
_KNEE = 0.8
"""From this share of white on, highlights are compressed."""


@dataclass(frozen=True)
class Orientation:
    """How a stored picture is turned: first its rows and columns are exchanged, then it is mirrored."""

    exchanged: bool = False
    left_right: bool = False
    top_bottom: bool = False

    @classmethod
    def of(cls, picture: VideoFrame) -> Orientation:
        """Return what the display matrix of a picture says; slanted angles are rounded."""
        matrix = cast("bytes | None", picture.side_data.get("DISPLAYMATRIX"))
        if matrix is None:
            return cls()
        (a, b, _), (c, d, _) = np.frombuffer(matrix, np.int32).reshape(3, 3)[:2].tolist()
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return cls(False, a < 0, d < 0)
        return cls(True, c < 0, b < 0)

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Return the width and height of a turned picture; also those of a picture before it was turned."""
        return (height, width) if self.exchanged else (width, height)

    def turned(self, image: Image) -> Image:
        """Return `image` (H, W, 3) as it is shown."""
        if self.exchanged:
            image = np.asarray(cv2.transpose(image), np.uint8)
        if self.left_right or self.top_bottom:
            code = -1 if self.left_right and self.top_bottom else int(self.left_right)
            image = np.asarray(cv2.flip(image, code), np.uint8)
        return image


class Upright:
    """Makes BGR images of the size of the first picture.

    Pictures are turned and mirrored by their display matrix. Pixels that are not square, whose width by height is
    `ratio`, are made square by scaling the width. A picture of another shape is scaled to fit and gets black borders.
    HLG and PQ are brought to the ordinary range; the white of the first picture is the white of all.
    """

    def __init__(self, first: VideoFrame, ratio: Fraction | None) -> None:
        # Less than one percent is a rounding of the container and not worth resampling.
        usual = not ratio or abs(ratio - 1) < Fraction(1, 100) or not Fraction(1, 4) <= ratio <= 4
        self._ratio = Fraction(1) if usual or ratio is None else ratio
        self._shapes: dict[tuple[int, int, int], tuple[Orientation, int, int]] = {}
        _, self.width, self.height = self._shape(first)
        self._tables: dict[int, Bytes] = {}
        self._reformatter = VideoReformatter()

    def fits(self, picture: VideoFrame) -> bool:
        """Whether a picture has the shape of the first one."""
        return self._shape(picture)[1:] == (self.width, self.height)

    def image(self, picture: VideoFrame) -> Image:
        """Return a picture as uint8 (height, width, 3) BGR; `OSError` where FFmpeg cannot convert it."""
        orientation, width, height = self._shape(picture)
        scale = min(self.width / width, self.height / height)
        width, height = max(1, round(width * scale)), max(1, round(height * scale))
        image = orientation.turned(self._bgr(picture, *orientation.size(width, height)))
        if is_high_range(picture):
            if picture.color_trc not in self._tables:
                self._tables[picture.color_trc] = _ordinary_range(picture.color_trc, image)
            image = np.asarray(cv2.LUT(image, self._tables[picture.color_trc]), np.uint8)
        if (width, height) == (self.width, self.height):
            return image
        canvas = np.zeros((self.height, self.width, 3), np.uint8)
        left, top = (self.width - width) // 2, (self.height - height) // 2
        canvas[top : top + height, left : left + width] = image
        return canvas

    def _bgr(self, picture: VideoFrame, width: int, height: int) -> Image:
        # A picture's own methods would prepare FFmpeg's scaler and its threads for each picture anew.
        reformat = self._reformatter.reformat
        try:
            bgr = reformat(picture, width, height, "bgr24", threads=1)
        except (av.FFmpegError, OSError, ValueError):  # a colour space that does not exist, in a damaged header
            bgr = reformat(picture, width, height, "bgr24", src_colorspace=Colorspace.ITU709, threads=1)
        return np.asarray(bgr.to_ndarray(), np.uint8)

    def _shape(self, picture: VideoFrame) -> tuple[Orientation, int, int]:
        """Return how a picture is turned, and its width and height in px after that, with square pixels."""
        # The matrix is read once for each kind of picture: PyAV keeps a picture in memory whose side data was looked at
        # until Python collects its garbage.
        kind = (picture.rotation, picture.width, picture.height)
        if kind not in self._shapes:
            orientation, square = Orientation.of(picture), max(1, round(picture.width * self._ratio))
            self._shapes[kind] = (orientation, *orientation.size(square, picture.height))
        return self._shapes[kind]


def is_high_range(picture: VideoFrame) -> bool:
    """Whether a picture is coded in HLG or PQ."""
    return picture.color_trc in (ColorTrc.ARIB_STD_B67, ColorTrc.SMPTE2084)


def _ordinary_range(transfer: int, image: Image) -> Bytes:
    """Return the table, uint8 (256,), that brings HLG or PQ to the range of BT.709; `image` shows how bright white is.

    `transfer` is `ColorTrc.ARIB_STD_B67` (HLG) or `ColorTrc.SMPTE2084` (PQ).
    """
    light = _light(transfer, np.arange(256) / 255)
    white = np.clip(np.quantile(light[image[::4, ::4].max(axis=2)], 0.99), _DARKEST_WHITE, _BRIGHTEST_WHITE)
    share = light / white
    share = np.where(share > _KNEE, 1 - (1 - _KNEE) * np.exp(-(share - _KNEE) / (1 - _KNEE)), share)
    coded = np.where(share < 0.018, 4.5 * share, 1.099 * share**0.45 - 0.099)  # BT.709
    return np.asarray(np.clip(255 * coded + 0.5, 0, 255), np.uint8)


def _light(transfer: int, signal: Doubles) -> Doubles:
    """Return the light of a display in cd/m2, by BT.2100."""
    if transfer == ColorTrc.ARIB_STD_B67:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
        return np.asarray(1000 * scene**1.2)
    m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
    power = signal ** (1 / m2)
    return np.asarray(10_000 * (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1))
