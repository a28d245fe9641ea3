"""ONNX networks that answer a picture of a person with COCO's 17 keypoints.

Input, normalisation and metadata are those of `app.crops.network`; the input's size is fixed. The output is float32
(N, 17, 3): x and y in 0..1 of the crop, score in 0..1. As other networks answer in the same shape (MoveNet has y
first), the metadata must say ``kind=pose17``.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from app.crops.network import CropNetwork, looks_at_crops
from app.crops.windows import crop_windows
from app.errors import CheckpointError
from app.settings import PoseSettings, cores
from app.types import Floats, Frame, Image, Ints, VideoInfo
from app.weights.checkpoints import CheckpointFile
from app.weights.registry import pose_models


def _is_pose_network(path: Path) -> bool:
    session = looks_at_crops(path)
    if session is None or session.get_modelmeta().custom_metadata_map.get("kind") != "pose17":
        return False
    fixed = all(isinstance(value, int) for value in session.get_inputs()[0].shape[1:])
    answer = session.get_outputs()[0].shape
    # Exporters leave open what they cannot infer; the answer to noise shows it.
    fits = [size == want or not isinstance(size, int) for size, want in zip(answer[1:], (17, 3), strict=False)]
    return fixed and len(answer) == 3 and all(fits)


@pose_models.register(
    "onnx-pose",
    licence="that of the file",
    about="an ONNX network, metadata kind=pose17, from a picture to (N, 17, 3): x, y in 0..1 of the crop, score",
    accepts=_is_pose_network,
)
class OnnxPose:
    """Finds joints with an ONNX network; as many crops at once as there are cores (`app.stages.PoseEstimator`)."""

    def __init__(self, checkpoint: CheckpointFile | None, settings: PoseSettings) -> None:
        """Load the network.

        Args:
            checkpoint: the ``.onnx`` file.
            settings: `threads`, crops run side by side.

        Raises:
            CheckpointError: not such a network, or one whose scores are none.
        """
        if checkpoint is None or not _is_pose_network(checkpoint.path):
            name = checkpoint.path if checkpoint else "nothing"
            raise CheckpointError(f"The pose model 'onnx-pose' needs an ONNX network with kind=pose17, not {name}.")
        self._network = CropNetwork(checkpoint.path)
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
        self._pool = ThreadPoolExecutor(settings.threads or cores(), thread_name_prefix="pose")

    def start(self, video: VideoInfo) -> None:
        """Do nothing: the network does not learn from the video."""

    def estimate(self, frames: Sequence[Frame], boxes: Sequence[Floats]) -> list[Floats]:
        """Return the keypoints of each of a frame's `boxes`, for each frame; see `app.stages.PoseEstimator`."""
        futures = []
        for frame, frame_boxes in zip(frames, boxes, strict=True):
            rows, columns = frame.image.shape[:2]
            windows = crop_windows(frame_boxes, columns, rows, self._network.shape)
            futures.append([self._pool.submit(self._keypoints, frame.image, window) for window in windows])
        return [
            np.array([future.result() for future in of_frame], np.float32).reshape(-1, 17, 3) for of_frame in futures
        ]

    def _keypoints(self, image: Image, window: Ints) -> Floats:
        """Return the keypoints (17, 3) of whoever fills `window` of a frame (H, W, 3)."""
        keypoints = self._network.look(image, window).astype(np.float64)
        left, top, right, bottom = window.tolist()
        keypoints[:, :2] = keypoints[:, :2] * (right - left, bottom - top) + (left, top)
        keypoints[:, 2] = np.clip(keypoints[:, 2], 0.0, 1.0)  # reduced precision overshoots a little
        return keypoints.astype(np.float32)
