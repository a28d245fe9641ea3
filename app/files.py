"""Files and folders that are written whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import re
import shutil
import stat
import tempfile
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from app.errors import GaitprintError, OutputError

_NO_SUCH_PLACE = (
    errno.ENOTDIR,
    errno.EEXIST,
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.EISDIR,
    errno.ENODEV,
    errno.ENXIO,
    errno.EIO,
    errno.EINVAL,
)

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Numbers of errors that say that a disk, or what somebody may use of it, is full."""
READING_ARRAYS = threading.Lock()
"""Held while NumPy reads arrays from files where several threads may do so. NumPy parses their heads as Python, which
fails now and then in two threads at once on Python 3.11 before 3.11.8 (issue 106905 of CPython)."""

_LEFT_BY_SYSTEMS = {".DS_Store", "Thumbs.db", "desktop.ini"}  # file managers put these into any folder
_SPECIAL = {
    stat.S_ISBLK: "a device",
    stat.S_ISCHR: "a device",
    stat.S_ISFIFO: "a named pipe",
    stat.S_ISSOCK: "a socket",
}

_HOST = hashlib.sha256(platform.node().encode()).hexdigest()[:8]
_HALF = re.compile(r"\..*\.(?P<host>[0-9a-f]{8})-(?P<process>\d+)-[0-9a-f]{8}\.partial(\..*)?")
"""The names of half-written files and folders say which process of which machine writes them."""

_unfinished: set[Path] = set()
_cleared: set[Path] = set()
"""Folders from which this process has removed what killed ones had left."""


@contextmanager
def written_whole(path: Path, replaces: str | None = None) -> Iterator[Path]:
    """Yield a hidden temporary path beside `path`. On success it is renamed to `path`, on an exception it is removed.

    The block may make a file or a folder. A regular file of that name is replaced; `replaces` says which folder is, see
    `need_replaceable`. Missing parent folders are made; on an exception they are removed again, unless something else
    lies in them. What a killed process of this machine left half-written in the folder of `path` is removed.

    Raises:
        OutputError: there is no permission or no space, `path` lies where no folder can be made, or something lies
            there that must not be replaced.
    """
    need_replaceable(path, replaces)
    # The suffix stays last, because encoders choose the format by it. The stem is cut, because file systems allow names
    # of at most 255 bytes, and a character may take four.
    token = f"{_HOST}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    temporary = path.with_name(f".{path.stem[:40]}.{token}.partial{path.suffix}")
    _clear(path.parent)
    made = [parent for parent in path.parents if not parent.exists()]
    _unfinished.add(temporary)
    try:
        with explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            need_replaceable(path, replaces)  # again, because something may have been put there meanwhile
            if path.is_dir():
                if not temporary.is_dir():
                    raise _is_folder(path)
                _replace_folder(path, temporary)
            else:
                temporary.replace(path)
    finally:
        _remove(temporary)
        _unfinished.discard(temporary)
        if not path.exists():
            with suppress(OSError):  # not empty
                for parent in made:
                    parent.rmdir()


def write_text(path: Path, text: str, *, private: bool = False) -> None:
    """Write a text file in UTF-8 as `written_whole` does; a `private` one may only be read by its owner."""
    with written_whole(path) as temporary:
        if private:
            temporary.touch(mode=0o600)
        temporary.write_text(text, encoding="utf-8")


def _replace_folder(path: Path, new: Path) -> None:
    """Put a folder in the place of another one, so that one of them is there whole whatever happens."""
    former = new.with_name(new.name.replace(".partial", ".former"))
    path.rename(former)
    try:
        new.rename(path)
    except BaseException:
        former.rename(path)
        raise
    former.rename(new)  # under this name it is removed later if this process is killed now
    shutil.rmtree(new)


def need_replaceable(path: Path, replaces: str | None = None) -> None:
    """Make sure that writing to `path` destroys nothing that Gaitprint did not make.

    Nothing at all may lie there, or a regular file, or a folder in which everything looks as if Gaitprint had made it:
    `replaces` is a regular expression for the relative path, with ``/``, of whatever it holds, and None stands for no
    folder that holds anything. A folder is judged by its content and needs no marker, so folders of earlier versions
    can be replaced too.

    Raises:
        OutputError: something else lies there.
    """
    with explained(path):
        try:
            kind = path.stat().st_mode
        except FileNotFoundError:
            return
        special = next((name for is_kind, name in _SPECIAL.items() if is_kind(kind)), None)
        if special is not None:
            raise OutputError(f"{path} is {special}, which Gaitprint does not replace. Give the name of a file.")
        if not stat.S_ISDIR(kind):
            return
        foreign = path if path.is_symlink() else _foreign(path, replaces)
    if foreign is not None:
        what = f"holds {foreign.relative_to(path)}" if foreign != path else "is a link to another folder"
        raise OutputError(
            f"{path} {what}, which Gaitprint did not make, so the folder is not replaced. Move it elsewhere or rename "
            "it, or give another name or folder for the output."
        )


