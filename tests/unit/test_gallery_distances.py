"""Distances between walks, the threshold, and who is surely somebody else."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import app.gallery.distances as module
from app.errors import IncompatibleEmbeddingsError
from app.gallery.distances import distances_between, part_distances
from app.recognise.calibration import derive_threshold, impostor_distances
from app.recognise.covisible import covisible, own_frames, visibility
from app.track.bytetrack import iou
from app.types import Embedding, Track


def naive(a: np.ndarray, b: np.ndarray, metric: str) -> np.ndarray:
    found = np.zeros((len(a), len(b)))
    for i, x in enumerate(a.astype(float)):
        for j, y in enumerate(b.astype(float)):
            if metric == "euclidean":
                parts = np.linalg.norm(x - y, axis=1)
            else:
                parts = 1 - (x * y).sum(1) / (np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1))
            found[i, j] = parts.mean()
    return found


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("block", [1, 20, 1 << 22])
def test_part_distances_are_the_naive_ones(metric: module.Metric, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK", block)
    rng = np.random.default_rng(0)
    a, b = (rng.normal(3, 1, (n, 4, 6)).astype(np.float32) for n in (7, 5))
    np.testing.assert_allclose(part_distances(a, b, metric), naive(a, b, metric), rtol=1e-9)


def test_it_is_the_mean_over_parts_and_not_the_distance_of_the_whole() -> None:
    a = np.zeros((1, 2, 1), np.float32)
    b = np.array([[[3.0], [4.0]]], np.float32)
    assert part_distances(a, b)[0, 0] == pytest.approx(3.5)  # the whole vectors are 5 apart


def test_equal_walks_are_at_zero_however_large() -> None:
    a = np.random.default_rng(0).normal(100, 1, (3, 4, 50)).astype(np.float32)
    assert np.diag(part_distances(a, a)).max() < 1e-4


def seen(*angles: float, size: float = 1.0) -> Embedding:
    """A walk in pieces, each of which has one part that points at an angle, in degrees."""
    turns = np.radians(angles)
    pieces = size * np.stack([np.cos(turns), np.sin(turns)], 1)[:, None]
    mean = pieces.mean(0)
    return Embedding((size * mean / np.linalg.norm(mean)).astype(np.float32), "m", 9, pieces.astype(np.float32))


def chord(angle: float) -> float:
    return float(2 * np.sin(np.radians(angle) / 2))


def test_walks_are_compared_where_they_are_seen_alike() -> None:
    turning, straight = seen(0, 0, 90, 90), seen(0, 0)
    # From the straight walk all views choose 0 degrees; all views of the turning one lie around 45.
    assert distances_between([straight], [turning])[0, 0] == pytest.approx((chord(0) + chord(45)) / 2, abs=1e-6)
    assert distances_between([turning], [turning])[0, 0] == pytest.approx(0, abs=1e-6)
    assert distances_between([turning], [seen(90, 0)])[0, 0] == pytest.approx(0, abs=1e-6)
    whole = Embedding(straight.parts, "m", 9)
    assert distances_between([whole], [seen(20, 20)])[0, 0] == pytest.approx(chord(20), abs=1e-6)


def test_views_have_their_size_and_the_metric_holds_for_them() -> None:
    small, large = seen(0, 40), seen(10, 50, size=3)
    apart = np.cos(np.radians(10))
    assert distances_between([small], [large])[0, 0] == pytest.approx(np.sqrt(1 + 9 - 6 * apart), abs=1e-6)
    assert distances_between([small], [large], "cosine")[0, 0] == pytest.approx(1 - apart, abs=1e-6)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_many_walks_in_views_are_as_each_pair_alone(metric: module.Metric, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)

    def walk(pieces: int) -> Embedding:
        found = rng.normal(1, 1, (max(1, pieces), 3, 5)).astype(np.float32)
        return Embedding(found.mean(0), "m", 9, found if pieces else None)

    a, b = [walk(n) for n in (0, 1, 2, 7, 3)], [walk(n) for n in (4, 0, 9)]
    together = distances_between(a, b, metric)
    np.testing.assert_allclose(together, [[distances_between([x], [y], metric)[0, 0] for y in b] for x in a], rtol=1e-6)
    np.testing.assert_allclose(together, distances_between(b, a, metric).T)
    monkeypatch.setattr(module, "_BLOCK", 1)
    np.testing.assert_allclose(together, distances_between(a, b, metric))


def test_a_walk_of_many_pieces_has_four_views() -> None:
    walk = seen(*range(0, 80, 10), size=2)
    np.testing.assert_allclose(np.linalg.norm(walk.views, axis=2), 2, rtol=1e-6)
    angles = np.degrees(np.arctan2(walk.views[:, 0, 1], walk.views[:, 0, 0]))
    np.testing.assert_allclose(angles, [5, 25, 45, 65], atol=1e-4)
    assert len(seen(0, 10, 20).views) == 3
    assert len(Embedding(walk.parts, "m", 9).views) == 1


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(1, 2, 3\) and \(1, 2, 4\)"):
        part_distances(np.zeros((1, 2, 3), np.float32), np.zeros((1, 2, 4), np.float32))
    with pytest.raises(ValueError, match="not 'manhattan'"):
        part_distances(np.zeros((1, 2, 3)), np.zeros((1, 2, 3)), "manhattan")  # type: ignore[arg-type]


def test_embeddings_of_two_models_are_never_compared() -> None:
    parts = np.zeros((2, 3), np.float32)
    a, b = Embedding(parts, "gaitbase@12345678", 9), Embedding(parts, "gei", 9)
    with pytest.raises(IncompatibleEmbeddingsError, match=r"gaitbase@12345678.*gei.*Embed the gallery"):
        distances_between([a], [a, b])
    assert distances_between([a], [a, a]).tolist() == [[0, 0]]
    assert distances_between([], [a]).shape == (0, 1)


def test_tracks_are_covisible_if_they_share_a_frame() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        frames = [np.sort(rng.choice(12, rng.integers(1, 5), replace=False)) for _ in range(6)]
        expected = [[i != j and bool(set(a) & set(b)) for j, b in enumerate(frames)] for i, a in enumerate(frames)]
        assert covisible(frames).tolist() == expected
        moments = [set(moment.tolist()) for moment in visibility(frames)]
        assert not any(a <= b or b <= a for a, b in pairwise(moments)), "the next moment says nothing new"
        every = {frame: {i for i, a in enumerate(frames) if frame in a} for frame in range(12)}
        assert all(any(seen <= moment for moment in moments) for seen in every.values() if seen)
        assert all(moment in every.values() for moment in moments)
    assert covisible([]).shape == (0, 0)


def track(number: int, first: int, last: int, left: float = 0.0, step: float = 0.0) -> Track:
    """A track in the frames `first` to `last`, 20 px wide, whose left edge begins at `left` and moves by `step`."""
    frames = np.arange(first, last + 1)
    x = left + step * (frames - first)
    boxes = np.stack([x, np.zeros(len(x)), x + 20, np.full(len(x), 60.0)], axis=1).astype(np.float32)
    return Track(number, frames, boxes, np.ones(len(frames), np.float32))


class TestOwnFrames:
    """Two boxes round one body do not show two people."""

    def test_a_broken_track_is_not_two_people(self) -> None:
        whole, rest, other = track(1, 0, 30), track(2, 28, 50, left=1), track(3, 0, 50, left=100)
        for tracks in ([whole, rest, other], [other, rest, whole]):
            together = covisible(own_frames(tracks))
            assert [[int(x) for x in row] for row in together] == [
                [int((a is other) != (b is other)) for b in tracks] for a in tracks
            ]

    def test_people_who_pass_each_other_are_two(self) -> None:
        passing = [track(1, 0, 40, left=0, step=3), track(2, 0, 40, left=120, step=-3)]
        assert covisible(own_frames(passing))[0, 1]
        shared = set(own_frames(passing)[0].tolist()) & set(own_frames(passing)[1].tolist())
        assert 30 < len(shared) < 41  # the frames in which they nearly coincide say nothing

    def test_a_track_never_loses_all_frames(self) -> None:
        frames = own_frames([track(1, 0, 30), track(2, 5, 9)])
        assert frames[1].tolist() == [5, 6, 7, 8, 9]
        assert own_frames([]) == []

    def test_it_is_what_loops_over_all_pairs_find(self) -> None:
        rng = np.random.default_rng(5)
        for _ in range(10):
            tracks = []
            for number in range(7):
                first = int(rng.integers(0, 20))
                tracks.append(
                    track(number + 1, first, first + int(rng.integers(3, 25)), float(rng.uniform(0, 40)), 0.5)
                )
            expected = []
            for mine in tracks:
                kept = []
                for frame, box in zip(mine.frame_indices.tolist(), mine.boxes, strict=True):
                    longer = [
                        one.boxes[one.frame_indices == frame][0]
                        for one in tracks
                        if (-len(one.frame_indices), one.track_id) < (-len(mine.frame_indices), mine.track_id)
                        and frame in one.frame_indices
                    ]
                    if not longer or iou(np.stack(longer), box[None]).max() <= 0.7:
                        kept.append(frame)
                expected.append(kept or mine.frame_indices.tolist())
            assert [frames.tolist() for frames in own_frames(tracks)] == expected


def test_impostors_are_the_pairs_seen_together() -> None:
    frames = [np.array([0, 1]), np.array([1, 2]), np.array([2, 3])]
    distances = np.array([[0, 1, 2], [1, 0, 3], [2, 3, 0.0]])
    assert impostor_distances(distances, frames).tolist() == [1, 3]


def test_a_threshold_lies_below_the_distances_of_different_people() -> None:
    impostors = np.random.default_rng(0).normal(10, 1, 500)
    found = derive_threshold(impostors, np.array([3.0, 4.0]))
    assert found.value == pytest.approx(10 - 1.2816, abs=0.1)
    assert (impostors <= found.value).mean() == pytest.approx(0.1, abs=0.03)
    assert found.warning is None
    assert "500 pairs" in found.source


def test_a_threshold_from_little_says_so() -> None:
    one = derive_threshold(np.array([10.0]))
    assert 0 < one.value < 10
    assert one.warning is not None
    assert "only 1 pair" in one.warning
    alone = derive_threshold(np.zeros(0), np.array([2.0, 4.0]))
    assert alone.value == 3
    assert alone.warning is not None
    assert "guess" in alone.warning
    nothing = derive_threshold(np.zeros(0))
    assert nothing.value == 0
    assert nothing.warning is not None
    assert "nobody is named" in nothing.warning


def test_a_model_that_does_not_tell_people_apart_is_told_of() -> None:
    found = derive_threshold(np.array([10.0, 11, 12]), np.array([10.5, 10.5]))
    assert found.warning is not None
    assert "poorly" in found.warning


def test_bad_walks_do_not_drag_the_threshold_down() -> None:
    people = np.random.default_rng(0).normal(10, 1, 12)
    clean = derive_threshold(people).value
    spoilt = derive_threshold(np.concatenate([people, [40.0, 45.0]])).value
    assert spoilt == pytest.approx(clean, rel=0.15)
