"""What the distances of a gait model mean: how often strangers come as near, and how probable one person is.

A distance by itself says nothing: it depends on the model and on the metric. Measured on walks of known people, it
becomes a false accept rate (of strangers who come as near) and a weight of evidence (how many times as often two
walks of one person are so far apart as walks of two people).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from app.errors import GalleryError
from app.files import written_whole
from app.gallery.distances import Distances, Metric, part_distances
from app.recognise.covisible import covisible
from app.types import Floats, Ints, Match, ModelCard

logger = logging.getLogger(__name__)

LEVELS: NDArray[np.float64] = ndtr(np.linspace(-4, 4, 81))
"""Shares at which the quantiles of distances are kept: dense in the tails, evenly spaced for a normal distribution."""
RATES = (0.001, 0.01, 0.1)
"""False accept rates whose thresholds have confidence intervals."""
FEWEST_PEOPLE = 10
"""From fewer, nothing about strangers is learnt: 10 people make 45 pairs."""
_SURELY_KNOWN = 1 - 1e-12
"""Probability, before a walk is seen, that it is somebody's in the gallery when the set of people is closed."""
_DRAWS = 200


@dataclass(frozen=True, eq=False)
class Pairs:
    """Distances between walks of different recordings, and whose walks they are.

    `genuine` (n,) of one person, `impostor` (m,) of two, whose numbers, from 0, are `owners` (m, 2). `spread` are the
    deviations of the logarithm of an impostor distance that stem from a walk and from the pair (see `deviations`).
    """

    genuine: Distances
    impostor: Distances
    owners: Ints
    people: int
    spread: tuple[float, float]

    @classmethod
    def of(cls, features: Floats, people: Sequence[str], recordings: Sequence[str], metric: Metric) -> Pairs:
        """Compare every two walks; two views of one recording of a person are no pair, as they are too alike.

        Args:
            features: (n, P, C).
            people: whose walk it is (n,).
            recordings: which recording of this person it is from (n,).
            metric: distance of embeddings.

        Raises:
            GalleryError: fewer than `FEWEST_PEOPLE` people, or nobody walks twice.
        """
        names, person = np.unique(np.array(people), return_inverse=True)
        _, recording = np.unique(np.array(recordings), return_inverse=True)
        if len(names) < FEWEST_PEOPLE:
            raise GalleryError(
                f"Scores need at least {FEWEST_PEOPLE} people, and there are {len(names)}: fewer say nothing about "
                "strangers. Give a larger data set, or enrol more people."
            )
        distances = part_distances(features, features, metric)
        above = np.triu(np.ones(distances.shape, np.bool_), 1)
        same = person[:, None] == person
        genuine = distances[above & same & (recording[:, None] != recording)]
        if not len(genuine):
            raise GalleryError(
                "Scores need people who walk twice: nobody has two recordings. Enrol a second walk of some, of another "
                "day if possible."
            )
        rows, columns = np.nonzero(above & ~same)
        return cls(
            genuine,
            distances[rows, columns],
            np.stack([person[rows], person[columns]], 1),
            len(names),
            deviations(distances, ~same),
        )


def deviations(distances: Distances, different: NDArray[np.bool_]) -> tuple[float, float]:
    """Split the spread of impostor distances: log d(i, j) = mean + walk(i) + walk(j) + pair(i, j).

    Returns the standard deviations of a walk's and of a pair's term. The mean of the distances of n walks, each with
    each, then has the variance 4 walk^2 / n + pair^2 / (n (n - 1) / 2) (Hoeffding 1948: two walks of one pair are
    independent, two pairs that share a walk are not).

    Args:
        distances: (n, n), symmetric.
        different: (n, n), where they are of two people.
    """
    logs = np.log(np.maximum(distances, 1e-9), out=np.zeros_like(distances), where=different)
    centred = np.where(different, logs - logs.sum() / different.sum(), 0)
    counts = different.sum(1)
    total = float((centred**2).sum() / different.sum())
    # The covariance of two pairs that share a walk: the square of a row's sum, without the squares themselves.
    shared = float((centred.sum(1) ** 2 - (centred**2).sum(1)).sum() / np.maximum(counts * (counts - 1), 1).sum())
    walk = min(max(shared, 0.0), total / 2)
    return float(np.sqrt(walk)), float(np.sqrt(total - 2 * walk))


