"""Drawing skinned triangle meshes on the CPU: linear blend skinning, z-buffer, procedural colours, silhouettes.

Every figure is drawn into its own tile, several times finer than the picture, and scaled down, which gives soft
edges and the share of every pixel that it covers; the scene then lays the tiles over each other from far to near.
The loops are compiled by numba, which is imported and compiled when a `Rasteriser` is first used.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from app.errors import needing
from app.lab.walkers.camera import Camera
from app.types import Bytes, Floats

PLAIN, ROWS, COLUMNS, CHECKS, STRANDS, DENIM, FACE = range(7)
"""The patterns of a material."""

NO_DEPTH = np.float32(1e9)

SKIN_DEPTH = 0.13
"""A joint lies in the body, a keypoint on it: this much surface, m, in front of it does not hide it."""


@dataclass(frozen=True)
class Material:
    """How a surface looks: BGR 0..1 `colour` and `second` colour, a pattern of `period` m, folds and gloss.

    `duty` is the share of the second colour; `fold` the strength of creases in the shading, 0 to 1.
    """

    colour: tuple[float, float, float]
    second: tuple[float, float, float] = (0.0, 0.0, 0.0)
    pattern: int = PLAIN
    period: float = 0.1
    duty: float = 0.5
    fold: float = 0.0
    gloss: float = 0.0

    def row(self) -> list[float]:
        """The material as a row of numbers for the compiled loops."""
        return [*self.colour, *self.second, float(self.pattern), self.period, self.duty, self.fold, self.gloss]


@dataclass(frozen=True)
class Light:
    """`towards` the lamp or sun (a unit vector), its strength, and the light from everywhere (all about 0 to 1)."""

    towards: tuple[float, float, float] = (0.35, 0.45, 0.82)
    direct: float = 0.62
    ambient: float = 0.52
    shadow: float = 0.55
    """Darkness of the shadow on the ground."""
    softness: float = 0.03
    """Blur of the shadow's edge, m."""


@dataclass(frozen=True, eq=False)
class Figure:
    """A dressed person in the rest pose, ready for the compiled loops.

    `vertices`, `normals` float32 (N, 3); `bones` int32 (N, 4) and `shares` float32 (N, 4), summing to 1; `uv`
    float32 (N, 2), m along the cloth; `faces` int32 (F, 3), their `material` int32 (F,) and `parts` uint8 (F,), labels
    of `app.types.BODY_PARTS` or 0 for what is no body; `materials` (M, 11).
    """

    vertices: Floats
    normals: Floats
    bones: NDArray[np.int32]
    shares: Floats
    uv: Floats
    faces: NDArray[np.int32]
    material: NDArray[np.int32]
    parts: Bytes
    materials: Floats


@dataclass(frozen=True, eq=False)
class Tile:
    """A figure in a picture: `coverage` and `depth` (m, `NO_DEPTH` where empty) float32 (h, w), `colour` BGR
    float32 (h, w, 3) multiplied by the coverage, with its top-left pixel at `left`, `top`."""

    left: int
    top: int
    coverage: Floats
    colour: Floats
    depth: Floats

    @property
    def region(self) -> tuple[slice, slice]:
        """Rows and columns of the picture that the tile covers."""
        height, width = self.coverage.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)

    def extent(self, least: float) -> tuple[int, int, int, int]:
        """Return the box in the tile (x1, y1, x2, y2, ends exclusive) that is covered by more than `least` somewhere.

        It is empty where nothing is.
        """
        left, top, width, height = cv2.boundingRect((self.coverage > least).astype(np.uint8))
        return left, top, left + width, top + height

    def lay_over(self, picture: Floats) -> None:
        """Lay the figure over `picture`, float32 BGR (H, W, 3), in place."""
        part = picture[self.region]
        part *= 1 - self.coverage[..., None]
        part += self.colour


