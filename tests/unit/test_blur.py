"""Blurring: nothing of a face is left, nobody shows up for a moment, and everything else stays as it was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import numpy as np
import pytest

from app.results.render import region_to_blur, regions_to_blur
from app.results.report import TrackReport, VideoReport
from app.settings import Blur
from app.types import Floats, Image
from app.video.blur import blur, body_region, head_region

BOX = np.array([100, 40, 160, 190], np.float32)


def noise(seed: int) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (240, 320, 3), np.uint8)


def keypoints(*face: tuple[float, float, float]) -> Floats:
    joints = np.zeros((17, 3), np.float32)
    joints[: len(face)] = face
    return joints


def track(number: int, frames: Sequence[int], boxes: Sequence[Sequence[float]], identity: str | None) -> TrackReport:
    return TrackReport(
        track_id=number,
        frames=list(frames),
        boxes=[list(box) for box in boxes],
        status="identified" if identity else "unknown",
        identity=identity,
        distance=None,
        threshold=None,
        reason=None if identity else "a stranger",
        candidates=[],
    )


def video(*tracks: TrackReport) -> VideoReport:
    return VideoReport(video="v.mp4", name="v", width=320, height=240, fps=25, frame_count=100, tracks=list(tracks))


def covers(region: Floats, x: float, y: float) -> bool:
    return bool(region[0] <= x <= region[2] and region[1] <= y <= region[3])


def test_two_pictures_with_the_same_coarse_colours_become_the_same() -> None:
    """The difference between the pictures is gone, so no program can bring it back."""
    pictures = []
    for seed in (1, 2):
        image = np.full((90, 90, 3), 100, np.uint8)
        shift = np.random.default_rng(seed).integers(-80, 81, (45, 90, 3))
        image[0::2] = 100 + shift  # each pair of rows has the mean 100
        image[1::2] = 100 - shift
        pictures.append(image)
    assert np.abs(pictures[0].astype(int) - pictures[1]).max() > 100
    first, second = (blur(image, [np.array([0, 0, 90, 90], np.float32)]) for image in pictures)
    assert np.abs(first.astype(int) - second).max() <= 1


@pytest.mark.parametrize("size", [(1, 1), (2, 9), (40, 40), (60, 200), (3, 300)])
def test_at_most_three_blotches_are_left_across_a_region(size: tuple[int, int]) -> None:
    width, height = size
    image = blur(np.resize(noise(1), (320, 320, 3)), [np.array([5, 5, 5 + width, 5 + height], np.float32)])
    area = image[5 : 5 + height, 5 : 5 + width].astype(int)
    across = area.mean(axis=(0 if width <= height else 1, 2))
    turns = np.count_nonzero(np.diff(np.sign(np.diff(across[np.r_[True, np.diff(across) != 0]]))))
    assert turns <= 2


def test_only_the_region_changes_and_it_may_leave_the_picture() -> None:
    before = noise(1)
    after = blur(before.copy(), [np.array([300, -20, 400, 50], np.float32), np.array([50, 250, 90, 300], np.float32)])
    changed = (before != after).any(axis=2)
    assert changed[:50, 300:].mean() > 0.95
    changed[:50, 300:] = False
    assert not changed.any()


def test_a_head_is_found_in_the_upper_part_of_the_box() -> None:
    region = head_region(BOX)
    assert region[0] <= 100
    assert region[2] >= 160
    assert region[1] < 40
    assert 40 + 150 / 6 < region[3] < 40 + 150 / 3
    waist_up = head_region(np.array([100, 40, 220, 190], np.float32))
    assert waist_up[3] > 40 + 150 / 3, "the head of somebody whose legs are out of sight is larger"


def test_a_head_is_found_by_its_joints() -> None:
    joints = keypoints((150, 60, 0.9), (152, 58, 0.8), (148, 58, 0.8))
    region = head_region(BOX, joints)
    for x, y in ((136, 60), (164, 60), (150, 44), (150, 72)):
        assert covers(region, x, y)
    assert region[2] - region[0] < 60
    unsure = keypoints((20, 200, 0.2), (21, 200, 0.1), (150, 60, 0.9))
    assert np.array_equal(head_region(BOX, unsure), head_region(BOX)), "one joint, or unsure ones, are not enough"
    apart = head_region(BOX, keypoints((110, 60, 0.9), (158, 60, 0.9)))
    assert covers(apart, 110, 60)
    assert covers(apart, 158, 60)


def test_the_rule_is_the_same_for_videos_and_live_sources() -> None:
    body, head = body_region(BOX).tolist(), head_region(BOX).tolist()
    assert (np.array(body[2:]) > BOX[2:]).all(), "hair, hands and feet may reach beyond the box"
    regions = {
        (which, name): None if region is None else region.tolist()
        for which in ("none", "faces", "unknown", "everyone")
        for name in ("Anna", None)
        for region in [region_to_blur(BOX, name, which)]
    }
    assert regions == {
        **{("none", "Anna"): None, ("none", None): None},
        **{("faces", "Anna"): head, ("faces", None): head},
        **{("unknown", "Anna"): None, ("unknown", None): body},
        **{("everyone", "Anna"): body, ("everyone", None): body},
    }


def test_which_people_are_blurred() -> None:
    boxes = [[100.0, 40, 160, 190]] * 5
    both = video(track(1, range(5), boxes, "Ann"), track(2, range(5), [[10.0, 40, 70, 190]] * 5, None))
    wanted: dict[Blur, list[list[float]]] = {
        "none": [],
        "faces": [head_region(BOX).tolist(), head_region(np.array([10, 40, 70, 190], np.float32)).tolist()],
        "unknown": [[4, 34, 76, 196]],
        "everyone": [[94, 34, 166, 196], [4, 34, 76, 196]],
    }
    assert set(wanted) == set(get_args(Blur))
    for which, expected in wanted.items():
        regions = regions_to_blur(both, which)
        assert [region.tolist() for region in regions.get(2, [])] == expected


def test_nobody_shows_up_where_the_track_has_gaps_or_before_and_after_it() -> None:
    # 2 px a frame to the right; seen in frames 20 to 29 and 40 to 49.
    frames = [*range(20, 30), *range(40, 50)]
    walker = track(1, frames, [[100.0 + 2 * (i - 20), 40, 160 + 2 * (i - 20), 190] for i in frames], None)
    regions = regions_to_blur(video(walker), "everyone")
    assert sorted(regions) == list(range(10, 60))
    for index, (region,) in regions.items():
        assert region[0] == pytest.approx(94 + 2 * (index - 20), abs=1e-3)


def test_a_track_of_one_frame_is_held() -> None:
    regions = regions_to_blur(video(track(1, [3], [BOX.tolist()], None)), "unknown")
    assert sorted(regions) == list(range(-7, 14))
    assert all(np.array_equal(region, body_region(BOX)) for (region,) in regions.values())


def test_skeletons_say_where_heads_are_also_of_a_part_of_a_track() -> None:
    joints = keypoints((150, 60, 0.9), (152, 58, 0.8))
    walker = track(7, range(3), [BOX.tolist()] * 3, None).model_copy(update={"part_of": 1})
    regions = regions_to_blur(video(walker), "faces", {7: {1: joints}})
    assert np.array_equal(regions[1][0], head_region(BOX, joints))
    assert np.array_equal(regions[2][0], head_region(BOX))
