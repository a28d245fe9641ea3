"""What every tracker must do. There is only one; add another one to `TRACKERS`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from app.stages import Tracker
from app.track.bytetrack import ByteTracker
from app.types import Detections, TrackedBoxes

TRACKERS: dict[str, Callable[[], Tracker]] = {"bytetrack": lambda: ByteTracker(25.0)}


@pytest.fixture(params=sorted(TRACKERS))
def make(request: pytest.FixtureRequest) -> Callable[[], Tracker]:
    return TRACKERS[request.param]


def seen(frame: int, people: int = 3, score: float = 0.9) -> Detections:
    """People side by side who walk to the right."""
    left = 100.0 * np.arange(people)[:, None] + 3.0 * frame
    boxes = np.hstack([left, np.full_like(left, 20), left + 40, np.full_like(left, 140)]).astype(np.float32)
    return Detections(boxes, np.full(people, score, np.float32))


def run(tracker: Tracker, frames: int) -> list[TrackedBoxes]:
    return [tracker.update(seen(frame)) for frame in range(frames)]


class TestTracker:
    def test_people_keep_their_ids_from_one_on(self, make: Callable[[], Tracker]) -> None:
        tracker = make()
        assert isinstance(tracker, Tracker)
        found = run(tracker, 20)
        assert sorted(found[-1].track_ids.tolist()) == [1, 2, 3]
        for one in found[2:]:
            assert one.track_ids.dtype == np.int64
            by_place = one.track_ids[np.argsort(one.boxes[:, 0])]
            np.testing.assert_array_equal(by_place, found[-1].track_ids[np.argsort(found[-1].boxes[:, 0])])

    def test_only_tracks_that_the_frame_shows_are_returned(self, make: Callable[[], Tracker]) -> None:
        tracker = make()
        run(tracker, 5)
        for _ in range(200):
            gone = tracker.update(Detections.none())
            assert gone.boxes.shape == (0, 4)
        assert make().update(Detections.none()).track_ids.shape == (0,)

    def test_boxes_are_those_of_this_frame(self, make: Callable[[], Tracker]) -> None:
        tracker = make()
        run(tracker, 10)
        given = seen(10)
        found = tracker.update(given)
        for box in found.boxes:
            assert np.abs(given.boxes - box).max(axis=1).min() < 5

    def test_two_videos_do_not_influence_each_other(self, make: Callable[[], Tracker]) -> None:
        first, second = make(), make()
        alone = run(make(), 10)
        for frame in range(10):
            first.update(seen(frame, people=2))
            together = second.update(seen(frame))
            np.testing.assert_array_equal(together.track_ids, alone[frame].track_ids)
            np.testing.assert_array_equal(together.boxes, alone[frame].boxes)

    def test_weak_detections_start_no_track(self, make: Callable[[], Tracker]) -> None:
        tracker = make()
        assert all(len(tracker.update(seen(frame, score=0.3)).track_ids) == 0 for frame in range(10))

    def test_detections_are_left_as_they_are(self, make: Callable[[], Tracker]) -> None:
        tracker, given = make(), seen(0)
        given.boxes.setflags(write=False)
        given.scores.setflags(write=False)
        tracker.update(given)
        np.testing.assert_array_equal(given.boxes, seen(0).boxes)
