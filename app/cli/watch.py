"""``python -m app watch``: watch several cameras at once."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.gallery import gallery_service
from app.cli.options import VerboseOption, load_settings
from app.cli.terminal import error_console, say, write_json
from app.errors import SettingsError, counted

if TYPE_CHECKING:
    from app.runs.events import Sink
    from app.runs.watch import WatchConfig
    from app.settings import Settings


def watch(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="YAML file that names the cameras.")],
    seconds: Annotated[float | None, typer.Option(min=0.0, help="End after this many seconds.")] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Only read the configuration, try gallery, cameras, webhook and broker, and say what works. No event "
            "is sent.",
        ),
    ] = False,
    verbose: VerboseOption = False,
) -> None:
    """Watch several cameras, and name the people in view. Events go to standard output or where CONFIG says."""
    from app.runs.watch import WatchConfig

    found = WatchConfig.read(config)
    settings = load_settings(named=dict(found.settings))
    if check:
        _check(config, found, settings)
        return
    watch_cameras(found, settings, seconds=seconds, verbose=verbose, reload=config)


def _check(config: Path, found: WatchConfig, settings: Settings) -> None:
    """Try what a watch needs, and say what works; `SettingsError` where something does not."""
    from app.runs.watch_check import check_watch

    lacking = []
    for finding in check_watch(found, settings):
        mark, style = ("works", "") if finding.works else ("does not work", "yellow")
        say(f"{finding.what} {mark}: {finding.said}", style)
        if not finding.works:
            lacking.append(finding.what)
    if lacking:
        raise SettingsError(f"{config} can be read, but this does not work: {', '.join(lacking)}.")
    say(f"{config} is in order.")


def watch_cameras(
    found: WatchConfig, settings: Settings, *, seconds: float | None, verbose: bool, reload: Path | None = None
) -> None:
    """Watch the cameras of a configuration, whose `settings` are not looked at, until Ctrl-C, or for some seconds.

    The configuration's file `reload` is followed when it changes.
    """
    from app.cli.show import show_models
    from app.runs.build import build
    from app.runs.events import Lines, appending
    from app.runs.live import LiveOptions
    from app.runs.watch import Watch
    from app.weights.gathering import gathered

    with ExitStack() as stack:
        gallery = stack.enter_context(
            gallery_service(
                found.gallery,
                create=found.strangers is not None,
                to=error_console,
                output=settings.output.folder,
                metric=settings.match.metric,
                with_strangers=found.strangers is not None,
            )
        )
        out = sys.stdout
        if found.events is not None:
            out = stack.enter_context(appending(found.events))
        sinks: list[Sink] = [Lines(out, lambda event, to: write_json(event, to=to)), *found.sinks()]
        with gathered():
            stages = build(settings)
        show_models(error_console, stages, verbose=verbose)
        running = Watch(found, gallery, stages, sinks, LiveOptions(seconds=seconds))
        stop = stack.enter_context(stopped_by_signals())
        say(f"Watching {', '.join(found.cameras)}. Press Ctrl-C to end it.", to=error_console)
        running.run(stop, reload=reload)
    for name, camera in running.cameras.items():
        total = camera.frames + camera.dropped
        say(
            f"{name}: {total} frames, of which {camera.dropped} were dropped."
            + (f" It was opened again {counted(camera.broken, 'time')}." if camera.broken else ""),
            to=error_console,
        )
    if lost := sum(sink.dropped for sink in sinks):
        say(f"{lost} events did not reach the webhook or the broker.", "yellow", to=error_console)


@contextmanager
def stopped_by_signals() -> Iterator[threading.Event]:
    """Yield a flag that the first Ctrl-C or SIGTERM sets, so that the watch ends in good order."""
    stop = threading.Event()
    before: dict[signal.Signals, Any] = {}

    def set_flag(number: int, _frame: FrameType | None) -> None:
        stop.set()
        signal.signal(number, before[signal.Signals(number)])

    if threading.current_thread() is threading.main_thread():  # other threads cannot handle signals
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, set_flag)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
