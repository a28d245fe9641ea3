"""What every YOLOX runtime does around the network: letterbox, normalise, decode, suppress. It needs NumPy only.

Ge et al., "YOLOX: Exceeding YOLO Series in 2021", arXiv 2107.08430, section 2.1: each cell of the strides 8, 16 and
32 predicts one box, without anchors.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

import cv2
import numpy as np

from app.errors import CheckpointError, SettingsError
from app.settings import DetectorSettings
from app.types import Bytes, Detections, Floats, Image, Ints

logger = logging.getLogger(__name__)

STRIDES = (8, 16, 32)
PAD = 114
PERSON, _COCO = 0, 80
"""The class of people, both in COCO's order of 80 classes and in models of one class."""

Normalise: TypeAlias = Literal["raw", "imagenet"]
"""``raw`` is BGR 0..255. ``imagenet`` is RGB / 255, minus ImageNet's mean, divided by its standard deviation."""

_MEAN = np.array([0.485, 0.456, 0.406], np.float32)[:, None, None]
_STD = np.array([0.229, 0.224, 0.225], np.float32)[:, None, None]


@dataclass(frozen=True, eq=False)
class Letterboxed:
    """Frames scaled for a network.

    `pixels` is uint8 (N, H, W, 3) BGR, padded at the right and below. `ratios` (N,) says by how much each frame was
    scaled, and `sizes` (N, 2) its height and width before that, in px.
    """

    pixels: Bytes
    ratios: Floats
    sizes: Ints


def letterbox(images: Sequence[Image], size: tuple[int, int], *, full: bool = False) -> Letterboxed:
    """Scale `images` to fit `size` (height, width in px) and pad them with grey, as one batch.

    The padding reaches only to the next multiple of the largest stride, which is all that the pyramid needs; so an
    upright frame in a wide network takes a third of the time. `full` pads to `size`, for graphs of a fixed shape.
    """
    ratios = [min(size[0] / image.shape[0], size[1] / image.shape[1]) for image in images]
    scaled = [(int(i.shape[0] * r), int(i.shape[1] * r)) for i, r in zip(images, ratios, strict=True)]
    height, width = size if full else (_padded(max(s[0] for s in scaled)), _padded(max(s[1] for s in scaled)))
    pixels = np.full((len(images), height, width, 3), PAD, np.uint8)
    for canvas, image, (rows, columns) in zip(pixels, images, scaled, strict=True):
        if rows and columns:
            canvas[:rows, :columns] = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_LINEAR)
    sizes = np.array([image.shape[:2] for image in images], np.int64)
    return Letterboxed(pixels, np.array(ratios, np.float32), sizes)


