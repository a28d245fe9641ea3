"""Walking: poses along a path whose feet neither slip nor sink.

The order of events: the speed gives the phase of the gait cycle and where along the path every foot lands. In
stance a foot rolls over heel, sole, toe joint and toe tip, which stay where they are. The pelvis rides on the
stance leg at the height at which that knee has its normative flexion. In swing the leg follows the normative knee
and thigh angles, bent at both ends so that it starts where stance ended and ends where the next begins; two-link
inverse kinematics then gives the knees. Trunk, head and arms follow their curves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.lab.walkers import normative, rotation
from app.lab.walkers.gait import ArmCarriage, Carrying, GaitTraits
from app.lab.walkers.path import Path
from app.lab.walkers.skeleton import JOINT, JOINTS, SIDES, Poses, Skeleton
from app.types import Bools

Doubles = NDArray[np.float64]
Indices = NDArray[np.int64]

_GRID = 240.0
"""Samples a second on which speed is integrated."""
_MARGIN = 3.0
"""Seconds walked before the first and after the last frame, so that every step has its neighbours."""
_SLOWEST = 0.45
"""m/s whose cadence is kept while a walker starts or stops: the steps get shorter, not endlessly slow."""
_STILL = 0.02
"""m/s below which somebody stands."""
_REST_PHASE = 0.08
"""Phase at which somebody stands: both feet are down between heel contact and the other's toe-off."""
_MIDSTANCE = 0.24
"""Phase at which the hip passes over the ankle."""
_FOOT_FLAT = 0.11
_TRAILING = 0.3
"""Phase from which a stance foot may lift its heel to reach."""
_HEEL_OFF = 0.31
"""Heel rise begins terminal stance (approximate, from general knowledge of Perry & Burnfield 2010, ch. 2)."""
_EARLIER, _HIGHER = 0.12, 45.0
"""How much earlier (phase) and higher (degrees) the heel rises per step over leg length."""
_STANDING_KNEE = 6.0
"""Knee flexion of somebody who stands, degrees."""
_CLEARANCE = 0.015
"""Lowest the sole comes in mid swing, m (approximate, from general knowledge of Winter 1991, not checked)."""
_BLEND = 0.5
"""Share of swing within which it leaves the way stance ended and takes the way the next begins."""
_SOFT = 0.0015
"""How sharply, in m, the pelvis' height gives way where a leg would be too short."""
_UP = np.array([0.0, 0.0, 1.0])


@dataclass(frozen=True, eq=False)
class Walk:
    """A motion and what is known about it, T frames.

    `phase` (T,) of the left foot's cycle, rising, whole numbers at left heel contacts; `contacts` (T, 2, 3): which of
    left and right heel, ball and tip stand still on the floor; `arc` (T,) m walked along the path; `heading` (T,)
    radians; `speed` (T,) m/s.
    """

    poses: Poses
    phase: Doubles
    contacts: Bools
    arc: Doubles
    heading: Doubles
    speed: Doubles

    def __len__(self) -> int:
        return len(self.poses)


def speed_profile(
    seconds: float,
    fps: float,
    speed: float,
    *,
    start: float | None = None,
    stop: float | None = None,
    ramp: float = 1.2,
) -> Doubles:
    """Return the speed in m/s of every frame: standing until `start` s, walking, standing again from `stop` s on.

    None walks already at the first frame, or still at the last. The speed changes within `ramp` s (people reach
    their speed within two or three steps).
    """
    time = np.arange(round(seconds * fps)) / fps
    value = np.full(len(time), float(speed))
    if start is not None:
        value *= _smooth((time - start) / ramp)
    if stop is not None:
        value *= _smooth((stop - time) / ramp)
    return value


def walk(
    skeleton: Skeleton,
    traits: GaitTraits,
    path: Path,
    speed: Doubles | float | None = None,
    *,
    fps: float = 25.0,
    seconds: float | None = None,
    carrying: Carrying | None = None,
    start_arc: float = 0.0,
    phase: float = 0.0,
    seed: int | None = None,
) -> Walk:
    """Walk along `path`.

    Args:
        skeleton: the body's bones.
        traits: the gait.
        path: where to.
        speed: m/s of every frame (see `speed_profile`), or one value, or None for the person's own, both
            with `seconds`.
        fps: frames per second.
        seconds: the duration, where `speed` is one value.
        carrying: what is carried.
        start_arc: where on the path the first frame is, m.
        phase: gait phase of the first frame, unless it shows somebody standing.
        seed: draws the small differences from stride to stride; None: every stride is the same.

    Raises:
        ValueError: no frames, or a speed outside 0 to 2 m/s.
    """
    if speed is None or isinstance(speed, (int, float)):
        if seconds is None:
            raise ValueError("give seconds, or the speed of every frame")
        speed = np.full(round(seconds * fps), float(traits.speed if speed is None else speed))
    if len(speed) == 0 or not np.all((speed >= 0) & (speed <= 2.0)):
        raise ValueError("a walk needs at least one frame and speeds between 0 and 2 m/s")
    plan = _Plan(skeleton, traits, path, np.asarray(speed, np.float64), fps, start_arc, phase, seed)
    return _Solver(plan, carrying).solve(np.arange(len(speed)) / fps)


