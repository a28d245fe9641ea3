"""Several models on several data sets as one table: what was trained on one, tested on another."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from app.errors import MissingExtraError
from app.files import written_whole
from app.lab.evaluation.evaluate import Evaluation
from app.lab.evaluation.report import COLUMNS, figure_rows
from app.lab.evaluation.scores import Figure


@dataclass(frozen=True)
class CrossTable:
    """The first metric of each protocol, a row for each model; `columns` are data set, probes and metric."""

    models: list[str]
    columns: list[tuple[str, str, str]]
    figures: list[list[Figure]]


def cross_table(evaluations: Sequence[Evaluation]) -> CrossTable:
    """Arrange `evaluations`, those of one model after the other, of each on the same data sets."""
    models = list(dict.fromkeys(one.model for one in evaluations))
    rows = [[one for one in evaluations if one.model == model] for model in models]
    names = [Path(one.data).name for one in rows[0]]
    names = names if len(set(names)) == len(names) else [one.data for one in rows[0]]
    columns = [
        (name, score.name, next(iter(score.metrics)))
        for name, one in zip(names, rows[0], strict=True)
        for score in one.scores
    ]
    figures = [[next(iter(score.metrics.values())) for one in row for score in one.scores] for row in rows]
    return CrossTable(models, columns, figures)


def write_json(evaluations: Sequence[Evaluation], path: Path) -> None:
    """Write everything, a list; `OutputError` where that is not possible."""
    with written_whole(path) as temporary:
        content = [asdict(one) for one in evaluations]
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False), encoding="utf-8")


def write_csv(evaluations: Sequence[Evaluation], path: Path) -> None:
    """Write model, data set, protocol and `COLUMNS`; `OutputError` where that is not possible."""
    with written_whole(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("model", "data", "protocol", *COLUMNS))
        for one in evaluations:
            writer.writerows((one.model, one.data, one.protocol, *row) for row in figure_rows(one))


def write_excel(evaluations: Sequence[Evaluation], path: Path) -> None:
    """Write the table as one sheet, and the CSV's rows as another.

    Raises:
        MissingExtraError: the extra `evaluate` is not installed.
        OutputError: it cannot be written.
    """
    try:
        import xlsxwriter
    except ImportError as error:
        raise MissingExtraError("Excel files need XlsxWriter: pip install 'gaitprint[evaluate]'.") from error
    table = cross_table(evaluations)
    with written_whole(path) as temporary:
        book = xlsxwriter.Workbook(temporary)
        percent = book.add_format({"num_format": "0.0%"})
        sheet = book.add_worksheet("Models by data sets")
        for number, column in enumerate(table.columns, 1):
            sheet.write_column(0, number, column)
        for number, (model, figures) in enumerate(zip(table.models, table.figures, strict=True), 3):
            sheet.write_row(number, 0, [model])
            sheet.write_row(number, 1, [figure.value for figure in figures], percent)
        sheet.autofit()
        sheet = book.add_worksheet("Figures")
        sheet.write_row(0, 0, ("model", "data", "protocol", *COLUMNS))
        rows = ((one.model, one.data, one.protocol, *row) for one in evaluations for row in figure_rows(one))
        for number, row in enumerate(rows, 1):
            sheet.write_row(number, 0, row)
        book.close()
