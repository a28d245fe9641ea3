"""What the distances of a gait model mean: how often strangers are as near, and how probable it is one person.

A distance by itself says nothing, because it depends on the model and on the metric. Measured on walks of known
people, it becomes a false accept rate (how often strangers are as near) and a likelihood ratio (how much more often
two walks of one person are at this distance than walks of two people). `app.lab.evaluation.pairs` fits such scores.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import NormalDist
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from app.errors import GalleryError, reason_of
from app.files import write_text
from app.gallery.distances import Distances, Metric
from app.recognise.covisible import covisible
from app.types import Doubles, Ints, Match, ModelCard

logger = logging.getLogger(__name__)

_NORMAL = NormalDist()
_DEVIATIONS = np.linspace(-4, 4, 81)
LEVELS: NDArray[np.float64] = np.array([_NORMAL.cdf(deviation) for deviation in _DEVIATIONS.tolist()])
"""The quantiles of distances that are kept: dense in the tails, evenly spaced for a normal distribution."""
RATES = (0.001, 0.01, 0.1)
"""False accept rates whose thresholds have confidence intervals."""
FEWEST_PEOPLE = 10
"""The smallest number of people to which scores are fitted: 10 people make 45 pairs of different people."""
_SURELY_KNOWN = 1 - 1e-12
"""Probability, before a walk is seen, that it is somebody's in the gallery when the set of people is closed."""


