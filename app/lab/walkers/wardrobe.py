"""Clothes, hair, shoes and bags, fitted to a body.

Everything is made from the body itself: hm08's helper meshes (tights, skirt, hair) are cut along smooth lines,
pushed out along their normals and smoothed. A folder of MakeHuman assets (``.mhclo`` with its ``.obj``, both of the
hm08 base mesh) adds suits, shoes and hair where one is given.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from app.errors import GaitprintError
from app.lab.walkers.body import BodyModel, Shape
from app.lab.walkers.gait import Burden, Side
from app.lab.walkers.renderer import CHECKS, COLUMNS, DENIM, FACE, PLAIN, ROWS, STRANDS, Figure, Material
from app.lab.walkers.skeleton import JOINT, JOINTS
from app.types import Floats, Ints

logger = logging.getLogger(__name__)

Colour: TypeAlias = tuple[float, float, float]
Condition: TypeAlias = Literal["nm", "bg", "cl"]
CONDITIONS: tuple[Condition, ...] = get_args(Condition)
Field: TypeAlias = "Callable[[Mesh], Floats]"

HANGING = {"l": len(JOINTS), "r": len(JOINTS) + 1}
"""Extra bones: a bag that hangs from the left or right hand and stays upright."""
TROLLEY = len(JOINTS) + 2
"""Extra bone: a trolley pulled by the right or left hand, its wheels on the floor."""
BONES = len(JOINTS) + 3

WHEEL = (0.09, 0.035)
"""A trolley's wheels: how far in front of its middle, and their radius, m."""

SOLE = 0.018
"""Thickness of a shoe's sole, m."""

_ARM = [JOINT[f"{part}_{side}"] for part in ("shoulder", "elbow", "wrist") for side in "lr"]


@dataclass(frozen=True, eq=False)
class Mesh:
    """A piece of surface in the rest pose: `weights` float32 (N, BONES), `uv` (N, 2) m, `material` of each face."""

    vertices: Floats
    weights: Floats
    uv: Floats
    faces: Ints
    material: Ints

    def of(self, material: int) -> Mesh:
        """The same surface in another material."""
        return replace(self, material=np.full(len(self.faces), material, np.int64))

    def keep(self, faces: NDArray[np.bool_]) -> Mesh:
        """Only these faces, and the vertices they use."""
        used, inverse = np.unique(self.faces[faces], return_inverse=True)
        inverse = inverse.reshape(-1, 3)
        return Mesh(self.vertices[used], self.weights[used], self.uv[used], inverse, self.material[faces])

    def below(self, field: Field, limit: float) -> Mesh:
        """The part where `field` is at most `limit`; faces that cross are cut along the line."""
        return self._clip(field(self) - limit)

    def above(self, field: Field, limit: float) -> Mesh:
        """The part where `field` is at least `limit`."""
        return self._clip(limit - field(self))

    def _clip(self, signed: Floats) -> Mesh:
        inside = signed <= 0
        count = inside[self.faces].sum(axis=1)
        whole = self.faces[count == 3]
        faces, materials = [whole], [self.material[count == 3]]
        vertices, weights, uv = [self.vertices], [self.weights], [self.uv]
        total = len(self.vertices)
        for kept in (1, 2):
            crossing = self.faces[count == kept]
            material = self.material[count == kept]
            # Turn every face so that the vertex which is alone on its side comes first.
            alone = np.argmax(inside[crossing] == (kept == 1), axis=1)
            a, b, c = (crossing[np.arange(len(crossing)), (alone + k) % 3] for k in range(3))
            fresh = []
            for other in (b, c):
                share = (signed[a] / (signed[a] - signed[other]))[:, None]
                vertices.append(self.vertices[a] * (1 - share) + self.vertices[other] * share)
                weights.append(self.weights[a] * (1 - share) + self.weights[other] * share)
                uv.append(self.uv[a] * (1 - share) + self.uv[other] * share)
                fresh.append(np.arange(total, total + len(a)))
                total += len(a)
            ab, ac = fresh
            if kept == 1:
                faces.append(np.stack([a, ab, ac], 1))
                materials.append(material)
            else:
                faces += [np.stack([ab, b, c], 1), np.stack([ab, c, ac], 1)]
                materials += [material, material]
        joined = Mesh(
            np.concatenate(vertices).astype(np.float32),
            np.concatenate(weights).astype(np.float32),
            np.concatenate(uv).astype(np.float32),
            np.concatenate(faces),
            np.concatenate(materials),
        )
        return joined.keep(np.ones(len(joined.faces), bool))

    def normals(self) -> Floats:
        """Unit vertex normals (N, 3), weighted by the faces' areas. Coinciding vertices share one."""
        a, b, c = (self.vertices[self.faces[:, k]] for k in range(3))
        cross = np.cross(b - a, c - a)
        _, place = np.unique(np.round(self.vertices, 4), axis=0, return_inverse=True)
        place = place.reshape(-1)
        total = np.zeros((place.max(initial=0) + 1, 3))
        for k in range(3):
            np.add.at(total, place[self.faces[:, k]], cross)
        total = total[place]
        length = np.linalg.norm(total, axis=1, keepdims=True)
        return np.asarray(total / np.maximum(length, 1e-12), np.float32)

    def inflated(self, distance: float | Floats) -> Mesh:
        """Pushed out along the normals by `distance` m (one, or one for each vertex)."""
        amount = np.broadcast_to(np.asarray(distance, np.float32), len(self.vertices))
        return replace(self, vertices=self.vertices + amount[:, None] * self.normals())

    def smoothed(self, rounds: int) -> Mesh:
        """Every vertex moved to its neighbours' middle, `rounds` times; the edges stay."""
        edges = np.concatenate([self.faces[:, [0, 1]], self.faces[:, [1, 2]], self.faces[:, [2, 0]]])
        key, uses = np.unique(np.sort(edges, axis=1), axis=0, return_counts=True)
        border = np.zeros(len(self.vertices), bool)
        border[key[uses == 1].ravel()] = True
        degree = np.bincount(key.ravel(), minlength=len(self.vertices))[:, None]
        vertices = self.vertices.astype(np.float64)
        for _ in range(rounds):
            total = np.stack(
                [
                    np.bincount(key[:, 0], vertices[key[:, 1], axis], len(vertices))
                    + np.bincount(key[:, 1], vertices[key[:, 0], axis], len(vertices))
                    for axis in range(3)
                ],
                1,
            )
            vertices = np.where(border[:, None], vertices, 0.4 * vertices + 0.6 * total / np.maximum(degree, 1))
        return replace(self, vertices=vertices.astype(np.float32))

    @classmethod
    def joined(cls, parts: Sequence[Mesh]) -> Mesh:
        """All `parts` as one."""
        starts = np.cumsum([0, *(len(part.vertices) for part in parts)])
        return cls(
            np.concatenate([part.vertices for part in parts]),
            np.concatenate([part.weights for part in parts]),
            np.concatenate([part.uv for part in parts]),
            np.concatenate([part.faces + start for part, start in zip(parts, starts[:-1], strict=True)]),
            np.concatenate([part.material for part in parts]),
        )


