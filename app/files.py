"""Files and folders that are written whole or not at all."""

from __future__ import annotations

import errno
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from app.errors import OutputError


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a hidden temporary path beside `path`; rename it to `path` on success, remove it on any exception.

    The block may make a file or a folder. A folder replaces an earlier one of the same name. Parents are made where
    they are missing, and removed again on an exception unless something else lies in them.

    Raises:
        OutputError: no permission, no space left, or `path` lies where no folder can be made.
    """
    # The suffix stays last, because encoders choose the format by it; the name must not outgrow a file system's 255
    # bytes, of which a character may take four.
    temporary = path.with_name(f".{path.stem[:40]}.{uuid.uuid4().hex[:8]}.partial{path.suffix}")
    made = [parent for parent in path.parents if not parent.exists()]
    try:
        with explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            if path.is_dir() and temporary.is_dir():
                shutil.rmtree(path)
            temporary.replace(path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            with suppress(OSError):  # the parent may be a file
                temporary.unlink(missing_ok=True)
        if not path.exists():
            with suppress(OSError):  # not empty
                for parent in made:
                    parent.rmdir()


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn an `OSError` about writing `path` into an `OutputError` that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise OutputError(f"No space is left to write {path}. Free some, or give another folder.") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise OutputError(
                f"No permission to write {path}. Give another folder, or change its permissions."
            ) from error
        if error.errno in (errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG):
            raise OutputError(f"{path} cannot be made: {error.strerror}. Give another folder.") from error
        raise
