"""What the embedded networks are compared with where the project has no stage for it: HOG, NanoDet and MoveNet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from app.detect.letterbox import PERSON, STRIDES, clipped, letterbox, nms
from app.settings import DetectorSettings
from app.types import Bytes, Detections, Floats, Frame, Image, ModelCard, VideoInfo
from app.weights.sessions import open_session


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


class NanoDet:
    """NanoDet-g as it was published (RangiLyu, 2021), trained on all of COCO: 80 class scores, boxes as distributions.

    A cell's distance to each side of the box is the mean of a distribution over eleven bins, in strides (Li et al.
    2020, arXiv 2006.04388). Frames are scaled to a longer side of `SIDE` px.
    """

    SIDE = 640
    card = ModelCard("detector", "NanoDet-g", "given", "Apache-2.0")
    _MEAN = np.array([103.53, 116.28, 123.675], np.float32)
    _STD = np.array([57.375, 57.12, 58.395], np.float32)
    _OUTPUTS = tuple(f"Identity{number}:0" for number in ("", "_1", "_2", "_3", "_4", "_5"))
    """The scores of the three strides, then their distributions. The file lists them in another order."""

    def __init__(self, path: Path, threads: int) -> None:
        self._session, self._settings = open_session(path, threads), DetectorSettings()

    def start(self, video: VideoInfo) -> None:
        pass

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        return [self._one(frame.image) for frame in frames]

    def _one(self, image: Image) -> Detections:
        boxed = letterbox([image], (self.SIDE, self.SIDE))
        rows, columns = boxed.pixels.shape[1:3]
        pixels = ((boxed.pixels - self._MEAN) / self._STD).transpose(0, 3, 1, 2)
        outputs = self._session.run(self._OUTPUTS, {self._session.get_inputs()[0].name: pixels})
        scores, boxes = [], []
        for stride, classes, sides in zip(STRIDES, outputs[:3], outputs[3:], strict=True):
            y, x = np.mgrid[: rows // stride, : columns // stride].reshape(2, -1) + 0.5
            raised = np.exp(sides.reshape(-1, 4, 11) - sides.reshape(-1, 4, 11).max(axis=2, keepdims=True))
            left, top, right, bottom = (raised @ np.arange(11) / raised.sum(axis=2)).T
            boxes.append(np.stack([x - left, y - top, x + right, y + bottom], axis=1) * stride)
            scores.append(classes.reshape(-1, 80)[:, PERSON])
        strong = np.concatenate(scores) >= self._settings.score
        score = np.concatenate(scores)[strong].astype(np.float32)
        found = np.concatenate(boxes)[strong].astype(np.float32)
        best = nms(found, score, self._settings.nms_iou)
        return clipped(found[best] / boxed.ratios[0], score[best], *image.shape[:2])


class _MoveNet:
    """One of Google's networks for one person in a square crop (`app.stages.PoseEstimator`).

    The crop is the box with a tenth on each side of its longer side, black beyond the frame.
    """

    card: ModelCard
    side: int
    """Width and height of the crop, px."""

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
        left, top, scale = (x1 + x2) / 2 - reach, (y1 + y2) / 2 - reach, self.side / (2 * reach)
        into = np.array([[scale, 0, -scale * left], [0, scale, -scale * top]])
        source = frame.image
        if scale < 0.5:  # large people: reduced by area first, as sampling would alias
            source = cv2.resize(source, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            into[:, :2] /= scale
        crop = cv2.cvtColor(cv2.warpAffine(source, into, (self.side, self.side)), cv2.COLOR_BGR2RGB)
        y, x, score = self._places(crop[None].astype(np.uint8)).reshape(17, 3).T
        return np.stack([left + 2 * reach * x, top + 2 * reach * y, score], 1)

    def _places(self, crop: Bytes) -> Floats:
        """Return y and x in 0..1 of the `crop` (1, side, side, 3) RGB, and scores: 51 numbers."""
        raise NotImplementedError


class MoveNetLightning(_MoveNet):
    """The small one, in int8.

    Raises:
        ImportError: no TFLite runtime (``pip install ai-edge-litert``).
    """

    card = ModelCard("pose", "MoveNet Lightning", "given", "Apache-2.0")
    side = 192

    def __init__(self, path: Path, threads: int) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._network: Any = Interpreter(str(path), num_threads=threads)
        self._network.allocate_tensors()
        self._into = self._network.get_input_details()[0]["index"]
        self._out = self._network.get_output_details()[0]["index"]

    def _places(self, crop: Bytes) -> Floats:
        self._network.set_tensor(self._into, crop)
        self._network.invoke()
        return np.asarray(self._network.get_tensor(self._out), np.float32)


class MoveNetThunder(_MoveNet):
    """The large one, exported to ONNX."""

    card = ModelCard("pose", "MoveNet Thunder", "given", "Apache-2.0")
    side = 256

    def __init__(self, path: Path, threads: int) -> None:
        self._session = open_session(path, threads)
        self._into = self._session.get_inputs()[0].name

    def _places(self, crop: Bytes) -> Floats:
        return np.asarray(self._session.run(None, {self._into: crop.astype(np.int32)})[0], np.float32)
