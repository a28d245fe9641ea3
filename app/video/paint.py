"""Painting who is who into pictures: boxes, skeletons, labels and a legend, in colours that colour-blind people can
tell apart.
"""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import cv2
import numpy as np
from PIL import Image as Pictures
from PIL import ImageDraw, ImageFont

from app.types import Floats, Image
from app.video.colours import UNKNOWN, UNUSABLE, Colour, colour_of

logger = logging.getLogger(__name__)

Rectangle: TypeAlias = tuple[int, int, int, int]

_DARK: Colour = (20, 20, 20)
_WHITE: Colour = (255, 255, 255)
_LEGEND_ROWS = 10
_LEGEND_OPACITY = 0.6
_LARGEST_LEGEND = 0.25  # share of the picture; a larger legend would hide people in a tiny picture and is left out
# Joints with a lower score are not drawn, and neither are eyes and ears.
_SURE = 0.3
_NOSE, _NECK, _SHOULDERS = 0, 17, [5, 6]  # COCO's joints, and a neck that is added between the shoulders
_LIMBS: tuple[tuple[int, int], ...] = (
    (0, 17), (5, 6), (5, 7), (7, 9), (6, 8), (8, 10), (5, 11), (6, 12), (11, 12),
    (11, 13), (13, 15), (12, 14), (14, 16),
)  # fmt: skip
_SHIFT = 3  # fractional bits of the coordinates that OpenCV gets
# Tried in turn for text that Pillow's own (Latin) font cannot write; which of them exist depends on the system.
_FONTS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "Arial Unicode.ttf",
    "arial.ttf",
    "msyh.ttc",
    "PingFang.ttc",
)


@dataclass(frozen=True, slots=True, eq=False)
class Label:
    """What is painted at one person.

    `identity` is None for somebody unknown, and `sureness` such as "69 %"; a `note` of a few words may follow, such as
    why a walk cannot be used. Who is not `usable` has dashed lines, and who is `doubtful` a "?" behind the name. The
    `box` is float32 (4,) px. `keypoints`, float32 (17, 3), x, y px and score 0..1, draw a skeleton.
    """

    box: Floats
    identity: str | None
    sureness: str = ""
    note: str = ""
    usable: bool = True
    keypoints: Floats | None = None
    doubtful: bool = False

    @property
    def text(self) -> str:
        """The text of the label."""
        who = self.identity or ("unknown" if self.usable else "")
        if self.identity:
            who += ("?" if self.doubtful else "") + (f"  {self.sureness}" if self.sureness else "")
        return ", ".join(part for part in (who, self.note) if part) or "unusable"