@cache
def compiled(name: str) -> Any:
    """Return the module `name` of this folder with its loops, which numba compiles, or loads from its cache."""
    with needing('Virtual walkers need numba: pip install -e ".[walkers]"'):
        return import_module(f"app.lab.walkers.{name}")


def skin(figure: Figure, transforms: Floats) -> tuple[Floats, Floats]:
    """Return the vertices and normals of `figure`, (N, 3) each, moved by the bones' `transforms` (J, 3, 4)."""
    vertices, normals = np.empty_like(figure.vertices), np.empty_like(figure.normals)
    compiled("_figure_loops").skin(
        figure.vertices, figure.normals, figure.bones, figure.shares, np.float32(transforms), vertices, normals
    )
    return vertices, normals


def draw(figure: Figure, vertices: Floats, normals: Floats, camera: Camera, light: Light, fine: int = 2) -> Tile | None:
    """Draw a skinned figure; None where the picture does not show it. `fine` samples a pixel along each axis."""
    screen = camera.project(vertices)
    window = _window(screen, camera.width, camera.height)
    if window is None:
        return None
    left, top, right, bottom = window
    rows, columns = (bottom - top) * fine, (right - left) * fine
    depth = np.full((rows, columns), NO_DEPTH, np.float32)
    colour = np.zeros((rows, columns, 3), np.float32)
    screen = screen.copy()
    screen[:, :2] = (screen[:, :2] - (left, top)) * fine
    compiled("_figure_loops").paint(
        screen, vertices, normals, figure.uv, figure.faces, figure.material, figure.materials,
        np.array(camera.position, np.float32), np.array(light.towards, np.float32), np.float32(light.direct),
        np.float32(light.ambient), depth, colour,
    )  # fmt: skip
    size = (right - left, bottom - top)
    cover = cv2.resize((depth < NO_DEPTH).astype(np.float32), size, interpolation=cv2.INTER_AREA)
    colour = np.asarray(cv2.resize(colour, size, interpolation=cv2.INTER_AREA), np.float32)
    nearest: Floats = np.minimum.reduce([depth[y::fine, x::fine] for y in range(fine) for x in range(fine)])
    return Tile(left, top, np.asarray(cover, np.float32), colour, nearest)


def body_parts(figure: Figure, screen: Floats, width: int, height: int) -> Bytes:
    """Return the map of body parts of already projected vertices, (N, 3) x px, y px, depth: uint8 (height, width).

    What is carried hides the body and is labelled 0, as the background is.
    """
    depth = np.full((height, width), NO_DEPTH, np.float32)
    labels = np.zeros((height, width), np.uint8)
    flat = np.ascontiguousarray(screen, np.float32)
    compiled("_figure_loops").label(flat, figure.faces, figure.parts, depth, labels)
    return labels


def coverage(figure: Figure, screen: Floats, width: int, height: int) -> Bytes:
    """Return the silhouette of already projected vertices, (N, 3) x px, y px, depth."""
    mask = np.zeros((height, width), np.uint8)
    compiled("_figure_loops").fill(np.ascontiguousarray(screen, np.float32), figure.faces, mask)
    return mask


def bounds(screen: Floats) -> tuple[Floats, Floats]:
    """Return the smallest and largest x, y of projected points (N, 3)."""
    across = np.ascontiguousarray(screen[:, :2].T)  # several times faster than along the short axis
    return across.min(axis=1), across.max(axis=1)


def _window(screen: Floats, width: int, height: int) -> tuple[int, int, int, int] | None:
    front = screen[:, 2] > 0.1
    if not front.any():
        return None
    low, high = bounds(screen if front.all() else screen[front])
    left, top = np.maximum(np.floor(low).astype(int) - 1, 0)
    right, bottom = np.minimum(np.ceil(high).astype(int) + 1, (width, height))
    if right <= left or bottom <= top:
        return None
    return int(left), int(top), int(right), int(bottom)
