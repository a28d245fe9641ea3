"""The figures of evaluations as tables to be read on a terminal or in a spreadsheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from app.lab.evaluation.bootstrap import Figure
from app.lab.evaluation.evaluate import Evaluation

Cell: TypeAlias = Figure | float | int | None
"""A share of 0 to 1 with its interval, a share, a number of walks, or nothing."""


@dataclass(frozen=True)
class Table:
    """A table: `corner` is the heading of the rows' names. With `compares`, the rows are models to be compared."""

    title: str
    corner: str
    columns: list[str]
    rows: dict[str, list[Cell]]
    compares: bool = False


def tables_of(evaluation: Evaluation) -> list[Table]:
    """Return the tables of one model on one data set: by probes, by view, and by the number of frames."""
    scores = evaluation.scores
    names = [score.name for score in scores]
    metric, *others = scores[0].metrics
    rates = list(scores[0].fnir)
    by_probes: dict[str, list[Cell]] = {
        score.name: [
            score.probes,
            score.metrics[metric],
            *(score.metrics[other].value for other in others),
            score.eer,
            *(score.fnir.get(rate) for rate in rates),
        ]
        for score in scores
    }
    columns = ["Probes", metric, *others, "EER", *(f"FNIR\n{float(rate):.0%}" for rate in rates)]
    tables = [Table("", "", columns, by_probes)]
    if len(scores[0].probe_views) > 1:
        means = [dict(zip(score.probe_views, score.by_view[metric], strict=True)) for score in scores]
        by_view: dict[str, list[Cell]] = {
            view: [mean.get(view) for mean in means] for view in sorted(set().union(*means))
        }
        tables.append(Table(f"{metric} by probe view", "View", names, by_view))
    if evaluation.by_frames:
        by_frames: dict[str, list[Cell]] = {
            str(frames): [score.metrics[metric] for score in found] for frames, found in evaluation.by_frames.items()
        }
        tables.append(Table(f"{metric} by number of frames of each walk", "Frames", names, by_frames))
    return tables


def cross_tables(evaluations: Sequence[Evaluation]) -> list[Table]:
    """Return a table for each data set: a row for each model, a column for each group of probes, its first metric.

    The evaluations are of one model after the other, each on the same data sets.
    """
    models = list(dict.fromkeys(one.model for one in evaluations))
    by_model = [[one for one in evaluations if one.model == model] for model in models]
    titles = [Path(one.data).name for one in by_model[0]]
    if len(set(titles)) < len(titles):
        titles = [one.data for one in by_model[0]]
    tables = []
    for place, title in enumerate(titles):
        on_this = [found[place] for found in by_model]
        columns = [f"{score.name}\n{next(iter(score.metrics))}" for score in on_this[0].scores]
        rows: dict[str, list[Cell]] = {
            one.model: [next(iter(score.metrics.values())) for score in one.scores] for one in on_this
        }
        tables.append(Table(title, "", columns, rows, compares=len(models) > 1))
    return tables


def headline(evaluation: Evaluation) -> str:
    """Return one line: which model was evaluated on what, and how."""
    reranked = ", re-ranked" if evaluation.reranked else ""
    return (
        f"{evaluation.model} on {evaluation.data}: {evaluation.people} people, {evaluation.walks} walks; protocol "
        f"{evaluation.protocol} ({evaluation.source}), {evaluation.distance} distance{reranked}"
    )


def legend(evaluations: Sequence[Evaluation]) -> list[str]:
    """Return the lines that explain the tables."""
    lines = ["Figures are in %. Below a figure stands its 95 % bootstrap interval over people."]
    if len(evaluations) > 1:
        return lines
    scores = evaluations[0].scores
    if scores[0].fnir:
        rates = " or ".join(f"{float(rate):.0%}" for rate in scores[0].fnir)
        lines.append(
            f"FNIR: share of searches for people in the gallery that fail when {rates} of the searches for strangers "
            "raise a false alarm. EER: equal error rate of pairs of walks."
        )
    without_mate = sum(score.without_mate for score in scores)
    if without_mate:
        lines.append(
            f"In {without_mate} searches the gallery has no walk of the probe's person. They count as failed in ranks "
            "and are left out of mAP and mINP."
        )
    return lines
