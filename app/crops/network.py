"""ONNX networks that look at one person's crop, through ONNX Runtime: what segmenters and pose estimators share.

What the file does not say is read off its graph:

- Layout: the dimension of size 3 of the input is the colour, so NHWC and NCHW both work. Colours are RGB.
- Normalisation: 0..1 for NHWC (MediaPipe), mean 0.5 and standard deviation 0.5 for NCHW (PaddleSeg).

A file can say it in its metadata properties (`onnx.helper.set_model_props`), all optional: ``mean`` and ``std`` as
``0.5,0.5,0.5`` for colours in 0..1, ``margin`` and ``aspect`` as in `app.crops.windows.CropShape`, ``licence`` and
``note``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from app.crops.windows import CropShape, crop_of
from app.errors import CheckpointError
from app.types import Floats, Image, Ints, ModelCard
from app.weights.checkpoints import CheckpointFile
from app.weights.sessions import open_session

# Where the input's height and width are left open.
_OPEN_SIZE = 192


def looks_at_crops(path: Path) -> Any | None:
    """Return a session, good for looking at the graph, of an ONNX network that answers one picture; else None."""
    if path.suffix.lower() != ".onnx" or not path.is_file():
        return None
    try:
        session = open_session(path, optimise=False)
    except CheckpointError:
        return None
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or not outputs or outputs[0].type != "tensor(float)":
        return None
    into = inputs[0]
    if into.type != "tensor(float)" or len(into.shape) != 4 or 3 not in (into.shape[1], into.shape[3]):
        return None
    one_at_a_time = into.shape[0] == 1 or not isinstance(into.shape[0], int)
    return session if one_at_a_time else None


class CropNetwork:
    """One crop in, one answer out, on one thread; may be called from several threads at once.

    For networks this small, crops side by side are 1.4 to 2.2 times as fast on two cores, the most when nothing else
    runs, as one crop after the other on both (`tests/benchmarks/segmenters.py`); published files fix their batch at
    1 anyway. Answers do not depend on the number of threads.

    Args:
        path: a file of which `looks_at_crops` has said that it fits.

    Raises:
        CheckpointError: its metadata cannot be understood.
    """

    def __init__(self, path: Path) -> None:
        self._session = open_session(path)  # crops run side by side instead
        self.properties: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map
        self.output_shape: list[int | str | None] = self._session.get_outputs()[0].shape
        (into,) = self._session.get_inputs()
        self._name = into.name
        self._colour_last = into.shape[3] == 3
        size = into.shape[1:3] if self._colour_last else into.shape[2:]
        height, width = (value if isinstance(value, int) and value > 0 else _OPEN_SIZE for value in size)
        default = (0.0, 1.0) if self._colour_last else (0.5, 0.5)
        try:
            mean, std = (_colours(self.properties.get(key), default[i]) for i, key in enumerate(("mean", "std")))
        except ValueError as error:
            raise CheckpointError(f"{path}: its metadata 'mean' and 'std' must be three numbers: {error}") from error
        try:
            window = {key: float(self.properties[key]) for key in ("margin", "aspect") if key in self.properties}
        except ValueError as error:
            raise CheckpointError(f"{path}: its metadata 'margin' and 'aspect' must be numbers: {error}") from error
        self.shape = CropShape(height, width, **window)
        self._scale, self._shift = 1 / (255 * std), -mean / std

    def run(self, crop: Image) -> Floats:
        """Answer a crop, uint8 BGR (height, width, 3), with the first output, without its batch dimension."""
        pixels = cv2.cvtColor(crop, cv2.COLOR_BGR2RGB) * self._scale + self._shift
        pixels = pixels if self._colour_last else np.ascontiguousarray(pixels.transpose(2, 0, 1))
        answer: Floats = self._session.run(None, {self._name: pixels[None]})[0][0]
        return answer

    def look(self, image: Image, window: Ints) -> Floats:
        """Answer `window` (left, top, right, bottom px) of a frame (H, W, 3)."""
        return self.run(crop_of(image, window, self.shape))

    def noise(self) -> Image:
        """Return a crop of noise, the same each time: what the answer to it looks like tells what the network is."""
        return np.random.default_rng(0).integers(0, 256, (self.shape.height, self.shape.width, 3), np.uint8)

    def card(self, stage: str, checkpoint: CheckpointFile) -> ModelCard:
        """Return the card of a stage that runs this network."""
        import onnxruntime

        return ModelCard(
            stage=stage,
            name=checkpoint.path.stem,
            origin=checkpoint.origin,
            licence=self.properties.get("licence", "that of the file"),
            file=checkpoint.path,
            sha256=checkpoint.sha256(),
            runtime=f"onnxruntime {onnxruntime.__version__}",
            note=self.properties.get("note", ""),
        )


def _colours(text: str | None, default: float) -> Floats:
    if text is None:
        return np.full(3, default, np.float32)
    return np.array([float(part) for part in text.split(",")], np.float32).reshape(3)
