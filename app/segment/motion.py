"""Silhouettes without weights for a camera that stands still: they are cut from the foreground."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from app.settings import SegmenterSettings
from app.types import Bytes, Floats, Frame, Matte
from app.video.background import SubtractsBackground
from app.weights.checkpoints import CheckpointFile
from app.weights.registry import segmenters

_MARGIN = 0.1
"""Margin around a box in shares of its height, because it may miss part of a foot or a hat."""
_HOLE = 0.07
"""Largest hole in the body that is filled, in shares of the box's height; the gap between the legs is wider."""
_WEAK = 48
"""Evidence, out of 255, that is enough inside of a body."""


@segmenters.register(
    "motion",
    licence="Apache-2.0 (own code)",
    about="background subtraction, weight-free, for fixed cameras",
)
class MotionSegmenter(SubtractsBackground):
    """Cuts out what differs from the background (`app.stages.Segmenter`)."""

    threshold = 0.5

    def __init__(self, checkpoint: CheckpointFile | None, settings: SegmenterSettings) -> None:
        super().__init__("segmenter")

    def segment(self, frames: Sequence[Frame], boxes: Sequence[Floats]) -> list[list[Matte]]:
        """Return for each frame one matte per box ((N, 4) px), the crop being the box with a margin.

        Raises:
            RuntimeError: `start` has not been called.
        """
        foregrounds = self.background.foreground(frames)
        return [
            [_matte(alpha, box, frame.image.shape[1], frame.image.shape[0]) for box in frame_boxes]
            for frame, alpha, frame_boxes in zip(frames, foregrounds, boxes, strict=True)
        ]


def _without_holes(alpha: Bytes, height: float) -> Bytes:
    """Let weak evidence (h, w) count inside of a body of `height` px: clothes like the background leave holes."""
    size = max(1, round(_HOLE * height)) | 1
    body = cv2.threshold(alpha, 127, 255, cv2.THRESH_BINARY)[1]
    body = cv2.morphologyEx(body, cv2.MORPH_CLOSE, np.ones((size, size), np.uint8))
    weak = cv2.threshold(alpha, _WEAK, 255, cv2.THRESH_BINARY)[1]
    return np.asarray(cv2.max(alpha, cv2.min(body, weak)), np.uint8)


def _matte(alpha: Bytes, box: Floats, width: int, height: int) -> Matte:
    box_height = float(box[3] - box[1])
    margin = _MARGIN * box_height
    size = np.array([width, height])
    first = np.clip(np.floor(box[:2] - margin), 0, size - 1).astype(int)
    last = np.clip(np.ceil(box[2:] + margin), first + 1, size).astype(int)
    left, top = first.tolist()
    if alpha.shape == (height, width):
        return Matte(left, top, _without_holes(alpha[top : last[1], left : last[0]], box_height))
    # The foreground of a large picture is scaled down, so it is read at the middle of each pixel of the crop.
    scale = alpha.shape[1] / width, alpha.shape[0] / height
    shift = [(start + 0.5) * factor - 0.5 for start, factor in zip((left, top), scale, strict=True)]
    back = np.array([[scale[0], 0, shift[0]], [0, scale[1], shift[1]]])
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    crop = cv2.warpAffine(alpha, back, (last - first).tolist(), flags=how, borderMode=cv2.BORDER_REPLICATE)
    return Matte(left, top, _without_holes(np.asarray(crop, np.uint8), box_height))
