"""The nearest walks: exactly those that comparing with everybody in float64 finds."""

from __future__ import annotations

import numpy as np
import pytest

import app.gallery.search as module
from app.gallery.distances import Distances, Metric, part_distances
from app.gallery.search import Block, WalkIndex
from app.types import Floats, Ints

METRICS = ("euclidean", "cosine")


class Gallery:
    """Walks and the index over them; remembers how many were compared exactly."""

    def __init__(self, walks: Floats, first: int = 100) -> None:
        self.walks, self.first, self.compared = walks, first, 0
        self.index = WalkIndex(*walks.shape[1:])
        self.index.add(np.arange(first, first + len(walks)), walks)

    def exact(self, ids: Ints) -> Floats:
        self.compared += len(ids)
        return self.walks[ids - self.first]

    def need_exact(self, queries: Floats, k: int, metric: Metric) -> None:
        kept = self.index.ids - self.first
        expected = np.stack([directly(query, self.walks[kept], metric) for query in queries])
        np.testing.assert_allclose(expected, part_distances(queries, self.walks[kept], metric), rtol=0, atol=1e-6)
        queries.setflags(write=False)
        found = self.index.search(queries, k, metric, self.exact)
        assert len(found) == len(queries)
        for (ids, distances), row in zip(found, expected, strict=True):
            assert len(set(ids)) == len(ids)
            assert (np.diff(distances) >= 0).all()
            place = np.searchsorted(kept, ids - self.first)
            np.testing.assert_allclose(distances, row[place], rtol=0, atol=1e-12)
            np.testing.assert_allclose(distances, np.sort(row)[:k], rtol=0, atol=1e-12)


def directly(query: Floats, walks: Floats, metric: Metric) -> Distances:
    """Distances (N,) as one would write them down."""
    a, b = query.astype(np.float64), walks.astype(np.float64)
    if metric == "euclidean":
        found: Distances = np.linalg.norm(a - b, axis=2).mean(1)
        return found
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=2)
    found = (1 - np.divide((a * b).sum(2), lengths, out=np.zeros_like(lengths), where=lengths > 0)).mean(1)
    return found


def drawn(n: int, shape: tuple[int, int] = (4, 32), seed: int = 0, centre: float = 0) -> Floats:
    return np.random.default_rng(seed).normal(centre, 1, (n, *shape)).astype(np.float32)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("k", [1, 5, 2000])
def test_it_finds_what_comparing_with_everybody_finds(metric: Metric, k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS", 512)
    monkeypatch.setattr(module, "_QUERIES", 7)
    gallery = Gallery(drawn(1500))
    assert [len(block) for block in gallery.index.blocks] == [512, 512, 476]
    gallery.need_exact(drawn(20, seed=1), k, metric)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("scale", "centre"), [(1e-6, 0), (1e6, 0), (1, 1000), (1, 30)])
def test_also_where_numbers_are_large_small_or_far_from_nothing(metric: Metric, scale: float, centre: float) -> None:
    # The centre is what float32 products lose most by: 1000 away, three of seven digits are gone.
    walks = (drawn(600, centre=centre) * scale).astype(np.float32)
    gallery = Gallery(walks)
    queries = (drawn(5, seed=1, centre=centre) * scale).astype(np.float32)
    expected = part_distances(queries, walks, metric)
    for (ids, distances), row in zip(gallery.index.search(queries, 4, metric, gallery.exact), expected, strict=True):
        np.testing.assert_array_equal(ids - 100, np.argsort(row)[:4])
        np.testing.assert_allclose(distances, np.sort(row)[:4], rtol=1e-9)


@pytest.mark.parametrize("metric", METRICS)
def test_walks_that_hardly_differ_are_told_apart(metric: Metric) -> None:
    # Nearer to each other than fixed point numbers and float32 products can tell.
    walks = drawn(1) + 1e-5 * drawn(400, seed=1)
    gallery = Gallery(walks.astype(np.float32))
    gallery.need_exact(drawn(3, seed=2), 3, metric)
    gallery.need_exact(gallery.walks[:1].copy(), 1, metric)
    gallery.need_exact(gallery.walks[:3].copy(), 1, metric)


