"""Compiled value noise, the ground of every procedural surface."""

# mypy: disable-error-code="untyped-decorator,no-untyped-def,no-untyped-call"

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, fastmath=True)
def hashed(i, j):
    """Return a number from 0 to 1 that looks random, the same for the same two whole numbers."""
    h = (np.int64(i) * np.int64(374761393) + np.int64(j) * np.int64(668265263)) & np.int64(0xFFFFFFFF)
    h = ((h ^ (h >> np.int64(13))) * np.int64(1274126177)) & np.int64(0xFFFFFFFF)
    return ((h ^ (h >> np.int64(16))) & np.int64(0xFFFF)) / 65535.0


@njit(cache=True, fastmath=True)
def noise(x, y):
    """Return smooth value noise, 0 to 1, one bump per unit."""
    i, j = np.int64(np.floor(x)), np.int64(np.floor(y))
    u, v = x - i, y - j
    u, v = u * u * (3 - 2 * u), v * v * (3 - 2 * v)
    bottom = hashed(i, j) * (1 - u) + hashed(i + 1, j) * u
    top = hashed(i, j + 1) * (1 - u) + hashed(i + 1, j + 1) * u
    return bottom * (1 - v) + top * v


@njit(cache=True, fastmath=True)
def turbulence(x, y):
    """Return noise with finer noise in it, 0 to 1."""
    return 0.5 * noise(x, y) + 0.3 * noise(x * 2.1 + 5.0, y * 2.1) + 0.2 * noise(x * 4.3, y * 4.3 + 9.0)
