"""Virtual walkers in space and what a pose network would see of them, for training the body's network.

Nothing is drawn: a walker's joints are known, any camera sees them, and the errors of a pose network are added as they
were measured on rendered walkers (`tests/benchmarks/body.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from app.body.mannequin import COCO, RATE, SHAPES, STATURE, Mannequin, Rest, posed
from app.body.measures import Gait
from app.body.observed import features, view_of
from app.body.skeleton import JOINT, JOINTS, SIDES, Poses, Skeleton
from app.errors import SettingsError
from app.files import written_whole
from app.lab.walkers.choices import Burden, Hands
from app.lab.walkers.gait import Carrying, GaitTraits
from app.lab.walkers.motion import walk
from app.lab.walkers.path import Path as Route
from app.progress import Progress, Silent
from app.types import MIRRORED_KEYPOINTS, Doubles, Floats, Ints

SECONDS = 10.0
GLIMPSE = 2.4
"""Seconds of each walk of `Acquaintances`."""
_CHANGE = 1.2
"""How much people differ from day to day; 1 is as from walk to walk of one day."""
_BURDENS: tuple[Burden, ...] = ("handbag", "backpack", "shoulder bag", "briefcase", "carrier", "carriers")
_HANDS: tuple[Hands, ...] = ("phone", "calling", "pocket", "pockets")
_SIDES = {name: name[:-1] + ("r" if name.endswith("_l") else "l") for name in JOINTS if name[-2:] in ("_l", "_r")}
MIRRORED = np.array([*(JOINT[_SIDES.get(name, name)] for name in JOINTS), *(len(JOINTS) + i for i in (0, 2, 1, 4, 3))])
"""Where each of the 26 points is found in a mirror image."""
_COCO_MIRRORED = np.array(MIRRORED_KEYPOINTS)


@dataclass(frozen=True, eq=False)
class Motions:
    """N walks of T frames, `RATE` a second, in metres of a person of 1.70 m.

    `points` float32 (N, T, 26, 3) lie in the walking frame, from the pelvis; `root` (N, T, 3) is the pelvis in the
    world, and `heading` (N, T) radians the direction of walking there.
    """

    points: Floats
    root: Floats
    heading: Floats

    @classmethod
    def made(cls, path: Path, count: int, seed: int, progress: Progress | None = None) -> Motions:
        """Return the walks kept in `path`, making them first where the file is missing.

        Raises:
            SettingsError: the file was made for another number of walks.
            OutputError: the file cannot be written.
        """
        if not path.is_file():
            with (progress or Silent()).stage("Walks", count) as advance:
                rows = []
                for number in range(count):
                    rows.append(_motion(np.random.default_rng([seed, number, 0xB0D1])))
                    advance(1)
            arrays = [np.stack(array) for array in zip(*rows, strict=True)]
            with written_whole(path) as temporary, temporary.open("wb") as file:
                np.savez(file, points=arrays[0], root=arrays[1], heading=arrays[2])
        return cls(*_made(path, (count,)))


def write_band(path: Path, motions: Motions) -> None:
    """Write the usual angles over the gait cycle: see `app.body.measures.usual_cycle`.

    Raises:
        OutputError: the file cannot be written.
    """
    times = np.arange(motions.points.shape[1]) / RATE
    walks = [Gait.of_joints(points[:, : len(JOINTS)], times).cycles() for points in motions.points]
    means = np.stack([cycles.mean(axis=0) for cycles in walks if len(cycles)])
    with written_whole(path) as temporary, temporary.open("wb") as file:
        np.save(file, np.stack([means.mean(axis=0), means.std(axis=0)], -1).astype(np.float16))


@dataclass(frozen=True, eq=False)
class Acquaintances:
    """People who walk several times each, `RATE` frames a second, in metres of a person of 1.70 m: see `Motions`.

    `points` float16 (people, walks, T, 26, 3), `root` float32 (people, walks, T, 3), `heading` (people, walks, T).
    """

    points: NDArray[np.float16]
    root: Floats
    heading: Floats

    def __len__(self) -> int:
        return len(self.points)

    @property
    def walks(self) -> int:
        """Walks of each person."""
        return int(self.points.shape[1])

    def motion(self, people: Ints, walks: Ints) -> tuple[Floats, Floats, Floats]:
        """Return points (N, T, 26, 3), root and heading of such walks (N,) of such people (N,)."""
        return self.points[people, walks].astype(np.float32), self.root[people, walks], self.heading[people, walks]

    @classmethod
    def made(cls, path: Path, people: int, walks: int, seed: int, progress: Progress | None = None) -> Acquaintances:
        """Return the people kept in `path`, making them first where the file is missing.

        Raises:
            SettingsError: the file was made for another number of people or walks.
            OutputError: the file cannot be written.
        """
        if not path.is_file():
            rows = []
            with (progress or Silent()).stage("People", people) as advance:
                for number in range(people):
                    rng = np.random.default_rng([seed, number, 0xACC1])
                    somebody = _Somebody.drawn(rng, recorded=1.0)
                    rows += [_encounter(somebody, rng) for _ in range(walks)]
                    advance(1)
            points, root, heading = (
                np.stack(array).reshape(people, walks, *array[0].shape) for array in zip(*rows, strict=True)
            )
            with written_whole(path) as temporary, temporary.open("wb") as file:
                np.savez(file, points=points.astype(np.float16), root=root, heading=heading)
        return cls(*_made(path, (people, walks)))


def _made(path: Path, sizes: tuple[int, ...]) -> tuple[Any, Any, Any]:
    """Return points, root and heading of a file that was made for such numbers of people and walks."""
    try:
        with np.load(path, allow_pickle=False) as file:
            points, root, heading = file["points"], file["root"], file["heading"]
    except (OSError, EOFError, ValueError, KeyError, BadZipFile) as error:
        raise SettingsError(f"{path} is damaged. Remove it, and it is made again.") from error
    if points.shape[: len(sizes)] != sizes:
        found, wanted = (" x ".join(map(str, shape)) for shape in (points.shape[: len(sizes)], sizes))
        raise SettingsError(
            f"{path} holds {found} walks, and the settings ask for {wanted}. Give another folder as out, or remove it."
        )
    return points, root, heading


@dataclass(frozen=True)
class _Somebody:
    """A body and a gait; a share `recorded` of people walks as the recordings say, the others as the textbook."""

    shape: Floats
    stature: float
    gait: GaitTraits
    seed: int

    @classmethod
    def drawn(cls, rng: np.random.Generator, recorded: float = 0.85) -> _Somebody:
        shape = np.clip(rng.standard_normal(SHAPES), -2.5, 2.5).astype(np.float32)
        female, age = bool(rng.random() < 0.5), float(18 + 62 * rng.beta(1.2, 1.8))
        stature = float(np.clip(rng.normal(1.62 if female else 1.76, 0.07), 1.45, 2.0))
        seed = int(rng.integers(1 << 31))
        gait = GaitTraits.sample(seed, age, female)
        if rng.random() < recorded:
            gait = gait.recorded(seed, age, female, stature)
        return cls(shape, stature, gait, seed)

    def walk(
        self,
        gait: GaitTraits,
        carrying: Carrying | None,
        speed: Doubles,
        route: Route,
        seed: int,
        rng: np.random.Generator,
    ) -> tuple[Floats, Floats, Floats]:
        """Return points from the pelvis in the walking frame, the pelvis, and the heading."""
        rest = Mannequin.load().rest(self.shape)
        scale = self.stature / STATURE
        skeleton = Skeleton(rest.skeleton.rest * np.float32(scale), rest.skeleton.sole * np.float32(scale))
        moved = walk(
            skeleton, gait, route, np.clip(speed, 0, 2), fps=RATE, carrying=carrying, phase=float(rng.random()),
            seed=seed,
        )  # fmt: skip
        poses = Poses((moved.poses.root / scale).astype(np.float32), moved.poses.rotations)
        return in_walking_frame(rest, poses, moved.heading)


def _motion(rng: np.random.Generator) -> tuple[Floats, Floats, Floats]:
    """Let somebody walk; return points from the pelvis in the walking frame, the pelvis, and the heading."""
    somebody = _Somebody.drawn(rng)
    gait = _bent(somebody.gait, 0.16, rng)
    carrying = _carrying(rng)
    frames = round(SECONDS * RATE)
    speed = np.full(frames, min(gait.speed * float(rng.uniform(0.75, 1.2)), 2.0))
    if rng.random() < 0.2:  # slower and faster on the way
        speed *= np.clip(1 + 0.5 * gaussian_filter1d(rng.normal(0, 1, frames), 12) * np.sqrt(12), 0.3, 1.2)
    return somebody.walk(gait, carrying, speed, _route(rng), somebody.seed, rng)


def _encounter(somebody: _Somebody, rng: np.random.Generator) -> tuple[Floats, Floats, Floats]:
    """Let somebody walk straight on for a short while, on one day of many."""
    gait = _bent(somebody.gait.in_session(int(rng.integers(1 << 31)), _CHANGE), 0.06, rng)
    carrying = _carrying(rng)
    speed = np.full(round(GLIMPSE * RATE), float(np.clip(gait.speed * rng.uniform(0.9, 1.1), 0.5, 2.0)))
    route = Route.line((0.0, 0.0), float(rng.uniform(-np.pi, np.pi)), 20.0)
    return somebody.walk(gait, carrying, speed, route, int(rng.integers(1 << 31)), rng)


def _bent(gait: GaitTraits, share: float, rng: np.random.Generator) -> GaitTraits:
    """Return the gait; a `share` of people stoops or limps."""
    kind = rng.random()
    if kind < share / 2:
        return gait.stooped(float(rng.uniform(0.3, 1)))
    if kind < share:
        return gait.limping("l" if rng.random() < 0.5 else "r", float(rng.uniform(0.3, 1)))
    return gait


def _carrying(rng: np.random.Generator) -> Carrying | None:
    if rng.random() >= 0.35:
        return None
    return Carrying(
        None if rng.random() < 0.3 else cast(Burden, str(rng.choice(_BURDENS))),
        SIDES[int(rng.integers(2))],
        cast(Hands, str(rng.choice(_HANDS))) if rng.random() < 0.4 else None,
        SIDES[int(rng.integers(2))],
    )


def in_walking_frame(rest: Rest, poses: Poses, heading: Doubles) -> tuple[Floats, Floats, Floats]:
    """Return the 26 points from the pelvis in the walking frame (T, 26, 3), the pelvis (T, 3), the heading (T,)."""
    points = posed(rest, poses)
    cos, sin, zero, one = np.cos(heading), np.sin(heading), np.zeros_like(heading), np.ones_like(heading)
    back = np.stack([cos, sin, zero, -sin, cos, zero, zero, zero, one], -1).reshape(-1, 3, 3)
    local = (points - points[:, :1]) @ back.transpose(0, 2, 1)
    return local.astype(np.float32), points[:, 0], heading.astype(np.float32)


def _route(rng: np.random.Generator) -> Route:
    if rng.random() < 0.7:
        return Route.line((0.0, 0.0), float(rng.uniform(-np.pi, np.pi)), 20.0)
    turns = np.cumsum(rng.normal(0, 0.7, 5)) + rng.uniform(-np.pi, np.pi)
    steps = rng.uniform(2.0, 5.0, 5)[:, None] * np.stack([np.cos(turns), np.sin(turns)], -1)
    corners = np.concatenate([np.zeros((1, 2)), np.cumsum(steps, 0)])
    return Route.through([(float(x), float(y)) for x, y in corners], radius=float(rng.uniform(0.6, 2.0)))


class BodyBatches:
    """Batches of walks: ``batches[step]`` depends on nothing but the seed and the step.

    A batch has ``features`` float32 (N, T, 56) as in `app.body.observed.features`, ``points`` (N, T, 26, 3) m from the
    pelvis in the walking frame, ``azimuth`` and ``elevation`` (N, T) radians as in `app.body.observed.view_of`.
    """

    def __init__(self, motions: Motions, batch: int, frames: int, seed: int, context: bool = True) -> None:
        self._motions, self._batch, self._frames, self._seed = motions, batch, frames, seed
        self._context = context

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng([self._seed, step, 0xBA7C])
        points, azimuth, elevation, keypoints = self.clips(rng)
        moving = rng.random(self._batch) < (0.75 if self._context else 0.0)
        arrays: dict[str, Any] = {
            "features": features(keypoints, moving), "points": points, "azimuth": azimuth, "elevation": elevation
        }  # fmt: skip
        return {name: torch.from_numpy(np.asarray(array, np.float32)) for name, array in arrays.items()}

    def clips(self, rng: np.random.Generator) -> tuple[Floats, Floats, Floats, Floats]:
        """Return points, azimuth, elevation and the keypoints (N, T, 17, 3) that a pose network might find."""
        motions, count, frames = self._motions, self._batch, self._frames
        which = rng.integers(len(motions.points), size=count)
        start = rng.integers(motions.points.shape[1] - frames + 1, size=count)
        rows = which[:, None], start[:, None] + np.arange(frames)
        points, root, heading = motions.points[rows], motions.root[rows], motions.heading[rows]
        flat, azimuth, elevation = filmed(points, root, heading, rng)
        mirrored = rng.random(count) < 0.5
        points[mirrored] = points[mirrored][:, :, MIRRORED] * np.array([1, -1, 1], np.float32)
        flat[mirrored] = flat[mirrored][:, :, _COCO_MIRRORED] * np.array([-1, 1], np.float32)
        azimuth[mirrored] *= -1
        scores = np.ones((*flat.shape[:-1], 1), np.float32)
        keypoints = np.concatenate([flat, scores], -1).astype(np.float32)
        return points, azimuth, elevation, spoilt(keypoints, azimuth, rng)


def filmed(points: Floats, root: Floats, heading: Floats, rng: np.random.Generator) -> tuple[Floats, Floats, Floats]:
    """Return what a camera at a random place sees: keypoints (N, T, 17, 2) px, azimuth and elevation (N, T)."""
    count, frames = heading.shape
    middle = root[:, frames // 2]
    around = rng.uniform(-np.pi, np.pi, count)
    distance = np.exp(rng.uniform(np.log(3.0), np.log(18.0), count))
    # Never so near that the walker comes upon the camera.
    distance = np.maximum(distance, 1.8 + np.linalg.norm(root - middle[:, None], axis=-1).max(axis=1))
    height = 0.7 + 5.5 * rng.random(count) ** 2.2
    eye = np.stack([middle[:, 0] + distance * np.cos(around), middle[:, 1] + distance * np.sin(around), height], -1)
    way = eye[:, None] - root
    direction = np.arctan2(way[..., 1], way[..., 0])
    elevation = np.arctan2(way[..., 2], np.hypot(way[..., 0], way[..., 1]))
    azimuth = (direction - heading + np.pi) % (2 * np.pi) - np.pi
    # The camera looks about at the middle of the walk, and is not quite level.
    half = frames // 2
    aim_at = direction[:, half] + np.radians(rng.normal(0, 6, count))
    camera = view_of(aim_at, elevation[:, half] + np.radians(rng.normal(0, 4, count)))
    roll = np.radians(rng.normal(0, 1.2, count))
    cos, sin, zero, one = np.cos(roll), np.sin(roll), np.zeros(count), np.ones(count)
    camera = np.stack([cos, sin, zero, -sin, cos, zero, zero, zero, one], -1).reshape(-1, 3, 3) @ camera
    cos, sin = np.cos(heading), np.sin(heading)
    turn = np.stack([cos, -sin, np.zeros_like(cos), sin, cos, np.zeros_like(cos)], -1).reshape(count, frames, 2, 3)
    world = points[:, :, COCO].copy()
    world[..., :2] = points[:, :, COCO] @ turn.transpose(0, 1, 3, 2)
    local = (world + root[:, :, None] - eye[:, None, None]) @ camera[:, None].transpose(0, 1, 3, 2)
    return 1000 * local[..., :2] / np.maximum(local[..., 2:], 0.3), azimuth, elevation


_BIAS = np.array([7, 7, 7, 8, 8, 9, 10, 11, 12, 9, 12, 10, 10, 8, 8, 8, 8], np.float32) / 1000
_JITTER = np.array([5, 5, 5, 5, 6, 9, 10, 12, 12, 14, 15, 10, 10, 13, 13, 14, 14], np.float32) / 1000
"""Errors of each keypoint along one axis, constant and from frame to frame, in heights of the body."""
_ARMS, _LEGS = np.arange(7, 11), np.arange(13, 17)
_TAKEN = ((np.arange(13, 15), 0.38), (np.arange(15, 17), 0.42), (np.arange(9, 11), 0.2), (np.arange(7, 9), 0.07))
"""How often knees, ankles, wrists and elbows are taken for those of the other side, seen from the side."""


def spoilt(keypoints: Floats, azimuth: Floats, rng: np.random.Generator) -> Floats:
    """Return keypoints (N, T, 17, 3) with the errors of a pose network.

    Every walk has a quality of its own. There is a constant error of each keypoint (where a network sees a hip is a
    matter of taste), one that changes slowly and one that does not; limbs that are hidden for a while; limbs that are
    taken for those of the other side, often one of both alone, and bodies whose sides are swapped; and frames without
    keypoints. Scores fall with the errors.
    """
    count, frames = azimuth.shape
    walks = (count, 1, 1)
    height = (np.ptp(keypoints[..., 1], axis=-1).mean(axis=1) * 1.1)[:, None, None]
    quality = np.exp(rng.normal(0.1, 0.45, walks))
    hidden = _spells(rng, 0.02, 6, (count, frames, 17))
    hidden |= _spells(rng, 0.03, 8, (count, frames, 1)) & (rng.random((count, 1, 17)) < 0.5)
    jitter = quality * _JITTER + 0.05 * hidden
    slow = gaussian_filter1d(rng.normal(0, 1, (count, frames, 17, 2)), 1.2, axis=1) * 2.05
    error = (0.7 * slow + 0.7 * rng.normal(0, 1, slow.shape)) * jitter[..., None]
    error += rng.normal(0, 1, (count, 1, 17, 2)) * _BIAS[:, None]
    result = keypoints.copy()
    result[..., :2] += (error * height[..., None]).astype(np.float32)
    aside = np.sin(azimuth[:, :1, None]) ** 2 * np.minimum(rng.gamma(4.0, 0.25, walks), 1.6)
    behind = 0.02 + 0.1 * (np.cos(azimuth[:, :1, None]) < -0.2) * (rng.random(walks) < 0.4)
    wrong = np.zeros((count, frames, 17), bool)
    for which, share in _TAKEN:
        # Left and right each for themselves: both keypoints are often put on the same leg.
        wrong[..., which] = _spells(rng, share * aside, 3, (count, frames, len(which)))
    wrong ^= _spells(rng, behind, 6, (count, frames, 1))
    result = np.where(wrong[..., None], result[:, :, _COCO_MIRRORED], result)
    far = np.linalg.norm(error, axis=-1) + 0.01 * wrong
    score = 0.87 - 4 * far + rng.normal(0, 0.09, far.shape) - 0.05 * (quality - 1)
    score[..., _ARMS] -= 0.1 * aside
    score[..., _LEGS] -= 0.22 * aside
    score *= np.where(hidden, rng.uniform(0.3, 1.0, hidden.shape), 1.0)
    result[..., 2] = np.clip(score, 0.02, 1.0) * ~_spells(rng, 0.01, 4, (count, frames, 1))
    return result.astype(np.float32)


def _spells(rng: np.random.Generator, share: Any, length: int, shape: tuple[int, int, int]) -> Any:
    """Return booleans (N, T, K): spells of about `length` frames that cover about a `share` of the time."""
    starts = rng.random(shape) < share / length
    reach = rng.integers(1, 2 * length, shape) * starts
    left = np.zeros((shape[0], shape[2]), np.int64)
    spells = np.zeros(shape, bool)
    for frame in range(shape[1]):
        left = np.maximum(left - 1, reach[:, frame])
        spells[:, frame] = left > 0
    return spells
