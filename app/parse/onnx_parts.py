"""ONNX networks that find the parts of the body in a picture of a person.

Input, normalisation and metadata are those of `app.crops.network`; the input's size is fixed. The output called
``parts`` is float32 (N, 12, h, w), the probabilities of the background and of the 11 parts of `app.types.BODY_PARTS`,
from which the likeliest is taken. A file may have other outputs as well: the embedded network finds keypoints too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from app.crops.network import CropNetwork, looks_at_crops
from app.errors import CheckpointError
from app.settings import ParserSettings
from app.stages import Parser
from app.types import BODY_PARTS, Floats, Frame, Ints, PartMap
from app.weights.checkpoints import CheckpointFile
from app.weights.registry import parsers

_OUTPUT = "parts"


def _is_parser(path: Path) -> bool:
    session = looks_at_crops(path)
    if session is None or not all(isinstance(value, int) for value in session.get_inputs()[0].shape[1:]):
        return False
    shapes = [output.shape for output in session.get_outputs() if output.name == _OUTPUT]
    return any(len(shape) == 4 and shape[1] == len(BODY_PARTS) + 1 for shape in shapes)


@parsers.register(
    "onnx-parts",
    licence="that of the file",
    about="an ONNX network with an output 'parts' (N, 12, h, w): probabilities of background and 11 body parts",
    accepts=_is_parser,
)
class OnnxParts(Parser):
    """Finds body parts with an ONNX network."""

    def __init__(self, checkpoint: CheckpointFile | None, settings: ParserSettings) -> None:
        """Load the network; `settings.threads` is how many crops run side by side.

        Raises:
            CheckpointError: the file is no such network, or its answers are no probabilities.
        """
        if checkpoint is None or not _is_parser(checkpoint.path):
            name = checkpoint.path if checkpoint else "nothing"
            raise CheckpointError(
                f"The parser 'onnx-parts' needs an ONNX network with an output 'parts' (N, 12, h, w), not {name}."
            )
        self._network = CropNetwork(checkpoint, settings.device, settings.precision, settings.threads, _OUTPUT)
        answer = self._network.run(self._network.noise())
        if not (np.isfinite(answer).all() and (answer > -1e-3).all() and np.allclose(answer.sum(axis=0), 1, atol=0.02)):
            raise CheckpointError(
                f"{checkpoint.path} answers noise with numbers that are no probabilities of 12 labels. Export the "
                "network with its softmax."
            )
        self.card = self._network.card("parser", checkpoint)

    def parse(self, frames: Sequence[Frame], boxes: Sequence[Floats]) -> list[list[PartMap]]:
        return self._network.each(frames, boxes, _labels)


def _labels(outputs: Sequence[Floats], window: Ints) -> PartMap:
    """Return the likeliest labels of the px of a window of the frame, from the network's answer (12, h, w)."""
    left, top, right, bottom = window.tolist()
    shares = np.ascontiguousarray(outputs[0].transpose(1, 2, 0))
    # Enlarged before the choice, so that the borders between parts are smooth.
    rows = min(bottom - top, 2 * shares.shape[0])
    columns = min(right - left, 2 * shares.shape[1])
    labels = cv2.resize(shares, (columns, rows), interpolation=cv2.INTER_LINEAR).argmax(axis=2).astype(np.uint8)
    whole = cv2.resize(labels, (right - left, bottom - top), interpolation=cv2.INTER_NEAREST)
    return PartMap(left, top, np.asarray(whole, np.uint8))
