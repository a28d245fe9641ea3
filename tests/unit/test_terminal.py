"""The terminal's console, progress bars and log, and the options that commands share."""

from __future__ import annotations

import ast
import errno
import logging
import os
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import typer
from rich.panel import Panel
from rich.table import Table
from rich.text import Text
from typer.testing import CliRunner

import app as gaitprint
from app.cli.main import app, main
from app.cli.options import FreshOption, with_settings
from app.cli.terminal import ProgressBars, console, error_console, say, show_log, write_json
from app.gallery.sqlite import SqliteGallery
from app.gallery.store import NewWalk
from app.types import Embedding

if TYPE_CHECKING:
    from app.progress import Titled
from app.progress import Titled
from app.settings import Settings

ROOT = Path(__file__).parents[2]


def test_there_is_one_place_that_makes_consoles_and_bars() -> None:
    """No command has a console or a progress bar of its own."""
    for path in sorted((ROOT / "app").rglob("*.py")):
        if path.name == "terminal.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("Console", "Progress", "RichHandler"), f"{path}:{node.lineno}"


def _all_commands(group: Any, *above: str) -> Iterator[tuple[list[str], Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _all_commands(command, *above, name)
        else:
            yield [*above, name], command


def test_every_option_says_what_it_is_and_places_have_names_of_one_kind() -> None:
    for command, found in _all_commands(typer.main.get_command(app)):
        assert found.help, command
        for parameter in found.params:
            hidden = getattr(parameter, "hidden", False)
            assert hidden or getattr(parameter, "help", None), (command, parameter.name)
            if parameter.param_type_name == "argument":
                shown = parameter.metavar or parameter.name
                assert shown == shown.upper(), (command, parameter.name)


@pytest.mark.parametrize("place", [[], ["gallery"], ["identify"]])
def test_help_has_a_short_form(place: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    shown = []
    for option in ("-h", "--help"):
        assert main([*place, option]) == 0
        shown.append(capsys.readouterr().out)
    assert "Usage" in shown[0]
    assert shown[0] == shown[1]


def test_the_version_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith(f"Gaitprint {gaitprint.__version__}, Python 3.")


def test_text_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    path = "/somewhere/[red]with[/]/" + "a-long-name-" * 20
    say(path)
    assert capsys.readouterr().out == path + "\n"


COMMANDS = ["\x1b[31m", "\x1b]0;title\x07", "\x9b2J", "\x90q\x9c", "a\rb", "\x08\x7f", "\u202egpj.exe", "\u2066x", "\0"]


@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_that_is_printed_commands_the_terminal(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever somebody wrote into a note, a file name or an address; every way in which the program prints."""
    text = f"before{command}after \u00e9\u65e5"
    table = Table("name")
    table.add_row(Text(text))
    say(text)
    console.print(text, markup=False)
    console.print(table, Text.assemble(text, ("x", "bold")), Panel(text))
    with show_log(console):
        logging.getLogger("app.somewhere").warning("%s", text)
    write_json({text: [text]})
    database = tmp_path / "gallery.db"
    with SqliteGallery(database) as gallery:
        walk = NewWalk(Embedding(np.ones((2, 8), np.float32), "gei", 30), source=f"{text}.mp4", view=text)
        gallery.enrol("Anna", [walk], consent=text)
    for words in (["list"], ["show", "Anna"], ["log"], ["list", "--json"], ["show", text]):
        main(["gallery", *words, "--gallery-db", str(database)])
    printed = "".join(capsys.readouterr())
    assert printed.count("before") >= 10
    assert "\u00e9\u65e5" in printed
    assert not [
        character for character in printed if unicodedata.category(character) in ("Cc", "Cf") and character != "\n"
    ]


def test_the_inner_log_alone_prints(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("app.somewhere")
    before = logging.getLogger("app").handlers[:]
    with show_log():
        logger.warning("one [%s]", "of these")
        with show_log(error_console, times=True):
            logger.info("two")
        logger.info("three")
    streams = capsys.readouterr()
    assert streams.out == "Warning: one [of these]\nthree\n"
    assert streams.err.endswith("  two\n")
    assert logging.getLogger("app").handlers == before


@pytest.mark.parametrize(
    ("arguments", "library"),
    [
        *((command, "libGL.so.1") for command in ("demo", "identify x.mp4", "models")),
        ("evaluate --data x --protocol casia-b", "libgthread-2.0.so.0"),
        ("demo", "libSM.so.6"),
    ],
)
def test_a_machine_without_a_screen_is_told_what_to_install(tmp_path: Path, arguments: str, library: str) -> None:
    reason = f"{library}: cannot open shared object file: No such file or directory"
    (tmp_path / "cv2").mkdir()
    (tmp_path / "cv2" / "__init__.py").write_text(f"raise ImportError({reason!r}, name='cv2', path='cv2.abi3.so')")
    ended = subprocess.run(
        [sys.executable, "-m", "app", *arguments.split()],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert ended.returncode == 2, ended.stderr
    assert "Traceback" not in ended.stderr
    assert reason in ended.stderr
    assert "opencv-python-headless" in ended.stderr


def test_bars_count(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressBars() as bars:
        bars.counter("Walks")(3, 4)
        with Titled(bars, "Probe walks").stage("Walks", 2) as advance:
            advance(2)
        with bars.stage("Frames [of one]", 2) as advance:
            advance(1)
            advance(4)  # more than the video's header said
    out = capsys.readouterr().out
    for line in ("Walks", "3/4", "Probe walks", "2/2", "Frames [of one]", "5/5"):
        assert line in out


def test_bars_that_vanish_are_not_shown_where_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressBars(transient=True) as bars:
        bars.counter("Walks")(3, 4)
    assert capsys.readouterr().out.strip() == ""


def test_a_command_gets_its_options_as_settings(tmp_path: Path) -> None:
    seen: list[tuple[str, Settings, bool]] = []

    @with_settings("threshold", "pose")
    def command(video: str, *, settings: Settings, fresh: FreshOption = False) -> None:
        """Look at a video."""
        seen.append((video, settings, fresh))

    app = typer.Typer()
    app.command()(command)
    config = tmp_path / "own.yaml"
    config.write_text("gait: {name: gei}\ntrack: {high_score: 0.4}")
    arguments = ["a.mp4", "--config", str(config), "--set", "track.new_score=0.5", "--threshold", "7", "--fresh"]
    part = ["--fps", "12.5", "--from", "2", "--to", "8"]
    result = CliRunner().invoke(app, [*arguments, "--detector-checkpoint", "x.pth", "--pose", *part])
    assert result.exit_code == 0, result.output
    ((video, settings, fresh),) = seen
    assert (video, fresh) == ("a.mp4", True)
    assert (settings.gait.name, settings.track.high_score, settings.track.new_score) == ("gei", 0.4, 0.5)
    assert (settings.match.threshold, settings.pose.paint) == (7.0, True)
    assert settings.detector.checkpoint == Path("x.pth")
    assert (settings.video.fps, settings.video.start, settings.video.end) == (12.5, 2.0, 8.0)

    assert CliRunner().invoke(app, ["b.mp4"]).exit_code == 0
    assert not seen[1][1].pose.paint
    assert "--blur" not in CliRunner().invoke(app, ["--help"]).output


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_whatever_finds_no_space_is_called_so(number: int) -> None:
    """Libraries raise errors of their own files, such as Lightning's checkpoints."""
    from app.cli.main import _reason

    said = _reason(OSError(number, "No space left on device", "/somewhere/else"))
    assert said == "No space is left to write /somewhere/else. Free some space."
    assert _reason(OSError(errno.EIO, "Input/output error", "x")) == "x cannot be used: Input/output error."


def commands(command: Any, *path: str) -> Iterator[tuple[str, ...]]:
    """Every command by its words."""
    yield path
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, *path, name)


def test_no_help_is_cut_off_or_gives_flags_a_value(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", 80)  # as it would be read from the environment
    for path in commands(typer.main.get_command(app)):
        assert main([*path, "--help"]) == 0
        text = capsys.readouterr().out
        assert "…" not in text, text
        assert "[[" not in text
        assert "<bool>" not in text
        assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--far", "5", "the setting 'match.far' cannot be 5.0: give a number above 0 and below 1."),
        ("--speed", "quick", "the setting 'speed' cannot be 'quick': give 'accurate', 'balanced' or 'fast'."),
        ("--device", "gpu", "the setting 'detector.device' cannot be 'gpu': give 'auto', 'cpu', "),
        ("--from", "-1", "the setting 'video.start' cannot be -1.0: give a number from 0 on."),
    ],
)
def test_an_option_with_a_wrong_value_is_named(
    option: str, value: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", option, value]) == 2
    assert f"Error: {option}: {said}" in " ".join(capsys.readouterr().err.split())
