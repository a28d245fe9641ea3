"""Detection without weights for a camera that stands still: people are blobs of the foreground."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np

from app.settings import DetectorSettings
from app.types import Bools, Bytes, Detections, Floats, Frame, Ints
from app.video.background import SubtractsBackground
from app.weights.checkpoints import CheckpointFile
from app.weights.registry import detectors

# An upright person is 0.25 (from the side, legs together) to 0.65 (a long stride) as wide as high.
_ASPECTS = (0.12, 0.25, 0.65, 1.1)
# From this width over height on, a blob may be two people side by side.
_PAIR = 0.5
# Their heads are then at least this share of the height apart, because of their shoulders, which may overlap a little.
_SHOULDERS = 0.2
_FILLS = (0.2, 0.4)
_HEIGHTS = (14, 28)
_SURE = 0.9
_SPECK = 12


@detectors.register(
    "motion",
    licence="Apache-2.0 (own code)",
    about="background subtraction, weight-free, for fixed cameras",
)
class MotionDetector(SubtractsBackground):
    """Finds what moves and is shaped like a person (`app.stages.Detector`)."""

    def __init__(self, checkpoint: CheckpointFile | None, settings: DetectorSettings) -> None:
        super().__init__("detector")
        self._settings = settings

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """Return the people of each frame, boxes clipped to the frame, sorted by falling score.

        Raises:
            RuntimeError: `start` has not been called.
        """
        detections = []
        for frame, alpha in zip(frames, self.background.foreground(frames), strict=True):
            boxes = person_boxes(alpha)
            scores = person_scores(boxes[:, :4], boxes[:, 4])
            order = np.argsort(-scores, kind="stable")
            order = order[scores[order] >= self._settings.score]
            height, width = frame.image.shape[:2]
            scale = np.array([width / alpha.shape[1], height / alpha.shape[0]] * 2, np.float32)
            detections.append(Detections(boxes[order, :4] * scale, scores[order]))
        return detections


def person_boxes(alpha: Bytes) -> Floats:
    """Return the boxes of bodies in a foreground: float32 (N, 5), xyxy px and the area in px.

    Pieces of one body that lie above each other are joined. Blobs as wide as two people are cut between the heads.
    """
    mask = cv2.threshold(alpha, 127, 255, cv2.THRESH_BINARY)[1]
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((5, 3), np.uint8))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8, ltype=cv2.CV_32S)
    pieces = np.flatnonzero(stats[1:, cv2.CC_STAT_AREA] >= _SPECK) + 1
    x, y, width, height, area = stats[pieces].T
    boxes = np.column_stack([x, y, x + width, y + height, area]).astype(np.float32)
    bodies = []
    for members in _joined(boxes):
        group = boxes[members]
        left, top = group[:, :2].min(axis=0).astype(int)
        right, bottom = group[:, 2:4].max(axis=0).astype(int)
        blob: Bools = np.isin(labels[top:bottom, left:right], pieces[members])
        for first, last in _people(blob):
            part = blob[:, first:last]
            x, y, width, height = cv2.boundingRect(part.astype(np.uint8))
            if width:
                x1, y1 = left + first + x, top + y
                bodies.append((x1, y1, x1 + width, y1 + height, part.sum()))
    return np.array(bodies, np.float32).reshape(-1, 5)


def person_scores(boxes: Floats, areas: Floats) -> Floats:
    """Return how much blobs look like upright people, 0 to 0.9, from `boxes` (N, 4) and areas (N,) in px."""
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    shape = np.interp(width / height, _ASPECTS, (0.0, 1.0, 1.0, 0.0))
    solid = np.interp(areas / (width * height), _FILLS, (0.0, 1.0))
    large = np.interp(height, _HEIGHTS, (0.0, 1.0))
    return np.asarray(_SURE * shape * solid * large, np.float32)


def _joined(boxes: Floats) -> list[Ints]:
    """Group pieces (N, 5) that lie above each other with a small gap and together are shaped like a person."""
    groups = [np.array([row]) for row in np.argsort(-boxes[:, 4], kind="stable")]
    joined: list[Ints] = []
    for group in groups:
        x1, y1, x2, y2, _ = boxes[group[0]]
        for index, other in enumerate(joined):
            left, top = boxes[other, :2].min(axis=0)
            right, bottom = boxes[other, 2:4].max(axis=0)
            beside = min(x2, right) - max(x1, left)
            gap = max(y1, top) - min(y2, bottom)
            height = max(y2, bottom) - min(y1, top)
            width = max(x2, right) - min(x1, left)
            if beside >= 0.5 * min(x2 - x1, right - left) and gap <= 0.2 * height and width <= 0.65 * height:
                joined[index] = np.append(other, group)
                break
        else:
            joined.append(group)
    return joined


def _people(blob: Bools) -> list[tuple[int, int]]:
    """Cut a wide blob (h, w) where its outline is lowest; return the first and the last + 1 column of each person."""
    height, width = blob.shape
    if width <= _PAIR * height:
        return [(0, width)]
    # How far each column reaches above the ground. Heads are peaks, and one walker has only one, whatever the stride.
    reach = np.where(blob.any(axis=0), height - blob.argmax(axis=0), 0).astype(np.float32)
    reach = cv2.blur(reach[None], (max(1, height // 12) | 1, 1), borderType=cv2.BORDER_REPLICATE)[0]
    from scipy.signal import find_peaks  # slow to import, and seldom needed

    padded = np.concatenate([[0], reach, [0]])
    heads, _ = find_peaks(padded, prominence=0.1 * height, distance=max(1, _SHOULDERS * height), height=0.4 * height)
    if len(heads) < 2:
        return [(0, width)]
    heads -= 1
    cuts = [first + int(reach[first:second].argmin()) for first, second in pairwise(heads.tolist())]
    edges = [0, *cuts, width]
    return list(pairwise(edges))
