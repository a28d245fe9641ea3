"""``python -m app models``: which models are here, which a run uses and why, and which could be fetched."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from app.cli.terminal import console, error_console, say, show_log, write_json

if TYPE_CHECKING:
    from app.hub.inventory import GaitFamily, Model
    from app.weights.published import Published
    from app.weights.registry import Registry

CheckpointsOption = Annotated[Path, typer.Option(help="Folder of checkpoints.")]

app = typer.Typer(invoke_without_command=True)


@app.callback()
def models(
    context: typer.Context,
    checkpoints: CheckpointsOption = Path("checkpoints"),
    details: Annotated[
        bool, typer.Option("--details", help="Show everything: licences, figures, papers, which files can be read.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the models that are here, which of them a run uses and why, and what else can be read; or export one."""
    if context.invoked_subcommand is not None:
        return
    from app.hub.inventory import gait_families, models_of, registries
    from app.weights.published import published

    with show_log(error_console):
        here = {stage: list(models_of(stage, checkpoints)) for stage in registries()}
    if json_:
        listed = {
            "models": [asdict(model) for found in here.values() for model in found],
            "published": [
                {**asdict(model), "supported": model.supported, "folder": folder, "here": folder.exists()}
                for model in published().values()
                for folder in [model.folder(checkpoints)]
            ],
            "gait_families": [asdict(family) for family in gait_families()],
        }
        write_json(listed, indent=1)
        return
    for stage, found in here.items():
        _show_default(stage.stage, found, checkpoints)
        if details:
            _show_details(stage, found, checkpoints)
        else:
            _show_models(found)
        console.print()
    _show_families(gait_families(), details=details)
    if details:
        console.print()
        show_published(list(published().values()), checkpoints)
        return
    console.print(
        f"`python -m app models --details` shows everything about them; `python -m app fetch --list` lists the "
        f"{len(published())} checkpoints that can be fetched.",
        highlight=False,
    )


@app.command()
def export(
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="Gait network, e.g. GaitBase_DA-60000.pt.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The .onnx file to write.")],
    config: Annotated[
        Path | None, typer.Option(help="OpenGait's YAML file, for settings that the checkpoint does not hold.")
    ] = None,
    half: Annotated[bool, typer.Option("--half", help="Store the weights as float16; the file has half the size.")] = (
        False
    ),
    force: Annotated[bool, typer.Option("--force", help="Replace OUT if it exists.")] = False,
) -> None:
    """Write a gait network as an ONNX file, which needs no torch, and compare the results of both."""
    from app.files import need_new
    from app.lab.training.gait.export import export_checkpoint
    from app.weights.checkpoints import CheckpointFile

    need_new(out, overwrite=force, option="--force")
    file = CheckpointFile.given(checkpoint)
    made = export_checkpoint(file.path, out, config, "float16" if half else "float32")
    say(
        f"Wrote {out}: {made.family}, {made.parameters / 1e6:.1f} million parameters, from "
        f"{' and '.join(made.inputs)}. The results of ONNX Runtime and torch differ by at most "
        f"{made.difference:.1e} of the largest number."
    )
    if made.usable:
        say(f"Use it with --gait-checkpoint {out}.")
    else:
        say("The file is for other programs: Gaitprint reads only ONNX files that take silhouettes of 64 rows.")


@app.command()
def quantise(
    networks: Annotated[
        list[str],
        typer.Argument(
            metavar="NETWORK",
            help="A detector's, segmenter's or pose network's .onnx file; or detector, segmenter or pose for the one "
            "that runs use.",
        ),
    ],
    data: Annotated[Path, typer.Option(help="Folder of videos of people, e.g. input_videos.")],
    frames: Annotated[int, typer.Option(min=1, max=1000, help="How many frames of each video are looked at.")] = 24,
    checkpoints: CheckpointsOption = Path("checkpoints"),
) -> None:
    """Write the 8-bit version of networks beside them, and compare both. Runs use it where it is faster."""
    from app.cli.terminal import ProgressBars
    from app.errors import CheckpointError
    from app.hub.inventory import registries
    from app.hub.quantise import quantise as make
    from app.weights.checkpoints import CheckpointFile, checkpoint_roots
    from app.weights.registry import AUTO

    roots = checkpoint_roots(checkpoints)
    for network in networks:
        stage = next((found for found in registries() if found.stage == network), None)
        file = CheckpointFile.given(Path(network), roots) if stage is None else stage.choose(AUTO, None, roots).file
        if file is None:
            raise CheckpointError(f"The {network} that runs use has no weights. Give the .onnx file of a network.")
        with ProgressBars() as bars:
            made = make(file.path, data, frames, bars)
        before, after = made.milliseconds
        say(
            f"Wrote {made.path} ({size_text(made.size)}). {made.figures}. CPU time for a picture on one thread: "
            f"{before:.1f} ms in float32, {after:.1f} ms in 8 bits."
        )


