"""``python -m app benchmark``: the families of gait networks, trained and evaluated under the same conditions."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE
from rich.progress import TaskID
from rich.table import Table

from app.cli.terminal import ProgressBars, console, say

app = typer.Typer(help="Compare the families of gait networks.", no_args_is_help=True)


@app.callback()
def _commands() -> None:
    """Keep `walkers` a sub-command."""


@app.command()
def walkers(
    folder: Annotated[Path, typer.Argument(help="Folder of all results. A run that was stopped continues.")],
    family: Annotated[
        list[str] | None, typer.Option(help="Only this family, e.g. gaitset; may be repeated. Default: all.")
    ] = None,
    subjects: Annotated[int, typer.Option(min=2, help="Number of training people.")] = 200,
    test_subjects: Annotated[int, typer.Option(min=2, help="Number of test people.")] = 100,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of each training, for a quick try.")] = None,
    wardrobe: Annotated[Path | None, typer.Option(help="Folder of MakeHuman clothes (.mhclo with .obj).")] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that record people; 0: one for each core.")] = 0,
    cache: Annotated[Path | None, typer.Option(help="Folder for the body model.")] = None,
) -> None:
    """Train each family with the same small budget on virtual walkers, and evaluate it on others."""
    from app.lab.training.gait.config import families
    from app.lab.walkers.body import CACHE
    from app.lab.zoo.table import GROUPS, cells, make_table

    bars = ProgressBars()
    tasks: dict[str, TaskID] = {}

    def report(what: str, done: int, total: int) -> None:
        if what not in tasks:
            tasks[what] = bars.add_task(what[:1].upper() + what[1:], total=total)
            bars.start()
        bars.update(tasks[what], completed=done)
        if done == total:  # the training shows a bar of its own, and rich allows one at a time
            bars.stop()
            bars.remove_task(tasks.pop(what))

    wanted = [name.lower() for name in family or families()]
    try:
        rows = make_table(
            folder, wanted, subjects, test_subjects, cache=cache or CACHE, wardrobe=wardrobe,
            workers=workers or os.cpu_count() or 1, steps=steps, progress=report,
        )  # fmt: skip
    finally:
        bars.stop()
    heads = ("Family", "Sees", *GROUPS, "mAP", "Weights", "ms", "Steps", "Minutes")
    table = Table(*heads, box=SIMPLE, padding=(0, 0, 0, 1))
    for row in rows:
        table.add_row(*cells(row))
    console.print(table)
    console.print(
        "Rank-1 (NM, BG, CL) and mAP are in %, on virtual walkers, by CASIA-B's protocol. ms is the time of one core "
        "for a walk of 20 frames. Silhouettes are exact; keypoints and heatmaps have the errors of a pose estimator. "
        "The networks are small and were trained for minutes on one core, not for days on GPUs like published ones. So "
        "this table ranks neither the papers nor real use."
    )
    say(f"Wrote {folder / 'table.md'} and {folder / 'results.json'}.")
