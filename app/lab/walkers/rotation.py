"""Rotation matrices, many at a time: angles (...) in radians give float64 (..., 3, 3)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]


def about_x(angle: Doubles) -> Doubles:
    """About +x (forward): a positive angle raises the left side."""
    return about(np.array([1.0, 0.0, 0.0]), angle)


def about_y(angle: Doubles) -> Doubles:
    """About +y (left): a positive angle bends forward, toes down."""
    return about(np.array([0.0, 1.0, 0.0]), angle)


def about_z(angle: Doubles) -> Doubles:
    """About +z (up): a positive angle turns to the left."""
    return about(np.array([0.0, 0.0, 1.0]), angle)


def about(axis: Doubles, angle: Doubles) -> Doubles:
    """About the unit vector `axis` (3,) (Rodrigues' formula)."""
    x, y, z = axis
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    angle = np.asarray(angle, np.float64)[..., None, None]
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross))


def between(start: Doubles, end: Doubles) -> Doubles:
    """Return the shortest rotation (3, 3) that turns the direction `start` into `end`; they must not be opposite."""
    a, b = start / np.linalg.norm(start), end / np.linalg.norm(end)
    axis = np.cross(a, b)
    sine = np.linalg.norm(axis)
    if sine < 1e-9:
        return np.eye(3)
    return about(axis / sine, np.arctan2(sine, a @ b))


def frame(y: Doubles, z: Doubles) -> Doubles:
    """Return the matrices whose columns are x, y, z for unit vectors `z` and `y` made orthogonal to it (..., 3)."""
    y = y - np.sum(y * z, -1, keepdims=True) * z
    y = y / np.linalg.norm(y, axis=-1, keepdims=True)
    return np.stack([np.cross(y, z), y, z], -1)


def transposed(matrix: Doubles) -> Doubles:
    """Return the inverse rotations."""
    return np.swapaxes(matrix, -1, -2)
