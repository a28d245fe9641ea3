"""Which walks of one video are certainly of different people: those that are in view in the same frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from app.types import Bools, Floats, Ints, Track

_ONE_BODY = 0.7
"""Boxes of one frame that overlap by so much (intersection over union) may be two boxes round one body."""


def own_frames(tracks: Sequence[Track]) -> list[Ints]:
    """Return the frames in which each track certainly has a body of its own.

    Where a detector gives one body two boxes, a track may end some frames after the next one began. Such frames do not
    show that the two are different people. They are left out for the shorter of the two tracks. A track that has no
    other frames keeps them all.
    """
    if not tracks:
        return []
    frames = np.concatenate([track.frame_indices for track in tracks])
    boxes = np.concatenate([track.boxes for track in tracks])
    lengths = [len(track.frame_indices) for track in tracks]
    owner = np.repeat(np.arange(len(tracks)), lengths)
    # Boxes of one frame stand side by side; in each frame the longest track comes first.
    order = np.lexsort((owner, -np.repeat(lengths, lengths), frames))
    frames, boxes, owner = frames[order], boxes[order], owner[order]
    shadowed = np.zeros(len(frames), np.bool_)
    step = 1
    while step < len(frames) and (same := frames[step:] == frames[:-step]).any():
        later = np.flatnonzero(same) + step
        shadowed[later] |= _overlaps(boxes[later - step], boxes[later]) > _ONE_BODY
        step += 1
    found = []
    for number, track in enumerate(tracks):
        kept = np.sort(frames[(owner == number) & ~shadowed])
        found.append(kept if len(kept) else track.frame_indices)
    return found


def _overlaps(first: Floats, second: Floats) -> Floats:
    """Return the intersection over union of each of N boxes (N, 4) with the box of the same row."""
    shared = np.minimum(first[:, 2:], second[:, 2:]) - np.maximum(first[:, :2], second[:, :2])
    inner = np.clip(shared, 0, None).prod(axis=1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (first, second)]
    overlaps: Floats = inner / np.maximum(areas[0] + areas[1] - inner, 1e-9)
    return overlaps


def visibility(frames: Sequence[Ints]) -> Bools:
    """Return which tracks are in view together: bool (moments, tracks). Each row has the tracks of some frame.

    Only the largest sets are kept, because a row whose tracks all appear in another row adds nothing. Two tracks share
    a frame exactly if they share a row.

    Args:
        frames: the frame indices of each track.
    """
    if not frames:
        return np.zeros((0, 0), np.bool_)
    _, moment = np.unique(np.concatenate(list(frames)), return_inverse=True)
    in_view = np.zeros((moment.max() + 1, len(frames)), np.bool_)
    in_view[moment, np.repeat(np.arange(len(frames)), [len(indices) for indices in frames])] = True
    sets = np.unique(in_view, axis=0).astype(np.float32)
    # Row a is contained in row b if they have as many tracks in common as row a has.
    contained = sets @ sets.T >= sets.sum(1)[:, None]
    np.fill_diagonal(contained, False)
    maximal: Bools = sets[~contained.any(1)] > 0
    return maximal


def covisible(frames: Sequence[Ints]) -> Bools:
    """Return which pairs of tracks share a frame: bool (tracks, tracks), False on the diagonal."""
    in_view = visibility(frames).astype(np.float32)
    together: Bools = in_view.T @ in_view > 0
    np.fill_diagonal(together, False)
    return together