class _Plan:
    """Time, phase and arc on a fine grid, and where every foot lands."""

    def __init__(
        self,
        skeleton: Skeleton,
        traits: GaitTraits,
        path: Path,
        speed: Doubles,
        fps: float,
        start_arc: float,
        phase: float,
        seed: int | None,
    ) -> None:
        self.skeleton, self.traits, self.path = skeleton, traits, path
        rng = np.random.default_rng([seed, 0x57E9]) if seed is not None else None
        end = (len(speed) - 1) / fps
        self.time = np.arange(-_MARGIN, end + _MARGIN, 1 / _GRID)
        self.speed = np.interp(self.time, np.arange(len(speed)) / fps, speed)
        arc = np.cumsum(self.speed) / _GRID
        self.arc = arc - np.interp(0.0, self.time, arc) + start_arc
        self.phase, moving = self._phases(phase)
        self.vigour = self._vigours(moving)
        self.offsets = np.array([0.0, 0.5 + traits.timing_asymmetry])
        lowest, highest = self.phase[0] - self.offsets, self.phase[-1] - self.offsets
        self.first = int(np.floor(lowest.min())) - 1
        count = int(np.floor(highest.max())) + 2 - self.first
        cycles = self.first + np.arange(count)[:, None] + self.offsets
        stance_speed = np.interp(self.time_of(cycles + 0.3), self.time, self.speed)
        self.toe_off = np.clip(normative.toe_off(stance_speed) + traits.stance, 0.54, 0.7)
        arc_at = np.interp(self.time_of(cycles + _MIDSTANCE), self.time, self.arc)
        steps = np.diff(arc_at.ravel(), prepend=arc_at[0, 0], append=arc_at[-1, -1]).clip(0.0)
        self.step_in, self.step_out = steps[:-1].reshape(-1, 2), steps[1:].reshape(-1, 2)
        step = self.step_in
        share = np.clip(step / 0.7, 0, 1)
        arc_at += share * (traits.hip_offset + traits.step_asymmetry * step * np.array([1.0, -1.0]))
        lateral = traits.step_width / 2 * np.array([1.0, -1.0]) * np.ones((count, 1))
        if rng is not None:
            # SD about 2 cm: approximate, from general knowledge of Owings & Grabiner (2004), not checked against it.
            arc_at += share * traits.variability * 0.012 * np.clip(rng.standard_normal((count, 2)), -2, 2)
            lateral += share * traits.variability * 0.009 * np.clip(rng.standard_normal((count, 2)), -2, 2)
        place, heading = path.at(arc_at)
        side_on = np.stack([-np.sin(heading), np.cos(heading)], -1)
        forward = np.stack([np.cos(heading), np.sin(heading)], -1)
        ankles = [JOINT[f"ankle_{side}"] for side in SIDES]
        hips = [JOINT[f"hip_{side}"] for side in SIDES]
        ahead = (skeleton.rest[ankles, 0] - skeleton.rest[hips, 0]).astype(np.float64)
        self.place = place + lateral[..., None] * side_on + ahead[:, None] * forward
        self.yaw = heading + np.radians([traits.toe_out_l, -traits.toe_out_r])

    def time_of(self, phase: Doubles) -> Doubles:
        return np.asarray(np.interp(phase, self.phase, self.time))

    def _phases(self, phase: float) -> tuple[Doubles, Doubles]:
        leg, ratio = self.skeleton.leg_length, self.traits.walk_ratio
        rate = normative.cadence(np.maximum(self.speed, _SLOWEST), leg, ratio) / 120
        still = self.speed < _STILL
        moving = np.ones(len(rate))
        total = 0.0
        if still[0]:
            total = _REST_PHASE + (0.5 if phase % 1 >= 0.5 else 0.0)
        edges = np.flatnonzero(np.diff(np.concatenate([[False], still, [False]]).astype(np.int8)))
        done = 0
        for begin, stop in edges.reshape(-1, 2):
            reached = total + rate[done:begin].sum() / _GRID
            goal = np.ceil((reached - _REST_PHASE) * 2 - 1e-9) / 2 + _REST_PHASE
            walked = reached + np.cumsum(rate[begin:stop]) / _GRID
            rate[begin:stop][walked > goal] = 0.0
            moving[begin:stop][walked > goal] = 0.0
            total, done = reached + rate[begin:stop].sum() / _GRID, stop
        # The tiny slope keeps the phase invertible while somebody stands.
        phases = np.cumsum(np.maximum(rate, 1e-6)) / _GRID
        if still[0]:
            phases += _REST_PHASE + (0.5 if phase % 1 >= 0.5 else 0.0) - phases[0]
        else:
            phases += phase - np.interp(0.0, self.time, phases)
        return phases, moving

    def _vigours(self, moving: Doubles) -> Doubles:
        """How much of the normative angles is used: 0 standing, 1 from 0.6 m/s on."""
        return _blurred(np.maximum(_smooth(self.speed / 0.6), 0.4 * moving), 0.12 * _GRID)


