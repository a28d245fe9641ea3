"""The commands of the command line. Nothing heavy is imported until a command runs."""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from functools import cache
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from app.cli.batch import batch
from app.cli.benchmark import app as benchmark
from app.cli.body import body
from app.cli.calibrate import calibrate
from app.cli.disentangle import app as disentangle
from app.cli.enrol import enrol
from app.cli.evaluate import evaluate
from app.cli.fetch import fetch
from app.cli.gallery import app as gallery_app
from app.cli.identify import identify
from app.cli.models import app as models
from app.cli.options import FreshOption, VerboseOption, with_settings
from app.cli.prepare import app as prepare
from app.cli.serve import serve
from app.cli.terminal import accept_all_text, console, error_console, say, show_log
from app.cli.tokens import app as tokens
from app.cli.train import app as train
from app.cli.walkers import app as walkers
from app.cli.watch import watch
from app.errors import GaitprintError
from app.files import NO_SPACE, as_text, remove_unfinished
from app.progress import tell_stopping

if TYPE_CHECKING:
    from app.settings import Settings

app = typer.Typer(
    name="gaitprint",
    help="Names people by the way they walk, in ordinary video.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(prepare, name="prepare")
app.add_typer(models, name="models")
app.add_typer(gallery_app, name="gallery")
app.add_typer(train, name="train")
app.add_typer(disentangle, name="disentangle")
app.add_typer(walkers, name="walkers")
app.add_typer(benchmark, name="benchmark")
app.add_typer(tokens, name="tokens")
INTERRUPTED = 130
"""The exit code after Ctrl-C."""
_WITHOUT_WINDOWS = (
    "A machine without a screen lacks libraries such as libGL. Install OpenCV without windows, which has all that "
    "Gaitprint needs: pip uninstall -y opencv-python, then pip install 'opencv-python-headless<5'. Or install the "
    "library, for example with: apt install libgl1 libglib2.0-0."
)
_MOMENT = 0.05  # s
_SHOW_CURSOR = b"\x1b[?25h"  # progress bars hide the cursor


def _say_version(asked: bool) -> None:
    if asked:
        from app import __version__

        say(f"Gaitprint {__version__}, Python {sys.version.split()[0]}")
        raise typer.Exit


@app.callback()
def _commands(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_say_version, help="Say which version this is.")
    ] = False,
) -> None:
    """Make `demo` a sub-command like the others."""


