"""A gallery in one SQLite file, safe for several threads and processes.

The file has a write-ahead log and ``synchronous=FULL``: what a transaction has confirmed survives a crash of the
program or the machine. ``secure_delete`` overwrites what is removed, and `SqliteDatabase.purge` leaves none of it in
the files. What a file system or an SSD keeps of overwritten blocks is beyond a program's reach.

A file that this program may not change, or in whose folder it may not write, is read as it is (`_ReadDatabase`).
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NoReturn

from app.errors import GalleryError
from app.files import explained, is_full, may_write
from app.gallery import tables
from app.gallery.database import MalformedError
from app.gallery.schema import APPLICATION_ID, MIGRATIONS, need_known
from app.gallery.sql import GalleryStore

PATIENCE = 30.0
"""How long to wait for another program that uses the file, in s."""
SETTINGS = ("synchronous = FULL", "foreign_keys = ON", "secure_delete = ON")
"""SQLite's own settings for each connection."""

_FULL = "no space is left. Free some space"
_DAMAGED = (
    "it is damaged. Move it away and import your last export into a new one. Without an export, the program sqlite3 "
    "may save a part of it with .recover"
)
_EPOCH = 1 << 32  # more removals than a gallery sees between two moments at which somebody's time is over
_logger = logging.getLogger(__name__)
_named: set[tuple[str, int]] = set()
"""The galleries and their people of whom this process has said that they are left out."""


def _prepare(path: Path, create: bool) -> None:
    """Make an empty file, which its owner alone can read, where there is none yet."""
    with explained(path):
        if path.exists():
            return
        if not create:
            raise GalleryError(
                f"There is no gallery at {path}. `python -m app enrol` makes one; --gallery-db names another."
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)  # how people walk is nobody else's business


class SqliteGallery(GalleryStore):
    """A `GalleryStore` in a file, or in memory for a gallery that lives for one run."""

    def __init__(self, path: Path | None, *, create: bool = True, patience: float = PATIENCE) -> None:
        """Open the gallery at `path`, or make one, with its folder, where there is none and `create` is set.

        None is a new gallery in memory, which is gone when it is closed. Another program that writes is waited for
        `patience` s. A file that may not be written is opened to be read: then whatever changes it is a `GalleryError`.

        Raises:
            GalleryError: the file does not exist and `create` is false, it is not a gallery, it is damaged, or a newer
                program made it.
            OutputError: no permission to make it, or no space.
        """
        if path is not None:
            _prepare(path, create)
        is_read = path is not None and not _may_change(path)
        super().__init__(_ReadDatabase(path, patience) if path and is_read else SqliteDatabase(path, patience))


def _may_change(path: Path) -> bool:
    """Whether the file may be written, and files beside it made, as SQLite's log is; a link is followed."""
    real = Path(os.path.realpath(path))
    return may_write(real) and may_write(real.parent)


class _Connection(sqlite3.Connection):
    """For a file that may not be changed: `state` is how the file was, `alone` whether no lock keeps others from
    changing it, and `over` who is left out because their time is over."""

    state: tuple[int, ...] = ()
    alone = False
    over: tuple[int, ...] = ()

    def insert(self, table: str, **values: Any) -> int:
        columns, places = ", ".join(values), ", ".join("?" * len(values))
        cursor = self.execute(f"INSERT INTO {table} ({columns}) VALUES ({places})", tuple(values.values()))
        assert cursor.lastrowid is not None
        return cursor.lastrowid


