"""``python -m app models``: what is there, what a run would use, what could be fetched."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from app.cli.terminal import console, error_console, show_log

if TYPE_CHECKING:
    from app.hub.inventory import GaitFamily, Model
    from app.weights.published import Published
    from app.weights.registry import Entry


CheckpointsOption = Annotated[Path, typer.Option(help="Folder of checkpoints.")]


app = typer.Typer(invoke_without_command=True)


@app.callback()
def models(
    context: typer.Context,
    checkpoints: CheckpointsOption = Path("checkpoints"),
    details: Annotated[
        bool, typer.Option("--details", help="Say all: licences, figures, papers, what can be read and fetched.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the networks that are there, which a run uses by default, and those that can be read; or export one."""
    if context.invoked_subcommand is None:
        with show_log(error_console):
            _list(checkpoints, details, json_)


def _list(checkpoints: Path, details: bool, as_json: bool) -> None:
    """Print the list, for people or as JSON."""
    from app.hub.inventory import gait_families, models_of, registries
    from app.weights.published import published

    if as_json:
        found = [model for stage in registries() for model in models_of(stage, checkpoints)]
        listed = {
            "models": [asdict(model) for model in found],
            "published": [published_json(model, checkpoints) for model in published().values()],
            "gait_families": [asdict(family) for family in gait_families()],
        }
        print(json.dumps(listed, indent=1, default=str))
        return
    for stage in registries():
        here = list(models_of(stage, checkpoints))
        _show_default(console, stage.stage, here, checkpoints)
        if details:
            for model in here:
                _show_model(console, model, checkpoints)
            _show_readers(console, stage.entries())
        else:
            _show_models(console, here)
        console.print()
    if details:
        _show_family_details(console, gait_families())
        console.print()
        show_published(console, list(published().values()), checkpoints)
        return
    _show_families(console, gait_families())
    console.print(
        f"`python -m app models --details` says all of them; `python -m app fetch --list` lists the {len(published())} "
        "checkpoints that can be fetched.",
        highlight=False,
    )


@app.command()
def export(
    checkpoint: Annotated[Path, typer.Argument(help="Gait network, e.g. GaitBase_DA-60000.pt.")],
    out: Annotated[Path, typer.Argument(help="The .onnx file.")],
    config: Annotated[Path | None, typer.Option(help="OpenGait's YAML, for what the checkpoint does not tell.")] = None,
    half: Annotated[bool, typer.Option("--half", help="Keep the weights as float16: a file of half the size.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace OUT where it is there.")] = False,
) -> None:
    """Write a gait network as an ONNX file, which needs no torch, and compare the two."""
    from app.errors import OutputError
    from app.files import need_writable
    from app.lab.training.gait.export import export_checkpoint
    from app.weights.checkpoints import CheckpointFile

    if out.exists() and not force:
        raise OutputError(f"{out} is there already. Give another name, or --force.")
    need_writable(out)
    file = CheckpointFile.given(checkpoint)
    made = export_checkpoint(file.path, out, config, "float16" if half else "float32")
    inputs = " and ".join(made.inputs)
    console.print(
        f"Wrote {escape(str(out))}: {made.family}, {made.parameters / 1e6:.1f} million parameters, from {inputs}. ONNX "
        f"Runtime and torch differ by {made.difference:.1e} of the largest number, at most.",
        soft_wrap=True,
    )
    use = (
        f"Use it with --gait-checkpoint {escape(str(out))}."
        if made.usable
        else ("It is for other programs: runs here take ONNX files from silhouettes of 64 rows alone.")
    )
    console.print(use, soft_wrap=True)


def _show_default(console: Console, stage: str, here: Sequence[Model], checkpoints: Path) -> None:
    """Say which model of a stage a run uses."""
    default = next((model for model in here if model.used), None)
    if default is None:
        chosen, reason = "none", "no file is found, and every implementation needs one"
    else:
        chosen = default.name + (f", {_below(default.file, checkpoints)}" if default.file else "")
        reason = default.reason
    console.print(Text.assemble((stage, "bold"), ", used by default: ", (chosen, "green")), soft_wrap=True)
    _indented(console, f"because {reason}", "dim")


def _show_models(console: Console, here: Sequence[Model]) -> None:
    """Print the models of a stage that are there, a line for each; what cannot be used below."""
    table = _table("model", "file", "from", "size", "licence")
    for model in here:
        if not model.problem:
            name, file = Text(model.name, style="green" if model.used else ""), model.file.name if model.file else ""
            table.add_row(name, Text(file), model.origin, size_text(model.bytes), Text(_short(model.licence)))
    if table.row_count:
        console.print(table)
    for model in here:
        if model.problem:
            _indented(console, _problem(model), "red")


