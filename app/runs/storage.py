"""Small files in a folder of this machine, or in a shared storage such as S3."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from app.errors import GaitprintError, MissingExtraError, OutputError, reason_of
from app.files import explained, write_text

_WITHOUT_FOLDERS = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oss")
"""Object stores."""


class Storage(Protocol):
    """A folder of text files. Every method raises `OutputError` where the storage cannot be used."""

    def read(self, name: str) -> str | None:
        """Return what is in a file; None where there is none."""
        ...

    def write(self, name: str, text: str) -> None:
        """Write a file whole, in place of the one that there is; folders are made."""

    def remove(self, name: str) -> None:
        """Remove a file, if there is one."""


class _Folder:
    """Of this machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, name: str) -> str | None:
        file = self._folder / name
        with explained(file):
            return file.read_text(encoding="utf-8") if file.is_file() else None

    def write(self, name: str, text: str) -> None:
        with explained(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
        write_text(self._folder / name, text)

    def remove(self, name: str) -> None:
        with explained(self._folder):
            (self._folder / name).unlink(missing_ok=True)


class _Remote:
    """At an address that fsspec knows. In an object store a file is there when all of it is."""

    def __init__(self, address: str) -> None:
        self._address = address

    def read(self, name: str) -> str | None:
        with self._reached() as (files, folder):
            try:
                return bytes(files.cat_file(f"{folder}/{name}")).decode()
            except FileNotFoundError:
                return None

    def write(self, name: str, text: str) -> None:
        with self._reached() as (files, folder):
            if self._address.partition("://")[0] not in _WITHOUT_FOLDERS:  # a bucket would be made there
                files.makedirs(folder, exist_ok=True)
            files.pipe_file(f"{folder}/{name}", text.encode())

    def remove(self, name: str) -> None:
        with self._reached() as (files, folder):
            try:
                files.rm_file(f"{folder}/{name}")
            except FileNotFoundError:
                return

    @contextmanager
    def _reached(self) -> Iterator[tuple[Any, str]]:
        try:
            fsspec: Any = import_module("fsspec")
            files, folder = fsspec.core.url_to_fs(self._address, skip_instance_cache=True, use_listings_cache=False)
            yield files, folder
        except ImportError as error:
            raise MissingExtraError(
                f'Results at {self._address} need a package ({error}). For S3: pip install -e ".[s3]"'
            ) from error
        except GaitprintError:
            raise
        except Exception as error:  # each storage has errors of its own
            raise OutputError(
                f"{self._address} cannot be used ({reason_of(error)}). Check the address, and the variables or files "
                "in which its package looks for keys."
            ) from error


def need_storage(address: str) -> None:
    """Make sure that files can be written and removed at an address before the work for them begins.

    Raises:
        OutputError: there is no such storage, or no permission, or it cannot be reached.
        MissingExtraError: its package is not installed.
    """
    storage, name = _Remote(address), f".tried-{uuid4().hex}"
    storage.write(name, "This file may be removed.")
    storage.remove(name)


def storage_at(place: Path | str) -> Storage:
    """Return the storage at `place`, a folder or an address such as ``s3://bucket/folder``."""
    return _Remote(place) if isinstance(place, str) else _Folder(place)