@dataclass(frozen=True)
class Outfit:
    """What somebody wears and carries. Lengths of sleeves and legs: 0 shoulder or hip, 1 elbow or knee, 2 wrist or
    ankle; colours BGR 0 to 1."""

    skin: Colour
    hair: Colour
    hair_style: Literal["short", "cropped", "long", "bun", "bald"]
    top: Material
    bottom: Material
    shoes: Material
    sleeve: float = 0.75
    leg: float = 1.95
    hem: float = 0.12
    loose: float = 0.010
    """How far the top stands off, m."""
    leg_loose: float = 0.014
    skirt: float | None = None
    """Length of a skirt in place of trousers."""
    coat: Material | None = None
    coat_length: float = 0.9
    hood: bool = False
    hat: Literal["beanie", "cap", "brimmed"] | None = None
    hat_colour: Colour = (0.2, 0.2, 0.25)
    bag: Burden | None = None
    bag_side: Side = "r"
    bag_material: Material = field(default_factory=lambda: Material((0.12, 0.14, 0.22)))
    suit: str | None = None
    """Name of a suit in the wardrobe folder, in place of top and bottom."""

    @classmethod
    def sample(cls, rng: np.random.Generator, female: bool, age: float, suits: Sequence[str] = ()) -> Outfit:
        """Draw everyday clothes, without bag or coat."""
        bottom_colour = _BOTTOMS[rng.integers(len(_BOTTOMS))]
        jeans = rng.random() < 0.5
        bottom = (
            Material(bottom_colour, _lighter(bottom_colour, 1.5), DENIM, fold=0.32)
            if jeans
            else Material(bottom_colour, fold=0.3)
        )
        legs = rng.random()
        skirt = float(rng.uniform(0.75, 1.45)) if female and rng.random() < 0.22 else None
        fits = [name for name in suits if name.startswith(("female", "male")) and name.startswith("female") == female]
        long_hair = rng.random() < (0.62 if female else 0.06)
        bald = not female and rng.random() < 0.06 + 0.15 * (age > 50)
        styles = ("long", "bun") if long_hair else ("short", "cropped")
        tone = float(rng.random())
        shares = _GREY_SHARES if age > 57 else _DARK_SHARES if tone > 0.45 else _HAIR_SHARES
        shade = rng.choice(np.array(_HAIRS), p=shares)
        hair = (float(shade[0]), float(shade[1]), float(shade[2]))
        return cls(
            skin=_skin_tone(tone),
            hair=hair,
            hair_style="bald" if bald else styles[0 if rng.random() < 0.7 else 1],  # type: ignore[arg-type]
            top=_top_material(rng),
            bottom=bottom,
            shoes=Material(_SHOES[rng.integers(len(_SHOES))], gloss=0.15),
            sleeve=float(rng.choice([0.55, 0.7, 1.9, 1.95], p=[0.25, 0.25, 0.25, 0.25])),
            leg=float(rng.uniform(0.8, 1.05)) if legs < 0.12 else float(rng.uniform(1.85, 1.98)),
            hem=float(rng.uniform(-0.02, 0.28)),
            loose=float(rng.uniform(0.006, 0.022)),
            leg_loose=float(rng.uniform(0.006, 0.028)),
            skirt=skirt,
            suit=str(rng.choice(fits)) if fits and rng.random() < 0.5 else None,
            hat=("beanie", "cap", "brimmed")[rng.integers(3)] if rng.random() < 0.07 else None,
            hat_colour=_TOPS[rng.integers(len(_TOPS))],
        )

    def in_condition(self, condition: Condition, rng: np.random.Generator) -> Outfit:
        """The same clothes with a bag (``bg``) or under a coat (``cl``); ``nm`` changes nothing."""
        if condition == "bg":
            bags: tuple[Burden, ...] = ("handbag", "backpack", "backpack", "trolley")
            bag = bags[rng.integers(len(bags))]
            colour = _BAGS[rng.integers(len(_BAGS))]
            side: Side = "r" if rng.random() < 0.7 else "l"
            return replace(self, bag=bag, bag_side=side, bag_material=Material(colour, fold=0.15, gloss=0.1))
        if condition == "cl":
            colour = _COATS[rng.integers(len(_COATS))]
            pattern = CHECKS if rng.random() < 0.15 else PLAIN
            coat = Material(colour, _lighter(colour, 1.35), pattern, 0.11, fold=0.5)
            length = float(rng.choice([0.32, 0.85, 1.15], p=[0.35, 0.4, 0.25]) + rng.uniform(-0.08, 0.08))
            return replace(self, coat=coat, coat_length=length, hood=bool(rng.random() < 0.3), suit=None)
        return self


