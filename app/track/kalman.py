"""A Kalman filter of constant velocity for boxes, all tracks of a frame at once.

The state is that of SORT and DeepSORT (Wojke et al. 2017, section 2.1): centre x and y, aspect ratio w/h and height,
with their velocities, and the noise is proportional to the height. None of these four influences another and all noise
is independent. So the usual 8x8 covariance splits into four of 2x2, and the matrix algebra becomes a few products.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.types import Floats

Doubles = NDArray[np.float64]

# DeepSORT's noise: a position is known to 1/20 of the height, and a velocity changes by 1/160 of it from one frame to
# the next. The aspect ratio has its own scale, because it does not grow with the person. Noise is counted per frame: at
# 10 frames/s, noise that grows with the time between frames lets tracks jump to their neighbours (measured).
_POSITION = 1 / 20
_VELOCITY = 1 / 160
_ASPECT, _ASPECT_VELOCITY, _ASPECT_MEASURED = 1e-2, 1e-5, 1e-1
_HEIGHT = 3


@dataclass(slots=True)
class BoxFilter:
    """The filtered boxes of N tracks.

    `position` and `velocity` are float64 (N, 4): cx px, cy px, w/h, h px, and their change from frame to frame;
    `covariance` (N, 4, 3) holds, for each of the four, the variances of position, of both together, and of velocity.
    """

    position: Doubles
    velocity: Doubles
    covariance: Doubles

    @classmethod
    def of(cls, boxes: Floats) -> BoxFilter:
        """Start at `boxes`, float32 (N, 4) xyxy px, at rest."""
        position = _measured(boxes)
        covariance = np.zeros((*position.shape, 3))
        covariance[:, :, 0] = _variance(position, 2 * _POSITION, _ASPECT)
        covariance[:, :, 2] = _variance(position, 10 * _VELOCITY, _ASPECT_VELOCITY)
        return cls(position, np.zeros_like(position), covariance)

    def boxes(self) -> Floats:
        """Return the boxes as float32 (N, 4) xyxy px."""
        centre, height = self.position[:, :2], self.position[:, 3]
        half = np.stack([self.position[:, 2] * height, height], axis=1) / 2
        return np.concatenate([centre - half, centre + half], axis=1).astype(np.float32)

    def predict(self, hidden: NDArray[np.bool_]) -> None:
        """Move on by one frame. Tracks that are `hidden` (N,) keep their height, or it could grow without limit."""
        self.velocity[hidden, _HEIGHT] = 0.0
        noise = _variance(self.position, _POSITION, _ASPECT)
        drift = _variance(self.position, _VELOCITY, _ASPECT_VELOCITY)
        self.position += self.velocity
        self.covariance[:, :, 0] += 2 * self.covariance[:, :, 1] + self.covariance[:, :, 2] + noise
        self.covariance[:, :, 1] += self.covariance[:, :, 2]
        self.covariance[:, :, 2] += drift

    def correct(self, rows: NDArray[np.int64], boxes: Floats) -> None:
        """Take the measured `boxes` (M, 4) of the tracks `rows` (M,) into account."""
        position, covariance = self.position[rows], self.covariance[rows]
        noise = _variance(position, _POSITION, _ASPECT_MEASURED)
        gain = covariance[:, :, :2] / (covariance[:, :, :1] + noise[:, :, None])
        surprise = _measured(boxes) - position
        self.position[rows] += gain[:, :, 0] * surprise
        self.velocity[rows] += gain[:, :, 1] * surprise
        covariance[:, :, 2] -= gain[:, :, 1] * covariance[:, :, 1]
        covariance[:, :, :2] *= (1 - gain[:, :, 0])[:, :, None]
        self.covariance[rows] = covariance

    def joined(self, other: BoxFilter, keep: NDArray[np.bool_]) -> BoxFilter:
        """Return the tracks to `keep` (N,), followed by those of `other`."""
        return BoxFilter(
            np.concatenate([self.position[keep], other.position]),
            np.concatenate([self.velocity[keep], other.velocity]),
            np.concatenate([self.covariance[keep], other.covariance]),
        )


def _measured(boxes: Floats) -> Doubles:
    corners = boxes.astype(np.float64)
    size = np.maximum(corners[:, 2:] - corners[:, :2], 1e-3)
    centre = (corners[:, :2] + corners[:, 2:]) / 2
    return np.column_stack([centre, size[:, 0] / size[:, 1], size[:, 1]])


def _variance(position: Doubles, share_of_height: float, aspect: float) -> Doubles:
    deviation = np.repeat(share_of_height * position[:, _HEIGHT:], 4, axis=1)
    deviation[:, 2] = aspect
    return deviation**2