def _show_model(console: Console, model: Model, checkpoints: Path) -> None:
    """Print everything about a model that is there."""
    place = _below(model.file, checkpoints) if model.file else ""
    about = ", ".join(text for text in (model.origin, size_text(model.bytes), place) if text)
    name = (model.name, "green" if model.used else "bold")
    console.print(Text.assemble(name, f": {about}"), soft_wrap=True)
    if model.problem:
        _indented(console, _problem(model), "red")
        return
    source = f"published as {model.published}" if model.published else ""
    card = f"card: {_below(model.card, checkpoints)}" if model.card else ""
    for told in (model.licence and f"licence: {model.licence}", model.figures, model.note, source, card):
        if told:
            _indented(console, told)


def show_published(console: Console, listed: Sequence[Published], checkpoints: Path) -> None:
    """Print published checkpoints, and which of them are there."""
    table = _table("published", "size", "licence", "published figures, notes")
    for model in listed:
        state = "here" if model.folder(checkpoints).exists() else "" if model.supported else "not read yet"
        told = Text(", ".join(text for text in (model.figures_line(), model.note) if text))
        if state:
            told.append(f"{'; ' if told else ''}{state}", style="green" if state == "here" else "")
        style = "" if model.supported else "dim"
        table.add_row(Text(model.name), size_text(model.addresses[0].bytes), model.licence.short, told, style=style)
    console.print(table)
    console.print(
        "Figures as published; of gait networks rank-1 in per cent. `python -m app fetch NAME` downloads one, "
        "after showing its licence.",
        highlight=False,
    )


def _show_families(console: Console, families: Sequence[GaitFamily]) -> None:
    """Print the families of gait networks, a line for each."""
    table = _table("gait network", "M", "sees", "weights")
    for family in families:
        style = "dim" if family.network is None else ""
        table.add_row(
            *(Text(text) for text in (family.name, _millions(family), family.inputs, _weights(family))), style=style
        )
    console.print(table)
    console.print(_FAMILIES, highlight=False)


def _show_family_details(console: Console, families: Sequence[GaitFamily]) -> None:
    """Print everything about the families of gait networks."""
    for family in families:
        size = f"{_millions(family)} M, " if family.parameters else ""
        sees = f"from {family.inputs}; " if family.inputs else ""
        console.print(
            Text.assemble((family.name, "bold"), f": {size}{sees}weights: {_weights(family)}"), soft_wrap=True
        )
        figures = ", ".join(f"{data} {figure}" for data, figure in family.figures.items())
        _indented(console, family.paper + (f". Rank-1, %: {figures}" if figures else ""))
    console.print(_FAMILIES, highlight=False)


_FAMILIES = (
    "M: millions of parameters, published size, without the classifier; weights: how many files can be fetched, or "
    "those you train. Figures are as published; those of different papers come of different trainings."
)


def _millions(family: GaitFamily) -> str:
    return "" if family.parameters is None else f"{family.parameters / 1e6:.1f}"


def _weights(family: GaitFamily) -> str:
    if family.network is None:
        return "not read yet"
    return f"{len(family.published)}, {family.licence}" if family.published else "your own"


def published_json(model: Published, checkpoints: Path) -> dict[str, Any]:
    """A published checkpoint as JSON holds it."""
    folder = model.folder(checkpoints)
    return {**asdict(model), "supported": model.supported, "folder": folder, "here": folder.exists()}


def size_text(size: int | None) -> str:
    """Bytes in MB, for people; nothing where they are unknown."""
    return "" if size is None else f"{size / 1e6:.1f} MB"


def _show_readers(console: Console, entries: Iterable[Entry[Any, Any]]) -> None:
    """Say what files the stage's implementations read."""
    for entry in entries:
        if entry.accepts is not None:
            extra = f'; pip install -e ".[{entry.extra}]"' if entry.extra else ""
            _indented(console, f"{entry.name} reads {entry.about}{extra}", "dim")


def _problem(model: Model) -> str:
    """Why a file cannot be used; its name stands for its long path."""
    told = model.problem.replace(str(model.file), model.name)
    return told if model.name in told else f"{model.name}: {told}"


def _short(licence: str) -> str:
    """The licence without what is said of it."""
    return re.split(r"[;:(]", licence)[0].strip()


def _indented(console: Console, text: str, style: str = "") -> None:
    console.print(Padding(Text(text, style=style), (0, 0, 0, 2)))


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in columns:
        number = column in ("size", "M")
        table.add_column(column, justify="right" if number else "left", no_wrap=number or column == "published")
    return table


def _below(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)
