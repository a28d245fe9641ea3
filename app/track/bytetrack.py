"""ByteTrack: follow every detection box, also the weak ones (Zhang et al. 2022, arXiv 2110.06864, algorithm 1).

Weak detections are often people who are half hidden: they may continue a track, but never start one.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from app.settings import TrackSettings
from app.track.assignment import assign
from app.track.kalman import BoxFilter
from app.types import Detections, Floats, Ints, TrackedBoxes

NEW_SCORE = 0.6
"""The published score from which a detection starts a track. Scores of another network may mean something else."""
_SAME_PERSON = 0.5
_NOBODY = np.zeros((0, 4), np.float32)


class _State(IntEnum):
    TENTATIVE = 0
    TRACKED = 1
    LOST = 2


class ByteTracker:
    """Follows people through one video (`app.stages.Tracker`).

    A track starts with a detection of at least `TrackSettings.new_score` and is confirmed, and given its id, by a
    strong detection in the very next frame; in the first frame of a video it is confirmed at once. Somebody who is not
    seen keeps the id for `lost_seconds`.

    Args:
        fps: how many frames a second are looked at; each of them must be given, also those without detections.
        settings: the thresholds; None for the default ones.

    Raises:
        ValueError: `fps` is not positive.
    """

    def __init__(self, fps: float, settings: TrackSettings | None = None) -> None:
        settings = settings or TrackSettings()
        if not fps > 0:
            raise ValueError(f"a frame rate of {fps} is not positive")
        self._settings = settings
        self._new_score = NEW_SCORE if settings.new_score is None else settings.new_score
        self._patience = round(settings.lost_seconds * fps)
        self._frame, self._is_first = -1, True
        self._filter = BoxFilter.of(_NOBODY)
        self._ids = np.zeros(0, np.int64)
        self._states = np.zeros(0, np.int64)
        self._seen = np.zeros(0, np.int64)
        self._next_id = 1

    def update(self, detections: Detections, passed: int = 1) -> TrackedBoxes:
        """Take the next frame's detections and return the confirmed tracks seen in it.

        Args:
            detections: who was detected.
            passed: the time since the frame before in frames of that rate. Where nothing was recorded for longer than a
                person may be hidden, all tracks end.

        Returns:
            Ids, boxes and scores, sorted by id. The boxes are those of the detections, because they belong to this very
            frame, and filtered boxes fit people no better (measured).
        """
        settings = self._settings
        self._frame += passed
        self._keep(self._frame - self._seen <= self._patience + 1)
        for _ in range(min(passed, self._patience + 1)):
            self._filter.predict(self._states == _State.LOST)
        boxes, scores = detections.boxes, detections.scores
        overlap = iou(self._filter.boxes(), boxes)
        weighed = overlap * scores  # sure detections choose first

        strong = np.flatnonzero(scores > settings.high_score)
        weak = np.flatnonzero((scores > settings.low_score) & (scores <= settings.high_score))
        track_of = np.full(len(scores), -1, np.int64)
        tentative, free = self._states == _State.TENTATIVE, np.ones(len(self._states), np.bool_)
        for wanted, candidates, likeness, least in (
            (~tentative, strong, weighed, settings.match_iou),
            (self._states == _State.TRACKED, weak, overlap, settings.low_match_iou),
            (tentative, strong, weighed, settings.tentative_match_iou),
        ):
            rows, columns = np.flatnonzero(wanted & free), candidates[track_of[candidates] < 0]
            for row, column in match(likeness[np.ix_(rows, columns)], least):
                track_of[columns[column]] = rows[row]
                free[rows[row]] = False

        matched = np.flatnonzero(track_of >= 0)
        rows = track_of[matched]
        self._filter.correct(rows, boxes[matched])
        self._confirm(rows)
        self._seen[rows] = self._frame
        tracked = TrackedBoxes(self._ids[rows], boxes[matched], scores[matched])
        newcomers = strong[(track_of[strong] < 0) & (scores[strong] >= self._new_score)]
        # A second box on somebody who is already followed would become a second person, who then takes an identity
        # away.
        doubled = iou(boxes[newcomers], boxes[matched]).max(axis=1, initial=0.0) >= _SAME_PERSON
        newcomers = newcomers[~doubled]
        self._forget_and_start(boxes[newcomers])
        if self._is_first:
            self._is_first = False
            first = np.arange(len(newcomers))
            self._confirm(first)
            tracked = TrackedBoxes(self._ids[first], boxes[newcomers], scores[newcomers])
        order = np.argsort(tracked.track_ids)
        return TrackedBoxes(tracked.track_ids[order], tracked.boxes[order], tracked.scores[order])

    def _confirm(self, rows: Ints) -> None:
        nameless = rows[self._ids[rows] == 0]
        self._ids[nameless] = self._next_id + np.arange(len(nameless))
        self._next_id += len(nameless)
        self._states[rows] = _State.TRACKED

    def _forget_and_start(self, newcomers: Floats) -> None:
        unseen = self._seen < self._frame
        self._states[unseen & (self._states == _State.TRACKED)] = _State.LOST
        keep = ~unseen | ((self._states == _State.LOST) & (self._frame - self._seen <= self._patience))
        self._keep(keep, newcomers)

    def _keep(self, keep: NDArray[np.bool_], newcomers: Floats = _NOBODY) -> None:
        count = len(newcomers)
        if not count and keep.all():
            return
        self._filter = self._filter.joined(BoxFilter.of(newcomers), keep)
        self._ids = np.append(self._ids[keep], np.zeros(count, np.int64))
        self._states = np.append(self._states[keep], np.full(count, _State.TENTATIVE))
        self._seen = np.append(self._seen[keep], np.full(count, self._frame))


def iou(first: Floats, second: Floats) -> Floats:
    """Return the intersection over union of each box of `first` (N, 4) with each of `second` (M, 4): (N, M)."""
    shared = shared_areas(first, second)
    areas = [np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=1) for boxes in (first, second)]
    union = areas[0][:, None] + areas[1][None, :] - shared
    shares: Floats = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return shares


def shared_areas(first: Floats, second: Floats) -> Floats:
    """Return the area in px that each box of `first` (N, 4) shares with each of `second` (M, 4): (N, M)."""
    corner = np.maximum(first[:, None, :2], second[None, :, :2])
    other = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared: Floats = np.clip(other - corner, 0, None).prod(axis=2)
    return shared


def match(likeness: Floats, least: float) -> list[tuple[int, int]]:
    """Pair rows with columns so that the sum of `likeness` is largest; only values of at least `least` count."""
    return assign(np.where(likeness >= least, likeness, 0.0))