@app.command()
@with_settings("pose", "pose_checkpoint", "threshold", "far", "k", "closed", "blur")
def demo(
    more: Annotated[list[str] | None, typer.Argument(metavar="PROBE", help="More probe videos.")] = None,
    gallery: Annotated[
        str, typer.Option(help="Video of the people to know. A path, or a name in input_videos/.")
    ] = "gallery.mp4",
    probe: Annotated[
        list[str] | None,
        typer.Option(
            help="Video of the people to name; several may follow. Default: every other video in input_videos/."
        ),
    ] = None,
    *,
    settings: Settings,
    fresh: FreshOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Name the walkers of the probe videos after those of the gallery video."""
    from app.cli.show import begun, show_result
    from app.runs.compare import compare
    from app.video.sources import find_gallery_and_probes

    videos = find_gallery_and_probes(gallery, [*(probe or []), *(more or [])])
    with begun(settings, verbose=verbose) as run:
        result = compare(*videos, run, fresh=fresh)
        folder = result.write()
    show_result(console, result.report(), folder)
    result.refuse_failures()


app.command()(body)
app.command()(batch)
app.command()(calibrate)
app.command()(enrol)
app.command()(identify)
app.command()(watch)
app.command()(evaluate)
app.command()(fetch)
app.command()(serve)


def main(arguments: Sequence[str]) -> int:
    """Run the command line.

    Returns:
        0 when all went well, 2 for bad input or usage, 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP, which
        says that the terminal was closed.
    """
    try:
        return _run(arguments)
    except KeyboardInterrupt:  # while the commands are put together, or after the command
        return INTERRUPTED
    except SystemExit as end:  # SIGTERM or SIGHUP in such a moment
        return end.code if isinstance(end.code, int) else 0


def _run(arguments: Sequence[str]) -> int:
    accept_all_text()
    with _ended_by_signals() as ending, show_log():
        try:
            program = Path(sys.argv[0]).stem
            given = list(arguments)
            if given[-1:] == ["-h"]:  # as an option, it would take room from every table of options
                given[-1] = "--help"
            command = _command(given[0] if given else "")
            command(args=given, prog_name=program if program == app.info.name else "python -m app")
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
            ending.was_asked = ending.was_asked or code == INTERRUPTED  # some commands handle Ctrl-C themselves
            return ending.code if code and ending.code is not None else code
        except Exception as error:
            if ending.code is not None:  # libraries turn what unwinds the run into errors of their own
                return ending.code
            reason = _reason(error)
            if reason is None:  # a fault of this program or of the installation, which the traceback tells best
                raise
            error_console.print(f"[bold red]Error:[/] {escape(reason)}", soft_wrap=True)
            return 2
    return 0


@cache
def _command(name: str) -> Callable[..., Any]:
    """Put the command `name` together; where there is none, all commands, which takes longer than many of them run."""
    asked = copy(app)
    asked.registered_commands = [
        one for one in app.registered_commands if one.callback is not None and one.callback.__name__ == name
    ]
    asked.registered_groups = [one for one in app.registered_groups if one.name == name]
    command = typer.main.get_command(asked if asked.registered_commands or asked.registered_groups else app)
    _bare_flags(command)
    return command


def _bare_flags(command: Any) -> None:
    """Let the help show flags without the value "<bool>", which nobody can give them."""
    for parameter in command.get_params(typer.Context(command)):
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""
    for below in getattr(command, "commands", {}).values():
        _bare_flags(below)


def _reason(error: Exception) -> str | None:
    """Return what the user can do something about; None for other errors."""
    if isinstance(error, GaitprintError):
        return str(error)
    if isinstance(error, OSError) and error.filename is not None and error.errno in NO_SPACE:
        return f"No space is left to write {as_text(error.filename)}. Free some space."
    if isinstance(error, OSError) and error.filename is not None:
        return f"{as_text(error.filename)} cannot be used: {error.strerror}."
    if isinstance(error, ImportError) and error.name == "cv2":
        return f"OpenCV cannot be loaded: {error}. {_WITHOUT_WINDOWS}"
    return None


class _Ending:
    """What signals do. The first one unwinds the run, so that no half-written file stays. The next one ends it at once.

    `was_asked` is set when the run was asked to end.
    """

    was_asked = False

    def __init__(self) -> None:
        self._number: int | None = None  # of the signal that unwinds the run
        self._was_lost = False

    @property
    def code(self) -> int | None:
        """The exit code of a run that a signal unwinds."""
        return None if self._number is None else 128 + self._number

    def ask(self, number: int, _frame: FrameType | None) -> None:
        if self.was_asked and not self._was_lost:
            remove_unfinished()
            if sys.stdout.isatty():
                os.write(1, _SHOW_CURSOR)
            # sys.exit would wait for threads that still compute.
            os._exit(128 + number)
        is_first = not self.was_asked
        self.was_asked, self._was_lost, self._number = True, False, number
        if number != signal.SIGINT:
            raise SystemExit(128 + number)
        if is_first:
            tell_stopping()
        raise KeyboardInterrupt

    def ask_again(self, lost: sys.UnraisableHookArgs) -> bool:
        """Unwind the run once more if a library that had called Python could not pass the exception on; return whether
        it was `lost`.
        """
        if self._number is None or not isinstance(lost.exc_value, KeyboardInterrupt | SystemExit):
            return False
        self._was_lost = True
        # A moment later, because whatever is raised here would be lost as well.
        again = threading.Timer(_MOMENT, _send, [self._number])
        again.daemon = True
        again.start()
        return True


def _send(number: int) -> None:
    """Send the main thread a signal."""
    main_thread = threading.main_thread().ident
    if hasattr(signal, "pthread_kill") and main_thread is not None:
        signal.pthread_kill(main_thread, number)
    else:  # Windows, where it does not end a pause
        _thread.interrupt_main(signal.Signals(number))


@contextmanager
def _ended_by_signals() -> Iterator[_Ending]:
    """Let Ctrl-C, SIGTERM and SIGHUP end the run; see `_Ending`."""
    ending = _Ending()
    if threading.current_thread() is not threading.main_thread():  # other threads cannot handle signals
        yield ending
        return
    numbers = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP"):  # Windows has none
        numbers.append(signal.SIGHUP)
    heeded = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]  # nohup ignores SIGHUP
    before = {number: signal.signal(number, ending.ask) for number in heeded}
    tell = sys.unraisablehook
    sys.unraisablehook = lambda lost: None if ending.ask_again(lost) else tell(lost)
    try:
        yield ending
    finally:
        if not ending.was_asked:  # otherwise a second signal must still end the program while it waits for threads
            sys.unraisablehook = tell
            for number, handler in before.items():
                signal.signal(number, handler)
