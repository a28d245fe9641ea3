"""Fit scores: learn from pairs of walks of known people what the distances of a gait model mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import root
from scipy.special import expit

from app.errors import GalleryError
from app.gallery.distances import Distances, Metric, part_distances
from app.lab.evaluation.bootstrap import Doubles, percentile_interval, resampled_counts
from app.recognise.scores import FEWEST_PEOPLE, LEVELS, RATES, ScoreModel
from app.types import Bools, Floats, Ints

_SAMPLES = 200


@dataclass(frozen=True, eq=False)
class Pairs:
    """Distances between walks of different recordings, and whose walks they are.

    `genuine` (n,) lie between walks of one person, `impostor` (m,) between walks of two people, whose numbers from 0
    are `owners` (m, 2). `spread` is described at `deviations`.
    """

    genuine: Distances
    impostor: Distances
    owners: Ints
    people: int
    spread: tuple[float, float]

    @classmethod
    def of(
        cls,
        features: Floats,
        people: Sequence[str],
        recordings: Sequence[str],
        metric: Metric,
        videos: Sequence[str] | None = None,
    ) -> Pairs:
        """Compare every two walks, `features` (n, P, C), except two views of one recording, which are too much alike.

        `people` (n,) is whose walk each is, and `recordings` (n,) which of this person's recordings it is from. Where
        there are several people in each video, `videos` (n,) says in which each was filmed, and two people of one video
        are not compared.

        Raises:
            GalleryError: there are fewer than `FEWEST_PEOPLE` people, or nobody has two recordings.
        """
        names, person = np.unique(np.array(people), return_inverse=True)
        _, recording = np.unique(np.array(recordings), return_inverse=True)
        if len(names) < FEWEST_PEOPLE:
            raise GalleryError(
                f"Scores need at least {FEWEST_PEOPLE} people, and there are {len(names)}. Give a larger data set, or "
                "enrol more people."
            )
        distances = part_distances(features, features, metric)
        above = np.triu(np.ones(distances.shape, np.bool_), 1)
        same = person[:, None] == person
        genuine = distances[above & same & (recording[:, None] != recording)]
        if not len(genuine):
            raise GalleryError(
                "Scores need people who walk twice, but nobody has two recordings. Enrol a second walk of some people, "
                "on another day if possible."
            )
        different = ~same
        if videos is not None:
            _, video = np.unique(np.array(videos), return_inverse=True)
            different &= video[:, None] != video
        rows, columns = np.nonzero(above & different)
        return cls(
            genuine,
            distances[rows, columns],
            np.stack([person[rows], person[columns]], 1),
            len(names),
            deviations(distances, different),
        )


def deviations(distances: Distances, different: Bools) -> tuple[float, float]:
    """Split the spread of impostor distances: log d(i, j) = mean + walk(i) + walk(j) + pair(i, j).

    `distances` (n, n) are symmetric; `different` (n, n) is where the two walks are of different people. Returns the
    standard deviations of a walk's and of a pair's term. The mean of all distances among n walks then has the variance
    4 walk^2 / n + pair^2 / (n (n - 1) / 2) (Hoeffding 1948: pairs that share a walk are not independent).
    """
    logs = np.log(np.maximum(distances, 1e-9), out=np.zeros_like(distances), where=different)
    centred = np.where(different, logs - logs.sum() / different.sum(), 0)
    counts = different.sum(1)
    total = float((centred**2).sum() / different.sum())
    # The covariance of two pairs that share a walk: the square of a row's sum, without the squares themselves.
    shared = float((centred.sum(1) ** 2 - (centred**2).sum(1)).sum() / np.maximum(counts * (counts - 1), 1).sum())
    walk = min(max(shared, 0.0), total / 2)
    return float(np.sqrt(walk)), float(np.sqrt(total - 2 * walk))


def fit_scores(
    pairs: Pairs,
    *,
    model_id: str,
    metric: Metric,
    data: str,
    centre: Doubles | None = None,
    together: float | None = None,
) -> ScoreModel:
    """Fit scores to `pairs` of people who were not in the gait model's training; `data` is what the walks are, for the
    user.

    `centre` and `together` are those of `app.recognise.scores.ScoreModel`.

    Raises:
        GalleryError: walks of one person are no nearer to each other than walks of two people.
    """
    evidence = _evidence(pairs.genuine, pairs.impostor)
    if evidence[1] >= 0:
        raise GalleryError(
            f"'{model_id}' cannot tell the people of {data} apart: walks of one person are no nearer to each other "
            "than walks of two people. Use another gait model, or check that the walks have the right names."
        )
    return ScoreModel(
        model_id=model_id,
        metric=metric,
        data=data,
        people=pairs.people,
        pairs=(len(pairs.genuine), len(pairs.impostor)),
        genuine=_quantiles(pairs.genuine),
        impostor=_quantiles(pairs.impostor),
        evidence=evidence,
        intervals=_threshold_intervals(pairs),
        spread=pairs.spread,
        centre=None if centre is None else tuple(tuple(part) for part in np.round(centre, 4).tolist()),
        together=together,
    )


def _quantiles(distances: Distances) -> tuple[float, ...]:
    return tuple(np.quantile(distances, LEVELS).tolist())


def _evidence(genuine: Distances, impostor: Distances) -> tuple[float, float]:
    """Return the intercept and the slope of the log likelihood ratio as a function of the distance.

    This is a logistic regression in which both kinds of pairs have the same weight (Brümmer & du Preez, Computer
    Speech & Language 2006, section 6). It is monotone, needs two numbers and, on walkers held out, was no worse than
    isotonic regression.
    """
    x = np.concatenate([genuine, impostor])
    centre, unit = float(x.mean()), float(x.std()) or 1.0
    design = np.stack([np.ones_like(x), (x - centre) / unit], 1)
    truth = np.repeat([1.0, 0.0], [len(genuine), len(impostor)])
    weights = np.where(truth > 0, 0.5 / len(genuine), 0.5 / len(impostor))
    # A trace of weight decay, a thousandth of one pair's weight, keeps the slope finite where no pair is on the wrong
    # side. The loss is convex, so that its minimum is the one place where the gradient vanishes.
    decay = 1e-3 / min(len(genuine), len(impostor))

    def gradient(parameters: Doubles) -> Doubles:
        slopes: Doubles = design.T @ (weights * (expit(design @ parameters) - truth)) + decay * parameters
        return slopes

    intercept, slope = root(gradient, np.zeros(2), tol=1e-12).x.tolist()
    return intercept - slope * centre / unit, slope / unit


def _threshold_intervals(pairs: Pairs) -> tuple[tuple[float, float, float], ...]:
    """Return each of `RATES` with the 95 % interval of its threshold. People are drawn with all of their walks."""
    order = np.argsort(pairs.impostor)
    distances, first, second = pairs.impostor[order], *pairs.owners[order].T
    thresholds = []
    for counts in resampled_counts(pairs.people, _SAMPLES):
        for drawn in counts:
            passed = np.cumsum(drawn[first] * drawn[second])
            places = np.searchsorted(passed, np.array(RATES) * passed[-1]).clip(max=len(distances) - 1)
            thresholds.append(distances[places])
    low, high = percentile_interval(thresholds).tolist()
    return tuple(zip(RATES, low, high, strict=True))
