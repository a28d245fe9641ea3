"""Pass 2: decode again and only paint, from the recorded boxes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

from app.pipeline.progress import Progress, Stopwatch
from app.pipeline.report import VideoReport
from app.pipeline.sequences import Walk
from app.types import Floats, GaitSequence
from app.video.paint import Label, Painter
from app.video.prefetch import prefetched
from app.video.reader import VideoReader
from app.video.writer import VideoWriter

# The longest gap in s over which joints move on straight lines; a step takes about half a second.
_LONGEST_GAP = 0.2

Skeletons: TypeAlias = Mapping[int, Mapping[int, Floats]]
"""Keypoints (17, 3) by track id and 0-based frame index."""


def skeletons_of(walks: Iterable[Walk]) -> Skeletons:
    """Return the skeletons of walks that have keypoints."""
    return {walk.track.track_id: keypoints_by_frame(walk.sequence) for walk in walks if walk.sequence is not None}


def keypoints_by_frame(walk: GaitSequence) -> dict[int, Floats]:
    """Return a walk's keypoints, (17, 3) each, by frame index; frames skipped for at most 0.2 s are filled in.

    Between two frames a joint moves on a straight line, with the smaller of its two scores.
    """
    if walk.keypoints is None:
        return {}
    filled: dict[int, Floats] = {}
    frames, most = walk.frame_indices.tolist(), walk.fps * _LONGEST_GAP + 1e-6
    for index, before, after, following in zip(frames, walk.keypoints, walk.keypoints[1:], frames[1:], strict=False):
        filled[index] = before
        for between in range(index + 1, following) if following - index <= most else ():
            share = np.float32((between - index) / (following - index))
            filled[between] = before + share * (after - before)
            filled[between][:, 2] = np.minimum(before[:, 2], after[:, 2])
    filled[frames[-1]] = walk.keypoints[-1]
    return filled


def labels_by_frame(video: VideoReport, skeletons: Skeletons | None = None) -> dict[int, list[Label]]:
    """Return what is to be painted into each frame, keyed by 0-based frame index."""
    labels: dict[int, list[Label]] = defaultdict(list)
    for track in video.tracks:
        usable = track.status != "unusable"
        # In the picture only the cause stands ("too short"); the figures behind it are in the report.
        note = (track.reason or "").partition(":")[0] if not usable else ""
        keypoints = (skeletons or {}).get(track.track_id, {})
        for index, box in zip(track.frames, np.asarray(track.boxes, np.float32), strict=True):
            labels[index].append(Label(box, track.identity, track.confidence, note, usable, keypoints.get(index)))
    return labels


def render(
    video: Path,
    report: VideoReport,
    identities: Sequence[str],
    out: Path,
    progress: Progress,
    watch: Stopwatch,
    skeletons: Skeletons | None = None,
) -> None:
    """Write `video` painted with what `report` says, and `skeletons` where there are any, to the MP4 file `out`.

    Raises:
        VideoError: the video cannot be read any more.
        OutputError: `out` cannot be written.
    """
    labels = labels_by_frame(report, skeletons)
    painter = Painter(identities, report.width, report.height)
    with (
        VideoReader(video) as reader,
        VideoWriter(out, report.width, report.height, reader.info.fps) as writer,
        progress.stage(f"{out.name}: paint", report.frame_count) as advance,
        watch.measure("paint"),
        prefetched(reader, depth=16) as frames,
    ):
        for frame in frames:
            writer.write(painter.paint(frame.image, labels.get(frame.index, ())), frame.time)
            advance(1)
