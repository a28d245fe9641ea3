"""How well the body of a walk is found in space: ``python -m tests.benchmarks.body FOLDER``.

Virtual walkers whom no training has seen are filmed in colour (`PEOPLE` people, a walk in plain clothes, one with a
bag and one in a coat each, from two views each), and the embedded pose network looks at them. FOLDER keeps what was
filmed; a run that was stopped goes on. It needs the extra `walkers` when it films.

Errors are of the pelvis-aligned 17 joints in the camera's axes, in mm of a person of 1.70 m: MPJPE as they are, PA-
MPJPE after the best turn, shift and size of each frame. The orientation is that of the pelvis against the camera,
joints are how far SMPL's joints but the pelvis are turned wrongly against their parents (of `app.body.smpl`, those
that turn), limbs are upper and lower arms and legs, and slip is how fast the slowest point of both soles moves.
Cadence and step length are in % of the true ones: median, and the middle half of the walks. "Mean pose" is the mean
of all walkers, put where the true pelvis is and turned as it is. In brackets stand 95 % bootstrap intervals over
people.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.spatial.transform import Rotation

from app.body import load_body_estimator
from app.body.kinematics import poses_of, soles_of
from app.body.mannequin import COCO, STATURE, Mannequin, bone_lengths
from app.body.measures import Gait
from app.body.observed import view_of
from app.body.skeleton import JOINT
from app.body.smpl import rotation_vectors
from app.files import written_whole
from app.pose import load_pose_estimator
from app.stages import BodyEstimator
from app.types import BodyMotion, Floats, Frame, GaitSequence

PEOPLE, FRAMES, FPS = 6, 36, 12.5
VIEWS = (0, 45, 90, 135, 180, 270)
SEED = 9_001


@dataclass(frozen=True, eq=False)
class Filmed:
    """One walk from one camera, T frames.

    `estimated` and `exact` (T, 17, 3) are keypoints in px; `points` (T, 26, 3) m in the world of a person of 1.70 m
    (see `app.body.mannequin`), `turns` (T, 3, 3) the pelvis's rotation in the world, `heading` (T,) radians, `eye` (3,)
    the camera's place in such metres, `bones` (20,) m. `rotations` (T, 21, 3, 3) are of the joints against their
    parents, and `rest` (21, 3) m are the joints at rest.
    """

    person: int
    condition: str
    view: int
    estimated: Floats
    exact: Floats
    points: Floats
    turns: Floats
    heading: Floats
    eye: Floats
    bones: Floats
    rotations: Floats
    rest: Floats

    @property
    def camera(self) -> Floats:
        """From the world to the axes of a camera that looks at the pelvis, (T, 3, 3)."""
        way = self.eye - self.points[:, 0]
        return view_of(np.arctan2(way[:, 1], way[:, 0]), np.arctan2(way[:, 2], np.hypot(way[:, 0], way[:, 1])))

    @property
    def joints(self) -> Floats:
        """The 17 joints from the pelvis in the camera's axes, (T, 17, 3) m."""
        return np.asarray((self.points[:, COCO] - self.points[:, :1]) @ self.camera.transpose(0, 2, 1), np.float32)

    def walk(self, exact: bool) -> GaitSequence:
        """Return the walk as pass 1 leaves it, with the keypoints that were estimated or are `exact`."""
        keypoints = self.exact if exact else self.estimated
        silhouettes = np.zeros((len(keypoints), 64, 64), np.uint8)
        return GaitSequence(np.arange(len(keypoints)), silhouettes, FPS, keypoints)


def filmed(folder: Path) -> list[Filmed]:
    """Return the walks in `folder`, filming those that are missing."""
    walks = []
    for person in range(PEOPLE):
        path = folder / f"{person:02d}.npz"
        if not path.is_file():
            rows = list(_film(person))
            arrays = {f"{number}/{name}": value for number, row in enumerate(rows) for name, value in vars(row).items()}
            with written_whole(path) as temporary, temporary.open("wb") as file:
                np.savez_compressed(file, **arrays)
        with np.load(path, allow_pickle=False) as file:
            for number in sorted({int(name.split("/")[0]) for name in file.files}):
                own = {name: file[f"{number}/{name}"] for name in Filmed.__dataclass_fields__}
                plain = {"person": int(own["person"]), "condition": str(own["condition"]), "view": int(own["view"])}
                walks.append(Filmed(**(own | plain)))
    return walks


