"""How good detections, masks and keypoints are: pure functions of predictions and truth, in NumPy.

Boxes are float32 (N, 4) x1, y1, x2, y2 px. A figure over several pictures or people can be computed from what each of
them contributes (`match`, `mask_ious`, `keypoint_hits`), so that `app.lab.evaluation.bootstrap` can draw from these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from app.track.bytetrack import iou as overlaps
from app.track.bytetrack import shared_areas
from app.types import Bools, Floats

Scored: TypeAlias = tuple[Floats, Floats]
"""The detections of a picture: boxes (N, 4) and scores (N,)."""

_ANKLES = slice(15, 17)
"""Of COCO's 17 keypoints (Lin et al. 2014)."""


@dataclass(frozen=True, eq=False)
class Matches:
    """The detections of one or several pictures, compared with the people in them.

    `scores` (N,) are in falling order, `hits` (N,) says which detections are a person, and `people` is how many people
    there are to find. Detections that do not count are left out.
    """

    scores: Floats
    hits: Bools
    people: int

    @classmethod
    def joined(cls, parts: Sequence[Matches]) -> Matches:
        """Return the detections of all `parts` together."""
        scores = np.concatenate([np.zeros(0, np.float32), *(part.scores for part in parts)])
        hits = np.concatenate([np.zeros(0, np.bool_), *(part.hits for part in parts)])
        order = np.argsort(-scores, kind="stable")
        return cls(scores[order], hits[order], sum(part.people for part in parts))

    def curve(self) -> tuple[Floats, NDArray[np.float64], NDArray[np.float64]]:
        """Return the distinct scores in falling order, with precision and recall of the detections from each score up.

        Raises:
            ValueError: there are no people to find.
        """
        if not self.people:
            raise ValueError("there is nobody to find, so recall is not defined")
        last = np.flatnonzero(np.diff(self.scores, append=-np.inf))
        found = np.cumsum(self.hits)[last]
        return self.scores[last], found / (last + 1), found / self.people

    def at(self, score: float) -> tuple[float, float]:
        """Return precision (NaN where nothing is detected) and recall of the detections of at least `score`."""
        hits = self.hits[self.scores >= score]
        return float(hits.mean()) if len(hits) else float("nan"), float(hits.sum()) / self.people

    def best_recall(self, precision: float = 0.8) -> tuple[float, float]:
        """Return the largest recall at which `precision` is reached, and its score; 0 and infinity if it never is."""
        scores, precisions, recalls = self.curve()
        good = np.flatnonzero(precisions >= precision)
        return (float(recalls[good[-1]]), float(scores[good[-1]])) if len(good) else (0.0, float("inf"))

    def average_precision(self) -> float:
        """Return the area under the precision-recall curve, made monotone (Everingham et al. 2010)."""
        _, precisions, recalls = self.curve()
        envelope = np.maximum.accumulate(precisions[::-1])[::-1]
        return float(np.sum(np.diff(recalls, prepend=0.0) * envelope))


def match(detections: Scored, truth: Floats, ignore: Floats, iou: float = 0.5) -> Matches:
    """Assign `detections`, in any order, to the boxes of people, `truth` (M, 4), as COCO does (Lin et al. 2014).

    In falling order of the scores, each detection gets the person it overlaps most, of those who have none yet, if the
    intersection over union is at least `iou`. A detection without a person does not count if more than half of its area
    lies in one of the regions `ignore` (K, 4), where people are not labelled.
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
    """Return the largest share of each box's area that lies in one of `regions` (N,)."""
    shared = shared_areas(boxes, regions).max(axis=1, initial=0)
    area = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=1)
    shares: NDArray[np.float64] = np.divide(shared, area, out=np.zeros(len(boxes)), where=area > 0)
    return shares


def matched(detections: Sequence[Scored], truth: Sequence[Floats], ignore: Sequence[Floats]) -> list[Matches]:
    """Call `match` for each of several pictures."""
    return [match(*picture) for picture in zip(detections, truth, ignore, strict=True)]


def mask_ious(masks: Sequence[Bools], truths: Sequence[Bools]) -> NDArray[np.float64]:
    """Return the intersection over union of each mask with its truth (N,); two empty masks have 1."""
    values = []
    for mask, truth in zip(masks, truths, strict=True):
        union = np.count_nonzero(mask | truth)
        values.append(np.count_nonzero(mask & truth) / union if union else 1.0)
    return np.array(values)


class Pck(NamedTuple):
    """Percentage of correct keypoints, 0 to 1: of all, and of the ankles. NaN where nobody has such a keypoint."""

    overall: float
    ankles: float


def keypoint_hits(predicted: Floats, truth: Floats, heights: Floats, share: float = 0.1) -> NDArray[np.float64]:
    """Return 1 where a keypoint is close enough, 0 where it is not, and NaN where the truth has none: (N, 17).

    Close enough is a distance of up to `share` of the height of the person's box. `predicted` (N, 17, 2) are x, y px;
    `truth` (N, 17, 3) has v too, which is above 0 where the keypoint is labelled; `heights` (N,) are in px.
    """
    distances = np.linalg.norm(predicted - truth[..., :2], axis=2)
    return np.where(truth[..., 2] > 0, distances <= share * heights[:, None], np.nan)


def pck(predicted: Floats, truth: Floats, heights: Floats, share: float = 0.1) -> Pck:
    """Return the share of labelled keypoints within `share` of the box's height (Yang & Ramanan 2013).

    The arguments are those of `keypoint_hits`.
    """
    hits = keypoint_hits(predicted, truth, heights, share)
    return Pck(_mean_known(hits), _mean_known(hits[:, _ANKLES]))


def _mean_known(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
