"""The output folder as several programs share it: its lock, its cache, and half-written files of killed programs."""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from app.errors import OutputError
from app.files import explained

SHEET = "-walks.png"
"""The end of the names of files in the cache that show all walks of a video, to choose from."""

_PLACES = ("OutputVideos", "GaitSilhouette", "GaitFeatures", "cache")
_HALF = ".*.partial*"  # see `app.files.written_whole`
_CACHED = (f"{'?' * 32}.zip", f"{'?' * 32}.npz", f"*{SHEET}")  # everybody's silhouettes, bodies, and pictures
_DUE = ".clear"  # a file in the cache which says that it must be cleared as soon as nobody uses the folder
_PATIENCE = 30.0  # s that another program may take to clear the folder
_TRIES = 200
"""So often is a lock tried that other programs remove."""


@contextmanager
def in_use(output: Path) -> Iterator[None]:
    """Use an output folder. Half-written files in it are removed first, unless another program uses it too.

    Threads of one program use it as one: the first takes the lock, and the last gives it back.

    Raises:
        OutputError: the folder cannot be made or locked.
    """
    key = output.absolute()
    with _users_lock:
        user = _users.get(key)
        if user is None:
            user = _users[key] = _enter(output)
        user.count += 1
    try:
        yield
    finally:
        with _users_lock:
            user.count -= 1
            if not user.count:
                del _users[key]
                _leave(output, user)


@dataclass
class _User:
    """How many threads of this program use a folder, its lock, and the folders that were made for it."""

    lock: sqlite3.Connection
    made: list[Path]
    count: int = 0


_users: dict[Path, _User] = {}
_users_lock = threading.Lock()


def _enter(output: Path) -> _User:
    file = output / "cache" / ".lock"
    made = [folder for folder in file.parents if not folder.exists()]
    return _User(_locked(file), made)


def _leave(output: Path, user: _User) -> None:
    # Windows keeps a file that is open; on a full disk, nobody can know whether others are at work, so all stays.
    with closing(user.lock), suppress(OSError, sqlite3.OperationalError):
        if _alone(user.lock):
            _clear(output)
            (output / "cache" / ".lock").unlink()
    for folder in user.made:
        with suppress(OSError):  # not empty
            folder.rmdir()


def clear_cache(output: Path, *, later: bool = False) -> bool:
    """Delete everything about videos in the cache of an output folder, because anybody may be seen in it.

    Args:
        output: the folder.
        later: whether to do it as soon as nobody uses the folder any more, if another program uses it now.

    Returns:
        Whether it was done now; it is not while another program uses the folder.

    Raises:
        OutputError: there is no permission.
    """
    file = output / "cache" / ".lock"
    if not file.parent.is_dir():
        return True
    with explained(file.parent), closing(_locked(file)) as lock:
        if not _alone(lock):
            if later:
                (file.parent / _DUE).touch()
            return False
        _empty(file.parent)
        with suppress(OSError):  # Windows keeps a file that is open
            file.unlink()
    with suppress(OSError):  # not empty
        file.parent.rmdir()
    return True


def _locked(file: Path) -> sqlite3.Connection:
    """Remove half-written files if nobody else uses the folder, then take a lock that many programs can hold.

    SQLite provides the lock, because it has locks on every system, which end with a killed program, and because a file
    with its lock can be removed safely: whoever has locked a file that is gone by then tries again.
    """
    for _ in range(_TRIES):
        if (lock := _tried(file)) is not None:
            return lock
    with explained(file):
        file.parent.mkdir(parents=True, exist_ok=True)
    raise OutputError(f"{file} cannot be locked: other programs remove it again and again. Give another folder.")


def _tried(file: Path) -> sqlite3.Connection | None:
    """Try to lock a file that is made if need be; None where another program has just left the folder and removed it.

    A third program may have made it anew by then, so it must be the same file afterwards.
    """
    with explained(file):
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o666))
            found = _identity(file)
        except FileNotFoundError:
            return None
    lock = None
    try:
        lock = sqlite3.connect(file, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
        if _alone(lock):
            _clear(file.parent.parent)
            lock.execute("ROLLBACK")
        lock.execute("BEGIN")
        lock.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if file.exists() and _identity(file) == found:
            taken, lock = lock, None
            return taken
    except sqlite3.OperationalError as error:
        if not file.parent.is_dir():
            return None
        if "full" in str(error):
            raise OutputError(f"No space is left to write {file}. Free some space, or give another folder.") from error
        raise OutputError(f"{file} cannot be locked: {error}. Give another folder.") from error
    except FileNotFoundError:
        return None
    finally:
        if lock is not None:
            lock.close()
    return None


def _identity(file: Path) -> tuple[int, int, int]:
    """Return what tells a file from a later one of the same name."""
    found = file.stat()
    return found.st_dev, found.st_ino, found.st_ctime_ns


def _alone(lock: sqlite3.Connection) -> bool:
    """Whether nobody else holds the lock. If so, nobody else can take it until the transaction ends."""
    if lock.in_transaction:
        lock.execute("ROLLBACK")
    lock.execute("PRAGMA busy_timeout = 0")
    try:
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            return False
        raise
    finally:
        lock.execute(f"PRAGMA busy_timeout = {_PATIENCE * 1000:.0f}")
    return True


def _empty(cache: Path) -> None:
    for path in [cached for pattern in (*_CACHED, _DUE) for cached in cache.glob(pattern)]:
        path.unlink()


def _clear(output: Path) -> None:
    """Remove half-written files, and what is in the cache if that is due."""
    if (output / "cache" / _DUE).exists():
        _empty(output / "cache")
    for path in [half for place in _PLACES for half in (output / place).glob(_HALF)]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
