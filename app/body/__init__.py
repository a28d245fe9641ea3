"""The body in the walk: a body in space, fitted to the keypoints of a video.

`load_body_estimator` builds the implementation that you name, or the best one that is found. Nothing heavy is imported
until then.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from app.stages import BodyEstimator

__all__ = ["load_body_estimator"]


def load_body_estimator(checkpoint: Path | str | None = None, name: str = "auto", **settings: Any) -> BodyEstimator:
    """Load a body estimator, which fits a body in space to walks with keypoints.

    Arguments and errors are those of `app.detect.load_detector`; the settings are those of `app.settings.BodySettings`.
    """
    from app.weights.registry import body_models

    return body_models.load(checkpoint, name, settings)
