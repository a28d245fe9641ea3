"""Identity switches: found where somebody else begins, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from app.gallery.distances import Distances
from app.recognise.switches import CONTRAST, contrast, find_switches, possible_switches, windows
from app.types import Bools, Floats, GaitSequence, Track


def embedded(*people: tuple[int, int], noise: float = 0.3, drift: float = 0.0, seed: int = 0) -> Distances:
    """Distances among the windows of people in turn, as (person, windows); `drift` moves everybody slowly."""
    random = np.random.default_rng(seed)
    points = []
    for person, count in people:
        centre = np.random.default_rng((7, person)).normal(size=32)
        points += [centre + noise * random.normal(size=32) for _ in range(count)]
    way = np.random.default_rng(99).normal(size=32)
    places = np.array(points) + drift * np.arange(len(points))[:, None] * way
    distances: Distances = np.linalg.norm(places[:, None] - places[None], axis=2)
    return distances


def anywhere(distances: Distances) -> Bools:
    return np.ones(len(distances), np.bool_)


@pytest.mark.parametrize(("before", "after"), [(3, 3), (4, 9), (12, 5)])
def test_a_switch_is_found_at_its_place(before: int, after: int) -> None:
    distances = embedded((1, before), (2, after))
    assert find_switches(distances, anywhere(distances)) == [before]
    assert contrast(distances, before) > CONTRAST


def test_two_switches_are_found_and_nothing_is_where_one_person_walks() -> None:
    distances = embedded((1, 5), (2, 6), (1, 4))
    assert find_switches(distances, anywhere(distances)) == [5, 11]
    for seed in range(20):
        alone = embedded((1, 15), seed=seed)
        assert find_switches(alone, anywhere(alone)) == []


def test_a_slow_turn_and_a_spoilt_window_are_no_switch() -> None:
    turning = embedded((1, 16), drift=0.1)
    assert turning[0, -1] > 2 * turning[0, 1], "the ends look like two people"
    assert find_switches(turning, anywhere(turning)) == []
    spoilt = embedded((1, 6), (2, 1), (1, 6))
    assert find_switches(spoilt, anywhere(spoilt)) == []


def test_pieces_must_be_long_enough_and_the_place_possible() -> None:
    distances = embedded((1, 2), (2, 9))
    assert 2 not in find_switches(distances, anywhere(distances))
    assert find_switches(embedded((1, 2), (2, 2)), np.ones(4, np.bool_)) == []
    distances = embedded((1, 5), (2, 5))
    possible = anywhere(distances)
    possible[4:7] = False
    assert find_switches(distances, possible) == []
    assert find_switches(np.zeros((0, 0)), np.zeros(0, np.bool_)) == []


def test_windows_last_a_step_and_hold_enough_frames() -> None:
    def walk(frames: np.ndarray, fps: float) -> GaitSequence:
        return GaitSequence(frames, np.zeros((len(frames), 64, 64), np.uint8), fps)

    assert [len(part) for part in windows(walk(np.arange(50), 25.0))] == [15, 15, 15]
    assert [part.frame_indices[0] for part in windows(walk(np.arange(0, 120, 2), 50.0))] == [0, 30, 60, 90]
    assert {len(part) for part in windows(walk(np.arange(30), 5.0))} == {6}, "never fewer"
    assert windows(walk(np.arange(3), 25.0)) == []


def track(number: int, frames: np.ndarray, left: np.ndarray | float) -> Track:
    x = np.broadcast_to(np.asarray(left, np.float32), len(frames))
    boxes: Floats = np.stack([x, np.zeros_like(x), x + 40, np.full_like(x, 100)], 1).astype(np.float32)
    return Track(number, frames, boxes, np.full(len(frames), 0.9, np.float32))


def test_who_walks_alone_is_never_split() -> None:
    frames = np.arange(0, 200)
    own = track(1, frames, 2.0 * frames)
    far = track(2, frames, 2.0 * frames + 160)
    places = [50, 100, 150]
    assert not possible_switches(own, [], places, 25.0).any()
    assert not possible_switches(own, [far], places, 25.0).any()
    crossing = track(3, frames, 400 - 2.0 * frames)
    assert possible_switches(own, [far, crossing], places, 25.0).tolist() == [False, True, False]
    ended_there = track(4, frames[:90], 200.0)
    assert possible_switches(own, [ended_there], places, 25.0).tolist() == [False, True, False]
    lost = np.concatenate([frames[:95], frames[103:]])
    assert possible_switches(track(1, lost, 2.0 * lost), [], places, 25.0).tolist() == [False, True, False]