_TOPS: tuple[Colour, ...] = (
    (0.92, 0.92, 0.91), (0.80, 0.80, 0.78), (0.22, 0.21, 0.21), (0.12, 0.12, 0.13), (0.48, 0.28, 0.16),
    (0.62, 0.42, 0.24), (0.72, 0.60, 0.42), (0.24, 0.20, 0.58), (0.20, 0.18, 0.75), (0.30, 0.48, 0.82),
    (0.30, 0.70, 0.86), (0.32, 0.44, 0.28), (0.42, 0.58, 0.40), (0.52, 0.52, 0.30), (0.60, 0.46, 0.66),
    (0.70, 0.62, 0.82), (0.46, 0.30, 0.42), (0.66, 0.72, 0.80), (0.35, 0.42, 0.55), (0.52, 0.52, 0.52),
)  # fmt: skip
_BOTTOMS: tuple[Colour, ...] = (
    (0.36, 0.25, 0.17), (0.26, 0.17, 0.12), (0.50, 0.38, 0.28), (0.13, 0.12, 0.12), (0.30, 0.29, 0.28),
    (0.42, 0.54, 0.64), (0.28, 0.36, 0.44), (0.22, 0.28, 0.26), (0.55, 0.62, 0.68), (0.18, 0.18, 0.22),
)  # fmt: skip
_COATS: tuple[Colour, ...] = (
    (0.14, 0.14, 0.15), (0.30, 0.22, 0.16), (0.44, 0.58, 0.68), (0.22, 0.30, 0.26), (0.20, 0.16, 0.42),
    (0.40, 0.40, 0.41), (0.24, 0.34, 0.46), (0.22, 0.56, 0.74),
)  # fmt: skip
_SHOES: tuple[Colour, ...] = (
    (0.10, 0.10, 0.10), (0.14, 0.18, 0.26), (0.85, 0.85, 0.84), (0.42, 0.42, 0.42), (0.35, 0.22, 0.16),
)  # fmt: skip
_BAGS: tuple[Colour, ...] = (
    (0.12, 0.12, 0.13), (0.16, 0.22, 0.42), (0.46, 0.28, 0.16), (0.20, 0.18, 0.62), (0.30, 0.42, 0.30),
    (0.26, 0.50, 0.72),
)  # fmt: skip
_HAIRS = ((0.06, 0.06, 0.07), (0.09, 0.12, 0.18), (0.14, 0.22, 0.36), (0.32, 0.50, 0.66), (0.16, 0.26, 0.50),
          (0.55, 0.55, 0.55), (0.78, 0.78, 0.78))  # fmt: skip
_HAIR_SHARES = [0.34, 0.27, 0.20, 0.12, 0.05, 0.02, 0.0]
_DARK_SHARES = [0.68, 0.26, 0.03, 0.0, 0.0, 0.03, 0.0]
_GREY_SHARES = [0.12, 0.12, 0.08, 0.06, 0.0, 0.36, 0.26]
# Light to dark, BGR; the ends of the range as on Monk's skin-tone scale, approximately.
_TONES = np.array(
    [(0.70, 0.78, 0.90), (0.63, 0.74, 0.89), (0.56, 0.69, 0.86), (0.48, 0.62, 0.81), (0.42, 0.56, 0.74),
     (0.34, 0.47, 0.65), (0.26, 0.37, 0.53), (0.19, 0.28, 0.42), (0.15, 0.21, 0.32)]
)  # fmt: skip


def _skin_tone(share: float) -> Colour:
    place = share * (len(_TONES) - 1)
    tone = [float(np.interp(place, np.arange(len(_TONES)), _TONES[:, channel])) for channel in range(3)]
    return tone[0], tone[1], tone[2]


def _lighter(colour: Colour, factor: float) -> Colour:
    b, g, r = (min(1.0, channel * factor + 0.02) for channel in colour)
    return b, g, r


def _top_material(rng: np.random.Generator) -> Material:
    colour, second = (_TOPS[index] for index in rng.choice(len(_TOPS), 2, replace=False))
    kind = rng.random()
    fold = float(rng.uniform(0.25, 0.5))
    if kind < 0.62:
        return Material(colour, fold=fold)
    pattern = ROWS if kind < 0.80 else CHECKS if kind < 0.93 else COLUMNS
    duty = float(rng.uniform(0.3, 0.5))
    return Material(colour, second, pattern, float(rng.uniform(0.05, 0.11)), duty, fold)


def dress(model: BodyModel, shape: Shape, outfit: Outfit, wardrobe: Wardrobe | None = None) -> Figure:
    """Return `shape` in `outfit`, the shoes' soles on the floor, as a mesh that the renderer can move.

    Raises:
        GaitprintError: the outfit names a suit and the wardrobe has none of that name.
    """
    tailor = _Tailor(model, shape, outfit)
    if outfit.suit is not None:
        if wardrobe is None:
            raise GaitprintError(f"The suit '{outfit.suit}' needs the folder of MakeHuman clothes: give --wardrobe.")
        tailor.suit(wardrobe.garment(outfit.suit))
    else:
        tailor.trousers_or_skirt()
        tailor.top()
    if outfit.coat is not None:
        tailor.coat(outfit.coat)
    tailor.shoes()
    tailor.hair()
    tailor.bag()
    return tailor.figure()