class _Foot:
    """How one foot rolls over the floor, in the vertical plane through heel and toe tip.

    Places are (ahead, up) m, measured from the point of the floor below the ankle of the flat foot; a positive pitch
    lifts the heel.
    """

    def __init__(self, skeleton: Skeleton, side: int) -> None:
        heel, _, tip = skeleton.sole[side].astype(np.float64)
        ankle, toe = (skeleton.rest[JOINT[f"{joint}_{SIDES[side]}"]].astype(np.float64) for joint in ("ankle", "toe"))
        along = (tip - heel)[:2] / np.linalg.norm((tip - heel)[:2])
        self.yaw = float(np.arctan2(along[1], along[0]))
        self.axis = np.array([-along[1], along[0], 0.0])
        self.ankle, self.toe, self.heel, self.ball, self.tip = (
            np.array([(point - ankle)[:2] @ along, point[2]])
            for point in (ankle, toe, heel, skeleton.sole[side, 1].astype(np.float64), tip)
        )

    @staticmethod
    def turned(vector: Doubles, pitch: Doubles) -> Doubles:
        """Turn (2,) by `pitch` degrees (...): (..., 2)."""
        cosine, sine = np.cos(np.radians(pitch)), np.sin(np.radians(pitch))
        return np.stack([vector[0] * cosine + vector[1] * sine, vector[1] * cosine - vector[0] * sine], -1)

    @staticmethod
    def toe_extension(pitch: Doubles) -> Doubles:
        """Toes against foot, degrees: flat on the floor until the limit, then the tip carries."""
        over = (pitch - normative.TOE_EXTENSION_LIMIT) / 5.0
        return np.asarray(np.where(pitch > 0, pitch - 5.0 * np.logaddexp(0.0, over), 0.0))

    def stance(self, pitch: Doubles) -> Doubles:
        """Ankle (..., 2) of a foot that rolls over heel (toes up), sole, toe joint and tip without slipping."""
        on_heel = self.heel + self.turned(self.ankle - self.heel, pitch)
        lifted = pitch - self.toe_extension(pitch)
        on_toes = self.tip + self.turned(self.toe - self.tip, lifted) + self.turned(self.ankle - self.toe, pitch)
        return np.where((pitch < 0)[..., None], on_heel, on_toes)

    def lowest(self, pitch: Doubles, extension: Doubles) -> Doubles:
        """Height of the lowest point of the sole above the ankle, m (negative)."""
        toe = self.turned(self.toe - self.ankle, pitch)[..., 1]
        points = [toe + self.turned(point - self.toe, pitch - extension)[..., 1] for point in (self.ball, self.tip)]
        return np.minimum(self.turned(self.heel - self.ankle, pitch)[..., 1], np.minimum(*points))


@dataclass(eq=False)
class _Leg:
    """One leg at every frame: what inverse kinematics needs."""

    ankle: Doubles
    pitch: Doubles
    extension: Doubles
    yaw: Doubles
    swings: Bools


