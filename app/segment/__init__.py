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

    Arguments and errors are those of `app.detect.load_detector`, but the settings are those of
    `app.settings.SegmenterSettings`, and a checkpoint may be a folder.
    """
    from app.weights.registry import segmenters

    return segmenters.load(checkpoint, name, settings)
