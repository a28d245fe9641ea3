"""Processes side by side."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from app.errors import GaitprintError
from app.workers import side_by_side


def double(number: int) -> tuple[int, int]:
    return 2 * number, os.getpid()


def end(number: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("workers", [1, 2])
def test_all_is_done_once(workers: int) -> None:
    found = list(side_by_side(double, [(number,) for number in range(6)], workers))
    assert sorted(number for number, _ in found) == [0, 2, 4, 6, 8, 10]
    assert all((process == os.getpid()) is (workers == 1) for _, process in found)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL here")
def test_a_killed_worker_is_said() -> None:
    with pytest.raises(GaitprintError, match="killed"):
        list(side_by_side(end, [(1,), (2,)], 2))


SLEEPY = """
import os, time, sys
from app.workers import side_by_side
def wait(number):
    print(os.getpid(), flush=True)
    time.sleep(60)
if __name__ == "__main__":
    list(side_by_side(wait, [(1,), (2,)], 2))
"""


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks for processes in /proc")
def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    script = tmp_path / "sleepy.py"
    script.write_text(SLEEPY)
    environment = os.environ | {"PYTHONPATH": str(Path.cwd())}
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        workers = [int(process.stdout.readline()) for _ in range(2)]
        process.kill()
    until = time.monotonic() + 30
    while time.monotonic() < until and any(Path(f"/proc/{worker}").exists() for worker in workers):
        time.sleep(0.1)
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)