def _show_default(stage: str, here: Sequence[Model], checkpoints: Path) -> None:
    """Say which model of a stage a run uses, and why."""
    default = next((model for model in here if model.used), None)
    if default is None:
        chosen, reason = "none", "no file is found, and every implementation needs one"
    else:
        chosen = default.name + (f", {_below(default.file, checkpoints)}" if default.file else "")
        reason = default.reason
    console.print(Text.assemble((stage, "bold"), ", used by default: ", (chosen, "green")), soft_wrap=True)
    _indented(f"because {reason}", "dim")


def _show_models(here: Sequence[Model]) -> None:
    """Print one line for each usable model of a stage; below, which files cannot be used and why."""
    table = _table("model", "file", "from", "size", "licence")
    for model in here:
        if not model.problem:
            name, file = Text(model.name, style="green" if model.used else ""), model.file.name if model.file else ""
            licence = re.split(r"[;:(]", model.licence)[0].strip()  # without the remarks that follow it
            table.add_row(name, Text(file), model.origin, size_text(model.bytes), Text(licence))
    if table.row_count:
        console.print(table)
    for model in here:
        _show_problem(model)


def _show_details(stage: Registry[Any, Any], here: Sequence[Model], checkpoints: Path) -> None:
    """Print everything about the models of a stage, and which files its implementations read."""
    for model in here:
        place = _below(model.file, checkpoints) if model.file else ""
        about = ", ".join(filter(None, (model.origin, size_text(model.bytes), place)))
        console.print(Text.assemble((model.name, "green" if model.used else "bold"), f": {about}"))
        _show_problem(model)
        if not model.problem:
            licence = model.licence and f"licence: {model.licence}"
            source = f"published as {model.published}" if model.published else ""
            card = f"card: {_below(model.card, checkpoints)}" if model.card else ""
            for line in filter(None, (licence, model.figures, model.note, source, card)):
                _indented(line)
    for entry in stage.entries():
        if entry.accepts is not None:
            extra = f'; pip install -e ".[{entry.extra}]"' if entry.extra else ""
            _indented(f"{entry.name} reads {entry.about}{extra}", "dim")


def _show_problem(model: Model) -> None:
    """Say why a file cannot be used, with its name in place of its long path."""
    if model.problem:
        problem = model.problem.replace(str(model.file), model.name)
        _indented(problem if model.name in problem else f"{model.name}: {problem}", "red")


def show_published(listed: Sequence[Published], checkpoints: Path) -> None:
    """Print published checkpoints, and which of them are here."""
    table = _table("published", "size", "licence", "published figures, notes")
    for model in listed:
        state = "here" if model.folder(checkpoints).exists() else "" if model.supported else "not for videos"
        notes = Text(", ".join(filter(None, (model.figures_line(), model.note))))
        if state:
            notes.append(f"{'; ' if notes else ''}{state}", style="green" if state == "here" else "")
        style = "" if model.supported else "dim"
        table.add_row(Text(model.name), size_text(model.addresses[0].bytes), model.licence.short, notes, style=style)
    console.print(table)
    console.print(
        "Figures are as published; those of gait networks are rank-1 in per cent. Runs prefer the checkpoints of a "
        "stage in this order. `python -m app fetch NAME` downloads one, after showing its licence.",
        highlight=False,
    )


def _show_families(families: Sequence[GaitFamily], *, details: bool) -> None:
    """Print the families of gait networks: one line for each, or everything about them."""
    table = _table("gait network", "M", "input", "weights")
    for family in families:
        size = "" if family.parameters is None else f"{family.parameters / 1e6:.1f}"
        weights = f"{len(family.published)}, {family.licence}" if family.published else "your own"
        weights = "not taken" if family.reason else weights
        table.add_row(*map(Text, (family.name, size, family.inputs, weights)), style="dim" if family.reason else "")
        if details:
            about = ", ".join(filter(None, (size and f"{size} M", family.inputs, f"weights: {weights}")))
            console.print(Text.assemble((family.name, "bold"), f": {about}"))
            figures = ", ".join(f"{data} {figure}" for data, figure in family.figures.items())
            _indented(family.paper + (f". Rank-1, %: {figures}" if figures else ""))
            if family.reason:
                _indented(f"It is not taken, because {family.reason}.")
    if not details:
        console.print(table)
    console.print(
        "M: millions of parameters of the published size, without the classifier. Weights: how many files can be "
        "fetched, or that you train your own; --details says why some are not taken. Figures are as published; those "
        "of different papers come from different training.",
        highlight=False,
    )


def size_text(size: int | None) -> str:
    """Write bytes in MB, for people; return an empty string if the size is unknown."""
    return "" if size is None else f"{size / 1e6:.1f} MB"


def _indented(text: str, style: str = "") -> None:
    console.print(Padding(Text(text, style=style), (0, 0, 0, 2)))


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    for column in columns:
        number = column in ("size", "M")
        table.add_column(column, justify="right" if number else "left", no_wrap=number or column == "published")
    return table


def _below(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)