class Painter:
    """Paints labels into the pictures of one video, `width` and `height` px.

    The place of an identity in `identities`, the names in the gallery, decides its colour, so it is the same in every
    video of a run. Lines and letters grow with the shorter side of the picture.
    """

    def __init__(self, identities: Sequence[str], width: int, height: int) -> None:
        self.width, self.height = width, height
        shorter = min(width, height)
        self._line = max(1, round(shorter / 240))
        self._letters = max(11, round(shorter / 30))
        self._colours = {name: colour_of(place) for place, name in reversed(list(enumerate(identities)))}
        unwritable = [name for name in self._colours if not _written(name, 16)[2]]
        if unwritable:
            logger.warning(
                "No font of this system can write %s, so the painted videos show boxes for the letters. Install a font "
                "such as Noto Sans CJK.",
                ", ".join(unwritable),
            )
        legend, opacity = self._draw_legend(list(dict.fromkeys(identities)))
        margin = self._letters // 2
        rows, columns = opacity.shape
        self._legend_area: Rectangle = (margin, margin, min(width, margin + columns), min(height, margin + rows))
        shown = (slice(max(0, height - margin)), slice(max(0, width - margin)))
        self._legend = (legend[shown], 1 - opacity[shown], opacity[shown])
        if rows * columns > _LARGEST_LEGEND * width * height:
            self._legend_area = (0, 0, 0, 0)

    def paint(self, image: Image, labels: Sequence[Label]) -> Image:
        """Draw `labels` into `image` itself, uint8 (height, width, 3) BGR, and return it.

        A plate with the text stands at each box. It lies inside the picture and, if there is room, beside the other
        plates and the legend.
        """
        if image.shape != (self.height, self.width, 3):
            raise ValueError(f"the picture must have shape {(self.height, self.width, 3)}, not {image.shape}")
        corners = [self._corners(label.box) for label in labels]
        for label, (_, y1, _, y2) in zip(labels, corners, strict=True):
            if label.keypoints is not None:
                self._draw_skeleton(image, label.keypoints, y2 - y1, self._colour(label))
        for label, (x1, y1, x2, y2) in zip(labels, corners, strict=True):
            self._draw_box(image, x1, y1, x2, y2, self._colour(label), dashed=not label.usable)
        left, top, right, bottom = self._legend_area
        if right > left:
            under = image[top:bottom, left:right]
            over, through, opacity = self._legend
            under[:] = cv2.blendLinear(np.ascontiguousarray(under), over, through, opacity)
        taken: list[Rectangle] = [self._legend_area]
        for label, corner in zip(labels, corners, strict=True):
            plate = _plate(label.text, self._letters, self._colour(label), self.width)
            x, y = self._place(plate.shape[1], plate.shape[0], corner, taken)
            area = image[y : y + plate.shape[0], x : x + plate.shape[1]]
            area[:] = plate[: area.shape[0], : area.shape[1]]
            taken.append((x, y, x + plate.shape[1], y + plate.shape[0]))
        return image

    def _colour(self, label: Label) -> Colour:
        if not label.usable:
            return UNUSABLE
        return self._colours.get(label.identity, UNKNOWN) if label.identity else UNKNOWN

    def _corners(self, box: Floats) -> Rectangle:
        x1, y1, x2, y2 = map(round, box.tolist())
        x1, x2 = (min(max(x, 0), self.width - 1) for x in (x1, x2 - 1))
        y1, y2 = (min(max(y, 0), self.height - 1) for y in (y1, y2 - 1))
        return x1, y1, x2, y2

    def _draw_box(self, image: Image, x1: int, y1: int, x2: int, y2: int, colour: Colour, *, dashed: bool) -> None:
        """Draw the outline over a wider one that is dark if it is light, so that it shows on any background."""
        inner = self._line + 1
        for tone, thickness in ((_contrast(colour), inner + 2 * -(-self._line // 2)), (colour, inner)):
            bgr = tone[::-1]
            if not dashed:
                cv2.rectangle(image, (x1, y1), (x2, y2), bgr, thickness)
                continue
            dash = 4 * inner + 2
            for y in (y1, y2):
                for x in range(x1, x2 + 1, 2 * dash):
                    cv2.line(image, (x, y), (min(x + dash, x2), y), bgr, thickness)
            for x in (x1, x2):
                for y in range(y1, y2 + 1, 2 * dash):
                    cv2.line(image, (x, y), (x, min(y + dash, y2)), bgr, thickness)

    def _draw_skeleton(self, image: Image, keypoints: Floats, height: int, colour: Colour) -> None:
        """Draw the limbs and joints that the network is sure of, with lines to suit a person of `height` px."""
        neck = (*keypoints[_SHOULDERS, :2].mean(axis=0), keypoints[_SHOULDERS, 2].min())
        joints = np.vstack([keypoints, neck])
        sure = joints[:, 2] >= _SURE
        # OpenCV's pixels have their centres at whole numbers.
        places = np.round((joints[:, :2] - 0.5) * (1 << _SHIFT)).astype(int).tolist()
        line = max(1, round(height / 110))
        for tone, edge in ((_contrast(colour), 1), (colour, 0)):
            bgr = tone[::-1]
            for start, end in _LIMBS:
                if sure[start] and sure[end]:
                    cv2.line(image, places[start], places[end], bgr, line + edge, cv2.LINE_AA, _SHIFT)
            radius = round((0.8 * line + 1.2 + edge / 2) * (1 << _SHIFT))
            for joint in (_NOSE, *range(5, _NECK)):
                if sure[joint]:
                    cv2.circle(image, places[joint], radius, bgr, -1, cv2.LINE_AA, _SHIFT)

    def _place(self, width: int, height: int, corners: Rectangle, taken: Sequence[Rectangle]) -> tuple[int, int]:
        """Return the top left corner for a plate: the first place around the box that covers the least of `taken`."""
        x1, y1, x2, y2 = corners
        gap = self._line
        left, right = x1 - gap, x2 + gap + 1 - width
        above, below = y1 - gap - height, y2 + gap + 1
        places = [
            *((x, y) for y in (above, below) for x in (left, right)),
            *((left, y1 + step * height) for step in range(3)),
            *((left, above - step * height) for step in range(1, 4)),
        ]
        best, least = (0, 0), float("inf")
        for x, y in places:
            x, y = max(0, min(x, self.width - width)), max(0, min(y, self.height - height))
            covered = sum(
                max(0, min(x + width, b[2]) - max(x, b[0])) * max(0, min(y + height, b[3]) - max(y, b[1]))
                for b in taken
            )
            if covered < least:
                best, least = (x, y), covered
            if not covered:
                break
        return best

    def _draw_legend(self, identities: list[str]) -> tuple[Image, Floats]:
        """Draw a row for each identity, as far as there is room, and one for everybody else.

        Returns:
            The picture, BGR, and its opacity 0..1, float32: the video shines through the background, not the text.
        """
        pad, letters = self._letters // 3, self._letters
        step = round(1.45 * letters)
        room = max(1, min(_LEGEND_ROWS, int(0.45 * self.height / step) - 1))
        listed = identities if len(identities) <= room else identities[: max(1, room - 1)]
        rows: list[tuple[str, Colour | None]] = [(name, self._colours[name]) for name in listed]
        if len(listed) < len(identities):
            rows.append((f"+{len(identities) - len(listed)} more", None))
        rows.append(("unknown", UNKNOWN))
        texts = [_text(name, letters, self.width // 4) for name, _ in rows]
        size = (step * len(rows) + pad, 3 * pad + letters + max(text.shape[1] for text in texts))
        picture = np.full((*size, 3), _DARK, np.uint8)
        opacity = np.full(size, _LEGEND_OPACITY, np.float32)
        for row, (text, (_, colour)) in enumerate(zip(texts, rows, strict=True)):
            top = row * step + pad
            if colour is not None:
                picture[top : top + letters, pad : pad + letters] = colour[::-1]
                opacity[top : top + letters, pad : pad + letters] = 1
            y = min(max(0, top + (letters - text.shape[0]) // 2), size[0] - text.shape[0])
            x = 2 * pad + letters
            place = (slice(y, y + text.shape[0]), slice(x, x + text.shape[1]))
            picture[place] = np.maximum(picture[place], text[..., None])
            opacity[place] = np.maximum(opacity[place], text / np.float32(255))
        return picture, opacity


def _contrast(colour: Colour) -> Colour:
    """Return black or white, whichever is easier to read on `colour` (WCAG 2.2 relative luminance)."""
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in (value / 255 for value in colour)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return _DARK if luminance > 0.179 else _WHITE


@lru_cache(maxsize=512)
def _plate(text: str, letters: int, colour: Colour, limit: int) -> Image:
    """Return `text` on a plate of `colour`, BGR, at most `limit` px wide."""
    pad = max(2, letters // 4)
    opacity = np.pad(_text(text, letters, limit - 2 * pad), ((0, 0), (pad, pad)))[..., None] / 255.0
    ground, ink = np.array(colour[::-1]), np.array(_contrast(colour)[::-1])
    return np.asarray(np.round(ground + opacity * (ink - ground)), np.uint8)


@lru_cache(maxsize=512)
def _text(text: str, letters: int, limit: int) -> Image:
    """Return the opacity 0..255 of `text`, `letters` px high; shortened in the middle to be at most `limit` px wide."""
    text, font, _ = _written(text, letters)
    short, keep = text, min(len(text), 5 * limit // letters + 1)  # no letter is narrower than a fifth of its height
    while font.getlength(short) > limit and keep > 1:
        keep -= 1
        short = f"{text[: (keep + 1) // 2]}…{text[len(text) - keep // 2 :]}"
    ascent, descent = font.getmetrics()
    width = max(1, min(limit, int(np.ceil(font.getlength(short)))))
    canvas = Pictures.new("L", (width, ascent + descent + max(1, letters // 8)), 0)
    ImageDraw.Draw(canvas).text((0, max(1, letters // 8)), short, fill=255, font=font)
    return np.asarray(canvas, np.uint8)


def _written(text: str, letters: int) -> tuple[str, ImageFont.FreeTypeFont, bool]:
    """Return `text` as it can be written, the first font that has all of its characters, and whether there is one.

    If no font has them all, the accents are left out; if that does not help either, the font is Pillow's own.
    """
    # Composed, because macOS gives file names decomposed; control characters have no shape.
    text = "".join(c if c.isprintable() else " " for c in unicodedata.normalize("NFC", text))
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    for form in (text, plain):
        for name in ("", *_FONTS):
            font = _font(name, letters)
            if font is not None and _covers(font, form):
                return form, font, True
    own = _font("", letters)
    assert own is not None
    return plain, own, False


@lru_cache(maxsize=32)
def _font(name: str, letters: int) -> ImageFont.FreeTypeFont | None:
    if name:
        try:
            return ImageFont.truetype(name, letters)
        except OSError:
            return None
    font = ImageFont.load_default(letters)
    return font if isinstance(font, ImageFont.FreeTypeFont) else None


def _covers(font: ImageFont.FreeTypeFont, text: str) -> bool:
    """Whether `font` draws each character differently from one that it certainly lacks."""
    missing = bytes(font.getmask("\U0010fffd"))
    return all(c.isspace() or bytes(font.getmask(c)) != missing for c in set(text))
