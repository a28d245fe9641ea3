"""Cutting walks: tracks are cut where they go over to somebody else; halves show how alike one person's walks are."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from app.gallery.distances import Distances, distances_between
from app.recognise.switches import find_switches, possible_switches, windows
from app.stages import Stages
from app.types import Embedding, GaitSequence, Track
from app.walks.analysed import AnalysedVideo, AnalysedWalk

logger = logging.getLogger(__name__)


def split_switches(video: AnalysedVideo, stages: Stages) -> AnalysedVideo:
    """Cut the tracks that go over to somebody else (`app.recognise.switches`) into pieces.

    The first piece keeps the number of the track. The others get new numbers, and `part_of` says which track they were
    cut from.
    """
    walks: list[AnalysedWalk] = []
    new_id = max((walk.track.track_id for walk in video.walks), default=0)
    tracks = [walk.track for walk in video.walks]
    for walk, sequence in video.sequences():
        starts = []
        if walk.embedding is not None and sequence is not None:
            starts = _switches(sequence, walk.track, tracks, stages)
        if not starts or sequence is None:
            walks.append(walk)
            continue
        for place, (sequence_part, track) in enumerate(_cut(sequence, walk.track, starts)):
            number = walk.track.track_id if place == 0 else (new_id := new_id + 1)
            (embedding,) = stages.gait.embed([sequence_part])
            part_of = None if place == 0 else walk.track.track_id
            walks.append(replace(walk, track=replace(track, track_id=number), embedding=embedding, part_of=part_of))
        logger.info(
            "%s: track %d goes on with another person at %s s. The parts before and after are compared separately.",
            video.info.path.name,
            walk.track.track_id,
            ", ".join(f"{start / float(video.info.fps):.1f}" for start in starts),
        )
    walks.sort(key=lambda walk: walk.track.track_id)
    return replace(video, walks=tuple(walks))


def half_distances(videos: Sequence[AnalysedVideo], stages: Stages) -> Distances:
    """Return the distances between the first and the second half of each usable walk (n,)."""
    halves: list[tuple[Embedding, Embedding]] = []
    for video in videos:
        for walk, sequence in video.sequences():
            if walk.embedding is not None and sequence is not None and len(sequence) > 1:
                middle = len(sequence) // 2
                first, second = stages.gait.embed([sequence.part(slice(middle)), sequence.part(slice(middle, None))])
                halves.append((first, second))
    return np.array([distances_between([a], [b], stages.settings.match.metric)[0, 0] for a, b in halves])


def _switches(sequence: GaitSequence, track: Track, tracks: Sequence[Track], stages: Stages) -> list[int]:
    """Return the frames at which a track goes over to somebody else."""
    parts = windows(sequence)
    starts = [int(part.frame_indices[0]) for part in parts]
    others = [other for other in tracks if other.track_id != track.track_id]
    possible = possible_switches(track, others, starts, sequence.fps)
    if not possible.any():  # as for most walks, which the gait network then need not see again
        return []
    embeddings = stages.gait.embed(parts)
    distances = distances_between(embeddings, embeddings, stages.settings.match.metric)
    return [starts[switch] for switch in find_switches(distances, possible)]


def _cut(sequence: GaitSequence, track: Track, starts: Sequence[int]) -> list[tuple[GaitSequence, Track]]:
    """Cut a walk before each of the frames `starts`."""
    edges = [int(track.frame_indices[0]), *starts, int(track.frame_indices[-1]) + 1]
    pieces = []
    for first, end in pairwise(edges):
        boxes = (track.frame_indices >= first) & (track.frame_indices < end)
        silhouettes = (sequence.frame_indices >= first) & (sequence.frame_indices < end)
        part = Track(track.track_id, track.frame_indices[boxes], track.boxes[boxes], track.scores[boxes])
        pieces.append((sequence.part(silhouettes), part))
    return pieces
