"""The geometry of one leg: two links from the hip to the ankle, and a foot that rolls over the floor."""

from __future__ import annotations

import numpy as np

from app.body.skeleton import JOINT, SIDES, Skeleton
from app.lab.walkers import normative
from app.types import Doubles


class Leg:
    """The links of a leg.

    `hip` (3,) m from the pelvis, `thigh` and `shank` (3,) m, all in the rest pose; `upper` and `lower` are the lengths
    of thigh and shank.
    """

    def __init__(self, skeleton: Skeleton, side: int) -> None:
        rest = skeleton.rest.astype(np.float64)
        hip, knee, ankle = (rest[JOINT[f"{joint}_{SIDES[side]}"]] for joint in ("hip", "knee", "ankle"))
        self.hip, self.thigh, self.shank = hip - rest[0], knee - hip, ankle - knee
        self.upper, self.lower = float(np.linalg.norm(self.thigh)), float(np.linalg.norm(self.shank))
        self.foot = Foot(skeleton, side)

    def reach(self, knee: Doubles | float) -> Doubles:
        """Return the distance from hip to ankle, m, for a knee flexion in degrees."""
        a, b = self.upper, self.lower
        return np.asarray(np.sqrt(a * a + b * b + 2 * a * b * np.cos(np.radians(knee))))

    def knee_flexion(self, reach: Doubles) -> Doubles:
        """Return the inverse of `reach`."""
        a, b = self.upper, self.lower
        return np.asarray(np.degrees(np.arccos(np.clip((reach**2 - a * a - b * b) / (2 * a * b), -1.0, 1.0))))

    def thigh_lead(self, knee: Doubles) -> Doubles:
        """Return the angle at the hip between the thigh and the line to the ankle, degrees."""
        bend = np.radians(knee)
        return np.asarray(np.degrees(np.arctan2(self.lower * np.sin(bend), self.upper + self.lower * np.cos(bend))))


class Foot:
    """How one foot rolls over the floor, in the vertical plane through heel and toe tip.

    Places are (ahead, up) m, measured from the point of the floor below the ankle of the flat foot; a positive pitch
    (degrees) lifts the heel.
    """

    def __init__(self, skeleton: Skeleton, side: int) -> None:
        heel, ball, tip = skeleton.sole[side].astype(np.float64)
        ankle, toe = (skeleton.rest[JOINT[f"{joint}_{SIDES[side]}"]].astype(np.float64) for joint in ("ankle", "toe"))
        along = (tip - heel)[:2] / np.linalg.norm((tip - heel)[:2])
        self.yaw = float(np.arctan2(along[1], along[0]))
        self.axis = np.array([-along[1], along[0], 0.0])
        self.ankle, self.toe, self.heel, self.ball, self.tip = (
            np.array([(point - ankle)[:2] @ along, point[2]]) for point in (ankle, toe, heel, ball, tip)
        )

    @staticmethod
    def toe_extension(pitch: Doubles) -> Doubles:
        """Return the angle of the toes against the foot, degrees: flat on the floor up to a limit, then on the tip."""
        over = (pitch - normative.TOE_EXTENSION_LIMIT) / 5.0
        return np.asarray(np.where(pitch > 0, pitch - 5.0 * np.logaddexp(0.0, over), 0.0))

    def standing_ankle(self, pitch: Doubles) -> Doubles:
        """Return the ankle (..., 2) of a foot that rolls over heel (toes up), sole, toe joint and tip without slip."""
        on_heel = self.heel + _turned(self.ankle - self.heel, pitch)
        toes = pitch - self.toe_extension(pitch)
        on_toes = self.tip + _turned(self.toe - self.tip, toes) + _turned(self.ankle - self.toe, pitch)
        return np.where((pitch < 0)[..., None], on_heel, on_toes)

    def lowest(self, pitch: Doubles, extension: Doubles) -> Doubles:
        """Return the height of the lowest point of the sole above the ankle, m (negative)."""
        toe = _turned(self.toe - self.ankle, pitch)[..., 1]
        points = [toe + _turned(point - self.toe, pitch - extension)[..., 1] for point in (self.ball, self.tip)]
        return np.minimum(_turned(self.heel - self.ankle, pitch)[..., 1], np.minimum(*points))


def _turned(vector: Doubles, pitch: Doubles) -> Doubles:
    """Turn `vector` (2,) by `pitch` degrees (...): (..., 2)."""
    cosine, sine = np.cos(np.radians(pitch)), np.sin(np.radians(pitch))
    return np.stack([vector[0] * cosine + vector[1] * sine, vector[1] * cosine - vector[0] * sine], -1)
