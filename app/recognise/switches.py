"""Identity switches: a track that begins on one person and goes on upon another, as trackers do where people cross."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from app.gallery.distances import Distances
from app.types import Bools, Floats, GaitSequence, Ints, Track

WINDOW = 0.6
"""Seconds of a window: about a step (Winter 1991: 0.5 to 0.6 s), in which the legs take every posture once."""
FEWEST_FRAMES = 6
"""Silhouettes a window has at least; it is longer where they are rare."""
FEWEST_WINDOWS = 3
"""Windows on either side of a switch: a piece lasts about 1.8 s, from which a walk can be judged."""
REACH = 3
"""Windows further apart than this are not compared: who turns looks different too, but little by little."""
CONTRAST = 1.2
"""Least `contrast` of a switch, chosen on virtual walkers."""
NEAR = 1.0
"""Seconds before and after a switch in which the track must come upon somebody, or be lost."""
LOST = 0.2
"""Seconds without a box after which a track may have gone on upon anybody."""


def windows(walk: GaitSequence) -> list[GaitSequence]:
    """Cut a walk into windows of equally many silhouettes, of about 0.6 s; what is left over at the end is dropped."""
    steps = np.diff(walk.frame_indices)
    rate = walk.fps / float(np.median(steps)) if len(steps) else walk.fps
    size = max(FEWEST_FRAMES, round(WINDOW * rate))
    return [walk.part(slice(start, start + size)) for start in range(0, len(walk) - size + 1, size)]


def possible_switches(track: Track, others: Sequence[Track], frames: Sequence[int], fps: float) -> Bools:
    """Whether a track may have gone over to somebody else at each of `frames`: bool (n,).

    It may where within a second it was lost for a moment, or ran into the way of somebody else, seen then or not long
    before or after. Nobody who walks alone is ever split, however sharply they turn.

    Args:
        track: the one in question.
        others: all others of the video.
        frames: the frame indices in question.
        fps: frames per second.
    """
    possible = np.zeros(len(frames), np.bool_)
    for place, frame in enumerate(frames):
        around = (frame - NEAR * fps, frame + NEAR * fps)
        indices, own = _within(track, *around)
        met = (_meet(own, _within(other, *around)[1]) for other in others)
        possible[place] = bool((np.diff(indices) > LOST * fps + 1).any()) or any(met)
    return possible


def contrast(distances: Distances, at: int) -> float:
    """How clearly somebody else begins at window `at`: above 1 where hardly anything speaks against it.

    The lower quartile of the distances across the place, over the upper quartile of the distances on the less steady
    side of it. Only windows at most `REACH` apart count, so that a slow turn is no switch; and quartiles, so that a
    spoilt window is none either.

    Args:
        distances: (n, n) among the successive windows of a track.
        at: the first window of the second side; both sides have at least two.
    """
    first, second = np.triu_indices(len(distances), 1)
    near = second - first <= REACH
    first, second = first[near], second[near]
    values = distances[first, second]
    across = np.quantile(values[(first < at) & (second >= at)], 0.25)
    within = max(np.quantile(values[second < at], 0.75), np.quantile(values[first >= at], 0.75))
    return float(across / max(within, np.finfo(np.float64).tiny))


def find_switches(distances: Distances, possible: Bools) -> list[int]:
    """Find where a track goes over to somebody else.

    The clearest place splits the track, and each side may be split again (binary segmentation).

    Args:
        distances: (n, n) among the successive `windows` of a track.
        possible: (n,), whether somebody else may begin at each window (`possible_switches`).

    Returns:
        The windows at which another person begins, rising.
    """
    places = range(FEWEST_WINDOWS, len(distances) - FEWEST_WINDOWS + 1)
    clear, at = max(((contrast(distances, place), place) for place in places if possible[place]), default=(0.0, 0))
    if clear < CONTRAST:
        return []
    before = find_switches(distances[:at, :at], possible[:at])
    after = find_switches(distances[at:, at:], possible[at:])
    return [*before, at, *(at + place for place in after)]


def _within(track: Track, first: float, last: float) -> tuple[Ints, Floats]:
    """The frames and boxes of a track from `first` to `last`."""
    inside = (track.frame_indices >= first) & (track.frame_indices <= last)
    return track.frame_indices[inside], track.boxes[inside]


def _meet(boxes: Floats, others: Floats) -> bool:
    """Whether any of `boxes` (n, 4) overlaps any of `others` (m, 4)."""
    corner = np.maximum(boxes[:, None, :2], others[None, :, :2])
    other = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    return bool((other > corner).all(2).any())
