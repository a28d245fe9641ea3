"""Several people in one place before one camera: the pictures, and the truth about every one of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from app.files import written_whole
from app.lab.walkers.background import Backdrop, Background
from app.lab.walkers.camera import Camera, CameraMotion
from app.lab.walkers.person import Motion, Session
from app.lab.walkers.renderer import Light, Tile, bounds, coverage, draw, skin
from app.lab.walkers.skeleton import JOINTS
from app.types import Bools, Floats, Image

KEYPOINTS = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip
"""COCO's keypoints, in its order."""

_GRAIN_SHIFT = 97

_INSIDE = 0.13
"""A joint lies in the body, a keypoint on it: this much surface, m, in front of it does not hide it."""


@dataclass(frozen=True, eq=False)
class Actor:
    """Somebody in a scene: `identity` >= 1 is the person's number, the same in every scene of a set."""

    identity: int
    name: str
    session: Session
    motion: Motion


@dataclass(frozen=True, eq=False)
class Seen:
    """One person in one frame. Boxes are ``x1, y1, x2, y2`` px with exclusive ends.

    `full` is the box were nobody in front (cut at the picture's edge); `visible` the box of `mask`, the pixels
    (H, W) where at least half shows this person, or None when hidden; `order` 0 is the nearest; `keypoints`
    (17, 3): x, y px and 2 seen, 1 hidden, 0 outside; `cut` whether the picture's edge cuts the body.
    """

    actor: Actor
    mask: Bools
    visible: tuple[int, int, int, int] | None
    full: tuple[int, int, int, int]
    shown: float
    order: int
    depth: float
    keypoints: Floats
    keypoints_3d: Floats
    cut: bool


@dataclass(frozen=True, eq=False)
class Scene:
    """What is filmed. `exposures` pictures within `shutter` of a frame's time are averaged: motion blur."""

    camera: Camera
    background: Background
    actors: Sequence[Actor]
    fps: Fraction
    motion: CameraMotion = field(default_factory=CameraMotion)
    seed: int = 0
    exposures: int = 1
    shutter: float = 0.35
    noise: float = 0.006

    @property
    def frames(self) -> int:
        """Length of the clip."""
        return min(len(actor.motion) for actor in self.actors)

    @cached_property
    def angles(self) -> NDArray[np.float64]:
        """Yaw, tilt and roll of the camera in every frame, from its first place, (T, 3) radians."""
        rng = np.random.default_rng([self.seed, 0xCA3])
        return self.motion.angles(self.frames, float(self.fps), rng)

    @cached_property
    def _backdrop(self) -> Backdrop:
        return Backdrop(self.background, self.camera, self.angles)

    @cached_property
    def _grain(self) -> Floats:
        """The sensor's noise, larger than the picture: every frame takes another place of it."""
        size = (self.camera.height + _GRAIN_SHIFT, self.camera.width + _GRAIN_SHIFT, 3)
        grain = np.random.default_rng([self.seed, 0x9A]).standard_normal(size, np.float32)
        # Neighbouring pixels share some of it, as after a camera's demosaicing.
        return np.asarray(cv2.GaussianBlur(grain, (0, 0), 0.6) * np.float32(2 * self.noise), np.float32)

    def camera_at(self, frame: int) -> Camera:
        """Return the camera of `frame`."""
        yaw, tilt, roll = self.angles[frame]
        return self.camera.turned(float(yaw), float(tilt), float(roll)) if self.angles.any() else self.camera

    def render(self, frame: int) -> tuple[Image, list[Seen]]:
        """Return the picture of `frame`, BGR uint8 (H, W, 3), and everybody who is in it."""
        camera = self.camera_at(frame)
        place = self._backdrop.seen(camera)
        total = np.zeros_like(place)
        seen: list[Seen] = []
        for exposure in range(self.exposures):
            shift = self.shutter * (exposure / self.exposures - 0.5 * (self.exposures - 1) / self.exposures)
            picture = place.copy() if self.exposures > 1 else place
            layers = self._layers(frame, shift, camera)
            for tile, _, (_, vertices) in layers:
                _cast_shadow(picture, tile[0].motion.dressed.figure, vertices, camera, self.background.light)
            for (_, drawn), _, _ in layers:
                _lay(picture, drawn)
            if exposure == self.exposures // 2:
                seen = self._truth(frame, camera, layers)
            if self.exposures == 1:
                total = picture
            else:
                cv2.accumulateWeighted(picture, total, 1 / (exposure + 1))
        top, left = np.random.default_rng([self.seed, frame, 0x9A]).integers(0, _GRAIN_SHIFT, 2)
        total += self._grain[top : top + camera.height, left : left + camera.width]
        np.maximum(total, 0, out=total)
        return np.asarray(cv2.convertScaleAbs(total, alpha=255), np.uint8), seen

    def _layers(self, frame: int, shift: float, camera: Camera) -> list[Any]:
        """Everybody who is in the picture, far to near: ((actor, tile), depth, (frame, vertices))."""
        layers = []
        for actor in self.actors:
            transforms = actor.motion.transforms[frame]
            if shift:
                other = actor.motion.transforms[max(0, min(frame + (1 if shift > 0 else -1), self.frames - 1))]
                transforms = transforms + np.float32(abs(shift)) * (other - transforms)
            figure = actor.motion.dressed.figure
            root = camera.project(actor.motion.joints[frame, 0])
            if root[2] < 0.6:
                continue
            reach = 1.5 * actor.motion.dressed.shape.traits.stature * camera.focal / root[2]
            if not (-reach < root[0] < camera.width + reach and -reach < root[1] < camera.height + reach):
                continue
            vertices, normals = skin(figure, transforms)
            tile = draw(figure, vertices, normals, camera, self.background.light)
            if tile is not None:
                layers.append(((actor, tile), float(root[2]), (frame, vertices)))
        return sorted(layers, key=lambda layer: -layer[1])

    def _truth(self, frame: int, camera: Camera, layers: list[Any]) -> list[Seen]:
        free = np.ones((camera.height, camera.width), np.float32)
        taken = np.zeros(free.shape, bool)
        nearest = np.full((camera.height, camera.width), np.inf, np.float32)
        result = []
        for order, ((actor, tile), depth, _) in enumerate(reversed(layers)):
            rows, columns = _place(tile)
            share = np.zeros_like(free)
            share[rows, columns] = tile.coverage
            whole = share >= 0.5
            if not whole.any():
                continue
            mask = (share * free >= 0.5) & ~taken
            taken |= mask
            free *= 1 - share
            own = np.full_like(nearest, np.inf)
            own[rows, columns] = np.where(tile.coverage >= 0.5, tile.depth, np.inf)
            nearest = np.minimum(nearest, own)
            points = actor.motion.keypoints[frame]
            flat = camera.project(points)
            x, y = np.floor(flat[:, 0]).astype(int), np.floor(flat[:, 1]).astype(int)
            inside = (x >= 0) & (x < camera.width) & (y >= 0) & (y < camera.height) & (flat[:, 2] > 0.1)
            front = nearest[np.clip(y, 0, camera.height - 1), np.clip(x, 0, camera.width - 1)]
            state = np.where(~inside, 0, np.where(front > flat[:, 2] - _INSIDE, 2, 1))
            shown = float(mask.sum() / whole.sum())
            full = _box(whole)
            assert full is not None
            cut = full[0] == 0 or full[1] == 0 or full[2] == camera.width or full[3] == camera.height
            result.append(
                Seen(
                    actor,
                    mask,
                    _box(mask),
                    full,
                    shown,
                    order,
                    depth,
                    np.stack([flat[:, 0], flat[:, 1], state], 1),
                    points,
                    cut,
                )
            )
        return result

    def film(self) -> Iterator[tuple[int, Image, list[Seen]]]:
        """Yield every frame's number, picture and people."""
        for frame in range(self.frames):
            yield (frame, *self.render(frame))