class _Solver:
    """The poses of a plan."""

    def __init__(self, plan: _Plan, carrying: Carrying | None) -> None:
        self.plan, self.traits, self.carrying = plan, plan.traits, carrying
        self.rest = plan.skeleton.rest.astype(np.float64)
        joints = {name: [JOINT[f"{name}_{side}"] for side in SIDES] for name in ("hip", "knee", "ankle")}
        self.hip = self.rest[joints["hip"]] - self.rest[0]
        self.thigh = self.rest[joints["knee"]] - self.rest[joints["hip"]]
        self.shank = self.rest[joints["ankle"]] - self.rest[joints["knee"]]
        self.feet = [_Foot(plan.skeleton, side) for side in (0, 1)]

    def leg_distance(self, side: int, knee: Doubles) -> Doubles:
        """Hip to ankle, m, for a knee flexion in degrees."""
        a, b = np.linalg.norm(self.thigh[side]), np.linalg.norm(self.shank[side])
        return np.asarray(np.sqrt(a * a + b * b + 2 * a * b * np.cos(np.radians(knee))))

    def knee_flexion(self, side: int, distance: Doubles) -> Doubles:
        """The inverse of `leg_distance`."""
        a, b = np.linalg.norm(self.thigh[side]), np.linalg.norm(self.shank[side])
        cosine = np.clip((distance**2 - a * a - b * b) / (2 * a * b), -1.0, 1.0)
        return np.asarray(np.degrees(np.arccos(cosine)))

    def thigh_lead(self, side: int, knee: Doubles) -> Doubles:
        """Angle at the hip between thigh and the line to the ankle, degrees."""
        a, b = np.linalg.norm(self.thigh[side]), np.linalg.norm(self.shank[side])
        bend = np.radians(knee)
        return np.asarray(np.degrees(np.arctan2(b * np.sin(bend), a + b * np.cos(bend))))

    def solve(self, times: Doubles) -> Walk:
        plan, frames, probe = self.plan, len(times), 0.004
        # Swing needs hip and foot at the events that bound it: they are evaluated together with the frames.
        contact = plan.first + np.arange(len(plan.yaw))[:, None] + plan.offsets
        off = contact + plan.toe_off
        events = np.stack([off - probe, off, contact, contact + probe])
        state = _State(self, np.concatenate([times, plan.time_of(events).ravel()]))
        legs = []
        for side in (0, 1):
            swing = _Swing(self, state, side, frames, events.shape, probe)
            legs.append(swing.leg())
        return self._assemble(state, legs, frames)

    def _assemble(self, state: _State, legs: list[_Leg], frames: int) -> Walk:
        local = np.tile(np.eye(3), (frames, len(JOINTS), 1, 1))
        pelvis = state.pelvis[:frames]
        local[:, 0] = pelvis
        for side, leg in enumerate(legs):
            self._pose_leg(local, pelvis, state.hip[side][:frames], leg, side)
        phase, vigour, speed, heading = (
            value[:frames] for value in (state.phase, state.vigour, state.speed, state.heading)
        )
        self._pose_trunk(local, pelvis, phase, vigour, speed, heading, state.pelvis_angles[:, :frames])
        for side in (0, 1):
            self._pose_arm(local, phase, vigour, speed, side)
        contacts = np.stack([_contacts(leg) for leg in legs], 1)
        poses = Poses(state.root[:frames].astype(np.float32), local.astype(np.float32))
        return Walk(poses, phase, contacts, state.arc[:frames], heading, speed)

    def _pose_leg(self, local: Doubles, pelvis: Doubles, hip: Doubles, leg: _Leg, side: int) -> None:
        a, b = np.linalg.norm(self.thigh[side]), np.linalg.norm(self.shank[side])
        line = leg.ankle - hip
        distance = np.clip(np.linalg.norm(line, axis=1), abs(a - b) + 1e-4, self.leg_distance(side, np.array(0.5)))
        line /= np.linalg.norm(line, axis=1, keepdims=True)
        turn = np.radians(self.traits.knee_turn) * (1.0 if side == 0 else -1.0)
        forward = pelvis[:, :, 0]
        toes = np.stack([np.cos(leg.yaw), np.sin(leg.yaw), np.zeros_like(leg.yaw)], -1)
        pole = rotation.about_z(np.array(turn)) @ (0.5 * forward + 0.5 * toes)[..., None]
        normal = np.cross(pole[..., 0], line)
        normal /= np.linalg.norm(normal, axis=1, keepdims=True)
        along = (a * a - b * b + distance**2) / (2 * distance)
        bow = np.sqrt(np.maximum(a * a - along**2, 0.0))
        thigh = line * along[:, None] + np.cross(line, normal) * bow[:, None]
        shank = line * distance[:, None] - thigh
        left = np.array([0.0, 1.0, 0.0])
        thigh_turn = _aligned(normal, thigh, left, self.thigh[side])
        shank_turn = _aligned(normal, shank, left, self.shank[side])
        foot = self.feet[side]
        foot_turn = rotation.about_z(leg.yaw - foot.yaw) @ rotation.about(foot.axis, np.radians(leg.pitch))
        at = JOINT[f"hip_{SIDES[side]}"]
        local[:, at] = rotation.transposed(pelvis) @ thigh_turn
        local[:, at + 1] = rotation.transposed(thigh_turn) @ shank_turn
        local[:, at + 2] = rotation.transposed(shank_turn) @ foot_turn
        local[:, at + 3] = rotation.about(foot.axis, -np.radians(leg.extension))

    def _pose_trunk(
        self,
        local: Doubles,
        pelvis: Doubles,
        phase: Doubles,
        vigour: Doubles,
        speed: Doubles,
        heading: Doubles,
        pelvis_angles: Doubles,
    ) -> None:
        """Pelvis, chest and head have their own directions in space; spine and neck share what lies between."""
        t, load = self.traits, self.carrying
        lean = t.trunk_lean + (load.trunk_lean if load else 0.0)
        side_lean = -(load.trunk_side_lean if load else 0.0)
        chest = np.stack(
            [
                -vigour * t.trunk_rotation * normative.CHEST_ROTATION(phase, speed),
                vigour * t.trunk_sway * normative.CHEST_SWAY(phase) + side_lean,
                vigour * normative.CHEST_LEAN(phase, speed) + lean * (0.4 + 0.6 * vigour) + t.stoop,
            ]
        )
        spine = (np.degrees(pelvis_angles) + chest) / 2
        spine[2] -= t.stoop / 2
        head = np.stack([0.15 * chest[0], 0.2 * chest[1], np.full_like(phase, t.head_pitch)])
        neck = (chest + head) / 2
        neck[2] += t.head_forward
        above = pelvis
        for name, angles in (("spine", spine), ("chest", chest), ("neck", neck), ("head", head)):
            yaw, roll, bend = np.radians(angles)
            turn = _oriented(heading + yaw, roll, bend)
            local[:, JOINT[name]] = rotation.transposed(above) @ turn
            above = turn

    def _pose_arm(self, local: Doubles, phase: Doubles, vigour: Doubles, speed: Doubles, side: int) -> None:
        t = self.traits
        name, sign = SIDES[side], 1.0 if side == 0 else -1.0
        carriage = self.carrying.arm(name) if self.carrying else ArmCarriage()
        scale = vigour * t.arm_swing * (1 + sign * t.arm_asymmetry) * carriage.swing
        own = phase - self.plan.offsets[side]
        middle = 0.5 * (normative.SHOULDER(np.array(0.02)) + normative.SHOULDER(np.array(0.52)))
        swing = normative.SHOULDER(own, speed) - middle
        flexion = scale * swing + 0.5 * middle * vigour + t.arm_forward + carriage.forward
        elbow_middle = normative.ELBOW(np.array(0.3))
        bend = scale * t.elbow_swing * (normative.ELBOW(own, speed) - elbow_middle)
        elbow = np.clip(elbow_middle + bend + t.elbow_offset + carriage.elbow, 4.0, 120.0)
        hang, axis, rest_elbow = self._arm_zero(side)
        abduction = np.radians(t.arm_abduction + carriage.abduction) * sign
        upper = (
            rotation.about_y(-np.radians(flexion))
            @ rotation.about_x(np.array(abduction))
            @ rotation.about_z(np.array(-sign * np.radians(t.arm_turn)))
            @ hang
        )
        lift = rotation.about_x(np.array(sign * np.radians(t.shoulder_lift)))
        local[:, JOINT[f"clavicle_{name}"]] = lift
        local[:, JOINT[f"shoulder_{name}"]] = lift.T @ upper
        local[:, JOINT[f"elbow_{name}"]] = rotation.about(axis, np.radians(elbow - rest_elbow))

    def _arm_zero(self, side: int) -> tuple[Doubles, Doubles, float]:
        """From the body's rest pose to the anatomical one (arm straight down, elbow bending forward).

        Returns the turn of the upper arm, the elbow's axis in the rest pose and the elbow flexion of the rest pose.
        """
        shoulder, elbow, wrist = (
            self.rest[JOINT[f"{joint}_{SIDES[side]}"]] for joint in ("shoulder", "elbow", "wrist")
        )
        upper, fore = elbow - shoulder, wrist - elbow
        hang = rotation.between(upper, -_UP)
        axis = np.cross(upper, fore)
        sine = np.linalg.norm(axis) / (np.linalg.norm(upper) * np.linalg.norm(fore))
        cosine = upper @ fore / (np.linalg.norm(upper) * np.linalg.norm(fore))
        if sine < np.sin(np.radians(3.0)):
            return hang, hang.T @ np.array([0.0, -1.0, 0.0]), 0.0
        axis /= np.linalg.norm(axis)
        hanging = hang @ axis
        turn = -np.arctan2(hanging[0], -hanging[1])
        return rotation.about_z(np.array(turn)) @ hang, axis, float(np.degrees(np.arctan2(sine, cosine)))


