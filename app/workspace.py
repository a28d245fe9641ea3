"""What an output folder holds beside its results: half-written files of killed programs, and the cache."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from app.errors import OutputError
from app.files import explained

SHEET = "-walks.png"
"""How the names of the sheets in the cache end that show all walks of a video, to choose from."""

_PLACES = ("OutputVideos", "GaitSilhouette", "GaitFeatures", "cache")
_HALF = ".*.partial*"  # see `app.files.written_whole`
_KEPT = (f"{'?' * 32}.zip", f"*{SHEET}")  # archives of videos with everybody's silhouettes, and pictures of everybody
_PATIENCE = 30.0  # s that another program may take to clear up


@contextmanager
def in_use(output: Path) -> Iterator[None]:
    """Use an output folder; what lies half-written in it is removed before, unless another program uses it too.

    Raises:
        OutputError: the folder cannot be made or locked.
    """
    file = output / "cache" / ".lock"
    made = [folder for folder in file.parents if not folder.exists()]
    with explained(file):
        file.parent.mkdir(parents=True, exist_ok=True)
    lock = _locked(file)
    try:
        yield
    finally:
        with closing(lock), suppress(OSError):  # Windows keeps a file that is open
            if _alone(lock):
                file.unlink()
        for folder in made:
            with suppress(OSError):  # not empty
                folder.rmdir()


def clear_cache(output: Path) -> bool:
    """Delete all that the cache of an output folder keeps of videos: whoever is to be forgotten may be in any of them.

    Returns:
        Whether it is done; not while another program uses the folder.

    Raises:
        OutputError: no permission.
    """
    file = output / "cache" / ".lock"
    if not file.parent.is_dir():
        return True
    with explained(file.parent), closing(_locked(file)) as lock:
        if not _alone(lock):
            return False
        for path in [kept for pattern in _KEPT for kept in file.parent.glob(pattern)]:
            path.unlink()
        with suppress(OSError):  # Windows keeps a file that is open
            file.unlink()
    with suppress(OSError):  # not empty
        file.parent.rmdir()
    return True


def _locked(file: Path) -> sqlite3.Connection:
    """Clear up where nobody else is at work, then hold a lock that many can hold."""
    try:
        # SQLite has locks on every system, which a killed program does not leave behind.
        lock = sqlite3.connect(file, timeout=_PATIENCE, isolation_level=None)
        if _alone(lock):
            _clear(file.parent.parent)
            lock.execute("ROLLBACK")
        lock.execute("BEGIN")
        lock.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as error:
        raise OutputError(f"{file} cannot be locked: {error}. Give another folder.") from error
    if file.exists():
        return lock
    lock.close()  # whoever used the folder before has just left it, and took the file along
    return _locked(file)


def _alone(lock: sqlite3.Connection) -> bool:
    """Whether nobody else holds the lock; then nobody else can until the transaction ends."""
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


def _clear(output: Path) -> None:
    for path in [half for place in _PLACES for half in (output / place).glob(_HALF)]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
