"""What is done with a gallery has all its consequences, whoever asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

from app.errors import GalleryError
from app.gallery.service import GalleryService
from app.gallery.sqlite import SqliteGallery
from app.gallery.store import NewWalk, Person
from app.types import Embedding
from app.workspace import in_use
from tests.progress import Remembered

LATER = datetime.now(timezone.utc) + timedelta(days=2)


def walk(seed: int, scale: float = 1.0) -> NewWalk:
    parts = scale * np.random.default_rng(seed).normal(size=(2, 8))
    return NewWalk(Embedding(parts.astype(np.float32), "m@12345678", 9), f"video{seed}.mp4", seed)


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> SqliteGallery:
    return SqliteGallery(tmp_path / "gallery" / "people.db" if request.param == "file" else None)


def fill_caches(service: GalleryService) -> list[Path]:
    files = [folder / "cache" / f"{'0a' * 16}.zip" for folder in service.folders]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"silhouettes")
    return files


def names(service: GalleryService) -> dict[str, int]:
    return {person.name: person.walks for person in service.store.people()}


def test_a_recording_is_enrolled_once(store: SqliteGallery) -> None:
    service = GalleryService(store)
    first = service.add_walks("Anna", [walk(1), walk(2)], consent="form 7")
    assert (first.person.name, first.added, first.present) == ("Anna", (1, 2), ())
    again = service.add_walks(" anna ", [walk(2), walk(3)])
    assert (again.added, [walk_id for _, walk_id in again.present]) == ((3,), [2])
    assert sorted(again.walk_ids) == [2, 3]
    assert (again.person.walks, again.person.consent) == (3, "form 7")
    third = service.add_walks("Anna", [walk(1)], consent="form 8")
    assert (third.added, third.walk_ids, third.person.walks) == ((), (1,), 3)
    with pytest.raises(GalleryError, match="no walk"):
        service.add_walks("Anna", [])


def test_nobody_new_is_enrolled_without_consent(store: SqliteGallery) -> None:
    service = GalleryService(store)
    with pytest.raises(GalleryError, match="What has Anna agreed to"):
        service.add_walks("Anna", [walk(1)], consent=" ")
    assert names(service) == {}


def test_a_walk_of_somebody_else_is_an_error_or_moves(store: SqliteGallery) -> None:
    service = GalleryService(store)
    service.add_walks("Anna", [walk(1), walk(2)], consent="yes")
    service.add_walks("Ben", [walk(3)], consent="yes")
    with pytest.raises(GalleryError, match=r"walk 2 of 'Anna'.*If this is Ben.*gallery move"):
        service.add_walks("Ben", [walk(2), walk(4)], consent="yes")
    assert names(service) == {"Anna": 2, "Ben": 1}
    moved = service.add_walks("Ben", [walk(2)], consent="yes", move=True)
    assert (moved.added, moved.walk_ids) == ((), (2,))
    assert names(service) == {"Anna": 1, "Ben": 2}
    renamed = service.add_walks("Cleo", [walk(2)], consent="yes", move=True)
    assert names(service) == {"Anna": 1, "Ben": 1, "Cleo": 1}
    assert [found.walk_id for found in store.walks("Cleo")] == list(renamed.walk_ids)


@pytest.mark.parametrize(("metric", "known"), [("cosine", True), ("euclidean", False)])
def test_the_metric_says_whether_a_recording_is_known(store: SqliteGallery, metric: str, known: bool) -> None:
    service = GalleryService(store, metric="cosine" if metric == "cosine" else "euclidean")
    service.add_walks("Anna", [walk(1)], consent="yes")
    found = service.find(walk(1, scale=2.0))
    assert (found is not None) == known
    if found is not None:
        assert (found[0].name, found[1]) == ("Anna", 1)
    assert service.find(walk(1)) is not None
    assert service.find(replace(walk(1), embedding=Embedding(walk(1).embedding.parts, "other", 9))) is None


@pytest.mark.parametrize("what", ["forget", "forget_walk", "expire"])
def test_caches_go_first_and_the_person_last(store: SqliteGallery, tmp_path: Path, what: str) -> None:
    called: list[list[str]] = []

    def check(people: Sequence[Person]) -> None:
        called.append([person.name for person in people])
        assert not any(cache.exists() for cache in caches)
        assert names(service) == {"Anna": 1, "Ben": 1}
        if len(called) == 1:
            raise OSError("the disk is full")

    service = GalleryService(store, [tmp_path / "out"], before_forgetting=check)
    service.add_walks("Anna", [walk(1)], consent="yes", retain_days=1)
    service.add_walks("Ben", [walk(2)], consent="yes")
    assert service.expire() == []
    assert tmp_path / "out" in service.folders
    assert len(service.folders) == (1 if store.path is None else 2)

    def act() -> object:
        if what == "forget":
            return service.forget("anna")
        return service.expire(LATER) if what == "expire" else service.forget_walk(1)

    caches = fill_caches(service)
    if what != "expire":
        with in_use(service.folders[-1]), pytest.raises(GalleryError, match="Another program is at work"):
            act()
        assert called == []
        assert names(service) == {"Anna": 1, "Ben": 1}
    with pytest.raises(OSError, match="full"):
        act()
    caches = fill_caches(service)
    done = act()
    assert called == 2 * [[] if what == "forget_walk" else ["Anna"]]
    if what == "forget_walk":
        assert isinstance(done, Person)
        assert (done.name, done.walks) == ("Anna", 0)
    else:
        assert done == (1 if what == "forget" else ["Anna"])
        assert names(service) == {"Ben": 1}


def test_nobody_is_kept_longer_because_a_program_is_at_work(
    store: SqliteGallery, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    service = GalleryService(store, [tmp_path / "out"])
    service.add_walks("Anna", [walk(1)], consent="yes", retain_days=1)
    caches = fill_caches(service)
    with in_use(service.folders[-1]):
        with in_use(service.folders[-1]):
            assert service.expire(LATER) == ["Anna"]
            assert "Another program is at work" in caplog.text
        assert [cache.exists() for cache in caches] == [False] * (len(caches) - 1) + [True]
    assert not any(cache.exists() for cache in caches)


def test_nothing_is_cleared_for_nobody(store: SqliteGallery, tmp_path: Path) -> None:
    service = GalleryService(store, [tmp_path / "out"])
    service.add_walks("Anna", [walk(1)], consent="yes")
    caches = fill_caches(service)
    with pytest.raises(GalleryError, match="no 'Zoe'"):
        service.forget("Zoe")
    with pytest.raises(GalleryError, match="no walk 9"):
        service.forget_walk(9)
    assert service.expire() == []
    assert all(cache.exists() for cache in caches)


def test_corrections(store: SqliteGallery) -> None:
    service = GalleryService(store)
    service.add_walks("Anna", [walk(1), walk(2)], consent="yes")
    service.add_walks("Ben", [walk(3)], consent="yes")
    service.rename("Ben", "Benno")
    service.move(1, "Benno")
    assert names(service) == {"Anna": 1, "Benno": 2}
    merge = service.merge("Anna", "benno")
    assert names(service) == {"Benno": 3}
    service.undo_merge(merge)
    assert names(service) == {"Anna": 1, "Benno": 2}
    assert [event.event for event in store.log(4)] == ["undo merge", "merge", "move", "rename"]


def test_who_is_named_after_all_may_be_named_again(store: SqliteGallery) -> None:
    service = GalleryService(store)
    for number, name in enumerate(("Anna", "Ben"), 1):
        service.add_walks(name, [walk(number)], consent="yes")
        store.deny(walk(3), name)
    service.add_walks("anna", [walk(3)])
    assert list(store.denied([walk(3).embedding])[0]) == ["Ben"]


def test_export_and_import(store: SqliteGallery, tmp_path: Path) -> None:
    service, progress = GalleryService(store), Remembered()
    service.add_walks("Anna", [walk(1), walk(2)], consent="yes")
    assert service.export(tmp_path / "people.gz", progress) == (1, 2)
    assert store.log(1)[0].details == {"people": 1, "walks": 2}
    with SqliteGallery(None) as other:
        into = GalleryService(other)
        assert into.import_file(tmp_path / "people.gz", progress=progress, total=1) == (1, 2)
        assert names(into) == {"Anna": 2}
        with pytest.raises(GalleryError, match="'Anna' already"):
            into.import_file(tmp_path / "people.gz")
        assert into.import_file(tmp_path / "people.gz", merge=True) == (0, 0)
    assert progress.stages == {"Exporting people": (1, 1), "Importing people": (1, 1)}
