"""Pass 2: decode again and only paint, from the recorded boxes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from app.pipeline.progress import Progress, Stopwatch
from app.pipeline.report import VideoReport
from app.video.paint import Label, Painter
from app.video.prefetch import prefetched
from app.video.reader import VideoReader
from app.video.writer import VideoWriter


def labels_by_frame(video: VideoReport) -> dict[int, list[Label]]:
    """Return what is to be painted into each frame, keyed by 0-based frame index."""
    labels: dict[int, list[Label]] = defaultdict(list)
    for track in video.tracks:
        usable = track.status != "unusable"
        # In the picture only the cause stands ("too short"); the figures behind it are in the report.
        note = (track.reason or "").partition(":")[0] if not usable else ""
        for index, box in zip(track.frames, np.asarray(track.boxes, np.float32), strict=True):
            labels[index].append(Label(box, track.identity, track.confidence, note, usable))
    return labels


def render(
    video: Path, report: VideoReport, identities: Sequence[str], out: Path, progress: Progress, watch: Stopwatch
) -> None:
    """Write `video` painted with what `report` says to the MP4 file `out`.

    Raises:
        VideoError: the video cannot be read any more.
        OutputError: `out` cannot be written.
    """
    labels = labels_by_frame(report)
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
