"""Files and folders that are written whole or not at all."""

from __future__ import annotations

import errno
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.errors import OutputError


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a hidden temporary path beside `path`; rename it to `path` on success, remove it on any exception.

    The block may make a file or a folder. A folder replaces an earlier one of the same name.

    Raises:
        OutputError: no permission, no space left, or `path` lies where no folder can be made.
    """
    # The suffix stays last, because encoders choose the format by it.
    temporary = path.with_name(f".{path.stem[:80]}.{uuid.uuid4().hex[:8]}.partial{path.suffix}")
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with explained(path):
            yield temporary
            if path.is_dir() and temporary.is_dir():
                shutil.rmtree(path)
            temporary.replace(path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn an `OSError` about writing `path` into an `OutputError` that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise OutputError(
                f"No space is left to write {path}. Free some, or give another --output folder."
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise OutputError(
                f"No permission to write {path}. Give another folder with --output, or change its permissions."
            ) from error
        if error.errno in (errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG):
            raise OutputError(f"{path} cannot be made: {error.strerror}. Give another folder with --output.") from error
        raise
