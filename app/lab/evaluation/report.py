"""An evaluation in files: JSON, CSV, Excel and pictures."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from app.errors import MissingExtraError
from app.files import written_whole
from app.lab.evaluation.charts import draw_curves
from app.lab.evaluation.evaluate import Evaluation

Cell = str | float | None

COLUMNS = ("frames", "probes", "metric", "probe_view", "gallery_view", "value", "low", "high")
"""Of the CSV: a row for each mean, with its interval, and for each pair of views; empty where there is no such thing,
`frames` where walks are whole."""


def write_json(evaluation: Evaluation, path: Path) -> None:
    """Write everything; `OutputError` where that is not possible."""
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(asdict(evaluation), indent=1, allow_nan=False), encoding="utf-8")


def write_csv(evaluation: Evaluation, path: Path) -> None:
    """Write `COLUMNS`; `OutputError` where that is not possible."""
    with written_whole(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(figure_rows(evaluation))


def write_excel(evaluation: Evaluation, path: Path) -> None:
    """Write the CSV's rows as one sheet, and a sheet of the first metric by views for each group of probes.

    Raises:
        MissingExtraError: the extra `evaluate` is not installed.
        OutputError: it cannot be written.
    """
    try:
        import xlsxwriter
    except ImportError as error:
        raise MissingExtraError("Excel files need XlsxWriter: pip install 'gaitprint[evaluate]'.") from error
    with written_whole(path) as temporary:
        book = xlsxwriter.Workbook(temporary)
        sheet = book.add_worksheet("Figures")
        for number, row in enumerate([COLUMNS, *figure_rows(evaluation)]):
            sheet.write_row(number, 0, row)
        for score in evaluation.scores:
            metric, table = next(iter(score.tables.items()))
            sheet = book.add_worksheet(f"{score.name} {metric}"[:31])  # Excel's limit
            sheet.write_row(0, 0, ["probe \\ gallery", *score.gallery_views])
            for number, (view, values) in enumerate(zip(score.probe_views, table, strict=True), 1):
                sheet.write_row(number, 0, [view, *values])
        book.close()


def draw(evaluation: Evaluation, folder: Path) -> list[Path]:
    """Draw ``cmc.png``, ``distances-GROUP.png`` and, with several numbers of frames, ``frames.png``.

    Raises:
        OutputError: `folder` cannot be written.
    """
    title = f"{evaluation.model}, {Path(evaluation.protocol).stem}"
    made = [folder / "cmc.png"]
    curves = {
        score.name: [(rank, 100 * share) for rank, share in enumerate(score.cmc, 1)] for score in evaluation.scores
    }
    draw_curves(made[0], title, "rank", "found, %", curves, 100)
    for score in evaluation.scores:
        shown = score.distances
        made.append(folder / f"distances-{score.name}.png")
        draw_curves(
            made[-1],
            f"{title}, {score.name}",
            "re-ranked distance" if evaluation.reranked else f"{evaluation.distance} distance",
            "pairs, %",
            {
                "one person": [(x, 100 * y) for x, y in zip(shown.distances, shown.own, strict=True)],
                "two people": [(x, 100 * y) for x, y in zip(shown.distances, shown.other, strict=True)],
            },
        )
    if len(evaluation.by_frames) > 1:
        made.append(folder / "frames.png")
        by_name: dict[str, list[tuple[float, float]]] = {score.name: [] for score in evaluation.scores}
        for frames, scores in sorted(evaluation.by_frames.items()):
            for score in scores:
                value = next(iter(score.metrics.values())).value
                if value is not None:
                    by_name[score.name].append((frames, 100 * value))
        metric = next(iter(evaluation.scores[0].metrics))
        draw_curves(made[-1], title, "frames of each walk", f"{metric}, %", by_name, 100)
    return made


def figure_rows(evaluation: Evaluation) -> Iterator[tuple[Cell, ...]]:
    """Yield every figure, as `COLUMNS` names it."""
    for frames, scores in ((None, evaluation.scores), *evaluation.by_frames.items()):
        for score in scores:
            for metric, figure in score.metrics.items():
                yield frames, score.name, metric, None, None, figure.value, figure.low, figure.high
            for name, value in [("EER", score.eer), *((f"FNIR at FPIR {rate}", x) for rate, x in score.fnir.items())]:
                yield frames, score.name, name, None, None, value, None, None
            for metric, table in score.tables.items():
                for probe_view, values in zip(score.probe_views, table, strict=True):
                    for gallery_view, share in zip(score.gallery_views, values, strict=True):
                        yield frames, score.name, metric, probe_view, gallery_view, share, None, None
