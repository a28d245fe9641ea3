"""A gallery's file: other processes, crashes, what is forgotten, older and newer formats, files that are none."""

from __future__ import annotations

import random
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

import app.gallery.sqlite as database
from app.errors import GalleryError, OutputError
from app.gallery.opening import exists, open_store, open_strangers
from app.gallery.schema import MIGRATIONS
from app.gallery.sqlite import SqliteGallery
from app.gallery.store import NewWalk
from app.types import Embedding, GaitSequence, Measure

ROOT = Path(__file__).resolve().parents[2]
ENROL = """
import sys
from pathlib import Path
import numpy as np
from app.gallery.sqlite import SqliteGallery
from app.gallery.store import NewWalk
from app.types import Embedding, GaitSequence, Measure

path, who, people, walks = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
rng = np.random.default_rng(0)
pictures = GaitSequence(np.arange(9), rng.integers(0, 256, (9, 64, 64)).astype(np.uint8), 25.0)
print("ready", flush=True)
sys.stdin.readline()
with SqliteGallery(path) as gallery:
    for number in range(people):
        given = [Embedding(rng.normal(size=(16, 256)).astype(np.float32), "m", 9) for _ in range(walks)]
        for name in (f"{who}{number}", "Everybody"):
            gallery.enrol(name, [NewWalk(one, who, silhouettes=pictures) for one in given], consent="yes")
            print(name, flush=True)
"""


def walk(seed: int = 0) -> NewWalk:
    return NewWalk(Embedding(np.random.default_rng(seed).normal(size=(4, 64)).astype(np.float32), "m", 9), "a.mp4")


