"""Smooth steps from 0 to 1."""

from __future__ import annotations

import numpy as np

from app.types import Doubles


def smooth(share: Doubles) -> Doubles:
    """Return 0 up to `share` 0 and 1 from `share` 1 on, with a cubic between them that is level at both ends."""
    t = np.clip(share, 0.0, 1.0)
    return np.asarray(t * t * (3 - 2 * t))


def smoother(share: Doubles) -> Doubles:
    """Return the same as `smooth` with a quintic, which is level and straight at both ends."""
    t = np.clip(share, 0.0, 1.0)
    return np.asarray(t**3 * (t * (6 * t - 15) + 10))
