"""Virtual walkers in the layout of SMPL's parameters: a stand-in for networks that take them, not a fit of SMPL.

The order of the numbers is that of Gait3D's files (Zheng et al., CVPR 2022): camera, pose, shape. Camera and pose mean
what estimators of the HMR kind give (Kanazawa et al., CVPR 2018, section 3): a weak-perspective camera for the crop,
and axis times angle of 24 joints (Loper et al., SIGGRAPH Asia 2015), the first one relative to the camera. Unlike
estimates they are exact. The shape numbers are the walker's own sliders, not the coefficients of SMPL's shape space, so
a network trained on real SMPL parameters cannot use these, nor the other way round.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from app.body.rotation import shortest
from app.body.skeleton import Poses, Skeleton
from app.body.smpl import rotation_vectors
from app.lab.walkers.anny_export import LENGTHS
from app.lab.walkers.body import BodyTraits
from app.lab.walkers.camera import Camera
from app.types import Floats

NOTE = (
    "smpl has the layout of SMPL parameters and is no fit of SMPL: exact joint rotations of the walker, and the "
    "walker's own shape sliders instead of SMPL's shape coefficients."
)
"""What the manifest of a data set with these parameters says."""

_SLIDERS = {"gender": (0.5, 0.43), "weight": (0.6, 0.19), "muscle": (0.52, 0.16), "proportions": (0.6, 0.2),
            "cup": (0.45, 0.17)}  # fmt: skip
"""Mean and spread over people, see `BodyTraits.sample`."""
_LOCAL = ("upperlegs-height", "lowerlegs-height", "measure-shoulder-dist", "hip-scale-horiz")


def parameters(
    poses: Poses, skeleton: Skeleton, traits: BodyTraits, camera: Camera, windows: Floats, rows: int
) -> Floats:
    """Return the parameters of a filmed walk, float32 (T, 85).

    The camera's scale s and place x, y map a point X, Y (m, from the pelvis, to the right and downwards) to
    s (X + x), s (Y + y): -1..1 in the picture, a square as high as the body.

    Args:
        windows: (T, 3): px for a unit of the image plane at focal length 1, and where in that plane the left and the
            top of the walker's picture lie.
        rows: height of that picture in px; it is twice as wide.
    """
    local = (poses.root - np.array(camera.position, np.float32)) @ camera.rotation.T
    scale, left, top = windows.T
    size = 2 * scale / rows / local[:, 2]
    across = 2 * (local[:, 0] / local[:, 2] - left) * scale / rows - 2
    down = 2 * (local[:, 1] / local[:, 2] - top) * scale / rows - 1
    weak = np.stack([size, across / size, down / size], 1)
    # An estimator sees the crop alone: for it the camera looks at the person.
    towards = shortest(local, np.array([0.0, 0.0, 1.0])) * Rotation.from_matrix(camera.rotation)
    pose = rotation_vectors(poses.rotations, skeleton.rest, towards)
    shape = np.tile(_shape(traits), (len(poses), 1))
    return np.concatenate([weak, pose.reshape(len(poses), -1), shape], 1).astype(np.float32)


def _shape(traits: BodyTraits) -> Floats:
    """Ten numbers (10,) of a body, about 0 with a spread of 1 over people."""
    numbers = [(traits.stature - 1.69) / 0.095]
    numbers += [(getattr(traits, name) - mean) / spread for name, (mean, spread) in _SLIDERS.items()]
    numbers += [traits.local[LENGTHS.index(name)] / 0.38 for name in _LOCAL]
    return np.array(numbers, np.float32)
