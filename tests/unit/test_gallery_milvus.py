"""A gallery's index in Milvus: forgotten people leave it, it heals where it is lost, and errors say what to do."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from typer.testing import CliRunner

from app.cli.main import app as cli
from app.errors import GalleryError, MissingExtraError
from app.gallery import milvus as module
from app.gallery.milvus import Followed, Milvus, MilvusIndex
from app.gallery.sqlite import SqliteGallery
from tests.contract.test_contract_candidates import embedded, fill, made, new, small

if TYPE_CHECKING:
    from tests.postgres import Server as Postgres

__all__ = ["small"]  # a fixture

WALKS = made(700)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gallery.db"


@pytest.fixture
def gallery(milvus: str, path: Path) -> Iterator[SqliteGallery]:
    """A large gallery whose index is in Milvus."""
    with Milvus(milvus).client() as client:
        before = set(client.list_collections())  # a server that ran already may have others
    with SqliteGallery(path) as opened:
        opened.place_index(milvus)
        fill(opened, WALKS[:600])
        opened.search([embedded(WALKS[0])], 1)
        yield opened
    with Milvus(milvus).client() as client:
        for name in set(client.list_collections()) - before:
            client.drop_collection(name)


def collections(gallery: SqliteGallery) -> list[tuple[Any, str]]:
    """The client, and the names of the gallery's collections."""
    with gallery._file.reading() as db:
        address, name = db.execute("SELECT address, name FROM candidates").fetchone()
    with Milvus(address).client() as client:
        return [(client, one) for one in client.list_collections() if one.startswith(name)]


def in_milvus(gallery: SqliteGallery) -> dict[int, dict[str, Any]]:
    """The rows of the gallery's only collection by their ids."""
    ((client, name),) = collections(gallery)
    rows = client.query(name, filter="id >= 0", output_fields=["*"], limit=10000, consistency_level="Strong")
    return {row["id"]: dict(row) for row in rows}


def test_milvus_holds_ids_and_codes_and_nothing_else(gallery: SqliteGallery) -> None:
    rows = in_milvus(gallery)
    assert sorted(rows) == list(range(601))
    assert (rows[0]["newest"], rows[0]["removals"]) == (600, 0)
    assert {tuple(sorted(rows[number])) for number in range(1, 601)} == {("code", "id")}


def test_whoever_is_forgotten_has_left_it_when_the_call_returns(gallery: SqliteGallery, path: Path) -> None:
    gallery.forget("P0")
    assert sorted(in_milvus(gallery)) == [0, *range(11, 601)]
    gallery.forget_walk(20)
    assert 20 not in in_milvus(gallery)
    gallery.enrol("Short", [new(WALKS[600])], consent="yes", retain_days=1)
    gallery.search([embedded(WALKS[0])], 1)
    assert 601 in in_milvus(gallery)
    (short,) = gallery.walks("Short")
    expires = gallery.person("Short").expires
    assert short.walk_id == 601
    assert expires is not None
    assert gallery.expire(expires) == ["Short"]
    assert 601 not in in_milvus(gallery)
    with SqliteGallery(path) as other:
        for person in other.people():
            other.forget(person.name)
    assert sorted(in_milvus(gallery)) == [0]


def test_a_collection_that_is_lost_is_made_anew(gallery: SqliteGallery) -> None:
    queries = [embedded(one) for one in made(5, seed=1)]
    before = gallery.search(queries, 5)
    ((client, name),) = collections(gallery)
    client.drop_collection(name)
    gallery.forget("P0")
    gallery.search(queries, 5)
    assert sorted(in_milvus(gallery)) == [0, *range(11, 601)]
    client.delete(name, ids=[0])
    gallery.enrol("New", [new(WALKS[600])], consent="yes")
    assert gallery.search([embedded(WALKS[600])], 1)[0][0].distance == 0
    assert sorted(in_milvus(gallery)) == [0, *range(11, 602)]
    shared = [{one.walk_id for one in a} & {one.walk_id for one in b} for a, b in zip(before, gallery.search(queries, 5), strict=True)]  # fmt: skip # noqa: E501
    assert all(len(one) >= 3 for one in shared)


