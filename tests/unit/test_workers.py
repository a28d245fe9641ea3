"""Processes side by side."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from app.errors import GaitprintError, SettingsError
from app.workers import need_few, side_by_side


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


@pytest.mark.parametrize("asked", [1_000_000, 17])
def test_no_more_processes_than_a_machine_bears(asked: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.workers.cores", lambda: 2)
    monkeypatch.setattr("app.workers.ProcessPoolExecutor", lambda *_: pytest.fail("processes were started"))
    with pytest.raises(SettingsError, match=rf"--workers {asked} is too much for a machine of 2 cores.*at most 16"):
        next(side_by_side(double, [(number,) for number in range(1000)], asked))
    assert need_few(16, "--workers") == 16
    monkeypatch.setattr("app.workers.cores", lambda: 64)
    assert need_few(256, "--workers") == 256


def _with_workers(group: typer.core.TyperGroup, *above: str) -> Iterator[list[str]]:
    for name, command in group.commands.items():
        if isinstance(command, typer.core.TyperGroup):
            yield from _with_workers(command, *above, name)
        elif any("--workers" in parameter.opts for parameter in command.params):
            yield [*above, name]


def test_no_command_takes_thousands_of_workers() -> None:
    from app.cli.main import app

    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    commands = list(_with_workers(group))
    assert len(commands) > 8
    for command in commands:
        found = CliRunner().invoke(app, [*command, "--workers", "1000000"])
        told = f"{found.output}{found.exception}"
        assert "--workers 1000000 is too much" in told or "Missing" in told, (command, told)


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