class SqliteDatabase:
    """The file at `path`, which may be empty, or a database in memory where `path` is None."""

    read_only = False

    def __init__(self, path: Path | None, patience: float) -> None:
        self.path = path
        self.name = str(path) if path is not None else "in memory"
        self.lasting = path is not None
        self._patience = patience
        self._lock = threading.RLock()
        with self._translated():
            self._connection = self._connect()
        try:
            self._begin()
        except BaseException:
            self._connection.close()
            raise

    def _begin(self) -> None:
        self._migrate()
        with self.reading() as db:
            due = db.execute("SELECT 1 FROM purge").fetchone()
        if due:
            self._purged()

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    @contextmanager
    def reading(self) -> Iterator[_Connection]:
        with self._transaction("BEGIN") as db:
            yield db

    @contextmanager
    def writing(self) -> Iterator[_Connection]:
        with self._transaction("BEGIN IMMEDIATE") as db:
            yield db

    @contextmanager
    def snapshot(self) -> Iterator[_Connection]:
        with self._translated(), closing(self._connect()) as db:
            if self.path is None:  # each connection has a memory of its own, so the content is copied into it
                with self._lock:
                    self._connection.backup(db)
            db.execute("BEGIN")
            yield db

    def purge(self) -> None:
        try:
            done = self._purged()
        except GalleryError as error:
            raise GalleryError(
                f"It is removed from {self.name}, but traces are left in the file. {error} Then run any "
                "`python -m app gallery` command: it overwrites the traces."
            ) from error
        if not done:
            raise GalleryError(
                f"It is removed from {self.name}, but traces are left in the file because another program uses the "
                "gallery. End that program, then run any `python -m app gallery` command: it overwrites the traces."
            )

    def size(self) -> int:
        if self.path is None:
            with self.reading() as db:
                count, size = (int(db.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("page_count", "page_size"))
            return count * size
        files = [self.path, *(self.path.with_name(self.path.name + end) for end in ("-wal", "-shm"))]
        return sum(file.stat().st_size for file in files if file.exists())

    def _purged(self) -> bool:
        with self._lock, self._translated():
            db = self._connection
            try:
                # First removed content is overwritten in place, then the file shrinks, then its log does.
                for step in ("PRAGMA wal_checkpoint(TRUNCATE)", "VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"):
                    answer = db.execute(step).fetchone()
                    if answer and answer[0]:  # busy
                        return False
                db.execute("DELETE FROM purge")
            except sqlite3.OperationalError as error:
                if "locked" in str(error):
                    return False
                raise
            return True

    def _connect(self) -> _Connection:
        # A relative path such as ":memory:" would mean something else to SQLite than to the file system.
        db = self._opened(self.path.absolute() if self.path is not None else ":memory:")
        try:
            db.execute("BEGIN")
            version, application = (
                db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("user_version", "application_id")
            )
            tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            db.execute("COMMIT")
            if tables and application != APPLICATION_ID:
                raise GalleryError(f"{self.name} is a database of another program, not a gallery. Give another file.")
            need_known(version, self.name)
            self._set_up(db, version)
        except BaseException:
            db.close()
            raise
        return db

    def _opened(self, place: Path | str, *, uri: bool = False) -> _Connection:
        # Threads share the connection and take turns by the lock; transactions are begun explicitly.
        return sqlite3.connect(
            place,
            timeout=self._patience,
            isolation_level=None,
            check_same_thread=False,
            factory=_Connection,
            uri=uri,
        )

    def _set_up(self, db: _Connection, version: int) -> None:
        """Prepare a connection to a file whose format is `version`."""
        self._log_ahead(db)
        for setting in SETTINGS:
            db.execute(f"PRAGMA {setting}").fetchall()

    def _log_ahead(self, db: sqlite3.Connection) -> None:
        end = time.monotonic() + self._patience
        while True:
            try:
                db.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > end:
                    raise
            # SQLite ignores its timeout here: it refuses at once while another program does the same.
            time.sleep(0.02)

    def _migrate(self) -> None:
        if self._version(self._connection) == len(MIGRATIONS):
            return
        for version, statements in enumerate(MIGRATIONS, 1):
            with self.writing() as db:
                if self._version(db) >= version:
                    continue
                for statement in statements:
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {version}")

    def _version(self, db: sqlite3.Connection) -> int:
        with self._translated():
            return int(db.execute("PRAGMA user_version").fetchone()[0])

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[_Connection]:
        with self._lock, self._translated():
            db = self._connection
            try:
                db.execute(begin)
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Explain what an error of SQLite means."""
        try:
            yield
        except MalformedError as error:
            raise GalleryError(f"The gallery {self.name} cannot be used: {_DAMAGED} ({error}).") from error
        except sqlite3.ProgrammingError as error:
            if "closed" in str(error):
                raise GalleryError(f"The gallery {self.name} was closed. Open it again.") from error
            raise  # a fault of this program
        except sqlite3.DatabaseError as error:
            reason = str(error)
            known = (
                ("locked", "another program is writing to it. Try again, or end that program"),
                ("full", _FULL),
                ("readonly", "it may not be written. Change its permissions, or give another file"),
                ("unable to open", "it cannot be opened. Check that it is a file, and its permissions"),
                ("not a database", "it is not a gallery. Give another file"),
                ("malformed", _DAMAGED),
                ("decode", _DAMAGED),
                ("constraint failed", _DAMAGED),  # the program itself breaks none
            )
            advice = next((advice for word, advice in known if word in reason), "SQLite refuses")
            if "I/O" in reason and self.path is not None and is_full(self.path.parent):
                advice = _FULL  # SQLite has no other word where its file of shared memory does not fit
            raise GalleryError(f"The gallery {self.name} cannot be used: {advice} ({reason}).") from error


class _ReadDatabase(SqliteDatabase):
    """A file that this program may not change: it is on a read-only disk, or belongs to somebody else.

    Others may change it meanwhile; what they have written is read. Nobody can be forgotten here, so whoever's time is
    over is left out of all that is read.
    """

    read_only = True

    def __init__(self, path: Path, patience: float) -> None:
        self._file = Path(os.path.realpath(path))  # beside which SQLite keeps its log
        self._epoch, self._closed = 0, False
        super().__init__(path, patience)

    def _begin(self) -> None:
        """Leave the file as it is."""

    def close(self) -> None:
        self._closed = True
        super().close()

    @contextmanager
    def reading(self) -> Iterator[_Connection]:
        with self._lock:
            self._follow()
            with super().reading() as db, self._whole(db):
                yield db

    def writing(self) -> NoReturn:
        place = self._file.parent if may_write(self._file) else self._file
        raise GalleryError(
            f"The gallery {self.name} may only be read: there is no permission to write {place}. Change the "
            "permissions, or copy the file into a folder of your own and give that with --gallery-db."
        )

    @contextmanager
    def snapshot(self) -> Iterator[_Connection]:
        with super().snapshot() as db, self._whole(db):
            yield db

    @contextmanager
    def _whole(self, db: _Connection) -> Iterator[None]:
        """Refuse what was read while another program changed the file, where no lock keeps the two apart."""
        said = f"Another program has changed the gallery {self.name} while it was read. Try again."
        try:
            yield
        except (sqlite3.DatabaseError, MalformedError) as error:
            if self._changed(db):
                raise GalleryError(said) from error
            raise
        if self._changed(db):
            raise GalleryError(said)

    def _changed(self, db: _Connection) -> bool:
        """Whether the file is another than the connection has read. One that was replaced goes on being read, as a
        file that may be written does.
        """
        return db.alone and (now := self._present()) != db.state and now[:1] == db.state[:1]

    def _present(self) -> tuple[int, ...]:
        """Return what changes when the file does: which it is, its time, its size, and whether its log holds more."""
        try:
            found = self._file.stat()
        except OSError:  # it was removed, or its disk is not connected now
            return ()
        return found.st_ino, found.st_mtime_ns, found.st_size, self._logged()

    def _logged(self) -> int:
        """Return 1 where changes are in the log beside the file, else 0."""
        log = self._beside("-wal")
        return int(log.exists() and log.stat().st_size > 0)

    def _beside(self, end: str) -> Path:
        return self._file.with_name(self._file.name + end)

    def _follow(self) -> None:
        """Connect anew where the file has changed, or the time of more people is over."""
        if self._closed:
            return
        if self._changed(self._connection) or self._over(self._connection) != self._connection.over:
            with self._translated():
                new = self._connect()
            self._connection.close()
            self._connection = new

    def _opened(self, place: Path | str, *, uri: bool = False) -> _Connection:
        state, alone = self._present(), not self._logged()
        if not alone and not self._beside("-shm").exists():
            raise GalleryError(
                f"The gallery {self.name} was not closed in good order: what was written last is only in "
                f"{self._beside('-wal')}. Whoever may write in that folder must open it once, e.g. with "
                "`python -m app gallery list`. Or copy both files into a folder of your own and give that copy."
            )
        # Where nothing is in a log, the file has everything, and SQLite need not make a log to take a lock in.
        db = super()._opened(f"{self._file.as_uri()}?mode=ro{'&immutable=1' * alone}", uri=True)
        db.state, db.alone = state, alone
        return db

    def _set_up(self, db: _Connection, version: int) -> None:
        if version < len(MIGRATIONS):
            what = f"was made by an older Gaitprint (format {version} of {len(MIGRATIONS)})" if version else "is empty"
            raise GalleryError(
                f"The gallery {self.name} {what}, and there is no permission to write it and bring it up to date. "
                "Change the permissions, or copy it into a folder of your own and give that with --gallery-db."
            )
        db.execute("PRAGMA temp_store = MEMORY")
        db.over = self._over(db)
        if db.over:
            self._leave_out(db)

    def _over(self, db: _Connection) -> tuple[int, ...]:
        """Return the people whose time is over."""
        query = "SELECT person_id FROM main.person WHERE expires <= ? ORDER BY person_id"
        with self._translated():
            return tuple(row[0] for row in db.execute(query, (tables.time_text(tables.now()),)))

    def _leave_out(self, db: _Connection) -> None:
        """Put views in front of the tables that lack the people whose time is over, and say who they are.

        For those who keep walks in memory, theirs count as removed: after whatever was removed before.
        """
        self._epoch += _EPOCH
        db.execute("CREATE TEMP TABLE over (person_id INTEGER PRIMARY KEY)")
        db.executemany("INSERT INTO temp.over VALUES (?)", [(person_id,) for person_id in db.over])
        walks = "SELECT walk_id FROM main.walk WHERE person_id IN temp.over"
        embeddings = f"SELECT embedding_id FROM main.embedding WHERE walk_id IN ({walks})"
        for column, these, tables_of in (
            ("person_id", "temp.over", ["person", "former_name", "walk", "denial"]),
            ("walk_id", f"({walks})", ["embedding", "silhouettes", "thumbnail"]),
            ("embedding_id", f"({embeddings})", ["code"]),
        ):
            for name in tables_of:
                db.execute(f"CREATE TEMP VIEW {name} AS SELECT * FROM main.{name} WHERE {column} NOT IN {these}")
        db.execute(
            f"CREATE TEMP VIEW removed_embedding AS SELECT removal_id + {self._epoch} AS removal_id, embedding_id "
            f"FROM main.removed_embedding UNION ALL SELECT {self._epoch}, embedding_id FROM ({embeddings})"
        )
        if new := {person_id for person_id in db.over if (self.name, person_id) not in _named}:
            _named.update((self.name, person_id) for person_id in new)
            names = ", ".join(
                str(row[1])
                for row in db.execute("SELECT person_id, name FROM main.person ORDER BY name")
                if row[0] in new
            )
            _logger.warning(
                "The time of %s is over. They are left out, but are still stored: %s may only be read, so nobody can "
                "be forgotten here. Whoever may write it forgets them with any `python -m app gallery` command.",
                names, self.name,
            )  # fmt: skip
