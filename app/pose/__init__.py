"""Pose estimators: one implementation per file.

`load_pose_estimator` builds the one you name, or the best one that is found. Nothing heavy is imported until then.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from app.stages import PoseEstimator

__all__ = ["load_pose_estimator"]


def load_pose_estimator(checkpoint: Path | str | None = None, name: str = "auto", **settings: Any) -> PoseEstimator:
    """Load a pose estimator, which finds the 17 COCO keypoints of people.

    Args:
        checkpoint: the model's file; None takes the best one found in ``checkpoints/`` of the working folder,
            or the one that comes with Gaitprint.
        name: the implementation's name as ``python -m app models`` lists it; ``auto`` recognises the file.
        **settings: any of `app.settings.PoseSettings`, such as ``threads=2``.

    Raises:
        SettingsError: an unknown name or setting, or a value that does not fit.
        CheckpointError: the file is missing, unsafe or of the wrong kind.
        MissingExtraError: an optional package is needed.
    """
    from app.weights.registry import pose_models

    return pose_models.load(checkpoint, name, settings)
