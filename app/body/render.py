"""Drawing a body without a graphics card: its triangles from far to near, shaded by how they face the camera.

Half of the 2,452 triangles face away, so a picture takes a few milliseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from app.body.kinematics import poses_of
from app.body.mannequin import Mannequin, skinned
from app.body.observed import view_of
from app.body.skeleton import Poses
from app.types import BodyMotion, Bytes, Floats, Image

Colour = Sequence[int]
"""Red, green, blue, 0 to 255."""
_LIGHT = np.array([-0.35, -0.6, -0.72], np.float32)
"""From where it shines: from the left, above and the camera."""
_AMBIENT = 0.42
_SHIFT = 4
"""Fractional bits of the corners that OpenCV gets."""
_SPAN = 2.0
"""Height and width in m of the square that `Body.seen` and `Body.silhouette` show."""
_MIDDLE = 0.02
"""How far, in m, the pelvis lies below the middle of that square."""


class Body:
    """The body of one walk, ready to be drawn in any of its frames."""

    def __init__(self, motion: BodyMotion, mannequin: Mannequin | None = None) -> None:
        self.motion = motion
        self._mannequin = mannequin or Mannequin.load()

    @cached_property
    def vertices(self) -> Floats:
        """The vertices from the pelvis in the walking frame, (T, V, 3) m."""
        poses = poses_of(self.motion)
        still = Poses(np.zeros_like(poses.root), poses.rotations.astype(np.float32))
        return skinned(self._mannequin, self._mannequin.rest(self.motion.shape), still)

    def paint(self, picture: Image, index: int, colour: Colour, opacity: float = 0.8) -> Image:
        """Return the BGR `picture` (H, W, 3) of frame number `index` of the walk with the body over it."""
        motion = self.motion
        local = self.vertices[index] @ motion.view[index].T
        screen = motion.camera[index, 1:] + motion.camera[index, 0] * local[:, :2]
        left, top = np.maximum(np.floor(screen.min(axis=0)).astype(int) - 1, 0)
        right, bottom = np.minimum(np.ceil(screen.max(axis=0)).astype(int) + 2, picture.shape[1::-1])
        if left >= right or top >= bottom:
            return picture
        result = picture.copy()
        part = np.ascontiguousarray(picture[top:bottom, left:right])
        drawn = part.copy()
        self._draw(drawn, screen - (left, top), local, colour)
        result[top:bottom, left:right] = cv2.addWeighted(drawn, opacity, part, 1 - opacity, 0)
        return result

    def seen(self, index: int, azimuth: float, elevation: float, size: int, colour: Colour) -> Image:
        """Return a square BGR picture (size, size, 3) of a frame from any side: see `app.body.observed.view_of`."""
        fine = 2 * size
        picture = np.full((fine, fine, 3), 248, np.uint8)
        view = view_of(azimuth, elevation)
        local = self.vertices[index] @ view.T
        screen = _placed(local, fine)
        if elevation > 0.05:
            self._cast_shadow(picture, index, view)
        self._draw(picture, screen, local, colour)
        return np.asarray(cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA), np.uint8)

    def _cast_shadow(self, picture: Image, index: int, view: Floats) -> None:
        """Darken the floor right below the body."""
        size = len(picture) // 4
        below = self.vertices[index].copy()
        below[:, 2] = -self.motion.root[index, 2]
        soft = np.zeros((size, size), np.uint8)
        _fill(soft, _placed(below @ view.T, size), self._mannequin.faces)
        soft = np.asarray(cv2.resize(cv2.GaussianBlur(soft, (0, 0), size / 90), picture.shape[1::-1]), np.uint8)
        cv2.subtract(picture, cv2.cvtColor(soft // 4, cv2.COLOR_GRAY2BGR), picture)

    def _draw(self, picture: Image, screen: Floats, local: Floats, colour: Colour) -> None:
        """Draw the triangles that face the camera; `local` (V, 3) m are in its axes, `screen` (V, 2) in px."""
        faces = self._mannequin.faces
        a, b, c = (local[faces[:, corner]] for corner in range(3))
        normals = np.cross(b - a, c - a)
        around = np.zeros_like(local)  # the mean of the triangles at each vertex, which hides the edges between them
        for corner in range(3):
            np.add.at(around, faces[:, corner], normals)
        smooth = around[faces].sum(axis=1)
        smooth /= np.maximum(np.linalg.norm(smooth, axis=1, keepdims=True), 1e-12)
        depth = (a + b + c)[:, 2]
        facing = np.flatnonzero(normals[:, 2] < 0)
        order = facing[np.argsort(-depth[facing])]
        light = _LIGHT / np.linalg.norm(_LIGHT)
        strength = _AMBIENT + (1 - _AMBIENT) * np.clip(smooth[order] @ light, 0, 1)
        shades = np.clip(strength[:, None] * np.array(colour[::-1], np.float32), 0, 255).tolist()
        for triangle, shade in zip(_corners(screen, faces[order]), shades, strict=True):
            cv2.fillConvexPoly(picture, triangle, shade, cv2.LINE_8, _SHIFT)


def filled(vertices: Floats, faces: NDArray[np.intp], azimuth: float, rows: int = 128) -> Bytes:
    """Return the mask (rows, rows), 0 or 255, of vertices (V, 3) m from the pelvis in the walking frame.

    The camera is far away at the pelvis's height; `azimuth` radians as in `app.body.observed.view_of`.
    """
    mask = np.zeros((rows, rows), np.uint8)
    _fill(mask, _placed(vertices @ view_of(azimuth, 0.0).T, rows), faces)
    return mask


def _fill(mask: Bytes, screen: Floats, faces: NDArray[np.intp]) -> None:
    for triangle in _corners(screen, faces):
        cv2.fillConvexPoly(mask, triangle, 255, cv2.LINE_8, _SHIFT)


def _placed(local: Floats, size: int) -> Floats:
    """Return x, y px in a square picture of points in a camera's axes, (V, 2)."""
    return np.asarray((local[:, :2] + (0, -_MIDDLE)) * (size / _SPAN) + size / 2, np.float32)


def _corners(screen: Floats, faces: NDArray[np.intp]) -> NDArray[np.int32]:
    # OpenCV's pixels have their centres at whole numbers, ours at halves.
    return np.round((screen - 0.5) * (1 << _SHIFT)).astype(np.int32)[faces]
