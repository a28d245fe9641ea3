"""Several people in one place before one camera: the pictures, and the truth about every one of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from app.body.skeleton import JOINTS
from app.files import write_text, written_whole
from app.lab.walkers.background import Backdrop, Background
from app.lab.walkers.camera import Camera, shaken
from app.lab.walkers.person import Motion, Session
from app.lab.walkers.renderer import SKIN_DEPTH, Figure, Light, Tile, bounds, coverage, draw, skin
from app.progress import Progress, Silent
from app.types import Bools, Floats, Image

KEYPOINTS = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip
"""COCO's keypoints, in its order."""

Box: TypeAlias = tuple[int, int, int, int]
"""``x1, y1, x2, y2`` px with exclusive ends."""

_SHUTTER = 0.35
"""Share of a frame's time within which the exposures lie that are averaged into motion blur."""
_NOISE = 0.006
"""Strength of the sensor's noise, of 1."""
_GRAIN_SHIFT = 97
"""By how many px at most the sensor's noise moves between frames."""


@dataclass(frozen=True, eq=False)
class Actor:
    """Somebody in a scene: `identity` >= 1 is the person's number, the same in every scene of a set."""

    identity: int
    name: str
    session: Session
    motion: Motion


@dataclass(frozen=True, eq=False)
class Seen:
    """One person in one frame.

    `full` is the box if nobody were in front (cut at the picture's edge); `visible` the box of `mask`, the pixels
    (H, W) where at least half shows this person, or None when the person is hidden; `shown` the visible share;
    `order` 0 is the nearest; `depth` m; `keypoints` (17, 3): x, y px and 2 seen, 1 hidden, 0 outside the picture;
    `keypoints_3d` (17, 3) m in the world; `cut` says whether the picture's edge cuts the body.
    """

    actor: Actor
    mask: Bools
    visible: Box | None
    full: Box
    shown: float
    order: int
    depth: float
    keypoints: Floats
    keypoints_3d: Floats
    cut: bool


@dataclass(frozen=True, eq=False)
class _Layer:
    """Somebody who is in the picture, drawn; `vertices` (N, 3) m in the world."""

    actor: Actor
    tile: Tile
    depth: float
    vertices: Floats


@dataclass(frozen=True, eq=False)
class Scene:
    """What is filmed. `exposures` pictures are averaged into each frame; `shake` of the camera in degrees."""

    camera: Camera
    background: Background
    actors: Sequence[Actor]
    fps: Fraction
    seed: int = 0
    exposures: int = 1
    shake: float = 0.0

    @property
    def frames(self) -> int:
        """Length of the clip."""
        return min(len(actor.motion) for actor in self.actors)

    @cached_property
    def angles(self) -> NDArray[np.float64]:
        """Yaw, tilt and roll of the camera in every frame, from its first place, (T, 3) radians."""
        return shaken(self.shake, self.frames, float(self.fps), np.random.default_rng([self.seed, 0xCA3]))

    @cached_property
    def _backdrop(self) -> Backdrop:
        return Backdrop(self.background, self.camera, self.angles)

    @cached_property
    def _grain(self) -> Floats:
        """The sensor's noise, larger than the picture: every frame takes another place of it."""
        size = (self.camera.height + _GRAIN_SHIFT, self.camera.width + _GRAIN_SHIFT, 3)
        grain = np.random.default_rng([self.seed, 0x9A]).standard_normal(size, np.float32)
        # Neighbouring pixels share some of it, as after a camera's demosaicing.
        return np.asarray(cv2.GaussianBlur(grain, (0, 0), 0.6) * np.float32(2 * _NOISE), np.float32)

    def camera_at(self, frame: int) -> Camera:
        """Return the camera of `frame`."""
        yaw, tilt, roll = self.angles[frame].tolist()
        return self.camera.turned(yaw, tilt, roll)

    def render(self, frame: int) -> tuple[Image, list[Seen]]:
        """Return the picture of `frame`, BGR uint8 (H, W, 3), and everybody who is in it."""
        camera = self.camera_at(frame)
        place = self._backdrop.seen(camera)
        mean, seen = place, list[Seen]()
        for exposure in range(self.exposures):
            picture = place.copy()
            layers = self._layers(frame, _SHUTTER * (exposure - 0.5 * (self.exposures - 1)) / self.exposures, camera)
            for layer in layers:
                _cast_shadow(picture, layer.actor.motion.dressed.figure, layer.vertices, camera, self.background.light)
            for layer in layers:
                layer.tile.lay_over(picture)
            if exposure == self.exposures // 2:
                seen = _truth(frame, camera, layers)
            if exposure == 0:
                mean = picture
            else:
                cv2.accumulateWeighted(picture, mean, 1 / (exposure + 1))
        top, left = np.random.default_rng([self.seed, frame, 0x9A]).integers(0, _GRAIN_SHIFT, 2)
        mean += self._grain[top : top + camera.height, left : left + camera.width]
        np.maximum(mean, 0, out=mean)
        return np.asarray(cv2.convertScaleAbs(mean, alpha=255), np.uint8), seen

    def _layers(self, frame: int, shift: float, camera: Camera) -> list[_Layer]:
        """Draw everybody who is in the picture, far to near, `shift` frames after `frame`."""
        layers = []
        for actor in self.actors:
            motion, figure = actor.motion, actor.motion.dressed.figure
            root = camera.project(motion.joints[frame, 0])
            if root[2] < 0.6:
                continue
            reach = 1.5 * motion.dressed.shape.traits.stature * camera.focal / root[2]
            if not (-reach < root[0] < camera.width + reach and -reach < root[1] < camera.height + reach):
                continue
            transforms = motion.transforms[frame]
            if shift:
                other = motion.transforms[max(0, min(frame + (1 if shift > 0 else -1), self.frames - 1))]
                transforms = transforms + np.float32(abs(shift)) * (other - transforms)
            vertices, normals = skin(figure, transforms)
            tile = draw(figure, vertices, normals, camera, self.background.light)
            if tile is not None:
                layers.append(_Layer(actor, tile, float(root[2]), vertices))
        return sorted(layers, key=lambda layer: -layer.depth)


