"""What a second later tells about tracks, on people who are drawn as boxes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from app.track.hindsight import Exchange, Hindsight, exchanged
from app.types import Floats, TrackedBoxes

FPS = 25.0
Box = tuple[float, float, float, float]
Seen = Mapping[int, Box]
"""The boxes of one frame by the tracker's ids."""


def somebody(x: float, y: float = 200.0, height: float = 120.0) -> Box:
    """The box of somebody who stands at x, y px."""
    return (x - height / 6, y - height, x + height / 6, y)


def to_the_right(frame: int) -> Box:
    return somebody(100 + 3 * frame)


def to_the_left(frame: int) -> Box:
    return somebody(400 - 3 * frame, 210)


def put_right(seen: Callable[[int], Seen], frames: int) -> dict[int, dict[int, Floats]]:
    """The boxes of each track by frame, after all exchanges."""
    hindsight, tracks = Hindsight(FPS), dict[int, list[tuple[int, Floats]]]()

    def do(exchanges: list[Exchange]) -> None:
        for exchange in exchanges:
            pair = (exchange.one, exchange.other)
            both = exchanged(tracks.pop(pair[0]), tracks.pop(pair[1]), exchange, lambda look: look[0])
            tracks.update({track_id: looks for track_id, looks in zip(pair, both, strict=True) if looks})

    for frame in range(frames):
        people = seen(frame)
        boxes = np.array(list(people.values()), np.float32).reshape(-1, 4)
        tracked = TrackedBoxes(np.array(list(people), np.int64), boxes, np.full(len(boxes), 0.9, np.float32))
        now, exchanges = hindsight.update(frame, tracked)
        assert np.all(np.diff(now.track_ids) > 0)
        for track_id, box in zip(now.track_ids.tolist(), now.boxes, strict=True):
            tracks.setdefault(track_id, []).append((frame, box))
        do(exchanges)
    do(hindsight.end())
    return {track_id: dict(looks) for track_id, looks in tracks.items()}


def assert_follows(track: dict[int, Floats], who: Callable[[int], Box], frames: range) -> None:
    assert list(track) == [frame for frame in frames if frame in track]
    for frame, box in track.items():
        np.testing.assert_allclose(box, who(frame), err_msg=f"frame {frame}")


@pytest.mark.parametrize("mixed_up", [range(0), range(50, 100), range(52, 100), range(48, 52), range(50, 51)])
def test_two_people_who_pass_each_other_keep_their_tracks(mixed_up: range) -> None:
    def seen(frame: int) -> Seen:
        pair = (to_the_right(frame), to_the_left(frame))
        return dict(zip((1, 2), reversed(pair) if frame in mixed_up else pair, strict=True))

    tracks = put_right(seen, 100)
    assert sorted(tracks) == [1, 2]
    assert_follows(tracks[1], to_the_right, range(100))
    assert_follows(tracks[2], to_the_left, range(100))


def test_two_people_who_meet_and_turn_back_keep_their_tracks() -> None:
    def first(frame: int) -> Box:
        return somebody(240 - 3 * abs(frame - 50))

    def second(frame: int) -> Box:
        return somebody(252 + 3 * abs(frame - 50), 225, 140)

    tracks = put_right(lambda frame: {1: first(frame), 2: second(frame)}, 100)
    # Their lines fit the change better, and only their heights speak against it. This is the price of the rule.
    heights = {track_id: {float(box[3] - box[1]) for box in track.values()} for track_id, track in tracks.items()}
    assert heights == {1: {120.0}, 2: {140.0}}


def test_two_people_who_walk_together_for_long_are_left_as_they_are() -> None:
    def seen(frame: int) -> Seen:
        beside = 60 if frame < 30 or frame > 120 else 12
        return {1: somebody(100 + 2 * frame), 2: somebody(100 + 2 * frame + (beside if frame <= 120 else -beside))}

    tracks = put_right(seen, 150)
    assert_follows(tracks[1], lambda frame: seen(frame)[1], range(150))
    assert_follows(tracks[2], lambda frame: seen(frame)[2], range(150))


@pytest.mark.parametrize(("hidden", "joined"), [(5, True), (40, True), (60, False)])
def test_somebody_who_was_hidden_is_the_same_person_where_they_come_out(hidden: int, joined: bool) -> None:
    def seen(frame: int) -> Seen:
        if frame < 50:
            return {1: to_the_right(frame)}
        return {2: to_the_right(frame)} if frame >= 50 + hidden else {}

    tracks = put_right(seen, 160)
    assert sorted(tracks) == ([1] if joined else [1, 2])
    if joined:
        assert_follows(tracks[1], to_the_right, range(160))
        assert len(tracks[1]) == 160 - hidden


