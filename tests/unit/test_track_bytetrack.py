"""ByteTrack's rules, one by one, on boxes drawn by hand."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np
import pytest

from app.stages import Tracker
from app.track.bytetrack import ByteTracker, iou, match
from app.types import Detections, Floats


def people(*rows: tuple[float, float, float]) -> Detections:
    """Detections of people 40 px wide and 100 px high from (left, top, score)."""
    boxes = np.array([[x, y, x + 40, y + 100] for x, y, _ in rows], np.float32).reshape(-1, 4)
    return Detections(boxes, np.array([score for _, _, score in rows], np.float32))


def ids(tracker: ByteTracker, *rows: tuple[float, float, float]) -> list[int]:
    return [int(track_id) for track_id in tracker.update(people(*rows)).track_ids]


def new_tracker(fps: float = 30.0) -> ByteTracker:
    return ByteTracker(fps)


def test_it_is_a_tracker() -> None:
    assert isinstance(new_tracker(), Tracker)


def test_two_walkers_who_cross_keep_their_ids() -> None:
    tracker = new_tracker()
    for step in range(60):
        tracked = tracker.update(people((5.0 * step, 100, 0.9), (300 - 5.0 * step, 115, 0.85)))
        assert tracked.track_ids.tolist() == [1, 2]
        np.testing.assert_allclose(tracked.boxes[:, 0], [5 * step, 300 - 5 * step])
        np.testing.assert_allclose(tracked.scores, [0.9, 0.85], rtol=1e-6)


def test_two_videos_are_independent_and_each_starts_at_one() -> None:
    rows = [[(3.0 * t, 50, 0.9), (400 - 3.0 * t, 60, 0.8)] for t in range(30)]
    alone = new_tracker()
    expected = [ids(alone, *row) for row in rows]
    first, second = new_tracker(), new_tracker()
    for row, other, want in zip(rows, reversed(rows), expected, strict=True):
        assert ids(first, *row) == want
        ids(second, *other)
    assert expected[0] == [1, 2]


def test_the_first_frame_confirms_at_once_and_later_frames_on_the_second_detection() -> None:
    tracker = new_tracker()
    assert ids(tracker, (0, 0, 0.9)) == [1]
    assert ids(tracker, (0, 0, 0.9), (200, 0, 0.9)) == [1]
    assert ids(tracker, (0, 0, 0.9), (201, 0, 0.9)) == [1, 2]


def test_a_false_alarm_of_one_frame_gets_no_id_and_leaves_no_gap() -> None:
    tracker = new_tracker()
    ids(tracker, (0, 0, 0.9))
    ids(tracker, (0, 0, 0.9), (200, 0, 0.9))
    assert ids(tracker, (0, 0, 0.9)) == [1]
    ids(tracker, (0, 0, 0.9), (200, 0, 0.9))
    assert ids(tracker, (0, 0, 0.9), (200, 0, 0.9)) == [1, 2]


@pytest.mark.parametrize(("score", "started"), [(0.3, False), (0.55, False), (0.65, True)])
def test_only_a_sure_detection_starts_a_track(score: float, started: bool) -> None:
    tracker = new_tracker()
    for _ in range(3):
        found = ids(tracker, (0, 0, score))
    assert bool(found) is started


def test_a_weak_detection_continues_a_track_but_does_not_revive_a_lost_one() -> None:
    tracker = new_tracker()
    ids(tracker, (0, 0, 0.9))
    assert ids(tracker, (1, 0, 0.2)) == [1]
    assert ids(tracker, (1, 0, 0.05)) == []
    assert ids(tracker, (1, 0, 0.2)) == []
    assert ids(tracker, (1, 0, 0.9)) == [1]


@pytest.mark.parametrize("fps", [5.0, 10.0, 29.97, 60.0])
def test_a_hidden_person_keeps_the_id_for_a_second_at_any_frame_rate(fps: float) -> None:
    for seconds, same in ((0.8, True), (1.4, False)):
        tracker = new_tracker(fps)
        for _ in range(5):
            ids(tracker, (100, 100, 0.9))
        for _ in range(round(seconds * fps)):
            assert ids(tracker) == []
        ids(tracker, (100, 100, 0.9))
        assert ids(tracker, (100, 100, 0.9)) == ([1] if same else [2])


def test_a_lost_walker_is_found_where_the_motion_leads() -> None:
    tracker = new_tracker()
    for step in range(20):
        ids(tracker, (6.0 * step, 0, 0.9))
    for _ in range(12):
        ids(tracker)
    assert ids(tracker, (6.0 * 32, 0, 0.9)) == [1]


def test_a_second_box_on_a_followed_person_starts_no_track() -> None:
    tracker = new_tracker()
    ids(tracker, (0, 0, 0.9))
    for _ in range(4):
        assert ids(tracker, (0, 0, 0.9), (10, 5, 0.7)) == [1]


def test_frames_without_detections() -> None:
    tracker = new_tracker()
    assert all(ids(tracker) == [] for _ in range(5))
    ids(tracker, (0, 0, 0.9))
    assert ids(tracker, (0, 0, 0.9)) == [1]


@pytest.mark.parametrize("fps", [0.0, -1.0, float("nan")])
def test_a_frame_rate_must_be_positive(fps: float) -> None:
    with pytest.raises(ValueError, match="not positive"):
        new_tracker(fps)


def naive_iou(a: Floats, b: Floats) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return float(shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared))


def test_iou_of_each_pair() -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 50, (9, 2))
    boxes = np.hstack([corners, corners + rng.uniform(5, 50, (9, 2))]).astype(np.float32)
    expected = [[naive_iou(a, b) for b in boxes[5:]] for a in boxes[:5]]
    np.testing.assert_allclose(iou(boxes[:5], boxes[5:]), expected, atol=1e-6)
    assert iou(boxes[:0], boxes).shape == (0, 9)


def test_match_is_the_best_of_all_pairings_above_the_least() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        likeness = rng.uniform(0, 1, (4, 4)).astype(np.float32)
        allowed = np.where(likeness >= 0.4, likeness, 0)
        best = max(sum(allowed[row, column] for row, column in enumerate(order)) for order in permutations(range(4)))
        pairs = match(likeness, 0.4)
        assert sum(likeness[pair] for pair in pairs) == pytest.approx(best)
        assert all(likeness[pair] >= 0.4 for pair in pairs)


@pytest.mark.parametrize("passed", [27, 500, 1_000_000])
def test_tracks_end_where_nothing_was_recorded_for_long(passed: int) -> None:
    tracker = ByteTracker(25)
    for _ in range(5):
        before = tracker.update(people((100, 100, 0.9))).track_ids.tolist()
    assert before == [1]
    tracker.update(people((100, 100, 0.9)), passed)  # somebody else in the same place
    after = tracker.update(people((100, 100, 0.9))).track_ids.tolist()
    assert after == [2]


@pytest.mark.parametrize("passed", [2, 12, 25])
def test_tracks_go_on_over_a_short_pause(passed: int) -> None:
    tracker = ByteTracker(25)
    for step in range(10):
        tracker.update(people((100 + 2.0 * step, 100, 0.9)))
    tracked = tracker.update(people((100 + 2.0 * (9 + passed), 100, 0.9)), passed)
    assert tracked.track_ids.tolist() == [1]


def test_every_second_picture_may_be_missing() -> None:
    tracker = ByteTracker(25)
    tracker.update(people())
    for step in range(10):
        tracked = tracker.update(people((100 + 4.0 * step, 100, 0.9)), 2)
    assert tracked.track_ids.tolist() == [1]


@pytest.mark.parametrize(
    ("given", "stated", "started"), [(None, 0.8, False), (None, None, True), (0.65, 0.8, True), (0.75, None, False)]
)
def test_the_detectors_file_says_which_score_starts_a_track_unless_the_settings_do(
    given: float | None, stated: float | None, started: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.runs import build
    from app.settings import Settings

    made = build.detectors.build

    def detector(*arguments: Any) -> Any:
        one = made(*arguments)
        one.card = replace(one.card, sure=stated)
        return one

    monkeypatch.setattr(build.detectors, "build", detector)
    named = {"detector.name": "motion", "segmenter.name": "motion", "gait.name": "gei", "track.new_score": given}
    tracker = build.build(Settings.load(named=named)).tracker(25.0)
    assert bool(ids(tracker, (0, 0, 0.7))) is started
