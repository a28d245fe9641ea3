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
    _, later = overlapping(frames, boxes, _ONE_BODY)
    frames, owner = np.delete(frames, later), np.delete(owner, later)
    order = np.lexsort((frames, owner))
    each = np.split(frames[order], np.searchsorted(owner[order], np.arange(1, len(tracks))))
    return [kept if len(kept) else track.frame_indices for kept, track in zip(each, tracks, strict=True)]


def overlapping(frames: Ints, boxes: Floats, least: float) -> tuple[Ints, Ints]:
    """Return which pairs of boxes (N, 4) of one frame overlap by more than `least` (intersection over union).

    `frames` (N,) are the boxes' frames, rising. The first array holds the box of each pair that stands earlier among
    the N, the second the later one.
    """
    found = [np.zeros((2, 0), np.int64)]
    step = 1
    while step < len(frames) and (same := frames[step:] == frames[:-step]).any():
        later = np.flatnonzero(same) + step
        later = later[_overlaps(boxes[later - step], boxes[later]) > least]
        found.append(np.stack([later - step, later]))
        step += 1
    first, second = np.concatenate(found, axis=1)
    return first, second


def _overlaps(first: Floats, second: Floats) -> Floats:
    """Return the intersection over union of each of N boxes (N, 4) with the box of the same row."""
    shared = np.minimum(first[:, 2:], second[:, 2:]) - np.maximum(first[:, :2], second[:, :2])
    inner = np.clip(shared, 0, None).prod(axis=1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (first, second)]
    overlaps: Floats = inner / np.maximum(areas[0] + areas[1] - inner, 1e-9)
    return overlaps


def visibility(frames: Sequence[Ints]) -> list[Ints]:
    """Return which tracks are in view together: for some moments, in the order of time, the tracks of a frame.

    `frames` are the frame indices of each track, rising. Two tracks share a frame exactly if they share a moment. A
    moment all of whose tracks are also in view at the moment before or after it adds nothing and is left out.
    """
    lengths = [len(indices) for indices in frames]
    if not sum(lengths):
        return []
    everything = np.concatenate(list(frames))
    owner = np.repeat(np.arange(len(frames)), lengths)
    first = int(everything.min())
    is_seen = np.zeros(int(everything.max()) - first + 1, np.bool_)
    is_seen[everything - first] = True
    place = (np.cumsum(is_seen) - 1)[everything - first]  # of the frame, among those that show anybody
    # Who is in view changes only where a track begins, or has ended just before.
    begins = np.ones(len(place), np.bool_)
    begins[1:] = (np.diff(owner) > 0) | (np.diff(place) > 1)
    changes = np.zeros(place.max() + 2, np.bool_)
    changes[place[begins]] = True
    changes[place[np.append(begins[1:], True)] + 1] = True
    kept = changes[place]
    place, owner = place[kept], owner[kept]
    order = np.argsort(place, kind="stable")
    place, owner = place[order], owner[order]
    moments: list[set[int]] = []
    known: set[bytes] = set()
    for tracks in np.split(owner, np.flatnonzero(np.diff(place)) + 1):
        if (key := tracks.tobytes()) in known:
            continue
        known.add(key)
        together = set(tracks.tolist())
        while moments and moments[-1] <= together:
            moments.pop()
        if not (moments and together <= moments[-1]):
            moments.append(together)
    return [np.array(sorted(moment), np.int64) for moment in moments]


def covisible(frames: Sequence[Ints]) -> Bools:
    """Return which pairs of tracks share a frame: bool (tracks, tracks), False on the diagonal."""
    together = np.zeros((len(frames), len(frames)), np.bool_)
    for moment in visibility(frames):
        together[np.ix_(moment, moment)] = True
    np.fill_diagonal(together, False)
    return together
