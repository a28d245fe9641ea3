"""The colours that somebody wears, as far as one picture of them tells: a guess, in plain words."""

from __future__ import annotations

from io import BytesIO
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image as Picture

from app.results.portraits import AROUND, CROP
from app.types import Floats, Image

_SMALL = (32, 64)  # px, wide and high; enough to tell the body from the ground
_PARTS = ((0.2, 0.5), (0.55, 0.9))  # shares of the person's height: upper and lower body
_FEW = 24  # px of the small picture that are no part of a body any more
_WHITE, _MOST_GAIN = 0.92, 1.8  # pictures are brightened until so much is in them, but at most by this factor
_GREY = 10.0  # chroma below which there is no colour
_HUES = (
    (20, "pink"), (42, "red"), (65, "orange"), (105, "yellow"), (165, "green"), (215, "turquoise"), (308, "blue"),
    (335, "purple"), (360, "pink"),
)  # fmt: skip
"""Names by the hue in CIELAB, up to so many degrees."""


class Colour(NamedTuple):
    """A colour in words, and as CSS has it."""

    name: str
    css: str


def clothes_of(jpeg: bytes) -> tuple[Colour, Colour] | None:
    """Return the colours of upper and lower body in a portrait (`app.results.portraits`).

    Each is the median of the brighter half of the pixels that stand out from what is beside the person, because the
    darker half is often in shadows and folds. Dark pictures are brightened. None for any other picture, one without
    colours, and one in which nobody stands out.
    """
    try:
        with Picture.open(BytesIO(jpeg)) as picture:
            if picture.size != CROP:
                return None
            image: Image = np.asarray(picture.convert("RGB"), np.uint8)[..., ::-1]
    except OSError:
        return None
    small = np.asarray(cv2.resize(image, _SMALL, interpolation=cv2.INTER_AREA), np.uint8)
    if np.percentile(np.ptp(small.astype(int), axis=2), 95) < _GREY:  # e.g. infrared
        return None
    body = _body(small)
    brightest = float(np.percentile(small.max(axis=2), 97)) / 255
    gain = np.float32(np.clip(_WHITE / max(brightest, 0.01), 1, _MOST_GAIN))
    bright = np.minimum(small.astype(np.float32) / 255 * gain, 1)
    lab = np.asarray(cv2.cvtColor(bright, cv2.COLOR_BGR2LAB), np.float32)
    height = _SMALL[1] / AROUND
    top = (_SMALL[1] - height) / 2
    found = []
    for begin, end in _PARTS:
        rows = slice(round(top + begin * height), round(top + end * height))
        pixels = lab[rows][body[rows]]
        if len(pixels) < _FEW:
            return None
        lit = pixels[:, 0] >= np.median(pixels[:, 0])
        found.append(_colour(np.median(pixels[lit], axis=0)))
    return found[0], found[1]


def _body(small: Image) -> np.ndarray:
    """Return which pixels are the person: GrabCut (Rother et al. 2004), which is told where people are in portraits."""
    width, height = _SMALL
    labels = np.full((height, width), cv2.GC_PR_BGD, np.uint8)
    labels[:, :3] = labels[:, -3:] = labels[:2] = labels[-2:] = cv2.GC_BGD
    labels[4:-4, 10:-10] = cv2.GC_PR_FGD
    labels[14:32, 14:-14] = labels[35:42, 14:-14] = cv2.GC_FGD  # the chest, the thighs
    cv2.setRNGSeed(0)
    grounds = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(small, labels, (0, 0, 1, 1), *grounds, 3, cv2.GC_INIT_WITH_MASK)
    return np.asarray((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD))


def _colour(lab: Floats) -> Colour:
    lightness, a, b = (float(value) for value in lab)
    blue, green, red = cv2.cvtColor(np.array([[lab]], np.float32), cv2.COLOR_LAB2BGR)[0, 0]
    css = "#" + "".join(f"{round(255 * min(1, max(0, float(value)))):02x}" for value in (red, green, blue))
    return Colour(name_of(lightness, a, b), css)


def name_of(lightness: float, a: float, b: float) -> str:
    """Return a colour of CIELAB (0 to 100, and about -100 to 100) in plain words."""
    chroma, hue = float(np.hypot(a, b)), float(np.degrees(np.arctan2(b, a))) % 360
    if lightness < 18 and chroma < 2 * _GREY:
        return "black"
    if chroma < _GREY:
        return (
            "dark grey" if lightness < 40 else "grey" if lightness < 68 else "light grey" if lightness < 87 else "white"
        )
    name = next(name for most, name in _HUES if hue <= most)
    if name == "pink" and lightness < 55:
        name = "red"
    if name in ("orange", "yellow") and lightness < 55:
        name = "brown"
    elif name in ("orange", "yellow") and chroma < 25:
        name = "beige"
    if lightness < 32:
        return f"dark {name}"
    return f"light {name}" if lightness > 72 and name not in ("beige", "yellow") else name
