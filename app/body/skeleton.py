"""The walker's skeleton: 21 joints, its poses and forward kinematics. Needs NumPy only.

World: metres, right-handed, z up, ground at z = 0. A person's own frame: +x forward, +y to the person's left, +z up.
In the rest pose the person stands with the pelvis above the origin and faces +x.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

import numpy as np

from app.types import Floats

JOINTS = (
    "pelvis", "spine", "chest", "neck", "head",
    "hip_l", "knee_l", "ankle_l", "toe_l",
    "hip_r", "knee_r", "ankle_r", "toe_r",
    "clavicle_l", "shoulder_l", "elbow_l", "wrist_l",
    "clavicle_r", "shoulder_r", "elbow_r", "wrist_r",
)  # fmt: skip
"""Names of the joints, parents before children. ``toe`` is the metatarsophalangeal joint (the ball of the foot)."""

PARENTS = (-1, 0, 1, 2, 3, 0, 5, 6, 7, 0, 9, 10, 11, 2, 13, 14, 15, 2, 17, 18, 19)
"""Index of each joint's parent, -1 for the pelvis."""

JOINT = {name: index for index, name in enumerate(JOINTS)}
"""Index of each joint by name."""

Side: TypeAlias = Literal["l", "r"]
SIDES: tuple[Side, Side] = ("l", "r")

_LEVELS = ((0,), (1, 5, 9), (2, 6, 10), (3, 7, 11, 13, 17), (4, 8, 12, 14, 18), (15, 19), (16, 20))
"""The joints by their depth in the tree, so that forward kinematics handles a whole level at once."""


@dataclass(frozen=True, eq=False)
class Skeleton:
    """One person's bones.

    `rest` float32 (21, 3), m: the joints of the standing rest pose in the person's frame, the floor at z = 0.
    `sole` float32 (2, 3, 3), m: left and right heel, ball and toe tip, the lowest points of the shoe
    in the rest pose, in the same frame.

    Raises:
        ValueError: wrong shapes, or a skeleton that does not stand upright on the floor.
    """

    rest: Floats
    sole: Floats

    def __post_init__(self) -> None:
        if self.rest.shape != (len(JOINTS), 3) or self.sole.shape != (2, 3, 3):
            raise ValueError(
                f"rest must be ({len(JOINTS)}, 3) and sole (2, 3, 3), not {self.rest.shape}, {self.sole.shape}"
            )
        if not (self.rest[JOINT["hip_l"], 1] > self.rest[JOINT["hip_r"], 1] and np.all(self.rest[:, 2] > 0)):
            raise ValueError("the rest pose must face +x, the left hip at the larger y, every joint above the floor")

    @cached_property
    def offsets(self) -> Floats:
        """(21, 3): each joint from its parent in the rest pose; the pelvis from the origin."""
        parents = np.array(PARENTS)
        return np.asarray(np.where(parents[:, None] >= 0, self.rest - self.rest[parents], self.rest), np.float32)

    @property
    def leg_length(self) -> float:
        """Height of the hip joints above the floor in the rest pose, m, mean of both sides."""
        return float(self.rest[[JOINT["hip_l"], JOINT["hip_r"]], 2].mean())


@dataclass(frozen=True, eq=False)
class Poses:
    """A motion: one pose per frame.

    `root` float32 (T, 3): the pelvis joint in the world, m. `rotations` float32 (T, 21, 3, 3): each joint's rotation
    relative to its parent (the pelvis relative to the world), in frames which in the rest pose are all aligned with
    the person's frame; the identity everywhere is the rest pose. A pose moves everything that hangs on the joint.
    """

    root: Floats
    rotations: Floats

    def __post_init__(self) -> None:
        frames = len(self.root)
        if self.root.shape != (frames, 3) or self.rotations.shape != (frames, len(JOINTS), 3, 3):
            raise ValueError(f"root {self.root.shape} and rotations {self.rotations.shape} are not one motion")

    def __len__(self) -> int:
        return len(self.root)


def forward_kinematics(skeleton: Skeleton, poses: Poses) -> tuple[Floats, Floats]:
    """Return the joints in the world, (T, 21, 3) m, and the joints' rotations in the world, (T, 21, 3, 3)."""
    positions = np.empty((len(poses), len(JOINTS), 3), np.float32)
    rotations = np.empty((len(poses), len(JOINTS), 3, 3), np.float32)
    positions[:, 0] = poses.root
    rotations[:, 0] = poses.rotations[:, 0]
    for joints in _LEVELS[1:]:
        level = list(joints)
        parents = [PARENTS[joint] for joint in level]
        rotations[:, level] = rotations[:, parents] @ poses.rotations[:, level]
        moved = (rotations[:, parents] @ skeleton.offsets[level][..., None])[..., 0]
        positions[:, level] = positions[:, parents] + moved
    return positions, rotations
