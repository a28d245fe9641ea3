"""A pinhole camera that can be placed, turned and held by hand."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from app.types import Floats


@dataclass(frozen=True)
class Camera:
    """Where a camera stands and where it looks.

    `position` m in the world; `yaw` radians, 0 looks along +x, anticlockwise; `tilt` radians downwards; `roll`
    radians clockwise; `focal` length in px; `width`, `height` px. The optical axis meets the picture's middle.
    """

    position: tuple[float, float, float]
    yaw: float
    tilt: float
    focal: float
    width: int
    height: int
    roll: float = 0.0

    @classmethod
    def look_at(
        cls,
        position: tuple[float, float, float],
        target: tuple[float, float, float],
        width: int,
        height: int,
        field: float = 50.0,
    ) -> Camera:
        """A camera at `position` whose axis goes through `target`; `field` degrees wide horizontally."""
        dx, dy, dz = (t - p for p, t in zip(position, target, strict=True))
        focal = width / 2 / np.tan(np.radians(field) / 2)
        return cls(position, float(np.arctan2(dy, dx)), float(np.arctan2(-dz, np.hypot(dx, dy))), focal, width, height)

    def turned(self, yaw: float, tilt: float = 0.0, roll: float = 0.0) -> Camera:
        """This camera turned by these angles, radians."""
        return replace(self, yaw=self.yaw + yaw, tilt=self.tilt + tilt, roll=self.roll + roll)

    @cached_property
    def rotation(self) -> Floats:
        """(3, 3): world directions to the picture's right, down and forward."""
        cy, sy, ct, st = np.cos(self.yaw), np.sin(self.yaw), np.cos(self.tilt), np.sin(self.tilt)
        forward = np.array([cy * ct, sy * ct, -st])
        right = np.array([sy, -cy, 0.0])
        down = np.cross(forward, right)
        cr, sr = np.cos(self.roll), np.sin(self.roll)
        return np.stack([cr * right + sr * down, cr * down - sr * right, forward]).astype(np.float32)

    def project(self, points: NDArray[np.floating]) -> Floats:
        """Return x px, y px and depth m of world `points` (..., 3). Depth is not positive behind the camera."""
        local = (np.asarray(points, np.float32) - np.array(self.position, np.float32)) @ self.rotation.T
        depth = np.where(np.abs(local[..., 2]) < 1e-6, np.float32(1e-6), local[..., 2])
        x = self.focal * local[..., 0] / depth + self.width / 2
        y = self.focal * local[..., 1] / depth + self.height / 2
        return np.stack([x, y, local[..., 2]], axis=-1).astype(np.float32)


def shaken(degrees: float, frames: int, fps: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return by how much a hand turns a camera over time: yaw, tilt and roll in radians around zero, (frames, 3).

    A hand drifts slowly and trembles a little: noise below 1 Hz and some at 3 Hz (approximate). `degrees` is about the
    standard deviation.
    """
    angles = np.zeros((frames, 3))
    time = np.arange(frames) / fps
    for axis, scale in enumerate((1.0, 0.8, 0.5)):
        for frequency, share in ((0.31, 1.0), (0.73, 0.6), (1.9, 0.22), (3.3, 0.12)):
            phase = rng.uniform(0, 2 * np.pi)
            wave = np.sin(2 * np.pi * frequency * rng.uniform(0.85, 1.15) * time + phase)
            angles[:, axis] += np.radians(degrees) * scale * share * wave
    return angles
