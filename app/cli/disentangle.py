"""``python -m app disentangle``: gait recognition from skeletons with separate codes of motion, body and view."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.cli.terminal import console, say, show_log
from app.cli.train import ConfigOption, SetOption

app = typer.Typer(help="Separate motion, body and view of skeletons (data sets of keypoints in OpenGait's layout).")

CheckpointOption = Annotated[Path, typer.Option("--checkpoint", help="The file network.pt of a training.")]
DataOption = Annotated[Path, typer.Option(help="Data set in OpenGait's layout with keypoints.")]
PartitionOption = Annotated[
    Path | None, typer.Option(help="OpenGait's JSON that names the test people. Default: everybody is a test person.")
]


@app.command()
def train(config: ConfigOption = None, set_: SetOption = None) -> None:
    """Train autoencoder and recognition network. A training that was stopped continues; its log is in OUT/log."""
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
        str | None, typer.Option(help="As of evaluate. Default: each person's first walk is the gallery.")
    ] = None,
    excel: Annotated[Path, typer.Option(help="Excel file of the tables (needs the extra evaluate).")] = Path(
        "output/disentangled/test.xlsx"
    ),
) -> None:
    """Evaluate how well the codes are separated, and how many people are recognised; write Excel tables."""
    from rich.progress import track

    from app.lab.evaluation.report import write_excel
    from app.lab.training.disentangled_report import judge as evaluate

    result = evaluate(
        checkpoint, data, partition, protocol, lambda walks: track(walks, "Reading", console=console, transient=True)
    )
    say("Mean error of the joints, in per cent of the body's height:")
    for name, value in result.errors.items():
        say(f"  {name} {value:.2f}")
    for score in result.evaluation.scores:
        figure = score.metrics["Rank-1"]
        say(
            f"{score.name}: rank-1 {_percent(figure.value)} (95 % interval {_percent(figure.low)} to "
            f"{_percent(figure.high)}) of {result.evaluation.people} people"
        )
    write_excel([result.evaluation], excel)
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
    """Draw two walks, their motion codes, and the walks that result from exchanging motion, body and view."""
    from app.lab.training.disentangled_report import draw

    for path in draw(checkpoint, data, partition, people, out):
        say(f"Wrote {path}.")
