"""What the search of a large gallery promises, wherever the index of its candidates is: in memory or in Milvus."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from app.gallery.distances import Metric, part_distances
from app.gallery.sqlite import SqliteGallery
from app.gallery.store import NewWalk
from app.types import Embedding, Floats, GaitSequence, ModelCard

SHAPE = (4, 64)
LARGE = 500

Opener = Callable[[Path], SqliteGallery]


def made(count: int, seed: int = 0) -> Floats:
    """Walks that differ most along a few directions, as those of gait networks do."""
    spread = (np.arange(256) + 4.0) ** -1.5
    turned = np.linalg.qr(np.random.default_rng(99).standard_normal((256, 256)))[0] * spread[:, None]
    walks = 1 + 20 * np.random.default_rng(seed).standard_normal((count, 256)) @ turned
    return walks.reshape(count, *SHAPE).astype(np.float32)


def embedded(walk: Floats) -> Embedding:
    return Embedding(walk, "m", 9)


def new(walk: Floats) -> NewWalk:
    return NewWalk(embedded(walk), "a.mp4")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gallery of 500 walks is large."""
    monkeypatch.setattr("app.gallery.candidates.LARGE", LARGE)
    monkeypatch.setattr("app.gallery.candidates.ROWS", 125)


@pytest.fixture(params=["memory", "file", "milvus_lite_server", pytest.param("milvus_server", marks=pytest.mark.slow)])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """Opens galleries whose index is in that place."""
    address = None
    if request.param == "file":
        request.getfixturevalue("milvus_lite")
        address = str(tmp_path / "index.db")
    elif request.param != "memory":
        address = request.getfixturevalue(request.param)

    def opened(path: Path) -> SqliteGallery:
        gallery = SqliteGallery(path)
        if address is not None and gallery.index_place() is None:
            gallery.place_index(address)
        assert gallery.index_place() == address
        return gallery

    return opened


@pytest.fixture
def gallery(opener: Opener, tmp_path: Path) -> Iterator[SqliteGallery]:
    with opener(tmp_path / "gallery.db") as opened:
        yield opened


def fill(gallery: SqliteGallery, walks: Floats, size: int = 10) -> None:
    for start in range(0, len(walks), size):
        gallery.enrol(f"P{start}", [new(one) for one in walks[start : start + size]], consent="yes")


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_the_nearest_are_found_with_their_exact_distances(gallery: SqliteGallery, metric: Metric) -> None:
    walks, queries = made(1500), made(40, seed=1)
    fill(gallery, walks, 500)
    truth = part_distances(queries, walks, metric)
    found = gallery.search([embedded(one) for one in queries], 5, metric)
    shared = 0
    for near, row in zip(found, truth, strict=True):
        places = np.array([one.walk_id - 1 for one in near])
        distances = np.array([one.distance for one in near])
        np.testing.assert_allclose(distances, row[places], atol=1e-5)
        assert (np.diff(distances) >= 0).all()
        shared += len({*places.tolist()} & {*np.argsort(row)[:5].tolist()})
    assert shared >= 0.99 * 5 * len(queries)
    assert [near[0].distance for near in gallery.search([embedded(one) for one in walks[:20]], 1)] == [0.0] * 20


def test_programs_follow_what_others_write(opener: Opener, tmp_path: Path) -> None:
    path, walks = tmp_path / "gallery.db", made(800)
    queries = [embedded(one) for one in made(10, seed=1)]
    with opener(path) as gallery, opener(path) as other:
        fill(gallery, walks[:600])
        before = gallery.search(queries, 5)
        assert other.search(queries, 5) == before
        other.enrol("Late", [new(one) for one in walks[600:]], consent="yes")
        nearest = {found[0].walk_id for found in gallery.search([embedded(one) for one in walks[600:]], 1)}
        assert len(nearest) == 200
        gallery.forget("Late")
        assert other.search(queries, 5) == before
        other.forget("P0")
        assert gallery.search([embedded(walks[0])], 1)[0][0].walk_id > 10
    with opener(path) as gallery:
        gallery.enrol("New", [new(walks[700])], consent="yes")
        assert gallery.search([embedded(walks[700])], 1)[0][0].distance == 0


@pytest.mark.parametrize("k", [1, 5, 100])
def test_as_many_are_found_as_are_asked_for(gallery: SqliteGallery, k: int) -> None:
    fill(gallery, made(600))
    assert [len(found) for found in gallery.search([embedded(one) for one in made(3, seed=1)], k)] == [k] * 3


def test_of_equally_near_walks_the_first_comes_first(gallery: SqliteGallery) -> None:
    walks = made(600)
    fill(gallery, np.concatenate([walks, walks[:50]]))
    for place, found in enumerate(gallery.search([embedded(one) for one in walks[:50]], 2)):
        assert [one.walk_id for one in found] == [place + 1, 601 + place]
        assert [one.distance for one in found] == [0, 0]


def test_a_walk_that_changes_hands_is_found_with_its_new_owner(gallery: SqliteGallery) -> None:
    walks = made(600)
    fill(gallery, walks)
    gallery.search([embedded(walks[0])], 1)
    gallery.rename("P0", "Anna")
    gallery.merge("P10", "Anna")
    gallery.move_walk(21, "Anna")
    anna = gallery.person("Anna").person_id
    found = gallery.search([embedded(walks[place]) for place in (0, 10, 20)], 1)
    assert [near[0].person_id for near in found] == [anna] * 3


class Brightness:
    """A gait model: means of a walk's silhouettes."""

    card = ModelCard("gait", "another", "weight-free", "Apache-2.0")

    def embed(self, walks: list[GaitSequence]) -> list[Embedding]:
        return [Embedding(np.full(SHAPE, one.silhouettes.mean(), np.float32), self.card.model_id, 5) for one in walks]


def test_a_walk_that_is_embedded_again_is_found_by_its_new_embedding_alone(gallery: SqliteGallery) -> None:
    fill(gallery, made(600))
    model, pictures = Brightness(), np.full((5, 64, 64), 200, np.uint8)
    old, sequence = Embedding(made(1, seed=5)[0], "m", 5), GaitSequence(np.arange(5), pictures, 25.0)
    gallery.enrol("Old", [NewWalk(old, "b.mp4", silhouettes=sequence)], consent="yes")
    (walk,) = gallery.walks("Old")
    assert gallery.search([old], 1)[0][0].walk_id == walk.walk_id
    gallery.re_embed(model)  # type: ignore[arg-type]
    assert gallery.search([old], 1)[0][0].walk_id != walk.walk_id
    assert gallery.search(model.embed([sequence]), 1)[0][0].walk_id == walk.walk_id
