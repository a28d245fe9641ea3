"""Tracks that go over to somebody else, cut into pieces."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from app.gallery.distances import distances_between
from app.recognise.switches import find_switches, possible_switches, windows
from app.stages import Stages
from app.types import GaitSequence, Track
from app.walks.analyse import AnalysedVideo, AnalysedWalk
from app.walks.archive import read_walks

logger = logging.getLogger(__name__)


def split_switches(analysed: AnalysedVideo, stages: Stages) -> AnalysedVideo:
    """Cut the tracks that go over to somebody else (`app.recognise.switches`) into pieces.

    The first piece keeps the track's number, the others get new ones and say in `part_of` whose they are.
    """
    usable = {walk.track.track_id: walk for walk in analysed.usable()}
    pieces: list[AnalysedWalk] = [walk for walk in analysed.walks if walk.embedding is None]
    new_id = max((walk.track.track_id for walk in analysed.walks), default=0)
    for found in read_walks(analysed.archive):
        walk, sequence = usable.get(found.track.track_id), found.sequence
        if walk is None or sequence is None:
            continue
        starts = _switches(sequence, walk.track, [other.track for other in analysed.walks], stages)
        if not starts:
            pieces.append(walk)
            continue
        for place, (sequence_part, track) in enumerate(_cut(sequence, walk.track, starts)):
            number, of = (walk.track.track_id, None) if place == 0 else (new_id := new_id + 1, walk.track.track_id)
            (embedding,) = stages.gait.embed([sequence_part])
            pieces.append(AnalysedWalk(replace(track, track_id=number), embedding, None, of))
        logger.info(
            "%s: track %d goes over to somebody else at %s s; its pieces are matched by themselves.",
            analysed.info.path.name,
            walk.track.track_id,
            ", ".join(f"{start / float(analysed.info.fps):.1f}" for start in starts),
        )
    pieces.sort(key=lambda walk: walk.track.track_id)
    return replace(analysed, walks=tuple(pieces))


def _switches(sequence: GaitSequence, track: Track, every: Sequence[Track], stages: Stages) -> list[int]:
    """The frames at which a track goes over to somebody else."""
    parts = windows(sequence)
    starts = [int(part.frame_indices[0]) for part in parts]
    others = [other for other in every if other.track_id != track.track_id]
    possible = possible_switches(track, others, starts, sequence.fps)
    if not possible.any():  # most walks: nothing is embedded twice
        return []
    embeddings = stages.gait.embed(parts)
    distances = distances_between(embeddings, embeddings, stages.settings.match.metric)
    return [starts[switch] for switch in find_switches(distances, possible)]


def _cut(sequence: GaitSequence, track: Track, starts: Sequence[int]) -> list[tuple[GaitSequence, Track]]:
    """Cut a walk before each of the frames `starts`."""
    edges = [int(track.frame_indices[0]), *starts, int(track.frame_indices[-1]) + 1]
    pieces = []
    for first, end in pairwise(edges):
        seen = (track.frame_indices >= first) & (track.frame_indices < end)
        cut_out = (sequence.frame_indices >= first) & (sequence.frame_indices < end)
        part = Track(track.track_id, track.frame_indices[seen], track.boxes[seen], track.scores[seen])
        pieces.append((sequence.part(cut_out), part))
    return pieces
