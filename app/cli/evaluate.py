"""``python -m app evaluate``: gait models on data sets, by their published protocols."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from app.cli.terminal import ProgressBars, console, say
from app.errors import SettingsError

if TYPE_CHECKING:
    from app.gallery.distances import Metric
    from app.lab.evaluation.evaluate import Evaluation
    from app.lab.evaluation.scores import Figure, Score
    from app.lab.evaluation.table import CrossTable
    from app.stages import GaitModel


def evaluate(
    data: Annotated[
        list[Path],
        typer.Option(help="Data set in OpenGait's layout: identity/condition/view/*.pkl. May be repeated."),
    ],
    protocol: Annotated[
        list[str],
        typer.Option(
            help="casia-b, casia-b-all-views, oumvlp, grew, gait3d, sustech1k, ccpg, or a .yaml of your own; one for "
            "all data sets or one for each."
        ),
    ],
    partition: Annotated[
        list[Path] | None,
        typer.Option(help="OpenGait's JSON, for each data set: who is for testing. Default: everybody."),
    ] = None,
    checkpoint: Annotated[
        list[Path] | None,
        typer.Option(
            "--checkpoint", "--gait-checkpoint", help="Gait network, e.g. GaitBase_DA-60000.pt. May be repeated."
        ),
    ] = None,
    gait: Annotated[str | None, typer.Option(help="Gait model by name, e.g. gei.")] = None,
    metric: Annotated[str, typer.Option(help="euclidean or cosine.")] = "euclidean",
    rerank: Annotated[bool, typer.Option("--rerank", help="Re-rank by k-reciprocal neighbours.")] = False,
    frames: Annotated[
        str | None, typer.Option(help="Judge also with so many frames of each walk, e.g. 5,10,20,40.")
    ] = None,
    json_: Annotated[Path | None, typer.Option("--json", help="Write everything here.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Write the figures here, a row for each.")] = None,
    excel: Annotated[Path | None, typer.Option(help="Write the tables here (extra evaluate).")] = None,
    pictures: Annotated[Path | None, typer.Option(help="Folder for the curves.")] = None,
    submission: Annotated[
        Path | None, typer.Option(help="Do not judge, write the CSV that GREW's server judges (--protocol grew).")
    ] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder of embeddings (default: output/cache/embeddings).")] = None,
) -> None:
    """Judge gait models on data sets, by their published protocols. A run that was stopped goes on.

    Several checkpoints or data sets make a table: what was trained on one data set, tested on another.
    """
    from app.files import need_writable
    from app.lab.evaluation import report, table
    from app.lab.evaluation.embeddings import CACHE, MAX_FRAMES
    from app.lab.evaluation.evaluate import evaluate as judge
    from app.lab.evaluation.evaluate import submit
    from app.lab.evaluation.files import FileEmbedder, needs_files
    from app.lab.evaluation.protocol import read_protocol
    from app.lab.evaluation.scores import need_rerankable
    from app.settings import Settings
    from app.weights.checkpoints import CheckpointFile, checkpoint_roots
    from app.weights.registry import gait_models

    if metric not in ("euclidean", "cosine"):
        raise SettingsError(f"There is no distance '{metric}'. Known: euclidean, cosine.")
    counts = _counts(frames)
    protocols = protocol * len(data) if len(protocol) == 1 else protocol
    partitions: list[Path | None] = list(partition) if partition else [None] * len(data)
    if not len(data) == len(protocols) == len(partitions):
        raise SettingsError(
            f"{len(data)} data sets, {len(protocol)} protocols and {len(partitions)} partitions: give one protocol, or "
            "one for each data set, and no partition, or one for each."
        )
    sets = list(zip(data, protocols, partitions, strict=True))
    several = len(sets) > 1 or len(checkpoint or ()) > 1
    if several and (pictures or submission):
        raise SettingsError("--pictures and --submission are of one model on one data set.")
    for path in (json_, csv, excel, submission, pictures / "cmc.png" if pictures else None):
        if path is not None:
            need_writable(path)
    if rerank:
        for rules in protocols:
            need_rerankable(read_protocol(rules))
    files: list[Path | None] = [*checkpoint] if checkpoint else [None]
    found = []
    with ProgressBars() as bars:
        for file in files:
            named: dict[str, Any] = {"gait.checkpoint": file, "gait.name": gait, "gait.max_frames": MAX_FRAMES}
            settings = Settings.load(named={key: value for key, value in named.items() if value is not None})
            roots = checkpoint_roots(settings.checkpoints)
            given = CheckpointFile.given(file, roots) if file is not None and gait is None else None
            model: GaitModel | FileEmbedder
            if given is not None and needs_files(given.path):
                model = FileEmbedder(given, MAX_FRAMES)
            else:
                model = gait_models.build(settings.gait, roots)
            for folder, rules, listed in sets:
                tell = bars.counters(f"Embedding {model.card.name}, {folder.name}" if several else "Embedding")
                kept, distance = cache or CACHE, cast("Metric", metric)
                if submission is not None:
                    submit(model, folder, rules, submission, listed, metric=distance, cache=kept, progress=tell)
                    continue
                found.append(
                    judge(
                        model, folder, rules, listed, metric=distance, rerank=rerank, frames=counts, cache=kept,
                        progress=tell,
                    )
                )  # fmt: skip
    if submission is not None:
        say(f"Wrote {submission}. The server takes it in a zip archive.")
        return
    if several:
        _show_table(table.cross_table(found))
        tables = ((table.write_json, json_), (table.write_csv, csv), (table.write_excel, excel))
        for write_all, path in tables:
            if path is not None:
                write_all(found, path)
                say(f"Wrote {path}.")
        return
    _show(found[0])
    for write, path in ((report.write_json, json_), (report.write_csv, csv), (report.write_excel, excel)):
        if path is not None:
            write(found[0], path)
            say(f"Wrote {path}.")
    for path in report.draw(found[0], pictures) if pictures is not None else ():
        say(f"Wrote {path}.")


def _show_table(found: CrossTable) -> None:
    """For each data set a row for each model, a column for each group of probes; the best of a column is bold."""
    places: dict[str, list[int]] = {}
    for i, (data, _, _) in enumerate(found.columns):
        places.setdefault(data, []).append(i)
    best = [max((row[i].value or 0.0) for row in found.figures) for i in range(len(found.columns))]
    for data, columns in places.items():
        rows = [
            [
                f"[bold]{_figure(row[i])}[/]" if len(found.models) > 1 and row[i].value == best[i] else _figure(row[i])
                for i in columns
            ]
            for row in found.figures
        ]
        names = [f"{name}\n{metric}" for _, name, metric in (found.columns[i] for i in columns)]
        _print_table(data, "", names, dict(zip(found.models, rows, strict=True)))
    console.print("In %; under it the 95 % interval over people (bootstrap).")


def _print_table(title: str, corner: str, columns: Sequence[str], rows: Mapping[str, Sequence[str]]) -> None:
    """Print a table; where the terminal is too narrow for its columns, in pieces, one below the other.

    Args:
        title: above it.
        corner: heading of the rows' names.
        columns: the other headings.
        rows: cells with rich's markup, by the row's name.
    """

    def width(*cells: str) -> int:
        return 2 + max(len(line) for cell in cells for line in Text.from_markup(cell).plain.split("\n"))

    room = console.width - 2 - min(width(corner, *map(escape, rows)), console.width // 3)
    widths = [width(escape(name), *(row[i] for row in rows.values())) for i, name in enumerate(columns)]
    start = 0
    while start < len(columns):
        end = start + 1
        while end < len(columns) and sum(widths[start : end + 1]) <= room:
            end += 1
        table = Table(corner, title=escape(title), title_justify="left", box=SIMPLE, padding=(0, 0, 0, 1))
        table.columns[0].overflow = "fold"
        for name in columns[start:end]:
            table.add_column(escape(name), justify="right", no_wrap=True)
        for name, cells in rows.items():
            table.add_row(escape(name), *cells[start:end])
        console.print(table)
        start = end


def _counts(text: str | None) -> list[int]:
    try:
        return [int(piece) for piece in text.split(",")] if text is not None else []
    except ValueError as error:
        raise SettingsError(f"--frames {text}: write numbers with commas, e.g. 5,10,20,40.") from error


def _show(found: Evaluation) -> None:
    how = f"{found.distance} distance{', re-ranked' if found.reranked else ''}"
    console.print(
        f"{escape(found.model)} on {escape(found.data)}: {found.people} people, {found.walks} walks; "
        f"{escape(found.protocol)} ({escape(found.source)}), {how}",
        soft_wrap=True,
    )
    metrics = list(found.scores[0].metrics)
    rates = list(found.scores[0].fnir)
    rows = {}
    for score in found.scores:
        first, *rest = score.metrics.values()
        figures = (_figure(first), *(_percent(figure.value) for figure in rest))
        shares = (_percent(score.eer), *(_percent(score.fnir.get(rate)) for rate in rates))
        rows[score.name] = [str(score.probes), *figures, *shares]
    _print_table("", "", ["Probes", *metrics, "EER", *(f"FNIR\n{float(rate):.0%}" for rate in rates)], rows)
    if len(found.scores[0].probe_views) > 1:
        _show_views(found.scores, metrics[0])
    if found.by_frames:
        names = [score.name for score in found.scores]
        by_frames = {
            str(frames): [_figure(score.metrics[metrics[0]]) for score in scores]
            for frames, scores in found.by_frames.items()
        }
        _print_table(f"{metrics[0]} by frames of each walk", "Frames", names, by_frames)
    told = " and ".join(f"{float(rate):.0%}" for rate in rates)
    also = f" FNIR: at a false-positive identification rate of {told}." if rates else ""
    console.print(f"In %; under it the 95 % interval over people (bootstrap).{also}")
    lacking = sum(score.without_mate for score in found.scores)
    if lacking:
        console.print(
            f"{lacking} searches were for people whom the gallery lacks: failed in ranks, left out of mAP and mINP."
        )


def _show_views(scores: list[Score], metric: str) -> None:
    """The metric by probe view, the mean over gallery views (the identical one too where it was compared)."""
    views = sorted({view for score in scores for view in score.probe_views})
    means = [dict(zip(score.probe_views, score.by_view[metric], strict=True)) for score in scores]
    rows = {view: [_percent(mean.get(view)) for mean in means] for view in views}
    _print_table(f"{metric} by probe view", "View", [score.name for score in scores], rows)


def _figure(figure: Figure) -> str:
    if figure.value is None:
        return ""
    return f"{_percent(figure.value)}\n[dim]{_percent(figure.low)}..{_percent(figure.high)}[/]"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"
