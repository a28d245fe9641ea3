"""From tracks to people."""

from __future__ import annotations

import numpy as np
import pytest

from app.recognise.identities import join_fragments, name_identities
from app.types import Track

FPS = 25.0


def track(number: int, first: int, last: int, x: float = 100, speed: float = 4, height: float = 100) -> Track:
    """A walk to the right, `speed` in px per frame, at `x` in frame 0."""
    frames = np.arange(first, last + 1)
    left = x + speed * frames
    boxes = np.stack([left, np.full_like(left, 50), left + height / 3, np.full_like(left, 50 + height)], 1)
    return Track(number, frames, boxes.astype(np.float32), np.ones(len(frames), np.float32))


def distances(n: int, near: dict[tuple[int, int], float], far: float = 9.0) -> np.ndarray:
    table = np.full((n, n), far)
    np.fill_diagonal(table, 0)
    for (a, b), value in near.items():
        table[a, b] = table[b, a] = value
    return table


def test_a_walk_that_goes_on_is_joined() -> None:
    tracks = [track(1, 0, 30), track(2, 10, 60, x=400, speed=0), track(3, 45, 90)]
    assert join_fragments(tracks, distances(3, {(0, 2): 4.0}), 5.0, FPS) == [0, 1, 0]


@pytest.mark.parametrize(
    ("second", "distance"),
    [
        (track(2, 45, 90), 10.1),  # another gait
        (track(2, 45, 90, x=130), 8.0),  # somewhat off, and not alike enough for that
        (track(2, 45, 90, x=400), 4.0),  # another place
        (track(2, 45, 90, height=150), 4.0),  # another size
        (track(2, 120, 150), 4.0),  # too late
    ],
)
def test_a_walk_that_does_not_go_on_is_not(second: Track, distance: float) -> None:
    assert join_fragments([track(1, 0, 30), second], distances(2, {(0, 1): distance}), 5.0, FPS) == [0, 1]


def test_a_walk_just_where_expected_may_look_different() -> None:
    assert join_fragments([track(1, 0, 30), track(2, 45, 90)], distances(2, {(0, 1): 9.0}), 5.0, FPS) == [0, 0]


def test_the_surest_continuation_wins() -> None:
    tracks = [track(1, 0, 30), track(2, 45, 90, x=120), track(3, 45, 90)]
    assert join_fragments(tracks, distances(3, {(0, 1): 4.0, (0, 2): 4.5}), 5.0, FPS) == [0, 1, 0]


def test_an_undeniable_walk_is_joined_wherever_it_is() -> None:
    tracks = [track(1, 0, 30), track(2, 300, 330, x=-900)]
    assert join_fragments(tracks, distances(2, {(0, 1): 2.4}), 5.0, FPS) == [0, 0]


def test_tracks_that_share_a_frame_are_never_joined_not_even_through_a_third() -> None:
    together = [track(1, 0, 30), track(2, 30, 60, x=200)]
    assert join_fragments(together, distances(2, {(0, 1): 0.0}), 5.0, FPS) == [0, 1]
    # Where their boxes are the same, a detector may have seen one body twice.
    one_body = [track(1, 0, 30), track(2, 30, 60)]
    assert join_fragments(one_body, distances(2, {(0, 1): 0.0}), 5.0, FPS) == [0, 0]
    # 1 and 3 both look like 2, but are seen together: 2 goes to the nearer.
    three = [track(1, 0, 30, x=40), track(2, 60, 90), track(3, 20, 50)]
    assert join_fragments(three, distances(3, {(0, 1): 1.0, (1, 2): 0.5, (0, 2): 9.0}), 5.0, FPS) == [0, 1, 1]


def test_identities_are_numbered_by_appearance() -> None:
    tracks = [track(1, 20, 30), track(2, 0, 10), track(4, 20, 40), track(7, 50, 60)]
    assert name_identities("my-clip", tracks, [0, 1, 2, 1]) == [
        "my-clip-002",
        "my-clip-001",
        "my-clip-003",
        "my-clip-001",
    ]


def test_distances_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(1, 1\), not \(2, 2\)"):
        join_fragments([track(1, 0, 5)], np.zeros((2, 2)), 1.0, FPS)
