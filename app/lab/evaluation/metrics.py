"""How good a network is: pure functions of predictions and truth, in NumPy.

Boxes are float32 (N, 4) x1, y1, x2, y2 px. Where a figure is the mean or the ratio over pictures or people, what it is
made of can be had as well (`match`, `mask_ious`, `keypoint_hits`), so that `bootstrap` can draw from it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from app.track.bytetrack import iou as overlaps
from app.types import Bools, Floats

Unit = TypeVar("Unit")
Scored: TypeAlias = tuple[Floats, Floats]
"""The detections of a picture: boxes (N, 4) and scores (N,)."""

KEYPOINTS = (
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow"),
    *("right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle"),
    "right_ankle",
)
"""COCO's (Lin et al. 2014), in their order."""

_PAIRS = ("eyes", "ears", "shoulders", "elbows", "wrists", "hips", "knees", "ankles")


@dataclass(frozen=True, eq=False)
class Matches:
    """What the detections of a picture, or of several, are: `scores` (N,), falling, `hits` (N,) whether each is a
    person; `people` is how many there are to be found. Detections that do not count are left out."""

    scores: Floats
    hits: Bools
    people: int

    @classmethod
    def joined(cls, parts: Sequence[Matches]) -> Matches:
        """Return those of all `parts` together."""
        scores = np.concatenate([np.zeros(0, np.float32), *(part.scores for part in parts)])
        hits = np.concatenate([np.zeros(0, np.bool_), *(part.hits for part in parts)])
        order = np.argsort(-scores, kind="stable")
        return cls(scores[order], hits[order], sum(part.people for part in parts))

    def curve(self) -> tuple[Floats, NDArray[np.float64], NDArray[np.float64]]:
        """Return the distinct scores, falling, with precision and recall of all detections of at least that score.

        Raises:
            ValueError: there is nobody to be found.
        """
        if not self.people:
            raise ValueError("there is nobody to be found: recall has no meaning")
        last = np.flatnonzero(np.diff(self.scores, append=-np.inf))
        found = np.cumsum(self.hits)[last]
        return self.scores[last], found / (last + 1), found / self.people

    def at(self, score: float) -> tuple[float, float]:
        """Return precision (NaN where nothing is detected) and recall of the detections of at least `score`."""
        kept = self.hits[self.scores >= score]
        return float(kept.mean()) if len(kept) else float("nan"), float(kept.sum()) / self.people

    def best_recall(self, precision: float = 0.8) -> tuple[float, float]:
        """Return the largest recall at which `precision` holds, and the score it begins at; 0 and infinity: never."""
        scores, precisions, recalls = self.curve()
        good = np.flatnonzero(precisions >= precision)
        return (float(recalls[good[-1]]), float(scores[good[-1]])) if len(good) else (0.0, float("inf"))

    def average_precision(self) -> float:
        """Return the area under the curve of precision against recall, made monotone (Everingham et al. 2010)."""
        _, precisions, recalls = self.curve()
        envelope = np.maximum.accumulate(precisions[::-1])[::-1]
        return float(np.sum(np.diff(recalls, prepend=0.0) * envelope))


def match(detections: Scored, truth: Floats, ignore: Floats, iou: float = 0.5) -> Matches:
    """Give each detection of a picture, by falling score, the free person it overlaps most (Lin et al. 2014, COCO).

    Args:
        detections: boxes (N, 4) and scores (N,), in any order.
        truth: the people, (M, 4).
        ignore: regions (K, 4) of people without labels: what is nobody's, but has more than half of its area in one
            of them, does not count.
        iou: smallest overlap with a person.
    """
    boxes, scores = detections
    order = np.argsort(-scores, kind="stable")
    boxes, scores = boxes[order], scores[order]
    shares = overlaps(boxes, truth)
    hits = np.zeros(len(boxes), np.bool_)
    for row in range(len(boxes) if len(truth) else 0):
        best = int(shares[row].argmax())
        if shares[row, best] >= iou:
            hits[row] = True
            shares[:, best] = -1
    counted = hits | (_inside(boxes, ignore) <= 0.5)
    return Matches(scores[counted], hits[counted], len(truth))


def _inside(boxes: Floats, regions: Floats) -> NDArray[np.float64]:
    """The largest share of each box's area in one of `regions`, (N,)."""
    corner = np.maximum(boxes[:, None, :2], regions[None, :, :2])
    other = np.minimum(boxes[:, None, 2:], regions[None, :, 2:])
    shared = np.clip(other - corner, 0, None).prod(axis=2).max(axis=1, initial=0)
    area = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=1)
    shares: NDArray[np.float64] = np.divide(shared, area, out=np.zeros(len(boxes)), where=area > 0)
    return shares


