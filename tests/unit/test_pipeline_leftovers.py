"""Half-written files of killed programs are removed, those of programs at work are not."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app import workspace
from app.errors import OutputError
from app.workspace import clear_cache, in_use

ROOT = Path(__file__).resolve().parents[2]
HOLD = "import sys; from pathlib import Path; from app.workspace import in_use\n"
HOLD += "with in_use(Path(sys.argv[1])): print('in', flush=True); sys.stdin.read()"


def half_written(output: Path) -> list[Path]:
    files = [output / "OutputVideos" / ".run.0.partial" / ".probe.1.partial.mp4", output / "cache" / ".2.partial.zip"]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"half")
    return files


def test_half_files_go_and_whole_ones_stay(tmp_path: Path) -> None:
    halves, whole = half_written(tmp_path), tmp_path / "cache" / "walks.zip"
    whole.write_bytes(b"whole")
    (tmp_path / "mine.partial.mp4").write_bytes(b"not ours")
    with in_use(tmp_path):
        assert not any(half.exists() for half in halves)
        assert not (tmp_path / "OutputVideos" / ".run.0.partial").exists()
        late = half_written(tmp_path)
        with in_use(tmp_path):
            assert all(half.exists() for half in late), "somebody is at work"
    assert whole.read_bytes() == b"whole"
    assert {path.name for path in tmp_path.iterdir()} == {"OutputVideos", "cache", "mine.partial.mp4"}
    assert not (tmp_path / "cache" / ".lock").exists()


def test_other_programs_at_work_are_left_alone_until_they_are_killed(tmp_path: Path) -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "in\n"
    halves = half_written(tmp_path)
    with in_use(tmp_path):
        assert all(half.exists() for half in halves)
    assert all(half.exists() for half in halves)
    other.kill()
    other.communicate()
    with in_use(tmp_path):
        assert not any(half.exists() for half in halves)


def test_what_fails_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="broken"), in_use(tmp_path / "new" / "output"):
        raise ValueError("broken")
    assert not (tmp_path / "new").exists()
    with in_use(tmp_path):
        pass
    assert tmp_path.is_dir(), "it was there before"


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "output").write_bytes(b"")
    with pytest.raises(OutputError, match="Give another folder"), in_use(tmp_path / "output"):
        pass


def test_a_cache_that_is_in_use_is_cleared_when_everybody_has_left(tmp_path: Path) -> None:
    archive, mine = tmp_path / "cache" / f"{'0a' * 16}.zip", tmp_path / "cache" / "mine.zip"
    with in_use(tmp_path):
        archive.write_bytes(b"walks")
        mine.write_bytes(b"not ours")
        assert not clear_cache(tmp_path)
        assert archive.exists()
    assert archive.exists(), "nobody asked for it to be done later"
    with in_use(tmp_path), in_use(tmp_path):
        assert not clear_cache(tmp_path, later=True)
        assert archive.exists()
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["mine.zip"]


def test_a_killed_program_leaves_the_cache_to_be_cleared_by_the_next(tmp_path: Path) -> None:
    archive = tmp_path / "cache" / f"{'0a' * 16}.zip"
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "in\n"
    archive.write_bytes(b"walks")
    assert not clear_cache(tmp_path, later=True)
    other.kill()
    other.communicate()
    assert archive.exists()
    with in_use(tmp_path):
        assert not archive.exists()
    assert not (tmp_path / "cache" / ".clear").exists()


def test_threads_of_one_program_come_and_go_at_any_time(tmp_path: Path) -> None:
    output, faults = tmp_path / "new" / "output", []

    def come_and_go() -> None:
        for _ in range(100):
            try:
                with in_use(output):
                    assert (output / "cache" / ".lock").exists()
            except Exception as error:
                faults.append(error)

    threads = [threading.Thread(target=come_and_go) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert not output.parent.exists()


def test_a_lock_is_not_taken_on_a_file_that_others_have_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One program opens the file, a second leaves and removes it, and a third makes it anew."""
    file = tmp_path / "cache" / ".lock"
    others: list[sqlite3.Connection] = []
    alone = workspace._alone

    def replaced(lock: sqlite3.Connection) -> bool:
        is_alone = alone(lock)
        if not others:
            file.unlink()
            others.append(sqlite3.connect(file, isolation_level=None))
            others[0].execute("BEGIN")
            others[0].execute("SELECT count(*) FROM sqlite_master").fetchone()
        return is_alone

    monkeypatch.setattr(workspace, "_alone", replaced)
    with in_use(tmp_path):
        assert not alone(others[0]), "both believe that nobody else is there"
    others[0].close()


@pytest.mark.parametrize("moment", ["before the file is made", "before it is opened", "after it was opened"])
def test_a_folder_that_others_remove_meanwhile_is_made_again(
    moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, removed = tmp_path / "output", list[bool]()

    def removing(function: Callable[..., Any], *, first: bool = True) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **more: Any) -> Any:
            found = None if first else function(*arguments, **more)
            if (output / "cache").exists() and not removed:
                removed.append(True)
                shutil.rmtree(output)
            return function(*arguments, **more) if first else found

        return wrapped

    if moment == "before the file is made":
        monkeypatch.setattr(workspace.os, "open", removing(os.open))
    else:
        connect = removing(sqlite3.connect, first=moment == "before it is opened")
        monkeypatch.setattr(workspace, "sqlite3", SimpleNamespace(**{**vars(sqlite3), "connect": connect}))
    with in_use(output):
        assert (output / "cache" / ".lock").exists()
    assert removed
    assert not output.exists()


@pytest.mark.parametrize(
    ("trouble", "said"),
    [("database or disk is full", "No space is left"), ("disk I/O error", "cannot be locked: disk")],
)
def test_a_full_disk_is_called_so_where_the_folder_is_locked(
    trouble: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(lock: sqlite3.Connection) -> bool:
        raise sqlite3.OperationalError(trouble)

    monkeypatch.setattr("app.workspace._alone", fail)
    with pytest.raises(OutputError, match=said), in_use(tmp_path):
        raise AssertionError


def test_a_folder_can_be_left_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was made stays: without space nobody knows whether other programs are at work."""

    def fail(lock: sqlite3.Connection) -> bool:
        raise sqlite3.OperationalError("database or disk is full")

    with in_use(tmp_path):
        (tmp_path / "made.txt").write_text("made", encoding="utf-8")
        monkeypatch.setattr("app.workspace._alone", fail)
    assert (tmp_path / "made.txt").exists()
