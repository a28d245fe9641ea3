"""Identity switches: a track that begins on one person and goes on with another, as happens where people cross."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from app.gallery.distances import Distances
from app.types import Bools, Doubles, Floats, GaitSequence, Track

WINDOW = 0.6
"""The length of a window in s: about one step (Winter 1991: 0.5 to 0.6 s), in which the legs take every posture."""
FEWEST_FRAMES = 6
"""The smallest number of silhouettes in a window. Where silhouettes are rare, windows are longer."""
FEWEST_WINDOWS = 3
"""The smallest number of windows on each side of a switch: about 1.8 s, which are enough to judge a walk."""
REACH = 3
"""Windows that are further apart are not compared: people who turn look different too, but they change slowly."""
CONTRAST = 1.2
"""The smallest `contrast` that counts as a switch. It was chosen on virtual walkers."""
NEAR = 1.0
"""A switch needs somebody else near, or a track that is lost for a moment, within this many seconds."""
LOST = 0.2
"""A track without a box for this many seconds may have gone on with anybody."""


def windows(walk: GaitSequence) -> list[GaitSequence]:
    """Cut a walk into windows of about 0.6 s with equally many silhouettes. A rest at the end is dropped."""
    steps = np.diff(walk.frame_indices)
    rate = walk.fps / float(np.median(steps)) if len(steps) else walk.fps
    size = max(FEWEST_FRAMES, round(WINDOW * rate))
    return [walk.part(slice(start, start + size)) for start in range(0, len(walk) - size + 1, size)]


def possible_switches(track: Track, others: Sequence[Track], frames: Sequence[int], fps: float) -> Bools:
    """Return whether a track may have gone over to somebody else at each of `frames` (indices): bool (n,).

    That is possible where, within a second, the track was lost for a moment or its boxes overlap the boxes that one of
    `others`, all other tracks of the video, has within a second. So somebody who walks alone is never split, however
    sharply they turn.
    """
    possible = np.zeros(len(frames), np.bool_)
    around = np.array(frames)[:, None] + np.array([-NEAR, NEAR]) * fps
    of_others = [(other, _within(other, around)) for other in others]
    for place, own in enumerate(_within(track, around)):
        was_lost = bool((np.diff(track.frame_indices[own]) > LOST * fps + 1).any())
        boxes = track.boxes[own]
        possible[place] = was_lost or any(_overlap(boxes, other.boxes[near[place]]) for other, near in of_others)
    return possible


def contrast(distances: Distances, at: int) -> float:
    """Return how clearly another person begins at window `at`: well above 1 where a switch is likely.

    `distances` (n, n) are between the successive windows of a track, at least two on each side. This is the lower
    quartile of the distances across the place, divided by the upper quartile of the distances on the less steady side
    of it. Only windows that are at most `REACH` apart count, so that a slow turn is not taken for a switch. Quartiles
    are used so that a single bad window is not taken for one either.
    """
    first, second = np.triu_indices(len(distances), 1)
    is_near = second - first <= REACH
    first, second = first[is_near], second[is_near]
    values = distances[first, second]
    across = np.quantile(values[(first < at) & (second >= at)], 0.25)
    within = max(np.quantile(values[second < at], 0.75), np.quantile(values[first >= at], 0.75))
    return float(across / max(within, np.finfo(np.float64).tiny))


def find_switches(distances: Distances, possible: Bools) -> list[int]:
    """Return at which windows a track goes over to somebody else, in rising order.

    `distances` (n, n) are between the successive `windows`, and `possible` (n,) is `possible_switches`. The track is
    split at the clearest place, and each side may be split again (binary segmentation).
    """
    places = range(FEWEST_WINDOWS, len(distances) - FEWEST_WINDOWS + 1)
    largest, at = max(((contrast(distances, place), place) for place in places if possible[place]), default=(0.0, 0))
    if largest < CONTRAST:
        return []
    before = find_switches(distances[:at, :at], possible[:at])
    after = find_switches(distances[at:, at:], possible[at:])
    return [*before, at, *(at + place for place in after)]


def _within(track: Track, around: Doubles) -> list[slice]:
    """Return the rows of a track that lie in each of n spans of time, from `around[i, 0]` to `around[i, 1]`."""
    first = np.searchsorted(track.frame_indices, around[:, 0], "left")
    end = np.searchsorted(track.frame_indices, around[:, 1], "right")
    return [slice(*ends) for ends in zip(first.tolist(), end.tolist(), strict=True)]


def _overlap(boxes: Floats, others: Floats) -> bool:
    """Return whether any of `boxes` (n, 4) overlaps any of `others` (m, 4)."""
    others = _near(others, boxes)  # mostly nobody, so there is little left to compare one by one
    boxes = _near(boxes, others)
    top_left = np.maximum(boxes[:, None, :2], others[None, :, :2])
    bottom_right = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    return bool((bottom_right > top_left).all(2).any())


def _near(boxes: Floats, others: Floats) -> Floats:
    """Return those of `boxes` (n, 4) that overlap the rectangle round all of `others` (m, 4)."""
    if not len(boxes) or not len(others):
        return boxes[:0]
    inside = (boxes[:, :2] < others[:, 2:].max(0)) & (boxes[:, 2:] > others[:, :2].min(0))
    near: Floats = boxes[inside.all(1)]
    return near
