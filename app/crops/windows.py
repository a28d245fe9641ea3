"""Crops of single people for the networks, and the way back into the frame."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from app.types import Floats, Image, Ints, Matte


@dataclass(frozen=True, slots=True)
class CropShape:
    """What a network takes: its input `height` and `width` in px.

    `margin` is added around the box, in shares of its height. `aspect` is the smallest width over height of the window:
    a person seen from the side has a box four times as high as wide, and stretching it to a square would show a giant.
    (The MediaPipe selfie network reaches an IoU of 0.753 with these values on 54 standing people of COCO, 0.728 without
    the aspect and 0.713 in square windows, all at probability 0.4.)
    """

    height: int
    width: int
    margin: float = 0.1
    aspect: float = 0.5


def crop_windows(boxes: Floats, frame_width: int, frame_height: int, shape: CropShape) -> Ints:
    """Return the part of the frame to cut for each box: the box with `shape`'s margin, clipped to the frame.

    Args:
        boxes: float32 (N, 4) px.
        frame_width: px.
        frame_height: px.
        shape: what the network takes.

    Returns:
        int64 (N, 4): left, top, right, bottom px; inside the frame and at least 1 px wide and high.
    """
    first, last = boxes[:, :2].astype(np.float64), boxes[:, 2:].astype(np.float64)
    height = (last - first)[:, 1:]
    first, last = first - shape.margin * height, last + shape.margin * height
    narrow = np.maximum(shape.aspect * (last - first)[:, 1] - (last - first)[:, 0], 0) / 2
    first[:, 0] -= narrow
    last[:, 0] += narrow
    size = np.array([frame_width, frame_height])
    first = np.clip(np.floor(first), 0, size - 1)
    last = np.clip(np.ceil(last), first + 1, size)
    return np.concatenate([first, last], axis=1).astype(np.int64)


def crop_of(image: Image, window: Ints, shape: CropShape) -> Image:
    """Return `window` of `image` (H, W, 3), scaled to `shape`: uint8 (height, width, 3).

    Large windows are scaled down by area, which keeps thin legs whole; others linearly.
    """
    left, top, right, bottom = window.tolist()
    method = cv2.INTER_AREA if bottom - top > 2 * shape.height else cv2.INTER_LINEAR
    crop = cv2.resize(image[top:bottom, left:right], (shape.width, shape.height), interpolation=method)
    return np.asarray(crop, np.uint8)


def matte_of(probabilities: npt.NDArray[np.float32], window: Ints) -> Matte:
    """Bring a network's answer, float32 (h, w) in 0..1, back to the pixels of its window of the frame."""
    left, top, right, bottom = window.tolist()
    alpha = cv2.convertScaleAbs(probabilities, alpha=255.0)
    alpha = cv2.resize(alpha, (right - left, bottom - top), interpolation=cv2.INTER_LINEAR)
    return Matte(left, top, np.asarray(alpha, np.uint8))
