"""From the gallery's tracks to its people."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from app.gallery.distances import Distances
from app.recognise.covisible import covisible
from app.types import Floats, Track

MAX_GAP = 2.0
"""Longest gap in s over which a walk is thought to go on."""
TREND = 0.5
"""Seconds at a fragment's end from which its motion is taken."""
REACH = 0.25
"""How far from the expected place a walk may go on, in body heights, and twice as much again for each second of the
gap. A walker makes about 0.8 body heights a second."""
HEIGHT_RATIO = 1.3
"""Largest ratio of the heights at a gap."""
UNDENIABLE = 0.5
"""Share of the threshold below which two walks are one person's wherever they are."""
EVIDENCE = 2.0
"""Largest sum of distance / threshold and miss / reach of a walk that goes on: who is exactly where expected may look
twice as different as a stranger elsewhere might, since seen from a new side; who is at the end of the reach may not."""


def join_fragments(tracks: Sequence[Track], distances: Distances, threshold: float, fps: float) -> list[int]:
    """Find the pieces of one person's broken track.

    Two tracks that share a frame are never joined, not even through a third. Others are, the surest first, if one
    goes on about where the other was heading and the walks are alike (the nearer the place, the less alike they
    need to be), or if they are so alike that the place does not matter.

    Args:
        tracks: the tracks of one video.
        distances: (n, n) among their walks.
        threshold: the largest distance that is still the same person.
        fps: frames per second.

    Returns:
        A group number for each track: 0, 1, ... in the order of the tracks.

    Raises:
        ValueError: distances of another shape.
    """
    n = len(tracks)
    if distances.shape != (n, n):
        raise ValueError(f"distances must be ({n}, {n}), not {distances.shape}")
    apart = covisible([track.frame_indices for track in tracks])
    group = np.arange(n)
    pairs = []
    for a, b in np.argwhere(~apart & (np.triu(np.ones((n, n)), 1) > 0)).tolist():
        alike = distances[a, b] / threshold if threshold > 0 else np.inf
        if alike > EVIDENCE:
            continue
        evidence = alike + _miss(tracks[a], tracks[b], fps)
        if evidence <= EVIDENCE or alike <= UNDENIABLE:
            pairs.append((min(evidence, EVIDENCE + alike), a, b))
    for _, a, b in sorted(pairs):
        if group[a] != group[b] and not apart[np.ix_(group == group[a], group == group[b])].any():
            group[group == group[b]] = group[a]
    numbers = {int(label): number for number, label in enumerate(dict.fromkeys(group.tolist()))}
    return [numbers[int(label)] for label in group]


def name_identities(stem: str, tracks: Sequence[Track], groups: Sequence[int]) -> list[str]:
    """The identity of each track: ``<stem>-001``, ``-002`` ... in order of the groups' first appearance.

    Args:
        stem: the gallery video's name without suffix.
        tracks: the tracks of the video.
        groups: the group of each track (`join_fragments`; ``range(len(tracks))`` joins none).
    """
    start: dict[int, tuple[int, int]] = {}
    for track, group in zip(tracks, groups, strict=True):
        appearance = (int(track.frame_indices[0]), track.track_id)
        start[group] = min(start.get(group, appearance), appearance)
    order = {group: number for number, group in enumerate(sorted(start, key=lambda group: start[group]), 1)}
    return [f"{stem}-{order[group]:03d}" for group in groups]


def _miss(a: Track, b: Track, fps: float) -> float:
    """How far the later of two tracks starts from where the earlier was heading, 1 at the end of the reach.

    Infinite where that is too far, too late, of another size, or where neither is the later one.
    """
    if a.frame_indices[0] > b.frame_indices[0]:
        a, b = b, a
    gap = float(b.frame_indices[0] - a.frame_indices[-1]) / fps
    if not 0 < gap <= MAX_GAP:
        return np.inf
    tall, next_tall = _height(a.boxes[-3:]), _height(b.boxes[:3])
    if max(tall, next_tall) > HEIGHT_RATIO * min(tall, next_tall):
        return np.inf
    recent = a.frame_indices >= a.frame_indices[-1] - TREND * fps
    times, feet = a.frame_indices[recent] / fps, _feet(a.boxes[recent])
    speed = (feet[-1] - feet[0]) / (times[-1] - times[0]) if len(times) > 1 else np.zeros(2)
    miss = np.linalg.norm(feet[-1] + speed * gap - _feet(b.boxes[:1])[0])
    miss /= REACH * (1 + 2 * gap) * max(tall, next_tall)
    return float(miss) if miss <= 1 else np.inf


def _feet(boxes: Floats) -> Floats:
    """The middle of the lower edge: float32 (T, 2) px."""
    return np.stack([(boxes[:, 0] + boxes[:, 2]) / 2, boxes[:, 3]], 1)


def _height(boxes: Floats) -> float:
    return float(np.median(boxes[:, 3] - boxes[:, 1]))