class _State:
    """Pelvis, and both legs as if they were in stance, at N times."""

    def __init__(self, solver: _Solver, times: Doubles) -> None:
        plan, traits = solver.plan, solver.traits
        self.phase = np.interp(times, plan.time, plan.phase)
        self.arc = np.interp(times, plan.time, plan.arc)
        self.speed = np.interp(times, plan.time, plan.speed)
        self.vigour = np.interp(times, plan.time, plan.vigour)
        phase, speed, vigour = self.phase, self.speed, self.vigour
        turn = 2 * np.pi * phase
        # Forward by a centimetre in single support, back in double support (Perry, ch. 7, in words; approximate).
        place, self.heading = plan.path.at(self.arc - 0.008 * vigour * np.sin(2 * turn - 1.2))
        sway = traits.lateral_sway * vigour * np.sin(turn - 2 * np.pi * 0.06)
        place += sway[:, None] * np.stack([-np.sin(self.heading), np.cos(self.heading)], -1)
        self.pelvis_angles = np.radians(
            np.stack(
                [
                    -vigour * traits.pelvis_rotation * normative.PELVIS_ROTATION(phase, speed),
                    vigour * traits.pelvis_obliquity * normative.PELVIS_OBLIQUITY(phase, speed),
                    vigour * normative.PELVIS_TILT(phase) + traits.pelvis_tilt,
                ]
            )
        )
        yaw, roll, tilt = self.pelvis_angles
        self.pelvis = _oriented(self.heading + yaw, roll, tilt)
        self.index: list[Indices] = []
        self.share: list[Doubles] = []
        self.pitch: list[Doubles] = []
        self.ankle: list[Doubles] = []
        self.solver, self.place = solver, place
        self.offset = [self.pelvis @ solver.hip[side] for side in (0, 1)]
        wanted, weights, limits, softness = zip(*(self._stand(side) for side in (0, 1)), strict=True)
        weight = np.array(weights) + 1e-9
        height = np.sum(weight * wanted, 0) / weight.sum(0)
        for limit, soft in zip(limits, softness, strict=True):
            height = -soft * np.logaddexp(-height / soft, -limit / soft)
        height = np.minimum(*(self._lift_heel(side, height) for side in (0, 1)))
        self.root = np.concatenate([place, height[:, None]], axis=1)
        self.hip = [self.root + offset for offset in self.offset]

    def _stand(self, side: int) -> tuple[Doubles, Doubles, Doubles, Doubles]:
        """Place a foot in stance.

        Returns the pelvis height its leg wants and with which weight, and the height beyond which the leg, if it
        leads or is about to land, would be too short, with the softness of that limit.
        """
        solver, plan = self.solver, self.solver.plan
        own = self.phase - plan.offsets[side]
        # Rounding must not throw an event at a heel contact into the cycle before.
        cycle = np.floor(own + 1e-9)
        share = own - cycle
        index = np.clip(cycle.astype(np.int64) - plan.first, 0, len(plan.yaw) - 1)
        toe_off = plan.toe_off[index, side]
        pitch = self._planned_pitch(side, index, share)
        ankle = _placed(plan, side, index, solver.feet[side].stance(pitch))
        flexion = _stance_knee(
            normative.TOE_OFF * np.minimum(share / toe_off, 1.0), self.speed, self.vigour, plan.traits
        )
        wanted = _pelvis_height(self.place, self.offset[side], ankle, solver.leg_distance(side, flexion))
        double = np.maximum(toe_off - 0.5, 0.04)
        weight = _smoother(share / double) * _smoother((toe_off - share) / double)
        # A leg about to land limits the pelvis too, the more the nearer its heel contact is.
        lands = share > (1 + toe_off) / 2
        after = np.minimum(index + 1, len(plan.yaw) - 1)
        landing = solver.feet[side].stance(self._planned_pitch(side, after, np.zeros_like(share)))
        bearing = np.where(lands[:, None], _placed(plan, side, after, landing), ankle)
        limit = _pelvis_height(self.place, self.offset[side], bearing, solver.leg_distance(side, np.array(1.5)))
        ahead = 1 - share
        rate = 0.15 + 4 * _MIDSTANCE * plan.step_in[after, side] ** 2 / (0.9 * plan.skeleton.leg_length)
        limit += np.where(lands, rate * ahead + 5.0 * ahead**2, np.where(share > _TRAILING, np.inf, 0.0))
        softness = _SOFT * (1 + 2 * np.where(lands, _smooth(ahead / 0.06), 0.0))
        self.index.append(index)
        self.share.append(share)
        self.pitch.append(pitch)
        self.ankle.append(ankle)
        return wanted, weight, limit, softness

    def _planned_pitch(self, side: int, index: Indices, share: Doubles) -> Doubles:
        plan = self.solver.plan
        steps = np.stack([plan.step_in[index, side], plan.step_out[index, side]]) / plan.skeleton.leg_length
        return _stance_pitch(share, plan.toe_off[index, side], steps, self.vigour, plan.traits)

    def _lift_heel(self, side: int, height: Doubles) -> Doubles:
        """Lift the heel of a trailing foot as far as its leg would else be too short for the pelvis' height.

        Returns the height, lowered where even that is not enough.
        """
        solver, plan = self.solver, self.solver.plan
        share, index = self.share[side], self.index[side]
        trailing = np.flatnonzero((share > _TRAILING) & (share <= plan.toe_off[index, side] + 1e-9))
        hip = (np.concatenate([self.place, height[:, None]], 1) + self.offset[side])[trailing]
        foot, rows = solver.feet[side], index[trailing]

        def distance(pitch: Doubles) -> Doubles:
            return np.asarray(np.linalg.norm(hip - _placed(plan, side, rows, foot.stance(pitch)), axis=1))

        pitch = np.maximum(self.pitch[side][trailing], 0.0)
        at = distance(pitch)
        excess = at - solver.leg_distance(side, np.array(2.5))
        goal = at - 0.5 * (excess + np.sqrt(excess**2 + 4 * 0.0003**2))
        for _ in range(5):
            slope = (distance(pitch + 0.5) - at) / 0.5
            pitch = np.clip(pitch + np.clip((goal - at) / np.minimum(slope, -2e-4), -8.0, 12.0), 0.0, 85.0)
            at = distance(pitch)
        self.pitch[side][trailing] = pitch
        self.ankle[side][trailing] = _placed(plan, side, rows, foot.stance(pitch))
        limit = np.full_like(height, np.inf)
        limit[trailing] = _pelvis_height(
            self.place[trailing],
            self.offset[side][trailing],
            self.ankle[side][trailing],
            solver.leg_distance(side, np.array(1.5)),
        )
        return np.minimum(height, limit)


