"""Walking feet stand still, stay on the floor, and people walk as the literature says they do."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from app.body.skeleton import JOINT, SIDES, Skeleton, forward_kinematics
from app.lab.walkers import normative
from app.lab.walkers.choices import Burden
from app.lab.walkers.curves import Recorded
from app.lab.walkers.gait import Carrying, GaitTraits
from app.lab.walkers.motion import WalkingMotion, walk
from app.lab.walkers.path import Path
from app.lab.walkers.population import SIZE, Manner
from tests.walking import (
    average_skeleton,
    floor_penetration,
    foot_slip,
    joint_angles,
    mirrored,
    normative_deviation,
    sole_points,
    speed_profile,
    stride,
)  # fmt: skip

FPS = 100.0
AHEAD = Path.line((0.0, 0.0), 0.0)


@pytest.fixture(scope="module")
def skeleton() -> Skeleton:
    return average_skeleton(1.72)


@pytest.fixture(scope="module")
def average(skeleton: Skeleton) -> WalkingMotion:
    return walk(skeleton, GaitTraits(), AHEAD, 1.3, fps=FPS, seconds=8)


def _routes() -> list[tuple[str, Path, np.ndarray]]:
    u_turn = Path.through([(0, 0), (4, 0), (4, 1.2), (0, 1.2)], radius=0.5)
    curve = Path.through([(0, 0), (3, 1), (6, -1), (9, 0)], radius=1.0)
    return [
        ("slow", AHEAD, np.full(150, 0.7)),
        ("natural", AHEAD, np.full(150, 1.3)),
        ("fast", Path.line((1, 2), 2.5), np.full(150, 1.8)),
        ("u-turn", u_turn, np.full(200, 0.9)),
        ("curve", curve, np.full(150, 1.4)),
        ("start and stop", AHEAD, speed_profile(8, 25, 1.4, start=1.0, stop=6.0)),
        ("start and stop on a curve", curve, speed_profile(8, 25, 1.0, start=0.5, stop=6.5)),
    ]


@pytest.mark.parametrize(("name", "path", "speed"), _routes(), ids=[route[0] for route in _routes()])
def test_feet_neither_slip_nor_sink(name: str, path: Path, speed: np.ndarray) -> None:
    for seed in range(4):
        traits = GaitTraits.sample(seed)
        body = average_skeleton(1.55 + 0.1 * seed)
        moved = walk(body, traits, path, speed, fps=25.0, seed=seed)
        assert foot_slip(body, moved, 25.0) < 0.02
        assert floor_penetration(body, moved) < 0.01
        assert moved.contacts.any((1, 2)).all(), "walking has no flight"


def _recorded(seed: int, stature: float) -> GaitTraits:
    female, age = seed % 2 == 0, 25.0 + 15 * (seed % 5)
    return GaitTraits.sample(seed, age, female).recorded(seed, age, female, stature)


@pytest.fixture(scope="module")
def usual() -> GaitTraits:
    """The gait of nobody in particular in motion 2: the mean of the recordings."""
    mean = Manner((0.0,) * SIZE)
    return replace(GaitTraits(), knee_offset=0.0).moved_as(mean, mean)


@pytest.mark.parametrize(("name", "path", "speed"), _routes(), ids=[route[0] for route in _routes()])
def test_feet_of_recorded_people_neither_slip_nor_sink(name: str, path: Path, speed: np.ndarray) -> None:
    for seed in range(4):
        stature = 1.55 + 0.1 * seed
        body = average_skeleton(stature)
        moved = walk(body, _recorded(seed, stature).in_session(seed), path, speed, fps=25.0, seed=seed)
        assert foot_slip(body, moved, 25.0) < 0.02
        assert floor_penetration(body, moved) < 0.01
        assert moved.contacts.any((1, 2)).all(), "walking has no flight"


def test_knees_of_recorded_people_neither_overextend_nor_pop() -> None:
    for seed in range(12):
        stature = 1.5 + 0.03 * seed
        body = average_skeleton(stature)
        moved = walk(body, _recorded(seed, stature).in_session(seed), AHEAD, fps=FPS, seconds=4, seed=seed)
        for side in SIDES:
            knee = joint_angles(body, moved, side)["knee"]
            assert knee.min() > 1.0
            assert 45 < knee.max() < 80
            assert np.abs(np.diff(knee)).max() * FPS < 900.0


def test_recorded_angles_are_walked(skeleton: Skeleton, usual: GaitTraits) -> None:
    """Swing and arms follow the curves; in stance the floor decides about the thigh."""
    assert usual.manner is not None
    curves = Recorded(usual.manner)
    for speed, near in ((1.1, 6.0), (1.3, 5.0), (1.5, 5.0)):
        moved = walk(skeleton, usual, AHEAD, speed, fps=FPS, seconds=6)
        off = float(normative.toe_off(np.array(speed)))
        for side, name in enumerate(SIDES):
            angles, share = joint_angles(skeleton, moved, name), (moved.phase - 0.5 * side) % 1
            ends = [0.0, off, 1.0], [0.0, normative.TOE_OFF, 1.0]
            phase = np.interp(share, *ends)
            for angle in ("knee", "thigh", "foot"):
                apart = angles[angle] - curves.angle(angle, phase, speed, side)
                assert np.sqrt(np.mean(apart**2)) < near, (angle, speed)
            for angle in ("shoulder", "elbow"):
                assert np.abs(angles[angle] - curves.angle(angle, share, speed, side)).max() < 0.5, (angle, speed)


def test_recorded_people_step_as_long_as_they_are_known_to(skeleton: Skeleton, usual: GaitTraits) -> None:
    """Perry 2010: 113 steps/min at 1.37 m/s; H2A and the recordings lie on either side of it."""
    for speed, cadence in ((0.8, (82, 98)), (1.3, (106, 118)), (1.7, (118, 134))):
        found = stride(skeleton, walk(skeleton, usual, AHEAD, speed, fps=FPS, seconds=8), FPS)
        assert cadence[0] < found.cadence < cadence[1]
        assert found.step_length * found.cadence / 60 == pytest.approx(speed, rel=0.03)
        assert 0.012 < found.pelvis_rise < 0.055


def test_recorded_strides_differ_from_each_other(skeleton: Skeleton, usual: GaitTraits) -> None:
    def foot(seed: int | None) -> np.ndarray:
        moved = walk(skeleton, usual, AHEAD, 1.3, fps=FPS, seconds=8, seed=seed)
        rows = np.searchsorted(moved.phase, np.arange(1, 7) + 0.75)
        return joint_angles(skeleton, moved, "l")["knee"][rows]

    assert np.ptp(foot(None)) < 2.5
    assert 1.5 < np.ptp(foot(1)) < 25
    assert np.array_equal(foot(1), foot(1))


def test_who_limps_steps_unevenly_and_still_does_not_slip(skeleton: Skeleton, usual: GaitTraits) -> None:
    def unevenness(traits: GaitTraits) -> tuple[float, float]:
        """How much longer the step onto the right foot takes, s; how differently the knees bend, degrees."""
        moved = walk(skeleton, traits, AHEAD, 1.0, fps=FPS, seconds=8)
        assert foot_slip(skeleton, moved, FPS) < 0.02
        assert floor_penetration(skeleton, moved) < 0.01
        down = moved.contacts.any(2)
        left, right = (np.flatnonzero(down[1:, side] & ~down[:-1, side]) for side in (0, 1))
        right = right[right > left[0]][: len(left) - 1]
        longer = np.mean((right - left[: len(right)]) - (left[1 : len(right) + 1] - right)) / FPS
        own = [joint_angles(skeleton, moved, side)["knee"] for side in SIDES]
        at = [np.interp(np.arange(2, 5, 0.01) + 0.5 * side, moved.phase, own[side]) for side in (0, 1)]
        return float(longer), float(np.sqrt(np.mean((at[0] - at[1]) ** 2)))

    even, limping = unevenness(usual), unevenness(usual.limping("r", 1.0))
    assert abs(even[0]) < 0.02
    assert limping[0] > 0.06
    assert limping[1] > even[1] + 3
    assert unevenness(usual.limping("l", 1.0))[0] < -0.06


def test_hands_do_what_they_are_busy_with(skeleton: Skeleton, usual: GaitTraits) -> None:
    def elbows(carrying: Carrying | None) -> tuple[float, float]:
        moved = walk(skeleton, usual, AHEAD, 1.3, fps=50, seconds=2, carrying=carrying)
        left, right = (float(joint_angles(skeleton, moved, side)["elbow"].mean()) for side in SIDES)
        return left, right

    free = elbows(None)
    assert elbows(Carrying(None)) == free
    reading = elbows(Carrying(None, hands="phone", hands_side="l"))
    assert reading[0] > free[0] + 50
    assert reading[1] == pytest.approx(free[1], abs=1)
    pockets = elbows(Carrying(None, hands="pockets"))
    assert min(pockets) > max(free) + 20


def test_who_stoops_bends_forward(skeleton: Skeleton, usual: GaitTraits) -> None:
    def lean(traits: GaitTraits) -> float:
        moved = walk(skeleton, traits, AHEAD, 1.0, fps=50, seconds=2)
        joints = forward_kinematics(skeleton, moved.poses)[0]
        return float((joints[:, JOINT["neck"], 0] - joints[:, 0, 0]).mean())

    assert lean(usual.stooped(1.0)) > lean(usual) + 0.08


def test_slip_is_noticed(skeleton: Skeleton, average: WalkingMotion) -> None:
    drift = np.outer(np.arange(len(average)), [0.0, 0.001, -0.0001]).astype(np.float32)
    drifting = replace(average, poses=replace(average.poses, root=average.poses.root + drift))
    assert foot_slip(skeleton, drifting, FPS) > 0.09
    assert floor_penetration(skeleton, drifting) > 0.07


@pytest.mark.parametrize("burden", get_args(Burden))
def test_feet_stand_under_a_burden(skeleton: Skeleton, burden: str) -> None:
    moved = walk(skeleton, GaitTraits(), AHEAD, 1.2, fps=25, seconds=4, carrying=Carrying(burden))  # type: ignore[arg-type]
    assert foot_slip(skeleton, moved, 25) < 0.02


def test_knees_neither_overextend_nor_pop() -> None:
    for seed in range(12):
        body, traits = average_skeleton(1.5 + 0.03 * seed), GaitTraits.sample(seed).in_session(seed)
        moved = walk(body, traits, AHEAD, fps=FPS, seconds=4, seed=seed)
        for side in SIDES:
            knee = joint_angles(body, moved, side)["knee"]
            assert knee.min() > 1.0
            assert knee.max() < 75.0
            # Peak knee speeds of fast walking are about 500 degrees/s.
            assert np.abs(np.diff(knee)).max() * FPS < 900.0


def test_walking_repeats_itself(skeleton: Skeleton) -> None:
    period = 120 / float(normative.cadence(np.array(1.3), skeleton.leg_length))
    moved = walk(skeleton, GaitTraits(), AHEAD, 1.3, fps=200 / period, seconds=3 * period)
    joints, _ = forward_kinematics(skeleton, moved.poses)
    around = joints - joints[:, :1] * np.array([1, 1, 0], np.float32)
    assert np.abs(around[200:400] - around[:200]).max() < 0.003
    assert np.abs(around[50:200] - around[:150]).max() > 0.2


def test_left_and_right_are_alike(skeleton: Skeleton) -> None:
    period = 120 / float(normative.cadence(np.array(1.3), skeleton.leg_length))
    moved = walk(skeleton, GaitTraits(), AHEAD, 1.3, fps=200 / period, seconds=3 * period)
    left, right = (joint_angles(skeleton, moved, side) for side in SIDES)
    for name in left:
        assert np.abs(left[name][100:400] - right[name][200:500]).max() < 0.6, name


def test_a_mirrored_gait_is_the_mirror_image(skeleton: Skeleton) -> None:
    traits = GaitTraits.sample(5)
    assert traits.arm_asymmetry != 0
    traits = replace(traits, timing_asymmetry=0.0)
    first = walk(skeleton, traits, AHEAD, 1.2, fps=50, seconds=3, carrying=Carrying("handbag", "l"))
    other = walk(
        skeleton, mirrored(traits), AHEAD, 1.2, fps=50, seconds=3, phase=0.5, carrying=Carrying("handbag", "r")
    )
    a, _ = forward_kinematics(skeleton, first.poses)
    b, _ = forward_kinematics(skeleton, other.poses)
    swap = [JOINT[n.replace("_l", "_R").replace("_r", "_l").replace("_R", "_r")] for n in JOINT]
    assert np.abs(a - b[:, swap] * np.array([1, -1, 1], np.float32)).max() < 0.004


def test_the_same_seed_gives_the_same_walk(skeleton: Skeleton) -> None:
    def moved(seed: int | None) -> np.ndarray:
        return walk(skeleton, GaitTraits.sample(1), AHEAD, fps=25, seconds=2, seed=seed).poses.rotations

    assert np.array_equal(moved(3), moved(3))
    assert not np.array_equal(moved(3), moved(4))
    assert not np.array_equal(moved(3), moved(None))


@pytest.mark.parametrize(
    ("speed", "cadence", "step", "stance"),
    [
        (0.8, (70, 95), (0.50, 0.66), (0.62, 0.68)),
        (1.3, (104, 118), (0.66, 0.76), (0.60, 0.64)),
        (1.7, (115, 135), (0.75, 0.90), (0.58, 0.62)),
    ],
)
def test_stride_parameters_are_those_of_adults(
    skeleton: Skeleton,
    speed: float,
    cadence: tuple[float, float],
    step: tuple[float, float],
    stance: tuple[float, float],
) -> None:
    """Perry 2010: 1.37 m/s, 113 steps/min, stride 1.41 m, stance 62 %; Winter 1991: slow 87, natural 105, fast 123."""
    found = stride(skeleton, walk(skeleton, GaitTraits(), AHEAD, speed, fps=FPS, seconds=10), FPS)
    assert found.speed == pytest.approx(speed, rel=0.01)
    assert cadence[0] < found.cadence < cadence[1]
    assert step[0] < found.step_length < step[1]
    assert stance[0] < found.stance < stance[1]
    assert found.step_length * found.cadence / 60 == pytest.approx(speed, rel=0.03)
    assert 0.05 < found.step_width < 0.13
    assert 0.016 < found.pelvis_rise < 0.055


def test_angles_stay_in_the_published_bands(skeleton: Skeleton) -> None:
    for speed in (0.8, 1.1, 1.3, 1.6):
        moved = walk(skeleton, GaitTraits(), AHEAD, speed, fps=FPS, seconds=6)
        for side, offset in (("l", 0.0), ("r", 0.5)):
            angles = joint_angles(skeleton, moved, side)  # type: ignore[arg-type]
            phase = moved.phase - offset
            for name, curve in (("knee", normative.KNEE), ("thigh", normative.THIGH), ("ankle", normative.ANKLE)):
                assert normative_deviation(angles[name], curve(phase, speed), curve.sd) < 0.06, (name, speed)


def test_angles_peak_where_the_books_say(skeleton: Skeleton, average: WalkingMotion) -> None:
    angles = joint_angles(skeleton, average, "l")
    share = average.phase % 1
    knee, thigh, ankle, shoulder = (angles[name] for name in ("knee", "thigh", "ankle", "shoulder"))
    assert 55 < knee.max() < 66
    assert 0.69 < share[knee.argmax()] < 0.79
    assert 15 < knee[(share > 0.08) & (share < 0.2)].max() < 22
    assert 20 < thigh.max() < 30
    assert -24 < thigh.min() < -14
    assert 8 < ankle[(share > 0.3) & (share < 0.55)].max() < 18
    assert -24 < ankle.min() < -12
    assert 22 < shoulder.max() - shoulder.min() < 42
    assert 0.4 < share[shoulder.argmax()] < 0.62, "the arm swings against its own leg"


def test_arms_do_not_depend_on_the_rest_pose(skeleton: Skeleton) -> None:
    """A body model's rest arms may point anywhere; an anatomical angle must not."""
    rest = skeleton.rest.copy()
    for side, sign in (("l", 1.0), ("r", -1.0)):
        shoulder, elbow, wrist = (JOINT[f"{joint}_{side}"] for joint in ("shoulder", "elbow", "wrist"))
        lengths = np.linalg.norm(rest[elbow] - rest[shoulder]), np.linalg.norm(rest[wrist] - rest[elbow])
        rest[elbow] = rest[shoulder] + lengths[0] * np.array([0.1, sign * 0.8, -0.591608])
        fore = np.array([0.6, sign * 0.5, -0.62])
        rest[wrist] = rest[elbow] + lengths[1] * (fore / np.linalg.norm(fore))
    other = Skeleton(rest, skeleton.sole)
    one, two = (walk(body, GaitTraits(), AHEAD, 1.3, fps=50, seconds=2) for body in (skeleton, other))
    a, b = forward_kinematics(skeleton, one.poses)[0], forward_kinematics(other, two.poses)[0]
    assert np.abs(a - b).max() < 0.01


