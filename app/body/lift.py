"""Keypoints lifted into space by a temporal network.

The ONNX network takes what `app.body.observed.features` says, float32 (N, T, 56), and gives (N, T, 81): the 26 points
of `app.body.mannequin` in the walking frame in m, sine and cosine of the camera's azimuth, and its elevation in
radians. Its metadata says ``kind=lift26``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from app.body.mannequin import FEATURES, POINTS, Mannequin
from app.errors import CheckpointError
from app.types import BodyMotion, Floats, GaitSequence
from app.weights.checkpoints import CheckpointFile
from app.weights.networks import open_network
from app.weights.sessions import onnx_card

_OUTPUTS = POINTS * 3 + 3


@dataclass(frozen=True, eq=False)
class Lifted:
    """What the network makes of a walk of T frames: `points` (T, 26, 3) m from the pelvis in the walking frame, and
    from where the camera sees it, `azimuth` and `elevation` (T,) radians (see `app.body.observed.view_of`)."""

    points: Floats
    azimuth: Floats
    elevation: Floats


class LiftingNetwork:
    """Runs a lifting network; `CheckpointError` where the file is none."""

    def __init__(self, checkpoint: CheckpointFile) -> None:
        self._session = open_network(checkpoint, "cpu", "float32")
        self._name = self._session.get_inputs()[0].name
        self.card = onnx_card("body", checkpoint, self._session, "onnxruntime")
        answer = self._session.run(None, {self._name: np.zeros((1, 3, FEATURES), np.float32)})[0]
        if answer.shape != (1, 3, _OUTPUTS):
            raise CheckpointError(
                f"{checkpoint.path} answers a walk of 3 frames with {answer.shape}, not (1, 3, {_OUTPUTS})."
            )

    def fit(self, walk: GaitSequence, mannequin: Mannequin) -> BodyMotion:
        """Return the body that agrees with the lifted points."""
        from app.body.kinematics import motion_of
        from app.body.observed import view_of

        lifted = self.lift(walk)
        assert walk.keypoints is not None
        view = view_of(lifted.azimuth, lifted.elevation)
        return motion_of(lifted.points, view, walk.keypoints, walk.frame_indices, walk.fps, mannequin)

    def lift(self, walk: GaitSequence) -> Lifted:
        """Lift the keypoints of a walk, in its own frames."""
        from scipy.ndimage import gaussian_filter1d  # slow to import, and lists of models need only the card

        from app.body.observed import features, resampled

        keypoints, times = resampled(walk)
        answer = self._session.run(None, {self._name: features(keypoints)[None]})[0][0]
        turn = gaussian_filter1d(answer[:, -3:-1], 2.0, axis=0, mode="nearest")
        elevation = gaussian_filter1d(answer[:, -1:], 6.0, axis=0, mode="nearest")
        grid = np.concatenate([answer[:, :-3], turn, elevation], 1)
        own = (walk.frame_indices - walk.frame_indices[0]) / walk.fps
        frames = np.stack([np.interp(own, times, column) for column in grid.T], 1).astype(np.float32)
        points = frames[:, :-3].reshape(-1, POINTS, 3)
        return Lifted(points - points[:, :1], np.arctan2(frames[:, -3], frames[:, -2]), frames[:, -1])
