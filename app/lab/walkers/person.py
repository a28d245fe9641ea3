"""People: a body and a gait that belong together, and the same person on different days."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
from scipy.spatial.transform import Rotation

from app.body.skeleton import JOINT, JOINTS, SIDES, Poses, Side, Skeleton, forward_kinematics
from app.lab.walkers.body import BodyModel, BodyTraits, Shape
from app.lab.walkers.choices import CONDITIONS, MOTION, Condition, MotionVersion
from app.lab.walkers.gait import Carrying, GaitTraits
from app.lab.walkers.motion import walk
from app.lab.walkers.path import Path as Route
from app.lab.walkers.renderer import Figure, skin
from app.lab.walkers.wardrobe import Outfit, Wardrobe, dress
from app.lab.walkers.wardrobe.bags import WHEEL
from app.lab.walkers.wardrobe.fitting import BONES, HANGING, SOLE, TROLLEY, grip
from app.types import Floats


@dataclass(frozen=True)
class Person:
    """An identity: everything that stays the same from day to day."""

    seed: int
    body: BodyTraits
    gait: GaitTraits
    dressed_as: int | None = None
    """Number of the person whose clothes, hair and bags these people have as well; None: their own."""

    @classmethod
    def sample(cls, seed: int, motion: MotionVersion = MOTION) -> Person:
        """Return person number `seed`; the same number is the same person everywhere."""
        body = BodyTraits.sample(np.random.default_rng([seed, 0xB0D7]))
        gait = GaitTraits.sample(seed, body.age, body.gender > 0.5)
        if motion == 2:
            gait = gait.recorded(seed, body.age, body.gender > 0.5, body.stature)
        return cls(seed, body, gait)

    def look_alike(self, other: Person, model: BodyModel, likeness: float = 0.0) -> Person:
        """Return this person with a body much like that of `other`, and dressed alike; the gait stays their own.

        Sex and age are the same, statures and masses differ by at most 2.5 cm and 3 kg from those of `other`. What
        else makes a body, proportions and muscles, stays the person's own at `likeness` 0 and is that of `other` at 1.
        """
        rng = np.random.default_rng([self.seed, 0xA11E])
        stature = other.body.stature + float(rng.uniform(-0.025, 0.025))
        mass = model.shape(other.body).mass + float(rng.uniform(-3, 3))
        own, theirs = self.body, other.body

        def drawn(mine: float, their: float) -> float:
            return mine + likeness * (their - mine) if likeness else mine

        body = replace(
            own,
            stature=stature,
            gender=theirs.gender,
            age=theirs.age,
            cup=theirs.cup,
            muscle=drawn(own.muscle, theirs.muscle),
            proportions=drawn(own.proportions, theirs.proportions),
            local=tuple(drawn(mine, their) for mine, their in zip(own.local, theirs.local, strict=True)),
        )
        low, high = 0.0, 1.0
        for _ in range(6):
            body = replace(body, weight=(low + high) / 2)
            low, high = (body.weight, high) if model.shape(body).mass < mass else (low, body.weight)
        gait = GaitTraits.sample(self.seed, body.age, body.gender > 0.5)
        if self.gait.manner is not None:
            gait = gait.recorded(self.seed, body.age, body.gender > 0.5, body.stature)
        return Person(self.seed, body, gait, other.seed)

    @property
    def female(self) -> bool:
        """Whether the body is a woman's."""
        return self.body.gender > 0.5

    def outfit(self, day: int = 0, wardrobe: Wardrobe | None = None) -> Outfit:
        """Return the clothes of day number `day`. Skin and hair are the person's own."""
        suits = wardrobe.suits if wardrobe is not None else ()
        seed = self.seed if self.dressed_as is None else self.dressed_as
        own = Outfit.sample(np.random.default_rng([seed, 0xC107]), self.female, self.body.age, suits)
        if day == 0:
            return own
        other = Outfit.sample(np.random.default_rng([seed, day, 0xC107]), self.female, self.body.age, suits)
        return replace(other, skin=own.skin, hair=own.hair, hair_style=own.hair_style)

    def session(
        self, number: int, condition: Condition = "nm", clothes: int = 0, change: float = 1.0, life: float = 0.0
    ) -> Session:
        """Return this person's walk number `number` under `condition`, in the clothes of day `clothes`.

        `change` scales how much people differ from walk to walk. With the chance `life` the walk is one of everyday
        life: other bags, wide trousers, open coats, a phone, hands in pockets, and now and then a stoop or a limp.
        """
        code = CONDITIONS.index(condition)
        rng = np.random.default_rng([self.seed, number, code, 0x5E55])
        # Weight swings a little from day to day, and clothes do not always sit alike.
        local = tuple(float(np.clip(value + rng.normal(0, 0.02 * change), -1, 1)) for value in self.body.local)
        weight = float(np.clip(self.body.weight + rng.normal(0, 0.015 * change), 0, 1))
        body = replace(self.body, weight=weight, local=local)
        gait = self.gait.in_session(int(rng.integers(2**31)), change)
        own = int(rng.integers(2**31))
        packing = own
        if self.dressed_as is not None:
            bags = np.random.default_rng([self.dressed_as, number, code, 0x5E55])
            packing = int(bags.integers(2**31))
        everyday = life > 0 and bool(np.random.default_rng([packing, 0x11FE]).random() < life)
        if everyday:
            gait = _in_life(gait, np.random.default_rng([own, 0x11FE]))
        return Session(self, body, gait, condition, clothes, own, packing, everyday)


