"""SMPL (Loper et al., SIGGRAPH Asia 2015): bodies that are drawn from its parameters, and parameters of fitted bodies.

Nothing of SMPL comes with Gaitprint, because it has a licence of its own. Whoever has it gives ``SMPL_NEUTRAL.npz``,
the model's arrays, none of them a pickled object, and can draw SMPL parameters that other programs estimated.

The bodies that are fitted here have a skeleton of their own. `parameters_of` says in SMPL's layout how they turn, for
networks that take such parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from app.body.kinematics import poses_of
from app.body.mannequin import Mannequin
from app.body.render import Body
from app.body.rotation import shortest
from app.body.skeleton import JOINT
from app.errors import CheckpointError, reason_of
from app.types import BodyMotion, Floats

JOINTS = 24
SHAPES = 10
_ARRAYS = ("v_template", "shapedirs", "J_regressor", "weights", "kintree_table", "f")
_NAMES = (
    "pelvis", "hip_l", "hip_r", "spine", "knee_l", "knee_r", None, "ankle_l", "ankle_r", "chest", "toe_l", "toe_r",
    "neck", "clavicle_l", "clavicle_r", "head", "shoulder_l", "shoulder_r", "elbow_l", "elbow_r", "wrist_l", "wrist_r",
    None, None,
)  # fmt: skip
"""The joint of `app.body.skeleton` for each of SMPL's 24; the second of its three of the spine, and the hands, do not
turn."""
_TO_WALKING = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], np.float32)
"""From SMPL's axes (left, up, forward) to those of the walking frame (forward, left, up)."""


@dataclass(frozen=True, eq=False)
class SmplBody:
    """A body with V vertices.

    `template` (V, 3) m, `shapes` (V, 3, 10), `regressor` (24, V), `weights` (V, 24), `parents` (24,), `faces` (F, 3).
    """

    template: Floats
    shapes: Floats
    regressor: Floats
    weights: Floats
    parents: NDArray[np.int64]
    faces: NDArray[np.intp]

    @classmethod
    def read(cls, path: Path) -> SmplBody:
        """Read a user's own ``SMPL_NEUTRAL.npz``; `CheckpointError` where it is none."""
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: np.asarray(file[name]) for name in _ARRAYS}
        except (OSError, ValueError, KeyError) as error:
            raise CheckpointError(
                f"{path} is no body of SMPL's format ({reason_of(error)}). It must be an .npz file with the arrays "
                f"{', '.join(_ARRAYS)}, none of them a pickled object."
            ) from error
        count, parents = len(arrays["v_template"]), arrays["kintree_table"][0].astype(np.int64)
        wanted = {
            "v_template": (count, 3), "J_regressor": (JOINTS, count), "weights": (count, JOINTS),
            "kintree_table": (2, JOINTS), "f": (len(arrays["f"]), 3),
        }  # fmt: skip
        fits = all(arrays[name].shape == shape for name, shape in wanted.items())
        fits = fits and arrays["shapedirs"].shape[:2] == (count, 3) and arrays["shapedirs"].shape[2] >= SHAPES
        fits = fits and bool(np.all((parents[1:] >= 0) & (parents[1:] < np.arange(1, JOINTS))))
        if not fits or not 0 <= arrays["f"].min() <= arrays["f"].max() < count:
            shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
            raise CheckpointError(f"{path} has SMPL's arrays, but not of its shapes and {JOINTS} joints: {shapes}.")
        template, regressor, weights = (
            arrays[name].astype(np.float32) for name in ("v_template", "J_regressor", "weights")
        )
        shapes_of = arrays["shapedirs"][..., :SHAPES].astype(np.float32)
        return cls(template, shapes_of, regressor, weights, parents, arrays["f"].astype(np.intp))

    def upright(self, pose: Floats, shape: Floats) -> Floats:
        """Return the vertices from the pelvis in the walking frame, (T, V, 3) m, of somebody who is turned to face x.

        `pose` (T, 72 or 24, 3) is axis times angle of the joints in radians; of a `shape` (T, 10) the mean is taken.
        Linear blend skinning, without the corrections of the skin by the pose. The turn of the pelvis is left out: it
        is relative to a camera of which nothing is known.
        """
        still = self.template + self.shapes @ np.atleast_2d(shape).mean(axis=0).astype(np.float32)
        joints = self.regressor @ still
        turns = Rotation.from_rotvec(np.reshape(pose, (-1, 3))).as_matrix().reshape(-1, JOINTS, 3, 3)
        world, places = [np.tile(np.eye(3), (len(turns), 1, 1))], [np.zeros((len(turns), 3))]
        for joint in range(1, JOINTS):
            parent = int(self.parents[joint])
            world.append(world[parent] @ turns[:, joint])
            places.append(places[parent] + world[parent] @ (joints[joint] - joints[parent]))
        moved = np.zeros((len(turns), len(still), 3))
        for joint in range(JOINTS):
            local = (still - joints[joint]) @ world[joint].transpose(0, 2, 1) + places[joint][:, None]
            moved += self.weights[:, joint, None] * local
        return (moved @ _TO_WALKING.T).astype(np.float32)


