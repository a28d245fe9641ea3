"""Codes of walks: few candidates, exact distances, and nothing lost when walks come and go."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import app.gallery.codes as module
from app.gallery.codes import AXES, Axes, CodeIndex
from app.gallery.distances import Metric, part_distances
from app.gallery.sqlite import SqliteGallery
from app.gallery.store import NewWalk
from app.types import Embedding, Floats

SHAPE = (4, 64)


def made(count: int, seed: int = 0) -> Floats:
    """Walks that differ most along a few directions, as those of gait networks do."""
    spread = (np.arange(256) + 4.0) ** -1.5
    turned = np.linalg.qr(np.random.default_rng(99).standard_normal((256, 256)))[0] * spread[:, None]
    walks = 1 + 20 * np.random.default_rng(seed).standard_normal((count, 256)) @ turned
    return walks.reshape(count, *SHAPE).astype(np.float32)


def index_of(walks: Floats, metric: Metric) -> CodeIndex:
    axes = Axes.of(walks[:1000], metric)
    index = CodeIndex(SHAPE, axes, metric)
    index.add(np.arange(100, 100 + len(walks)), axes.codes(walks, metric))
    return index


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_the_nearest_are_found_with_their_exact_distances(metric: Metric, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ROWS", 1000)
    walks, queries = made(7000), made(20, seed=1)
    index, compared = index_of(walks, metric), []

    def exact(ids: np.ndarray) -> Floats:
        compared.append(len(ids))
        return walks[ids - 100]

    truth = part_distances(queries, walks, metric)
    shared = 0
    for found, row in zip(index.search(queries, 5, exact), truth, strict=True):
        ids, distances = found
        np.testing.assert_allclose(distances, row[ids - 100], atol=1e-5)
        assert (np.diff(distances) >= 0).all()
        shared += len(set(ids - 100) & set(np.argsort(row)[:5]))
    assert shared >= 99
    assert sum(compared) == 20 * module.CANDIDATES
    everything, _ = index.search(queries[:1], 7000, exact)[0]
    np.testing.assert_array_equal(everything - 100, np.argsort(truth[0], kind="stable"))


def test_walks_come_and_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ROWS", 64)
    walks = made(300)
    index = index_of(walks, "euclidean")
    index.add(np.array([900]), Axes.of(walks, "euclidean").codes(walks[:1], "euclidean"))
    index.remove(np.arange(100, 350))
    assert len(index) == 51
    found, _ = index.search(walks[260:261], 3, lambda ids: walks[np.minimum(ids - 100, 299)])[0]
    assert found[0] == 360
    index.remove(np.arange(1000))
    assert [len(ids) for ids, _ in index.search(walks[:1], 3, lambda ids: walks[ids])] == [0]


def test_the_share_that_the_axes_keep_is_known() -> None:
    assert Axes.of(made(2000), "euclidean").kept > 0.99
    assert Axes.of(np.random.default_rng(0).normal(size=(2000, 16, 64)).astype(np.float32), "euclidean").kept < 0.5


def new(walk: Floats) -> NewWalk:
    return NewWalk(Embedding(walk, "m", 9), "a.mp4")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gallery of 500 walks is large."""
    monkeypatch.setattr("app.gallery.candidates.LARGE", 500)
    monkeypatch.setattr("app.gallery.candidates.ROWS", 125)


def stored_codes(path: Path) -> int:
    with SqliteGallery(path) as gallery, gallery._file.reading() as db:
        return int(db.execute("SELECT count(*) FROM code").fetchone()[0])


@pytest.mark.usefixtures("small")
def test_a_large_gallery_keeps_codes_and_follows_what_others_write(tmp_path: Path) -> None:
    path, walks = tmp_path / "gallery.db", made(800)
    queries = [Embedding(one, "m", 9) for one in made(10, seed=1)]
    with SqliteGallery(path) as gallery, SqliteGallery(path) as other:
        for start in range(0, 600, 10):
            gallery.enrol(f"P{start}", [new(one) for one in walks[start : start + 10]], consent="yes")
        before = gallery.search(queries, 5)
        assert stored_codes(path) == 600
        assert other.search(queries, 5) == before
        other.enrol("Late", [new(one) for one in walks[600:]], consent="yes")
        nearest = {found[0].walk_id for found in gallery.search([Embedding(one, "m", 9) for one in walks[600:]], 1)}
        assert len(nearest) == 200
        gallery.forget("Late")
        assert other.search(queries, 5) == before
        assert stored_codes(path) == 600
    with SqliteGallery(path) as gallery:
        assert gallery.search(queries, 5) == before
        gallery.enrol("New", [new(walks[700])], consent="yes")
        assert gallery.search([Embedding(walks[700], "m", 9)], 1)[0][0].distance == 0


@pytest.mark.usefixtures("small")
def test_codes_that_would_tell_too_little_are_not_used(tmp_path: Path) -> None:
    walks = np.random.default_rng(0).normal(size=(600, 16, 64)).astype(np.float32)
    with SqliteGallery(tmp_path / "gallery.db") as gallery:
        gallery.enrol("Everybody", [new(one) for one in walks], consent="yes")
        found = gallery.search([Embedding(walks[7], "m", 9)], 600)[0]
        assert len(found) == 600
    assert stored_codes(tmp_path / "gallery.db") == 0


def test_codes_have_the_length_that_galleries_store() -> None:
    assert Axes.of(made(300), "euclidean").codes(made(3), "euclidean").shape == (3, AXES)
