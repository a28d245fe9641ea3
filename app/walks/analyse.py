"""A video becomes walks with embeddings, its boxes kept and its silhouettes let go."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from app.errors import NobodyFoundError
from app.files import written_whole
from app.progress import Progress, Stopwatch
from app.stages import Stages
from app.types import Embedding, Frame, Track, VideoInfo
from app.video.prefetch import prefetched
from app.video.reader import VideoReader
from app.walks import archive
from app.walks.sequences import Walk, batched, detections_of, walks

logger = logging.getLogger(__name__)

# Walks embedded together: enough to fill a batch, few enough that their silhouettes stay small.
_WALKS_AT_ONCE = 8


@dataclass(frozen=True)
class AnalysedWalk:
    """A track, its embedding where it is usable, the reason where it is not.

    `part_of` is the archive's track this one was cut from, as somebody else goes on under its number.
    """

    track: Track
    embedding: Embedding | None
    reason: str | None
    part_of: int | None = None


@dataclass(frozen=True)
class AnalysedVideo:
    """Everything later steps need of a video; nothing in it grows with the picture size."""

    name: str
    info: VideoInfo
    frame_count: int
    warnings: tuple[str, ...]
    walks: tuple[AnalysedWalk, ...]
    archive: Path

    def usable(self) -> list[AnalysedWalk]:
        """Return the walks that have an embedding."""
        return [walk for walk in self.walks if walk.embedding is not None]


def analyse(
    video: Path, name: str, stages: Stages, folder: Path, progress: Progress, watch: Stopwatch, *, fresh: bool = False
) -> AnalysedVideo:
    """Run pass 1 and embed every usable walk.

    Args:
        video: the file.
        name: what the video's folders under ``GaitSilhouette/`` and ``GaitFeatures/`` are called.
        stages: the models.
        folder: the output folder.
        progress: where the frames done are shown.
        watch: collects the seconds of each step.
        fresh: whether to ignore what an earlier run found in the same video.

    Raises:
        VideoError: the video cannot be read.
        NobodyFoundError: no pedestrian is seen in it.
        OutputError: silhouettes or features cannot be written.
    """
    settings = stages.settings
    with VideoReader(video) as reader:
        info = reader.info
        pose = stages.pose.card if stages.pose is not None else None
        cards = stages.detector.card, stages.segmenter.card
        path = archive.archive_path(folder / "cache", video, *cards, settings, pose)
        ending = None if fresh else archive.read_ending(path)
        if ending is not None:
            logger.info("%s: the tracks and silhouettes of an earlier run are used", name)
            analysed = _embedded(archive.read_walks(path), name, stages, folder, watch)
        else:
            with archive.writing(path) as store:
                counter = _Counter()
                # Closed at once when interrupted: its thread must not decode from a reader that is closed.
                with closing(_found(reader, name, stages, progress, watch, counter, store)) as found:
                    analysed = _embedded(found, name, stages, folder, watch)
                ending = archive.Ending(counter.frames, tuple(reader.warnings))
                store.end(ending)
    for warning in ending.warnings:
        logger.warning("%s", warning)
    analysed.sort(key=lambda walk: walk.track.track_id)
    return AnalysedVideo(name, info, ending.frame_count, ending.warnings, tuple(analysed), path)


@dataclass
class _Counter:
    frames: int = 0


def _found(
    reader: VideoReader,
    name: str,
    stages: Stages,
    progress: Progress,
    watch: Stopwatch,
    counter: _Counter,
    store: archive.ArchiveWriter,
) -> Generator[Walk, None, None]:
    info = reader.info
    tracker = stages.start(info)
    with (
        progress.stage(f"{name}: follow and cut out", info.frame_count) as advance,
        prefetched(_timed(reader, watch), depth=2 * stages.settings.detector.batch) as frames,
    ):

        def seen(group: list[Frame]) -> None:
            counter.frames += len(group)
            advance(len(group))

        detected = detections_of(frames, stages.detector, stages.settings.detector.batch, watch)
        somebody = False
        for walk in walks(detected, info, tracker, stages.segmenter, stages.settings, watch, seen, stages.pose):
            somebody = True
            store.add(walk)
            yield walk
    if not somebody:  # said here, before any folder of this video gets its name
        raise NobodyFoundError(
            f"No pedestrian was found in {info.path} ({counter.frames} frames looked at by the detector "
            f"'{stages.detector.card.name}'). Use a video in which people walk in full view, or another "
            "detector (--detector-checkpoint)."
        )


def _timed(frames: Iterable[Frame], watch: Stopwatch) -> Iterator[Frame]:
    iterator = iter(frames)
    while True:
        with watch.measure("decode"):
            frame = next(iterator, None)
        if frame is None:
            return
        yield frame


def _embedded(found: Iterable[Walk], name: str, stages: Stages, folder: Path, watch: Stopwatch) -> list[AnalysedWalk]:
    """Embed usable walks a few at a time; write silhouettes and features where they are wanted."""
    output = stages.settings.output
    analysed: list[AnalysedWalk] = []
    with (
        _maybe_folder(folder / "GaitSilhouette" / name, output.silhouettes) as silhouettes,
        _maybe_folder(folder / "GaitFeatures" / name, output.features) as features,
    ):
        for group in batched(found, _WALKS_AT_ONCE):
            usable = [walk for walk in group if walk.reason is None and walk.sequence is not None]
            with watch.measure("embed"):
                embeddings = stages.gait.embed([walk.sequence for walk in usable if walk.sequence is not None])
            by_track = {walk.track.track_id: e for walk, e in zip(usable, embeddings, strict=True)}
            with watch.measure("write"):
                for walk in group:
                    embedding = by_track.get(walk.track.track_id)
                    analysed.append(AnalysedWalk(walk.track, embedding, walk.reason))
                    if silhouettes is not None:
                        _write_silhouettes(walk, silhouettes)
                    if features is not None and embedding is not None:
                        _write_features(walk, embedding, features)
    return analysed


def _maybe_folder(path: Path, wanted: bool) -> AbstractContextManager[Path | None]:
    return _whole_folder(path) if wanted else nullcontext()


@contextmanager
def _whole_folder(path: Path) -> Iterator[Path]:
    with written_whole(path) as temporary:
        temporary.mkdir(parents=True)
        yield temporary


def _write_silhouettes(walk: Walk, folder: Path) -> None:
    if walk.sequence is None:
        return
    place = folder / f"{walk.track.track_id:03d}"
    place.mkdir()
    for index, silhouette in zip(walk.sequence.frame_indices.tolist(), walk.sequence.silhouettes, strict=True):
        (place / f"{index:06d}.png").write_bytes(cv2.imencode(".png", silhouette)[1].tobytes())


def _write_features(walk: Walk, embedding: Embedding, folder: Path) -> None:
    assert walk.sequence is not None
    arrays: dict[str, Any] = {
        "parts": embedding.parts,
        "model_id": np.asarray(embedding.model_id),
        "frames": np.asarray(embedding.frames),
        "frame_indices": walk.sequence.frame_indices,
    }
    if walk.sequence.keypoints is not None:
        arrays["keypoints"] = walk.sequence.keypoints
    np.savez(folder / f"{walk.track.track_id:03d}.npz", **arrays)
