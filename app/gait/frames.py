"""Which of a walk's frames a gait network sees."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from app.errors import CheckpointError
from app.types import Ints
from app.weights.sessions import number_of


def thin(frames: int, most: int) -> Ints:
    """Return the indices of at most `most` of `frames` frames, evenly spread from the first to the last."""
    if frames <= most:
        return np.arange(frames)
    return np.linspace(0, frames - 1, most).round().astype(np.int64)


def cut(frames: int, size: int) -> Ints:
    """Cut a walk of at least one frame into the fewest pieces of `size` frames that cover it: indices, int64 (K, size).

    They are evenly spread from the first frame to the last, and overlap if they must. A shorter walk is one piece.
    """
    size = min(size, frames)
    starts = np.linspace(0, frames - size, -(-frames // size)).round().astype(np.int64)
    return starts[:, None] + np.arange(size)


def piece_of(properties: Mapping[str, str], path: Path, what: str) -> int:
    """Return the metadata property ``piece`` of an ONNX file: how many frames it sees at once; 0 where it is missing.

    `what` is what the message calls these frames.

    Raises:
        CheckpointError: it is no whole number above 0.
    """
    piece = number_of(properties, "piece", 0.0)
    if "piece" in properties and not (piece >= 1 and piece.is_integer()):
        raise CheckpointError(
            f"{path}: its property 'piece' must be a whole number of {what}, not {properties['piece']}."
        )
    return int(piece)
