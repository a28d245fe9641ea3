"""What a lifting network sees of a walk, and from where a camera sees it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, median_filter

from app.body.mannequin import RATE
from app.types import MIRRORED_KEYPOINTS, Floats, GaitSequence

_STEADY = 1.0
"""Seconds over which the size of the body in the picture is smoothed."""
_MIRRORED = np.array([*(3 * joint + axis for joint in MIRRORED_KEYPOINTS for axis in range(3)), *range(51, 56)])
"""Where each of the `features` is found in a mirror image."""
_ACROSS = np.array([*range(0, 51, 3), 51])
"""Which of them are along x, and so change their sign."""
_GAP = 0.4
"""Seconds between two keypoints from which on those in between are not believed."""


def resampled(walk: GaitSequence) -> tuple[Floats, Floats]:
    """Return the keypoints (N, 17, 3) of a walk at `RATE` a second, and the times (N,) in s from its first frame."""
    if walk.keypoints is None:
        raise ValueError("a body can only be fitted to a walk that has keypoints")
    own = (walk.frame_indices - walk.frame_indices[0]) / walk.fps
    times = np.arange(max(1, int(own[-1] * RATE + 1e-6) + 1)) / RATE
    flat = walk.keypoints.reshape(len(own), -1)
    keypoints = np.stack([np.interp(times, own, column) for column in flat.T], 1).reshape(-1, 17, 3)
    before = np.clip(np.searchsorted(own, times, "right") - 1, 0, len(own) - 1)
    after = np.clip(before + 1, 0, len(own) - 1)
    far = np.minimum(times - own[before], own[after] - times) > 1 / RATE
    keypoints[far & (own[after] - own[before] > _GAP), :, 2] = 0
    return keypoints.astype(np.float32), times.astype(np.float32)


def size_of(keypoints: Floats) -> Floats:
    """Return the size of the body in the picture, px (..., T), about a fifth of its height, smoothed over time."""
    weight = np.clip(keypoints[..., 2:], 0.05, 1)
    centre = (weight * keypoints[..., :2]).sum(-2, keepdims=True) / weight.sum(-2, keepdims=True)
    square = (weight * (keypoints[..., :2] - centre) ** 2).sum((-1, -2)) / weight.sum((-1, -2))
    steady = [1] * (square.ndim - 1) + [int(_STEADY * RATE) | 1]
    size = gaussian_filter1d(median_filter(np.sqrt(square), steady, mode="nearest"), 2.0, axis=-1, mode="nearest")
    return np.asarray(np.maximum(size, 1e-3), np.float32)


def features(keypoints: Floats, moving: NDArray[np.bool_] | bool = True) -> Floats:
    """Return the numbers (..., T, 56) that describe keypoints (..., T, 17, 3), x, y px and score, at `RATE` a second.

    They are x and y of each keypoint from their middle, in sizes of the body (`size_of`), and its score; the way of the
    middle from frame to frame in such sizes, how fast the size grows, whether the camera stands still so that these
    three mean something (`moving`, (...)), and 1, which tells frames from the zeros beyond the ends.
    """
    size = size_of(keypoints)[..., None]
    weight = np.clip(keypoints[..., 2:], 0.05, 1)
    middle = (weight * keypoints[..., :2]).sum(-2) / weight.sum(-2)
    placed = (keypoints[..., :2] - middle[..., None, :]) / size[..., None]
    way = np.zeros((*size.shape[:-1], 3), np.float32)
    if keypoints.shape[-3] > 2:
        smooth = gaussian_filter1d(middle, 1.5, axis=-2, mode="nearest")
        way[..., :2] = np.gradient(smooth, axis=-2) / size
        way[..., 2:] = 10 * np.gradient(np.log(size), axis=-2)
    known = np.broadcast_to(np.asarray(moving)[..., None, None], (*way.shape[:-1], 1))
    rest = [np.clip(way, -3, 3) * known, known, np.ones_like(size)]
    flat = np.concatenate([np.clip(placed, -6, 6), keypoints[..., 2:]], -1).reshape(*size.shape[:-1], -1)
    return np.concatenate([flat, *rest], -1).astype(np.float32)


def mirrored(numbers: Floats) -> Floats:
    """Return the `features` (..., T, 56) of a mirror image."""
    swapped = numbers[..., _MIRRORED].copy()
    swapped[..., _ACROSS] *= -1
    return swapped


def view_of(azimuth: Floats | float, elevation: Floats | float) -> Floats:
    """Return the rotation (..., 3, 3) from the walking frame to a camera's axes right, down, away.

    Both angles (...) are in radians: `azimuth` is 0 where the camera is in front of the walker and positive to the
    walker's left, and `elevation` is how far the camera is above the walker.
    """
    ca, sa, ce, se = np.cos(azimuth), np.sin(azimuth), np.cos(elevation), np.sin(elevation)
    zero = np.zeros_like(ca)
    right = np.stack([-sa, ca, zero], -1)
    down = np.stack([se * ca, se * sa, -ce], -1)
    away = np.stack([-ce * ca, -ce * sa, -se], -1)
    return np.stack([right, down, away], -2).astype(np.float32)