def _in_life(gait: GaitTraits, rng: np.random.Generator) -> GaitTraits:
    """One walk in ten is bent, one in ten limps."""
    chance = float(rng.random())
    if chance < 0.1:
        return gait.stooped(float(rng.uniform(0.4, 1.0)))
    if chance < 0.2:
        return gait.limping("r" if rng.random() < 0.5 else "l", float(rng.uniform(0.4, 1.0)))
    return gait


@dataclass(frozen=True)
class Session:
    """One person, one walk: slightly different body and gait, a condition, a `seed` for the rest.

    `packing` is the seed of the bags and coats: people who look alike carry the same.
    """

    person: Person
    body: BodyTraits
    gait: GaitTraits
    condition: Condition
    clothes: int
    seed: int
    packing: int
    everyday: bool = False

    def outfit(self, wardrobe: Wardrobe | None = None) -> Outfit:
        """Return what is worn and carried."""
        plain = self.person.outfit(self.clothes, wardrobe)
        rng = np.random.default_rng([self.packing, 0xC0A7])
        dressed = plain.in_condition(self.condition, rng)
        return dressed.in_life(rng) if self.everyday else dressed


@dataclass(frozen=True, eq=False)
class Dressed:
    """A person ready to be moved and drawn."""

    shape: Shape
    skeleton: Skeleton
    outfit: Outfit
    figure: Figure

    @classmethod
    def make(cls, model: BodyModel, session: Session, outfit: Outfit, wardrobe: Wardrobe | None = None) -> Dressed:
        """Shape the body, fit the clothes."""
        shape = _shape(model, session.body)
        return cls(shape, shape.skeleton_in_shoes(SOLE), outfit, dress(model, shape, outfit, wardrobe))

    @property
    def _clearance(self) -> float:
        """Abduction in degrees with which the hands pass beside the hips, however wide these are."""
        rest, figure = self.skeleton.rest, self.figure
        hip = rest[JOINT["hip_l"], 2]
        trunk = np.isin(figure.bones[:, 0], [JOINT["pelvis"], JOINT["hip_l"], JOINT["hip_r"]])
        trunk &= (figure.vertices[:, 2] > hip - 0.06) & (figure.vertices[:, 2] < hip + 0.15)
        half = float(np.abs(figure.vertices[trunk, 1]).max()) if trunk.any() else 0.2
        shoulder, elbow, wrist = (rest[JOINT[f"{part}_l"]] for part in ("shoulder", "elbow", "wrist"))
        reach = float(np.linalg.norm(elbow - shoulder) + np.linalg.norm(wrist - elbow)) + 0.08
        return float(np.degrees(np.arctan2(half + 0.03 - shoulder[1], reach)))

    def walk(
        self,
        gait: GaitTraits,
        route: Route,
        speed: float | None,
        fps: float,
        seconds: float,
        seed: int,
        phase: float = 0,
    ) -> Motion:
        """Walk along `route`; see `app.lab.walkers.motion.walk`."""
        gait = replace(gait, arm_abduction=max(gait.arm_abduction, self._clearance))
        outfit = self.outfit
        carrying = None
        if outfit.bag is not None or outfit.hands is not None:
            carrying = Carrying(outfit.bag, outfit.bag_side, outfit.hands, outfit.hands_side)
        if outfit.hands == "phone":
            gait = replace(gait, head_pitch=gait.head_pitch + 18.0)
        result = walk(
            self.skeleton, gait, route, speed, fps=fps, seconds=seconds, carrying=carrying, seed=seed, phase=phase
        )
        joints, transforms = bone_transforms(self.skeleton, result.poses, self.outfit.bag_side)
        return Motion(self, result.poses, joints, transforms)


