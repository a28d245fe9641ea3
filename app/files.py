"""Files and folders that are written whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from app.errors import OutputError

_NO_SUCH_PLACE = (
    errno.ENOTDIR,
    errno.EEXIST,
    errno.ENAMETOOLONG,
    errno.EISDIR,
    errno.ENODEV,
    errno.ENXIO,
    errno.EIO,
    errno.EINVAL,
)

_unfinished: set[Path] = set()


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a hidden temporary path beside `path`. On success it is renamed to `path`, on an exception it is removed.

    The block may make a file or a folder. A folder replaces an earlier one of the same name. Missing parent folders are
    made; on an exception they are removed again, unless something else lies in them.

    Raises:
        OutputError: there is no permission or no space, or `path` lies where no folder can be made.
    """
    # The suffix stays last, because encoders choose the format by it. The stem is cut, because file systems allow names
    # of at most 255 bytes, and a character may take four.
    temporary = path.with_name(f".{path.stem[:40]}.{uuid.uuid4().hex[:8]}.partial{path.suffix}")
    made = [parent for parent in path.parents if not parent.exists()]
    _unfinished.add(temporary)
    try:
        with explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            if path.is_dir() and temporary.is_dir():
                shutil.rmtree(path)
            temporary.replace(path)
    finally:
        _remove(temporary)
        _unfinished.discard(temporary)
        if not path.exists():
            with suppress(OSError):  # not empty
                for parent in made:
                    parent.rmdir()


def remove_unfinished() -> None:
    """Remove everything that `written_whole` is writing at the moment, before a process ends without unwinding."""
    for temporary in list(_unfinished):
        _remove(temporary)


def _remove(temporary: Path) -> None:
    if temporary.is_dir():
        shutil.rmtree(temporary, ignore_errors=True)
    else:
        with suppress(OSError):  # the parent may be a file instead of a folder
            temporary.unlink(missing_ok=True)


def need_writable(path: Path) -> None:
    """Make sure that a file can be written to `path` before the work for it begins. The attempt leaves nothing behind.

    Raises:
        OutputError: see `written_whole`, or `path` is a folder.
    """
    if path.is_dir():
        raise OutputError(f"{path} is a folder. Give the name of a file.")
    with suppress(_TriedError), written_whole(path) as temporary:
        temporary.touch()
        raise _TriedError


class _TriedError(Exception):
    """Ends the attempt of `need_writable`, so that nothing of it stays."""


def need_space(folder: Path, size: int) -> None:
    """Make sure that `size` bytes fit on the disk of `folder`.

    Raises:
        OutputError: they do not.
    """
    if size > shutil.disk_usage(folder).free:
        raise OutputError(f"{folder} lacks the space for {size / 1e6:.0f} MB. Make room there.")


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn an `OSError` about writing `path` into an `OutputError` that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise OutputError(f"No space is left to write {path}. Free some space, or give another folder.") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise OutputError(
                f"No permission to write {path}. Give another folder, or change its permissions."
            ) from error
        if error.errno in _NO_SUCH_PLACE or (error.errno == errno.ENOENT and _concerns(error, path)):
            raise OutputError(f"{path} cannot be made: {error.strerror}. Give another folder.") from error
        raise


def _concerns(error: OSError, path: Path) -> bool:
    """Whether the missing file is `path`, lies beside it or is a folder above it, and is not some input file."""
    if error.filename is None:
        return True
    missing = Path(os.fsdecode(error.filename))
    return missing in path.parents or path.parent in missing.parents