@pytest.mark.parametrize("hidden", [5, 12, 14, 25, 40])
def test_who_comes_back_in_their_own_track_stays_in_it(hidden: int) -> None:
    tracks = put_right(lambda frame: {} if 50 <= frame < 50 + hidden else {1: to_the_right(frame)}, 160)
    assert sorted(tracks) == [1]
    assert_follows(tracks[1], to_the_right, range(160))


@pytest.mark.parametrize("looks", [1, 2, 3])
def test_the_tracker_is_believed_where_a_line_cannot_tell(looks: int) -> None:
    """Before or after somebody was hidden, there are too few looks."""
    for shown in (range(50 - looks, 50), range(70, 70 + looks)):
        others = range(70, 160) if shown[0] < 60 else range(50)
        tracks = put_right(
            lambda frame, some=(*shown, *others): {1: to_the_right(frame)} if frame in some else {},  # type: ignore[misc]
            160,
        )
        assert sorted(tracks) == [1]
        assert len(tracks[1]) == looks + len(others)


def test_who_comes_back_somewhere_else_where_nobody_was_is_still_taken_for_who_left() -> None:
    tracks = put_right(
        lambda frame: (
            {} if 50 <= frame < 70 else {1: to_the_right(frame) if frame < 50 else somebody(420 - frame, 320)}
        ),
        160,
    )
    assert sorted(tracks) == [1]


@pytest.mark.parametrize("back", [72, 80, 88])
def test_who_comes_back_in_the_track_of_somebody_else_gets_their_own(back: int) -> None:
    """They meet. The first is hidden; the second track goes over to the first person when that one comes out.

    Then the second person comes out, in the first track.
    """

    def seen(frame: int) -> Seen:
        if frame < 50:
            return {1: to_the_right(frame), 2: to_the_left(frame)}
        if frame < 60:
            return {2: to_the_left(frame)}
        return {2: to_the_right(frame)} | ({1: to_the_left(frame)} if frame >= back else {})

    tracks = put_right(seen, 160)
    assert sorted(tracks) == [1, 2]
    about = range(55, 65)  # a look more or less
    for track, who in ((tracks[1], to_the_right), (tracks[2], to_the_left)):
        assert_follows({frame: box for frame, box in track.items() if frame not in about}, who, range(160))
    assert len(tracks[1]) + len(tracks[2]) == 50 + 50 + 10 + 100 + 160 - back


@pytest.mark.parametrize(("paused", "joined"), [(20, True), (30, False), (45, False)])
def test_nobody_is_joined_across_a_pause_of_the_recording(paused: int, joined: bool) -> None:
    hindsight = Hindsight(FPS)
    exchanges: list[Exchange] = []
    for frame in [*range(50), *range(50 + paused, 160)]:
        boxes = np.array([to_the_right(frame)], np.float32)
        tracked = TrackedBoxes(np.array([1 if frame < 50 else 2]), boxes, np.full(1, 0.9, np.float32))
        exchanges += hindsight.update(frame, tracked)[1]
    assert [(one.one, one.other) for one in exchanges + hindsight.end()] == ([(1, 2)] if joined else [])


@pytest.mark.parametrize(
    "somebody_else",
    [
        lambda frame: somebody(100 + 3 * frame, 200, 170),  # much taller
        lambda frame: somebody(100 + 3 * frame, 320),  # beside
        lambda frame: somebody(100 + 3 * 130 - 3 * frame),  # the other way
        lambda frame: somebody(100 + 3 * frame + 150),  # too far ahead
    ],
)
def test_somebody_else_is_not_joined(somebody_else: Callable[[int], Box]) -> None:
    tracks = put_right(lambda frame: {1: to_the_right(frame)} if frame < 50 else {2: somebody_else(frame)}, 120)
    assert sorted(tracks) == [1, 2]
    assert len(tracks[1]) == 50


def test_nobody_is_joined_to_somebody_who_is_still_in_view() -> None:
    def seen(frame: int) -> Seen:
        return {1: to_the_right(frame)} | ({2: to_the_right(frame + 1)} if frame >= 50 else {})

    assert {track_id: len(track) for track_id, track in put_right(seen, 120).items()} == {1: 120, 2: 70}


