"""Segmenters: one implementation per file.

`load_segmenter` builds the one you name, or the best one that is found. Nothing heavy is imported until then.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from app.stages import Segmenter

__all__ = ["load_segmenter"]


def load_segmenter(checkpoint: Path | str | None = None, name: str = "auto", **settings: Any) -> Segmenter:
    """Load a segmenter, which cuts people out of their background.

    Args:
        checkpoint: the model's file or folder; None takes the best one found in ``checkpoints/`` of the working folder,
            or the one that comes with Gaitprint.
        name: the implementation's name as ``python -m app models`` lists it; ``auto`` recognises the file.
        **settings: any of `app.settings.SegmenterSettings`, such as ``threads=2``.

    Raises:
        SettingsError: an unknown name or setting, or a value that does not fit.
        CheckpointError: the file is missing, unsafe or of the wrong kind.
        MissingExtraError: an optional package is needed.
    """
    from app.weights.registry import segmenters

    return segmenters.load(checkpoint, name, settings)
