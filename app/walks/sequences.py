"""Pass 1: read a video once, follow everybody, and keep only their boxes and silhouettes.

Where keypoints are wanted, they are kept for the same frames as silhouettes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

import numpy as np

from app.progress import Stopwatch
from app.settings import Settings
from app.stages import Detector, PoseEstimator, Segmenter, Tracker
from app.types import Bytes, Detections, Floats, Frame, GaitSequence, Track, TrackedBoxes, VideoInfo
from app.walks.quality import Reason, frame_reason, occlusion, walk_reason
from app.walks.silhouette import cut, normalise

T = TypeVar("T")


@dataclass(frozen=True)
class Walk:
    """A finished track, with its silhouettes if any could be cut, and the reason if it cannot be used."""

    track: Track
    sequence: GaitSequence | None
    reason: str | None


@dataclass(frozen=True, slots=True, eq=False)
class CutOut:
    """One person in one frame: the silhouette (64, 64), with keypoints where they are wanted, or why it is missing."""

    track_id: int
    frame_index: int
    silhouette: Bytes | None = None
    keypoints: Floats | None = None
    reason: Reason | None = None


@dataclass
class _OpenTrack:
    """A person who may still be in view."""

    track_id: int
    frames: list[int] = field(default_factory=list)
    boxes: list[Floats] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    silhouette_frames: list[int] = field(default_factory=list)
    silhouettes: list[Bytes] = field(default_factory=list)
    keypoints: list[Floats] = field(default_factory=list)
    dropped: Counter[Reason] = field(default_factory=Counter)
    count: int = 0
    stride: int = 1

    def add(self, part: CutOut, limit: int) -> None:
        if part.silhouette is None:
            self.dropped[part.reason or Reason.NO_SILHOUETTE] += 1
            return
        if self.count % self.stride == 0:
            self.silhouette_frames.append(part.frame_index)
            self.silhouettes.append(part.silhouette)
            if part.keypoints is not None:
                self.keypoints.append(part.keypoints)
            if len(self.silhouettes) >= 2 * limit:  # Somebody stays for minutes. Thinning bounds the memory.
                del self.silhouette_frames[1::2], self.silhouettes[1::2], self.keypoints[1::2]
                self.stride *= 2  # Later silhouettes are thinned as much as earlier ones.
        self.count += 1

    def close(self, info: VideoInfo, settings: Settings) -> Walk:
        track = Track(
            self.track_id,
            np.asarray(self.frames, np.int64),
            np.stack(self.boxes).astype(np.float32),
            np.asarray(self.scores, np.float32),
        )
        sequence = None
        if self.silhouettes:
            sequence = GaitSequence(
                np.asarray(self.silhouette_frames, np.int64),
                np.stack(self.silhouettes),
                float(info.fps),
                np.stack(self.keypoints) if self.keypoints else None,
            )
        reason = walk_reason(track, sequence, self.dropped, info, settings.quality)
        return Walk(track, sequence, reason)


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of up to `size` items."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def detections_of(
    frames: Iterable[Frame], detector: Detector, batch: int, watch: Stopwatch
) -> Iterator[tuple[list[Frame], list[Detections]]]:
    """Yield batches of frames with the people who were detected in them."""
    for group in batched(frames, batch):
        with watch.measure("detect"):
            detections = detector.detect(group)
        yield group, detections


def walks(
    detected: Iterable[tuple[list[Frame], list[Detections]]],
    info: VideoInfo,
    tracker: Tracker,
    segmenter: Segmenter,
    settings: Settings,
    watch: Stopwatch,
    after_batch: Callable[[list[Frame]], None] = lambda frames: None,
    pose: PoseEstimator | None = None,
) -> Iterator[Walk]:
    """Follow everybody and cut silhouettes. Yield each walk when its person has been gone long enough.

    Args:
        detected: batches of consecutive frames with their detections.
        info: the video's header; sizes in px, frame rate in 1/s.
        tracker: a fresh tracker for this video.
        segmenter: cuts the people out. Its `start` has been called.
        settings: the run's settings.
        watch: measures the seconds of each step.
        after_batch: called with each batch of frames when it is done.
        pose: finds the joints of the people who are cut out; None for walks without keypoints.

    Yields:
        Walks in the order in which they end; those that end together by rising track id.
    """
    fps = float(info.fps)
    stride = max(1, math.ceil(fps / settings.segmenter.max_rate - 1e-3))
    patience = math.ceil(settings.track.lost_seconds * fps) + 1
    open_tracks: dict[int, _OpenTrack] = {}
    for frames, detections in detected:
        wanted: list[tuple[Frame, TrackedBoxes]] = []
        for frame, people in zip(frames, detections, strict=True):
            with watch.measure("track"):
                tracked = tracker.update(people)
            _record(open_tracks, frame.index, tracked)
            if frame.index % stride == 0:
                wanted.append((frame, tracked))
        for part in cut_out(wanted, info, segmenter, settings, watch, pose):
            open_tracks[part.track_id].add(part, settings.gait.max_frames)
        after_batch(frames)
        last = frames[-1].index
        for track_id in [i for i, person in open_tracks.items() if last - person.frames[-1] > patience]:
            yield open_tracks.pop(track_id).close(info, settings)
    for track_id in sorted(open_tracks):
        yield open_tracks[track_id].close(info, settings)


def cut_out(
    wanted: Sequence[tuple[Frame, TrackedBoxes]],
    info: VideoInfo,
    segmenter: Segmenter,
    settings: Settings,
    watch: Stopwatch,
    pose: PoseEstimator | None = None,
) -> Iterator[CutOut]:
    """Yield the silhouette of everybody in some frames, or the reason why there is none; see `walks`."""
    threshold = settings.segmenter.threshold if settings.segmenter.threshold is not None else segmenter.threshold
    frames: list[Frame] = []
    people: list[tuple[list[int], TrackedBoxes]] = []
    for frame, tracked in wanted:
        hidden = occlusion(tracked.boxes)
        rows = []
        for row, (track_id, box) in enumerate(zip(tracked.track_ids.tolist(), tracked.boxes, strict=True)):
            reason = frame_reason(box, float(hidden[row]), info.width, info.height, settings.quality)
            if reason is None:
                rows.append(row)
            else:
                yield CutOut(track_id, frame.index, reason=reason)
        if rows:
            frames.append(frame)
            people.append((rows, tracked))
    if not frames:
        return
    boxes = [tracked.boxes[rows] for rows, tracked in people]
    with watch.measure("segment"):
        mattes = segmenter.segment(frames, boxes)
    poses: Sequence[Floats | list[None]] = [[None] * len(rows) for rows, _ in people]
    if pose is not None:
        with watch.measure("pose"):
            poses = pose.estimate(frames, boxes)
    for frame, (rows, tracked), row_mattes, row_poses in zip(frames, people, mattes, poses, strict=True):
        for row, matte, keypoints in zip(rows, row_mattes, row_poses, strict=True):
            with watch.measure("silhouettes"):
                others = np.delete(tracked.boxes, row, axis=0)
                mask = cut(matte, tracked.boxes[row], others, threshold)
                silhouette = normalise(mask) if mask is not None else None
            track_id = int(tracked.track_ids[row])
            if silhouette is None:
                yield CutOut(track_id, frame.index, reason=Reason.NO_SILHOUETTE)
            else:
                yield CutOut(track_id, frame.index, silhouette, keypoints)


def _record(open_tracks: dict[int, _OpenTrack], index: int, tracked: TrackedBoxes) -> None:
    for track_id, box, score in zip(tracked.track_ids.tolist(), tracked.boxes, tracked.scores.tolist(), strict=True):
        person = open_tracks.setdefault(track_id, _OpenTrack(track_id))
        person.frames.append(index)
        person.boxes.append(box)
        person.scores.append(score)