def matched(
    detections: Sequence[Scored], truth: Sequence[Floats], ignore: Sequence[Floats], iou: float = 0.5
) -> list[Matches]:
    """`match` each of several pictures."""
    return [match(*picture, iou) for picture in zip(detections, truth, ignore, strict=True)]


def recall_at_precision(
    detections: Sequence[Scored],
    truth: Sequence[Floats],
    ignore: Sequence[Floats],
    precision: float = 0.8,
    iou: float = 0.5,
) -> tuple[float, float]:
    """Return the largest recall at which `precision` holds, and the score it begins at; 0 and infinity: never.

    Arguments as those of `match`, one for each picture. Raises `ValueError` where no picture shows anybody.
    """
    return Matches.joined(matched(detections, truth, ignore, iou)).best_recall(precision)


def average_precision(
    detections: Sequence[Scored], truth: Sequence[Floats], ignore: Sequence[Floats], iou: float = 0.5
) -> float:
    """Return the area under the curve of precision against recall, made monotone (Everingham et al. 2010).

    Arguments as those of `match`, one for each picture. Raises `ValueError` where no picture shows anybody.
    """
    return Matches.joined(matched(detections, truth, ignore, iou)).average_precision()


def mask_ious(masks: Sequence[Bools], truths: Sequence[Bools]) -> NDArray[np.float64]:
    """Return the intersection over union of each mask with its truth, (N,); of two empty masks it is 1."""
    values = []
    for mask, truth in zip(masks, truths, strict=True):
        union = np.count_nonzero(mask | truth)
        values.append(np.count_nonzero(mask & truth) / union if union else 1.0)
    return np.array(values)


def mean_iou(masks: Sequence[Bools], truths: Sequence[Bools]) -> float:
    """Return the mean of `mask_ious`; NaN where there are none."""
    return float(np.mean(mask_ious(masks, truths))) if len(masks) else float("nan")


class Pck(NamedTuple):
    """Percentage of correct keypoints, 0..1: of all, and of the named (`KEYPOINTS`, and the pairs: ``ankles`` ...).

    NaN where nobody has the keypoint.
    """

    overall: float
    parts: dict[str, float]


def keypoint_hits(predicted: Floats, truth: Floats, heights: Floats, share: float = 0.1) -> NDArray[np.float64]:
    """Return 1 where a keypoint lies close enough, 0 where not, NaN where the truth has none: (N, 17).

    Args:
        predicted: (N, 17, 2) x, y px.
        truth: (N, 17, 3) x, y px and v, above 0 where the keypoint is labelled.
        heights: (N,) of the people's boxes, px.
        share: of the height that a keypoint may be off.
    """
    off = np.linalg.norm(predicted - truth[..., :2], axis=2)
    return np.where(truth[..., 2] > 0, off <= share * heights[:, None], np.nan)


def pck(predicted: Floats, truth: Floats, heights: Floats, share: float = 0.1) -> Pck:
    """Return the share of labelled keypoints that lie within `share` of the box's height (Yang & Ramanan 2013).

    Arguments as those of `keypoint_hits`.
    """
    return pck_of(keypoint_hits(predicted, truth, heights, share))


def pck_of(hits: NDArray[np.float64]) -> Pck:
    """Sum up `keypoint_hits`, (N, 17)."""
    names = {name: hits[:, index] for index, name in enumerate(KEYPOINTS)}
    pairs = {name: hits[:, 2 * index + 1 : 2 * index + 3] for index, name in enumerate(_PAIRS)}
    return Pck(_mean_known(hits), {name: _mean_known(part) for name, part in (names | pairs).items()})


def _mean_known(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def bootstrap(
    units: Sequence[Unit],
    statistic: Callable[[Sequence[Unit]], float],
    seed: int = 0,
    times: int = 1000,
    level: float = 0.95,
) -> tuple[float, float]:
    """Return the percentile interval of `statistic` (Efron & Tibshirani 1993, chapter 13).

    Args:
        units: what was drawn independently: people, pictures, or pieces of a video (single frames are too alike).
        statistic: the figure of a sample of units, of the same length.
        seed: of the random draws.
        times: how many samples are drawn.
        level: how much of the distribution lies in the interval.

    Raises:
        ValueError: there are no units.
    """
    if not len(units):
        raise ValueError("a bootstrap needs at least one unit")
    draws = np.random.default_rng(seed).integers(0, len(units), (times, len(units)))
    values = [statistic([units[index] for index in draw]) for draw in draws.tolist()]
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
