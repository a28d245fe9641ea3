"""Evaluations in files: JSON, CSV, Excel and pictures. `OutputError` is raised where a file cannot be written."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from app.errors import SettingsError, needing
from app.files import need_writable, write_text, written_whole
from app.lab.evaluation.bootstrap import Figure
from app.lab.evaluation.charts import Curves, draw_curves, need_matplotlib
from app.lab.evaluation.evaluate import Evaluation
from app.lab.evaluation.tables import cross_tables
from app.spreadsheets import cell
from app.video.sources import plain_name

Row = Sequence[str | float | None]

COLUMNS = ("frames", "probes", "metric", "probe_view", "gallery_view", "value", "low", "high")
"""Columns of the CSV file. It has a row for each mean, with its interval, and a row for each pair of views. Cells
without meaning are empty, and so is `frames` for whole walks."""

_AS_TEXT = {"strings_to_formulas": False, "strings_to_urls": False}
"""In Excel files, texts such as the name ``=1+1`` are texts as they are."""


@dataclass(frozen=True)
class Outputs:
    """The files and the folder into which evaluations are written; None where one is not wanted."""

    json: Path | None = None
    csv: Path | None = None
    excel: Path | None = None
    pictures: Path | None = None
    submission: Path | None = None

    def check(self, evaluations: int) -> None:
        """Make sure, before the long work, that so many evaluations can be written.

        Raises:
            SettingsError: pictures or a submission are wanted of more than one evaluation.
            MissingExtraError: the extra `evaluate` is not installed.
            OutputError: a file cannot be written.
        """
        if evaluations > 1 and (self.pictures or self.submission):
            raise SettingsError("--pictures and --submission need one model on one data set. Give one of each.")
        picture = None if self.pictures is None else self.pictures / "cmc.png"
        for path in (self.json, self.csv, self.excel, self.submission, picture):
            if path is not None:
                need_writable(path)
        if self.pictures is not None:
            need_matplotlib()
        if self.excel is not None:
            _xlsxwriter()

    def write(self, evaluations: Sequence[Evaluation]) -> Iterator[Path]:
        """Write the evaluations; yield each path once it is written."""
        for path, write in ((self.json, write_json), (self.csv, write_csv), (self.excel, write_excel)):
            if path is not None:
                write(evaluations, path)
                yield path
        if self.pictures is not None:
            yield from draw(evaluations[0], self.pictures)


def write_json(evaluations: Sequence[Evaluation], path: Path) -> None:
    """Write everything: an object for one evaluation, a list for several."""
    content: Any = [asdict(one) for one in evaluations]
    write_text(path, json.dumps(content if len(content) > 1 else content[0], indent=1, allow_nan=False))


def write_csv(evaluations: Sequence[Evaluation], path: Path) -> None:
    """Write the rows of `COLUMNS`; for several evaluations with model, data and protocol before them."""
    with written_whole(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([cell(value) for value in row] for row in _rows_with_header(evaluations))


def write_excel(evaluations: Sequence[Evaluation], path: Path) -> None:
    """Write the rows of the CSV file as one sheet, and more sheets with tables.

    For one evaluation there is a sheet of the first metric by views for each group of probes, for several evaluations
    a sheet that compares the models on each data set.

    Raises:
        MissingExtraError: the extra `evaluate` is not installed.
    """
    with written_whole(path) as temporary, _xlsxwriter().Workbook(temporary, _AS_TEXT) as book:
        percent = book.add_format({"num_format": "0.0%"})

        def add_sheet(name: str, rows: Iterable[Row], number_format: Any = None) -> None:
            sheet = book.add_worksheet(name[:31])  # Excel's limit
            for number, row in enumerate(rows):
                sheet.write_row(number, 0, row, number_format)
            sheet.autofit()

        if len(evaluations) > 1:
            add_sheet("Models by data sets", _comparison_rows(evaluations), percent)
        add_sheet("Figures", _rows_with_header(evaluations))
        for score in evaluations[0].scores if len(evaluations) == 1 else ():
            metric, table = next(iter(score.tables.items()))
            by_view = ([view, *values] for view, values in zip(score.probe_views, table, strict=True))
            add_sheet(f"{score.name} {metric}", [["probe \\ gallery", *score.gallery_views], *by_view])


def draw(evaluation: Evaluation, folder: Path) -> list[Path]:
    """Draw ``cmc.png``, ``distances-GROUP.png`` and, with several numbers of frames, ``frames.png``.

    Raises:
        MissingExtraError: the extra `evaluate` is not installed.
    """
    title = f"{evaluation.model}, {Path(evaluation.protocol).stem}"
    scores = evaluation.scores
    matches: Curves = {score.name: (range(1, len(score.cmc) + 1), score.cmc) for score in scores}
    pictures = [draw_curves(folder / "cmc.png", title, "rank", "found", matches, 1)]
    x_label = "re-ranked distance" if evaluation.reranked else f"{evaluation.distance} distance"
    for score in scores:
        found = score.distances
        shares: Curves = {
            "same person": (found.distances, found.own),
            "different people": (found.distances, found.other),
        }
        path = folder / f"distances-{plain_name(score.name)}.png"
        pictures.append(draw_curves(path, f"{title}, {score.name}", x_label, "pairs of walks", shares))
    if len(evaluation.by_frames) > 1:
        metric = next(iter(scores[0].metrics))
        counts = sorted(evaluation.by_frames)
        values = {
            score.name: [evaluation.by_frames[count][place].metrics[metric].value for count in counts]
            for place, score in enumerate(scores)
        }
        by_frames: Curves = {name: (counts, np.array(shares, np.float64)) for name, shares in values.items()}
        pictures.append(draw_curves(folder / "frames.png", title, "frames of each walk", metric, by_frames, 1))
    return pictures


def _xlsxwriter() -> ModuleType:
    with needing("Excel files are written with XlsxWriter: pip install 'gaitprint[evaluate]'."):
        import xlsxwriter
    module: ModuleType = xlsxwriter
    return module


def _rows_with_header(evaluations: Sequence[Evaluation]) -> Iterator[Row]:
    several = len(evaluations) > 1
    yield ("model", "data", "protocol", *COLUMNS) if several else COLUMNS
    for one in evaluations:
        for row in _figure_rows(one):
            yield (one.model, one.data, one.protocol, *row) if several else row


def _figure_rows(evaluation: Evaluation) -> Iterator[Row]:
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


def _comparison_rows(evaluations: Sequence[Evaluation]) -> Iterator[Row]:
    """Yield the rows of `cross_tables`, which all have the same models, side by side."""
    tables = cross_tables(evaluations)
    yield "", *(table.title for table in tables for _ in table.columns)
    yield "", *(column.replace("\n", ", ") for table in tables for column in table.columns)
    for model in tables[0].rows:
        cells = [cell for table in tables for cell in table.rows[model]]
        yield model, *(cell.value if isinstance(cell, Figure) else cell for cell in cells)