def test_an_older_copy_of_the_gallery_does_not_trust_what_the_index_has(gallery: SqliteGallery, path: Path) -> None:
    older = path.with_name("older.db")
    gallery.enrol("Mia", [new(WALKS[610])], consent="yes")  # it goes with the write-ahead log into the copy
    gallery._file._purged()  # type: ignore[attr-defined]
    shutil.copy(path, older)
    gallery.enrol("Late", [new(one) for one in WALKS[620:640]], consent="yes")
    gallery.search([embedded(WALKS[0])], 1)
    assert max(in_milvus(gallery)) == 621
    gallery.close()
    with SqliteGallery(older) as back:
        assert back.search([embedded(WALKS[625])], 1)[0][0].distance > 0
        assert max(in_milvus(back)) == 601


def test_an_index_that_lags_behind_is_caught_up(gallery: SqliteGallery, path: Path) -> None:
    ((client, name),) = collections(gallery)
    client.delete(name, ids=list(range(500, 601)))
    client.upsert(name, [{"id": 0, "code": np.zeros(128, np.float32), "newest": 499, "removals": 0}])
    with SqliteGallery(path) as other:
        assert other.search([embedded(WALKS[580])], 1)[0][0].distance == 0
    assert sorted(in_milvus(gallery)) == list(range(601))