def grip(joints: Floats, side: Side) -> Floats:
    """Return the middle of the fist in the rest pose, (3,) m, from the joints (21, 3)."""
    wrist, elbow = joints[JOINT[f"wrist_{side}"]], joints[JOINT[f"elbow_{side}"]]
    return np.asarray(wrist + 0.085 * (wrist - elbow) / np.linalg.norm(wrist - elbow), np.float32)


class _Tailor:
    """Collects the pieces of one dressed person."""

    def __init__(self, model: BodyModel, shape: Shape, outfit: Outfit) -> None:
        self.model, self.outfit = model, outfit
        lift = np.array([0.0, 0.0, SOLE], np.float32)
        self.points = shape.vertices + lift
        self.joints = shape.joints + lift
        self.face = shape.face_points + lift
        self.weights = np.pad(model.weights, ((0, 0), (0, BONES - len(JOINTS))))
        self.height = shape.traits.stature
        self.female = shape.traits.gender > 0.5
        self.parts: list[Mesh] = []
        self.materials: list[Material] = []
        self.hidden = np.zeros(len(self.points), bool)
        self.tights = self._base("helper-tights")
        # How far the clothes cover arms and legs, as in `Outfit`: skin below them is left out.
        self._sleeve, self._leg = -9.0, -9.0

    # Fields over a mesh, along which it is cut.
    def arm_share(self, mesh: Mesh) -> Floats:
        return np.asarray(mesh.weights[:, _ARM].sum(axis=1))

    def level(self, mesh: Mesh) -> Floats:
        """0 at the hips, 1 at the knees, 2 at the ankles; negative above; -1 in the arms."""
        z = mesh.vertices[:, 2]
        marks = [self.joints[JOINT[f"{part}_l"], 2] for part in ("ankle", "knee", "hip")]
        above = (marks[2] - z) / (marks[2] - marks[1])
        value = np.where(z > marks[1], above, 1 + (marks[1] - z) / (marks[1] - marks[0]))
        return np.where(self.arm_share(mesh) > 0.5, -1.0, value).astype(np.float32)

    def arm(self, mesh: Mesh) -> Floats:
        """0 at the shoulder, 1 at the elbow, 2 at the wrist; -1 outside the arms."""
        value = np.full(len(mesh.vertices), -1.0)
        for side in "lr":
            shoulder, elbow, wrist = (self.joints[JOINT[f"{part}_{side}"]] for part in ("shoulder", "elbow", "wrist"))
            share = [mesh.weights[:, JOINT[f"{part}_{side}"]] for part in ("shoulder", "elbow", "wrist")]
            upper = (mesh.vertices - shoulder) @ (elbow - shoulder) / np.sum((elbow - shoulder) ** 2)
            lower = 1 + (mesh.vertices - elbow) @ (wrist - elbow) / np.sum((wrist - elbow) ** 2)
            value = np.where(share[0] + share[1] + share[2] > 0.5, np.minimum(upper, np.maximum(lower, 1.0)), value)
            fore = share[1] + share[2] > 0.5
            value = np.where(fore, np.maximum(lower, np.minimum(upper, 1.0)), value)
        return value.astype(np.float32)

    def neckline(self, mesh: Mesh) -> Floats:
        """Height above a plane that lies around the neck, lower in front."""
        neck = self.joints[JOINT["neck"]]
        value = mesh.vertices[:, 2] - neck[2] + 0.55 * (mesh.vertices[:, 0] - neck[0])
        return np.where(self.arm_share(mesh) > 0.5, -1.0, value).astype(np.float32)

    def scalp(self, mesh: Mesh) -> Floats:
        """Height above the plane from the hairline over the ears to the nape."""
        ear = self.face[3:].mean(axis=0)
        size = self.height / 1.7
        return np.asarray((-0.70 * (mesh.vertices[:, 0] - ear[0]) + 0.72 * (mesh.vertices[:, 2] - ear[2])) / size)

    def _base(self, group: str) -> Mesh:
        faces = self.model.faces[group]
        arm = Mesh(self.points, self.weights, self.points[:, :2], faces, np.zeros(len(faces), np.int64))
        along = self.arm(arm)
        length = float(np.linalg.norm(self.joints[JOINT["shoulder_l"]] - self.joints[JOINT["elbow_l"]]))
        v = np.where(along > -1, -along * length, self.points[:, 2])
        u = self.points[:, 1] + 0.45 * self.points[:, 0]
        mesh = replace(arm, uv=np.stack([u, v], 1).astype(np.float32))
        return mesh.keep(np.ones(len(faces), bool))

    def add(self, mesh: Mesh, material: Material) -> None:
        if len(mesh.faces):
            self.parts.append(mesh.of(len(self.materials)))
            self.materials.append(material)

    def trousers_or_skirt(self) -> None:
        outfit = self.outfit
        waist = -0.30
        if outfit.coat is not None:
            waist = min(outfit.coat_length, 0.3) - 0.12
        elif outfit.skirt is None:
            waist = outfit.hem - 0.12
        # What lies under the top is left out: two layers skinned alike would show through each other.
        lower = self.tights.below(self.arm_share, 0.45).above(self.level, waist)
        if outfit.skirt is not None:
            self.add(self._skirt(waist, outfit.skirt, 0.008), outfit.bottom)
            self._leg = min(0.5, outfit.skirt)
            return
        cloth = lower.below(self.level, outfit.leg)
        level = self.level(cloth)
        cloth = cloth.smoothed(4)
        ease = np.interp(level, [-0.3, 0.0, 0.5, 1.0, 2.0], [0.004, 0.008, 1.0, 1.0, 1.25])
        ease = np.where(level < 0.25, 0.008, np.maximum(0.008, ease * outfit.leg_loose))
        ease = np.where(level < 0.5, 0.008 + (np.maximum(level, 0) / 0.5) * (ease - 0.008), ease)
        ease = ease - 0.022 * np.clip(1 - (level - waist) / 0.10, 0, 1)  # the edge hides under the top
        self.add(cloth.inflated(ease.astype(np.float32)), outfit.bottom)
        self._leg = outfit.leg

    def _skirt(self, start: float, end: float, ease: float) -> Mesh:
        """The skirt helper between two levels. It swings with the thighs, each side with its own."""
        skirt = self._base("helper-skirt").above(self.level, start).below(self.level, end)
        level, y = self.level(skirt), skirt.vertices[:, 1]
        left = np.clip(0.5 + y / 0.11, 0, 1)
        left = left * left * (3 - 2 * left)
        hang = np.clip((level + 0.05) / 0.4, 0, 1)
        knee = hang * np.clip(0.45 * (level - 0.9), 0, 0.3)
        weights = np.zeros_like(skirt.weights)
        weights[:, JOINT["pelvis"]] = 1 - hang
        for side, share in (("l", left), ("r", 1 - left)):
            weights[:, JOINT[f"hip_{side}"]] = share * (hang - knee)
            weights[:, JOINT[f"knee_{side}"]] = share * knee
        amount = ease + np.interp(level, [0.0, 0.5], [0.0, 0.018])
        return replace(skirt.inflated(amount.astype(np.float32)), weights=weights)

    def _upper(self, hem: float, sleeve: float, ease: float, neck: float, rounds: int) -> Mesh:
        cloth = self.tights.below(self.level, hem).below(self.arm, sleeve).below(self.neckline, neck)
        level, arm = self.level(cloth), self.arm(cloth)
        cloth = cloth.smoothed(rounds)
        # Tight at the shoulders, off the body at the waist and the hem, wider at the cuffs.
        arms = ease * (0.75 + 0.2 * np.clip(arm, 0, 1))
        trunk = ease * np.interp(level, [-1, -0.3], [0.8, 1.3])
        # Over the trousers, which widen from the hips on.
        trunk += np.interp(level, [-0.2, 0.0, 0.5], [0.0, 0.005, 0.005 + self.outfit.leg_loose])
        amount = np.where(arm > 0, arms, trunk)
        return cloth.inflated((0.006 + amount).astype(np.float32))

    def top(self) -> None:
        outfit = self.outfit
        if outfit.coat is None:
            hem = -0.2 if outfit.skirt is not None else outfit.hem
            self.add(self._upper(hem, outfit.sleeve, outfit.loose, 0.008, 6), outfit.top)
        self._sleeve = outfit.sleeve

    def coat(self, material: Material) -> None:
        outfit = self.outfit
        jacket = outfit.coat_length < 0.55
        self.add(self._upper(outfit.coat_length if jacket else -0.2, 1.98, 0.022, 0.045, 10), material)
        if not jacket:
            self.add(self._skirt(-0.42, outfit.coat_length, 0.034), material)
        if outfit.hood:
            head = self._base("body").above(self._head_share, 0.5)
            hood = head.below(lambda mesh: mesh.vertices[:, 0] - self.face[3:, 0].mean(), 0.035).smoothed(8)
            self.add(hood.inflated(0.03), material)

    def _head_share(self, mesh: Mesh) -> Floats:
        return np.asarray(mesh.weights[:, JOINT["head"]] + mesh.weights[:, JOINT["neck"]])

    def shoes(self) -> None:
        feet = self.tights.above(self.level, 1.86).below(self.arm_share, 0.45).smoothed(2).inflated(0.009)
        points = feet.vertices.copy()
        points[:, 2] = np.where(points[:, 2] < SOLE + 0.012, 0.0, points[:, 2])
        feet = replace(feet, vertices=np.maximum(points, np.array([-9, -9, 0], np.float32)))
        height: Field = lambda mesh: mesh.vertices[:, 2]  # noqa: E731
        self.add(feet.above(height, 0.022), self.outfit.shoes)
        pale = sum(self.outfit.shoes.colour) < 0.8
        self.add(feet.below(height, 0.022), Material((0.75, 0.76, 0.76) if pale else (0.5, 0.5, 0.5)))

    def hair(self) -> None:
        outfit, style = self.outfit, self.outfit.hair_style
        hooded = outfit.hood and outfit.coat is not None
        head = self._base("body").above(self._head_share, 0.6)
        material = Material(outfit.hair, _lighter(outfit.hair, 1.5), STRANDS, gloss=0.18)
        if style != "bald":
            cap = head.above(self.scalp, -0.006)
            thick = {"cropped": 0.006, "short": 0.016, "long": 0.018, "bun": 0.012}[style]
            taper = np.clip((self.scalp(cap) + 0.006) / 0.05, 0.12, 1.0)
            if hooded or outfit.hat is not None:
                thick = 0.006
            self.add(cap.smoothed(6).inflated((thick * taper + 0.002).astype(np.float32)), material)
        if style == "long" and not hooded:
            back = self._base("helper-hair")
            limit = float(self.joints[JOINT["neck"], 2] - 0.09)
            ear = float(self.face[3:, 0].mean())
            back = back.above(lambda mesh: mesh.vertices[:, 2], limit).below(
                lambda mesh: mesh.vertices[:, 0], ear + 0.015
            )
            self.add(back.smoothed(2).inflated(0.004), material)
        if style == "bun" and not hooded and outfit.hat is None:
            ear = self.face[3:].mean(axis=0)
            ball = _ellipsoid(ear + np.array([-0.115, 0, 0.045], np.float32), (0.04, 0.045, 0.04), self._only("head"))
            self.add(ball, material)
        if outfit.hat is not None and not hooded:
            self._hat(head, outfit.hat)

    def _hat(self, head: Mesh, kind: str) -> None:
        colour = Material(self.outfit.hat_colour, fold=0.25)
        ear = self.face[3:].mean(axis=0)
        tip: Field = lambda mesh: (  # noqa: E731
            0.96 * (mesh.vertices[:, 2] - ear[2]) - 0.25 * (mesh.vertices[:, 0] - ear[0])
        )
        line = 0.03 if kind == "beanie" else 0.038
        crown = head.above(tip, line).smoothed(12)
        self.add(crown.inflated(0.024 if kind == "beanie" else 0.02), colour)
        if kind == "beanie":
            return
        rim = crown.vertices[np.argsort(tip(crown))[: max(8, len(crown.vertices) // 8)]]
        middle = rim.mean(axis=0)
        radius = float(np.linalg.norm(rim[:, :2] - middle[:2], axis=1).max()) + 0.014
        outer = radius + (0.042 if kind == "brimmed" else 0.06)
        angles = np.linspace(-np.pi, np.pi, 33) if kind == "brimmed" else np.linspace(-1.05, 1.05, 17)
        inner = np.stack([np.cos(angles) * radius, np.sin(angles) * radius, np.zeros_like(angles)], 1)
        taper = np.ones_like(angles) if kind == "brimmed" else np.cos(angles / 1.05 * np.pi / 2) ** 0.5
        reach = radius + (outer - radius) * taper
        edge = np.stack([np.cos(angles) * reach, np.sin(angles) * reach, np.full_like(angles, -0.012)], 1)
        points = np.concatenate([inner, edge]) + middle + np.array([0, 0, 0.004], np.float32)
        points[:, 2] += 0.26 * (points[:, 0] - middle[0])
        n = len(angles)
        i = np.arange(n - 1)
        faces = np.concatenate([np.stack([i, i + n, i + 1], 1), np.stack([i + 1, i + n, i + n + 1], 1)])
        self.add(_rigid(points, faces, self._only("head")), colour)

    def bag(self) -> None:
        outfit = self.outfit
        if outfit.bag is None:
            return
        size = self.height / 1.7
        material, dark = outfit.bag_material, Material((0.08, 0.08, 0.09))
        side = outfit.bag_side
        hand = grip(self.joints, side)
        if outfit.bag == "backpack":
            back = float(self.tights.below(self.arm_share, 0.1).vertices[:, 0].min())
            chest, neck = self.joints[JOINT["chest"]], self.joints[JOINT["neck"]]
            middle = np.array([back - 0.07, 0, 0.55 * neck[2] + 0.45 * chest[2] - 0.03], np.float32)
            only = self._only("chest")
            self.add(_box(middle, (0.10 * size, 0.155 * size, 0.22 * size), only, 3.2), material)
            pocket = middle + np.array([-0.085 * size, 0, -0.08], np.float32)
            self.add(_box(pocket, (0.05 * size, 0.12 * size, 0.10 * size), only, 3.5), material)
            for sign in (-1.0, 1.0):
                self._strap(sign, neck, back, dark)
        elif outfit.bag == "handbag":
            only = np.zeros(BONES, np.float32)
            only[HANGING[side]] = 1.0
            body = hand - np.array([0, 0, 0.27 * size], np.float32)
            self.add(_box(body, (0.17 * size, 0.055 * size, 0.12 * size), only, 5.0), material)
            self.add(_loop(hand, body + np.array([0, 0, 0.11 * size], np.float32), 0.10 * size, only), material)
        else:
            only = np.zeros(BONES, np.float32)
            only[TROLLEY] = 1.0
            # In the rest pose it stands upright under the hand; `bone_transforms` tilts it.
            length = float(hand[2])
            foot = hand - np.array([0, 0, length], np.float32)
            self.add(_box(foot + np.array([0, 0, 0.31], np.float32), (0.12, 0.19, 0.26), only, 6.0), material)
            for shift in (-0.10, 0.10):
                pole = foot + np.array([0.0, shift, (0.55 + length) / 2], np.float32)
                self.add(_box(pole, (0.008, 0.008, (length - 0.55) / 2), only, 8.0), dark)
                wheel = foot + np.array([WHEEL[0], shift * 1.5, WHEEL[1]], np.float32)
                self.add(_ellipsoid(wheel, (WHEEL[1], 0.018, WHEEL[1]), only), dark)
            self.add(_box(hand, (0.012, 0.11, 0.012), only, 8.0), dark)

    def _strap(self, sign: float, neck: Floats, back: float, material: Material) -> None:
        """A backpack's strap over the shoulder: a cut of the top, pushed out."""
        place = 0.09 * self.height / 1.7

        def sideways(mesh: Mesh) -> Floats:
            return np.asarray(np.abs(sign * mesh.vertices[:, 1] - place))

        cloth = self.tights.below(self.arm_share, 0.6).below(sideways, 0.022).above(self._height, float(neck[2]) - 0.33)
        ease = 0.018 + self.outfit.loose + (0.022 if self.outfit.coat is not None else 0.0)
        self.add(cloth.smoothed(3).inflated(ease), material)

    def _height(self, mesh: Mesh) -> Floats:
        return mesh.vertices[:, 2]

    def _only(self, joint: str) -> Floats:
        weights = np.zeros(BONES, np.float32)
        weights[JOINT[joint]] = 1.0
        return weights

    def suit(self, garment: Garment) -> None:
        mesh = garment.fitted(self.points, self.weights)
        # A suit is several shells: each one is top, bottom or shoe by where its middle is.
        shells = _shells(mesh)
        for shell in np.unique(shells):
            part = mesh.keep(np.asarray(shells == shell))
            middle = float(np.median(self.level(part)))
            low = float(self.level(part).max())
            material = (
                self.outfit.shoes
                if middle > 1.75
                else self.outfit.bottom
                if middle > 0.2 and low > 0.6
                else self.outfit.top
            )
            self.add(part.inflated(0.004), material)
        self.hidden[garment.deleted] = True

    def figure(self) -> Figure:
        outfit = self.outfit
        faces = self.model.faces["body"]
        full = Mesh(self.points, self.weights, self.points[:, :2], faces, np.zeros(len(faces), np.int64))
        level, arm, neck = self.level(full), self.arm(full), self.neckline(full)
        hidden = self.hidden.copy()
        if outfit.suit is None:
            sleeve = 1.98 if outfit.coat is not None else self._sleeve
            torso = (arm < 0) & (neck < -0.02) & (level < max(0.1, self._leg - 0.12))
            hidden |= torso | ((arm > -1) & (arm < sleeve - 0.15))
        hidden |= level > 1.9
        if outfit.hair_style != "bald":
            hidden |= (self._head_share(full) > 0.6) & (self.scalp(full) > 0.03)
        visible = np.asarray(~hidden[faces].all(axis=1))
        body = replace(full, uv=np.stack([full.vertices[:, 1], full.vertices[:, 2]], 1)).keep(visible)
        rosy = (outfit.skin[0] * 0.75, outfit.skin[1] * 0.82, min(1.0, outfit.skin[2] * 1.02))
        self.add(body, Material(outfit.skin, rosy, FACE, gloss=0.06))
        self._eyes()
        mesh = Mesh.joined(self.parts)
        order = np.argsort(-mesh.weights, axis=1)[:, :4]
        shares = np.take_along_axis(mesh.weights, order, 1)
        shares = shares / shares.sum(axis=1, keepdims=True)
        normals = np.concatenate([part.normals() for part in self.parts])
        return Figure(
            np.ascontiguousarray(mesh.vertices, np.float32),
            np.ascontiguousarray(normals, np.float32),
            order.astype(np.int32),
            shares.astype(np.float32),
            np.ascontiguousarray(mesh.uv, np.float32),
            mesh.faces.astype(np.int32),
            mesh.material.astype(np.int32),
            np.array([material.row() for material in self.materials], np.float32),
        )

    def _eyes(self) -> None:
        """Eyes and brows: small, but a face without them looks dead even from afar."""
        for eye in self.face[1:3]:
            only = self._only("head")
            self.add(
                _ellipsoid(eye + np.array([0.014, 0, 0], np.float32), (0.006, 0.008, 0.006), only),
                Material((0.08, 0.09, 0.11)),
            )
            brow = eye + np.array([0.018, 0.0, 0.021], np.float32)
            self.add(_ellipsoid(brow, (0.007, 0.019, 0.0032), only), Material(_lighter(self.outfit.hair, 0.8)))


def _rigid(points: NDArray[Any], faces: NDArray[Any], weights: Floats) -> Mesh:
    points = np.asarray(points, np.float32)
    uv = np.stack([points[:, 1] + 0.45 * points[:, 0], points[:, 2]], 1)
    return Mesh(points, np.tile(weights, (len(points), 1)), uv, faces.astype(np.int64), np.zeros(len(faces), np.int64))


def _ellipsoid(middle: NDArray[Any], radii: tuple[float, float, float], weights: Floats, power: float = 2.0) -> Mesh:
    """A (super)ellipsoid; `power` above 2 makes a box with rounded edges."""
    rows, columns = 12, 20
    v, u = np.meshgrid(
        np.linspace(-np.pi / 2, np.pi / 2, rows), np.linspace(-np.pi, np.pi, columns + 1)[:-1], indexing="ij"
    )
    exponent = 2.0 / power

    def bent(value: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(np.sign(value) * np.abs(value) ** exponent)

    ball = np.stack([bent(np.cos(v)) * bent(np.cos(u)), bent(np.cos(v)) * bent(np.sin(u)), bent(np.sin(v))], -1)
    points = ball.reshape(-1, 3) * np.array(radii) + middle
    i, j = np.meshgrid(np.arange(rows - 1), np.arange(columns), indexing="ij")
    a, b = i * columns + j, i * columns + (j + 1) % columns
    c, d = a + columns, b + columns
    faces = np.concatenate([np.stack([a, b, d], -1).reshape(-1, 3), np.stack([a, d, c], -1).reshape(-1, 3)])
    return _rigid(points, faces, weights)


def _box(middle: NDArray[Any], halves: tuple[float, float, float], weights: Floats, power: float) -> Mesh:
    return _ellipsoid(middle, halves, weights, power)


def _loop(top: NDArray[Any], bottom: NDArray[Any], spread: float, weights: Floats) -> Mesh:
    """A bag's handle: a thin band from one side of `bottom` over `top` to the other."""
    angles = np.linspace(0, np.pi, 17)
    line = np.stack([np.cos(angles) * spread, np.zeros_like(angles), np.sin(angles) * (top[2] - bottom[2])], 1) + bottom
    parts = []
    for across in (np.array([0, 0.008, 0]), np.array([0, 0, 0.008]), np.array([0.008, 0, 0])):
        points = np.concatenate([line - across, line + across])
        i, n = np.arange(len(angles) - 1), len(angles)
        parts.append(
            _rigid(
                points,
                np.concatenate([np.stack([i, i + 1, i + n], 1), np.stack([i + 1, i + n + 1, i + n], 1)]),
                weights,
            )
        )
    return Mesh.joined(parts)


def _shells(mesh: Mesh) -> Ints:
    """Number the connected pieces; one for each face."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    a, b = mesh.faces[:, [0, 1, 2]].ravel(), mesh.faces[:, [1, 2, 0]].ravel()
    graph = coo_matrix((np.ones(len(a), bool), (a, b)), shape=(len(mesh.vertices),) * 2)
    return np.asarray(connected_components(graph, directed=False)[1][mesh.faces[:, 0]], np.int64)


@dataclass(frozen=True, eq=False)
class Garment:
    """A MakeHuman asset: each vertex hangs on three of hm08's (`base` (N, 3)) with `shares` and an `offset`.

    `scales`: for x, y, z (MakeHuman's axes) two base vertices and the distance for which the offsets were made.
    """

    base: Ints
    shares: Floats
    offset: Floats
    scales: tuple[tuple[int, int, float], ...]
    faces: Ints
    deleted: Ints

    @classmethod
    def read(cls, path: Path) -> Garment:
        """Read ``path`` (.mhclo) and its .obj.

        Raises:
            GaitprintError: unreadable, or not made for hm08.
        """
        try:
            return cls._parse(path)
        except (OSError, ValueError, IndexError, KeyError) as error:
            raise GaitprintError(f"The clothes {path} cannot be read as a MakeHuman asset for hm08: {error}") from error

    @classmethod
    def _parse(cls, path: Path) -> Garment:
        rows: list[list[float]] = []
        scales: dict[str, tuple[int, int, float]] = {}
        deleted: list[int] = []
        mesh_file, section = path.with_suffix(".obj").name, ""
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            if words[0] in ("verts", "weights", "delete_verts"):
                section = words[0]
            elif words[0] == "basemesh" and words[1] != "hm08":
                raise ValueError(f"it is made for {words[1]}")
            elif words[0] == "obj_file":
                mesh_file = words[1]
            elif words[0][1:] == "_scale":
                scales[words[0][0]] = (int(words[1]), int(words[2]), float(words[3]))
            elif section == "verts" and _is_number(words[0]):
                numbers = [float(word) for word in words]
                if len(numbers) not in (1, 9):
                    raise ValueError(f"a vertex has {len(numbers)} numbers")
                rows.append(numbers if len(numbers) == 9 else [numbers[0]] * 3 + [1, 0, 0, 0, 0, 0])
            elif section == "delete_verts":
                deleted += _ranges(words)
        table = np.array(rows)
        faces = []
        for line in (path.parent / Path(mesh_file).name).read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("f "):
                corners = [int(word.partition("/")[0]) - 1 for word in line.split()[1:]]
                faces += [[corners[0], corners[k], corners[k + 1]] for k in range(1, len(corners) - 1)]
        triangles = np.array(faces, np.int64)
        base = table[:, :3].astype(np.int64)
        if triangles.min() < 0 or triangles.max() >= len(table) or base.min() < 0 or base.max() >= 19158:
            raise ValueError("vertex numbers out of range")
        axes = tuple(scales.get(axis, (0, 0, 0.0)) for axis in "xyz")
        return cls(base, table[:, 3:6].astype(np.float32), table[:, 6:9].astype(np.float32), axes, triangles,
                   np.array(deleted, np.int64))  # fmt: skip

    def fitted(self, points: Floats, weights: Floats) -> Mesh:
        """Return the garment on the body `points` (19158, 3), with the body's skin weights."""
        # MakeHuman's x, y, z are the person's left, up and forward.
        axes = (1, 2, 0)
        vertices = (points[self.base] * self.shares[..., None]).sum(axis=1)
        for makehuman, (axis, (first, second, size)) in enumerate(zip(axes, self.scales, strict=True)):
            scale = abs(points[first, axis] - points[second, axis]) / size if size else 0.1
            vertices[:, axis] += self.offset[:, makehuman] * scale
        shares = np.maximum(self.shares, 0) / np.maximum(self.shares, 0).sum(axis=1, keepdims=True)
        mixed = (weights[self.base] * shares[..., None]).sum(axis=1)
        uv = np.stack([vertices[:, 1] + 0.45 * vertices[:, 0], vertices[:, 2]], 1)
        return Mesh(vertices.astype(np.float32), mixed.astype(np.float32), uv.astype(np.float32), self.faces,
                    np.zeros(len(self.faces), np.int64))  # fmt: skip


def _is_number(word: str) -> bool:
    return word.lstrip("-").replace(".", "", 1).isdigit()


def _ranges(words: Sequence[str]) -> list[int]:
    """``["3", "7", "-", "9"]`` to ``[3, 7, 8, 9]``."""
    numbers: list[int] = []
    span = False
    for word in words:
        if word == "-":
            span = True
        elif span:
            numbers += range(numbers[-1] + 1, int(word) + 1)
            span = False
        else:
            numbers.append(int(word))
    return [number for number in numbers if number < 19158]


class Wardrobe:
    """A folder of MakeHuman assets (``.mhclo`` + ``.obj``), read when first worn."""

    def __init__(self, folder: Path) -> None:
        self._files = {path.stem: path for path in sorted(folder.glob("**/*.mhclo"))}
        self._read: dict[str, Garment] = {}
        if not self._files:
            logger.warning("%s holds no .mhclo file; the walkers wear what is made from the body.", folder)

    @property
    def suits(self) -> tuple[str, ...]:
        """Names of the suits."""
        return tuple(name for name in self._files if "suit" in name)

    def garment(self, name: str) -> Garment:
        """Return the garment called `name`; `GaitprintError` where there is none."""
        if name not in self._files:
            raise GaitprintError(f"The wardrobe has no '{name}'. It has: {', '.join(self._files) or 'nothing'}.")
        if name not in self._read:
            self._read[name] = Garment.read(self._files[name])
        return self._read[name]
