"""What the embedded networks are compared with where the project has no stage for it: OpenCV's HOG and MoveNet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from app.types import Detections, Floats, Frame, ModelCard, VideoInfo


class Hog:
    """Histograms of oriented gradients (Dalal and Triggs, CVPR 2005) with OpenCV's own weights, a floor.

    Its window is 64x128 px, so pictures are doubled; its boxes are cut to the person as in OpenCV's example. Scores
    are distances to the plane of the SVM.
    """

    card = ModelCard("detector", "OpenCV HOG", "weight-free", "Apache-2.0")

    def __init__(self) -> None:
        self._hog = cv2.HOGDescriptor()
        self._hog.setSVMDetector(cv2.HOGDescriptor.getDefaultPeopleDetector())

    def start(self, video: VideoInfo) -> None:
        pass

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        return [self._one(frame) for frame in frames]

    def _one(self, frame: Frame) -> Detections:
        doubled = cv2.resize(frame.image, None, fx=2, fy=2)
        found, scores = self._hog.detectMultiScale(doubled, winStride=(8, 8), scale=1.1)
        if not len(found):
            return Detections.none()
        left, top, width, height = np.asarray(found, np.float32).T / 2
        boxes = np.stack([left + 0.1 * width, top + 0.07 * height, left + 0.9 * width, top + 0.87 * height], 1)
        order = np.argsort(-np.ravel(scores), kind="stable")
        return Detections(boxes[order].astype(np.float32), np.ravel(scores).astype(np.float32)[order])


class MoveNet:
    """MoveNet Lightning, int8, one person a crop (`app.stages.PoseEstimator`).

    Crops are square, the box with a tenth on each side of its longer side, black beyond the frame.

    Raises:
        ImportError: no TFLite runtime (``pip install ai-edge-litert``).
    """

    card = ModelCard("pose", "MoveNet Lightning int8", "given", "Apache-2.0")

    def __init__(self, path: Path, threads: int) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._network: Any = Interpreter(str(path), num_threads=threads)
        self._network.allocate_tensors()
        into = self._network.get_input_details()[0]
        self._into, self._side = into["index"], int(into["shape"][1])
        self._out = self._network.get_output_details()[0]["index"]

    def start(self, video: VideoInfo) -> None:
        pass

    def estimate(self, frames: Sequence[Frame], boxes: Sequence[Floats]) -> list[Floats]:
        return [
            np.array([self._one(frame, box) for box in of_frame], np.float32).reshape(-1, 17, 3)
            for frame, of_frame in zip(frames, boxes, strict=True)
        ]

    def _one(self, frame: Frame, box: Floats) -> Floats:
        x1, y1, x2, y2 = box.tolist()
        reach = 0.6 * max(x2 - x1, y2 - y1)
        left, top, scale = (x1 + x2) / 2 - reach, (y1 + y2) / 2 - reach, self._side / (2 * reach)
        into = np.array([[scale, 0, -scale * left], [0, scale, -scale * top]])
        source = frame.image
        if scale < 0.5:  # large people: reduced by area first, as sampling would alias
            source = cv2.resize(source, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            into[:, :2] /= scale
        crop = cv2.cvtColor(cv2.warpAffine(source, into, (self._side, self._side)), cv2.COLOR_BGR2RGB)
        self._network.set_tensor(self._into, crop[None])
        self._network.invoke()
        y, x, score = self._network.get_tensor(self._out)[0, 0].T
        return np.stack([left + 2 * reach * x, top + 2 * reach * y, score], 1)