def _placed(plan: _Plan, side: int, index: Indices, ankle: Doubles) -> Doubles:
    """Put an ankle (N, 2), ahead and up in the foot's plane, where the foot lands in cycle `index`: (N, 3) m."""
    direction = plan.yaw[index, side]
    ahead = ankle[:, :1] * np.stack([np.cos(direction), np.sin(direction)], -1)
    return np.concatenate([plan.place[index, side] + ahead, ankle[:, 1:]], 1)


def _pelvis_height(place: Doubles, offset: Doubles, ankle: Doubles, distance: Doubles) -> Doubles:
    """Height of the pelvis (N,) m at which hip and ankle are `distance` apart; `offset` leads to the hip."""
    apart = np.sum((place + offset[:, :2] - ankle[:, :2]) ** 2, axis=1)
    return np.asarray(np.sqrt(np.maximum(distance**2 - apart, 1e-4)) + ankle[:, 2] - offset[:, 2])


Swinging = Callable[[Doubles], Doubles]
"""A value over swing, as a function of the share of swing that has passed."""


class _Swing:
    """One leg's swing: normative curves, bent so that they begin and end as stance does."""

    def __init__(
        self, solver: _Solver, state: _State, side: int, frames: int, shape: tuple[int, ...], probe: float
    ) -> None:
        self.solver, self.state, self.side = solver, state, side
        self.frames, self.shape, self.probe = frames, shape, probe
        self.index = state.index[side][:frames]
        self.share = state.share[side][:frames]
        self.toe_off = solver.plan.toe_off[self.index, side]
        self.width = 1 - self.toe_off
        self.now = np.clip((self.share - self.toe_off) / self.width, 0.0, 1.0)
        self.speed, self.vigour = state.speed[:frames], state.vigour[:frames]

    def bent(self, curve: Swinging, stance: Doubles, limits: tuple[float, float]) -> Swinging:
        """Bend `curve` to the values and rates which `stance`, known at every time, has at the ends of swing.

        `limits` are the largest rates per cycle that are taken over at toe-off and at heel contact: landing is an
        impact, after which the rates may differ.
        """
        before, first, last, after = stance[self.frames :].reshape(self.shape)[:, :, self.side]
        begins = np.clip((first - before) / self.probe, -limits[0], limits[0])[self.index] * self.width
        ends = np.roll(np.clip((after - last) / self.probe, -limits[1], limits[1]), -1)[self.index] * self.width
        zero, tiny = np.zeros(self.frames), 0.01
        start, end = curve(zero), curve(zero + 1)
        value0 = first[self.index] - start
        value1 = np.roll(last, -1)[self.index] - end
        slope0 = begins - (curve(zero + tiny) - start) / tiny
        slope1 = ends - (end - curve(zero + 1 - tiny)) / tiny

        def value(t: Doubles) -> Doubles:
            early, late = np.minimum(t / _BLEND, 1.0), np.minimum((1 - t) / _BLEND, 1.0)
            return np.asarray(
                curve(t)
                + value0 * (1 + 2 * early) * (1 - early) ** 2
                + slope0 * _BLEND * early * (1 - early) ** 2
                + value1 * (1 + 2 * late) * (1 - late) ** 2
                - slope1 * _BLEND * late * (1 - late) ** 2
            )

        return value

    def curve(self, curve: normative.Curve) -> Swinging:
        """A normative curve over swing."""
        return lambda t: self.vigour * curve(normative.TOE_OFF + (1 - normative.TOE_OFF) * t, self.speed)

    def leg(self) -> _Leg:
        solver, state, side, traits = self.solver, self.state, self.side, self.solver.traits
        line = state.ankle[side] - state.hip[side]
        cosine, sine = np.cos(state.heading), np.sin(state.heading)
        ahead = line[:, 0] * cosine + line[:, 1] * sine
        aside = line[:, 1] * cosine - line[:, 0] * sine
        flexion = solver.knee_flexion(side, np.linalg.norm(line, axis=1))
        thigh, knee, dorsal = (self.curve(curve) for curve in (normative.THIGH, normative.KNEE, normative.ANKLE))

        def lifted(t: Doubles) -> Doubles:
            return traits.knee_swing * knee(t)

        def leaning(t: Doubles) -> Doubles:
            return thigh(t) - solver.thigh_lead(side, lifted(t))

        bend = self.bent(lifted, flexion, (700.0, 100.0))
        lean = self.bent(leaning, np.degrees(np.arctan2(ahead, -line[:, 2])), (900.0, 150.0))

        def tipping(t: Doubles) -> Doubles:
            """Foot pitch for the normative ankle angle on the shank as it swings."""
            shank = lean(t) + solver.thigh_lead(side, bend(t)) - bend(t)
            return -shank - dorsal(t) - traits.ankle_swing * np.sin(np.pi * t) * self.vigour

        pitch_at = self.bent(tipping, state.pitch[side], (900.0, 0.0))
        aside_at = self.bent(np.zeros_like, aside, (1.0, 1.0))
        t = self.now
        swings = self.share > self.toe_off
        distance = solver.leg_distance(side, np.maximum(bend(t), 2.0))
        across = aside_at(t)
        down = np.sqrt(np.maximum(distance**2 - across**2, 1e-6))
        forward, down = down * np.sin(np.radians(lean(t))), down * np.cos(np.radians(lean(t)))
        cosine, sine = cosine[: self.frames], sine[: self.frames]
        ankle = state.hip[side][: self.frames] + np.stack(
            [forward * cosine - across * sine, forward * sine + across * cosine, -down], -1
        )
        pitch = np.where(swings, pitch_at(t), state.pitch[side][: self.frames])
        foot = solver.feet[side]
        at_off = foot.toe_extension(state.pitch[side][self.frames :].reshape(self.shape)[1, :, side])[self.index]
        # The toes are held up in swing (Perry, ch. 4, in words; the size, and a shoe's toe spring, approximate).
        held = 18.0 * self.vigour * np.sin(np.pi * t) ** 2
        extension = np.where(swings, at_off * (1 - _smooth(t / 0.6)) + held, foot.toe_extension(pitch))
        # The sole keeps clear of the floor; at both ends of swing nothing is changed.
        bump = np.sin(np.pi * t) ** 2
        short = _CLEARANCE * bump - ankle[:, 2] - foot.lowest(pitch, extension)
        ankle[:, 2] += 0.5 * (short + np.sqrt(short**2 + (0.006 * bump) ** 2))
        ankle = np.where(swings[:, None], ankle, state.ankle[side][: self.frames])
        yaws = solver.plan.yaw[:, side]
        turn = _smooth(t)
        yaw = yaws[self.index] * (1 - turn) + yaws[np.minimum(self.index + 1, len(yaws) - 1)] * turn
        return _Leg(ankle, pitch, extension, yaw, swings)


