"""For tests of the virtual walkers: an average body, and measures of a walk (angles, stride, foot slip, floor)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from app.body.mannequin import COCO, SHAPES, Mannequin, posed
from app.body.observed import view_of
from app.body.skeleton import JOINT, JOINTS, PARENTS, SIDES, Poses, Side, Skeleton, forward_kinematics
from app.lab.walkers.gait import GaitTraits
from app.lab.walkers.motion import WalkingMotion, walk
from app.lab.walkers.motion.easing import smooth
from app.lab.walkers.path import Path
from app.types import Floats, GaitSequence

Doubles = NDArray[np.float64]


def average_skeleton(stature: float = 1.70) -> Skeleton:
    """An average adult of `stature` m, arms 40 degrees out: segment lengths after Drillis & Contini (1966).

    Approximate, from general knowledge of the figure as Winter prints it, not checked. The places of the spine,
    toe and sole points are approximate.
    """
    arm = np.array([0.0, np.sin(np.radians(40)), -np.cos(np.radians(40))])
    shoulder = np.array([0.0, 0.110, 0.818])
    left = {
        "hip": (0.0, 0.050, 0.530),
        "knee": (0.0, 0.050, 0.285),
        "ankle": (-0.006, 0.050, 0.039),
        "toe": (0.078, 0.054, 0.012),
        "clavicle": (0.0, 0.015, 0.812),
        "shoulder": shoulder,
        "elbow": shoulder + 0.186 * arm,
        "wrist": shoulder + (0.186 + 0.146) * arm,
    }
    middle = {
        "pelvis": (0.0, 0.0, 0.550),
        "spine": (-0.012, 0.0, 0.610),
        "chest": (-0.012, 0.0, 0.720),
        "neck": (-0.008, 0.0, 0.835),
        "head": (0.006, 0.0, 0.885),
    }
    mirror = np.array([1.0, -1.0, 1.0])
    rest = []
    for name in JOINTS:
        part, _, side = name.partition("_")
        rest.append(np.asarray(left[part] if side else middle[part]) * (mirror if side == "r" else 1.0))
    sole = np.array([(-0.040, 0.048, 0.0), (0.078, 0.054, 0.0), (0.112, 0.056, 0.0)])
    soles = np.stack([sole, sole * mirror])
    return Skeleton((stature * np.array(rest)).astype(np.float32), (stature * soles).astype(np.float32))


def seen_walk(frames: int = 40, azimuth: float = 0.9, fps: float = 12.5) -> tuple[GaitSequence, Floats]:
    """Return somebody who walks, seen from far away, and the body's points from the pelvis, (T, 26, 3) m."""
    rest = Mannequin.load().rest(np.zeros(SHAPES, np.float32))
    moved = walk(rest.skeleton, GaitTraits(), Path.line((0.0, 0.0), 0.0, 20.0), fps=fps, seconds=frames / fps)
    points = posed(rest, moved.poses)
    local = points - points[:, :1]
    flat = (local[:, COCO] @ view_of(np.float32(azimuth), np.float32(0.1)).T)[..., :2]
    across = 100 * moved.poses.root[:, :1] * np.sin(azimuth)
    keypoints = np.concatenate([300 + 100 * flat, np.ones((frames, 17, 1))], -1).astype(np.float32)
    keypoints[..., 0] += across
    silhouettes = np.zeros((frames, 64, 64), np.uint8)
    return GaitSequence(np.arange(frames), silhouettes, fps, keypoints), local


def rest_poses(skeleton: Skeleton, frames: int = 1) -> Poses:
    """Return the rest pose, `frames` times."""
    rotations = np.tile(np.eye(3, dtype=np.float32), (frames, len(JOINTS), 1, 1))
    return Poses(np.tile(skeleton.rest[0], (frames, 1)), rotations)


def mirrored(traits: GaitTraits) -> GaitTraits:
    """Return the same gait with left and right exchanged."""
    return replace(
        traits,
        toe_out_l=traits.toe_out_r,
        toe_out_r=traits.toe_out_l,
        arm_asymmetry=-traits.arm_asymmetry,
        step_asymmetry=-traits.step_asymmetry,
        timing_asymmetry=-traits.timing_asymmetry,
    )


