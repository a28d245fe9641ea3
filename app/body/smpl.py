"""A body of SMPL's format, to draw SMPL parameters that other programs estimated (Loper et al., SIGGRAPH Asia 2015).

Nothing of SMPL comes with Gaitprint, because it has a licence of its own. Whoever has it gives ``SMPL_NEUTRAL.npz``,
the model's arrays, none of them a pickled object.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from app.errors import CheckpointError
from app.types import Floats

JOINTS = 24
SHAPES = 10
_ARRAYS = ("v_template", "shapedirs", "J_regressor", "weights", "kintree_table", "f")
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
                f"{path} is no body of SMPL's format ({error}). It must be an .npz file with the arrays "
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

        Linear blend skinning, without the corrections of the skin by the pose. The turn of the pelvis is left out: it
        is relative to a camera of which nothing is known.

        Args:
            pose: (T, 72) or (T, 24, 3), axis times angle of the joints in radians.
            shape: (10,), or (T, 10), whose mean is taken.
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
