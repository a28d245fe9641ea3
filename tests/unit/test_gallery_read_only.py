"""A gallery that this program may not write: on a read-only disk, or somebody else's."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

import app.gallery.sqlite as database
from app.errors import GalleryError
from app.gallery.opening import open_strangers
from app.gallery.schema import MIGRATIONS
from app.gallery.service import GalleryService
from app.gallery.sqlite import SqliteGallery
from app.gallery.store import NewWalk
from app.gallery.strangers import Strangers
from app.types import Embedding

ROOT = Path(__file__).resolve().parents[2]
LATER = datetime.now(timezone.utc) + timedelta(days=400)
Reader = Callable[[], SqliteGallery]


def walk(seed: int) -> NewWalk:
    parts = np.random.default_rng(seed).normal(size=(2, 8)).astype(np.float32)
    return NewWalk(Embedding(parts, "m@12345678", 9), "a.mp4", seed, thumbnail=b"jpeg")


def found(gallery: SqliteGallery, seed: int) -> list[str]:
    """Return whose the nearest walks are."""
    ((*nearest,),) = gallery.search([walk(seed).embedding], 3)
    return [gallery.owner(one.walk_id).name for one in nearest]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with SqliteGallery(tmp_path / "people" / "gallery.db") as gallery:
        gallery.enrol("Anna", [walk(1)], consent="yes")
        gallery.enrol("Ben", [walk(2)], consent="yes", retain_days=365)
    return tmp_path / "people" / "gallery.db"


@pytest.fixture(params=["file", "folder"])
def reader(request: pytest.FixtureRequest, path: Path, monkeypatch: pytest.MonkeyPatch) -> Reader:
    """Open the gallery as somebody who may not write the file, or in its folder; others in this process may."""
    locked = path if request.param == "file" else path.parent

    def opened() -> SqliteGallery:
        with monkeypatch.context() as patch:
            patch.setattr(database, "may_write", lambda place: place != locked)
            return SqliteGallery(path, create=False)

    return opened


def test_it_is_read(reader: Reader, path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = path.read_bytes(), sorted(path.parent.iterdir())
    with reader() as gallery:
        service = GalleryService(gallery, [tmp_path / "out"])
        assert gallery.read_only
        assert service.expire() == []
        assert [person.name for person in service.people()] == ["Anna", "Ben"]
        assert found(gallery, 2)[0] == "Ben"
        assert (gallery.size(), gallery.thumbnail("Anna")) == (path.stat().st_size, b"jpeg")
        assert not caplog.messages
        assert service.export(tmp_path / "export.jsonl.gz") == (2, 2)
        gallery.record("identify", video="a.mp4")
        assert len(gallery.log()) == 2
        with reader() as again:
            again.need_log()
        assert (path.read_bytes(), sorted(path.parent.iterdir())) == before
    assert [message for message in caplog.messages if "its log does not say" in message] == caplog.messages
    assert len(caplog.messages) == 1
    with pytest.raises(GalleryError, match="was closed"):
        gallery.people()


@pytest.mark.parametrize(
    "change",
    [
        lambda gallery: gallery.add_walks("Cleo", [walk(3)], consent="yes"),
        lambda gallery: gallery.rename("Anna", "Anne"),
        lambda gallery: gallery.merge("Anna", "Ben"),
        lambda gallery: gallery.move(1, "Ben"),
        lambda gallery: gallery.set_consent("Anna", "no", None),
        lambda gallery: gallery.forget("Anna"),
        lambda gallery: gallery.forget_walk(1),
        lambda gallery: gallery.store.deny(walk(1), "Ben"),
        lambda gallery: gallery.store.need_writable(),
        lambda gallery: gallery.store.place_index(None),
    ],
)
def test_whatever_changes_it_says_why_it_cannot(
    reader: Reader, path: Path, change: Callable[[GalleryService], object]
) -> None:
    told: list[object] = []
    cache = path.parent / "cache" / f"{'0a' * 16}.zip"
    cache.parent.mkdir()
    cache.write_bytes(b"silhouettes")
    before = path.read_bytes()
    with reader() as gallery:
        service = GalleryService(gallery, before_forgetting=told.append)
        with pytest.raises(GalleryError, match=r"may only be read: there is no permission to write .*people.* Change"):
            change(service)
    assert (path.read_bytes(), told, cache.exists()) == (before, [], True)  # nothing else was deleted first


def test_what_others_change_is_followed(reader: Reader, path: Path) -> None:
    with reader() as gallery:
        assert found(gallery, 3) in (["Anna", "Ben"], ["Ben", "Anna"])
        with SqliteGallery(path) as owner:
            owner.enrol("Cleo", [walk(3)], consent="yes")
            assert path.with_name("gallery.db-wal").stat().st_size > 0
            assert found(gallery, 3)[0] == "Cleo"
            owner.forget("Anna")
            assert "Anna" not in found(gallery, 3)
        assert [person.name for person in gallery.people()] == ["Ben", "Cleo"]
        with SqliteGallery(path) as owner:
            owner.rename("Ben", "Benno")
        assert [record.person.name for record in gallery.records()] == ["Benno", "Cleo"]


def test_what_is_read_while_it_changes_is_refused(reader: Reader, path: Path) -> None:
    with reader() as gallery:

        def read_slowly() -> None:
            with gallery._file.reading() as db:
                db.execute("SELECT * FROM person").fetchall()
                with SqliteGallery(path) as owner:
                    owner.rename("Ben", "Benno")

        with pytest.raises(GalleryError, match=r"changed the gallery .* Try again"):
            read_slowly()
        assert gallery.person("Benno").walks == 1


@pytest.mark.parametrize("meanwhile", [False, True])
def test_nobody_is_known_whose_time_is_over(
    reader: Reader,
    path: Path,
    meanwhile: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with SqliteGallery(path) as owner:
        owner.enrol("Cleo", [walk(3)], consent="yes", retain_days=800)
        owner.enrol("Dan", [walk(4)], consent="yes")
        owner.forget("Dan")
    if not meanwhile:
        monkeypatch.setattr(database.tables, "now", lambda: LATER)
    with reader() as gallery:
        if meanwhile:
            assert found(gallery, 2)[0] == "Ben"
            monkeypatch.setattr(database.tables, "now", lambda: LATER)
        assert "Ben" not in found(gallery, 2)
        assert [person.name for person in gallery.people()] == ["Anna", "Cleo"]
        assert [record.person.name for record in gallery.records()] == ["Anna", "Cleo"]
        assert [one.person_id for one in gallery.walks()] == [1, 3]
        with pytest.raises(GalleryError, match="no 'Ben'"):
            gallery.person("Ben")
        with reader() as again:
            assert len(again.people()) == 2
        assert GalleryService(gallery).expire(LATER) == []
        monkeypatch.setattr(database.tables, "now", lambda: LATER + timedelta(days=800))
        assert found(gallery, 2) == ["Anna"]
    assert [message.split(" is over")[0] for message in caplog.messages] == ["The time of Ben", "The time of Cleo"]


def older(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS) - 1}")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.with_name("gallery.db-wal").write_bytes(b"x" * 99), "not closed in good order.*-wal"),
        (lambda path: path.write_bytes(b""), "is empty, and there is no permission"),
        (lambda path: path.write_bytes(b"x" * 9999), "it is not a gallery"),
        (older, "older Gaitprint.*bring it up to date"),
    ],
)
def test_what_cannot_even_be_read_says_what_to_do(
    reader: Reader, path: Path, spoil: Callable[[Path], None], said: str
) -> None:
    spoil(path)
    with pytest.raises(GalleryError, match=said):
        reader()


def test_strangers_who_may_not_be_written_end_a_watch_before_it_begins(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strangers = open_strangers(str(path), create=True)
    assert strangers is not None
    strangers.enrol_stranger([walk(5)], retain_days=3)
    strangers.close()
    file = path.with_name("gallery.strangers.db")
    monkeypatch.setattr(database, "may_write", lambda place: place != file)
    with pytest.raises(GalleryError, match="may only be read"):
        open_strangers(str(path), create=True)
    found = open_strangers(str(path))
    assert found is not None
    with SqliteGallery(path) as gallery, found:
        known = Strangers(gallery, found)
        with pytest.raises(GalleryError, match="may only be read"):
            known.name("stranger-0001", "Cleo", consent="yes")
        with pytest.raises(GalleryError, match="may only be read"):
            known.drop("stranger-0001")
        assert [person.name for person in gallery.people()] == ["Anna", "Ben"]


@pytest.mark.skipif(os.name != "posix", reason="other systems have other permissions")
def test_the_system_itself_refuses_to_write(path: Path) -> None:
    without = []
    if os.geteuid() == 0:  # who may do everything, unless that right is taken away
        found = shutil.which("setpriv")
        if found is None:
            pytest.skip("needs setpriv, or a user who is not root")
        without = [found, "--bounding-set=-dac_override,-dac_read_search"]
    command = [*without, sys.executable, "-m", "app", "gallery"]
    path.chmod(0o444)
    path.parent.chmod(0o555)
    try:
        told = [
            subprocess.run(
                [*command, *arguments, "--gallery-db", str(path)], cwd=ROOT, capture_output=True, text=True, check=False
            )
            for arguments in (["list"], ["rename", "Anna", "Anne"])
        ]
    finally:
        path.parent.chmod(0o755)
        path.chmod(0o644)
    assert (told[0].returncode, told[0].stderr) == (0, "")
    assert "Anna" in told[0].stdout
    assert told[1].returncode == 2
    assert "may only be read" in told[1].stderr
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT name FROM person WHERE person_id = 1").fetchone() == ("Anna",)
