"""YOLOX exported to ONNX, through ONNX Runtime.

The official exports and their relatives are understood: one input (N, 3, H, W) and one output (N, A, 5 + classes), A
being the cells of the strides 8, 16 and 32. Batch, height and width are fixed or free. Boxes are as the network gives
them or decoded in the graph. The format does not say which, so one grey picture is tried: decoded centres lie on the
grid of cells, others do not.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from app.detect.letterbox import (
    PAD,
    cells,
    choose_normalise,
    choose_person,
    letterbox,
    network_size,
    normalised,
    people,
)
from app.detect.looking import SIZES, Looking
from app.errors import CheckpointError, SettingsError, reason_of
from app.settings import DetectorSettings, cores
from app.stages import Detector
from app.types import Detections, Floats, Frame, VideoInfo
from app.weights.checkpoints import CheckpointFile
from app.weights.networks import open_network
from app.weights.registry import detectors
from app.weights.sessions import graph_of

# Not square, so that a transposed output is not mistaken for YOLOX's.
_PROBE = (64, 96)


def _has_the_ports(session: Any) -> bool:
    inputs, outputs = session.get_inputs(), session.get_outputs()
    return (
        len(inputs) == len(outputs) == 1
        and len(inputs[0].shape) == 4
        and inputs[0].shape[1] == 3
        and len(outputs[0].shape) == 3
    )


def _fixed_size(session: Any) -> tuple[int, int] | None:
    height, width = session.get_inputs()[0].shape[2:]
    return (height, width) if isinstance(height, int) and isinstance(width, int) else None


def _from_ultralytics(session: Any) -> bool:
    """Whether the metadata says so, or the output is (N, 4 + classes, A), A being the cells, or (N, 300, 6)."""
    properties, shape = session.get_modelmeta().custom_metadata_map, session.get_outputs()[0].shape
    size = _fixed_size(session)
    turned = size is not None and shape[2] == len(cells(*size)) and isinstance(shape[1], int) and shape[1] < shape[2]
    return "ultralytics" in str(properties.get("author", "")).lower() or turned or shape[1:] == [300, 6]


def _has_the_cells(rows: int, columns: int, size: tuple[int, int]) -> bool:
    return rows == len(cells(*size)) and columns > 5


def _run(session: Any, images: Floats) -> Floats:
    """Run images (N, 3, H, W), in pieces if the graph's batch is fixed."""
    port = session.get_inputs()[0]
    images = images.astype(np.float16 if "float16" in port.type else np.float32, copy=False)
    step = port.shape[0] if isinstance(port.shape[0], int) else len(images)
    outputs = []
    for start in range(0, len(images), step):
        piece = images[start : start + step]
        missing = step - len(piece)
        if missing:
            piece = np.concatenate([piece, np.repeat(piece[-1:], missing, axis=0)])
        outputs.append(session.run(None, {port.name: piece})[0][: step - missing])
    joined: Floats = np.concatenate(outputs).astype(np.float32, copy=False)
    return joined


def _grey(session: Any) -> Floats:
    """Return the output for one grey picture: (A, 5 + classes)."""
    grey = np.full((1, 3, *(_fixed_size(session) or _PROBE)), PAD, np.float32)
    output: Floats = _run(session, grey)[0]
    return output


def holds_yolox_onnx(path: Path) -> bool:
    """Whether `path` is an ONNX graph of YOLOX's shape; if the shape is free, one small picture is tried.

    Raises:
        CheckpointError: it is a graph that ultralytics exported.
    """
    session = graph_of(path)
    if session is None or not _has_the_ports(session):
        return False
    if _from_ultralytics(session):
        raise CheckpointError(
            f"{path} is an ONNX file that ultralytics exported, which is not read. Use the .pt file it was made from, "
            "or an export of YOLOX."
        )
    try:
        size = _fixed_size(session)
        _, rows, columns = session.get_outputs()[0].shape
        if size and isinstance(rows, int) and isinstance(columns, int):
            return _has_the_cells(rows, columns, size)
        rows, columns = _grey(session).shape
        return _has_the_cells(rows, columns, size or _PROBE)
    except Exception:  # the runtime has no common class for the errors of damaged files
        return False


