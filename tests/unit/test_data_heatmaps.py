"""Skeleton maps of poses that are incomplete, moved or wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app.gait.heatmaps import heatmaps

# fmt: off
STANDING = np.array([
    (50, 10), (52, 8), (48, 8), (54, 9), (46, 9), (60, 26), (40, 26), (64, 46), (36, 46), (66, 66), (34, 66),
    (56, 68), (44, 68), (57, 98), (43, 98), (58, 128), (42, 128),
], np.float64)
# fmt: on
NOSE, ELBOW, WRIST, HIPS = 0, 7, 9, [11, 12]


def standing(*missing: int) -> NDArray[np.float64]:
    pose = np.concatenate([STANDING, np.full((17, 1), 0.9)], axis=1)[None]
    pose[0, list(missing)] = 0
    return pose


def test_one_pose_of_limbs_and_joints() -> None:
    (pose,) = heatmaps(standing())
    assert (pose.shape, pose.dtype) == ((2, 64, 64), np.uint8)
    assert 200 < pose.max() <= 230  # 0.9 of 255
    limbs, joints = pose.astype(int)
    row = 32 + round((83 - 68) * 42.5 / 120)  # half way down the thighs there are limbs, and no joints
    assert limbs[row, 33:36].max() > 200 > 150 > joints[row, 33:36].max()


def test_place_and_size_in_the_video_do_not_matter() -> None:
    moved = standing() * [3.0, 3.0, 1.0] + [700.0, 100.0, 0.0]
    difference = heatmaps(moved).astype(int) - heatmaps(standing())
    assert np.abs(difference).max() <= 1


def test_a_missing_joint_takes_its_limbs_along() -> None:
    (whole,), (less,) = heatmaps(standing()), heatmaps(standing(WRIST))
    row, column = 32 + round((66 - 68) * 42.5 / 120), 32 + round(16 * 42.5 / 120)
    assert whole[1, row, column] > 200 > less[1, row, column]
    assert whole[0, row, column + 4] > less[0, row, column + 4]
    np.testing.assert_array_equal(whole[1, 45:], less[1, 45:])


def test_missing_joints_do_not_set_the_size() -> None:
    pose = standing(NOSE)
    pose[0, NOSE, :2] = -5000
    np.testing.assert_array_equal(heatmaps(pose), heatmaps(standing(NOSE)))


def test_without_hips_the_middle_is_taken() -> None:
    (pose,) = heatmaps(standing(*HIPS))
    assert pose[0].any()
    assert pose[1].any()
    assert abs(np.average(np.arange(64), weights=pose[1].sum(axis=0)) - 31.75) < 1


@pytest.mark.parametrize("present", [[], [NOSE], [WRIST, ELBOW]])
def test_next_to_nothing(present: list[int]) -> None:
    pose = standing(*(joint for joint in range(17) if joint not in present))
    (drawn,) = heatmaps(pose)
    assert drawn[1].any() == drawn[0].any() == (len(present) > 1)


def test_a_pose_that_leaves_the_canvas() -> None:
    pose = standing()
    pose[0, WRIST, 0] = 900
    pose[0, 10, 0] = -900
    assert heatmaps(pose)[0, 0, :, 32].any()


def test_no_frames() -> None:
    assert heatmaps(np.zeros((0, 17, 3))).shape == (0, 2, 64, 64)


def test_frames_are_independent() -> None:
    walk = np.concatenate([standing(), np.zeros((1, 17, 3)), standing(WRIST)])
    np.testing.assert_array_equal(heatmaps(walk)[2:], heatmaps(standing(WRIST)))
    assert not heatmaps(walk)[1].any()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.zeros((3, 18, 3)), r"\(3, 18, 3\)"),
        (np.zeros((17, 3)), r"\(17, 3\)"),
        (standing() * np.nan, "not finite"),
        (standing() * 255, "from 0 to 1"),
    ],
)
def test_bad_keypoints(wrong: NDArray[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        heatmaps(wrong)
