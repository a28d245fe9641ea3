"""Skeleton maps, the input of SkeletonGait: a picture of the limbs and one of the joints.

Fan et al., "SkeletonGait: Gait Recognition Using Skeleton Maps", AAAI 2024, section "Skeleton Map". What the paper
leaves open (sizes, cut-offs, quantisation) was measured on golden vectors, which this code reproduces bit for bit.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

LIMBS: tuple[tuple[int, int], ...] = (
    (0, 1), (0, 2), (1, 3), (2, 4), (0, 5), (5, 7), (7, 9), (0, 6), (6, 8), (8, 10),
    (5, 11), (11, 13), (13, 15), (6, 12), (12, 14), (14, 16), (11, 12),
)  # fmt: skip
"""Pairs of COCO-17 keypoints which are joined by a line."""

_CANVAS = 128
"""Maps are drawn at twice their size, the hips in the middle."""
_HEIGHT = 85.0
"""Canvas px from the highest to the lowest joint."""
_SIGMA = 8.0
_REACH = 3.0 * _SIGMA
"""Nothing is drawn further than this from the box of a joint or limb."""
_GREY: NDArray[np.float64] = np.floor(np.linspace(0.0, 1.0, 256) * 255.0) / 255.0
"""256 shades by index. The rounding in `linspace` makes 24 of them one too dark, as in the published maps."""
_PIXELS: NDArray[np.float64] = np.arange(_CANVAS, dtype=np.float64)
_HIPS = [11, 12]

_Array: TypeAlias = NDArray[np.float64]


def heatmaps(keypoints: NDArray[Any]) -> NDArray[np.uint8]:
    """Draw the skeleton maps of a walk, uint8 (T, 2, 64, 64): channel 0 shows the limbs, channel 1 the joints.

    Of the keypoints (T, 17, 3), COCO-17, x and y are in px, and scores are 0 to 1 (a little more is cut off). A joint
    whose score is not above 0 is missing. Every pose is 42.5 px high, with its hips in the middle. Without hips, the
    middle of the joints that are there is taken. A pose without height (fewer than two joints) is left black.

    Raises:
        ValueError: the shape is another, numbers are not finite, or a score is above 2.
    """
    poses = np.asarray(keypoints, np.float64)
    if poses.ndim != 3 or poses.shape[1:] != (17, 3):
        raise ValueError(f"Keypoints have shape {poses.shape}; heatmaps need (T, 17, 3): x, y and score.")
    if not np.isfinite(poses).all():
        raise ValueError("Some keypoints are not finite numbers; set missing joints to zero.")
    if (poses[..., 2] > 2.0).any():  # estimators overshoot 1 a little; percentages are another thing
        raise ValueError(f"Keypoint scores reach {poses[..., 2].max():g}; divide them so that they run from 0 to 1.")
    maps = np.zeros((len(poses), 2, _CANVAS // 2, _CANVAS // 2), np.uint8)
    for pose, small in zip(poses, maps, strict=True):
        places = _normalised(pose)
        if places is None:
            continue
        values = np.exp(_exponents(places, pose[:, 2])).astype(np.float32)  # the published maps are rounded here
        large = _GREY[np.minimum(values * 256, 255).astype(np.uint8)]
        for channel, canvas in enumerate(large):
            _cropped(canvas, small[channel])
    return maps


def _normalised(pose: _Array) -> _Array | None:
    """Return x, y (17, 2) on the canvas, or None if the pose has no height."""
    present = pose[:, 2] > 0
    if not present.any():
        return None
    joints = pose[present, :2]
    low, high = joints.min(axis=0), joints.max(axis=0)
    if high[1] <= low[1]:
        return None
    hips = pose[_HIPS, :2][present[_HIPS]]
    middle = hips.mean(axis=0) if len(hips) else (low + high) / 2
    places: _Array = (pose[:, :2] - middle) * (_HEIGHT / (high[1] - low[1])) + _CANVAS / 2
    return places


def _exponents(places: _Array, scores: _Array) -> _Array:
    """Return the logarithm of the maps, (2, 128, 128). The largest joint or limb counts, so one `exp` is enough."""
    maps = np.full((2, _CANVAS, _CANVAS), -np.inf)
    present = scores > 0
    weights = np.log(np.where(present, scores, 1.0))
    for joint in np.flatnonzero(present):
        place = places[joint]
        rows, columns = _window(place, place)
        dx, dy = _PIXELS[columns] - place[0], _PIXELS[rows] - place[1]
        _draw(maps[1, rows, columns], (dy * dy)[:, None] + dx * dx, weights[joint])
    for start, end in LIMBS:
        if not (present[start] and present[end]):
            continue
        a, b = places[start], places[end]
        length = float(np.hypot(*(b - a)))
        ux, uy = (b - a) / length if length > 0 else (1.0, 0.0)
        rows, columns = _window(np.minimum(a, b), np.maximum(a, b))
        dx, dy = _PIXELS[columns] - a[0], (_PIXELS[rows] - a[1])[:, None]
        along, across = dx * ux + dy * uy, dx * uy - dy * ux
        along -= np.clip(along, 0.0, length)  # the distance beyond either end
        along *= along
        across *= across
        across += along
        _draw(maps[0, rows, columns], across, min(weights[start], weights[end]))
    return maps


def _cropped(canvas: _Array, small: NDArray[np.uint8]) -> None:
    """Fill `small` with the rows of `canvas` that are not black, and as many columns around the middle."""
    rows = np.flatnonzero(canvas.any(axis=1))
    if not rows.size:
        return
    half = (int(rows[-1]) + 1 - int(rows[0])) // 2
    crop = canvas[rows[0] : rows[-1] + 1, max(_CANVAS // 2 - half, 0) : _CANVAS // 2 + half + 1]
    small[:] = (cv2.resize(crop, small.shape, interpolation=cv2.INTER_AREA) * 255.0).astype(np.uint8)


def _window(low: _Array, high: _Array) -> tuple[slice, slice]:
    """Return the rows and columns of the canvas within reach of the box from `low` to `high`."""
    left, top = (min(max(int(value - _REACH), 0), _CANVAS) for value in low)
    right, bottom = (min(max(int(value + _REACH) + 1, 0), _CANVAS) for value in high)
    return slice(top, bottom), slice(left, right)


def _draw(target: _Array, squares: _Array, weight: float) -> None:
    """Raise `target` to a Gaussian of the squared distances (the array is reused)."""
    squares *= -0.5 / _SIGMA**2
    squares += weight
    np.maximum(target, squares, out=target)