@detectors.register(
    "yolox-onnx",
    licence="Apache-2.0",
    about="YOLOX exported to .onnx, decoded or not, fixed or free in size",
    accepts=holds_yolox_onnx,
)
class YoloxOnnxDetector(Detector):
    """Finds people with an exported YOLOX.

    The file's metadata may state the input under ``normalise``, ``name``, ``licence`` and ``note`` for the model card,
    and under ``sure`` the score from which nearly all boxes are people, so that they may start tracks. Without
    ``normalise``, a network of one class is taken for one of ByteTrack's, whose input is ImageNet-normalised; any other
    takes raw pixels. A graph of free size looks at frames as large as the people in them need (`app.detect.looking`),
    ByteTrack's within 800x1440. Each frame is looked at on one thread, and `settings.threads` of them side by side. For
    small networks this takes less time than all threads on one frame, and the answers do not depend on the number of
    threads.

    Raises:
        CheckpointError: there is no checkpoint, or it is no ONNX file or no YOLOX graph.
        SettingsError: `input_size` is given, but the graph has another, fixed size.
    """

    of_video = ("_looking",)

    def __init__(self, checkpoint: CheckpointFile | None, settings: DetectorSettings) -> None:
        if checkpoint is None:
            raise CheckpointError("The detector 'yolox-onnx' needs a checkpoint: give --detector-checkpoint FILE.")
        path = checkpoint.path
        self._session = open_network(checkpoint, settings.device, settings.precision)
        self._pool = ThreadPoolExecutor(settings.threads or cores(), thread_name_prefix="detect")
        outputs = self._grey_output(path)
        self._fixed = _fixed_size(self._session)
        self.decoded = _on_the_grid(outputs, cells(*(self._fixed or _PROBE)))
        properties = self._session.get_modelmeta().custom_metadata_map
        self.normalise = choose_normalise(settings, properties.get("normalise"), outputs.shape[1] == 6, path)
        own_size = self._fixed or ((800, 1440) if self.normalise == "imagenet" else (640, 640))
        self.input_size = network_size(settings, own_size)
        if self._fixed and self.input_size != self._fixed:
            raise SettingsError(
                f"detector.input_size={list(self.input_size)} does not fit {path}: the graph is fixed to "
                f"{self._fixed[0]}x{self._fixed[1]} px. Leave the setting out, or export with free height and width."
            )
        # ByteTrack's networks know people at their own size only.
        follows = settings.input_size is None and self._fixed is None and self.normalise == "raw"
        self._looking = Looking(max(own_size)) if follows else None
        self._score, self._nms_iou = settings.score, settings.nms_iou
        self._person = choose_person(settings, outputs.shape[1] - 5, path)
        within = (
            f"longer side {SIZES[0]} to {SIZES[-1]} px, as large as people need"
            if follows
            else f"within {self.input_size[0]}x{self.input_size[1]} px"
        )
        stated = [properties["note"]] if "note" in properties else []
        self.card = checkpoint.card(
            "detector",
            properties.get("name", f"yolox-onnx-{path.stem}"),
            properties.get("licence", "Apache-2.0"),
            self._session.runtime,
            "; ".join([f"{within}, {self.normalise} input", *stated]),
        )
        self.card = replace(self.card, sure=_sure(properties, path))

    def start(self, video: VideoInfo) -> None:
        """Forget how large people were in the video before."""
        if self._looking is not None:
            self._looking.start(video)

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """Return the people of each frame."""
        if self._looking is None:
            return self._side_by_side(frames, self.input_size)
        found: list[Detections] = []
        for closely, group in self._looking.groups(frames):
            if closely:
                largest = self._looking.largest(group[0])
                self._looking.learn(group[0], self._within(group[:1], (largest, largest))[0])
            found += self._side_by_side(group, (self._looking.size, self._looking.size))
        return found

    def _side_by_side(self, frames: Sequence[Frame], size: tuple[int, int]) -> list[Detections]:
        """Return the people of frames, of which as many run at once as there are threads, each by itself.

        A graph whose batch is fixed gets as many frames at once as it takes, and any other as many as its device likes.
        """
        batch = self._session.get_inputs()[0].shape[0]
        step = batch if isinstance(batch, int) else self._session.batch
        pieces = [frames[start : start + step] for start in range(0, len(frames), step)]
        return [people for found in self._pool.map(lambda piece: self._within(piece, size), pieces) for people in found]

    def _within(self, frames: Sequence[Frame], size: tuple[int, int]) -> list[Detections]:
        """Return the people of frames that are scaled to fit `size` (height, width in px)."""
        boxed = letterbox([frame.image for frame in frames], size, full=self._fixed is not None)
        outputs = _run(self._session, normalised(boxed.pixels, self.normalise))
        return people(
            outputs, boxed, person=self._person, decoded=self.decoded, score=self._score, nms_iou=self._nms_iou
        )

    def _grey_output(self, path: Path) -> Floats:
        ports = (*self._session.get_inputs(), *self._session.get_outputs())
        shape = f"its input and output are {[list(port.shape) for port in ports]}"
        if _has_the_ports(self._session):
            try:
                output = _grey(self._session)
            except CheckpointError:
                raise
            except Exception as error:
                raise CheckpointError(f"{path} cannot be run: {reason_of(error)}.") from error
            rows, columns = output.shape
            if _has_the_cells(rows, columns, _fixed_size(self._session) or _PROBE):
                return output
            shape = f"its output is {list(output.shape)}"
        raise CheckpointError(
            f"{path} is not a YOLOX export: {shape}, expected one input (N, 3, H, W) and one output "
            "(N, A, 5 + classes), A being the cells of the strides 8, 16 and 32."
        )


def _on_the_grid(output: Floats, grid: Floats) -> bool:
    """Whether the centres of `output` (A, 5 + classes) are in px, in which case they follow the `grid` (A, 3)."""
    centres = (grid[:, :2] + np.float32(0.5)) * grid[:, 2:]
    expected = centres - centres.mean(axis=0)
    actual = output[:, :2] - output[:, :2].mean(axis=0)
    return bool((expected * actual).sum() > 0.8 * np.sqrt((expected**2).sum() * (actual**2).sum()))


def _sure(properties: Mapping[str, str], path: Path) -> float | None:
    """Return the score that the metadata state, if they state one."""
    if "sure" not in properties:
        return None
    with contextlib.suppress(ValueError):
        if 0 <= float(properties["sure"]) <= 1:
            return float(properties["sure"])
    raise CheckpointError(f"{path}: its property 'sure' must be a score from 0 to 1, not {properties['sure']}.")
