"""``python -m app train``: the networks that come with the project, and the pictures they learn from."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.terminal import ProgressBars, say, show_log
from app.errors import SettingsError
from app.weights.checkpoints import HOME

app = typer.Typer(help="Train the detector, the segmenter, the pose and the gait network.", no_args_is_help=True)

ConfigOption = Annotated[Path | None, typer.Option(help="YAML file of settings. Default: the one in app/training.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="One setting, e.g. steps=500; may be repeated.")
]
ExportOption = Annotated[Path | None, typer.Option(help="Where the ONNX file goes. Default: OUT/NETWORK.onnx.")]
ExportOnlyOption = Annotated[bool, typer.Option("--export-only", help="Do not train, export what OUT holds.")]

EMBEDDED_SEGMENTER = HOME / "embedded" / "segmenter" / "gaitprint-segmenter.onnx"


@app.command()
def detector(
    config: ConfigOption = None,
    set_: SetOption = None,
    export: ExportOption = None,
    export_only: ExportOnlyOption = False,
) -> None:
    """Train the person detector."""
    _train("detector", "DetectorTrainSettings", config, set_, export, export_only)


@app.command()
def segmenter(
    config: ConfigOption = None,
    set_: SetOption = None,
    export: ExportOption = None,
    export_only: ExportOnlyOption = False,
) -> None:
    """Train the network that cuts a person out of a crop."""
    _train("segmenter", "SegmenterTrainSettings", config, set_, export, export_only)


@app.command()
def pose(
    config: ConfigOption = None,
    set_: SetOption = None,
    export: ExportOption = None,
    export_only: ExportOnlyOption = False,
) -> None:
    """Train the network that finds a person's 17 keypoints."""
    _train("pose", "PoseTrainSettings", config, set_, export, export_only)


@app.command()
def gait(
    config: ConfigOption = None,
    set_: SetOption = None,
    export: ExportOption = None,
    export_only: ExportOnlyOption = False,
) -> None:
    """Train a gait network on data in OpenGait's layout. OpenGait's own YAML files are understood as --config."""
    if config is not None:
        from app.lab.zoo.config import is_opengait

        if is_opengait(config):
            if export is not None or export_only:
                raise SettingsError(
                    "--export is not for OpenGait's YAML: its networks are written as checkpoints (.pt)."
                )
            _train_zoo(config, set_ or ())
            return
    _train("gait", "GaitTrainSettings", config, set_, export, export_only)


@app.command()
def cutouts(
    out: Annotated[Path, typer.Option(help="Folder of the cut-outs. A run that was stopped goes on.")],
    people: Annotated[int, typer.Option(min=1, help="How many walkers; twelve pictures of each.")] = 600,
    workers: Annotated[int, typer.Option(min=0, help="Processes; 0: one for each core.")] = 0,
    wardrobe: Annotated[Path | None, typer.Option(help="Folder of MakeHuman clothes (.mhclo with .obj).")] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder for the body model.")] = None,
) -> None:
    """Render virtual walkers without background, for the training pictures of the first three networks."""
    from app.lab.synthesis.cutouts import write_cutouts
    from app.lab.walkers.body import CACHE

    with ProgressBars() as bars:
        write_cutouts(
            out, people, cache=cache or CACHE, wardrobe=wardrobe, workers=workers or os.cpu_count() or 1,
            progress=bars.counter("People", people),
        )  # fmt: skip
    say(f"Wrote {out}.")


@app.command()
def filmed(
    data: Annotated[Path, typer.Option(help="Data set made by: python -m app walkers dataset")],
    out: Annotated[Path, typer.Option(help="Folder of the new data set. A run that was stopped goes on.")],
    photos: Annotated[Path, typer.Option(help="Folder of pictures, see app/lab/synthesis/photos.py.")],
    cutouts: Annotated[Path, typer.Option(help="Cut-outs for bystanders: python -m app train cutouts")],
    segmenter: Annotated[Path, typer.Option(help="The segmenter's checkpoint.")] = EMBEDDED_SEGMENTER,
    people: Annotated[int | None, typer.Option(min=1, help="Only so many, the first.")] = None,
    walks: Annotated[int, typer.Option(min=1, help="Of each person, by one camera each.")] = 4,
    workers: Annotated[int, typer.Option(min=0, help="Processes; 0: one for each core.")] = 0,
    wardrobe: Annotated[Path | None, typer.Option(help="Folder of MakeHuman clothes, that of the data set.")] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder for the body model.")] = None,
) -> None:
    """Draw the walks of virtual walkers in colour and cut them out with a segmenter, for the gait network."""
    from app.lab.synthesis.filmed import Studio, write_filmed
    from app.lab.walkers.body import CACHE

    studio = Studio(data, photos, cutouts, segmenter, cache or CACHE, wardrobe, walks)
    with ProgressBars() as bars:
        write_filmed(
            out, studio, people=people, workers=workers or os.cpu_count() or 1,
            progress=bars.counter("People", people),
        )  # fmt: skip
    say(f"Wrote {out}.")


def _train_zoo(config: Path, assignments: Sequence[str]) -> None:
    from app.lab.zoo.config import read_opengait
    from app.lab.zoo.task import train

    settings = read_opengait(config, assignments)
    with show_log(times=True):
        train(settings)
    path = settings.out / "checkpoints" / f"{settings.name}-{settings.steps:05d}.pt"
    say(f"Wrote {path}, in OpenGait's format.")


def _train(
    name: str, kind: str, config: Path | None, assignments: list[str] | None, export: Path | None, export_only: bool
) -> None:
    from app.lab.training.settings import read_config

    module: Any = importlib.import_module(f"app.lab.training.{name}")
    settings = read_config(config, getattr(module, kind), assignments or (), name)
    if not export_only:
        with show_log(times=True):
            module.train(settings)
    path = export or settings.out / f"{name}.onnx"
    difference = module.export_network(settings, path)
    say(f"Wrote {path}; ONNX Runtime and torch differ by {difference:.1e} at most.")