def _film(person: int) -> Iterator[Filmed]:
    from app.lab.walkers.background import Background
    from app.lab.walkers.body import CACHE
    from app.lab.walkers.choices import PLACES
    from app.lab.walkers.dataset import Plan, walks_of
    from app.lab.walkers.jobs import body_model
    from app.lab.walkers.scene import Actor, Scene

    pose = load_pose_estimator()
    plan = Plan(
        subjects=PEOPLE, seed=SEED, conditions=(("nm", 1), ("bg", 1), ("cl", 1)), views=VIEWS, frames=FRAMES, fps=FPS
    )
    for number, walk in enumerate(walks_of(plan, person, body_model(CACHE))):
        rng = np.random.default_rng([person, number, 0xF11])
        points = np.concatenate([walk.motion.joints, walk.motion.keypoints[:, :5]], 1)
        scale = STATURE / walk.motion.dressed.shape.traits.stature
        turns = walk.motion.poses.rotations[:, 0]
        forward = points[-1, 0] - points[0, 0]
        heading = np.full(FRAMES, np.arctan2(forward[1], forward[0]), np.float32)
        for view in VIEWS[(number + person) % 3 :: 3]:
            small = walk.cameras[view]
            zoom = float(rng.uniform(1.2, 2.0))
            camera = replace(small, focal=small.focal * zoom, width=640, height=480)
            place = Background.sample(rng, PLACES[int(rng.integers(len(PLACES)))], 1.6)
            actor = Actor(1, "walker", None, walk.motion)  # type: ignore[arg-type]
            scene = Scene(camera, place, [actor], Fraction(25, 2), int(rng.integers(1 << 30)))
            estimated, exact = [], []
            for index in range(FRAMES):
                picture, seen = scene.render(index)
                box = np.array([seen[0].full], np.float32)
                wrong = rng.normal(0, 0.02 * (box[0, 3] - box[0, 1]), (1, 4)).astype(np.float32)
                estimated.append(pose.estimate([Frame(index, index / FPS, picture)], [box + wrong])[0][0])
                flat = camera.project(walk.motion.keypoints[index])
                exact.append(np.concatenate([flat[:, :2], np.ones((17, 1))], 1))
            yield Filmed(
                person, walk.condition, view, np.stack(estimated), np.stack(exact).astype(np.float32),
                (scale * points).astype(np.float32), turns, heading, scale * np.array(camera.position, np.float32),
                scale * bone_lengths(walk.motion.dressed.skeleton.rest), walk.motion.poses.rotations,
                walk.motion.dressed.skeleton.rest,
            )  # fmt: skip


@dataclass(frozen=True)
class Errors:
    """Means over the frames of one walk: mm, mm, degrees, degrees, %, % of the height, m/s, and cadence and step length
    in % of the true ones."""

    mpjpe: float
    pa: float
    orientation: float
    joints: float
    limbs: float
    reprojection: float
    slip: float
    cadence: float
    step: float


_LIMBS = [i - 1 for name, i in JOINT.items() if name[:-2] in ("knee", "ankle", "elbow", "wrist")]


def errors_of(walk: Filmed, motion: BodyMotion) -> Errors:
    """Compare a body with the truth."""
    joints = (motion.joints - motion.root[:, None]) @ motion.view.transpose(0, 2, 1)
    poses = poses_of(motion)
    turn = (motion.view @ poses.rotations[:, 0]).transpose(0, 2, 1) @ (walk.camera @ walk.turns)
    angle = np.degrees(np.arccos(np.clip((np.trace(turn, axis1=1, axis2=2) - 1) / 2, -1, 1)))
    rest = Mannequin.load().rest(motion.shape)
    bones = bone_lengths(rest.skeleton.rest)
    seen = motion.camera[:, None, 1:] + motion.camera[:, :1, None] * joints[..., :2]
    away = np.linalg.norm(seen - walk.exact[..., :2], axis=-1).mean() / (1.7 * motion.camera[:, 0].mean())
    own = np.linalg.norm(np.diff(soles_of(rest, poses), axis=0), axis=-1).min(axis=1) * FPS
    return Errors(
        1000 * float(np.linalg.norm(joints - walk.joints, axis=-1).mean()), procrustes(joints, walk.joints),
        float(angle.mean()), _joints_turned(walk, poses.rotations, rest.skeleton.rest),
        100 * float(np.abs(bones / walk.bones - 1)[_LIMBS].mean()), 100 * float(away),
        float(own.mean()), *_of_truth(walk, motion),
    )  # fmt: skip


def _joints_turned(walk: Filmed, rotations: Floats, rest: Floats) -> float:
    """Return by how many degrees SMPL's joints are turned wrongly."""
    still = Rotation.identity(len(rotations))
    found, true = (
        rotation_vectors(turns, bones, still)[:, 1:]
        for turns, bones in ((rotations, rest), (walk.rotations, walk.rest))
    )
    moving = np.abs(true).max(axis=(0, 2)) > 0
    one, other = (Rotation.from_rotvec(vectors[:, moving].reshape(-1, 3)) for vectors in (found, true))
    return float(np.degrees((one.inv() * other).magnitude()).mean())


def _of_truth(walk: Filmed, motion: BodyMotion) -> tuple[float, float]:
    """Return cadence and step length in % of those that are measured on the true joints; nan where there are none."""
    local = (walk.points[:, :21] - walk.points[:, :1]) @ turned(walk.heading)
    true = Gait.of_joints(local.astype(np.float32), np.arange(len(local)) / FPS)
    found, wanted = ({one.name: one.value for one in gait.measures()} for gait in (Gait.of(motion), true))
    nan = float("nan")
    cadence, step = (100 * found.get(name, nan) / wanted.get(name, nan) for name in ("cadence", "step length"))
    return cadence, step


