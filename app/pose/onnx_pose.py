"""ONNX networks that find COCO's 17 keypoints in a picture of a person.

Input, normalisation and metadata are those of `app.crops.network`; the input's size is fixed. The output is float32
(N, 17, 3): x and y in 0..1 of the crop, and a score in 0..1. Other networks give the same shape with another meaning
(MoveNet has y first), so the metadata must say ``kind=pose17``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from app.crops.network import CropNetwork, looks_at_crops
from app.errors import CheckpointError
from app.settings import PoseSettings
from app.stages import PoseEstimator
from app.types import Floats, Frame, Ints
from app.weights.checkpoints import CheckpointFile
from app.weights.registry import pose_models


def _is_pose_network(path: Path) -> bool:
    session = looks_at_crops(path)
    if session is None or session.get_modelmeta().custom_metadata_map.get("kind") != "pose17":
        return False
    fixed = all(isinstance(value, int) for value in session.get_inputs()[0].shape[1:])
    answer = session.get_outputs()[0].shape
    # Exporters leave sizes open that they cannot infer; the answer to noise then shows them.
    fits = [size == want or not isinstance(size, int) for size, want in zip(answer[1:], (17, 3), strict=False)]
    return fixed and len(answer) == 3 and all(fits)


@pose_models.register(
    "onnx-pose",
    licence="that of the file",
    about="an ONNX network, metadata kind=pose17, from a picture to (N, 17, 3): x, y in 0..1 of the crop, score",
    accepts=_is_pose_network,
)
class OnnxPose(PoseEstimator):
    """Finds joints with an ONNX network."""

    def __init__(self, checkpoint: CheckpointFile | None, settings: PoseSettings) -> None:
        """Load the network.

        Args:
            checkpoint: the ``.onnx`` file.
            settings: `threads` is how many crops run side by side.

        Raises:
            CheckpointError: the file is no such network, or its scores do not lie in 0..1.
        """
        if checkpoint is None or not _is_pose_network(checkpoint.path):
            name = checkpoint.path if checkpoint else "nothing"
            raise CheckpointError(f"The pose model 'onnx-pose' needs an ONNX network with kind=pose17, not {name}.")
        self._network = CropNetwork(checkpoint, settings.device, settings.precision, settings.threads)
        answer = self._network.run(self._network.noise())
        if answer.shape != (17, 3):
            raise CheckpointError(f"{checkpoint.path} answers one crop with {answer.shape}, not 17 keypoints (17, 3).")
        scores = answer[:, 2]
        if not ((scores > -1e-3) & (scores < 1.001)).all():
            raise CheckpointError(
                f"{checkpoint.path} answers noise with scores from {scores.min():.3g} to {scores.max():.3g}; they must "
                "lie in 0..1. Export the network with its decoding."
            )
        self.card = self._network.card("pose", checkpoint)

    def estimate(self, frames: Sequence[Frame], boxes: Sequence[Floats]) -> list[Floats]:
        people = self._network.each(frames, boxes, self._keypoints)
        return [np.array(of_frame, np.float32).reshape(-1, 17, 3) for of_frame in people]

    def _keypoints(self, outputs: Sequence[Floats], window: Ints) -> Floats:
        """Return the keypoints (17, 3) of a person in px of the frame, from the network's output for the crop."""
        keypoints = outputs[0].astype(np.float64)
        left, top, right, bottom = window.tolist()
        keypoints[:, :2] = keypoints[:, :2] * (right - left, bottom - top) + (left, top)
        keypoints[:, 2] = np.clip(keypoints[:, 2], 0.0, 1.0)  # reduced precision overshoots a little
        return keypoints.astype(np.float32)
