"""Which of a walk's frames a gait network sees."""

from __future__ import annotations

import numpy as np

from app.types import Ints


def thin(frames: int, most: int) -> Ints:
    """Return the indices of at most `most` of `frames` frames, evenly spread from the first to the last."""
    if frames <= most:
        return np.arange(frames)
    return np.linspace(0, frames - 1, most).round().astype(np.int64)


def cut(frames: int, size: int) -> Ints:
    """Cut a walk into the fewest pieces that cover it.

    Args:
        frames: how many frames the walk has, at least one.
        size: how many frames each piece has; a shorter walk is one piece.

    Returns:
        int64 (K, size) indices: pieces evenly spread from the first frame to the last, overlapping if they must.
    """
    size = min(size, frames)
    starts = np.linspace(0, frames - size, -(-frames // size)).round().astype(np.int64)
    return starts[:, None] + np.arange(size)
