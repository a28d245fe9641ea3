"""The campaigns see what they are for: a campaign that notices nothing would look like a good one."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np
import pytest

from app.errors import GaitprintError
from tests.campaigns.child import in_child, resident

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forked")


def refuse() -> None:
    raise GaitprintError("It is no gallery.")


def fail() -> None:
    raise KeyError("a fault")


def take_memory() -> None:
    """Take 64 MB after another, 3 GB at most: a forked child begins with less than its parent has."""
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
        (fail, "traceback", "KeyError: 'a fault'"),
        (lambda: sys.exit(0), "traceback", "SystemExit"),
        (lambda: os.kill(os.getpid(), signal.SIGSEGV), "signal", "SIGSEGV"),
        (lambda: time.sleep(60), "hang", ""),
        (take_memory, "memory", ""),
    ],
)
def test_every_fault_of_a_child_is_seen(tmp_path: Path, work: object, verdict: str, text: str) -> None:
    assert callable(work)
    seconds, megabytes = (1.0, 1e6) if verdict == "hang" else (60.0, 400.0 + resident(os.getpid()))
    outcome = in_child(work, tmp_path / "said.txt", seconds=seconds, megabytes=megabytes)
    assert (outcome.verdict, text in outcome.text) == (verdict, True), outcome
    assert outcome.is_fault == (verdict not in ("fine", "refused"))
    assert outcome.seconds < 30


def test_damage_comes_from_the_seed_alone() -> None:
    from tests.campaigns.mutations import mutated, mutated_text

    content = bytes(range(256)) * 20
    text = b"track:\n  high_score: 0.4\nmatch:\n  far: 0.05\n"
    for number in range(50):
        first, again = (mutated(content, Random(f"0 x {number}")) for _ in range(2))
        assert first == again
        assert mutated_text(text, Random(number)) == mutated_text(text, Random(number))
    assert len({mutated(content, Random(number)) for number in range(50)}) > 45
    for empty in (b"", b"x"):
        for number in range(50):
            mutated(empty, Random(number))


def test_a_command_that_loses_something_is_seen(tmp_path: Path) -> None:
    from tests.campaigns.kills import COMMANDS, Killing

    class Careless(Killing):
        harms = False

        def _start(self, place: Path, arguments: Sequence[str]) -> int:
            if self.harms:
                (place / "gallery.db").write_bytes(b"")
            return super()._start(place, arguments)

    killing = Careless(COMMANDS["rename"], tmp_path)
    assert killing.kill(Random(0)) == ""
    killing.harms = True
    assert "neither what was before nor what should be" in killing.kill(Random(0))
