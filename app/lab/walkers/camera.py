"""A pinhole camera that can be placed, turned, panned and held by hand."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from app.types import Floats

CASIA_VIEWS = tuple(range(0, 181, 18))
"""The eleven views of CASIA-B in degrees: 0 sees the walker from the front, 90 from the side, 180 from behind."""


@dataclass(frozen=True)
class Camera:
    """Where a camera stands and looks.

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

    @classmethod
    def casia(
        cls, view: float, target: tuple[float, float], heading: float, width: int, height: int, distance: float = 6.0
    ) -> Camera:
        """The camera of CASIA-B's `view` (degrees) for a walker who passes `target` with `heading` radians."""
        direction = heading + np.radians(view)
        place = (target[0] + distance * np.cos(direction), target[1] + distance * np.sin(direction), 1.35)
        return cls.look_at(place, (*target, 0.9), width, height, field=46.0)

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

    def ground(self, x: float, y: float) -> tuple[float, float]:
        """Return the point of the floor seen at pixel `x`, `y`.

        Raises:
            ValueError: the pixel lies on or above the horizon.
        """
        ray = np.array([(x - self.width / 2) / self.focal, (y - self.height / 2) / self.focal, 1.0]) @ self.rotation
        if ray[2] >= -1e-6:
            raise ValueError(f"pixel {x:.0f}, {y:.0f} does not show the floor")
        reach = -self.position[2] / ray[2]
        return float(self.position[0] + reach * ray[0]), float(self.position[1] + reach * ray[1])


@dataclass(frozen=True)
class CameraMotion:
    """How a camera turns over time: `pan` degrees over the clip, `shake` degrees (standard deviation)."""

    pan: float = 0.0
    shake: float = 0.0

    def angles(self, frames: int, fps: float, rng: np.random.Generator) -> NDArray[np.float64]:
        """Return yaw, tilt and roll offsets in radians, (frames, 3), around zero."""
        angles = np.zeros((frames, 3))
        if self.pan:
            ease = 0.5 - 0.5 * np.cos(np.pi * np.linspace(0, 1, frames))
            angles[:, 0] += np.radians(self.pan) * (ease - 0.5)
        if self.shake:
            # A hand drifts slowly and trembles a little: noise below 1 Hz and some at 3 Hz (approximate).
            time = np.arange(frames) / fps
            for axis, scale in enumerate((1.0, 0.8, 0.5)):
                for frequency, share in ((0.31, 1.0), (0.73, 0.6), (1.9, 0.22), (3.3, 0.12)):
                    phase = rng.uniform(0, 2 * np.pi)
                    wave = np.sin(2 * np.pi * frequency * rng.uniform(0.85, 1.15) * time + phase)
                    angles[:, axis] += np.radians(self.shake) * scale * share * wave
        return angles
