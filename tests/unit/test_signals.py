"""Ctrl-C, SIGTERM and SIGHUP end a command: the first one in good order, the second one at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# A library calls Python, and cannot pass on an exception that is raised there.
LOSES = """
import ctypes, os, signal, sys, time, weakref
from pathlib import Path
from app.cli import main
from app.files import written_whole

def stop():
    os.kill(os.getpid(), getattr(signal, sys.argv[2]))
    time.sleep(0.1)

class Kept:
    def __del__(self):
        stop()

def forgotten():
    kept = ctypes.c_int()
    reference = weakref.ref(kept, lambda _: stop())
    del kept

WAYS = {"callback": ctypes.CFUNCTYPE(None)(stop), "end of an object": Kept, "end of a reference": forgotten}

@main.app.command("lose")
def lose(way: str) -> None:
    with written_whole(Path(sys.argv[1])) as temporary:
        temporary.touch()
        WAYS[way]()
        time.sleep(60)

sys.exit(main.main(["lose", *sys.argv[3:]]))
"""
# Hangs with a file half-written, also on its way out and, in a thread, when the interpreter ends.
HANGS = """
import sys, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from app.cli import main
from app.files import written_whole

@main.app.command("hang")
def hang(seconds: float, unwinding: float) -> None:
    ThreadPoolExecutor(1).submit(time.sleep, seconds)
    with written_whole(Path(sys.argv[1])) as temporary:
        temporary.touch()
        try:
            print("half", flush=True)
            time.sleep(60)
        finally:
            print("unwinds", flush=True)
            time.sleep(unwinding)

sys.exit(main.main(["hang", *sys.argv[2:]]))
"""


def _listen() -> None:
    """Heed signals in a new process: whoever runs the tests in the background may have them ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def hanging(out: Path, seconds: float, unwinding: float) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", HANGS, str(out), str(seconds), str(unwinding)],
        cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=_listen,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "half\n"
    assert [path.name.count(".partial") for path in out.parent.iterdir()] == [1]
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("way", ["callback", "end of an object", "end of a reference"])
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_is_heeded_where_a_library_loses_it(way: str, name: str, code: int, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", LOSES, str(tmp_path / "x.json"), name, way],
        cwd=ROOT, text=True, capture_output=True, timeout=50, preexec_fn=_listen,
    )  # fmt: skip
    assert ended.returncode == code, ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stderr.count("Stopping") == (name == "SIGINT")
    assert not list(tmp_path.iterdir())


# A library makes an error of its own of what unwinds the run, as Python itself does in `__set_name__`.
TURNS = """
import os, signal, sys, time
from app.cli import main
from app.errors import SettingsError

def stop():
    os.kill(os.getpid(), getattr(signal, sys.argv[1]))
    time.sleep(5)

class Named:
    def __set_name__(self, owner, name):
        stop()

@main.app.command("turn")
def turn(way: str) -> None:
    if way == "by Python":
        type("Owner", (), {"x": Named()})
    try:
        stop()
    except BaseException:
        raise eval(way)

sys.exit(main.main(["turn", sys.argv[2]]))
"""


@pytest.mark.parametrize(
    "way",
    ["by Python", "SystemError()", "ImportError('x')", "OSError(2, 'x', 'y')", "SettingsError('x')", "SystemExit(1)"],
)
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_is_no_error_where_a_library_makes_one_of_it(way: str, name: str, code: int) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", TURNS, name, way],
        cwd=ROOT,
        text=True,
        capture_output=True,
        timeout=50,
        preexec_fn=_listen,
    )
    assert ended.returncode == code, ended.stderr
    assert ended.stderr.replace(STOPPING, "").strip() == ""


@pytest.fixture
def stuck(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    yield from hanging(tmp_path / "x.json", 60, 60)


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    yield from hanging(tmp_path / "x.json", 0.5, 0.5)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_the_second_signal_ends_at_once_and_leaves_nothing(
    stuck: subprocess.Popen[str], tmp_path: Path, number: signal.Signals, code: int
) -> None:
    stuck.send_signal(number)
    assert stuck.stdout is not None
    assert stuck.stdout.readline() == "unwinds\n"
    started = time.monotonic()
    stuck.send_signal(number)
    _, err = stuck.communicate(timeout=30)
    assert time.monotonic() - started < 20
    assert stuck.returncode == code
    assert "Traceback" not in err
    assert ("Stopping. Finished work is kept: run the same command again to go on." in err) == (number == signal.SIGINT)
    assert not list(tmp_path.iterdir())


def test_one_signal_is_enough(slow: subprocess.Popen[str], tmp_path: Path) -> None:
    slow.send_signal(signal.SIGINT)
    _, err = slow.communicate(timeout=30)
    assert slow.returncode == 130
    assert err.count("Stopping") == 1
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())