def _foreign(folder: Path, replaces: str | None) -> Path | None:
    """Return something in `folder` that does not match `replaces`; None where there is no such thing."""
    pattern = re.compile(replaces) if replaces is not None else None
    for place, folders, files in os.walk(folder, onerror=_raise):
        for name in (*folders, *files):
            path = Path(place, name)
            if name in _LEFT_BY_SYSTEMS and name in files:
                continue
            if pattern is None or not pattern.fullmatch(path.relative_to(folder).as_posix()):
                return path
    return None


def _raise(error: OSError) -> None:
    raise error


def remove_unfinished() -> None:
    """Remove everything that `written_whole` is writing at the moment, before a process ends without unwinding."""
    for temporary in list(_unfinished):
        _remove(temporary)


def _clear(folder: Path) -> None:
    """Remove what killed processes of this machine were writing into a folder; this is done once by each process."""
    if folder in _cleared:
        return
    _cleared.add(folder)
    with suppress(OSError):  # the folder is not there yet, or cannot be listed
        for path in folder.iterdir():
            named = _HALF.fullmatch(path.name)
            if named and named["host"] == _HOST and path not in _unfinished and not _works(int(named["process"])):
                _remove(path)


def _works(process: int) -> bool:
    """Whether another process goes on; on Windows, where asking could end it, it may."""
    if process == os.getpid():
        return False
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _remove(temporary: Path) -> None:
    if temporary.is_dir():
        shutil.rmtree(temporary, ignore_errors=True)
    else:
        with suppress(OSError):  # the parent may be a file instead of a folder
            temporary.unlink(missing_ok=True)


def as_text(name: object) -> str:
    """Return a path, or a text with paths in it, as text that any file can hold.

    Names of files may have bytes that are no text. They become escapes such as ``\\udcff``.
    """
    return str(name).encode("utf-8", "backslashreplace").decode()


def expanded(path: str | Path, error: type[GaitprintError]) -> Path:
    """Return a path with the user's own folder in place of ``~``, or another user's in place of ``~name``.

    Raises:
        error: there is no such user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise error(
            f"{as_text(path)} begins with '~' and a name, but no user of this machine has that name or a home. Write "
            f"'./{as_text(path)}' for a file that is called so."
        ) from None


def need_file(path: Path, error: type[GaitprintError]) -> None:
    """Make sure that what lies at a path is a file: from a pipe or a device one would read for ever.

    Raises:
        error: it is something else. A path with nothing there passes, so that the reader says so.
    """
    if path.exists() and not path.is_file():
        raise error(f"{path} is not a file.")


def need_new(path: Path, *, overwrite: bool, option: str = "--overwrite") -> None:
    """Make sure that a file can be written to `path`, where no file lies yet unless `overwrite` is set (by `option` of
    the command line).

    Raises:
        OutputError: see `need_writable`, or there is a file.
    """
    if path.is_file() and not overwrite:
        raise OutputError(f"{path} exists already. Give another name, or {option} to replace it.")
    need_writable(path)


def may_write(path: Path) -> bool:
    """Whether the system lets this process write a file, or make files in a folder, that is there."""
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def need_writable(path: Path) -> None:
    """Make sure that a file can be written to `path` before the work for it begins. The attempt leaves nothing behind.

    Raises:
        OutputError: see `written_whole`, or `path` is a folder.
    """
    if path.is_dir():
        raise _is_folder(path)
    with suppress(_TriedError), written_whole(path) as temporary:
        temporary.touch()
        raise _TriedError


def _is_folder(path: Path) -> OutputError:
    return OutputError(f"{path} is a folder. Give the name of a file.")


class _TriedError(Exception):
    """Ends the attempt of `need_writable`, so that nothing of it stays."""


def need_space(folder: Path, size: int) -> None:
    """Make sure that `size` bytes fit on the disk of `folder`; `OutputError` where they do not."""
    if size > shutil.disk_usage(folder).free:
        raise OutputError(f"{folder} lacks the space for {size / 1e6:.0f} MB. Make room there.")


def is_full(folder: Path) -> bool:
    """Return whether not even 64 kB can be written into a folder: no space, or no quota, is left. Nothing stays."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(1 << 16))
    except OSError as error:
        return error.errno in NO_SPACE
    return False


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn an `OSError` about writing `path` into an `OutputError` that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_SPACE:
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
