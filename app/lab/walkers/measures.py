"""What a walk turned out to be: joint angles, stride parameters, foot slip and floor penetration, all measured."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from app.lab.walkers.motion import Walk
from app.lab.walkers.skeleton import JOINT, Side, Skeleton, forward_kinematics, sole_points

Doubles = NDArray[np.float64]


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


def joint_angles(skeleton: Skeleton, walk: Walk, side: Side) -> dict[str, Doubles]:
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


def foot_slip(skeleton: Skeleton, walk: Walk, fps: float) -> float:
    """Return the largest speed of a sole point between two frames in which it stands, m/s."""
    points = sole_points(skeleton, *forward_kinematics(skeleton, walk.poses)).astype(np.float64)
    stands = walk.contacts[1:] & walk.contacts[:-1]
    speeds = np.linalg.norm(np.diff(points, axis=0), axis=-1) * fps
    return float(np.max(speeds, where=stands, initial=0.0))


def floor_penetration(skeleton: Skeleton, walk: Walk) -> float:
    """Return how far the lowest sole point sinks into the floor, m (0 where none does)."""
    points = sole_points(skeleton, *forward_kinematics(skeleton, walk.poses))
    return max(0.0, -float(points[..., 2].min()))


def stride(skeleton: Skeleton, walk: Walk, fps: float) -> Stride:
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
