"""From a video to walks with embeddings. Boxes and embeddings are in memory, silhouettes in an archive on disk."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from pathlib import Path

from app.errors import NobodyFoundError
from app.gait.embeddings import embed
from app.progress import Stopwatch
from app.stages import Run
from app.types import Detections, Frame
from app.video.prefetch import QUEUE, alone_if_large, bytes_of, prefetched
from app.video.reader import VideoReader
from app.walks import archive
from app.walks.analysed import AnalysedVideo, AnalysedWalk
from app.walks.kept import KeptBodies, KeptEmbeddings
from app.walks.quality import pace_remark, slow_rate, step_seconds
from app.walks.sequences import Walk, batched, detections_of, walks

logger = logging.getLogger(__name__)

_WALKS_AT_ONCE = 8
"""So many walks are embedded together: enough to fill a batch, and their silhouettes still take little memory."""


def analyse(video: Path, name: str, run: Run, *, fresh: bool = False) -> AnalysedVideo:
    """Run pass 1 and embed every usable walk. Only the archive is written, in the cache of the output folder.

    Args:
        video: the file.
        name: what the video is called in this run.
        run: the models, and where progress is shown.
        fresh: whether to ignore what an earlier run found in the same video.

    Raises:
        VideoError: the video cannot be read.
        NobodyFoundError: no pedestrian is seen in it.
        OutputError: the archive cannot be written.
    """
    with VideoReader(video, run.settings.video, run.settings.video.looks) as reader:
        cache = run.settings.output.folder / "cache"
        path = archive.archive_path(cache, video, run.stages.cards(), run.settings)
        for stage in (run.stages.body, run.stages.gait):
            if isinstance(stage, KeptBodies | KeptEmbeddings):
                stage.keep(cache, fresh=fresh)
        ending = None if fresh else archive.read_ending(path)
        if ending is not None:
            logger.info("%s: the tracks and silhouettes of an earlier run are used. --fresh makes them again.", name)
            analysed, steps = _embedded(archive.read_walks(path), path, run)
        else:
            with archive.writing(path) as store:
                # It is closed at once on an interruption, so that its thread never decodes from a closed reader.
                with alone_if_large(reader.info), closing(_follow(reader, name, run, store)) as new_walks:
                    analysed, steps = _embedded(new_walks, path, run)
                ending = archive.Ending(reader.length, tuple(reader.warnings))
                store.end(ending)
        info = reader.info
    pace = pace_remark(steps)
    warnings = (*ending.warnings, *([f"{video}: {pace}"] if pace is not None else []))
    for warning in warnings:
        logger.warning("%s", warning)
    analysed.sort(key=lambda walk: walk.track.track_id)
    return AnalysedVideo(name, info, ending.frame_count, warnings, tuple(analysed), path)


def _follow(reader: VideoReader, name: str, run: Run, store: archive.ArchiveWriter) -> Generator[Walk, None, None]:
    """Follow everybody in a video. Yield each walk when it ends, and add it to the archive.

    Frames are decoded in one thread, people are detected in another, and here they are followed and cut out. Within
    each step, networks work at several frames or crops side by side.
    """
    info, stages, watch = reader.info, run.stages, run.watch
    tracker = stages.start(info)
    batch = stages.settings.detector.batch
    with (
        run.progress.stage(f"{name}: follow and cut out", info.frame_count) as advance,
        prefetched(_timed(reader, watch), QUEUE, bytes_of) as frames,
        prefetched(detections_of(frames, stages.detector, batch, watch), QUEUE, _bytes_of_batch) as detected,
    ):
        done = 0

        def count(group: list[Frame]) -> None:
            nonlocal done
            advance(group[-1].index + 1 - done)
            done = group[-1].index + 1

        is_empty = True
        for walk in walks(
            detected, info, tracker, stages.segmenter, stages.settings, watch, count, stages.pose, stages.parser,
            stages.gait.card.pictures,
        ):  # fmt: skip
            is_empty = False
            store.add(walk)
            yield walk
        advance(reader.length - done)
    if is_empty:
        raise NobodyFoundError(
            f"No pedestrian was found in {info.path}. The detector '{stages.detector.card.name}' looked at "
            f"a video of {reader.length} frames{slow_rate(float(info.fps))}. Use a video in which people walk in full "
            "view, or choose another detector with --detector-checkpoint."
        )


def _bytes_of_batch(batch: tuple[list[Frame], list[Detections]]) -> int:
    return sum(map(bytes_of, batch[0]))


def _timed(frames: Iterable[Frame], watch: Stopwatch) -> Iterator[Frame]:
    iterator = iter(frames)
    while True:
        with watch.measure("decode"):
            frame = next(iterator, None)
        if frame is None:
            return
        yield frame


def _embedded(all_walks: Iterable[Walk], path: Path, run: Run) -> tuple[list[AnalysedWalk], list[float]]:
    """Embed the usable walks, a few at a time. Return all walks, and how many seconds the steps take."""
    analysed: list[AnalysedWalk] = []
    steps: list[float] = []
    for group in batched(all_walks, _WALKS_AT_ONCE):
        usable = [walk for walk in group if walk.reason is None and walk.sequence is not None]
        with run.watch.measure("embed"):
            embeddings = embed(run.stages.gait, [walk.sequence for walk in usable if walk.sequence is not None])
        by_track = {walk.track.track_id: e for walk, e in zip(usable, embeddings, strict=True)}
        measured = (step_seconds(walk.sequence) for walk in group if walk.sequence is not None)
        steps += [step for step in measured if step is not None]
        analysed += [AnalysedWalk(w.track, by_track.get(w.track.track_id), w.reason, path) for w in group]
    return analysed, steps