def procrustes(joints: Floats, truth: Floats) -> float:
    """Return the mean error in mm after the best turn, shift and size of each frame (Gower 1975)."""
    a, b = joints - joints.mean(1, keepdims=True), truth - truth.mean(1, keepdims=True)
    left, strengths, right = np.linalg.svd(np.einsum("tki,tkj->tij", b, a))
    sign = np.ones_like(strengths)
    sign[:, 2] = np.linalg.det(left @ right)
    turn = (left * sign[:, None]) @ right
    size = (strengths * sign).sum(1) / np.square(a).sum((1, 2))
    return 1000 * float(np.linalg.norm(size[:, None, None] * (a @ turn.transpose(0, 2, 1)) - b, axis=-1).mean())


def mean_pose(walks: Sequence[Filmed]) -> list[tuple[float, float]]:
    """Return MPJPE and PA-MPJPE in mm of the mean of all walkers, turned as the truth."""
    own = [((walk.points[:, COCO] - walk.points[:, :1]) @ turned(walk.heading)).astype(np.float32) for walk in walks]
    mean = np.concatenate(own).mean(axis=0)
    return [
        (
            1000 * float(np.linalg.norm(joints - mean, axis=-1).mean()),
            procrustes(np.broadcast_to(mean, joints.shape), joints),
        )
        for joints in own
    ]


def turned(heading: Floats) -> Floats:
    """Return the rotations (T, 3, 3) that take row vectors of the world into the walking frame."""
    cos, sin, zero, one = np.cos(heading), np.sin(heading), np.zeros_like(heading), np.ones_like(heading)
    return np.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], -1).reshape(-1, 3, 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--checkpoint", type=Path, help="a lifting network; default: the embedded one")
    parser.add_argument("--without-time", type=Path, help="a lifting network that sees every frame by itself")
    arguments = parser.parse_args()
    walks = filmed(arguments.folder)
    estimators: dict[str, BodyEstimator] = {
        name: load_body_estimator(arguments.checkpoint, name) for name in ("lift", "fit")
    }
    if arguments.without_time is not None:
        estimators["lift without time"] = load_body_estimator(arguments.without_time, "lift")
    console, rng = Console(width=190), np.random.default_rng(0)
    figures = (
        "MPJPE",
        "PA-MPJPE",
        "Orientation",
        "Joints",
        "Limbs %",
        "Reproj. %",
        "Slip m/s",
        "Cadence %",
        "Step %",
        "ms",
    )
    table = Table("Body", "Keypoints", *figures)
    views = Table("Body", "Keypoints", "Error", *map(str, VIEWS))
    mean = np.array(mean_pose(walks))
    table.add_row("mean pose, true turn", "", f"{mean[:, 0].mean():.0f}", f"{mean[:, 1].mean():.0f}")
    for name, estimator in estimators.items():
        for exact in (True, False):
            start = time.perf_counter()
            motions = estimator.fit([walk.walk(exact) for walk in walks])
            pace = 1000 * (time.perf_counter() - start) / sum(map(len, motions))
            found = [errors_of(walk, motion) for walk, motion in zip(walks, motions, strict=True)]
            kind = "exact" if exact else "estimated"
            cells = [_shown(found, walks, key, rng) for key in ("mpjpe", "pa", "orientation", "joints")]
            more = [f"{np.mean([getattr(e, key) for e in found]):.2f}" for key in ("limbs", "reprojection", "slip")]
            for key in ("cadence", "step"):  # median, and the middle half
                low, middle, high = np.nanpercentile([getattr(e, key) for e in found], (25, 50, 75))
                more.append(f"{middle:.0f} ({low:.0f} to {high:.0f})")
            table.add_row(name, kind, *cells, *more, f"{pace:.1f}")
            for key in ("mpjpe", "pa", "orientation", "step"):
                by_view = [
                    [getattr(e, key) for e, walk in zip(found, walks, strict=True) if walk.view == v] for v in VIEWS
                ]
                views.add_row(name, kind, key, *(f"{np.nanmean(values):.1f}" for values in by_view))
    console.print(table)
    console.print(views)


def _shown(found: Sequence[Errors], walks: Sequence[Filmed], key: str, rng: np.random.Generator) -> str:
    by_person = np.array(
        [
            np.mean([getattr(e, key) for e, walk in zip(found, walks, strict=True) if walk.person == person])
            for person in range(PEOPLE)
        ]
    )
    draws = by_person[rng.integers(PEOPLE, size=(2000, PEOPLE))].mean(axis=1)
    low, high = np.percentile(draws, (2.5, 97.5))
    return f"{by_person.mean():.1f} [{low:.1f}, {high:.1f}]"


if __name__ == "__main__":
    main()