def _place(tile: Tile) -> tuple[slice, slice]:
    height, width = tile.coverage.shape
    return slice(tile.top, tile.top + height), slice(tile.left, tile.left + width)


def _lay(picture: Floats, tile: Tile) -> None:
    region = picture[_place(tile)]
    region *= 1 - tile.coverage[..., None]
    region += tile.colour


def _box(mask: Bools) -> tuple[int, int, int, int] | None:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _cast_shadow(picture: Floats, figure: Any, vertices: Floats, camera: Camera, light: Light) -> None:
    """Darken the floor where the figure keeps the light away, and a little right under it."""
    towards = np.array(light.towards, np.float32)
    height, width = picture.shape[:2]
    ground = vertices - (vertices[:, 2:] / towards[2]) * towards
    contact = vertices * np.array([1, 1, 0], np.float32)
    near = float(camera.project(contact.mean(axis=0))[2])
    for points, dark, blur, only in (
        (ground, light.shadow, light.softness, 9.0),
        (contact, 0.40, 0.035, 0.25),
    ):
        # The soft dark right below the soles belongs to what is close to the floor.
        screen = camera.project(points)
        screen[:, 2] = np.where(vertices[:, 2] < only, screen[:, 2], -1.0)
        seen = screen[screen[:, 2] > 0.1]
        if not len(seen):
            continue
        sigma = max(0.6, blur * camera.focal / max(near, 0.5))
        pad = int(3 * sigma) + 2
        low, high = bounds(seen)
        left, top = np.maximum(low.astype(int) - pad, 0)
        right, bottom = np.minimum(high.astype(int) + pad, (width, height))
        if right <= left or bottom <= top:
            continue
        screen[:, 0] -= left
        screen[:, 1] -= top
        shade = coverage(figure, screen, int(right - left), int(bottom - top)).astype(np.float32) / 255
        # Feet shorten towards the horizon: the blur does too.
        soft = np.asarray(cv2.GaussianBlur(shade, (0, 0), sigmaX=sigma, sigmaY=max(0.5, sigma * 0.5)), np.float32)
        picture[top:bottom, left:right] *= 1 - np.float32(dark) * soft[..., None]