def _truth(frame: int, camera: Camera, layers: Sequence[_Layer]) -> list[Seen]:
    """Say where everybody is in the picture, from near to far."""
    size = (camera.height, camera.width)
    free, taken, nearest = np.ones(size, np.float32), np.zeros(size, bool), np.full(size, np.inf, np.float32)
    people = []
    for order, layer in enumerate(reversed(layers)):
        tile, region = layer.tile, layer.tile.region
        share = np.zeros_like(free)
        share[region] = tile.coverage
        whole = share >= 0.5
        full = _box(whole)
        if full is None:
            continue
        mask = (share * free >= 0.5) & ~taken
        taken |= mask
        free *= 1 - share
        nearest[region] = np.minimum(nearest[region], np.where(tile.coverage >= 0.5, tile.depth, np.inf))
        points = layer.actor.motion.keypoints[frame]
        cut = full[0] == 0 or full[1] == 0 or full[2] == camera.width or full[3] == camera.height
        people.append(
            Seen(
                layer.actor, mask, _box(mask), full, float(mask.sum() / whole.sum()), order, layer.depth,
                _projected_keypoints(points, camera, nearest), points, cut,
            )
        )  # fmt: skip
    return people


def _projected_keypoints(points: Floats, camera: Camera, nearest: Floats) -> Floats:
    """Return x, y px and 2 seen, 1 hidden, 0 outside of keypoints (17, 3), `nearest` (H, W) being what is in front."""
    flat = camera.project(points)
    x, y = np.floor(flat[:, :2]).astype(int).T
    inside = (x >= 0) & (x < camera.width) & (y >= 0) & (y < camera.height) & (flat[:, 2] > 0.1)
    front = nearest[np.clip(y, 0, camera.height - 1), np.clip(x, 0, camera.width - 1)]
    state = np.where(~inside, 0, np.where(front > flat[:, 2] - SKIN_DEPTH, 2, 1))
    return np.stack([flat[:, 0], flat[:, 1], state], 1)


def _box(mask: Bools) -> Box | None:
    left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return (left, top, left + width, top + height) if width else None


def _cast_shadow(picture: Floats, figure: Figure, vertices: Floats, camera: Camera, light: Light) -> None:
    """Darken the floor where the figure keeps the light away, and a little right under the soles."""
    towards = np.array(light.towards, np.float32)
    cast = vertices - (vertices[:, 2:] / towards[2]) * towards
    beneath = vertices * np.array([1, 1, 0], np.float32)
    depth = max(float(camera.project(beneath.mean(axis=0))[2]), 0.5)
    _darken(picture, figure, camera.project(cast), light.shadow, light.softness * camera.focal / depth)
    screen = camera.project(beneath)
    # The soft dark right below the soles belongs to what is close to the floor.
    screen[:, 2] = np.where(vertices[:, 2] < 0.25, screen[:, 2], -1.0)
    _darken(picture, figure, screen, 0.40, 0.035 * camera.focal / depth)


