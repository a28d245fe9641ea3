"""``python -m app disentangle``: motion, body and view of skeletons told apart."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from app.cli.terminal import console, say, show_log

app = typer.Typer(help="Tell motion, body and view of skeletons apart (keypoints in OpenGait's layout).")

CheckpointOption = Annotated[Path, typer.Option("--checkpoint", help="network.pt of a training.")]
DataOption = Annotated[Path, typer.Option(help="Data set in OpenGait's layout with keypoints.")]
PartitionOption = Annotated[Path | None, typer.Option(help="OpenGait's JSON: who is for testing. Default: everybody.")]


@app.command()
def train(
    config: Annotated[Path | None, typer.Option(help="YAML of settings. Default: the one in app/training.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="One setting, e.g. data=data/walkers.")
    ] = None,
) -> None:
    """Train autoencoder and recognition network; a run that was stopped goes on. TensorBoard's log is in OUT/log."""
    from app.lab.training.disentangled import DisentangledTrainSettings
    from app.lab.training.disentangled import train as fit
    from app.lab.training.settings import read_config

    settings = read_config(config, DisentangledTrainSettings, set_ or (), "disentangled")
    with show_log(times=True):
        fit(settings)
    say(f"Wrote {settings.out / 'network.pt'}.")


@app.command("test")
def judge(
    checkpoint: CheckpointOption,
    data: DataOption,
    partition: PartitionOption = None,
    protocol: Annotated[
        str | None, typer.Option(help="As of evaluate. Default: the first walk of everybody is the gallery.")
    ] = None,
    excel: Annotated[Path, typer.Option(help="The tables (extra evaluate).")] = Path("output/disentangled/test.xlsx"),
) -> None:
    """Judge what was told apart, and who is known again from other views; write Excel tables."""
    from rich.progress import track

    from app.lab.evaluation.report import write_excel
    from app.lab.training.disentangled_report import judge as judged

    found = judged(
        checkpoint, data, partition, protocol, lambda walks: track(walks, "Reading", console=console, transient=True)
    )
    console.print("Joints are off by so many per cent of the body's height:")
    for name, value in found.errors.items():
        console.print(f"  {name} {value:.2f}", highlight=False)
    for score in found.evaluation.scores:
        figure = score.metrics["Rank-1"]
        console.print(
            f"{escape(score.name)}: rank-1 {_percent(figure.value)} (95 % interval {_percent(figure.low)} to "
            f"{_percent(figure.high)}) of {found.evaluation.people} people",
            highlight=False,
        )
    write_excel([found.evaluation], excel)
    say(f"Wrote {excel}.")


def _percent(share: float | None) -> str:
    return "unknown" if share is None else f"{share:.1%}"


@app.command()
def visualize(
    checkpoint: CheckpointOption,
    data: DataOption,
    partition: PartitionOption = None,
    people: Annotated[tuple[int, int], typer.Option(help="Two of the people, counted from 0.")] = (0, 1),
    out: Annotated[Path, typer.Option(help="Folder of the pictures.")] = Path("output/disentangled"),
) -> None:
    """Draw two walks, their motion codes as heat maps, and what comes of exchanging motion, body and view."""
    from app.lab.training.disentangled_report import draw

    for path in draw(checkpoint, data, partition, people, out):
        say(f"Wrote {path}.")