def _padded(length: int) -> int:
    return max(-(-length // STRIDES[-1]), 1) * STRIDES[-1]


def normalised(pixels: Bytes, normalise: Normalise) -> Floats:
    """Return (N, H, W, 3) uint8 BGR as float32 (N, 3, H, W), in the form the network was trained on."""
    colours = pixels if normalise == "raw" else pixels[..., ::-1]
    # Bytes are turned over, not numbers, which takes a fifth of the time.
    scaled = colours.transpose(0, 3, 1, 2).astype(np.float32, order="C")
    if normalise == "imagenet":
        scaled /= 255
        scaled -= _MEAN
        scaled /= _STD
    return scaled


def choose_normalise(settings: DetectorSettings, stated: object, bytetrack: bool, path: Path) -> Normalise:
    """Return the form of the input: what the settings say, or what the file `path` has `stated`, or that of its origin.

    Raises:
        CheckpointError: the file states a form that does not exist.
    """
    if settings.normalise != "auto":
        return settings.normalise
    if stated is None:
        return "imagenet" if bytetrack else "raw"
    if stated == "raw":
        return "raw"
    if stated == "imagenet":
        return "imagenet"
    raise CheckpointError(f"{path} asks for the input form {stated!r}; there are 'raw' and 'imagenet'.")


def choose_person(settings: DetectorSettings, classes: int, path: Path) -> int:
    """Return which of a network's `classes` is the person: that of the settings, or the first.

    The first is the person in COCO's order of 80 classes and in networks of one class. For any other number of classes,
    a warning says that it is a guess.

    Raises:
        SettingsError: the network does not have the class that the settings name.
    """
    if settings.person_class is not None:
        if settings.person_class >= classes:
            raise SettingsError(
                f"detector.person_class={settings.person_class} does not fit {path}, which has {classes} classes."
            )
        return settings.person_class
    if classes not in (1, _COCO):
        logger.warning(
            "%s knows %d classes of its own, and does not tell which of them is the person. The first is taken. If it "
            "is another one, give its number, counted from 0: --set detector.person_class=1", path, classes
        )  # fmt: skip
    return PERSON


def network_size(settings: DetectorSettings, own: tuple[int, int]) -> tuple[int, int]:
    """Return the height and width in px that frames are scaled into: that of the settings, or the network's `own`.

    Raises:
        SettingsError: the size is smaller than one cell of the coarsest stride.
    """
    size = settings.input_size or own
    if min(size) < STRIDES[-1]:
        raise SettingsError(f"detector.input_size={list(size)} is too small: both must be at least {STRIDES[-1]} px.")
    return size


@lru_cache(maxsize=8)
def cells(height: int, width: int) -> Floats:
    """Return x, y (in cells) and stride (px) of every prediction of a (height, width) px input: float32 (A, 3)."""
    levels = []
    for stride in STRIDES:
        y, x = np.mgrid[: height // stride, : width // stride]
        levels.append(np.stack([x, y, np.full_like(x, stride)], axis=-1).reshape(-1, 3))
    grid = np.concatenate(levels).astype(np.float32)
    grid.setflags(write=False)
    return grid


def decode(boxes: Floats, grid: Floats) -> Floats:
    """Turn network outputs into centre x, y, width, height in px: boxes (..., A, 4) by `grid` (A, 3)."""
    stride = grid[:, 2:]
    return np.concatenate([(boxes[..., :2] + grid[:, :2]) * stride, np.exp(boxes[..., 2:4]) * stride], axis=-1)


def corners(boxes: Floats) -> Floats:
    """Turn centre x, y, width, height (N, 4) into x1, y1, x2, y2."""
    half = boxes[:, 2:] / 2
    return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)


def nms(boxes: Floats, scores: Floats, iou: float) -> Ints:
    """Return which boxes stay, int64 (K,) by falling score: greedy non-maximum suppression by torchvision's rules.

    Of `boxes` float32 (N, 4), x1, y1, x2, y2, with `scores` (N,), those of a score of 0 and those of an IoU above `iou`
    with a stronger one go; ties keep their order.
    """
    if not len(boxes):
        return np.zeros(0, np.int64)
    corners_and_sizes: Any = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    # On 3,000 random sets of boxes, OpenCV kept the same ones as torchvision's rules.
    return np.array(cv2.dnn.NMSBoxes(corners_and_sizes, cast(Any, scores), 0.0, iou), np.int64)


def people(
    outputs: Floats, frames: Letterboxed, *, person: int = PERSON, decoded: bool, score: float, nms_iou: float
) -> list[Detections]:
    """Read the people from a network's `outputs`, float32 (N, A, 5 + classes): box, objectness, class probabilities.

    Returns for each frame boxes in px of it, clipped to it, by falling score. `person` is which of the classes is the
    person, `decoded` whether the boxes are in px already (see `decode`), and `score` the smallest objectness times
    class probability.
    """
    grid = cells(frames.pixels.shape[1], frames.pixels.shape[2])
    detections = []
    for output, ratio, (height, width) in zip(outputs, frames.ratios, frames.sizes, strict=True):
        scores = output[:, 4] * output[:, 5 + person]
        strong = np.flatnonzero(scores >= score)
        # Only strong boxes are decoded, because there are tens of thousands of cells.
        boxes = corners(output[strong, :4] if decoded else decode(output[strong, :4], grid[strong]))
        scores = scores[strong]
        best = nms(boxes, scores, nms_iou)
        detections.append(clipped(boxes[best] / ratio, scores[best], int(height), int(width)))
    return detections


def clipped(boxes: Floats, scores: Floats, height: int, width: int) -> Detections:
    """Clip `boxes` (N, 4) px to a frame of `height` x `width` px and drop boxes of which nothing remains."""
    limits = np.array([width, height, width, height], np.float32)
    # fmax/fmin also turn the NaN of a broken network into an empty box.
    inside = np.fmin(np.fmax(boxes, np.float32(0)), limits).astype(np.float32)
    remain = (inside[:, 2] > inside[:, 0]) & (inside[:, 3] > inside[:, 1]) & np.isfinite(scores)
    return Detections(inside[remain], scores[remain].astype(np.float32))