def test_somebody_who_stands_stands_still(skeleton: Skeleton) -> None:
    speed = speed_profile(6, 50, 1.3, start=2.0, stop=4.0)
    moved = walk(skeleton, GaitTraits.sample(2), AHEAD, speed, fps=50)
    joints, turns = forward_kinematics(skeleton, moved.poses)
    assert np.abs(joints[1:50] - joints[:49]).max() < 1e-4
    assert moved.contacts[:50].any(2).all(), "both feet are down"
    feet = sole_points(skeleton, joints, turns)[20]
    assert abs(feet[0, 0, 0] - feet[1, 0, 0]) < 0.06, "side by side"
    assert moved.arc[-1] - moved.arc[0] == pytest.approx(speed.sum() / 50, abs=0.03)


def test_burdens_change_the_arms_and_the_trunk(skeleton: Skeleton) -> None:
    def shoulder(carrying: Carrying | None, side: str) -> np.ndarray:
        moved = walk(skeleton, GaitTraits(), AHEAD, 1.3, fps=50, seconds=3, carrying=carrying)
        return joint_angles(skeleton, moved, side)["shoulder"]  # type: ignore[arg-type]

    free = np.ptp(shoulder(None, "r"))
    assert np.ptp(shoulder(Carrying("handbag", "r"), "r")) < 0.4 * free
    assert np.ptp(shoulder(Carrying("handbag", "r"), "l")) > 0.7 * free
    assert shoulder(Carrying("trolley", "r"), "r").mean() < -20

    def lean(carrying: Carrying | None) -> float:
        moved = walk(skeleton, GaitTraits(), AHEAD, 1.3, fps=50, seconds=3, carrying=carrying)
        joints = forward_kinematics(skeleton, moved.poses)[0]
        return float((joints[:, JOINT["neck"], 0] - joints[:, 0, 0]).mean())

    assert lean(Carrying("backpack")) > lean(None) + 0.02


@pytest.mark.parametrize(
    ("speed", "seconds"), [(1.2, None), (2.5, 1.0), (-0.1, 1.0), (np.zeros(0), None), (np.array([1.0, np.nan]), None)]
)
def test_impossible_walks_are_refused(skeleton: Skeleton, speed: float, seconds: float | None) -> None:
    with pytest.raises(ValueError):
        walk(skeleton, GaitTraits(), AHEAD, speed, fps=25, seconds=seconds)