def test_the_nearer_of_two_is_joined() -> None:
    def beside(frame: int) -> Box:
        return somebody(100 + 3 * frame, 230)

    def seen(frame: int) -> Seen:
        if frame < 50:
            return {1: to_the_right(frame), 2: beside(frame)}
        return {3: beside(frame), 4: to_the_right(frame)} if frame >= 60 else {}

    tracks = put_right(seen, 120)
    assert_follows(tracks[1], to_the_right, range(120))
    assert_follows(tracks[2], beside, range(120))
    assert sorted(tracks) == [1, 2]


@pytest.mark.parametrize("hidden", [10, 30])
def test_a_track_that_went_over_to_somebody_who_came_out_is_given_back(hidden: int) -> None:
    """Somebody is hidden behind another, whose track goes on with them; the other then gets a new number."""
    out = 50 + hidden

    def seen(frame: int) -> Seen:
        if frame < 50:
            return {1: to_the_right(frame), 2: to_the_left(frame)}
        if frame < 60:
            return {1: to_the_right(frame)}
        people = {1: to_the_left(frame)}
        return people | ({3: to_the_right(frame)} if frame >= out else {})

    tracks = put_right(seen, 140)
    assert sorted(tracks) == [1, 2]
    about = range(56, 64)  # a look more or less
    for track, who in ((tracks[1], to_the_right), (tracks[2], to_the_left)):
        assert_follows({frame: box for frame, box in track.items() if frame not in about}, who, range(140))
    assert len(tracks[1]) + len(tracks[2]) == 60 + 50 + 80 + 140 - out


def test_too_few_looks_a_second_tell_nothing() -> None:
    hindsight = Hindsight(2.0)
    ids = []
    for frame in range(20):
        boxes = np.array([to_the_right(12 * frame)], np.float32)
        now, exchanges = hindsight.update(frame, TrackedBoxes(np.array([1 + frame // 10]), boxes, boxes[:, 0]))
        assert exchanges == []
        ids += now.track_ids.tolist()
    assert ids == [1] * 10 + [2] * 10


def test_a_track_is_settled_once_nobody_can_continue_it() -> None:
    hindsight = Hindsight(FPS)
    nobody = TrackedBoxes(np.zeros(0, np.int64), np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
    for frame in range(30):
        boxes = np.array([to_the_right(frame)], np.float32)
        hindsight.update(frame, TrackedBoxes(np.array([1]), boxes, boxes[:, 0]))
    settled = []
    for frame in range(30, 150):
        late = frame == 75
        boxes = np.array([somebody(500, 100)], np.float32)
        hindsight.update(frame, TrackedBoxes(np.array([7]), boxes, boxes[:, 0]) if late else nobody)
        settled.append(hindsight.is_settled(1, 29))
    assert settled.index(True) == 29 + 4 * 25 + 1 - 30, "after twice the time for which somebody may be hidden"
    assert all(settled[settled.index(True) :])


@pytest.mark.parametrize("seed", range(20))
def test_whatever_the_tracker_says_every_box_is_kept_once(seed: int) -> None:
    rng = np.random.default_rng(seed)
    starts, speeds = rng.uniform(50, 500, (5, 2)), rng.normal(0, 3, (5, 2))
    given: dict[int, list[Box]] = {}
    names = list(range(1, 6))

    def seen(frame: int) -> Seen:
        if rng.random() < 0.1:
            rng.shuffle(names)
        if rng.random() < 0.03:
            names[int(rng.integers(5))] = 100 + frame
        people = {}
        for name, place in zip(names, starts + speeds * frame, strict=True):
            if rng.random() > 0.15:
                people[name] = somebody(float(place[0]), float(place[1]))
        given[frame] = sorted(people.values())
        return people

    tracks = put_right(seen, 300)
    for frame, boxes in given.items():
        kept = sorted(tuple(track[frame].tolist()) for track in tracks.values() if frame in track)
        np.testing.assert_allclose(np.array(kept).reshape(-1, 4), np.array(boxes).reshape(-1, 4), rtol=1e-6)


def test_memory_does_not_grow_with_the_video() -> None:
    hindsight, most = Hindsight(FPS), 0
    for frame in range(2000):
        ids = np.array([1, 2 + frame // 40, 1000 + frame // 7], np.int64)
        boxes = np.array([to_the_right(frame % 90), to_the_left(frame % 70), somebody(600)], np.float32)
        hindsight.update(frame, TrackedBoxes(ids, boxes, boxes[:, 0]))
        if frame > 500:
            most = max(most, sum(map(len, hindsight._paths.values())) + len(hindsight._meetings))
    assert most < 3 * 10 * FPS
