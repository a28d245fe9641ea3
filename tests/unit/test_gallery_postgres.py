"""A gallery in PostgreSQL: several programs at once, what is forgotten, the log, errors that say what to do."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from typer.testing import CliRunner

from app import open_gallery
from app.cli.main import app as cli
from app.errors import GalleryError
from app.gallery.opening import exists, open_store, shown
from app.gallery.schema import MIGRATIONS
from app.gallery.sqlite import SqliteGallery
from app.gallery.store import NewWalk
from app.gallery.transfer import copy_gallery
from app.runs.identify import identify
from app.stages import Run
from app.types import Embedding, GaitSequence
from tests.unit.test_compare import stages

if TYPE_CHECKING:
    from tests.postgres import Server


def walk(seed: int = 0) -> NewWalk:
    random = np.random.default_rng(seed)
    pictures = GaitSequence(np.arange(9), random.integers(0, 256, (9, 64, 64)).astype(np.uint8), 25.0)
    vector = random.normal(size=(4, 256)).astype(np.float32)
    return NewWalk(Embedding(vector, "m", 9), f"a{seed}.mp4", silhouettes=pictures, thumbnail=b"\xff\xd8\xff")


@pytest.fixture
def address(postgres: Server) -> Iterator[str]:
    yield postgres.new_database()
    postgres.recycle()


def tables(server: Server) -> bytes:
    """Everything in the files of all databases; the write-ahead log is beside them."""
    import psycopg

    with psycopg.connect(server.address(), autocommit=True) as db:
        db.execute("CHECKPOINT")
    return b"\n".join(file.read_bytes() for file in (server.folder / "data" / "base").rglob("*") if file.is_file())


def test_programs_that_enrol_at_once_lose_nothing(address: str) -> None:
    # Nobody has made the tables yet: the programs make them at once too.
    def enrol(who: str) -> None:
        with open_store(address) as gallery:
            for number in range(5):
                gallery.enrol("Everybody", [walk(number)], consent="yes")
                gallery.enrol(f"{who}{number}", [walk(number)], consent="yes")
                gallery.search([walk(number).embedding], 1)

    threads = [threading.Thread(target=enrol, args=(who,)) for who in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with open_store(address) as gallery:
        assert len(gallery.people()) == 16
        assert gallery.person("everybody").walks == 15
        assert len(gallery.search([walk(1).embedding], 99)[0]) == 30


def test_nothing_of_whom_is_forgotten_stays_in_the_files(postgres: Server, address: str) -> None:
    with open_store(address) as gallery:
        gallery.enrol("Zarq Vexley", [walk(1)], consent="signed by Zarq Vexley")
        gallery.enrol("Ben", [replace(walk(2), source="zarq-vexley and ben.mp4")], consent="yes")
        gallery.record("match", name="Zarq Vexley")
        import psycopg

        with psycopg.connect(address, autocommit=True) as db:
            db.execute("ANALYZE")
        vector = walk(1).embedding.parts.tobytes()
        before = tables(postgres)
        assert vector[:64] in before
        assert re.search(b"zarq.vexley", before, re.IGNORECASE)
        gallery.forget("Zarq Vexley")
        after = tables(postgres)
        assert not any(vector[start : start + 16] in after for start in range(0, len(vector) - 15, 64))
        assert not re.search(b"zarq.vexley", after, re.IGNORECASE)
        assert gallery.walks("Ben")[0].source == "(forgotten) and ben.mp4"


def test_what_cannot_be_removed_from_the_files_now_is_removed_later(postgres: Server, address: str) -> None:
    from app.gallery.postgres import PostgresGallery

    with PostgresGallery(address, patience=0.2) as gallery:
        gallery.enrol("Anna", [walk(1)], consent="yes")
        gallery.enrol("Ben", [walk(2)], consent="yes")
        reader = gallery.records()
        next(reader)
        with pytest.raises(GalleryError, match="traces are left"):
            gallery.forget("Anna")
        assert [person.name for person in gallery.people()] == ["Ben"]
        reader.close()  # type: ignore[attr-defined]
    open_store(address).close()
    assert walk(1).embedding.parts.tobytes()[:64] not in tables(postgres)


def test_the_log_only_grows(address: str) -> None:
    import psycopg

    with open_store(address) as gallery:
        gallery.enrol("Anna", [walk(1)], consent="yes")
        with psycopg.connect(address, autocommit=True) as db:
            for statement in (
                "DELETE FROM gaitprint.event",
                "TRUNCATE gaitprint.event",
                "UPDATE gaitprint.event SET time = '2020-01-01T00:00:00+00:00'",
                "UPDATE gaitprint.event SET details = '{}'",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege, match="only grows"):
                    db.execute(statement)
        gallery.forget("Anna")
        assert [event.event for event in gallery.log()] == ["forget", "enrol"]


def test_a_role_that_may_only_read_is_told_before_the_long_work(address: str, tmp_path: Path) -> None:
    import psycopg

    models = stages()
    with open_store(address) as gallery:
        embedding = Embedding(np.ones((1, 4), np.float32), models.gait.card.model_id, 9)
        gallery.enrol("Anna", [replace(walk(), embedding=embedding)], consent="yes")
    with psycopg.connect(address, autocommit=True) as db:
        db.execute("CREATE ROLE onlooker LOGIN")
        db.execute("GRANT USAGE ON SCHEMA gaitprint TO onlooker")
        db.execute("GRANT SELECT ON ALL TABLES IN SCHEMA gaitprint TO onlooker")
    try:
        with open_store(address.replace("tester@", "onlooker@"), create=False) as gallery:
            assert [person.name for person in gallery.people()] == ["Anna"]
            with pytest.raises(GalleryError, match="your role may not do that"):
                identify([tmp_path / "never looked at.mp4"], gallery, Run(models))
    finally:
        with psycopg.connect(address, autocommit=True) as db:
            db.execute("DROP OWNED BY onlooker")
            db.execute("DROP ROLE onlooker")


def test_a_connection_that_broke_is_made_again(address: str) -> None:
    import psycopg

    with open_store(address) as gallery:
        with psycopg.connect(address, autocommit=True) as db:
            db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'gaitprint'")
        with pytest.raises(GalleryError, match="there is no connection"):
            gallery.people()
        assert gallery.people() == []


def test_errors_say_what_to_do(address: str, tmp_path: Path) -> None:
    import psycopg

    assert not exists(address)
    with pytest.raises(GalleryError, match="There is no gallery in test"):
        open_store(address, create=False)
    with pytest.raises(GalleryError, match=r"on .* there is no connection. Check") as told:
        open_store(f"postgresql://?host={tmp_path}")
    assert "\n" not in str(told.value)
    with pytest.raises(GalleryError, match=r"there is no connection. Check.* does not exist"):
        open_store(address.replace("/test", "/nowhere"))
    with pytest.raises(GalleryError, match="Give postgresql://"):
        open_store("postgresql://a/b?c=d")
    open_store(address).close()
    assert exists(address)
    with psycopg.connect(address) as db:
        db.execute("UPDATE gaitprint.gallery SET format = 99")
    with pytest.raises(GalleryError, match=f"format 99.*up to {len(MIGRATIONS)}"):
        open_store(address)
    assert shown("postgresql://anna:secret@host:5/people?password=secret") == "postgresql://host:5/people"


def test_a_gallery_is_copied_there_and_back(address: str, tmp_path: Path) -> None:
    file, back = tmp_path / "gallery.db", tmp_path / "back.db"
    with SqliteGallery(file) as gallery:
        gallery.enrol("Anna", [walk(1), walk(2)], consent="form 7", retain_days=9)
        gallery.enrol("Ben", [walk(3)], consent="yes")
    for source, target in ((str(file), address), (address, str(back))):
        answer = CliRunner().invoke(cli, ["gallery", "copy", source, target])
        assert answer.exit_code == 0, answer.output
        assert "3 walks of 2 people" in answer.output
    with SqliteGallery(file) as first, open_gallery(address) as there, SqliteGallery(back) as last:
        assert [replace(one, person_id=0) for one in first.people()] == [
            replace(one, person_id=0) for one in last.people()
        ]
        assert there.people()[0].consent == "form 7"
        assert copy_gallery(first, last, merge=True) == (0, 0)
        with pytest.raises(GalleryError, match="'Anna' already"):
            copy_gallery(first, last)


def test_a_copy_that_differs_is_found(tmp_path: Path) -> None:
    class Careless(SqliteGallery):
        def restore(self, records, *, merge=False):  # type: ignore[no-untyped-def]
            return super().restore(
                (one._replace(walks=[replace(walk, source="other") for walk in one.walks]) for one in records),
                merge=merge,
            )

    with SqliteGallery(None) as gallery, Careless(None) as other:
        gallery.enrol("Anna", [walk(1), walk(2)], consent="yes")
        with pytest.raises(GalleryError, match=r"2 of the walks differ"):
            copy_gallery(gallery, other)
