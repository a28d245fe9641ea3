"""Which of a walk's frames a gait network sees."""

from __future__ import annotations

import numpy as np

from app.types import Ints


def thin(frames: int, most: int) -> Ints:
    """Return the indices of at most `most` of `frames` frames, evenly spread from the first to the last."""
    if frames <= most:
        return np.arange(frames)
    return np.linspace(0, frames - 1, most).round().astype(np.int64)
