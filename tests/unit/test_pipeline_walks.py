"""Pass 1 with stages that are drawn: what is yielded, when, and what is kept meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from app.progress import Stopwatch
from app.settings import GaitSettings, QualitySettings, SegmenterSettings, Settings, TrackSettings, VideoSettings
from app.types import Detections, Floats, Frame, Matte, ModelCard, TrackedBoxes, VideoInfo
from app.walks.sequences import Walk, batched, detections_of, walks

BLACK = np.zeros((240, 320, 3), np.uint8)
EASY = Settings(quality=QualitySettings(min_seconds=0.4, min_frames=4, min_motion=0.0), video=VideoSettings(looks=1000))


class Script:
    """Detector and tracker in one: says who is where in which frame."""

    card = ModelCard("detector", "script", "weight-free", "none")

    def __init__(self, people: dict[int, range], step: float = 2.0) -> None:
        self.people = people
        self.step = step
        self.frame = -1

    def start(self, video: VideoInfo) -> None: ...

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        return [Detections.none() for _ in frames]

    def update(self, detections: Detections, passed: int = 1) -> TrackedBoxes:
        self.frame += passed
        ids = [person for person, when in self.people.items() if self.frame in when]
        boxes = [self.box(person, self.frame) for person in ids]
        return TrackedBoxes(
            np.array(ids, np.int64), np.array(boxes, np.float32).reshape(-1, 4), np.full(len(ids), 0.9, np.float32)
        )

    def box(self, person: int, frame: int) -> tuple[float, float, float, float]:
        left = 10 + 90 * (person - 1) + self.step * (20 - abs(frame % 100 - 50) * 0.4)
        return (left, 60, left + 40, 180)


class Cutter:
    """A segmenter that draws a body with swinging legs; notes which frames it saw."""

    card = ModelCard("segmenter", "cutter", "weight-free", "none")
    threshold = 0.5

    def __init__(self) -> None:
        self.seen: list[int] = []

    def start(self, video: VideoInfo) -> None: ...

    def segment(self, frames: Sequence[Frame], boxes: Sequence[Floats]) -> list[list[Matte]]:
        self.seen += [frame.index for frame in frames]
        return [[self.body(box, frame.index) for box in of] for frame, of in zip(frames, boxes, strict=True)]

    def body(self, box: Floats, index: int) -> Matte:
        left, top, right, bottom = (int(value) for value in box)
        alpha = np.zeros((bottom - top, right - left), np.uint8)
        cv2.ellipse(alpha, (20, 40), (12, 39), 0, 0, 360, (255,), -1)
        swing = round(16 * np.sin(index * 0.5))
        for side in (-1, 1):
            cv2.line(alpha, (20, 60), (20 + side * swing, 118), (255,), 8)
        return Matte(left, top, alpha)


def film(
    script: Script, count: int, settings: Settings = EASY, fps: Fraction = Fraction(25), batch: int = 4
) -> tuple[Iterator[Walk], Cutter, list[int]]:
    """The walks of `count` frames, as a generator, the segmenter, and how many frames were done so far."""
    info = VideoInfo(Path("drawn.mp4"), 320, 240, fps, count)
    watch, cutter, done = Stopwatch(), Cutter(), [0]

    def seen(group: list[Frame]) -> None:
        done[0] += len(group)

    frames = (Frame(index, index / float(fps), BLACK) for index in range(count))
    detected = detections_of(frames, script, batch, watch)
    return walks(detected, info, script, cutter, settings, watch, seen), cutter, done


def test_a_walk_ends_early_and_the_rest_in_order() -> None:
    found, _, done = film(Script({1: range(80), 2: range(200), 3: range(5, 30)}), 200)
    second = next(found)
    assert second.track.track_id == 3, "people are numbered as they appear"
    assert done[0] <= 30 + 100 + 8, "as soon as nobody can come back"
    first = next(found)
    assert first.track.track_id == 1
    assert done[0] <= 80 + 100 + 8
    (last,) = found
    assert last.track.track_id == 2
    assert done[0] == 200
    for walk, when in ((first, range(80)), (second, range(5, 30)), (last, range(200))):
        assert walk.reason is None
        assert walk.track.frame_indices.tolist() == list(when)
        assert walk.sequence is not None
        assert walk.sequence.frame_indices.tolist() == list(when)


def test_a_gap_within_the_patience_is_one_walk() -> None:
    class Blinking(Script):
        def update(self, detections: Detections, passed: int = 1) -> TrackedBoxes:
            found = super().update(detections, passed)
            if not 20 <= self.frame < 44:
                return found
            return TrackedBoxes(found.track_ids[:0], found.boxes[:0], found.scores[:0])

    found = list(film(Blinking({1: range(70)}), 70)[0])
    assert [len(walk.track.frame_indices) for walk in found] == [46]


def test_boxes_and_silhouettes_belong_to_their_frames() -> None:
    script = Script({1: range(40), 2: range(3, 33)})
    found = {walk.track.track_id: walk for walk in film(script, 40)[0]}
    for person, walk in found.items():
        for index, box in zip(walk.track.frame_indices.tolist(), walk.track.boxes, strict=True):
            np.testing.assert_allclose(box, script.box(person, index))
        assert walk.sequence is not None
        again = {w.track.track_id: w for w in film(script.__class__(script.people), 40, batch=7)[0]}[person]
        assert again.sequence is not None
        np.testing.assert_array_equal(again.sequence.silhouettes, walk.sequence.silhouettes)


class Crossing(Script):
    """Two people who cross, one of them 120 and the other 150 px high. The tracker mixes them up from `switch` on."""

    def __init__(self, switch: int) -> None:
        super().__init__({1: range(120), 2: range(120)})
        self.switch = switch

    def update(self, detections: Detections, passed: int = 1) -> TrackedBoxes:
        found = super().update(detections, passed)
        if self.frame < self.switch:
            return found
        return TrackedBoxes(found.track_ids, found.boxes[::-1].copy(), found.scores)

    def box(self, person: int, frame: int) -> tuple[float, float, float, float]:
        left = 10 + 2 * frame if person == 1 else 250 - 2 * frame
        return (left, 40, left + 40, 160) if person == 1 else (left, 20, left + 40, 170)


@pytest.mark.parametrize("batch", [1, 4, 7, 50])
def test_all_that_was_cut_out_goes_to_the_right_track_in_hindsight(batch: int) -> None:
    right = {walk.track.track_id: walk for walk in film(Crossing(1000), 120)[0]}
    found = {walk.track.track_id: walk for walk in film(Crossing(60), 120, batch=batch)[0]}
    assert sorted(found) == [1, 2]
    for person, walk in found.items():
        np.testing.assert_array_equal(walk.track.frame_indices, right[person].track.frame_indices)
        np.testing.assert_array_equal(walk.track.boxes, right[person].track.boxes)
        assert walk.reason == right[person].reason
        one, other = walk.sequence, right[person].sequence
        assert one is not None
        assert other is not None
        np.testing.assert_array_equal(one.frame_indices, other.frame_indices)
        np.testing.assert_array_equal(one.silhouettes, other.silhouettes)


@pytest.mark.parametrize("seed", range(3))
def test_however_the_tracker_errs_each_box_is_in_one_walk(seed: int) -> None:
    class Wild(Script):
        """Numbers are mixed up, people are lost and get new ones."""

        def __init__(self) -> None:
            super().__init__({1: range(250), 2: range(30, 250), 3: range(200)})
            self.rng = np.random.default_rng(seed)
            self.numbers = {1: 1, 2: 2, 3: 3}
            self.seen = 0

        def update(self, detections: Detections, passed: int = 1) -> TrackedBoxes:
            found = super().update(detections, passed)
            rng = self.rng
            if rng.random() < 0.05:
                one, other = rng.choice([1, 2, 3], 2, replace=False).tolist()
                self.numbers[one], self.numbers[other] = self.numbers[other], self.numbers[one]
            if rng.random() < 0.04:
                self.numbers[int(rng.integers(1, 4))] = 10 + self.frame
            kept = np.flatnonzero((self.frame // 12 * 7 + found.track_ids * 5) % 4 > 0)
            self.seen += len(kept)
            ids = np.array([self.numbers[person] for person in found.track_ids[kept].tolist()], np.int64)
            order = np.argsort(ids)
            return TrackedBoxes(ids[order], found.boxes[kept][order], found.scores[kept][order])

    def boxes(batch: int) -> list[tuple[int, tuple[float, ...]]]:
        script = Wild()
        found = list(film(script, 250, batch=batch)[0])
        every = [
            (frame, tuple(box.tolist()))
            for walk in found
            for frame, box in zip(walk.track.frame_indices.tolist(), walk.track.boxes, strict=True)
        ]
        assert len(set(every)) == len(every) == script.seen
        assert len({walk.track.track_id for walk in found}) == len(found)
        return [(walk.track.track_id, tuple(walk.track.frame_indices.tolist())) for walk in sorted(found, key=_number)]

    assert boxes(3) == boxes(64)


def _number(walk: Walk) -> int:
    return walk.track.track_id


def test_without_hindsight_tracks_stay_as_the_tracker_gave_them() -> None:
    settings = replace(EASY, track=TrackSettings(hindsight=False))
    heights = [np.ptp(walk.track.boxes[:, 3] - walk.track.boxes[:, 1]) for walk in film(Crossing(60), 120, settings)[0]]
    assert heights == [30, 30]


def test_somebody_who_is_hidden_for_longer_than_the_tracker_waits_is_one_walk() -> None:
    class Hidden(Script):
        def update(self, detections: Detections, passed: int = 1) -> TrackedBoxes:
            found = super().update(detections, passed)
            if 50 <= self.frame < 90:
                return TrackedBoxes(found.track_ids[:0], found.boxes[:0], found.scores[:0])
            return replace(found, track_ids=found.track_ids + (5 if self.frame >= 90 else 0))

        def box(self, person: int, frame: int) -> tuple[float, float, float, float]:
            return (10 + 2 * frame, 60, 50 + 2 * frame, 180)

    (walk,) = film(Hidden({1: range(140)}), 140)[0]
    assert walk.track.track_id == 1
    assert walk.track.frame_indices.tolist() == [*range(50), *range(90, 140)]
    assert walk.sequence is not None
    assert {frame >= 90 for frame in walk.sequence.frame_indices.tolist()} == {False, True}


def test_long_walks_are_thinned_evenly_and_boxes_are_not() -> None:
    class Straight(Script):
        def box(self, person: int, frame: int) -> tuple[float, float, float, float]:
            return (10 + 0.4 * frame, 60, 50 + 0.4 * frame, 180)

    settings = replace(EASY, gait=GaitSettings(max_frames=40))
    (walk,) = film(Straight({1: range(500)}), 500, settings)[0]
    assert len(walk.track.frame_indices) == 500
    assert walk.sequence is not None
    assert 40 <= len(walk.sequence) < 80
    gaps = np.diff(walk.sequence.frame_indices)
    assert walk.sequence.frame_indices[0] == 0
    assert walk.sequence.frame_indices[-1] > 480
    assert set(gaps.tolist()) == {8}


def test_reasons() -> None:
    def reason(script: Script, count: int = 60, settings: Settings = EASY) -> str:
        (walk,) = film(script, count, settings)[0]
        return (walk.reason or "").partition(":")[0]

    class Small(Script):
        def box(self, person: int, frame: int) -> tuple[float, float, float, float]:
            return (50 + frame, 50, 60 + frame, 80)

    class AtTheBorder(Script):
        def box(self, person: int, frame: int) -> tuple[float, float, float, float]:
            return (0, 60, 40, 180)

    assert reason(Script({1: range(60)})) == ""
    assert reason(Script({1: range(5)})) == "too short"
    assert reason(Small({1: range(60)})) == "too small"
    assert reason(AtTheBorder({1: range(60)})).startswith("cut by the border")
    strict = replace(EASY, quality=replace(EASY.quality, min_motion=50.0))
    assert reason(Script({1: range(60)}), settings=strict) == "standing still"

    class Behind(Script):
        def box(self, person: int, frame: int) -> tuple[float, float, float, float]:
            return (100 + frame, 60, 140 + frame, 180 if person == 1 else 190)

    hidden = {walk.track.track_id: walk for walk in film(Behind({1: range(60), 2: range(60)}), 60)[0]}
    assert (hidden[1].reason or "").startswith("occluded")
    assert hidden[1].sequence is None
    assert hidden[2].reason is None


def test_the_threshold_of_the_settings_comes_before_the_models() -> None:
    nobody = replace(EASY, segmenter=SegmenterSettings(threshold=1.0))
    (walk,) = film(Script({1: range(30)}), 30, nobody)[0]
    assert walk.sequence is not None, "255 is probability 1"

    class Faint(Cutter):
        threshold = 0.2

        def body(self, box: Floats, index: int) -> Matte:
            matte = super().body(box, index)
            return Matte(matte.left, matte.top, (matte.alpha * 0.3).astype(np.uint8))

    for threshold, cut in ((None, True), (0.5, False)):
        script = Script({1: range(30)})
        settings = replace(EASY, segmenter=SegmenterSettings(threshold=threshold))
        info = VideoInfo(Path("drawn.mp4"), 320, 240, Fraction(25), 30)
        frames = (Frame(index, index / 25, BLACK) for index in range(30))
        found = walks(
            detections_of(frames, script, 4, Stopwatch()), info, script, Faint(), settings, Stopwatch(), lambda _: None
        )
        (walk,) = found
        assert (walk.sequence is not None) == cut
        assert (walk.reason or "").startswith("" if cut else "no silhouette")


def test_patience_follows_the_frame_rate() -> None:
    settings = replace(EASY, track=TrackSettings(lost_seconds=2.0))
    found, _, done = film(Script({1: range(20), 2: range(300)}), 300, settings, fps=Fraction(10), batch=1)
    assert next(found).track.track_id == 1
    assert done[0] == 19 + 2 + 40


def test_nobody_gives_nothing() -> None:
    assert list(film(Script({}), 10)[0]) == []
    assert list(film(Script({1: range(5)}), 0)[0]) == []


def test_batches() -> None:
    assert list(batched(range(7), 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(batched([], 3)) == []