def test_the_interpreters_end_can_be_cut_short(tmp_path: Path) -> None:
    """The command has unwound, but a thread still works and concurrent.futures waits for it."""
    for process in hanging(tmp_path / "x.json", 60, 0):
        process.send_signal(signal.SIGINT)
        while list(tmp_path.iterdir()):
            time.sleep(0.01)
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
        assert process.returncode == 130
        assert "Traceback" not in err


STOPPING = "Stopping. Finished work is kept: run the same command again to go on. Ctrl-C again ends at once."
ASKED_TO_STOP = """
import os, signal, sys
from importlib.abc import MetaPathFinder

asked = sys.argv.pop(2)

class Interrupts(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == sys.argv[1]:
            os.kill(os.getpid(), getattr(signal, asked))

def look(frame, event, argument):
    if event == "call" and frame.f_code.co_name == sys.argv[1]:
        sys.setprofile(None)
        os.kill(os.getpid(), getattr(signal, asked))

sys.setprofile(look)
sys.meta_path.insert(0, Interrupts())
sys.argv[0] = "gaitprint"
from app.__main__ import run
code = run(["--help"])
print("came back")
if sys.argv[1] == "at the end":
    os.kill(os.getpid(), getattr(signal, asked))
sys.exit(code)
"""


@pytest.mark.parametrize(
    "moment",
    ["app.cli.main", "typer", "rich.console", "accept_all_text", "show_log", "get_command", "get_group", "at the end"],
)
def test_ctrl_c_before_and_after_the_command_gives_no_traceback(moment: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", ASKED_TO_STOP, moment, "SIGINT"],
        cwd=ROOT,
        text=True,
        capture_output=True,
        preexec_fn=_listen,
    )
    assert ended.returncode in (-signal.SIGINT, 130), ended.stderr
    assert ended.stderr.replace(STOPPING, "").strip() == ""


# `sitecustomize`, which Python imports before the program.
ASKED_WHILE_IMPORTED = """
import os, signal, sys

def look(frame, event, argument):
    code = frame.f_code
    if event == "return" and code.co_name == "<module>" and code.co_filename.endswith(os.environ["MOMENT"]):
        sys.setprofile(None)
        os.kill(os.getpid(), signal.SIGINT)

sys.setprofile(look)
"""


@pytest.mark.parametrize("moment", ["app/__init__.py", "app/cli/__init__.py", "app/errors.py", "app/cli/main.py"])
@pytest.mark.parametrize("way", ["python -m app", "gaitprint"])
def test_ctrl_c_while_the_program_is_imported_gives_no_traceback(way: str, moment: str, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(ASKED_WHILE_IMPORTED)
    script = tmp_path / "gaitprint"  # as pip writes it
    script.write_text("import sys\nfrom app.__main__ import run\nsys.exit(run())\n")
    ended = subprocess.run(
        [sys.executable, *(["-m", "app"] if way != "gaitprint" else [str(script)]), "--help"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", "MOMENT": str(Path(moment))},
        text=True,
        capture_output=True,
        timeout=60,
        preexec_fn=_listen,
    )
    assert ended.returncode == -signal.SIGINT, ended.stderr
    assert ended.stderr == ""


def test_a_program_that_uses_the_library_keeps_its_ctrl_c(tmp_path: Path) -> None:
    script = tmp_path / "other.py"
    script.write_text("import app, signal, sys\nsys.exit(signal.getsignal(2) is not signal.default_int_handler)\n")
    ended = subprocess.run(
        [sys.executable, str(script), "app"], env={**os.environ, "PYTHONPATH": str(ROOT)}, preexec_fn=_listen
    )
    assert ended.returncode == 0


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129)])
@pytest.mark.parametrize("moment", ["show_log", "get_command", "get_group"])
def test_the_command_line_gives_its_code_back_whenever_it_is_asked_to_end(moment: str, name: str, code: int) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", ASKED_TO_STOP, moment, name],
        cwd=ROOT,
        text=True,
        capture_output=True,
        preexec_fn=_listen,
    )
    assert ended.returncode == code, ended.stderr
    assert ended.stdout.endswith("came back\n")
    assert ended.stderr == ""
