"""``python -m app models``: what is there, what a run would use, what could be fetched."""

from __future__ import annotations

import json
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

if TYPE_CHECKING:
    from app.inventory import GaitFamily, Model, Published
    from app.registry import Entry

console = Console()

CheckpointsOption = Annotated[Path, typer.Option(help="Folder of checkpoints.")]


app = typer.Typer(invoke_without_command=True)


@app.callback()
def models(
    context: typer.Context,
    checkpoints: CheckpointsOption = Path("checkpoints"),
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the networks that are there, which a run uses by default, and those that can be fetched; or export one."""
    if context.invoked_subcommand is not None:
        return
    from app.inventory import gait_families, models_of, published, registries

    if json_:
        found = [model for stage in registries() for model in models_of(stage, checkpoints)]
        listed = {
            "models": [asdict(model) for model in found],
            "published": [published_json(model, checkpoints) for model in published().values()],
            "gait_families": [asdict(family) for family in gait_families()],
        }
        print(json.dumps(listed, indent=1, default=str))
        return
    for stage in registries():
        show_models(console, stage.stage, list(models_of(stage, checkpoints)), checkpoints)
        _show_readers(console, stage.entries())
        console.print()
    _show_families(console, gait_families())
    console.print()
    show_published(console, list(published().values()), checkpoints)


@app.command()
def export(
    checkpoint: Annotated[Path, typer.Argument(help="Gait network, e.g. GaitBase_DA-60000.pt.")],
    out: Annotated[Path, typer.Argument(help="The .onnx file.")],
    config: Annotated[Path | None, typer.Option(help="OpenGait's YAML, for what the checkpoint does not tell.")] = None,
    half: Annotated[bool, typer.Option("--half", help="Keep the weights as float16: a file of half the size.")] = False,
) -> None:
    """Write a gait network as an ONNX file, which needs no torch, and compare the two."""
    from app.checkpoints import CheckpointFile
    from app.training.gait_export import export_gait

    file = CheckpointFile.given(checkpoint)
    made = export_gait(file.path, out, config, "float16" if half else "float32")
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


def show_models(console: Console, stage: str, here: Sequence[Model], checkpoints: Path) -> None:
    """Print the models of a stage that are there."""
    default = next((model for model in here if model.used), None)
    chosen = "none, as none is found"
    if default is not None:
        chosen = default.name + (f", {_below(default.file, checkpoints)}" if default.file else "")
    console.print(Text.assemble((stage, "bold"), ", used by default: ", (chosen, "green")), soft_wrap=True)
    table = _table()
    table.add_column("model", ratio=10, overflow="fold")
    table.add_column("from", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("licence", ratio=5, overflow="fold")
    table.add_column("figures, notes", ratio=10, overflow="fold")
    for model in here:
        name = Text(model.name, style="green" if model.used else "")
        if model.file:
            name.append(f"\n{_below(model.file, checkpoints)}", style="dim")
        source = f"published as {model.published}" if model.published else ""
        card = f"card: {_below(model.card, checkpoints)}" if model.card else ""
        told = Text("\n".join(line for line in (model.figures, model.note, source, card) if line))
        if model.problem:
            told = Text(model.problem.replace(str(model.file), model.name), style="red")
        table.add_row(name, model.origin, size_text(model.bytes), Text(model.licence), told)
    if here:
        console.print(table)


def show_published(console: Console, listed: Sequence[Published], checkpoints: Path) -> None:
    """Print published checkpoints, and which of them are there."""
    table = _table()
    table.add_column("published", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("licence", no_wrap=True)
    table.add_column("published figures, notes", overflow="fold", ratio=1)
    table.add_column("", no_wrap=True)
    for model in listed:
        state = Text("here", style="green") if model.folder(checkpoints).exists() else Text("")
        if not model.supported:
            state = Text("not read yet", style="dim")
        told = ", ".join(text for text in (model.figures_line(), model.note) if text)
        style = "" if model.supported else "dim"
        size = size_text(model.addresses[0].bytes)
        table.add_row(Text(model.name), size, model.licence.short, Text(told), state, style=style)
    console.print(table)
    console.print(
        "Figures as published; of gait networks rank-1 in per cent. `python -m app fetch NAME` downloads one, "
        "after showing its licence.",
        highlight=False,
    )


def _show_families(console: Console, families: Sequence[GaitFamily]) -> None:
    """Print the families of gait networks with their published figures."""
    table = _table()
    table.add_column("gait network", no_wrap=True)
    table.add_column("M", justify="right", no_wrap=True)
    table.add_column("sees", width=11)
    table.add_column("rank-1 as published, %", ratio=6, overflow="fold")
    table.add_column("paper", ratio=4, overflow="fold")
    table.add_column("weights", ratio=3)
    for family in families:
        figures = ", ".join(f"{data} {figure}" for data, figure in family.figures.items())
        size = "" if family.parameters is None else f"{family.parameters / 1e6:.1f}"
        weights = f"{len(family.published)}, {family.licence}" if family.published else "your own"
        if family.network is None:
            weights = "not read yet"
        style = "dim" if family.network is None else ""
        table.add_row(
            *(Text(text) for text in (family.name, size, family.inputs, figures, family.paper, weights)), style=style
        )
    console.print(table)
    console.print(
        "M: millions of parameters, published size, without the classifier; weights: how many of the files below, or "
        "those you train. Figures of different papers come of different trainings.",
        highlight=False,
    )


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
            console.print(Padding(Text(f"{entry.name} reads {entry.about}{extra}", style="dim"), (0, 0, 0, 2)))


def _table() -> Table:
    return Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, expand=True)


def _below(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)
