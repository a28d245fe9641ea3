"""The file ``gait.csv``: figures of how the people of a video walk."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from app.spreadsheets import cell
from app.types import Measure


def write_gait_table(walks: Mapping[int, Sequence[Measure]], path: Path) -> None:
    """Write the figures of walks, by the number of their track, as a CSV file."""
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["track", "measure", "value", "unit", "standard error", "count", "left", "right"])
        for track_id, measures in walks.items():
            for found in measures:
                figures = [found.value, found.uncertainty, found.left, found.right]
                value, error, left, right = ("" if one is None else f"{one:.4g}" for one in figures)
                table.writerow([track_id, cell(found.name), value, found.unit, error, found.count, left, right])


def read_gait_table(path: Path) -> dict[int, list[Measure]]:
    """Return the figures of walks from a CSV file; none where there is no file; `ValueError` where it is damaged."""
    found: dict[int, list[Measure]] = {}
    if not path.is_file():
        return found
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            try:
                value = float(row["value"])
                error, left, right = (
                    float(row[name]) if row[name] else None for name in ("standard error", "left", "right")
                )
                measure = Measure(row["measure"], row["unit"], value, error, int(row["count"]), left, right)
                found.setdefault(int(row["track"]), []).append(measure)
            except (KeyError, TypeError) as problem:
                raise ValueError(f"a row of it is {row}") from problem
    return found
