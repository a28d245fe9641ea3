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

    Arguments and errors are those of `app.detect.load_detector`; the settings are those of `app.settings.PoseSettings`.
    """
    from app.weights.registry import pose_models

    return pose_models.load(checkpoint, name, settings)