def rotation_vectors(rotations: Floats, rest: Floats, towards: Rotation) -> Floats:
    """Return how SMPL's joints turn against their parents, axis times angle in radians, (T, 24, 3).

    `rotations` (T, 21, 3, 3) are those of the joints of `app.body.skeleton` against their parents, and `rest` (21, 3) m
    are these joints in the rest pose. SMPL's rest pose has level arms. Its first joint turns relative to the camera:
    `towards` are the T rotations from the body's world to the camera's axes right, down, away.
    """
    own = {name: Rotation.from_matrix(rotations[:, index]) for name, index in JOINT.items()}
    for side, level in (("l", (0.0, 1.0, 0.0)), ("r", (0.0, -1.0, 0.0))):
        shoulder, elbow, wrist = (rest[JOINT[f"{part}_{side}"]] for part in ("shoulder", "elbow", "wrist"))
        upper, lower = shortest(np.array(level), elbow - shoulder), shortest(np.array(level), wrist - elbow)
        own[f"shoulder_{side}"] = own[f"shoulder_{side}"] * upper
        own[f"elbow_{side}"] = upper.inv() * own[f"elbow_{side}"] * lower
        own[f"wrist_{side}"] = lower.inv() * own[f"wrist_{side}"] * lower
    axes = Rotation.from_matrix(_TO_WALKING.T)
    vectors = np.zeros((len(rotations), JOINTS, 3))
    for number, name in enumerate(_NAMES):
        if name is not None:
            vectors[:, number] = (axes * own[name] * axes.inv()).as_rotvec()
    vectors[:, 0] = (towards * own["pelvis"] * axes.inv()).as_rotvec()
    return vectors.astype(np.float32)


def parameters_of(motion: BodyMotion, mannequin: Mannequin) -> Floats:
    """Return a fitted body in the layout of SMPL's parameters, float32 (T, 85): camera, pose, shape.

    Camera and pose mean what estimators of the HMR kind give (Kanazawa et al., CVPR 2018, section 3). The camera's
    scale s and place x, y map a point X, Y (m, from the pelvis, to the right and downwards) to s (X + x), s (Y + y):
    -1..1 in the picture, a square as high as the body and centred on it. The shape is that of SMPL's mean body, zeros,
    because a body of another shape space has no such numbers.
    """
    local = np.einsum("tvi,tji->tvj", Body(motion, mannequin).vertices, motion.view)
    low, high = local[..., :2].min(axis=1), local[..., :2].max(axis=1)
    scale = 2 / np.maximum(high[:, 1] - low[:, 1], 1e-3)
    place = -(low + high) / 2
    pose = rotation_vectors(
        poses_of(motion).rotations, mannequin.rest(motion.shape).skeleton.rest, Rotation.from_matrix(motion.view)
    )
    shape = np.zeros((len(motion), SHAPES))
    return np.concatenate([scale[:, None], place, pose.reshape(len(motion), -1), shape], 1).astype(np.float32)
