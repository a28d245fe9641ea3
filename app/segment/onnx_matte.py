"""ONNX networks that turn a picture of a person into a matte.

Input, normalisation and metadata are those of `app.crops.network`. The output is (N, H, W, C) or (N, C, H, W). A single
channel is the body; of two channels, the second is. A network that gives logits is recognised by its answer to noise,
and a sigmoid or softmax is added. The metadata can also name a ``threshold``. With ``flip``, and where the
settings say so too (``mirror``), a matte is the mean of that of the crop and that of its mirror image.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from app.crops.network import CropNetwork, looks_at_crops
from app.crops.windows import matte_of
from app.errors import CheckpointError
from app.settings import SegmenterSettings
from app.stages import Segmenter
from app.types import Floats, Frame, Ints, Matte
from app.weights.checkpoints import CheckpointFile
from app.weights.registry import segmenters


def _is_matte_network(path: Path) -> bool:
    session = looks_at_crops(path)
    if session is None:
        return False
    shape = session.get_outputs()[0].shape
    return len(shape) == 4 and bool({1, 2} & {shape[1], shape[3]})


@segmenters.register(
    "onnx-matte",
    licence="that of the file",
    about="an ONNX network from a picture (NHWC or NCHW) to a matte of one or two channels",
    accepts=_is_matte_network,
)
class OnnxMatte(Segmenter):
    """Cuts people out with an ONNX matting or segmentation network."""

    def __init__(self, checkpoint: CheckpointFile | None, settings: SegmenterSettings) -> None:
        """Load the network. The settings say how many crops run side by side (`threads`) and whether mirror images are
        seen (`mirror`); the caller applies the threshold.

        Raises:
            CheckpointError: the file is no such network.
        """
        if checkpoint is None or not _is_matte_network(checkpoint.path):
            name = checkpoint.path if checkpoint else "nothing"
            raise CheckpointError(f"The segmenter 'onnx-matte' needs an ONNX network with a matte, not {name}.")
        self._network = CropNetwork(checkpoint, settings.device, settings.precision, settings.threads)
        _, second, _, last = self._network.output_shape
        self._channel_last = last in (1, 2) and second not in (1, 2)
        self._two = (last if self._channel_last else second) == 2
        answer = self._channels_last(self._network.run(self._network.noise()))
        total = answer.sum(axis=-1) if self._two else np.ones(1)
        self._logits = bool(answer.min() < -1e-3 or answer.max() > 1.001 or np.abs(total - 1).max() > 1e-2)
        stated = "threshold" in self._network.properties
        usual = 0.31 if self._two else 0.4
        self.threshold = self._network.number("threshold", checkpoint.path, 1.0) if stated else usual
        self._flip = settings.mirror and self._network.properties.get("flip") == "true"
        self.card = self._network.card("segmenter", checkpoint)

    def segment(self, frames: Sequence[Frame], boxes: Sequence[Floats]) -> list[list[Matte]]:
        return self._network.each(frames, boxes, self._matte, mirror=self._flip)

    def _matte(self, outputs: Sequence[Floats], window: Ints) -> Matte:
        body, *mirrored = [self._body(output) for output in outputs]
        for other in mirrored:
            body = (body + other[:, ::-1]) / np.float32(2)
        return matte_of(body, window)

    def _body(self, output: Floats) -> Floats:
        """Return how probable the body is at each of the network's pixels, (h, w)."""
        answer = self._channels_last(output)
        if self._two:
            return answer[..., 1] if not self._logits else _sigmoid(answer[..., 1] - answer[..., 0])
        return answer[..., 0] if not self._logits else _sigmoid(answer[..., 0])

    def _channels_last(self, answer: Floats) -> Floats:
        return answer if self._channel_last else answer.transpose(1, 2, 0)


def _sigmoid(logits: Floats) -> Floats:
    # The second of two softmax probabilities is the sigmoid of the difference of the logits.
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * logits), np.float32)