@dataclass(frozen=True, eq=False)
class Motion:
    """A dressed person over time: `joints` (T, 21, 3) and the bones' `transforms` (T, BONES, 3, 4), float32."""

    dressed: Dressed
    poses: Poses
    joints: Floats
    transforms: Floats

    def __len__(self) -> int:
        return len(self.joints)

    def skinned(self, frame: int) -> tuple[Floats, Floats]:
        """Return vertices and normals (N, 3) of `frame`."""
        return skin(self.dressed.figure, self.transforms[frame])

    @cached_property
    def keypoints(self) -> Floats:
        """The 17 COCO keypoints in the world, (T, 17, 3) m."""
        lift = np.array([0, 0, SOLE], np.float32)
        head = self.transforms[:, JOINT["head"]]
        face = (self.dressed.shape.face_points + lift) @ head[:, :, :3].transpose(0, 2, 1) + head[:, None, :, 3]
        order = [JOINT[f"{part}_{side}"] for part in _COCO_JOINTS for side in SIDES]
        return np.concatenate([face, self.joints[:, order]], axis=1).astype(np.float32)


_COCO_JOINTS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")


@lru_cache(maxsize=16)
def _shape(model: BodyModel, traits: BodyTraits) -> Shape:
    return model.shape(traits)


def bone_transforms(skeleton: Skeleton, poses: Poses, bag_side: Side) -> tuple[Floats, Floats]:
    """Return joints (T, 21, 3) and transforms (T, BONES, 3, 4) that take rest vertices to the world."""
    joints, rotations = forward_kinematics(skeleton, poses)
    transforms = np.empty((len(poses), BONES, 3, 4), np.float32)
    count = len(JOINTS)
    transforms[:, :count, :, :3] = rotations
    transforms[:, :count, :, 3] = joints - (rotations @ skeleton.rest[..., None])[..., 0]
    forward = rotations[:, JOINT["pelvis"], :2, 0]
    yaw = np.arctan2(forward[:, 1], forward[:, 0])
    for side, bone in HANGING.items():
        hand = grip(skeleton.rest, side)
        held = _apply(transforms[:, JOINT[f"wrist_{side}"]], hand)
        transforms[:, bone] = _placed(yaw, np.zeros_like(yaw), hand, held)
        if side == bag_side:
            # Tilted until the wheels stand on the floor.
            upright, ahead = float(hand[2]) - WHEEL[1], WHEEL[0]
            drop = (held[:, 2] - WHEEL[1]) / np.hypot(upright, ahead)
            tilt = np.arctan2(ahead, upright) + np.arccos(np.clip(drop, 0.2, 1.0))
            transforms[:, TROLLEY] = _placed(yaw, tilt, hand, held)
    return joints, transforms


def _apply(transforms: Floats, point: Floats) -> Floats:
    return np.asarray((transforms[:, :, :3] @ point) + transforms[:, :, 3], np.float32)


def _placed(yaw: Floats, tilt: Floats, rest: Floats, world: Floats) -> Floats:
    """Transforms (T, 3, 4) that turn by `tilt` about y, then `yaw` about z, and bring `rest` to `world`."""
    turn = Rotation.from_euler("ZY", np.stack([yaw, tilt], -1)).as_matrix()
    return np.concatenate([turn, (world - turn @ rest)[..., None]], axis=2).astype(np.float32)
