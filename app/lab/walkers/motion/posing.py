"""From the legs' motion to the rotations of all joints."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.spatial.transform import Rotation

from app.body.rotation import oriented, shortest
from app.body.skeleton import JOINT, JOINTS, SIDES, Poses
from app.lab.walkers.gait import ArmCarriage, Carrying, GaitTraits
from app.lab.walkers.motion.footfalls import Footfalls
from app.lab.walkers.motion.leg import Leg
from app.lab.walkers.motion.stance import Stance
from app.lab.walkers.motion.swing import LegMotion
from app.types import Doubles

_UP = np.array([0.0, 0.0, 1.0])
_LEFT = np.array([0.0, 1.0, 0.0])


class Posing:
    """Turns every joint of `frames` poses; `stance` may hold further times after those of the frames."""

    def __init__(self, footfalls: Footfalls, stance: Stance, carrying: Carrying | None, frames: int) -> None:
        self._traits: GaitTraits = footfalls.traits
        self._footfalls = footfalls
        self._rest = footfalls.skeleton.rest.astype(np.float64)
        self._offsets, self._carrying, self._frames = footfalls.offsets, carrying, frames
        self._root = stance.root[:frames]
        self._pelvis, self._pelvis_angles = stance.pelvis[:frames], stance.pelvis_angles[:, :frames]
        self._hip = [hip[:frames] for hip in stance.hip]
        self._phase, self._speed, self._vigour, self._heading = (
            values[:frames] for values in (stance.phase, stance.speed, stance.vigour, stance.heading)
        )
        self._local = np.tile(np.eye(3), (frames, len(JOINTS), 1, 1))

    def poses(self, legs: Sequence[Leg], motions: Sequence[LegMotion]) -> Poses:
        """Return the poses in which both legs move as `motions` say."""
        self._turn("pelvis", self._pelvis)
        for side, (leg, motion) in enumerate(zip(legs, motions, strict=True)):
            self._pose_leg(leg, motion, side)
            self._pose_arm(side)
        self._pose_trunk()
        return Poses(self._root.astype(np.float32), self._local.astype(np.float32))

    def _turn(self, joint: str, rotation: Rotation) -> None:
        self._local[:, JOINT[joint]] = rotation.as_matrix()

    def _pose_leg(self, leg: Leg, motion: LegMotion, side: int) -> None:
        """Two-link inverse kinematics: the knee lies in the plane of hip, ankle and the direction of knee and toes."""
        a, b, name = leg.upper, leg.lower, SIDES[side]
        line = motion.ankle - self._hip[side]
        distance = np.clip(np.linalg.norm(line, axis=1), abs(a - b) + 1e-4, leg.reach(0.5))
        line /= np.linalg.norm(line, axis=1, keepdims=True)
        toes = np.stack([np.cos(motion.yaw), np.sin(motion.yaw), np.zeros_like(motion.yaw)], -1)
        forward = 0.5 * self._pelvis.as_matrix()[:, :, 0] + 0.5 * toes
        knee_turn = Rotation.from_euler("z", self._traits.knee_turn * (1.0 if side == 0 else -1.0), degrees=True)
        axis = np.cross(knee_turn.apply(forward), line)
        axis /= np.linalg.norm(axis, axis=1, keepdims=True)
        along = (a * a - b * b + distance**2) / (2 * distance)
        bow = np.sqrt(np.maximum(a * a - along**2, 0.0))
        thigh_way = line * along[:, None] + np.cross(line, axis) * bow[:, None]
        thigh = _frames(axis, thigh_way) * _frames(_LEFT, leg.thigh).inv()
        shank = _frames(axis, line * distance[:, None] - thigh_way) * _frames(_LEFT, leg.shank).inv()
        foot = Rotation.from_euler("z", (motion.yaw - leg.foot.yaw)[:, None]) * _about(leg.foot.axis, motion.pitch)
        self._turn(f"hip_{name}", self._pelvis.inv() * thigh)
        self._turn(f"knee_{name}", thigh.inv() * shank)
        self._turn(f"ankle_{name}", shank.inv() * foot)
        self._turn(f"toe_{name}", _about(leg.foot.axis, -motion.extension))

    def _pose_trunk(self) -> None:
        """Pelvis, chest and head have their own directions in space; spine and neck share what lies between."""
        traits, load, phase, speed, vigour = self._traits, self._carrying, self._phase, self._speed, self._vigour
        rotation, sway, bend = (
            self._footfalls.angle(f"chest_{name}", speed, phase) for name in ("rotation", "sway", "lean")
        )
        lean = traits.trunk_lean + (load.trunk_lean if load else 0.0)
        side_lean = -(load.trunk_side_lean if load else 0.0)
        chest = np.stack(
            [
                -vigour * traits.trunk_rotation * rotation,
                vigour * traits.trunk_sway * sway + side_lean,
                vigour * bend + lean * (0.4 + 0.6 * vigour) + traits.stoop,
            ]
        )
        spine = (np.degrees(self._pelvis_angles) + chest) / 2
        spine[2] -= traits.stoop / 2
        head = np.stack([0.15 * chest[0], 0.2 * chest[1], np.full_like(phase, traits.head_pitch)])
        neck = (chest + head) / 2
        neck[2] += traits.head_forward
        below = self._pelvis
        for name, angles in (("spine", spine), ("chest", chest), ("neck", neck), ("head", head)):
            yaw, roll, pitch = np.radians(angles)
            turn = oriented(self._heading + yaw, roll, pitch)
            self._turn(name, below.inv() * turn)
            below = turn

    def _pose_arm(self, side: int) -> None:
        traits, name, sign = self._traits, SIDES[side], 1.0 if side == 0 else -1.0
        carriage = self._carrying.arm(name) if self._carrying else ArmCarriage()
        scale = self._vigour * traits.arm_swing * (1 + sign * traits.arm_asymmetry) * carriage.swing
        curves = self._footfalls.curves
        middle, hanging, elbow_middle = curves.arm(side)
        shoulder, forearm = (
            self._footfalls.angle(name, self._speed, self._phase, side) for name in ("shoulder", "elbow")
        )
        swing = shoulder - middle
        flexion = scale * swing + hanging * self._vigour + traits.arm_forward + carriage.forward
        bend = scale * traits.elbow_swing * (forearm - elbow_middle)
        elbow = np.clip(elbow_middle + bend + traits.elbow_offset + carriage.elbow, 4.0, 138.0)
        hang, axis, rest_elbow = self._hanging_arm(side)
        abduction, turn = sign * (traits.arm_abduction + carriage.abduction), -sign * traits.arm_turn
        angles = np.stack([-flexion, np.full_like(flexion, abduction), np.full_like(flexion, turn)], -1)
        upper = Rotation.from_euler("YXZ", angles, degrees=True) * hang
        lift = Rotation.from_euler("x", sign * traits.shoulder_lift, degrees=True)
        self._turn(f"clavicle_{name}", lift)
        self._turn(f"shoulder_{name}", lift.inv() * upper)
        self._turn(f"elbow_{name}", _about(axis, elbow - rest_elbow))

    def _hanging_arm(self, side: int) -> tuple[Rotation, Doubles, float]:
        """From the body's rest pose to the anatomical one (arm straight down, elbow bending forward).

        Returns the turn of the upper arm, the elbow's axis in the rest pose and the elbow flexion of the rest pose.
        """
        shoulder, elbow, wrist = (
            self._rest[JOINT[f"{joint}_{SIDES[side]}"]] for joint in ("shoulder", "elbow", "wrist")
        )
        upper, fore = elbow - shoulder, wrist - elbow
        hang = shortest(upper, -_UP)
        axis = np.cross(upper, fore)
        sine = np.linalg.norm(axis)
        bend = float(np.degrees(np.arctan2(sine, upper @ fore)))
        if bend < 3.0:  # a straight arm has no axis of its own
            return hang, np.asarray(hang.inv().apply(-_LEFT)), 0.0
        axis /= sine
        hanging = hang.apply(axis)
        return Rotation.from_euler("z", -np.arctan2(hanging[0], -hanging[1])) * hang, axis, bend


def _about(axis: Doubles, degrees: Doubles) -> Rotation:
    """Return the rotations about the unit vector `axis` (3,) by `degrees` (T,)."""
    return Rotation.from_rotvec(np.radians(degrees)[:, None] * axis)


def _frames(axis: Doubles, bone: Doubles) -> Rotation:
    """Return the rotations that take z against `bone` and y to the knee's `axis` made orthogonal to it, (..., 3)."""
    up = -bone / np.linalg.norm(bone, axis=-1, keepdims=True)
    left = axis - np.sum(axis * up, -1, keepdims=True) * up
    left = left / np.linalg.norm(left, axis=-1, keepdims=True)
    return Rotation.from_matrix(np.stack([np.cross(left, up), left, up], -1))