def test_milvus_is_asked_for_its_latest_state_only_where_it_may_have_changed(
    gallery: SqliteGallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pymilvus import MilvusClient

    asked: list[str] = []
    get, search = MilvusClient.get, MilvusClient.search

    def spied(self: Any, *words: Any, **more: Any) -> Any:
        asked.append("state")
        return get(self, *words, **more)

    def spied_search(self: Any, *words: Any, **more: Any) -> Any:
        asked.append(more["consistency_level"])
        return search(self, *words, **more)

    monkeypatch.setattr(MilvusClient, "get", spied)
    monkeypatch.setattr(MilvusClient, "search", spied_search)

    def first(walk: int) -> int:
        return gallery.search([embedded(WALKS[walk])], 1)[0][0].walk_id

    now = time.monotonic()
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    gallery.enrol("New", [new(WALKS[600])], consent="yes")
    assert first(600) == 601
    assert asked == ["state", "state", "Strong"], "before and after it has the gallery's lock"
    asked.clear()
    assert first(600) == 601
    now += module._GRACE + 1
    assert first(7) == 8
    assert asked == ["Strong", "Bounded"]
    now += module._TRUSTED
    asked.clear()
    assert first(7) == 8
    assert asked == ["state", "Strong"]


def test_a_collection_that_is_lost_between_two_searches_is_made_anew(gallery: SqliteGallery) -> None:
    ((client, name),) = collections(gallery)
    client.release_collection(name)
    assert gallery.search([embedded(WALKS[7])], 1)[0][0].walk_id == 8
    client.drop_collection(name)
    assert gallery.search([embedded(WALKS[7])], 1)[0][0].walk_id == 8
    assert sorted(in_milvus(gallery)) == list(range(601))


def test_ids_that_the_gallery_does_not_have_are_never_answers(gallery: SqliteGallery) -> None:
    ((client, name),) = collections(gallery)
    rows = in_milvus(gallery)
    client.upsert(name, [{"id": 9000 + number, "code": rows[number]["code"]} for number in range(1, 100)])
    found = gallery.search([embedded(one) for one in WALKS[:5]], 3)
    assert [near[0].walk_id for near in found] == [1, 2, 3, 4, 5]


def test_a_program_that_adds_brings_nobody_back_whom_another_forgets(
    gallery: SqliteGallery, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery.enrol("Late", [new(one) for one in WALKS[600:650]], consent="yes")
    adding, go_on, add = threading.Event(), threading.Event(), MilvusIndex.add

    def slowly(self: MilvusIndex, ids: Any, codes: Any) -> None:
        adding.set()
        go_on.wait(20)
        add(self, ids, codes)

    monkeypatch.setattr(MilvusIndex, "add", slowly)
    searching = threading.Thread(target=gallery.search, args=([embedded(WALKS[0])], 1))
    searching.start()
    assert adding.wait(20)
    with SqliteGallery(path) as other:
        forgetting = threading.Thread(target=other.forget, args=("Late",))
        forgetting.start()
        forgetting.join(1)
        go_on.set()
        searching.join(30)
        forgetting.join(60)
    assert not searching.is_alive()
    assert not forgetting.is_alive()
    assert max(in_milvus(gallery)) == 600


@pytest.mark.parametrize("kind", ["Server", pytest.param("WholeServer", marks=pytest.mark.slow)])
def test_a_server_that_is_gone_holds_up_no_forgetting_and_is_served_later(
    kind: str, tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    milvus_lite: None,
) -> None:  # fmt: skip
    from tests import milvus_servers

    if kind == "WholeServer" and not milvus_servers.whole():
        pytest.skip("needs Milvus itself: pip install milvus (on Linux)")
    with milvus_servers.running(tmp_path / "server", getattr(milvus_servers, kind)) as server:
        with SqliteGallery(path) as gallery:
            gallery.place_index(server.address)
            fill(gallery, WALKS[:600])
            gallery.search([embedded(WALKS[0])], 1)
            server.stop()
            monkeypatch.setattr(module, "_PATIENCE", 2.0)
            with pytest.raises(
                GalleryError, match=r"removed from .*gallery.db may still be in its index.*cannot be used"
            ):
                gallery.forget("P0")
            assert "P0" not in {person.name for person in gallery.people()}
            with pytest.raises(GalleryError, match="gallery index none"):
                gallery.search([embedded(WALKS[20])], 1)
            with pytest.raises(GalleryError, match="cannot be used"):
                gallery.place_index(None)
        caplog.clear()
        SqliteGallery(path).close()
        assert "tries again" in caplog.text
        server.start()
        monkeypatch.setattr(module, "_PATIENCE", 30.0)
        end = time.monotonic() + 120  # gRPC waits a while before it tries again, and Milvus reads what it has
        with SqliteGallery(path) as gallery:
            while time.monotonic() < end:
                with suppress(GalleryError):
                    gallery._candidates.remove_gone()
                    break
            assert sorted(in_milvus(gallery)) == [0, *range(11, 601)]
            assert gallery.search([embedded(WALKS[20])], 1)[0][0].walk_id == 21


def test_it_is_moved_and_given_up_by_the_command(gallery: SqliteGallery, path: Path, tmp_path: Path) -> None:
    def run(*words: str) -> str:
        answer = CliRunner().invoke(cli, ["gallery", "index", *words, "--gallery-db", str(path)])
        if answer.exception is not None:
            raise answer.exception
        return " ".join(answer.output.split())

    place = gallery.index_place()
    assert f"in Milvus at {place}" in run()
    ((client, name),) = collections(gallery)
    run(str(place))  # made anew
    assert name not in client.list_collections()
    assert sorted(in_milvus(gallery)) == list(range(601))
    ((_, name),) = collections(gallery)
    assert "in memory" in run("none")
    assert name not in client.list_collections()
    assert gallery.search([embedded(WALKS[7])], 1)[0][0].walk_id == 8
    assert "in memory" in run()
    with gallery._file.writing() as db:
        db.insert("candidates", address="http://127.0.0.1:1", name="gaitprint_gone", removals=0)
    with pytest.raises(GalleryError, match=r"cannot be used.*--lost"):
        run("none")
    assert "in memory" in run("none", "--lost")


def test_addresses_that_cannot_be_used_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, milvus_lite: None
) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 2.0)
    with SqliteGallery(tmp_path / "gallery.db") as gallery:
        for address, words in (
            ("ftp://host", "no address of Milvus"),
            ("http://me:secret@host:19530", "GAITPRINT_MILVUS_TOKEN"),
            ("http://127.0.0.1:1", r"cannot be used.*Check that it runs"),
            (str(tmp_path / "none" / "index.db"), "cannot be used"),
        ):
            with pytest.raises(GalleryError, match=words):
                gallery.place_index(address)
        assert gallery.index_place() is None
    with SqliteGallery(None) as passing, pytest.raises(GalleryError, match="on other machines"):
        passing.place_index("http://127.0.0.1:1")


