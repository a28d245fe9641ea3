"""The truth about a clip with ground truth beside it: who is where, and whom a track follows."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from app.results.report import TrackReport
from app.track.bytetrack import iou
from app.types import Floats


def boxes_of(path: Path) -> dict[int, dict[int, Floats]]:
    """Boxes (4,) px by frame (from 0) and person, from a file of the MOT challenge's format."""
    truth: dict[int, dict[int, Floats]] = {}
    for frame, person, left, top, width, height in np.loadtxt(path, delimiter=",", usecols=range(6)).tolist():
        box = np.array([left, top, left + width, top + height], np.float32)
        truth.setdefault(int(frame) - 1, {})[int(person)] = box
    return truth


def person_of(track: TrackReport, truth: dict[int, dict[int, Floats]]) -> int | None:
    """Whom a track follows: the person it covers (IoU 0.5) in most frames, None where nobody in half of them."""
    votes: Counter[int | None] = Counter()
    for index, box in zip(track.frames, np.asarray(track.boxes, np.float32), strict=True):
        if people := truth.get(index):
            votes[person_at(box, people)] += 1
    return votes.most_common(1)[0][0] if votes else None


def person_at(box: Floats, people: dict[int, Floats]) -> int | None:
    """The person whose true box a box covers best, None where it covers nobody's (IoU 0.5)."""
    if not people:
        return None
    shares = iou(box[None], np.stack(list(people.values())))[0]
    return list(people)[int(shares.argmax())] if shares.max() >= 0.5 else None