def _stance_pitch(share: Doubles, toe_off: Doubles, steps: Doubles, vigour: Doubles, traits: GaitTraits) -> Doubles:
    """Foot against floor in stance, degrees: toes up at contact, flat, heel rise (Perry, ch. 3: the rockers).

    `steps` (2, N) are the steps that brought the foot here and that follow, over the leg length: before a long one
    the heel rises earlier and higher, or the leg would be too short.
    """
    before, after = np.clip(steps - normative.REFERENCE_STEP, -0.5, 0.16)
    heel_off = _HEEL_OFF - _EARLIER * after
    landing = np.clip(1 - share / _FOOT_FLAT, 0.0, 1.0) ** 1.5
    rising = np.clip((share - heel_off) / (toe_off - heel_off), 0.0, 1.0) ** 2.1
    push = np.minimum(traits.push_off + _HIGHER * after, 80.0)
    return np.asarray(vigour * (rising * push - landing * traits.heel_strike * (1 + 1.2 * before)))


def _stance_knee(phase: Doubles, speed: Doubles, vigour: Doubles, traits: GaitTraits) -> Doubles:
    """Knee flexion wanted in stance, degrees; the trait scales the wave of loading response alone."""
    curve = normative.KNEE(phase, speed)
    loading = np.sin(np.pi * np.clip(phase / 0.38, 0.0, 1.0)) ** 2
    wanted = curve * (1 + (traits.knee_stance - 1) * loading) + traits.knee_offset
    return np.maximum(_STANDING_KNEE + vigour * (wanted - _STANDING_KNEE), 2.5)


