"""``python -m app evaluate``: gait models on data sets, by their published protocols."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Table as RichTable
from rich.text import Text

from app.cli.options import ClusterOption, load_settings
from app.cli.terminal import ProgressBars, console, say

if TYPE_CHECKING:
    from app.lab.evaluation.tables import Cell, Table


def evaluate(
    data: Annotated[
        list[Path],
        typer.Option(help="Data set in OpenGait's layout: identity/condition/view/*.pkl. May be repeated."),
    ],
    protocol: Annotated[
        list[str],
        typer.Option(
            help="casia-b, casia-b-all-views, oumvlp, grew, gait3d, sustech1k, ccpg, or a .yaml file of your own. One "
            "for all data sets, or one for each."
        ),
    ],
    partition: Annotated[
        list[Path] | None,
        typer.Option(help="OpenGait's JSON that lists the test people, one for each data set. Default: everybody."),
    ] = None,
    checkpoint: Annotated[
        list[Path] | None,
        typer.Option(help="Gait network's file, e.g. GaitBase_DA-60000.pt. May be repeated."),
    ] = None,
    gait_checkpoint: Annotated[list[Path] | None, typer.Option(hidden=True)] = None,  # as other commands call it
    gait: Annotated[str | None, typer.Option(help="Gait model by name, e.g. gei.")] = None,
    metric: Annotated[str, typer.Option(help="Distance of embeddings: euclidean or cosine.")] = "euclidean",
    rerank: Annotated[bool, typer.Option("--rerank", help="Re-rank by k-reciprocal neighbours.")] = False,
    frames: Annotated[
        str | None, typer.Option(help="Evaluate also with only so many frames of each walk, e.g. 5,10,20,40.")
    ] = None,
    json_: Annotated[Path | None, typer.Option("--json", help="Write everything to this file.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Write the figures to this file, one in each row.")] = None,
    excel: Annotated[Path | None, typer.Option(help="Write the tables to this file (extra evaluate).")] = None,
    pictures: Annotated[Path | None, typer.Option(help="Draw the curves into this folder (extra evaluate).")] = None,
    submission: Annotated[
        Path | None, typer.Option(help="Do not evaluate, but write the CSV that GREW's server scores.")
    ] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder of embeddings. Default: output/cache/embeddings.")] = None,
    cluster: ClusterOption = None,
) -> None:
    """Evaluate gait models on data sets, by their published protocols. A run that was stopped continues.

    Several checkpoints or data sets make a table: trained on one data set, tested on another.
    """
    from app.lab.evaluation.embeddings import MAX_FRAMES, Cluster
    from app.lab.evaluation.evaluate import data_sets, frame_counts, submit
    from app.lab.evaluation.evaluate import evaluate as run
    from app.lab.evaluation.files import load_model
    from app.lab.evaluation.report import Outputs
    from app.lab.evaluation.tables import cross_tables, headline, legend, tables_of

    common = {"gait.name": gait, "gait.max_frames": MAX_FRAMES, "match.metric": metric}
    files: list[Path | None] = [*(checkpoint or []), *(gait_checkpoint or [])] or [None]
    every = [load_settings(named={"gait.checkpoint": file, **common}) for file in files]
    sets = data_sets(data, protocol, partition or (), rerank=rerank)
    counts = frame_counts(frames)
    outputs = Outputs(json_, csv, excel, pictures, submission)
    outputs.check(len(every) * len(sets))
    found = []
    with ProgressBars() as bars:
        for settings in every:
            model, distance = load_model(settings), settings.match.metric
            machines = Cluster(cluster, settings) if cluster is not None else None
            for folder, rules, listed in sets:
                if submission is not None:
                    submit(
                        model, folder, rules, submission, listed, metric=distance, cache=cache, cluster=machines,
                        progress=bars,
                    )  # fmt: skip
                    say(f"Wrote {submission}. The server takes it in a zip archive.")
                    return
                found.append(
                    run(
                        model, folder, rules, listed, metric=distance, rerank=rerank, frames=counts,
                        cache=cache, cluster=machines, progress=bars,
                    )
                )  # fmt: skip
    if len(found) == 1:
        say(headline(found[0]))
    for table in tables_of(found[0]) if len(found) == 1 else cross_tables(found):
        _print(table)
    for line in legend(found):
        say(line)
    for path in outputs.write(found):
        say(f"Wrote {path}.")


def _print(table: Table) -> None:
    """Print a table; where the terminal is too narrow for its columns, in several pieces below each other."""
    best = [max((_value(row[i]) for row in table.rows.values()), default=0.0) for i in range(len(table.columns))]
    rows = {
        name: [
            f"[bold]{_text(cell)}[/]" if table.compares and _value(cell) == best[i] else _text(cell)
            for i, cell in enumerate(row)
        ]
        for name, row in table.rows.items()
    }

    def width(*cells: str) -> int:
        return 2 + max(len(line) for cell in cells for line in Text.from_markup(cell).plain.split("\n"))

    room = console.width - 2 - min(width(table.corner, *map(escape, rows)), console.width // 3)
    widths = [width(escape(name), *(row[i] for row in rows.values())) for i, name in enumerate(table.columns)]
    start = 0
    while start < len(table.columns):
        end = start + 1
        while end < len(table.columns) and sum(widths[start : end + 1]) <= room:
            end += 1
        piece = RichTable(
            table.corner, title=escape(table.title), title_justify="left", box=SIMPLE, padding=(0, 0, 0, 1)
        )
        piece.columns[0].overflow = "fold"
        for name in table.columns[start:end]:
            piece.add_column(escape(name), justify="right", no_wrap=True)
        for name, cells in rows.items():
            piece.add_row(escape(name), *cells[start:end])
        console.print(piece)
        start = end


def _value(cell: Cell) -> float:
    value = cell if isinstance(cell, (int, float)) or cell is None else cell.value
    return value or 0.0


def _text(cell: Cell) -> str:
    if cell is None or isinstance(cell, int):
        return "" if cell is None else str(cell)
    if isinstance(cell, float):
        return f"{100 * cell:.1f}"
    if cell.value is None:
        return ""
    return f"{_text(cell.value)}\n[dim]{_text(cell.low)}..{_text(cell.high)}[/]"