def test_a_gallery_on_a_server_takes_no_file(postgres: Postgres, tmp_path: Path) -> None:
    from app.gallery.postgres import PostgresGallery

    with PostgresGallery(postgres.new_database()) as gallery, pytest.raises(GalleryError, match="on other machines"):
        gallery.place_index(str(tmp_path / "index.db"))
    postgres.recycle()


def test_a_gallery_in_postgresql_has_its_index_in_milvus(postgres: Postgres, milvus: str) -> None:
    from app.gallery.postgres import PostgresGallery

    with PostgresGallery(postgres.new_database()) as gallery:
        gallery.place_index(milvus)
        gallery.enrol("Many", [new(one) for one in WALKS[:550]], consent="yes")
        gallery.enrol("Anna", [new(one) for one in WALKS[550:600]], consent="yes")
        assert gallery.search([embedded(WALKS[580])], 1)[0][0].distance == 0
        gallery.forget("Anna")
        assert gallery.search([embedded(WALKS[580])], 1)[0][0].distance > 0
        gallery.place_index(None)
    postgres.recycle()


def test_a_file_serves_one_program_at_a_time(path: Path, tmp_path: Path, milvus_lite: None) -> None:
    program = "import sys, time; from pymilvus import MilvusClient; c = MilvusClient(sys.argv[1]); print('open', flush=True); time.sleep(60)"  # noqa: E501
    index = str(tmp_path / "index.db")
    with subprocess.Popen([sys.executable, "-c", program, index], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"open\n"
        with SqliteGallery(path) as gallery, pytest.raises(GalleryError, match="one program at a time"):
            gallery.place_index(index)
        other.kill()


def test_an_answer_that_is_too_late_is_an_error_of_the_gallery(
    gallery: SqliteGallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery.search([embedded(WALKS[0])], 1)
    monkeypatch.setattr(module, "_PATIENCE", 1e-6)
    with pytest.raises(GalleryError, match=r"cannot be used \(.+\)\. Check that it runs"):
        gallery.search([embedded(WALKS[0])], 1)
    monkeypatch.setattr(module, "_PATIENCE", 30.0)
    assert gallery.search([embedded(WALKS[0])], 1)[0][0].walk_id == 1


def test_milvus_gives_no_more_than_it_can(gallery: SqliteGallery) -> None:
    with pytest.raises(GalleryError, match="at most 16383"):
        gallery.search([embedded(WALKS[0])], 16384)


def test_without_pymilvus_the_extra_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(module, "import_module", missing)
    with SqliteGallery(path) as gallery:
        with pytest.raises(MissingExtraError, match=r"pip install -e \"\.\[milvus\]\""):
            gallery.place_index("http://127.0.0.1:1")
        assert gallery.search([embedded(WALKS[0])], 1) == [[]]


def test_how_far_it_has_followed_is_none_without_a_collection(milvus: str) -> None:
    index = MilvusIndex(Milvus(milvus), "nothing", (4, 64), None, "euclidean")  # type: ignore[arg-type]
    assert index.followed() is None
    index.begin()
    assert index.followed() is None
    index.note(Followed(7, 3))
    assert index.followed() == (7, 3)
    with Milvus(milvus).client() as client:
        client.drop_collection("nothing")
