"""The campaigns see what they are for: a campaign that notices nothing would look like a good one."""

from __future__ import annotations

import io
import json
import os
import pickle
import signal
import sqlite3
import struct
import sys
import time
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random

import numpy as np
import pytest

from app.errors import GaitprintError
from tests.campaigns.crew import FaultError, attempts, resident
from tests.campaigns.mutations import (
    damage_database,
    mutated,
    mutated_json,
    mutated_npy,
    mutated_pickle,
    mutated_tensors,
    mutated_text,
    mutated_zip,
)

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")


def refuse() -> None:
    raise GaitprintError("It is no gallery.")


def fail() -> None:
    raise KeyError("a fault")


def lose() -> None:
    raise FaultError("Anna is gone.")


def be_without() -> None:
    Path("absent.mp4").read_bytes()


def take_memory() -> None:
    """Take 64 MB after another, 3 GB at most."""
    held = []
    for _ in range(48):
        held.append(np.ones(1 << 23))
        time.sleep(0.02)
    time.sleep(10 * len(held))


@pytest.mark.parametrize(
    ("work", "verdict", "text"),
    [
        (lambda: print("done"), "fine", "done"),
        (refuse, "refused", "It is no gallery."),
        (be_without, "refused", "absent.mp4"),
        (fail, "traceback", "KeyError: 'a fault'"),
        (lose, "wrong", "Anna is gone."),
        (lambda: sys.exit(0), "traceback", "SystemExit"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "crash", "SIGKILL"),
        (lambda: os._exit(0), "crash", "exit status 0"),
        (lambda: time.sleep(60), "hang", ""),
        (take_memory, "memory", ""),
    ],
)
def test_every_fault_is_seen_and_the_next_attempt_is_made(
    work: Callable[[], None], verdict: str, text: str, tmp_path: Path
) -> None:
    def attempt(random: Random, place: Path) -> None:
        if place.joinpath("used").exists():
            raise AssertionError("the folder is not empty")
        place.joinpath("used").touch()
        if random.random() == Random("7 part 1").random():
            work()

    limits = {"seconds": 1.0 if verdict == "hang" else 60.0, "megabytes": 400.0 + resident(os.getpid())}
    outcomes = {one.number: one for one in attempts(attempt, "part", 7, range(3), tmp_path, **limits)}
    assert [outcomes[number].verdict for number in range(3)] == ["fine", verdict, "fine"], outcomes
    assert text in outcomes[1].text
    assert outcomes[1].is_fault == (verdict not in ("fine", "refused"))


def test_attempts_side_by_side_are_each_made_once(tmp_path: Path) -> None:
    def attempt(random: Random, place: Path) -> None:
        time.sleep(0.01 * random.random())

    found = list(attempts(attempt, "part", 0, range(20), tmp_path, workers=3))
    assert sorted(one.number for one in found) == list(range(20))
    assert {one.verdict for one in found} == {"fine"}


def _zip() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("1/walk.json", '{"reason": null, "fps": 25.0}')
        archive.writestr("data.pkl", pickle.dumps([1, "x"]))
    return packed.getvalue()


def _npy() -> bytes:
    packed = io.BytesIO()
    np.save(packed, np.zeros((4, 64, 44), np.uint8))
    return packed.getvalue()


def _tensors() -> bytes:
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(4)


@pytest.mark.parametrize(
    ("damage", "content"),
    [
        (mutated, bytes(range(256)) * 20),
        (mutated_text, b"track:\n  high_score: 0.4\nmatch:\n  far: 0.05\n"),
        (mutated_json, b'{"TRAIN_SET": ["001", 2], "TEST_SET": []}'),
        (mutated_pickle, pickle.dumps({"a": [1, 2.5]})),
        (mutated_zip, _zip()),
        (mutated_npy, _npy()),
        (mutated_tensors, _tensors()),
    ],
)
def test_damage_comes_from_the_seed_alone(
    damage: Callable[[bytes, Random], bytes], content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [damage(content, Random(f"0 x {number}")) for number in range(500)]
    monkeypatch.setattr("time.time", lambda: 1e9)
    assert [damage(content, Random(f"0 x {number}")) for number in range(500)] == made  # whatever was made before
    assert len(set(made[:60])) > 35
    assert sum(one != content for one in made[:60]) > 45


def test_little_can_be_damaged_too() -> None:
    for number in range(50):
        for content in (b"", b"x"):
            mutated(content, Random(number))


def test_a_database_is_damaged_inside(tmp_path: Path) -> None:
    readable = 0
    for number in range(30):
        path = tmp_path / f"{number}.db"
        with closing(sqlite3.connect(path)) as db, db:
            db.execute("CREATE TABLE person (name TEXT NOT NULL)")
            db.executemany("INSERT INTO person VALUES (?)", [("Anna",), ("Bo",)])
        damage_database(path, Random(number))
        with closing(sqlite3.connect(path)) as db:
            try:
                readable += db.execute("SELECT name FROM person").fetchall() != [("Anna",), ("Bo",)]
            except sqlite3.DatabaseError:
                continue
    assert readable > 5  # SQLite itself finds nothing wrong with these


def test_a_command_that_loses_something_is_seen(tmp_path: Path) -> None:
    pytest.importorskip("lightning", reason="the campaigns need the extra train")
    from tests.campaigns.kills import COMMANDS, Killing

    class Careless(Killing):
        harm: Callable[[Path], object] | None = None

        def _begin(self, place: Path, anew: bool) -> int:
            if self.harm is not None:
                self.harm(place)
            return super()._begin(place, anew)

    (tmp_path / "fresh").mkdir()
    COMMANDS["rename"].prepare(tmp_path / "fresh")
    killing = Careless(COMMANDS["rename"], tmp_path / "work", tmp_path / "fresh")
    killing.kill(Random(0))
    killing.kill(Random(0), signal.SIGTERM)
    killing.harm = lambda place: (place / ".x.partial.db").touch()
    with pytest.raises(FaultError, match="half files"):
        killing.kill(Random(1))
    killing.harm = lambda place: (place / "gallery.db").write_bytes(b"")
    with pytest.raises(FaultError, match="neither what was before nor what should be"):
        killing.kill(Random(0))