@dataclass(frozen=True)
class ScoreModel:
    """What the distances of one gait model mean, as measured on `data`. It is kept as JSON beside the model's file.

    `people` is the number of people whose walks were compared, `pairs` the number of pairs of walks of one person and
    of two people. `genuine` and `impostor` are the quantiles of their distances at `LEVELS`. `evidence` is the
    intercept and the slope of the logarithm of the likelihood ratio. `intervals` has each of `RATES` with the 95 %
    bootstrap interval of its threshold, over people. `spread` is how much the logarithm of an impostor distance varies
    with a walk and with the pair (standard deviations).

    Where videos of several people were compared, walks are compared by the directions in which they leave the middle of
    their video (`app.recognise.adaptation`). `centre` (P, C) is then the middle of all those videos, and `together` the
    median distance of two people of one video, its `widening` taken off. Both are None where walks were compared as
    they are.
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
    centre: tuple[tuple[float, ...], ...] | None = None
    together: float | None = None

    def __post_init__(self) -> None:
        for name, quantiles in (("genuine", self.genuine), ("impostor", self.impostor)):
            if len(quantiles) != len(LEVELS) or not np.isfinite(quantiles).all() or (np.diff(quantiles) < 0).any():
                raise ValueError(f"'{name}' must be {len(LEVELS)} rising quantiles")
        if self.people < FEWEST_PEOPLE or min(self.pairs) < 1:
            raise ValueError(f"scores need pairs of both kinds, and at least {FEWEST_PEOPLE} people")
        if not np.isfinite(self.evidence).all() or self.evidence[1] >= 0:
            raise ValueError("'evidence' must fall with the distance: its slope must be below 0")
        if not np.isfinite(self.spread).all() or min(self.spread) < 0:
            raise ValueError("'spread' must be two standard deviations")
        if (self.centre is None) != (self.together is None):
            raise ValueError("'centre' and 'together' belong together")
        if self.middle is not None and not (self.middle.ndim == 2 and np.isfinite(self.middle).all()):
            raise ValueError("'centre' must be numbers for each part of an embedding")

    @cached_property
    def middle(self) -> Doubles | None:
        """`centre` as an array (P, C)."""
        return None if self.centre is None else np.array(self.centre, np.float64)

    def smallest_rate(self) -> float:
        """Return the smallest false accept rate that so many people can tell: one pair of all their pairs."""
        return max(2 / (self.people * (self.people - 1)), float(LEVELS[0]))

    def threshold(self, far: float) -> float:
        """Return the distance below which a share `far` (false accept rate) of comparisons of two people lie.

        Raises:
            GalleryError: there were too few people for so small a rate, or it is not a rate.
        """
        if not self.smallest_rate() <= far < 1:
            raise GalleryError(
                f"A false accept rate of {far:g} cannot be derived from the {self.people} people of {self.data}. Give "
                f"--far a rate from {self.smallest_rate():.2g} to below 1."
            )
        return float(np.interp(_NORMAL.inv_cdf(far), _DEVIATIONS, self.impostor))

    def probabilities(self, distances: Distances, prior: float = 0.5) -> Distances:
        """Return the probability of each person of a gallery (n, people). What is missing to 1 is a stranger's.

        This is Bayes' rule over everybody in the gallery and a stranger, given the distances from n walks to everybody.
        Before a walk is seen, it belongs to somebody in the gallery with probability `prior`, above 0 and below 1, to
        each person equally. So every further person makes the others a little less probable, and somebody at a similar
        distance much less. Distances to different people count as independent, which was close enough on held-out
        walkers and galleries of 1 to 25.
        """
        known = np.log(prior / distances.shape[1]) + self.evidence[0] + self.evidence[1] * distances
        everything = np.logaddexp(np.logaddexp.reduce(known, axis=1), np.log1p(-prior))
        found: Distances = np.exp(known - everything[:, None])
        return found

    def of_matches(
        self, matches: Sequence[Match], frames: Sequence[Ints], people: int = 0, *, closed: bool = False
    ) -> list[float | None]:
        """Return for each walk of a video the probability of its name, or of the nearest candidate of an unknown walk.

        Of the walks that are seen at the same time (`frames` of their tracks) only one can be a given person, so each
        takes probability from the others: with odds o1, o2 ... of being that person, walk i is with probability oi / (1
        + o1 + o2 + ...). The gallery has `people`; whoever is not a candidate is at most as near as the last one. Where
        it is `closed`, no walk can be a stranger's. A walk without candidates has None.
        """
        prior = _SURELY_KNOWN if closed else 0.5
        odds: list[dict[str, float]] = []
        for match in matches:
            names = [candidate.identity for candidate in match.candidates]
            distances = np.array([candidate.distance for candidate in match.candidates])
            further = np.repeat(distances[-1:], max(0, people - len(names)))
            alone = np.zeros(0)
            if names:
                alone = self.probabilities(np.concatenate([distances, further])[None], prior)[0, : len(names)]
            odds.append(dict(zip(names, (alone / np.maximum(1 - alone, 1e-12)).tolist(), strict=True)))
        found: list[float | None] = []
        for match, own, together in zip(matches, odds, covisible(frames), strict=True):
            if not match.candidates:
                found.append(None)
                continue
            who = match.identity or match.candidates[0].identity
            others = sum(odds[other].get(who, 0.0) for other in np.flatnonzero(together))
            found.append(own[who] / (1 + own[who] + others))
        return found

    def scaled(self, scale: float) -> ScoreModel:
        """Return the scores for a place where all distances are `scale` times as large."""
        return replace(
            self,
            genuine=tuple(scale * value for value in self.genuine),
            impostor=tuple(scale * value for value in self.impostor),
            evidence=(self.evidence[0], self.evidence[1] / scale),
            intervals=tuple((rate, scale * low, scale * high) for rate, low, high in self.intervals),
            together=None if self.together is None else scale * self.together,
        )

    def to_json(self) -> str:
        """Return the content of a scores file."""
        # Five decimals are more than the data can tell.
        content = json.loads(json.dumps(asdict(self)), parse_float=lambda number: round(float(number), 5))
        lines = (f" {json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}" for name, value in content.items())
        return "{\n" + ",\n".join(lines) + "\n}\n"

    @classmethod
    def from_json(cls, text: str) -> ScoreModel:
        """Read the content of a scores file; `ValueError` where the text is something else."""
        from pydantic import TypeAdapter

        return TypeAdapter(cls).validate_json(text)

    def write(self, path: Path) -> None:
        """Write a scores file, whole or not at all; raise `OutputError` where that is not possible."""
        write_text(path, self.to_json())


def read_scores(path: Path) -> ScoreModel:
    """Read a scores file; `GalleryError` where the file is missing or holds something else."""
    try:
        return ScoreModel.from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # pydantic's and Unicode's errors are ValueErrors
        raise GalleryError(
            f"The scores {path} cannot be read: {reason_of(error)}. Make them again with: python -m app calibrate."
        ) from error


def scores_path(file: Path) -> Path:
    """Return the path of the scores of a checkpoint or a gallery: ``NAME.scores.json`` beside it."""
    return file.with_name(f"{file.stem}.scores.json")


def find_scores(card: ModelCard, metric: Metric, gallery: Path | None = None) -> ScoreModel | None:
    """Return the scores of a gait model and a metric; None where there are none.

    Scores beside the gallery's file, which were fitted to its own walks, are preferred to those beside the model's.

    Raises:
        GalleryError: a file of scores holds something else.
    """
    for file in (gallery, card.file):
        path = scores_path(file) if file is not None else None
        if path is None or not path.is_file():
            continue
        found = read_scores(path)
        if (found.model_id, found.metric) == (card.model_id, metric):
            return found
        logger.info(
            "%s was fitted to distances of %s (%s) and is not used for %s (%s).",
            path,
            found.model_id,
            found.metric,
            card.model_id,
            metric,
        )
    return None


def scores_among(paths: Iterable[Path], model_id: str, metric: Metric) -> ScoreModel | None:
    """Return the first scores in these files that are a gait model's and a metric's; None where there are none.

    Raises:
        GalleryError: a file of scores holds something else.
    """
    found = (read_scores(path) for path in paths if path.is_file())
    return next((one for one in found if (one.model_id, one.metric) == (model_id, metric)), None)
