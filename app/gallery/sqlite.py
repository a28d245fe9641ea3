"""A gallery in one SQLite file, safe for several threads and processes.

The file has a write-ahead log and ``synchronous=FULL``: what a transaction has confirmed survives a crash of the
program or the machine. ``secure_delete`` overwrites what is removed, and `SqliteDatabase.purge` leaves none of it in
the files. What a file system or an SSD keeps of overwritten blocks is beyond a program's reach.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from app.errors import GalleryError
from app.files import explained, is_full
from app.gallery.database import MalformedError
from app.gallery.schema import APPLICATION_ID, MIGRATIONS
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
        `patience` s.

        Raises:
            GalleryError: the file does not exist and `create` is false, it is not a gallery, it is damaged, or a newer
                program made it.
            OutputError: no permission to make it, or no space.
        """
        super().__init__(SqliteDatabase(path, create=create, patience=patience))


class _Connection(sqlite3.Connection):
    def insert(self, table: str, **values: Any) -> int:
        columns, places = ", ".join(values), ", ".join("?" * len(values))
        cursor = self.execute(f"INSERT INTO {table} ({columns}) VALUES ({places})", tuple(values.values()))
        assert cursor.lastrowid is not None
        return cursor.lastrowid


class SqliteDatabase:
    """The file at `path`, or a database in memory where `path` is None."""

    def __init__(self, path: Path | None, *, create: bool = True, patience: float = PATIENCE) -> None:
        self.path = path
        self.name = str(path) if path is not None else "in memory"
        self.lasting = path is not None
        self._patience = patience
        self._lock = threading.RLock()
        if path is not None:
            _prepare(path, create)
        with self._translated():
            self._connection = self._connect()
        try:
            self._migrate()
            with self.reading() as db:
                due = db.execute("SELECT 1 FROM purge").fetchone()
            if due:
                self._purged()
        except BaseException:
            self._connection.close()
            raise

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
        # Threads share the connection and take turns by the lock; transactions are begun explicitly.
        db = sqlite3.connect(
            # A relative path such as ":memory:" would mean something else to SQLite than to the file system.
            self.path.absolute() if self.path is not None else ":memory:",
            timeout=self._patience,
            isolation_level=None,
            check_same_thread=False,
            factory=_Connection,
        )
        try:
            db.execute("BEGIN")
            version, application = (
                db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("user_version", "application_id")
            )
            tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            db.execute("COMMIT")
            if tables and application != APPLICATION_ID:
                raise GalleryError(f"{self.name} is a database of another program, not a gallery. Give another file.")
            if version > len(MIGRATIONS):
                raise GalleryError(
                    f"{self.name} was made by a newer Gaitprint: it has format {version}, and this program reads up to "
                    f"{len(MIGRATIONS)}. Update the program."
                )
            self._log_ahead(db)
            for setting in SETTINGS:
                db.execute(f"PRAGMA {setting}").fetchall()
        except BaseException:
            db.close()
            raise
        return db

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
