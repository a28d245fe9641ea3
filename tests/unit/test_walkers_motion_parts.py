"""Skeleton, paths, normative curves and gait traits."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from app.body.skeleton import (
    JOINT,
    JOINTS,
    PARENTS,
    Poses,
    Skeleton,
    forward_kinematics,
)
from app.lab.walkers import normative
from app.lab.walkers.gait import SPREADS, GaitTraits
from app.lab.walkers.path import Path
from app.lab.walkers.population import SIZE, Manner, rows
from tests.walking import average_skeleton, mirrored, rest_poses, sole_points


def test_parents_come_first() -> None:
    assert len(JOINTS) == len(PARENTS) == 21
    assert all(parent < joint for joint, parent in enumerate(PARENTS))


def test_the_rest_pose_is_the_rest_pose() -> None:
    body = average_skeleton(1.8)
    joints, turns = forward_kinematics(body, rest_poses(body, 3))
    assert np.allclose(joints, body.rest, atol=1e-6)
    assert np.allclose(sole_points(body, joints, turns), body.sole, atol=1e-6)


def test_a_turned_knee_moves_what_hangs_on_it() -> None:
    body = average_skeleton()
    poses = rest_poses(body)
    poses.rotations[:, JOINT["knee_l"]] = Rotation.from_euler("y", 90, degrees=True).as_matrix()
    joints, turns = forward_kinematics(body, poses)
    shank = np.linalg.norm(body.rest[JOINT["ankle_l"]] - body.rest[JOINT["knee_l"]])
    assert joints[0, JOINT["ankle_l"], 0] == pytest.approx(body.rest[JOINT["knee_l"], 0] - shank, abs=0.02)
    assert np.allclose(joints[0, JOINT["ankle_r"]], body.rest[JOINT["ankle_r"]], atol=1e-6)
    naive = np.eye(4)
    for name in ("pelvis", "hip_l", "knee_l", "ankle_l", "toe_l"):
        step = np.eye(4)
        step[:3, :3], step[:3, 3] = poses.rotations[0, JOINT[name]], body.offsets[JOINT[name]]
        naive = naive @ step
    assert np.allclose(joints[0, JOINT["toe_l"]], naive[:3, 3], atol=1e-5)
    assert np.allclose(turns[0, JOINT["toe_l"]], naive[:3, :3], atol=1e-5)


def test_shapes_are_checked() -> None:
    body = average_skeleton()
    with pytest.raises(ValueError, match="rest must be"):
        Skeleton(body.rest[:5], body.sole)
    with pytest.raises(ValueError, match="left hip"):
        Skeleton(body.rest * np.array([1, -1, 1], np.float32), body.sole)
    with pytest.raises(ValueError, match="not one motion"):
        Poses(np.zeros((2, 3), np.float32), np.zeros((3, 21, 3, 3), np.float32))


def test_a_line_goes_on_beyond_its_ends() -> None:
    position, heading = Path.line((1.0, 2.0), np.pi / 2, length=3.0).at(np.array([-1.0, 0.0, 2.0, 5.0]))
    assert np.allclose(position, [[1, 1], [1, 2], [1, 4], [1, 7]])
    assert np.allclose(heading, np.pi / 2)


def test_corners_are_rounded() -> None:
    path = Path.through([(0, 0), (4, 0), (4, 4)], radius=0.6)
    assert 7.0 < path.length < 8.0
    arc = np.linspace(0, path.length, 500)
    position, heading = path.at(arc)
    assert np.allclose(position[0], (0, 0), atol=1e-6)
    assert np.allclose(position[-1], (4, 4), atol=1e-6)
    assert heading[-1] - heading[0] == pytest.approx(np.pi / 2, abs=1e-3)
    assert np.abs(np.diff(heading)).max() / (arc[1] - arc[0]) < 1 / 0.5, "no tighter than half a metre"
    speed = np.linalg.norm(np.diff(position, axis=0), axis=1) / np.diff(arc)
    assert np.allclose(speed, 1.0, atol=0.01), "arc length is arc length"


def test_bad_paths_are_refused() -> None:
    with pytest.raises(ValueError, match="two points"):
        Path(np.zeros((1, 2)))
    with pytest.raises(ValueError, match="coincide"):
        Path(np.zeros((2, 2)))


@pytest.mark.parametrize("name", ["KNEE", "THIGH", "ANKLE", "SHOULDER", "ELBOW", "PELVIS_OBLIQUITY", "PELVIS_ROTATION"])
def test_curves_pass_their_key_values(name: str) -> None:
    curve: normative.Curve = getattr(normative, name)
    phase, value = np.array(curve.keys).T
    assert np.abs(curve(phase / 100) - value).max() < 0.25 * curve.sd
    assert np.allclose(curve(phase / 100 + 3), curve(phase / 100)), "periodic"


def test_curves_follow_the_speed() -> None:
    swing, loading = np.array(0.72), np.array(0.14)
    for phase in (swing, loading):
        assert normative.KNEE(phase, 0.8) < normative.KNEE(phase) < normative.KNEE(phase, 1.7)
    assert normative.KNEE(swing, 1.8) == normative.KNEE(swing, 5.0)
    assert normative.toe_off(np.array(0.8)) > normative.toe_off(np.array(1.7))


def test_the_walk_ratio_is_constant_at_usual_speeds() -> None:
    speed = np.linspace(1.05, 1.6, 8)
    cadence = normative.cadence(speed, 0.88)
    assert np.allclose(60 * speed / cadence / cadence, normative.WALK_RATIO, rtol=1e-6)
    slow = normative.cadence(np.array(0.7), 0.88)
    assert 60 * 0.7 / slow**2 > normative.WALK_RATIO


def test_people_differ_more_than_their_days() -> None:
    people = [GaitTraits.sample(seed) for seed in range(200)]
    assert people[7] == GaitTraits.sample(7)
    for name, spread in SPREADS.items():
        between = np.std([getattr(person, name) for person in people])
        within = np.mean([getattr(p.in_session(i), name) - getattr(p, name) for i, p in enumerate(people)])
        days = np.std([getattr(p.in_session(i), name) - getattr(p, name) for i, p in enumerate(people)])
        assert 0.6 * spread.sd < between < 1.3 * spread.sd, name
        assert abs(within) < 0.2 * spread.sd, name
        assert 0 < days < 0.65 * between, name


def test_recorded_people_differ_more_than_their_walks() -> None:
    people = [GaitTraits.sample(seed, 40, True).recorded(seed, 40, True, 1.65) for seed in range(150)]
    walks = [person.in_session(seed) for seed, person in enumerate(people)]
    assert people[7] == GaitTraits.sample(7, 40, True).recorded(7, 40, True, 1.65)
    vectors = [np.array([gait.manner.vector for gait in some if gait.manner]) for some in (people, walks)]
    change = vectors[1] - vectors[0]
    for name in ("thigh_l", "knee_r", "foot_l", "shoulder_r", "elbow_l"):
        between, within = (np.sqrt(np.mean(np.sum(v[:, rows(name)] ** 2, 1))) for v in (vectors[0], change))
        assert 1.5 < between < 8, name
        assert 0.2 * between < within < 0.85 * between, name
    doubled = people[0].in_session(0, 2.0)
    assert people[0].manner is not None
    assert doubled.manner is not None
    assert np.allclose(np.array(doubled.manner.vector) - vectors[0][0], 2 * change[0])
    for name in ("knee_swing", "arm_swing", "heel_strike"):
        assert {getattr(gait, name) for gait in (*people, *walks)} == {getattr(GaitTraits(), name)}, name
    for name in ("step_width", "toe_out_l", "lateral_sway", "speed"):
        spread = SPREADS[name].sd
        assert 0.6 * spread < np.std([getattr(person, name) for person in people]) < 1.4 * spread, name
        assert np.std([getattr(b, name) - getattr(a, name) for a, b in zip(people, walks, strict=True)]) > 0, name


def test_tall_and_young_people_walk_faster() -> None:
    def speed(age: float, stature: float) -> float:
        gaits = [GaitTraits.sample(seed, age, True).recorded(seed, age, True, stature) for seed in range(60)]
        return float(np.mean([gait.speed for gait in gaits]))

    assert speed(80, 1.6) < speed(30, 1.6) - 0.08
    assert speed(30, 1.5) < speed(30, 1.8)
    old, young = (Manner((0.0,) * SIZE, 1.0, age).cadence(np.array(1.2), 0.85) for age in (80.0, 30.0))
    assert old > young, "shorter steps at the same speed"


def test_age_and_sex_shift_the_gait() -> None:
    def mean(name: str, age: float, female: bool) -> float:
        return float(np.mean([getattr(GaitTraits.sample(seed, age, female), name) for seed in range(60)]))

    assert mean("speed", 80, True) < mean("speed", 30, True) - 0.1
    assert mean("walk_ratio", 30, True) < mean("walk_ratio", 30, False)
    assert mean("pelvis_obliquity", 30, True) > mean("pelvis_obliquity", 30, False)


def test_mirroring_twice_changes_nothing() -> None:
    traits = GaitTraits.sample(11)
    assert mirrored(traits) != traits
    assert mirrored(mirrored(traits)) == traits
