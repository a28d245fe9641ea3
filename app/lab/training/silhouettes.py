"""Silhouettes with the errors of cameras, detectors and segmenters, for the training of gait networks.

A network that has only seen clean silhouettes learns outlines that no segmenter draws. As in the real pipeline, a
silhouette is spoilt before it is scaled to 64 rows: a body without feet is enlarged.
"""

from __future__ import annotations

import cv2
import numpy as np

from app.types import Bytes, Floats
from app.walks.silhouette import normalise

_ROWS, _COLUMNS = 64, 44


def worsened(walk: Bytes, strength: float, rng: np.random.Generator) -> Bytes:
    """Spoil a walk, uint8 (T, 64, 44), as a poor segmenter would, and scale its silhouettes to 64 rows again.

    Outlines grow and shrink (partly for the whole walk, partly from frame to frame), details are lost, bodies have
    holes, foreign blobs stick to them, feet, legs and heads are cut off, and boxes are too narrow. With `strength` 0 of
    0..1 nothing happens. Frames that would be empty stay as they were.
    """
    blur = 0.3 + strength * rng.uniform(0.2, 2.0)
    bias = _field(rng, strength * 0.10) + np.float32(strength * rng.normal(0, 0.12))
    jitter = strength * rng.uniform(0.02, 0.20)
    frequency = strength * rng.uniform(0, 0.3, 4)  # of each kind of accident in this walk
    feet = strength * max(0.0, rng.normal(0, 2.0))  # rows that the box cuts off in all frames
    result = walk.copy()
    for index, frame in enumerate(walk):
        body = cv2.GaussianBlur(frame, (0, 0), blur).astype(np.float32) / np.float32(255)
        body += (bias + _field(rng, jitter)) * (body > 0.02)  # moves the outline, adds nothing elsewhere
        hole, blob, leg, box = rng.random(4) < frequency
        if hole:
            cv2.ellipse(body, *_ellipse(rng), (0.0,), -1)
        if blob:
            cv2.ellipse(body, *_ellipse(rng), (1.0,), -1)
        if leg:
            side = int(rng.integers(0, 2)) * _COLUMNS // 2
            body[int(rng.integers(44, 60)) :, side : side + _COLUMNS // 2] = 0
        if box:
            _narrow(body, rng)
        if feet >= 1:
            body[_ROWS - int(feet) :] = 0
        # A slope instead of a step, as a mask has after it was scaled.
        again = normalise(np.clip((body - 0.5) * (4 * 255) + 128, 0, 255).astype(np.uint8))
        if again is not None:
            margin = (again.shape[1] - _COLUMNS) // 2
            result[index] = again[:, margin : margin + _COLUMNS]
    return result


def _field(rng: np.random.Generator, deviation: float) -> Floats:
    """Return a smooth random surface, (64, 44)."""
    coarse = rng.standard_normal((7, 5), np.float32) * np.float32(deviation)
    return np.asarray(cv2.resize(coarse, (_COLUMNS, _ROWS), interpolation=cv2.INTER_LINEAR), np.float32)


def _ellipse(rng: np.random.Generator) -> tuple[tuple[int, int], tuple[int, int], float, float, float]:
    """Draw an ellipse on or beside the body: centre, half axes, angle and arc for OpenCV."""
    centre = int(np.clip(rng.normal(22, 7), 0, _COLUMNS)), int(rng.uniform(4, _ROWS))
    axes = int(rng.integers(1, 6)), int(rng.integers(1, 9))
    return centre, axes, float(rng.uniform(0, 180)), 0.0, 360.0


def _narrow(body: Floats, rng: np.random.Generator) -> None:
    """Cut off what a box that is too small on one side misses."""
    side = int(rng.integers(0, 4))
    if side == 0:
        body[_ROWS - int(rng.integers(1, 10)) :] = 0
    elif side == 1:
        body[: int(rng.integers(1, 5))] = 0
    else:
        filled = np.flatnonzero((body > 0.5).any(axis=0))
        if len(filled):
            lost = int(rng.integers(1, 6))
            first, last = int(filled[0]), int(filled[-1]) + 1
            body[:, last - lost if side == 2 else first : last if side == 2 else first + lost] = 0
