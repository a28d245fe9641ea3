"""A clip factory: procedural people who walk through a procedural scene, with the truth about them.

Everything is drawn from a seed; there are no assets. The same `Walker` seed gives the same body and the same gait
in every clip, whatever the clothes. Lengths are metres and seconds; the camera looks along +z at eye height, x to
the right. Joint angles follow the normal curves of Winter, *The Biomechanics and Motor Control of Human Gait*
(1991), coarsely sampled.

    python -m tests.clips demo FOLDER     # gallery.mp4, probe1.mp4, probe2.mp4 with MOT truth
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import av
import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Points = NDArray[np.float64]
Colour = tuple[float, float, float]
View = Literal["side", "oblique", "front"]

# Degrees at every tenth of a stride, from heel strike; hip flexion, knee flexion, ankle dorsiflexion.
_HIP = np.array([22.0, 20, 14, 6, -3, -10, -8, 6, 18, 24])
_KNEE = np.array([5.0, 15, 17, 12, 6, 9, 32, 57, 46, 16])
_ANKLE = np.array([0.0, -5, 2, 6, 9, 6, -14, -8, 2, 2])
_SHIFT = 3  # fractional bits of the coordinates handed to OpenCV
_CIRCLE = np.stack(
    [np.cos(np.linspace(0, 2 * np.pi, 20, endpoint=False)), np.sin(np.linspace(0, 2 * np.pi, 20, endpoint=False))], 1
)

_SHIRTS: tuple[Colour, ...] = (
    (222, 222, 226), (110, 60, 36), (120, 122, 128), (60, 190, 226), (58, 62, 176), (96, 140, 66), (150, 96, 128),
)  # fmt: skip
_TROUSERS: tuple[Colour, ...] = ((86, 58, 42), (52, 50, 54), (96, 118, 138), (40, 44, 66), (112, 104, 98))
_SKINS: tuple[Colour, ...] = ((150, 184, 226), (118, 152, 204), (80, 112, 164), (54, 74, 110))
_SHOES: tuple[Colour, ...] = ((40, 40, 44), (200, 204, 208), (46, 62, 92))
_HAIR: tuple[Colour, ...] = ((30, 34, 44), (40, 62, 96), (84, 128, 168), (110, 110, 116))


def _curve(samples: NDArray[np.float64], phase: float) -> float:
    """Evaluate the Fourier series through ten samples of a periodic curve at `phase` in strides."""
    terms = np.fft.rfft(samples) / len(samples)
    orders = np.arange(1, 5)
    return float(terms[0].real + 2 * np.sum((terms[1:5] * np.exp(2j * np.pi * orders * phase)).real))


@dataclass(frozen=True)
class Walker:
    """A person: body and gait fixed by `seed`, clothes by `clothes` (the seed's own when None)."""

    seed: int
    clothes: int | None = None

    @cached_property
    def traits(self) -> dict[str, float]:
        """Stature in m, widths and angles as factors, strides/s, degrees."""
        rng = np.random.default_rng((7, self.seed))
        ranges = {
            "stature": (1.56, 1.92), "build": (0.82, 1.22), "legs": (0.97, 1.04), "shoulders": (0.9, 1.12),
            "hips": (0.9, 1.15), "cadence": (0.84, 1.06), "reach": (1.0, 1.3), "knee": (0.85, 1.12),
            "arms": (0.45, 1.5), "elbow": (8.0, 42.0), "lean": (-1.0, 7.0), "stance": (0.5, 1.5), "nod": (-4.0, 12.0),
            "phase": (0.0, 1.0),
        }  # fmt: skip
        return {name: float(rng.uniform(*span)) for name, span in ranges.items()}

    @cached_property
    def colours(self) -> dict[str, Colour]:
        """BGR of shirt, trousers, skin, hair and shoes."""
        own = np.random.default_rng((8, self.seed))
        worn = self.seed if self.clothes is None else self.clothes
        return {
            "skin": _SKINS[own.integers(len(_SKINS))],
            "hair": _HAIR[own.integers(len(_HAIR))],
            "shirt": _SHIRTS[worn % len(_SHIRTS)],
            "trousers": _TROUSERS[(worn + worn // len(_SHIRTS)) % len(_TROUSERS)],
            "shoes": _SHOES[worn % len(_SHOES)],
        }

    def _leg(self, phase: float) -> tuple[Points, float]:
        """Hip, knee, ankle, heel and toe of one leg as (forward, up) from the hip, and the foot's pitch in rad."""
        t = self.traits
        hip = math.radians(_curve(_HIP, phase) * t["reach"])
        knee = math.radians(max(0.0, _curve(_KNEE, phase) * t["knee"]))
        foot = hip - knee + math.radians(_curve(_ANKLE, phase))
        thigh, shank, length = (part * t["stature"] for part in (0.245 * t["legs"], 0.246 * t["legs"], 0.152))
        points = np.zeros((5, 2))
        points[1] = points[0] + thigh * np.array([math.sin(hip), -math.cos(hip)])
        points[2] = points[1] + shank * np.array([math.sin(hip - knee), -math.cos(hip - knee)])
        along, across = np.array([math.cos(foot), math.sin(foot)]), np.array([math.sin(foot), -math.cos(foot)])
        points[3] = points[2] + 0.022 * t["stature"] * across - 0.25 * length * along
        points[4] = points[2] + 0.026 * t["stature"] * across + 0.72 * length * along
        return points, foot

    @cached_property
    def speed(self) -> float:
        """Walking speed in m/s: what keeps the standing foot from sliding."""
        step = self._leg(0.0)[0][2, 0] - self._leg(0.5)[0][2, 0]
        return float(2 * step * self.traits["cadence"])

    def pose(self, phase: float) -> list[tuple[Points, NDArray[np.float64], str, float]]:
        """Return the body's parts at `phase` strides: points (n, 3) forward, left, up and radii in m, colour, shade."""
        t, s = self.traits, self.traits["stature"]
        thick = t["build"] * s
        legs = {side: self._leg(phase + offset)[0] for side, offset in ((1, 0.0), (-1, 0.5))}
        ground = min(float(leg[2:, 1].min()) for leg in legs.values()) - 0.016 * s
        twist = math.cos(2 * math.pi * phase)
        lean = math.radians(t["lean"])
        hip_width, shoulder_width = 0.052 * s * t["hips"], 0.105 * s * t["shoulders"]
        pelvis = np.array([0.0, 0.012 * s * math.sin(2 * math.pi * phase), -ground])
        up = np.array([math.sin(lean), 0.0, math.cos(lean)])
        chest = pelvis + 0.285 * s * up
        neck = pelvis + 0.33 * s * up
        head = neck + 0.085 * s * np.array([math.sin(lean + math.radians(t["nod"])), 0.0, 1.0])
        parts: list[tuple[Points, NDArray[np.float64], str, float]] = []

        def part(points: Sequence[Any], radii: Sequence[float], colour: str, shade: float = 1.0) -> None:
            parts.append((np.asarray(points, float), np.asarray(radii) * thick, colour, shade))

        for side, leg in legs.items():
            dark = 1.0 if side == 1 else 0.86
            inward = np.linspace(1.0, 0.75 * t["stance"], 3)
            y = [side * hip_width * 1.05 * inward[min(i, 2)] + pelvis[1] * (1 - i / 3) for i in range(3)]
            joints = [np.array([leg[i, 0], y[min(i, 2)], pelvis[2] + leg[i, 1]]) for i in range(5)]
            part([joints[3], joints[4]], [0.017, 0.014], "shoes", dark)
            part([joints[1], joints[2]], [0.036, 0.026], "trousers", dark)
            part([joints[0], joints[1]], [0.056, 0.038], "trousers", dark)
        for side in (1, -1):
            dark = 1.0 if side == 1 else 0.88
            swing = math.radians(-22 * t["arms"] * twist * side + 4)
            bend = math.radians(t["elbow"] + 10 * t["arms"] * (1 - twist * side) / 2)
            shoulder = chest + np.array([-0.02 * s * twist * side, side * shoulder_width, 0.0])
            elbow = shoulder + 0.172 * s * np.array([math.sin(swing), side * 0.16, -math.cos(swing)])
            wrist = elbow + 0.15 * s * np.array([math.sin(swing + bend), 0.0, -math.cos(swing + bend)])
            hand = wrist + 0.045 * s * np.array([math.sin(swing + bend), 0.0, -math.cos(swing + bend)])
            part([wrist, hand], [0.016, 0.016], "skin", dark)
            part([elbow, wrist], [0.023, 0.018], "shirt", dark)
            part([shoulder, elbow], [0.03, 0.024], "shirt", dark)
        sides = np.array([[0.0, 1.0, 0.0], [0.0, -1.0, 0.0]])
        part([*(pelvis + sides * hip_width * 0.7), pelvis + 0.06 * s * up], [0.058, 0.058, 0.06], "trousers")
        waist, ribs = pelvis + 0.06 * s * up, chest - 0.03 * s * up
        trunk = [*(waist + sides * hip_width * 0.6), *(ribs + sides * shoulder_width * 0.62)]
        part(trunk, [0.058, 0.058, 0.062, 0.062], "shirt")
        part([chest - 0.01 * s * up, *(chest + sides * shoulder_width * 0.75)], [0.056, 0.034, 0.034], "shirt")
        part([neck - 0.02 * s * up, head], [0.026, 0.026], "skin", 0.9)
        face, crown, nape = (s * np.array([x, 0.0, z]) for x, z in ((0.012, -0.012), (0.0, 0.018), (-0.026, 0.004)))
        skull = 1 / t["build"]  # heads do not grow with the waist
        part([head + face, head - face * [0.4, 0, 0]], [0.045 * skull, 0.047 * skull], "skin")
        part([head + crown, head + nape], [0.047 * skull, 0.04 * skull], "hair")
        return parts


@dataclass(frozen=True)
class Walk:
    """A walker who is at `start` (x, z in m) at the time `begin`; `heading` in degrees, 0 towards +x, 90 away."""

    walker: Walker
    start: tuple[float, float]
    heading: float
    begin: float = 0.0

    def position(self, time: float) -> tuple[float, float]:
        way = self.walker.speed * (time - self.begin)
        angle = math.radians(self.heading)
        return self.start[0] + way * math.cos(angle), self.start[1] + way * math.sin(angle)


@dataclass(frozen=True)
class Scene:
    """What is filmed, by a fixed camera: `width` x `height` px, `fps` frames/s, `seconds` long."""

    walks: tuple[Walk, ...]
    width: int = 640
    height: int = 360
    fps: Fraction = Fraction(25)
    seconds: float = 4.0
    seed: int = 0
    noise: float = 2.0
    """Standard deviation of the sensor noise, in grey levels."""

    eye: float = 1.6
    horizon: float = 0.36
    span: float = 3.1
    """Metres that fill the picture's height at 6 m."""

    @property
    def focal(self) -> float:
        """Focal length in px."""
        return self.height * 6.0 / self.span

    def edge(self, z: float) -> float:
        """Return the x at which the picture ends at depth `z`."""
        return self.width / 2 * z / self.focal

    @property
    def frame_count(self) -> int:
        return round(self.seconds * self.fps)


@dataclass(frozen=True, eq=False)
class FrameTruth:
    """Who is where in one frame.

    `ids` (N,) are 1-based places in `Scene.walks`; `boxes` float32 (N, 4) px around what of the body lies in the
    frame; `visible` (N,) the share of that nobody hides; `labels` uint8 (H, W) the id seen at each pixel, or 0.
    """

    ids: NDArray[np.int64]
    boxes: NDArray[np.float32]
    visible: NDArray[np.float32]
    labels: Image

    def mask(self, person: int) -> Image:
        """Return what is seen of `person`: 0 or 255, (H, W)."""
        return np.asarray((self.labels == person) * np.uint8(255), np.uint8)


@dataclass
class ClipTruth:
    """Who is where in a written clip: times in s, ids and boxes of each frame as in `FrameTruth`."""

    times: list[float] = field(default_factory=list)
    ids: list[NDArray[np.int64]] = field(default_factory=list)
    boxes: list[NDArray[np.float32]] = field(default_factory=list)
    visible: list[NDArray[np.float32]] = field(default_factory=list)

    def add(self, time: float, truth: FrameTruth) -> None:
        self.times.append(time)
        self.ids.append(truth.ids)
        self.boxes.append(truth.boxes)
        self.visible.append(truth.visible)

    def mot(self) -> str:
        """Return MOT challenge rows: frame from 1, id, left, top, width, height, 1, 1, visibility."""
        rows = []
        for index, (ids, boxes, visible) in enumerate(zip(self.ids, self.boxes, self.visible, strict=True), 1):
            for person, (x1, y1, x2, y2), share in zip(ids, boxes, visible, strict=True):
                rows.append(f"{index},{person},{x1:.1f},{y1:.1f},{x2 - x1:.1f},{y2 - y1:.1f},1,1,{share:.2f}")
        return "\n".join(rows) + "\n"


def crossing(
    walkers: Sequence[Walker], view: View = "side", *, gap: float = 1.2, first: float = -0.5, **scene: Any
) -> Scene:
    """Walkers who cross the picture one after another, every `gap` seconds, alternately from the left and the right.

    A gap of some four seconds keeps them apart; a smaller one makes them meet and hide one another.
    """
    empty = Scene((), **scene)
    walks = []
    for place, walker in enumerate(walkers):
        rightwards = place % 2 == 0
        depth = 5.6 + 0.55 * (place % 3)
        begin = first + gap * place
        if view == "front":
            walks.append(Walk(walker, ((place - (len(walkers) - 1) / 2) * 0.9, 11.0), -90.0, begin))
            continue
        turn = 0.0 if view == "side" else 32.0 * (1 if place % 4 < 2 else -1)
        reach = empty.edge(depth) + 0.5
        nearer = depth - reach * math.tan(math.radians(turn)) * 0.35
        start = (-reach if rightwards else reach, nearer)
        walks.append(Walk(walker, start, turn * 0.6 if rightwards else 180.0 - turn * 0.6, begin))
    return replace(empty, walks=tuple(walks))


def background(scene: Scene) -> Image:
    """Paint the static scenery: a plastered wall with windows, a paved ground."""
    rng = np.random.default_rng((3, scene.seed))
    h, w = scene.height, scene.width

    def cloud(cells: int, strength: float) -> NDArray[np.float32]:
        small = rng.normal(0, 1, (max(2, cells * h // w), cells)).astype(np.float32)
        return np.asarray(cv2.resize(small, (w, h), interpolation=cv2.INTER_CUBIC) * strength, np.float32)

    rows = np.arange(h, dtype=np.float32)[:, None]
    horizon, foot = scene.horizon * h, (scene.horizon + scene.eye / 12 * 6 / scene.span) * h
    wall_colour = np.array([196, 206, 212]) + rng.uniform(-14, 14, 3)
    ground_colour = np.array([186, 192, 196]) + rng.uniform(-10, 10, 3)
    image = np.where(rows[..., None] < foot, wall_colour * (0.86 + 0.14 * rows[..., None] / foot), ground_colour)
    image = np.broadcast_to(image, (h, w, 3)).astype(np.float32)
    image = np.ascontiguousarray(image)
    for left in np.arange(-scene.edge(12) - rng.uniform(0, 2), scene.edge(12), 3.1):
        corners = [(left, 1.0, 2.5), (left + 1.3, 1.0, 2.5)]
        x1, x2 = (int(w / 2 + scene.focal * x / 12) for x, _, _ in corners)
        y1, y2 = (int(horizon + scene.focal * (scene.eye - up) / 12) for up in (2.5, 1.0))
        cv2.rectangle(image, (x1 - 3, y1 - 3), (x2 + 3, y2 + 3), (196, 202, 204), -1)
        cv2.rectangle(image, (x1, y1), (x2, y2), (170, 166, 156), -1)
        cv2.line(image, ((x1 + x2) // 2, y1), ((x1 + x2) // 2, y2), (196, 202, 204), max(1, w // 320))
    below = rows[:, 0] >= foot
    z = scene.focal * scene.eye / np.maximum(rows[:, 0] - horizon, 1.0)
    x = (np.arange(w, dtype=np.float32)[None] - w / 2) * z[:, None] / scene.focal
    row = np.floor(z / 0.6)
    shades = rng.normal(0, 4.5, (64, 128)).astype(np.float32)
    column = np.floor((x + 0.3 * (row[:, None] % 2)) / 0.6)
    slabs = shades[row.astype(int)[:, None] % 64, column.astype(int) % 128]
    joint = ((x + 0.3 * (row[:, None] % 2)) / 0.6) % 1 < 0.025
    joint |= (z[:, None] / 0.6) % 1 < 0.04
    image[below] += (slabs - 14 * joint)[below][..., None]
    image[int(foot) - max(1, h // 90) : int(foot)] *= 0.72  # the wall's foot
    grain = cloud(w // 3, 2.5) + cloud(24, 4.0) + cloud(6, 4.0)
    image += grain[..., None]
    return np.asarray(np.clip(cv2.GaussianBlur(image, (0, 0), 0.6), 0, 255), np.uint8)


def render(scene: Scene, times: Sequence[float] | None = None) -> Iterator[tuple[Image, FrameTruth]]:
    """Yield each picture, uint8 (H, W, 3) BGR, with its truth; `times` in s replaces the constant frame rate."""
    still = background(scene)
    rng = np.random.default_rng((4, scene.seed))
    h, w = scene.height, scene.width
    spread = max(scene.noise, 0.0)
    pool = np.clip(rng.normal(128, spread, (h + 64, w + 64, 3)) + 0.5, 0, 255).astype(np.uint8)
    for time in times if times is not None else [i / float(scene.fps) for i in range(scene.frame_count)]:
        image = still.copy()
        truth = _draw_people(scene, time, image)
        if spread:
            dx, dy = rng.integers(0, 64, 2)
            light = 1 + 0.006 * math.sin(1.7 * time) + rng.normal(0, 0.0015)
            cv2.addWeighted(image, light, pool[dy : dy + h, dx : dx + w], 1.0, -128.0, dst=image)
        yield image, truth


def _draw_people(scene: Scene, time: float, image: Image) -> FrameTruth:
    h, w = scene.height, scene.width
    labels = np.zeros((h, w), np.uint8)
    placed = [(walk.position(time), person, walk) for person, walk in enumerate(scene.walks, 1)]
    found: list[tuple[int, tuple[float, ...], int]] = []
    for (x, z), person, walk in sorted(placed, key=lambda entry: -entry[0][1]):
        if z < 1.2 or z > 30 or abs(x) > scene.edge(z) + 1.5:
            continue
        polygons = _project(scene, walk, time, x, z)
        every = np.concatenate([outline for outline, _ in polygons])
        x1, y1 = every.min(axis=0)
        x2, y2 = every.max(axis=0)
        if x2 <= 1 or y2 <= 1 or x1 >= w - 1 or y1 >= h - 1:
            continue
        left, top, right, bottom = max(0, int(x1)), max(0, int(y1)), min(w, int(x2) + 2), min(h, int(y2) + 2)
        _shadow(image, (x1 + x2) / 2, float(y2), float(y2 - y1))
        mask = np.zeros((bottom - top, right - left), np.uint8)
        view = image[top:bottom, left:right]
        for outline, colour in polygons:
            points = np.round((outline - (left, top)) * (1 << _SHIFT)).astype(np.int32)
            cv2.fillConvexPoly(view, points, colour, cv2.LINE_AA, _SHIFT)
            cv2.fillConvexPoly(mask, points, (255,), cv2.LINE_8, _SHIFT)
        labels[top:bottom, left:right][mask > 0] = person
        x, y, wide, tall = cv2.boundingRect(mask)
        if wide:
            box = (float(left + x), float(top + y), float(left + x + wide), float(top + y + tall))
            found.append((person, box, int(np.count_nonzero(mask))))
    found.sort()
    areas = np.bincount(labels.ravel(), minlength=len(scene.walks) + 1)
    return FrameTruth(
        np.array([person for person, _, _ in found], np.int64),
        np.array([box for _, box, _ in found], np.float32).reshape(-1, 4),
        np.array([areas[person] / max(1, total) for person, _, total in found], np.float32),
        labels,
    )


def _project(scene: Scene, walk: Walk, time: float, x: float, z: float) -> list[tuple[Points, Colour]]:
    """Return the outline and colour of each body part, in painting order."""
    walker = walk.walker
    parts = walker.pose(walker.traits["cadence"] * time + walker.traits["phase"])
    angle = math.radians(walk.heading)
    forward, left = np.array([math.cos(angle), math.sin(angle)]), np.array([-math.sin(angle), math.cos(angle)])
    shapes = []
    for points, radii, colour, shade in parts:
        ground = np.array([x, z]) + points[:, :1] * forward + points[:, 1:2] * left
        scale = scene.focal / ground[:, 1]
        centre = np.stack(
            [scene.width / 2 + ground[:, 0] * scale, scene.horizon * scene.height + (scene.eye - points[:, 2]) * scale],
            1,
        )
        rings = (centre[:, None] + (radii * scale)[:, None, None] * _CIRCLE).reshape(-1, 2)
        outline = cv2.convexHull(rings.astype(np.float32)).reshape(-1, 2).astype(np.float64)
        b, g, r = (channel * shade for channel in walker.colours[colour])
        shapes.append((float(ground[:, 1].mean()), outline, (b, g, r), centre, radii * scale))
    shapes.sort(key=lambda shape: -shape[0])
    painted: list[tuple[Points, Colour]] = []
    for _, outline, (b, g, r), centre, radius in shapes:
        painted.append((outline, (b * 0.84, g * 0.84, r * 0.84)))
        lit = (
            centre[:, None] + (-0.18, -0.1) * radius[:, None, None] + 0.72 * radius[:, None, None] * _CIRCLE
        ).reshape(-1, 2)
        inner = cv2.convexHull(lit.astype(np.float32)).reshape(-1, 2).astype(np.float64)
        painted.append((inner, (b, g, r)))
    return painted


def _shadow(image: Image, x: float, y: float, tall: float) -> None:
    """Darken the ground under the feet, softly."""
    h, w = image.shape[:2]
    rx, ry = max(2.0, 0.2 * tall), max(1.0, 0.028 * tall)
    x1, x2 = max(0, int(x - rx)), min(w, int(x + rx) + 1)
    y1, y2 = max(0, int(y - 1.6 * ry)), min(h, int(y + ry) + 1)
    if x2 <= x1 or y2 <= y1:
        return
    dx = (np.arange(x1, x2) - x) / rx
    dy = (np.arange(y1, y2) - (y - 0.3 * ry)) / (1.3 * ry)
    dark = 1 - 0.35 * np.clip(1 - dx[None] ** 2 - dy[:, None] ** 2, 0, 1)
    patch = image[y1:y2, x1:x2]
    patch[:] = (patch * dark[..., None]).astype(np.uint8)


_TURNED = {0: None, 90: cv2.ROTATE_90_COUNTERCLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_CLOCKWISE}


def write_clip(
    path: Path,
    scene: Scene,
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    rotation: Literal[0, 90, 180, 270] = 0,
    variable: bool = False,
    sound: bool = False,
    index_first: bool = False,
    options: dict[str, str] | None = None,
) -> ClipTruth:
    """Render `scene` into the container that the suffix of `path` names.

    Args:
        path: the file to write.
        scene: what is filmed.
        codec: an encoder of FFmpeg, such as ``mpeg4``, ``mjpeg``, ``ffv1`` or ``libvpx-vp9``.
        pix_fmt: FFmpeg's name of the pixel format.
        rotation: degrees clockwise that a player must turn the stored pictures, written as phones do (MP4 only).
        variable: whether the time between two pictures varies, from half to one and a half times the usual.
        sound: whether a silent audio stream is added.
        index_first: whether an MP4 begins with its index, so that a truncated copy can still be read.
        options: for the encoder.

    Returns:
        The truth, in the upright picture, and the presentation times.
    """
    times = [i / float(scene.fps) for i in range(scene.frame_count)]
    if variable:
        steps = np.random.default_rng((5, scene.seed)).uniform(0.5, 1.5, scene.frame_count) / float(scene.fps)
        times = [0.0, *np.cumsum(steps)[:-1].tolist()]
    turn = _TURNED[rotation]
    size = (scene.width, scene.height) if rotation % 180 == 0 else (scene.height, scene.width)
    truth = ClipTruth()
    # AVI counts frames and MPEG-4 part 2 cannot count finer than 1/65535 s.
    base = Fraction(1, 60_000) if variable else 1 / scene.fps
    with av.open(str(path), "w", options={"movflags": "+faststart"} if index_first else {}) as container:
        if options is None and codec == "libx264":  # with its default preset no two files are the same
            options = {"preset": "superfast"}
        stream: Any = container.add_stream(codec, rate=scene.fps, options=options or {})
        stream.width, stream.height = size
        stream.pix_fmt = pix_fmt
        stream.codec_context.time_base = base
        hush: Any = container.add_stream("aac", rate=16_000, layout="mono") if sound else None
        for time, (image, people) in zip(times, render(scene, times), strict=True):
            truth.add(time, people)
            stored = image if turn is None else np.asarray(cv2.rotate(image, turn), np.uint8)
            # A picture is so small that handing it to other threads takes longer than the work.
            picture = av.VideoFrame.from_ndarray(stored, format="bgr24").reformat(format=pix_fmt, threads=1)
            picture.pts, picture.time_base = round(time / base), base
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
        if sound:
            _mux_silence(container, hush, scene.seconds)
    if rotation:
        _set_rotation(path, rotation)
    return truth


def write_sound(path: Path, seconds: float = 1.0) -> None:
    """Write a file that holds only (silent) sound."""
    with av.open(str(path), "w") as container:
        _mux_silence(container, container.add_stream("aac", rate=16_000, layout="mono"), seconds)


def truncated_copy(source: Path, target: Path, share: float) -> None:
    """Copy the first `share` (0..1) of the bytes of `source`."""
    content = source.read_bytes()
    target.write_bytes(content[: round(share * len(content))])


def damaged_copy(source: Path, target: Path, start: float, length: float, seed: int = 0) -> None:
    """Copy `source` with noise in place of the bytes from `start` on, for `length`, both as shares of its size."""
    content = bytearray(source.read_bytes())
    first, count = round(start * len(content)), round(length * len(content))
    content[first : first + count] = np.random.default_rng(seed).bytes(count)
    target.write_bytes(content)


def _mux_silence(container: Any, stream: Any, seconds: float) -> None:
    for start in range(0, round(seconds * 16_000), 1024):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate, frame.pts = 16_000, start
        container.mux(stream.encode(frame))
    container.mux(stream.encode())


def _set_rotation(path: Path, rotation: int) -> None:
    """Write the display matrix into the track header of an MP4 (ISO/IEC 14496-12, 8.3.2), version 0."""
    content = bytearray(path.read_bytes())
    start = content.index(b"tkhd") + 4
    assert content[start] == 0, "a version 0 track header"
    cosine, sine = {90: (0, 1), 180: (-1, 0), 270: (0, -1)}[rotation]
    matrix = [cosine << 16, sine << 16, 0, -sine << 16, cosine << 16, 0, 0, 0, 1 << 30]
    content[start + 40 : start + 76] = b"".join(value.to_bytes(4, "big", signed=True) for value in matrix)
    path.write_bytes(content)


def write_demo(folder: Path) -> None:
    """Write a drawn gallery and two probes: four people, seen again in other clothes, and a stranger in the last."""
    size: dict[str, Any] = {"width": 854, "height": 480, "fps": Fraction(25), "noise": 1.2}
    people = (11, 23, 31, 48)
    scenes = {
        "gallery": crossing([Walker(s) for s in people], gap=2.1, first=-1.2, seconds=10.0, seed=1, **size),
        "probe1": crossing(
            [Walker(s, clothes=100 + s) for s in (31, 11, 48, 23)], gap=1.9, first=-1.2, seconds=9.0, seed=2, **size
        ),
        "probe2": crossing(
            [Walker(s, clothes=200 + s) for s in (23, 60, 48, 11)], gap=1.9, first=-1.2, seconds=9.0, seed=3, **size
        ),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, scene in scenes.items():
        truth = write_clip(folder / f"{name}.mp4", scene, index_first=True, options={"crf": "26"})
        (folder / f"{name}.gt.txt").write_text(truth.mot(), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write procedural clips of walking people.")
    parser.add_argument("what", choices=["demo"])
    parser.add_argument("folder", type=Path)
    write_demo(parser.parse_args().folder)
