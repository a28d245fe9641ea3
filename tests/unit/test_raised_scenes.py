"""The benchmark of people before a raised camera: who counts as tracked, and what is filmed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from app.types import Floats, Ints
from tests.benchmarks import raised

FRAMES = 20


def truth(shown: float = 1.0, hidden: Sequence[int] = ()) -> Floats:
    """Two people, far apart; the second is hidden in some frames."""
    rows = [
        (frame + 1, person, 100 * person + frame, 50, 30, 60, 1, 1, 0.1 if person == 2 and frame in hidden else shown)
        for frame in range(FRAMES)
        for person in (1, 2)
    ]
    return np.array(rows, np.float32)


def tracks(of_person: dict[int, Sequence[int]]) -> list[tuple[Ints, Floats]]:
    """Tracks that lie on the people: the number of each person's track in each frame, 0 for none."""
    found = []
    for frame in range(FRAMES):
        here = {numbers[frame]: person for person, numbers in of_person.items() if numbers[frame]}
        boxes = [[100 * person + frame, 50, 100 * person + frame + 30, 110] for person in here.values()]
        found.append((np.array(list(here), np.int64), np.array(boxes, np.float32).reshape(-1, 4)))
    return found


def test_who_has_one_track_is_tracked() -> None:
    result = raised.judge(truth(), tracks({1: [7] * FRAMES, 2: [8] * FRAMES}))
    assert (result.people, result.tracked, result.switches) == (2, 2, 0)
    assert (result.seen, result.missed) == (2 * FRAMES, 0)


@pytest.mark.parametrize(("missing", "tracked"), [(4, 2), (5, 1)])
def test_a_track_must_cover_four_fifths_of_the_visible_frames(missing: int, tracked: int) -> None:
    result = raised.judge(truth(), tracks({1: [7] * FRAMES, 2: [0] * missing + [8] * (FRAMES - missing)}))
    assert (result.tracked, result.missed, result.switches) == (tracked, missing, 0)


def test_a_new_number_is_a_switch_however_late() -> None:
    result = raised.judge(truth(), tracks({1: [7] * FRAMES, 2: [8] * (FRAMES - 1) + [9]}))
    assert (result.tracked, result.switches) == (1, 1)


def test_a_track_that_goes_over_to_somebody_else_counts_for_nobody() -> None:
    result = raised.judge(truth(), tracks({1: [7] * 18 + [0, 0], 2: [0] * 18 + [7, 7]}))
    assert (result.tracked, result.switches) == (0, 0)


def test_frames_that_hide_somebody_do_not_count() -> None:
    hidden = range(5, 15)
    missed = raised.judge(truth(hidden=hidden), tracks({1: [7] * FRAMES, 2: [8] * 5 + [0] * 10 + [8] * 5}))
    assert (missed.tracked, missed.seen, missed.missed) == (2, 2 * FRAMES - 10, 0)
    followed = raised.judge(truth(hidden=hidden), tracks({1: [7] * FRAMES, 2: [8] * FRAMES}))
    assert followed.tracked == 2
    assert [len(ids) for ids, _ in followed.tracks] == [1 if frame in hidden else 2 for frame in range(FRAMES)]


def test_a_loose_box_covers_nobody() -> None:
    wide = [
        (ids, boxes + np.array([-30, 0, 30, 0], np.float32)) for ids, boxes in tracks({1: [7] * FRAMES, 2: [8] * 20})
    ]
    result = raised.judge(truth(), wide)
    assert (result.tracked, result.missed) == (0, 2 * FRAMES)


def test_scenes_show_four_small_people_who_keep_out_of_each_others_way() -> None:
    for number in (0, 5, 10, 15):
        place, camera, people = raised.draw(number)
        assert len(people) == raised.PEOPLE
        assert 4 <= camera.position[2] <= (4.4 if place == "hall" else 8)
        assert camera.tilt > 0
        for seconds in (0.0, raised.SECONDS / 2, raised.SECONDS):
            feet = np.array([one.at(seconds) for one in people])
            stature = np.array([one.session.body.stature for one in people])
            low = camera.project(np.column_stack([feet, np.zeros(4)]))
            tall = low[:, 1] - camera.project(np.column_stack([feet, stature]))[:, 1]
            assert tall.min() >= raised.LEAST
            assert tall.max() <= raised.MOST
            apart = np.linalg.norm(feet[:, None] - feet, axis=2)[np.triu_indices(4, 1)]
            assert apart.min() >= raised.APART
        again = raised.draw(number)
        assert again[1] == camera
        assert {one.session.person.seed for one in people} == {
            raised.FIRST_PERSON + 4 * number + index for index in range(4)
        }


@pytest.mark.slow
def test_a_scene_is_filmed_with_its_truth_and_only_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("anny")
    pytest.importorskip("numba")
    from app.lab.walkers.body import CACHE
    from app.video.reader import VideoReader

    monkeypatch.setattr(raised, "SCENES", 1)
    monkeypatch.setattr(raised, "SECONDS", 0.2)
    wardrobe = tmp_path / "wardrobe"
    wardrobe.mkdir()
    (video,) = raised.videos(tmp_path, wardrobe, CACHE)
    rows = np.loadtxt(video.with_suffix(".gt.txt"), delimiter=",")
    with VideoReader(video) as reader:
        images = [frame.image for frame in reader]
    assert set(rows[:, 0]) == set(range(1, len(images) + 1))
    assert images[0].shape == (raised.HEIGHT, raised.WIDTH, 3)
    assert set(rows[:, 1]) == {1, 2, 3, 4}
    perfect = raised.follow(raised.tracked_truth, video)
    assert perfect.people == 4
    assert perfect.switches == 0
    before = video.stat().st_mtime_ns
    raised.videos(tmp_path, wardrobe, CACHE)
    assert video.stat().st_mtime_ns == before
