"""``python -m app benchmark``: the families of gait networks, trained and evaluated under the same conditions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE
from rich.table import Table

from app.cli.options import BodyCacheOption, WardrobeOption, WorkersOption
from app.cli.terminal import ProgressBars, console, say

app = typer.Typer(help="Compare the families of gait networks.", no_args_is_help=True)


class _BarAlone:
    """Shows each stage in a bar that ends with it: training shows a bar of its own, and rich allows one at a time."""

    @contextmanager
    def stage(self, title: str, total: int | None) -> Iterator[Callable[[int], None]]:
        with ProgressBars() as bars, bars.stage(title, total) as advance:
            yield advance


@app.callback()
def _commands() -> None:
    """Keep `walkers` a sub-command."""


@app.command()
def walkers(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Folder of all results. A run that was stopped continues.")
    ],
    family: Annotated[
        list[str] | None, typer.Option(help="Only this family, e.g. gaitset; may be repeated. Default: all.")
    ] = None,
    subjects: Annotated[int, typer.Option(min=2, help="Number of training people.")] = 200,
    test_subjects: Annotated[int, typer.Option(min=2, help="Number of test people.")] = 100,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of each training, for a quick try.")] = None,
    wardrobe: WardrobeOption = None,
    workers: WorkersOption = 0,
    cache: BodyCacheOption = None,
) -> None:
    """Train each family with the same small budget on virtual walkers, and evaluate it on others."""
    from app.lab.training.gait.config import families
    from app.lab.walkers.body import CACHE
    from app.lab.zoo.table import GROUPS, cells, make_table

    wanted = [name.lower() for name in family or families()]
    rows = make_table(
        folder, wanted, subjects, test_subjects, cache=cache or CACHE, wardrobe=wardrobe,
        workers=workers, steps=steps, progress=_BarAlone(),
    )  # fmt: skip
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
