"""What a gallery needs of an SQL database: `app.gallery.sqlite` and `app.gallery.postgres` have it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol


class MalformedError(Exception):
    """A row of the database holds what no gallery writes."""


class Cursor(Protocol):
    """What a statement answers, as DB-API 2.0 (PEP 249) defines it."""

    @property
    def rowcount(self) -> int: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...
    def __iter__(self) -> Iterator[Any]: ...


class Connection(Protocol):
    """A connection inside a transaction. Values take the places of question marks."""

    def execute(self, statement: str, values: Sequence[Any] = (), /) -> Cursor: ...

    def executemany(self, statement: str, rows: Iterable[Sequence[Any]], /) -> object: ...

    def insert(self, table: str, **values: Any) -> int:
        """Add a row to a table whose first column numbers its rows, and return the number."""


class Database(Protocol):
    """A database with the tables of `app.gallery.schema`, which several threads and programs may use.

    `path` is its file, None where it has none. `name` is what messages call it. `lasting` is whether it is still there
    when it was closed. `read_only` is whether it is known from the start that `writing` is refused. Every method raises
    `GalleryError` where the database cannot be used, also for a `MalformedError` in a transaction.
    """

    path: Path | None
    name: str
    lasting: bool
    read_only: bool

    def close(self) -> None: ...

    def reading(self) -> AbstractContextManager[Connection]:
        """Read the database as it is at one moment."""

    def writing(self) -> AbstractContextManager[Connection]:
        """Change the database: all of the block is kept when it ends, and nothing of it if it raises.

        Only one program writes at a time. So numbers of rows rise in the order in which others see the rows.
        """

    def snapshot(self) -> AbstractContextManager[Connection]:
        """Read the database as it is at one moment, for longer: others may write meanwhile."""

    def purge(self) -> None:
        """Leave nothing of what was removed, after a transaction that put a row into the table ``purge``.

        Raises:
            GalleryError: another program uses the database; it is done when the gallery is next opened.
        """

    def size(self) -> int:
        """Return how much the database takes on the disk, in bytes."""
