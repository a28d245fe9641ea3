"""Rotations that scipy has no name for.

In the walker's frame a turn about +x (forward) raises the left side, one about +y (left) bends forward and turns the
toes down, one about +z (up) turns to the left.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from app.types import Doubles


def oriented(yaw: Doubles, roll: Doubles, bend: Doubles) -> Rotation:
    """Return the rotations that turn to the left by `yaw`, raise the left side by `roll`, bend forward by `bend`.

    All are (N,) radians.
    """
    return Rotation.from_euler("ZXY", np.stack([yaw, roll, bend], -1))


def shortest(start: NDArray[np.floating], end: NDArray[np.floating]) -> Rotation:
    """Return the shortest rotations that turn the directions `start` into `end`; they must not be opposite.

    Both are (3,) or (N, 3), of any length.
    """
    start, end = np.asarray(start, np.float64), np.asarray(end, np.float64)
    axis = np.cross(start, end)
    sine = np.linalg.norm(axis, axis=-1, keepdims=True)
    angle = np.arctan2(sine, np.sum(start * end, axis=-1, keepdims=True))
    return Rotation.from_rotvec(axis / np.maximum(sine, 1e-12) * angle)