@pytest.mark.parametrize("metric", METRICS)
def test_equal_walks_and_empty_parts(metric: Metric) -> None:
    walks = drawn(200)
    walks[20:] = walks[:180]
    walks[::7] = 0
    walks[::5, 1] = 0
    walks[3, 2] *= 1e-9
    gallery = Gallery(walks)
    gallery.need_exact(walks[:30].copy(), 12, metric)
    gallery.need_exact(np.zeros((1, 4, 32), np.float32), 200, metric)


@pytest.mark.parametrize("metric", METRICS)
def test_of_equally_near_walks_the_first_comes_first(metric: Metric) -> None:
    gallery = Gallery(np.concatenate([drawn(50)] * 3))
    found, distances = gallery.index.search(gallery.walks[7:8], 6, metric, gallery.exact)[0]
    assert found[:3].tolist() == [107, 157, 207]
    assert found[3] % 50 == found[4] % 50 == found[5] % 50
    assert distances[0] == distances[2] < distances[3] == distances[5]
    if metric == "euclidean":
        assert distances[0] == 0


@pytest.mark.parametrize("metric", METRICS)
def test_bounds_lie_just_below_the_distances(metric: Metric) -> None:
    gallery = Gallery(drawn(300, (16, 256)))
    queries = drawn(3, (16, 256), seed=1)
    slack = part_distances(queries, gallery.walks, metric) - gallery.index._bounds(queries, metric)
    assert slack.min() > 0
    assert slack.max() < 5e-3 if metric == "euclidean" else slack.max() < 1e-3


def test_few_walks_are_compared_exactly() -> None:
    gallery = Gallery(drawn(2000, (8, 64)))
    gallery.index.search(drawn(10, (8, 64), seed=1), 1, "euclidean", gallery.exact)
    assert gallery.compared < 10 * 30


def test_walks_come_and_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS", 64)
    gallery = Gallery(drawn(300))
    index = WalkIndex(4, 32)
    ids = np.arange(100, 400)
    for start, stop in ((0, 10), (10, 11), (11, 80), (80, 300)):
        index.add(ids[start:stop], gallery.walks[start:stop])
    assert [len(block) for block in index.blocks] == [64, 64, 64, 64, 44]
    gallery.index = index
    gallery.need_exact(drawn(3, seed=1), 5, "euclidean")
    index.remove(np.setdiff1d(ids, ids[::3]))
    np.testing.assert_array_equal(index.ids, ids[::3])
    gallery.need_exact(drawn(3, seed=1), 5, "euclidean")
    index.remove(ids[:210])
    assert len(index) == 30
    gallery.need_exact(drawn(3, seed=1), 5, "cosine")
    index.remove(ids)
    assert len(index) == 0
    assert [len(found) for found, _ in index.search(drawn(2), 3, "cosine", gallery.exact)] == [0, 0]


def test_a_block_knows_how_far_its_numbers_are_from_those_given() -> None:
    walks = drawn(1000, (3, 16)) * np.logspace(-3, 3, 1000, dtype=np.float32)[:, None, None]
    block = Block.of(np.arange(1000), walks)
    kept = (block.codes * block.scale[:, None].astype(np.float64)).transpose(1, 0, 2)
    error = np.linalg.norm(kept - walks, axis=2)
    assert (error <= block.error.T).all()
    assert (error <= 1e-4 * np.abs(walks).max((1, 2))[:, None]).all()
    np.testing.assert_allclose(block.square.T, (kept**2).sum(2), rtol=1e-6)
    assert block.codes.nbytes == walks.nbytes // 2


def test_shapes_that_do_not_fit_are_refused() -> None:
    gallery = Gallery(drawn(3))
    with pytest.raises(ValueError, match=r"\(4, 32\).*\(4, 16\)"):
        gallery.index.search(drawn(1, (4, 16)), 1, "euclidean", gallery.exact)
    with pytest.raises(ValueError, match="at least 1"):
        gallery.index.search(drawn(1), 0, "euclidean", gallery.exact)
    with pytest.raises(ValueError, match="2 walks"):
        gallery.index.add(np.arange(2), drawn(3))