def write_clip(
    scene: Scene,
    video: Path,
    truth: Path,
    *,
    masks: Path | None = None,
    boxes: Path | None = None,
    poses: bool = True,
    progress: Callable[[int, int], None] | None = None,
    about: dict[str, Any] | None = None,
) -> None:
    """Film `scene` into `video` (MP4) and write what is known about it to `truth` (JSON, see `truth_of`).

    `boxes` is an optional text file in the MOT challenge's format (frame and identity from 1, left, top, width,
    height of the full box, 1, 1, share that is seen). `masks` is an optional ``.npz`` with a uint8 array
    (T, H, W) called ``masks`` of the identities, 0 for nobody.

    Raises:
        OutputError: a file cannot be written.
    """
    from app.video.writer import VideoWriter

    frames = []
    labels: list[NDArray[np.uint8]] = []
    rows: list[str] = []
    video.parent.mkdir(parents=True, exist_ok=True)
    with VideoWriter(video, scene.camera.width, scene.camera.height, scene.fps) as writer:
        for index, picture, people in scene.film():
            writer.write(picture, float(index / scene.fps))
            frames.append({"frame": index, "people": [_person(seen, index, poses) for seen in people],
                           "camera_turn": [round(float(a), 6) for a in scene.angles[index]]})  # fmt: skip
            for seen in people:
                x1, y1, x2, y2 = seen.full
                rows.append(f"{index + 1},{seen.actor.identity},{x1},{y1},{x2 - x1},{y2 - y1},1,1,{seen.shown:.2f}\n")
            if masks is not None:
                label = np.zeros(picture.shape[:2], np.uint8)
                for seen in people:
                    label[seen.mask] = seen.actor.identity
                labels.append(label)
            if progress is not None:
                progress(index + 1, scene.frames)
    content = {**(about or {}), **truth_of(scene), "frames": frames}
    with written_whole(truth) as temporary:
        temporary.write_text(json.dumps(content, separators=(",", ":")), encoding="utf-8")
    if boxes is not None:
        with written_whole(boxes) as temporary:
            temporary.write_text("".join(rows), encoding="utf-8")
    if masks is not None:
        with written_whole(masks) as temporary:
            np.savez_compressed(temporary, masks=np.stack(labels))


def truth_of(scene: Scene) -> dict[str, Any]:
    """Return what stays the same over the clip: camera, place, light, and everybody's body and gait."""
    camera = scene.camera
    return {
        "units": "px (boxes x1, y1, x2, y2 with exclusive ends), m, radians, s; world z up, floor z = 0",
        "width": camera.width,
        "height": camera.height,
        "fps": str(scene.fps),
        "camera": {**asdict(camera), "rotation": _rounded(camera.rotation, 6)},
        "place": scene.background.place,
        "light": asdict(scene.background.light),
        "keypoint_names": list(KEYPOINTS),
        "joint_names": list(JOINTS),
        "identities": [
            {
                "id": actor.identity,
                "name": actor.name,
                "seed": actor.session.person.seed,
                "condition": actor.session.condition,
                "bag": actor.motion.dressed.outfit.bag,
                "body": asdict(actor.session.body),
                "mass": round(actor.motion.dressed.shape.mass, 1),
                "gait": asdict(actor.session.gait),
                "rest_joints": _rounded(actor.motion.dressed.skeleton.rest, 4),
            }
            for actor in scene.actors
        ],
    }


def _person(seen: Seen, frame: int, poses: bool) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": seen.actor.identity,
        "box": seen.visible,
        "full_box": seen.full,
        "shown": round(seen.shown, 3),
        "cut": seen.cut,
        "order": seen.order,
        "depth": round(seen.depth, 3),
        "keypoints": [[round(float(x), 1), round(float(y), 1), int(v)] for x, y, v in seen.keypoints],
    }
    if poses:
        row["keypoints_3d"] = _rounded(seen.keypoints_3d, 3)
        row["root"] = _rounded(seen.actor.motion.poses.root[frame], 4)
        row["pose"] = _rounded(rotation_vectors(seen.actor.motion.poses.rotations[frame]), 4)
    return row


def rotation_vectors(rotations: Floats) -> Floats:
    """Return axis times angle, (J, 3) radians, of rotation matrices (J, 3, 3)."""
    return np.stack([cv2.Rodrigues(rotation.astype(np.float64))[0][:, 0] for rotation in rotations]).astype(np.float32)


def _rounded(values: NDArray[Any], digits: int) -> Any:
    return np.round(values.astype(np.float64), digits).tolist()