def speed_profile(
    seconds: float, fps: float, speed: float, *, start: float | None = None, stop: float | None = None
) -> Doubles:
    """Return the speed in m/s of every frame: standing until `start` s, walking, standing again from `stop` s on.

    Without `start` the person walks already at the first frame, without `stop` still at the last. The speed changes
    within 1.2 s (people reach their speed within two or three steps).
    """
    time = np.arange(round(seconds * fps)) / fps
    value = np.full(len(time), float(speed))
    if start is not None:
        value *= smooth((time - start) / 1.2)
    if stop is not None:
        value *= smooth((stop - time) / 1.2)
    return value


def sole_points(skeleton: Skeleton, positions: Floats, rotations: Floats) -> Floats:
    """Return heel, ball and tip of both feet in the world, (T, 2, 3, 3) m, from `forward_kinematics`.

    The heel hangs on the ankle joint, ball and tip on the toe joint.
    """
    owners = [[JOINT[f"{joint}_{side}"] for joint in ("ankle", "toe", "toe")] for side in SIDES]
    moved = (rotations[:, owners] @ (skeleton.sole - skeleton.rest[owners])[..., None])[..., 0]
    return np.asarray(positions[:, owners] + moved, np.float32)


@dataclass(frozen=True)
class Stride:
    """Stride parameters, means over a walk: m, m/s, steps/min, shares of the gait cycle."""

    speed: float
    cadence: float
    step_length: float
    step_width: float
    stance: float
    pelvis_rise: float
    """Way of the pelvis between its lowest and highest place."""


def joint_angles(skeleton: Skeleton, walk: WalkingMotion, side: Side) -> dict[str, Doubles]:
    """Return knee, thigh, ankle, foot, shoulder and elbow angles of every frame, (T,) degrees each.

    Flexion and dorsiflexion are positive. The thigh is against the vertical, the foot against the floor (heel up
    positive), the upper arm against the chest's vertical, all in the plane of progression.
    """
    joints, turns = forward_kinematics(skeleton, walk.poses)
    ahead = np.stack([np.cos(walk.heading), np.sin(walk.heading)], -1)

    def bone(start: str, end: str) -> Doubles:
        return np.asarray(joints[:, JOINT[f"{end}_{side}"]] - joints[:, JOINT[f"{start}_{side}"]], np.float64)

    def tilt(vector: Doubles) -> Doubles:
        return np.asarray(np.degrees(np.arctan2(np.sum(vector[:, :2] * ahead, 1), -vector[:, 2])))

    def bend(first: Doubles, second: Doubles) -> Doubles:
        across = np.linalg.norm(np.cross(first, second), axis=1)
        return np.asarray(np.degrees(np.arctan2(across, np.sum(first * second, 1))))

    foot = turns[:, JOINT[f"ankle_{side}"], :, 0].astype(np.float64)
    pitch = np.degrees(np.arctan2(-foot[:, 2], np.hypot(foot[:, 0], foot[:, 1])))
    chest = turns[:, JOINT["chest"]].astype(np.float64)
    upper_arm = np.einsum("tij,ti->tj", chest, bone("shoulder", "elbow"))
    return {
        "knee": bend(bone("hip", "knee"), bone("knee", "ankle")),
        "thigh": tilt(bone("hip", "knee")),
        "ankle": -pitch - tilt(bone("knee", "ankle")),
        "foot": pitch,
        "shoulder": np.degrees(np.arctan2(upper_arm[:, 0], -upper_arm[:, 2])),
        "elbow": bend(bone("shoulder", "elbow"), bone("elbow", "wrist")),
    }


def foot_slip(skeleton: Skeleton, walk: WalkingMotion, fps: float) -> float:
    """Return the largest speed of a sole point between two frames in which it stands, m/s."""
    points = sole_points(skeleton, *forward_kinematics(skeleton, walk.poses)).astype(np.float64)
    stands = walk.contacts[1:] & walk.contacts[:-1]
    speeds = np.linalg.norm(np.diff(points, axis=0), axis=-1) * fps
    return float(np.max(speeds, where=stands, initial=0.0))


def floor_penetration(skeleton: Skeleton, walk: WalkingMotion) -> float:
    """Return how far the lowest sole point sinks into the floor, m (0 where none does)."""
    points = sole_points(skeleton, *forward_kinematics(skeleton, walk.poses))
    return max(0.0, -float(points[..., 2].min()))


