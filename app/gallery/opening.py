"""Opens a gallery wherever it is kept."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TypeAlias

from app.errors import GalleryError
from app.files import expanded
from app.gallery.sql import GalleryStore
from app.gallery.sqlite import SqliteGallery

Place: TypeAlias = "str | Path"
"""Where a gallery is kept: the path of its file, or an address such as ``postgresql://user@host/database``."""


def is_address(place: Place) -> bool:
    """Whether this is the address of a database server, not the path of a file.

    Raises:
        GalleryError: it is an address, but none of PostgreSQL; as a path it would make folders of its parts.
    """
    if re.match(r"postgres(ql)?://", str(place)):
        return True
    if isinstance(place, str) and "://" in place:
        raise GalleryError(
            f"A gallery cannot be kept at {place.partition(':')[0]}://. Give a file, or postgresql://USER@HOST/DATABASE."
        )
    return False


def shown(place: Place) -> str:
    """Return the place for people to read, without user, password and options."""
    if not is_address(place):
        return str(place)
    return re.sub(r"//[^/]*@", "//", str(place).partition("?")[0])


def exists(place: Place) -> bool:
    """Whether there is a gallery at `place`; `GalleryError` where its server cannot be reached."""
    if not is_address(place):
        return Path(place).exists()
    from app.gallery.postgres import PostgresDatabase

    return PostgresDatabase.exists(str(place))


def open_store(place: Place, *, create: bool = True) -> GalleryStore:
    """Open the gallery at `place`; with `create`, a new one is made where there is none.

    Raises:
        GalleryError: there is none and `create` is false, or it cannot be used.
        MissingExtraError: the database needs a package that is not installed.
    """
    if not is_address(place):
        return SqliteGallery(expanded(place, GalleryError), create=create)
    from app.gallery.postgres import PostgresGallery

    return PostgresGallery(str(place), create=create)


def open_strangers(place: Place, *, create: bool = False) -> GalleryStore | None:
    """Open the strangers that belong to the gallery at `place`: a file beside it, or a schema of the same database.

    Where there are none they are made with `create`, and otherwise None is returned.

    Raises:
        GalleryError: they cannot be used, or with `create`, may not be written.
        OutputError: there is no permission to make them.
    """
    if not is_address(place):
        file = expanded(place, GalleryError)
        beside = file.with_name(f"{file.stem}.strangers{file.suffix}")
        if not create and not beside.exists():
            return None
        strangers = SqliteGallery(beside)
        if create:
            strangers.need_writable()
        return strangers
    from app.gallery.postgres import PostgresDatabase, PostgresGallery

    schema = "gaitprint_strangers"
    if not create and not PostgresDatabase.exists(str(place), schema):
        return None
    return PostgresGallery(str(place), schema=schema)
