"""Which tracks of a gallery video are of one person, and what its people are called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from app.gallery.distances import Distances
from app.gallery.sqlite import SqliteGallery
from app.gallery.store import NewWalk
from app.recognise.covisible import covisible, own_frames
from app.recognise.stature import statures_of
from app.types import Floats, Track
from app.walks.analysed import AnalysedVideo

MAX_GAP = 2.0
"""The longest gap, in s, after which a walk can still go on."""
TREND = 0.5
"""The last seconds of a fragment, from which its speed is measured."""
REACH = 0.25
"""How far from the expected place a walk may go on, in body heights. Each second of the gap adds twice as much again.
A walker covers about 0.8 body heights a second."""
HEIGHT_RATIO = 1.3
"""The largest ratio of the heights before and after a gap."""
UNDENIABLE = 0.5
"""Two walks whose distance is at most this share of the threshold are of one person, wherever they are."""
EVIDENCE = 2.0
"""The largest sum of distance / threshold and miss / reach at which a walk goes on. A walk that starts exactly where it
is expected may have twice the distance of the threshold, because people look different from a new side. A walk at the
end of the reach must be within the threshold."""


def join_fragments(tracks: Sequence[Track], distances: Distances, threshold: float, fps: float) -> list[int]:
    """Find tracks of one video that are fragments of one person's walk: a group number for each, 0, 1, ... in their
    order.

    Two tracks that share a frame are never joined, not even through a third track, unless both may have one body there
    (`app.recognise.covisible.own_frames`). Two other tracks are joined if one starts about where the other was heading
    and the walks are alike; the closer the place, the less alike they need to be. They are also joined if they are so
    alike that the place does not matter. The most certain pairs come first.

    `distances` (n, n) are between their walks, and `threshold` is the largest that counts as the same person.

    Raises:
        ValueError: the distances have another shape.
    """
    n = len(tracks)
    if distances.shape != (n, n):
        raise ValueError(f"distances must be ({n}, {n}), not {distances.shape}")
    apart = covisible(own_frames(tracks))
    group = np.arange(n)
    pairs = []
    first, last = (np.array([track.frame_indices[end] for track in tracks]) for end in (0, -1))
    later, ended = np.maximum.outer(first, first), np.minimum.outer(last, last)
    goes_on = (later > ended) & (later - ended <= MAX_GAP * fps)
    is_possible = np.where(goes_on, distances <= EVIDENCE * threshold, distances <= UNDENIABLE * threshold)
    for a, b in np.argwhere(np.triu(is_possible & ~apart, 1)).tolist() if threshold > 0 else []:
        ratio = distances[a, b] / threshold
        evidence = ratio + _miss(tracks[a], tracks[b], fps)
        if evidence <= EVIDENCE or ratio <= UNDENIABLE:
            pairs.append((min(evidence, EVIDENCE + ratio), a, b))
    for _, a, b in sorted(pairs):
        if group[a] != group[b] and not apart[np.ix_(group == group[a], group == group[b])].any():
            group[group == group[b]] = group[a]
    numbers = {int(label): number for number, label in enumerate(dict.fromkeys(group.tolist()))}
    return [numbers[int(label)] for label in group]


def name_identities(stem: str, tracks: Sequence[Track], groups: Sequence[int]) -> list[str]:
    """Return the name of each track: ``<stem>-001``, ``-002`` and so on, in the order in which the people appear.

    `stem` is the gallery video's name without suffix, and `groups` are those of `join_fragments`;
    ``range(len(tracks))`` joins none.
    """
    start: dict[int, tuple[int, int]] = {}
    for track, group in zip(tracks, groups, strict=True):
        appearance = (int(track.frame_indices[0]), track.track_id)
        start[group] = min(start.get(group, appearance), appearance)
    order = {group: number for number, group in enumerate(sorted(start, key=lambda group: start[group]), 1)}
    return [f"{stem}-{order[group]:03d}" for group in groups]


def _miss(a: Track, b: Track, fps: float) -> float:
    """Return how far the later of two tracks starts from where the earlier one was heading; 1 is the end of the reach.

    The result is infinite if the start is too far away or too late, if the heights differ too much, or if the tracks
    overlap in time.
    """
    if a.frame_indices[0] > b.frame_indices[0]:
        a, b = b, a
    gap = float(b.frame_indices[0] - a.frame_indices[-1]) / fps
    if not 0 < gap <= MAX_GAP:
        return np.inf
    height, next_height = _height(a.boxes[-3:]), _height(b.boxes[:3])
    if max(height, next_height) > HEIGHT_RATIO * min(height, next_height):
        return np.inf
    recent = a.frame_indices >= a.frame_indices[-1] - TREND * fps
    times, feet = a.frame_indices[recent] / fps, _feet(a.boxes[recent])
    speed = (feet[-1] - feet[0]) / (times[-1] - times[0]) if len(times) > 1 else np.zeros(2)
    miss = np.linalg.norm(feet[-1] + speed * gap - _feet(b.boxes[:1])[0])
    miss /= REACH * (1 + 2 * gap) * max(height, next_height)
    return float(miss) if miss <= 1 else np.inf


def _feet(boxes: Floats) -> Floats:
    """Return the middle of the lower edge of each box: float32 (T, 2) px."""
    return np.stack([(boxes[:, 0] + boxes[:, 2]) / 2, boxes[:, 3]], 1)


def _height(boxes: Floats) -> float:
    return float(np.median(boxes[:, 3] - boxes[:, 1]))


def gallery_of(video: AnalysedVideo, identities: Mapping[int, str]) -> SqliteGallery:
    """Return a gallery in memory with the people of a video; the caller closes it."""
    gallery = SqliteGallery(None)
    walks: dict[str, list[NewWalk]] = {}
    statures = statures_of(video)
    for walk in video.usable():
        if walk.embedding is not None:
            number = walk.track.track_id
            measures = (statures[number].measure(),) if number in statures else ()
            new = NewWalk(walk.embedding, video.info.path.name, number, measures=measures)
            walks.setdefault(identities[number], []).append(new)
    for name, walks_of_person in walks.items():
        gallery.enrol(name, walks_of_person, consent="kept in memory for one run only")
    return gallery
