"""``python -m app fetch``: published checkpoints, with their licence, into the folder where runs find them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import (
    BarColumn,
    DownloadColumn,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from app.cli.models import CheckpointsOption, show_published, size_text
from app.cli.terminal import ProgressBars, console, say
from app.errors import GaitprintError, SettingsError

if TYPE_CHECKING:
    from app.weights.published import Published


def fetch(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME...", help="Published checkpoints.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="Show what can be fetched.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Accept the licences.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Download what is there already, too.")] = False,
    checkpoints: CheckpointsOption = Path("checkpoints"),
) -> None:
    """Download published checkpoints from their official addresses."""
    from app.weights.published import published, published_as

    if list_:
        show_published(console, list(published().values()), checkpoints)
        return
    if not names:
        raise SettingsError("Name what to fetch; `python -m app fetch --list` shows what there is.")
    wanted = []
    for model in [published_as(name) for name in dict.fromkeys(names)]:
        folder = model.folder(checkpoints)
        if folder.exists() and not again:
            say(f"{model.name} is there already: {folder}. --again downloads it anew.")
        else:
            wanted.append(model)
    if wanted:
        _accept(wanted, yes)
        _fetch_all(wanted, checkpoints)


def _accept(wanted: Sequence[Published], yes: bool) -> None:
    """Show the licences, and have them accepted.

    Raises:
        SettingsError: they are not.
    """
    for licence in dict.fromkeys(model.licence for model in wanted):
        covered = [model for model in wanted if model.licence == licence]
        listed = ", ".join(" ".join((model.name, size_text(model.addresses[0].bytes))).strip() for model in covered)
        console.print(Text.assemble((licence.short, "bold yellow"), f": {listed}"), soft_wrap=True)
        say(f"  {licence.notice} {licence.url}")
        for model in covered:
            if not model.supported:
                say(f"  {model.name}: {model.family} networks are not read yet; the file would only be kept.")
    if yes:
        return
    try:
        answer = console.input("Accept and download? \\[y/N] ")
    except EOFError:
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise SettingsError("Nothing was downloaded: the licence was not accepted (answer y, or give --yes).")


def _fetch_all(wanted: Sequence[Published], checkpoints: Path) -> None:
    """Download one after the other; what fails does not stop the others, and is raised at the end."""
    from app.hub.fetch import fetch as download
    from app.hub.inventory import registry_of

    failures = []
    for model in wanted:
        try:
            with ProgressBars(*_columns(), transient=True) as bars:
                fetched = download(model, checkpoints, bars.counter(model.name))
        except GaitprintError as error:
            failures.append(error)
            continue
        checked = "as known" if fetched.known else "not known before; remembered for the next download"
        say(f"{model.name}: {model.folder(checkpoints)}")
        say(f"  {fetched.bytes} bytes, SHA-256 {fetched.sha256} ({checked})")
        if model.reader is not None:
            extra = registry_of(model.stage).get(model.reader).extra
            needs = f'; it needs pip install -e ".[{extra}]"' if extra else ""
            say(f"  Read by the {model.stage} '{model.reader}'{needs}. `python -m app models` says what a run uses.")
    if len(failures) == 1:
        raise failures[0]
    if failures:
        raise GaitprintError("\n".join(str(error) for error in failures))


def _columns() -> tuple[ProgressColumn, ...]:
    """What the bar of a download shows."""
    return (
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
