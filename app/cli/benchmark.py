"""``python -m app benchmark``: the families of gait networks, trained and judged alike."""

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
    folder: Annotated[Path, typer.Argument(help="Folder of people, networks and table.md. A stopped run goes on.")],
    family: Annotated[
        list[str] | None, typer.Option(help="Only this family, e.g. gaitset; may be repeated. Default: all.")
    ] = None,
    subjects: Annotated[int, typer.Option(min=2, help="People to learn from.")] = 200,
    test_subjects: Annotated[int, typer.Option(min=2, help="People to tell apart.")] = 100,
    steps: Annotated[int | None, typer.Option(min=1, help="Of each training, for a quick look.")] = None,
    wardrobe: Annotated[Path | None, typer.Option(help="Folder of MakeHuman clothes (.mhclo with .obj).")] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that make people; 0: one for each core.")] = 0,
    cache: Annotated[Path | None, typer.Option(help="Folder for the body model.")] = None,
) -> None:
    """Train each family for the same small budget on virtual walkers, and judge it on others."""
    from app.lab.walkers.body import CACHE
    from app.lab.zoo.table import GROUPS, cells, families, make_table

    bars = ProgressBars()
    tasks: dict[str, TaskID] = {}

    def report(what: str, done: int, total: int) -> None:
        if what not in tasks:
            tasks[what] = bars.add_task(what.capitalize(), total=total)
            bars.start()
        bars.update(tasks[what], completed=done)
        if done == total:  # Lightning draws a bar of its own while it trains, and there can be one at a time
            bars.stop()
            bars.remove_task(tasks.pop(what))

    try:
        rows = make_table(
            folder, family or families(), subjects, test_subjects, cache=cache or CACHE, wardrobe=wardrobe,
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
        "Rank-1 (NM, BG, CL) and mAP in %: virtual walkers, CASIA-B's protocol. ms: of one core, for a walk of 20 "
        "frames. Silhouettes are exact, keypoints and heatmaps have errors as an estimator makes them. The "
        "networks are small and hardly trained: minutes of one core, where published ones had days of GPUs. It ranks "
        "neither the papers nor real use."
    )
    say(f"Wrote {folder / 'table.md'} and {folder / 'results.json'}.")