def enroller(path: Path, who: str, people: int = 10**6, walks: int = 2) -> subprocess.Popen[str]:
    """Another process that enrols people and says whom it was told are safe; it waits for a line."""
    arguments = [sys.executable, "-c", ENROL, str(path), who, str(people), str(walks)]
    process = subprocess.Popen(arguments, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let no file grow beyond `size` bytes: what a full disk does, without one."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def need_whole(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
        assert (
            db.execute("SELECT count(*) FROM walk").fetchone()
            == db.execute("SELECT count(*) FROM embedding").fetchone()
        )
    db.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gallery.db"


@pytest.fixture
def gallery(path: Path) -> Iterator[SqliteGallery]:
    with SqliteGallery(path) as opened:
        yield opened


def test_processes_that_enrol_at_once_lose_nothing(path: Path) -> None:
    # The file is not there yet: they also make it at once.
    processes = [enroller(path, who, people=15) for who in ("a", "b")]
    for process in processes:
        go(process)
    told = [process.communicate(timeout=60)[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert [len(names) for names in told] == [30, 30]
    with SqliteGallery(path) as gallery:
        walks = {person.name: person.walks for person in gallery.people()}
    expected = {f"{who}{number}": 2 for who in ("a", "b") for number in range(15)}
    assert walks == {**expected, "Everybody": 60}
    need_whole(path)


def test_a_killed_process_loses_nothing_confirmed_and_leaves_nothing_half(path: Path) -> None:
    delays = random.Random(0)
    confirmed: list[str] = []
    processes = [enroller(path, who, walks=7) for who in "abc"]
    for process in processes:
        go(process)
        assert process.stdout is not None
        confirmed.append(process.stdout.readline().strip())
        time.sleep(delays.uniform(0.05, 0.4))
        process.kill()  # -9
        confirmed += process.communicate(timeout=60)[0].split()
        with SqliteGallery(path) as gallery:
            walks = {person.name: person.walks for person in gallery.people()}
            everybody = walks.pop("Everybody", 0)
            assert all(count == 7 for count in walks.values())
            assert everybody % 7 == 0
            assert everybody >= 7 * confirmed.count("Everybody")
            assert set(confirmed) - {"Everybody"} <= set(walks)
        need_whole(path)
    assert len(confirmed) > 6


def everything_below(folder: Path) -> bytes:
    return b"\n".join(file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file())


def pieces_of(content: bytes) -> list[bytes]:
    return [content[start : start + 16] for start in range(0, len(content) - 15, 128)]


def test_no_byte_of_somebody_who_was_forgotten_is_left(gallery: SqliteGallery, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    picture = b"\xff\xd8\xff" + rng.bytes(3000)
    secret = Embedding(rng.normal(size=(4, 64)).astype(np.float32), "m", 9)
    sequence = GaitSequence(
        np.arange(4), rng.integers(0, 256, (4, 64, 64)).astype(np.uint8), 25.0, np.ones((4, 17, 3), np.float32)
    )
    for number in range(12):
        gallery.enrol(f"Other {number}", [walk(number)], consent="yes")
        if number == 5:
            step = Measure("Zauberschritt", "px", 1.0, None, 1)
            hers = NewWalk(secret, "x.mp4", None, "front", 1, sequence, picture, measures=(step,))
            gallery.enrol("Zauberin", [hers], consent="Geheim")
    gallery.rename("Zauberin", "Hexenmeister")
    gallery.record("match", name="Hexenmeister", videos=["hexenmeister_1.mp4"])
    gallery.search([secret], 1)
    with closing(sqlite3.connect(gallery.path)) as db:
        row = db.execute("SELECT frame_indices, pictures, keypoints FROM silhouettes").fetchone()
    traces = [b"zauberin", b"hexenmeister", b"geheim", b"zauberschritt"]
    traces += [piece for content in (secret.parts.tobytes(), picture, *row) for piece in pieces_of(content)]
    assert len(traces) > 100
    before = everything_below(tmp_path)
    # A few pieces lie across two pages of the file.
    assert sum(trace in before for trace in traces[4:]) > 0.9 * len(traces)
    assert all(trace in before.lower() for trace in traces[:4])

    gallery.forget("Hexenmeister")
    for moment in ("open", "closed"):
        after = everything_below(tmp_path)
        assert [trace for trace in traces if trace in after] == [], moment
        assert not any(trace in after.lower() for trace in traces[:4]), moment
        assert b"Other 7" in after
        assert walk(7).embedding.parts.tobytes()[:200] in after
        gallery.close()


def test_traces_that_a_reader_keeps_are_removed_when_the_file_is_next_opened(path: Path, tmp_path: Path) -> None:
    with SqliteGallery(path, patience=0.1) as gallery, SqliteGallery(path) as reader:
        gallery.enrol("Zauberin", [walk(1)], consent="yes")
        gallery.enrol("Ben", [walk(2)], consent="yes")
        records = reader.records()
        next(records)
        with pytest.raises(GalleryError, match=r"removed .*traces are left.*another program"):
            gallery.forget("Zauberin")
        assert [person.name for person in gallery.people()] == ["Ben"]
        assert b"Zauberin" in everything_below(tmp_path)
        list(records)
    with SqliteGallery(path) as gallery:
        assert b"Zauberin" not in everything_below(tmp_path)
        assert [person.name for person in gallery.people()] == ["Ben"]


def test_threads_share_a_gallery(gallery: SqliteGallery) -> None:
    failures: list[BaseException] = []

    def work(who: int) -> None:
        try:
            for number in range(8):
                gallery.enrol(f"P{who}", [walk(100 * who + number)], consent="yes")
                assert gallery.search([walk(100 * who + number).embedding], 1)[0][0].distance == 0
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert [person.walks for person in gallery.people()] == [8, 8, 8, 8]


def test_another_program_that_writes_is_waited_for_and_then_named(path: Path) -> None:
    with SqliteGallery(path, patience=0.1) as gallery:
        other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(GalleryError, match="another program is writing"):
            gallery.enrol("Anna", [walk(1)], consent="yes")
        assert gallery.people() == []
        other.execute("ROLLBACK")
        gallery.enrol("Anna", [walk(1)], consent="yes")
    with SqliteGallery(path) as gallery:
        other.execute("BEGIN IMMEDIATE")
        end = threading.Timer(0.2, lambda: other.execute("ROLLBACK"))
        end.start()
        gallery.enrol("Ben", [walk(2)], consent="yes")
        end.join()
    other.close()


def test_what_is_confirmed_is_on_the_disk(
    path: Path, sqlite_settings: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.gallery.sqlite.SETTINGS", sqlite_settings)
    with SqliteGallery(path) as gallery, gallery._file.reading() as db:
        settings = {
            name: db.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "foreign_keys", "secure_delete")
        }
    assert settings == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "secure_delete": 1}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
def test_only_its_owner_may_read_it(gallery: SqliteGallery, path: Path) -> None:
    gallery.enrol("Anna", [walk(1)], consent="yes")
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_older_files_become_newer_ones_in_whole_steps(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with SqliteGallery(path) as gallery:
        gallery.enrol("Anna", [walk(1)], consent="yes")
    step = ("ALTER TABLE person ADD COLUMN shoe INTEGER", "CREATE TABLE hat (size INTEGER)")
    monkeypatch.setattr(database, "MIGRATIONS", (*MIGRATIONS, (*step, "CREATE TABLE hat (size INTEGER)")))
    with pytest.raises(GalleryError, match="hat already exists"):
        SqliteGallery(path)
    monkeypatch.setattr(database, "MIGRATIONS", (*MIGRATIONS, step))
    with SqliteGallery(path) as gallery:
        assert [person.name for person in gallery.people()] == ["Anna"]
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA user_version").fetchone()[0] == len(MIGRATIONS) + 1
    assert db.execute("SELECT name, shoe FROM person").fetchall() == [("Anna", None)]
    db.close()


def test_walks_of_an_older_file_have_no_measures(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as older:
        older.setattr(database, "MIGRATIONS", MIGRATIONS[:5])
        SqliteGallery(path).close()
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("INSERT INTO person VALUES (1, 'Anna', 'yes', '2026-01-01T00:00:00+00:00', NULL)")
        db.execute("INSERT INTO walk VALUES (1, 1, 'a.mp4', 1, '', 2.0, '2026-01-01T00:00:00+00:00')")
        vector = np.ones(4, "<f4").tobytes()
        db.execute("INSERT INTO embedding VALUES (1, 1, 'm', 9, 2, 2, ?)", (vector,))
    with SqliteGallery(path) as gallery:
        (found,) = gallery.walks("Anna")
        assert (found.measures, found.seen_from, gallery.walk(1).measures) == ((), None, ())


def test_a_newer_file_is_refused(path: Path) -> None:
    SqliteGallery(path).close()
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(GalleryError, match=r"newer Gaitprint.*99"):
        SqliteGallery(path)


def test_files_that_are_no_gallery_are_refused_and_left_alone(path: Path) -> None:
    path.write_bytes(b"a video of somebody who walks" * 100)
    with pytest.raises(GalleryError, match="it is not a gallery"):
        SqliteGallery(path)
    assert path.read_bytes() == b"a video of somebody who walks" * 100
    path.unlink()
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE mine (x)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(GalleryError, match="another program"):
        SqliteGallery(path)
    assert path.read_bytes() == before
    with pytest.raises(GalleryError, match="it is a file"):
        SqliteGallery(path.parent)


def test_a_damaged_file_is_said_to_be(path: Path) -> None:
    with SqliteGallery(path) as gallery:
        gallery.enrol("Anna", [walk(number) for number in range(50)], consent="yes")
    content = bytearray(path.read_bytes())
    content[4096 : 4096 * 8] = b"\x55" * 4096 * 7
    path.write_bytes(content)
    with pytest.raises(GalleryError, match="it is damaged"), SqliteGallery(path) as gallery:
        gallery.walks()


def test_damaged_rows_are_said_to_be(gallery: SqliteGallery, path: Path) -> None:
    pictures = GaitSequence(np.arange(9), np.zeros((9, 64, 64), np.uint8), 25.0)
    gallery.enrol("Anna", [replace(walk(1), silhouettes=pictures)], consent="yes")
    looks: list[tuple[str, Callable[[], object]]] = [
        ("UPDATE event SET details = char(0)", gallery.log),
        ("UPDATE event SET details = char(0)", lambda: gallery.forget("Anna")),
        ("UPDATE silhouettes SET pictures = zeroblob(9)", lambda: gallery.silhouettes(1)),
        ("UPDATE walk SET added = zeroblob(9)", gallery.walks),
        ("UPDATE walk SET walk_id = 7", lambda: gallery.search([walk(1).embedding], 1)),
        ("UPDATE walk SET walk_id = 1", gallery.walks),
        ("UPDATE embedding SET frames = 0", lambda: gallery.embeddings([1])),
        ("UPDATE person SET enrolled = 0", gallery.people),
        ("UPDATE person SET name = zeroblob(4)", lambda: gallery.person("Anna")),
    ]
    for damage, look in looks:
        with closing(sqlite3.connect(path)) as db, db:
            db.execute(damage)
        with pytest.raises(GalleryError, match=r"damaged.* import your last export") as caught:
            look()
        assert str(path) in str(caught.value)


def test_somebody_is_known_in_any_case(gallery: SqliteGallery) -> None:
    gallery.enrol("Änne Groß", [walk(1)], consent="yes")
    for name in ("änne groß", "A\u0308NNE GROSS", " Änne  Groß "):
        assert gallery.enrol(name, [walk(2)], consent="yes").name == "Änne Groß"
    assert [person.walks for person in gallery.people()] == [4]
    gallery.enrol("Ben", [walk(3)], consent="yes")
    with pytest.raises(GalleryError, match="'Änne Groß' already"):
        gallery.rename("ben", "ÄNNE GROSS")
    records = [one._replace(person=replace(one.person, name=one.person.name.upper())) for one in gallery.records()]
    for record in records:
        with pytest.raises(GalleryError, match=r"'(Ben|Änne Groß)' already"):
            gallery.restore([record])
    assert gallery.restore(records, merge=True) == (0, 0)
    gallery.rename("Ben", "BEN")
    assert gallery.person("ben").name == "BEN"
    gallery.merge("ben", "änne groß")
    assert [person.name for person in gallery.people()] == ["Änne Groß"]


def test_two_of_an_older_file_who_differ_in_case_are_told_apart(gallery: SqliteGallery, path: Path) -> None:
    gallery.enrol("anna", [walk(1)], consent="yes")
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("INSERT INTO person (name, consent, enrolled) SELECT 'Anna', consent, enrolled FROM person")
    assert [gallery.person(name).name for name in ("anna", "Anna", "ANNA")] == ["anna", "Anna", "anna"]


@pytest.mark.parametrize("name", ["unknown", " Unknown ", "UNKNOWN", "stranger-0042", "Stranger-7"])
def test_nobody_is_called_what_strangers_are_called(gallery: SqliteGallery, name: str) -> None:
    gallery.enrol("Anna", [walk(1)], consent="yes")
    (record,) = gallery.records()
    with pytest.raises(GalleryError, match="Nobody can be called"):
        gallery.enrol(name, [walk(1)], consent="yes")
    with pytest.raises(GalleryError, match="Nobody can be called"):
        gallery.rename("Anna", name)
    with pytest.raises(GalleryError, match="Nobody can be called"):
        gallery.restore([record._replace(person=replace(record.person, name=name))])


@pytest.mark.parametrize("address", ["mysql://host/people", "Postgresql://host/people", "https://host/people.db"])
def test_an_address_of_another_kind_is_no_folder(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for open_it in (open_store, open_strangers, exists):
        with pytest.raises(GalleryError, match=r"kept at \w+://. Give a file, or postgresql://"):
            open_it(address)
    assert not list(tmp_path.iterdir())


def test_a_gallery_that_is_not_there(path: Path) -> None:
    with pytest.raises(GalleryError, match=r"no gallery at .*enrol"):
        SqliteGallery(path, create=False)
    assert not path.exists()
    SqliteGallery(path.parent / "new" / "folder" / "g.db").close()
    path.write_text("")
    with pytest.raises(OutputError):
        SqliteGallery(path / "below a file" / "g.db")


def test_nothing_is_written_where_nobodys_time_is_over(path: Path) -> None:
    with SqliteGallery(path, patience=0.1) as gallery:
        gallery.enrol("Anna", [walk(1)], consent="yes", retain_days=1)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        assert gallery.expire() == []
        other.close()
        assert gallery.expire(datetime.now(timezone.utc) + timedelta(days=1)) == ["Anna"]


def test_an_interrupted_search_loads_the_walks_anew(gallery: SqliteGallery, monkeypatch: pytest.MonkeyPatch) -> None:
    gallery.enrol("Anna", [walk(number) for number in range(20)], consent="yes")
    with monkeypatch.context() as patch:
        patch.setattr("app.gallery.candidates.ROWS", 8)
        calls = []

        def vector(content: bytes, shape: tuple[int, int]) -> np.ndarray:
            calls.append(1)
            if len(calls) == 12:
                raise KeyboardInterrupt
            return np.frombuffer(content, "<f4").reshape(shape)

        patch.setattr("app.gallery.tables._vector", vector)
        with pytest.raises(KeyboardInterrupt):
            gallery.search([walk(3).embedding], 99)
    found = gallery.search([walk(3).embedding], 99)[0]
    assert sorted(one.walk_id for one in found) == [one.walk_id for one in gallery.walks()]


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of a process")
@pytest.mark.parametrize("size", [0, 512, 4096, 8192, 16_384, 24_000, 33_000, 60_000])
@pytest.mark.parametrize("exists", [False, True])
def test_a_full_disk_is_called_so(tmp_path: Path, size: int, exists: bool) -> None:
    """Whichever of a gallery's three files does not fit any more, SQLite has another word for it."""
    path = tmp_path / "g.db"
    if exists:
        with SqliteGallery(path) as gallery:
            gallery.enrol("Anna", [walk()], consent="yes")
    full = pytest.raises((GalleryError, OutputError), match=r"(?i)no space is left")
    with full, largest_file(size), SqliteGallery(path) as gallery:
        for number in range(400):
            gallery.enrol(f"Ben {number}", [walk(number)], consent="yes")
    with SqliteGallery(path) as gallery:
        assert exists == ("Anna" in {person.name for person in gallery.people()})
    need_whole(path)


def test_other_troubles_of_a_disk_are_not_called_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    with SqliteGallery(tmp_path / "g.db") as gallery:
        monkeypatch.setattr(SqliteGallery, "_person", fail)
        with pytest.raises(GalleryError, match=r"SQLite refuses \(disk I/O error\)"):
            gallery.person("Anna")


def test_a_disk_that_is_full_for_the_traces_does_not_hide_that_somebody_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SqliteGallery(tmp_path / "gallery.db") as gallery:
        gallery.enrol("Ann", [walk()], consent="yes")

        def full(self: object) -> bool:
            raise GalleryError("The gallery gallery.db cannot be used: no space is left. Free some space.")

        with monkeypatch.context() as patch:
            patch.setattr("app.gallery.sqlite.SqliteDatabase._purged", full)
            with pytest.raises(
                GalleryError, match=r"It is removed from .*traces are left in the file.*no space is left"
            ):
                gallery.forget("Ann")
        assert gallery.people() == []