def stride(skeleton: Skeleton, walk: WalkingMotion, fps: float) -> Stride:
    """Measure steady walking from the feet's contacts with the floor.

    Raises:
        ValueError: fewer than two heel contacts of either foot.
    """
    joints, turns = forward_kinematics(skeleton, walk.poses)
    points = sole_points(skeleton, joints, turns).astype(np.float64)
    down = np.asarray(walk.contacts.any(2))
    landings = [np.flatnonzero(down[1:, side] & ~down[:-1, side]) + 1 for side in (0, 1)]
    if min(len(frames) for frames in landings) < 2:
        raise ValueError("the walk is too short: two heel contacts of both feet are needed")
    cycles = [float(np.mean(np.diff(frames))) for frames in landings]
    heels, ends = [], []
    for side, frames in enumerate(landings):
        heels.append(points[frames, side, 0])
        first, last = frames[0], frames[-1]
        ends.append(float(down[first:last, side].mean()))
    events = sorted((frame, side, tuple(heels[side][i])) for side in (0, 1) for i, frame in enumerate(landings[side]))
    steps, widths = [], []
    for (frame, side, start), (_, other, end) in pairwise(events):
        if side != other:
            heading = walk.heading[frame]
            dx, dy = end[0] - start[0], end[1] - start[1]
            steps.append(dx * np.cos(heading) + dy * np.sin(heading))
            widths.append(abs(dy * np.cos(heading) - dx * np.sin(heading)))
    pelvis = joints[:, JOINT["pelvis"], 2]
    return Stride(
        speed=float(walk.arc[-1] - walk.arc[0]) * fps / (len(walk) - 1),
        cadence=120 * fps / float(np.mean(cycles)),
        step_length=float(np.mean(steps)),
        step_width=float(np.mean(widths)),
        stance=float(np.mean(ends)),
        pelvis_rise=float(pelvis.max() - pelvis.min()),
    )


def normative_deviation(angle: Doubles, expected: Doubles, sd: float) -> float:
    """Return the share of frames in which `angle` leaves the band of two `sd` around `expected`."""
    return float(np.mean(np.abs(angle - expected) > 2 * sd))


# SMPL's tree (Loper et al. 2015), and the walker's joint at the place of each of its joints.
SMPL_PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)
SMPL_PLACES = (
    "pelvis", "hip_l", "hip_r", "spine", "knee_l", "knee_r", "spine", "ankle_l", "ankle_r", "chest", "toe_l", "toe_r",
    "neck", "clavicle_l", "clavicle_r", "head", "shoulder_l", "shoulder_r", "elbow_l", "elbow_r", "wrist_l", "wrist_r",
    "wrist_l", "wrist_r",
)  # fmt: skip


def _level_arms(skeleton: Skeleton) -> Floats:
    """(24, 3): SMPL's joints from their parents in its rest pose, with this walker's bones, in SMPL's axes."""
    offsets = np.zeros((24, 3), np.float32)
    for joint, parent in enumerate(SMPL_PARENTS[1:], 1):
        own = JOINT[SMPL_PLACES[joint]]
        if SMPL_PLACES[joint] == SMPL_PLACES[parent]:
            continue
        assert PARENTS[own] == JOINT[SMPL_PLACES[parent]]
        forward, left, up = skeleton.offsets[own]
        offsets[joint] = left, up, forward
        if SMPL_PLACES[joint][:5] in ("elbow", "wrist"):
            offsets[joint] = np.linalg.norm(offsets[joint]), 0, 0
            offsets[joint, 0] *= 1 if SMPL_PLACES[joint].endswith("_l") else -1
    return offsets


def smpl_places(pose: Floats, skeleton: Skeleton) -> NDArray[np.float64]:
    """SMPL's joints (24, 3) m from the pelvis in the camera's axes, of a `pose` (24, 3) and a walker's bones."""
    offsets = _level_arms(skeleton)
    turns, places = np.zeros((24, 3, 3)), np.zeros((24, 3))
    for joint, parent in enumerate(SMPL_PARENTS):
        own = cv2.Rodrigues(pose[joint].astype(np.float64))[0]
        turns[joint] = own if parent < 0 else turns[parent] @ own
        places[joint] = 0 if parent < 0 else places[parent] + turns[parent] @ offsets[joint]
    return places