def _contacts(leg: _Leg) -> Bools:
    """Which of heel, ball and tip stand still, (T, 3)."""
    down = ~leg.swings
    flat_toes = leg.extension >= leg.pitch - 0.05
    heel = down & (leg.pitch <= 1e-6)
    return np.stack([heel, down & (leg.pitch >= -1e-6) & flat_toes, down & (leg.pitch >= -1e-6)], -1)


def _oriented(yaw: Doubles, roll: Doubles, bend: Doubles) -> Doubles:
    """Turn to the left by `yaw`, raise the left side by `roll`, bend forward by `bend` (all radians)."""
    return rotation.about_z(yaw) @ rotation.about_x(roll) @ rotation.about_y(bend)


def _aligned(axis: Doubles, bone: Doubles, rest_axis: Doubles, rest_bone: Doubles) -> Doubles:
    """The turn (T, 3, 3) that brings a resting bone and its knee axis to `bone` and `axis` (T, 3)."""
    up = -bone / np.linalg.norm(bone, axis=1, keepdims=True)
    rest = rotation.frame(rest_axis, -rest_bone / np.linalg.norm(rest_bone))
    return np.asarray(rotation.frame(axis, up) @ rest.T)


def _smooth(share: Doubles) -> Doubles:
    """0 to 1 with level ends (cubic)."""
    t = np.clip(share, 0.0, 1.0)
    return np.asarray(t * t * (3 - 2 * t))


def _smoother(share: Doubles) -> Doubles:
    """0 to 1 with level and straight ends (quintic)."""
    t = np.clip(share, 0.0, 1.0)
    return np.asarray(t**3 * (t * (6 * t - 15) + 10))


def _blurred(value: Doubles, sigma: float) -> Doubles:
    """Gaussian blur of a signal, its ends held."""
    half = int(3 * sigma)
    kernel = np.exp(-0.5 * (np.arange(-half, half + 1) / sigma) ** 2)
    return np.convolve(np.pad(value, half, mode="edge"), kernel / kernel.sum(), "valid")