def _darken(picture: Floats, figure: Figure, screen: Floats, dark: float, blur: float) -> None:
    """Darken the projected figure (N, 3), with an edge of `blur` px, by the share `dark`."""
    height, width = picture.shape[:2]
    in_front = screen[screen[:, 2] > 0.1]
    if not len(in_front):
        return
    sigma = max(0.6, blur)
    pad = int(3 * sigma) + 2
    low, high = bounds(in_front)
    left, top = np.maximum(low.astype(int) - pad, 0)
    right, bottom = np.minimum(high.astype(int) + pad, (width, height))
    if right <= left or bottom <= top:
        return
    moved = screen - np.array([left, top, 0], np.float32)
    shade = coverage(figure, moved, int(right - left), int(bottom - top)).astype(np.float32) / 255
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
    progress: Progress | None = None,
) -> None:
    """Film `scene` into `video` (MP4) and write what is known about it to `truth` (JSON, see `truth_of`).

    `boxes` is an optional text file in the MOT challenge's format (frame and identity from 1, left, top, width,
    height of the full box, 1, 1, share that is seen). `masks` is an optional ``.npz`` with a uint8 array
    (T, H, W) called ``masks`` of the identities, 0 for nobody. With `poses` the truth holds the 3D poses.

    Raises:
        OutputError: a file cannot be written.
    """
    from app.video.writer import VideoWriter

    frames = []
    labels: list[NDArray[np.uint8]] = []
    rows: list[str] = []
    video.parent.mkdir(parents=True, exist_ok=True)
    stage = (progress or Silent()).stage("Filming", scene.frames)
    with stage as advance, VideoWriter(video, scene.camera.width, scene.camera.height, scene.fps) as writer:
        for index in range(scene.frames):
            picture, people = scene.render(index)
            writer.write(picture, float(index / scene.fps))
            turn = _rounded(scene.angles[index], 6)
            persons = [_person(person, index, poses) for person in people]
            frames.append({"frame": index, "people": persons, "camera_turn": turn})
            rows += [_mot_row(person, index) for person in people]
            if masks is not None:
                labels.append(np.zeros(picture.shape[:2], np.uint8))
                for person in people:
                    labels[-1][person.mask] = person.actor.identity
            advance(1)
    write_text(truth, json.dumps({**truth_of(scene), "frames": frames}, separators=(",", ":")))
    if boxes is not None:
        write_text(boxes, "".join(rows))
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
                "hands": actor.motion.dressed.outfit.hands,
                "motion": 1 if actor.session.gait.manner is None else 2,
                "body": asdict(actor.session.body),
                "mass": round(actor.motion.dressed.shape.mass, 1),
                "gait": asdict(actor.session.gait),
                "rest_joints": _rounded(actor.motion.dressed.skeleton.rest, 4),
            }
            for actor in scene.actors
        ],
    }


def _person(person: Seen, frame: int, poses: bool) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": person.actor.identity,
        "box": person.visible,
        "full_box": person.full,
        "shown": round(person.shown, 3),
        "cut": person.cut,
        "order": person.order,
        "depth": round(person.depth, 3),
        "keypoints": [[round(float(x), 1), round(float(y), 1), int(v)] for x, y, v in person.keypoints],
    }
    if poses:
        motion = person.actor.motion.poses
        row["keypoints_3d"] = _rounded(person.keypoints_3d, 3)
        row["root"] = _rounded(motion.root[frame], 4)
        row["pose"] = _rounded(Rotation.from_matrix(motion.rotations[frame]).as_rotvec(), 4)
    return row


def _mot_row(person: Seen, frame: int) -> str:
    x1, y1, x2, y2 = person.full
    return f"{frame + 1},{person.actor.identity},{x1},{y1},{x2 - x1},{y2 - y1},1,1,{person.shown:.2f}\n"


def _rounded(values: NDArray[Any], digits: int) -> Any:
    return np.round(values.astype(np.float64), digits).tolist()
