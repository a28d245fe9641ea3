"""``python -m app fetch``: download published checkpoints, after their licence is accepted, to where runs find them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.text import Text

from app.cli.models import CheckpointsOption, show_published, size_text
from app.cli.terminal import ProgressBars, console, say
from app.errors import GaitprintError, SettingsError

if TYPE_CHECKING:
    from app.weights.published import Published


def fetch(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Names of published checkpoints.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="Show what can be fetched.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Accept the licences without being asked.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Download again what is here already.")] = False,
    checkpoints: CheckpointsOption = Path("checkpoints"),
) -> None:
    """Download published checkpoints from their official addresses."""
    from app.weights.published import published, published_as

    if list_:
        show_published(list(published().values()), checkpoints)
        return
    if not names:
        raise SettingsError("Name the checkpoints to fetch; `python -m app fetch --list` shows which there are.")
    wanted = []
    for model in [published_as(name) for name in dict.fromkeys(names)]:
        folder = model.folder(checkpoints)
        if folder.exists() and not again:
            say(f"{model.name} is here already: {folder}. --again downloads it anew.")
        else:
            wanted.append(model)
    if wanted:
        _accept(wanted, yes)
        _fetch_all(wanted, checkpoints)


def _accept(wanted: Sequence[Published], yes: bool) -> None:
    """Show the licences, and ask whether they are accepted; `SettingsError` where they are not."""
    for licence in dict.fromkeys(model.licence for model in wanted):
        covered = [model for model in wanted if model.licence == licence]
        listed = ", ".join(" ".join((model.name, size_text(model.addresses[0].bytes))).strip() for model in covered)
        console.print(Text.assemble((licence.short, "bold yellow"), f": {listed}"), soft_wrap=True)
        say(f"  {licence.notice} {licence.url}")
        for model in covered:
            if not model.supported:
                say(f"  {model.name}: runs on videos cannot use it ({model.note}); it would only be stored.")
    if yes:
        return
    try:
        answer = console.input("Accept and download? \\[y/N] ")
    except EOFError:
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise SettingsError("Nothing was downloaded, because the licence was not accepted. Answer y, or give --yes.")


def _fetch_all(wanted: Sequence[Published], checkpoints: Path) -> None:
    """Download one after the other. A failure does not stop the others; it is raised at the end."""
    from app.hub.fetch import fetch as download
    from app.hub.inventory import registry_of

    bar = (BarColumn(bar_width=30), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    failures = []
    for model in wanted:
        try:
            with ProgressBars(TextColumn("{task.description}"), *bar, transient=True) as bars:
                fetched = download(model, checkpoints, bars.counter(model.name))
        except GaitprintError as error:
            failures.append(error)
            continue
        checked = "as expected" if fetched.known else "not known before; it is remembered for the next download"
        say(f"{model.name}: {model.folder(checkpoints)}")
        say(f"  {fetched.bytes} bytes, SHA-256 {fetched.sha256} ({checked})")
        if model.reader is not None:
            extra = registry_of(model.stage).get(model.reader).extra
            needs = f'; it needs pip install -e ".[{extra}]"' if extra else ""
            say(f"  Read by the {model.stage} '{model.reader}'{needs}. `python -m app models` shows what a run uses.")
    if len(failures) == 1:
        raise failures[0]
    if failures:
        raise GaitprintError("\n".join(str(error) for error in failures))
