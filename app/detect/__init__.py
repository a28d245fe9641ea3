"""Detectors: one implementation per file.

`load_detector` builds the one you name, or the best one that is found. Nothing heavy is imported until then.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from app.stages import Detector

__all__ = ["load_detector"]


def load_detector(checkpoint: Path | str | None = None, name: str = "auto", **settings: Any) -> Detector:
    """Load a detector, which finds the people in the frames of a video.

    Args:
        checkpoint: the model's file; None takes the best one found in ``checkpoints/`` of the working folder,
            or the one that comes with Gaitprint.
        name: the implementation's name as ``python -m app models`` lists it; ``auto`` recognises the file.
        **settings: any of `app.settings.DetectorSettings`, such as ``score=0.3``.

    Raises:
        SettingsError: an unknown name or setting, or a value that does not fit.
        CheckpointError: the file is missing, unsafe or of the wrong kind.
        MissingExtraError: an optional package is needed.
    """
    from app.weights.registry import detectors

    return detectors.load(checkpoint, name, settings)