@dataclass(frozen=True)
class ScoreModel:
    """What distances of one gait model mean, as measured on `data`; one JSON file beside the model's.

    `people` is whose walks were compared, `pairs` how many pairs of one person and of two. `genuine` and `impostor` are
    the quantiles of their distances at `LEVELS`. `evidence` are the intercept and the slope of the logarithm of the
    likelihood ratio. `intervals` are rate, and the 95 % bootstrap interval over people of its threshold. `spread` is
    that of `Pairs`.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    model_id: str
    metric: Metric
    data: str
    people: int
    pairs: tuple[int, int]
    genuine: tuple[float, ...]
    impostor: tuple[float, ...]
    evidence: tuple[float, float]
    intervals: tuple[tuple[float, float, float], ...]
    spread: tuple[float, float]

    def __post_init__(self) -> None:
        for name, quantiles in (("genuine", self.genuine), ("impostor", self.impostor)):
            if len(quantiles) != len(LEVELS) or not np.isfinite(quantiles).all() or (np.diff(quantiles) < 0).any():
                raise ValueError(f"{name} must be {len(LEVELS)} rising quantiles")
        if self.people < FEWEST_PEOPLE or min(self.pairs) < 1:
            raise ValueError(f"scores need pairs, and at least {FEWEST_PEOPLE} people")
        if not np.isfinite(self.evidence).all() or self.evidence[1] >= 0:
            raise ValueError("the evidence must fall with the distance")
        if not np.isfinite(self.spread).all() or min(self.spread) < 0:
            raise ValueError("the spread must be two deviations")

    @classmethod
    def fit(cls, pairs: Pairs, *, model_id: str, metric: Metric, data: str, seed: int = 0) -> ScoreModel:
        """Learn from `pairs`.

        The evidence is a logistic regression in which both kinds of pairs weigh the same (Brümmer and du Preez,
        Computer Speech & Language 2006, section 6): it is monotone, needs two numbers and, on held-out walkers, was no
        worse than isotonic regression.

        Raises:
            GalleryError: walks of one person are not nearer than those of two.
        """
        evidence = _evidence(pairs.genuine, pairs.impostor)
        if evidence[1] >= 0:
            raise GalleryError(
                f"'{model_id}' does not tell the people of {data} apart: walks of one person are no nearer than those "
                "of two. Use another gait model, or check that the names of the walks are right."
            )
        return cls(
            model_id=model_id,
            metric=metric,
            data=data,
            people=pairs.people,
            pairs=(len(pairs.genuine), len(pairs.impostor)),
            genuine=_quantiles(pairs.genuine),
            impostor=_quantiles(pairs.impostor),
            evidence=evidence,
            intervals=_intervals(pairs, seed),
            spread=pairs.spread,
        )

    def smallest_rate(self) -> float:
        """The smallest false accept rate of which these people say something: that of one pair of them."""
        return max(2 / (self.people * (self.people - 1)), float(LEVELS[0]))

    def threshold(self, far: float) -> float:
        """Return the distance below which a share `far` of comparisons of two people fall.

        Raises:
            GalleryError: there were too few people for such a rate, or it is no rate.
        """
        if not self.smallest_rate() <= far < 1:
            raise GalleryError(
                f"A false accept rate of {far:g} cannot be told from the {self.people} people of {self.data}: give one "
                f"from {self.smallest_rate():.2g} to below 1."
            )
        return float(np.interp(ndtri(far), ndtri(LEVELS), self.impostor))

    def false_accepts(self, distance: float) -> float:
        """Return the share of comparisons of two people that are nearer than `distance`: the inverse of `threshold`."""
        return float(np.interp(distance, self.impostor, LEVELS, left=0.0, right=1.0))

    def probabilities(self, distances: Distances, prior: float = 0.5) -> Distances:
        """Return the probability of each person of a gallery, (n, people); the rest up to 1 is the stranger's.

        Bayes' rule over everybody in the gallery and the stranger: before a walk is seen, it is of somebody in the
        gallery with probability `prior`, each of them the same; so each further person makes the others a little less
        probable, and whoever is about as near takes probability away. Distances to different people count as
        independent, which was close enough on held-out walkers and galleries of 1 to 25.

        Args:
            distances: from n walks to everybody in the gallery (n, people).
            prior: that a walk is of somebody in the gallery, above 0 to below 1.
        """
        known = np.log(prior / distances.shape[1]) + self.evidence[0] + self.evidence[1] * distances
        everything = np.logaddexp(np.logaddexp.reduce(known, axis=1), np.log1p(-prior))
        found: Distances = np.exp(known - everything[:, None])
        return found

    def of_matches(
        self, matches: Sequence[Match], frames: Sequence[Ints], people: int = 0, *, closed: bool = False
    ) -> list[float | None]:
        """Return for each walk of a video the probability of its name, or of the nearest candidate of an unknown walk.

        Of the walks that are seen at the same time only one can be a given person, so each takes probability from the
        others: with odds o1, o2 ... of being that person, walk i is with probability oi / (1 + o1 + o2 + ...).

        Args:
            matches: of the walks, with the same people among their candidates.
            frames: the frame indices of each walk's track.
            people: how many the gallery has. Whoever is not a candidate is at most as near as the last one.
            closed: whether everybody in the video is in the gallery, so that no walk can be a stranger's.

        Returns:
            None for a walk without candidates.
        """
        if not matches or not matches[0].candidates:
            return [None] * len(matches)
        names = sorted(candidate.identity for candidate in matches[0].candidates)
        by_name = [sorted(match.candidates, key=lambda candidate: candidate.identity) for match in matches]
        distances = np.array([[candidate.distance for candidate in row] for row in by_name])
        further = np.repeat(distances.max(axis=1, keepdims=True), max(0, people - len(names)), axis=1)
        prior = _SURELY_KNOWN if closed else 0.5
        alone = self.probabilities(np.concatenate([distances, further], axis=1), prior)[:, : len(names)]
        odds = alone / np.maximum(1 - alone, 1e-12)
        probabilities = odds / (1 + odds + covisible(frames) @ odds)
        who = [names.index(match.identity or match.candidates[0].identity) for match in matches]
        return [float(row[column]) for row, column in zip(probabilities, who, strict=True)]

    def scaled(self, scale: float) -> ScoreModel:
        """Return what distances mean where all of them are `scale` times as large."""
        return replace(
            self,
            genuine=tuple(scale * value for value in self.genuine),
            impostor=tuple(scale * value for value in self.impostor),
            evidence=(self.evidence[0], self.evidence[1] / scale),
            intervals=tuple((rate, scale * low, scale * high) for rate, low, high in self.intervals),
        )

    def to_json(self) -> str:
        """Return the content of a scores file."""
        return json.dumps(_rounded(asdict(self)), indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> ScoreModel:
        """Read what `to_json` wrote.

        Raises:
            ValueError: it is something else.
        """
        from pydantic import TypeAdapter

        return TypeAdapter(cls).validate_json(text)

    def write(self, path: Path) -> None:
        """Write a scores file, whole or not at all; `OutputError` where that is not possible."""
        with written_whole(path) as temporary:
            temporary.write_text(self.to_json(), encoding="utf-8")


def read_scores(path: Path) -> ScoreModel:
    """Read a scores file.

    Raises:
        GalleryError: it is missing or holds something else.
    """
    try:
        return ScoreModel.from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # pydantic's and Unicode's errors are ValueErrors
        first = str(error).splitlines()[0]
        raise GalleryError(
            f"The scores {path} cannot be read: {first}. Make them again: python -m app calibrate."
        ) from error


def scores_path(file: Path) -> Path:
    """Return where the scores lie that belong to a checkpoint or a gallery: ``NAME.scores.json`` beside it."""
    return file.with_name(f"{file.stem}.scores.json")


def find_scores(card: ModelCard, metric: Metric, gallery: Path | None = None) -> ScoreModel | None:
    """Return the scores of this model and metric; None where there are none.

    Those beside the gallery's file, if they were learnt from its own walks, come before those beside the model's.

    Raises:
        GalleryError: a file holds something else.
    """
    for file in (gallery, card.file):
        path = scores_path(file) if file is not None else None
        if path is None or not path.is_file():
            continue
        found = read_scores(path)
        if (found.model_id, found.metric) == (card.model_id, metric):
            return found
        logger.info(
            "%s is of %s, %s, and not used for %s, %s.", path, found.model_id, found.metric, card.model_id, metric
        )
    return None


def _quantiles(distances: Distances) -> tuple[float, ...]:
    return tuple(np.quantile(distances, LEVELS).tolist())


def _evidence(genuine: Distances, impostor: Distances) -> tuple[float, float]:
    """Intercept and slope of the log likelihood ratio: Newton's steps on the weighted logistic loss."""
    x = np.concatenate([genuine, impostor])
    centre, unit = float(x.mean()), float(x.std()) or 1.0
    design = np.stack([np.ones_like(x), (x - centre) / unit], 1)
    truth = np.repeat([1.0, 0.0], [len(genuine), len(impostor)])
    weights = np.where(truth > 0, 0.5 / len(genuine), 0.5 / len(impostor))
    found = np.zeros(2)
    # A trace of weight decay (a thousandth of one pair's) keeps people who are told apart without error finite.
    decay = 1e-3 / min(len(genuine), len(impostor)) * np.eye(2)
    for _ in range(100):
        share = 1 / (1 + np.exp(-design @ found))
        slope = design.T @ (weights * (truth - share)) - decay @ found
        bend = (design * (weights * share * (1 - share))[:, None]).T @ design + decay
        step = np.linalg.solve(bend, slope)
        found += step
        if np.abs(step).max() < 1e-9:
            break
    return float(found[0] - found[1] * centre / unit), float(found[1] / unit)


def _intervals(pairs: Pairs, seed: int) -> tuple[tuple[float, float, float], ...]:
    """Bootstrap of the thresholds at `RATES`: people are drawn with all of their walks, as those are alike."""
    order = np.argsort(pairs.impostor)
    distances, first, second = pairs.impostor[order], *pairs.owners[order].T
    rng = np.random.default_rng(seed)
    found = np.empty((_DRAWS, len(RATES)))
    for row in found:
        drawn = np.bincount(rng.integers(0, pairs.people, pairs.people), minlength=pairs.people)
        passed = np.cumsum(drawn[first] * drawn[second])
        row[:] = distances[np.searchsorted(passed, np.array(RATES) * passed[-1]).clip(max=len(distances) - 1)]
    low, high = np.quantile(found, [0.025, 0.975], axis=0).tolist()
    return tuple(zip(RATES, low, high, strict=True))


def _rounded(value: object) -> object:
    """Five digits behind the point are more than the data say."""
    if isinstance(value, float):
        return round(value, 5)
    if isinstance(value, (list, tuple)):
        return [_rounded(inner) for inner in value]
    return {key: _rounded(inner) for key, inner in value.items()} if isinstance(value, dict) else value
