"""Places to walk in: procedural streets, parks, squares and halls, seen through any camera.

Nothing here is a photograph: floor, walls, trees and sky are formulas, evaluated along a ray for every pixel. The
walkers' area is around the origin; a turning camera is served by one wide picture, warped (exact, as a turn about
the lens is a homography).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import cv2
import numpy as np

from app.lab.walkers.camera import Camera
from app.lab.walkers.choices import Place
from app.lab.walkers.renderer import Light, compiled
from app.types import Doubles, Floats

_FRONT, _HEDGE, _CROWN, _POST, _INDOORS, _GLASS = range(6)


@dataclass(frozen=True, eq=False)
class Background:
    """A place: what the compiled loop needs (see `backdrop` there) and the light that belongs to it."""

    place: Place
    walls: Doubles
    floor: Doubles
    ceiling: float
    sky: Doubles
    light: Light

    @classmethod
    def sample(cls, rng: np.random.Generator, place: Place, room: float = 1.0) -> Background:
        """Build `place`; `room` scales how far its walls stand from the origin."""
        if place == "hall":
            return _indoors(rng, place, 8.0 * room, 4.6)
        if place == "corridor":
            return _indoors(rng, place, 3.2 * room, 3.2)
        sky, light = _outdoors(rng)
        build = {"street": _street, "park": _park, "square": _square}[place]
        walls, floor = build(rng, room)
        return cls(place, np.array(walls, np.float64), np.array(floor), 0.0, sky, light)

    def render(self, camera: Camera, fine: int = 2) -> Floats:
        """Return the place without people, float32 BGR 0..1 (height, width, 3)."""
        out = np.empty((camera.height, camera.width, 3), np.float32)
        compiled("_place_loops").backdrop(
            camera.rotation.astype(np.float64), np.array(camera.position, np.float64), float(camera.focal),
            camera.width / 2, camera.height / 2, fine, self.walls, self.floor, self.ceiling, self.sky,
            np.array(self.light.towards, np.float64), out,
        )  # fmt: skip
        return out


class Backdrop:
    """A background for a camera that turns by up to the largest of `angles` (T, 3), rendered once."""

    def __init__(self, background: Background, camera: Camera, angles: Doubles) -> None:
        self._camera = camera
        self._still = not np.any(angles)
        margin = np.abs(angles).max(axis=0) if len(angles) else np.zeros(3)
        # Focal length times the tangent of a turn, and what a roll adds at the picture's edge.
        diagonal = np.hypot(camera.width, camera.height) / 2
        self._pads = [
            int(np.ceil(_reach(size / 2, camera.focal, turn) - size / 2 + diagonal * margin[2])) + 2
            for size, turn in ((camera.width, margin[0]), (camera.height, margin[1]))
        ]
        if self._still:
            self._pads = [0, 0]
        wide = replace(camera, width=camera.width + 2 * self._pads[0], height=camera.height + 2 * self._pads[1])
        self._picture = background.render(wide)

    def seen(self, camera: Camera) -> Floats:
        """Return the background as `camera` sees it: the first camera, turned. The picture is not to be changed."""
        if self._still:
            return self._picture
        turn = self._camera.rotation.astype(np.float64) @ camera.rotation.astype(np.float64).T
        size = (camera.width, camera.height)
        here = _intrinsics(camera.focal, camera.width / 2, camera.height / 2)
        there = _intrinsics(camera.focal, camera.width / 2 + self._pads[0], camera.height / 2 + self._pads[1])
        homography = there @ turn @ np.linalg.inv(here)
        warped = cv2.warpPerspective(
            self._picture, homography, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        return np.asarray(warped, np.float32)


def _reach(half: float, focal: float, turn: float) -> float:
    return float(focal * np.tan(min(np.arctan(half / focal) + turn, 1.45)))


def _intrinsics(focal: float, x: float, y: float) -> Doubles:
    return np.array([[focal, 0.0, x], [0.0, focal, y], [0.0, 0.0, 1.0]])


_Walls: TypeAlias = list[list[float]]


def _wall(
    axis: int, place: float, start: float, end: float, height: float, kind: int, colour: Any, seed: float,
    option: float = 0.0, bottom: float = 0.0,
) -> list[float]:  # fmt: skip
    """Return a wall as a row of numbers for the compiled loops, see `app.lab.walkers._place_loops`."""
    return [axis, place, start, end, bottom, bottom + height, kind, *colour, seed, option]


def _any_seed(rng: np.random.Generator) -> float:
    return float(rng.integers(1000))


_FRONTS = ((0.62, 0.72, 0.78), (0.42, 0.50, 0.66), (0.70, 0.74, 0.76), (0.34, 0.40, 0.58), (0.56, 0.66, 0.66),
           (0.66, 0.70, 0.62))  # fmt: skip
_GREENS = ((0.20, 0.46, 0.30), (0.18, 0.40, 0.34), (0.24, 0.48, 0.38))


def _outdoors(rng: np.random.Generator) -> tuple[Doubles, Light]:
    side = rng.choice([-1.0, 1.0])
    towards = np.array([rng.uniform(-0.6, 0.6), side * rng.uniform(0.35, 0.8), rng.uniform(0.8, 1.2)])
    towards /= np.linalg.norm(towards)
    sunny = rng.random() < 0.6
    blue = rng.uniform(0.0, 1.0)
    horizon = np.array([0.93, 0.90, 0.86]) if sunny else np.array([0.88, 0.88, 0.87])
    zenith = np.array([0.86 - 0.05 * blue, 0.66, 0.45]) if sunny else np.array([0.80, 0.78, 0.75])
    light = Light(
        (float(towards[0]), float(towards[1]), float(towards[2])),
        direct=0.62 if sunny else 0.38,
        ambient=0.50 if sunny else 0.62,
        shadow=0.50 if sunny else 0.26,
        softness=0.02 if sunny else 0.10,
    )
    return np.stack([horizon, zenith]), light


def _trees(rng: np.random.Generator, y: float, start: float, end: float, gap: float) -> _Walls:
    rows = []
    for x in np.arange(start, end, gap):
        x = float(x + rng.uniform(-0.25, 0.25) * gap)
        width, height = rng.uniform(3.6, 5.6), rng.uniform(3.8, 6.0)
        seed, green = _any_seed(rng), _GREENS[rng.integers(3)]
        rows.append(_wall(1, y, x - 0.13, x + 0.13, 3.0, _POST, (0.20, 0.26, 0.33), seed))
        rows.append(_wall(1, y - 0.02 * np.sign(y), x - width / 2, x + width / 2, height, _CROWN, green, seed, 0, 2.1))
    return rows


def _street(rng: np.random.Generator, room: float) -> tuple[_Walls, list[float]]:
    walls = []
    for y in (-8.5 * room, 8.5 * room):
        x = -70.0
        while x < 70.0:
            length = 2.6 * rng.integers(4, 8)
            front = _FRONTS[rng.integers(len(_FRONTS))]
            walls.append(_wall(
                1, y + rng.uniform(0, 0.3) * np.sign(y), x, x + length, 3.1 * rng.integers(2, 5) + 0.7, _FRONT, front,
                _any_seed(rng), float(rng.random() < 0.5),
            ))  # fmt: skip
            x += length
    for x in (-70.0, 70.0):
        walls.append(_wall(0, x, -30, 30, 14.0, _FRONT, _FRONTS[rng.integers(len(_FRONTS))], _any_seed(rng)))
    for y in (-6.6 * room, 6.6 * room):
        walls += _trees(rng, y, -42, 42, 12.0)
    return walls, [0, 0.60, 0.62, 0.63, 0.0, 99.0, 0.8, 0.0]


def _park(rng: np.random.Generator, room: float) -> tuple[_Walls, list[float]]:
    walls = []
    for y in (-11.0 * room, 11.0 * room):
        walls.append(_wall(1, y, -80, 80, 2.0, _HEDGE, _GREENS[rng.integers(3)], _any_seed(rng)))
        walls += _trees(rng, y * 0.86, -40, 40, 7.0)
        walls += _trees(rng, y * 1.7, -60, 60, 6.0)
    for x in (-45.0, 45.0):
        walls.append(_wall(0, x, -40, 40, 5.0, _HEDGE, _GREENS[rng.integers(3)], _any_seed(rng)))
    return walls, [1, 0.58, 0.66, 0.72, 0.0, 3.6 * room, 0.6, 0.0]


def _square(rng: np.random.Generator, room: float) -> tuple[_Walls, list[float]]:
    walls = []
    for axis in (0, 1):
        for place in (-22.0 * room, 22.0 * room):
            front = _FRONTS[rng.integers(len(_FRONTS))]
            walls.append(_wall(axis, place, -44, 44, 12.9, _FRONT, front, _any_seed(rng), float(rng.random() < 0.5)))
    for y in (-15.0 * room, 15.0 * room):
        walls.append(_wall(1, y, -30, 30, 1.0, _HEDGE, _GREENS[rng.integers(3)], _any_seed(rng)))
        walls += _trees(rng, y * 1.04, -28, 28, 8.0)
    return walls, [0, 0.56, 0.62, 0.66, 0.0, 99.0, 1.0, 0.0]


def _indoors(rng: np.random.Generator, place: Place, half: float, height: float) -> Background:
    tone = np.array([0.78, 0.80, 0.82]) * rng.uniform(0.9, 1.05) + rng.uniform(-0.05, 0.05, 3)
    walls = []
    glass = 1 if rng.random() < 0.5 else -1
    for sign in (-1, 1):
        kind = _GLASS if sign == glass and place == "hall" else _INDOORS
        walls.append(_wall(1, sign * half, -60, 60, height, kind, tone, _any_seed(rng)))
    for x in (-34.0, 34.0):
        walls.append(_wall(0, x, -half, half, height, _INDOORS, tone * 0.93, _any_seed(rng)))
    base = np.array([[0.62, 0.66, 0.70], [0.55, 0.57, 0.58], [0.50, 0.56, 0.64]])[rng.integers(3)]
    floor = np.array([2, *base, 0.0, 99.0, float(rng.choice([0.6, 0.9])), 0.28])
    light = Light((0.18, float(0.3 * glass), 0.94), direct=0.40, ambient=0.62, shadow=0.30, softness=0.09)
    return Background(place, np.array(walls, np.float64), floor, height, np.full((2, 3), 0.8), light)
