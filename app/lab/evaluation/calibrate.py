"""From walks of known people to what a gait model's distances mean, checked on people it was not learnt from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.gallery.distances import Metric, part_distances
from app.lab.evaluation.charts import draw_curves
from app.lab.evaluation.openset import Claims, trials
from app.recognise.scores import FEWEST_PEOPLE, Pairs, ScoreModel
from app.types import Floats, Ints

Names = NDArray[np.str_]

BINS = 80
MOST_WALKS = 1200
"""Walks that are compared each with each: 720,000 pairs. Of more, as many are drawn of everybody."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """`scores` learnt from everybody; the `pairs` behind them; `claims` about each half of the people, by scores that
    were learnt from the other half: None where the halves are too small."""

    scores: ScoreModel
    pairs: Pairs
    claims: Claims | None


def calibrate(
    features: Floats, people: Sequence[str], recordings: Sequence[str], *, model_id: str, metric: Metric, data: str
) -> Calibration:
    """Learn scores and check them.

    Args:
        features: embeddings of walks (n, P, C).
        people: whose they are (n,).
        recordings: from which recording of this person (n,); walks of one recording are not compared.
        model_id: of the model that made the embeddings.
        metric: distance of embeddings.
        data: what the walks are, for the user.

    Raises:
        GalleryError: too few people, or nobody walks twice, also in a half of them; or the model does not tell them
            apart.
    """
    chosen = _drawn(people)
    features, names, takes = features[chosen], np.array(people)[chosen], np.array(recordings)[chosen]
    pairs = Pairs.of(features, names.tolist(), takes.tolist(), metric)
    scores = ScoreModel.fit(pairs, model_id=model_id, metric=metric, data=data)
    return Calibration(scores, pairs, _claims(scores, features, names, takes))


def draw(calibration: Calibration, folder: Path) -> list[Path]:
    """Draw ``distances.png``, ``errors.png`` (the DET curve) and ``reliability.png``.

    Raises:
        OutputError: `folder` cannot be written.
    """
    scores, pairs = calibration.scores, calibration.pairs
    made = [folder / "distances.png", folder / "errors.png"]
    edges = np.linspace(0, max(pairs.genuine.max(), pairs.impostor.max()), BINS + 1)
    shares = {
        name: np.histogram(distances, edges)[0] / len(distances)
        for name, distances in (("one person", pairs.genuine), ("two people", pairs.impostor))
    }
    middles = ((edges[:-1] + edges[1:]) / 2).tolist()
    curves = {name: list(zip(middles, (100 * share).tolist(), strict=True)) for name, share in shares.items()}
    draw_curves(made[0], scores.model_id, f"{scores.metric} distance", "pairs, %", curves)
    rates = np.geomspace(scores.smallest_rate(), 1, BINS)
    missed = 1 - np.searchsorted(np.sort(pairs.genuine), np.quantile(pairs.impostor, rates), "right") / len(
        pairs.genuine
    )
    points = list(zip((100 * rates).tolist(), (100 * missed).tolist(), strict=True))
    draw_curves(
        made[1], scores.model_id, "false accepts, %", "false rejects, %", {"single pairs": points}, logarithmic=True
    )
    if calibration.claims is not None:
        made.append(folder / "reliability.png")
        claims = [(100 * said, 100 * so) for said, so, _ in calibration.claims.bins()]
        draw_curves(
            made[-1],
            f"{scores.model_id}, people it was not learnt from",
            "probability said, %",
            "were right, %",
            {"ideal": [(0, 0), (100, 100)], "measured": claims},
            100,
        )
    return made


def _claims(scores: ScoreModel, features: Floats, people: Names, recordings: Names) -> Claims | None:
    names, person = np.unique(people, return_inverse=True)
    if len(names) < 2 * FEWEST_PEOPLE:
        return None
    half = np.random.default_rng(0).permutation(len(names)) < len(names) // 2
    claims = []
    for learnt in (half[person], ~half[person]):
        own = Pairs.of(features[learnt], people[learnt].tolist(), recordings[learnt].tolist(), scores.metric)
        judge = ScoreModel.fit(own, model_id=scores.model_id, metric=scores.metric, data=scores.data)
        others = part_distances(features[~learnt], features[~learnt], scores.metric)
        claims.append(trials(judge, others, person[~learnt], recordings[~learnt].tolist()))
    return Claims.joined(claims)


def _drawn(people: Sequence[str]) -> Ints:
    """Indices of at most `MOST_WALKS` walks, rising: as many of everybody, where everybody has as many."""
    names = np.array(people)
    rng = np.random.default_rng(0)
    each = max(2, MOST_WALKS // max(1, len(np.unique(names))))
    own = [rng.permutation(np.flatnonzero(names == name))[:each] for name in np.unique(names)]
    return np.sort(np.concatenate(own)) if own else np.zeros(0, np.int64)
