"""Pass 1: read a video once, follow everybody, and keep only their boxes and silhouettes.

Tracks that turn out to be wrong a second later are put right (`app.track.hindsight`), with all that was cut out.
Where keypoints or body parts are wanted, they are kept for the same frames as silhouettes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from operator import attrgetter, itemgetter
from typing import TypeAlias, TypeVar

import numpy as np

from app.progress import Stopwatch
from app.settings import QualitySettings, Settings
from app.stages import Detector, Parser, PoseEstimator, Segmenter, Tracker
from app.track.hindsight import Exchange, Hindsight, exchanged
from app.types import Bytes, Detections, Floats, Frame, GaitSequence, PartMap, Track, TrackedBoxes, VideoInfo
from app.video.looks import Looks
from app.video.prefetch import bytes_of
from app.walks.pictures import MOST, picture
from app.walks.quality import Reason, frame_reason, occlusion, walking_part
from app.walks.silhouette import cut, normalise, normalise_parts, parts_of

T = TypeVar("T")
_LARGEST_BATCH = 64 << 20
"""Bytes of pictures from which a batch gets no more: three pictures in 4K."""
SeenBox: TypeAlias = tuple[int, Floats, float]
"""The frame index, the box (4,) px and the score of a person in one frame."""


@dataclass(frozen=True)
class Walk:
    """A finished track, with the silhouettes in which the person walks, and the reason if it cannot be used.

    A track that cannot be used has all silhouettes that could be cut, or None.
    """

    track: Track
    sequence: GaitSequence | None
    reason: str | None


@dataclass(frozen=True, slots=True, eq=False)
class CutOut:
    """One person in one frame: the silhouette (64, 64), or why it is missing.

    Keypoints (17, 3), body parts (64, 64) and a picture with the shape of its box (`app.walks.pictures.picture`) are
    there where they are wanted.
    """

    track_id: int
    frame_index: int
    silhouette: Bytes | None = None
    keypoints: Floats | None = None
    parts: Bytes | None = None
    picture: tuple[Bytes, float] | None = None
    reason: Reason | None = None


@dataclass
class _OpenTrack:
    """A person who may still be in view."""

    track_id: int
    boxes: list[SeenBox] = field(default_factory=list)
    cuts: list[CutOut] = field(default_factory=list)
    dropped: list[tuple[int, Reason]] = field(default_factory=list)
    count: int = 0
    stride: int = 1

    def add(self, cut: CutOut, limit: int) -> None:
        if cut.reason is not None:
            self.dropped.append((cut.frame_index, cut.reason))
            return
        if self.count % self.stride == 0:
            self.cuts.append(cut)
            if len(self.cuts) >= 2 * limit:  # Somebody stays for minutes. Thinning bounds the memory.
                del self.cuts[1::2]
                self.stride *= 2  # Later silhouettes are thinned as much as earlier ones.
        self.count += 1

    def exchange(self, other: _OpenTrack, exchange: Exchange) -> None:
        self.boxes, other.boxes = exchanged(self.boxes, other.boxes, exchange, itemgetter(0))
        self.cuts, other.cuts = exchanged(self.cuts, other.cuts, exchange, attrgetter("frame_index"))
        self.dropped, other.dropped = exchanged(self.dropped, other.dropped, exchange, itemgetter(0))
        self.stride = other.stride = max(self.stride, other.stride)


def walk_of(
    track_id: int,
    boxes: Iterable[SeenBox],
    cuts: Iterable[CutOut],
    dropped: Mapping[Reason, int],
    info: VideoInfo,
    settings: QualitySettings,
) -> Walk:
    """Put a walk together.

    Args:
        track_id: the number of its track.
        boxes: where the person was, at least one box.
        cuts: the person cut out of frames. Those without a silhouette are left out.
        dropped: numbers of frames without a silhouette, by reason.
        info: the video's header.
        settings: decide whether the walk can be used.
    """
    frames, corners, scores = zip(*boxes, strict=True)
    track = Track(track_id, np.array(frames), np.stack(corners).astype(np.float32), np.array(scores, np.float32))
    complete = [
        (cut.frame_index, cut.silhouette, cut.keypoints, cut.parts, cut.picture)
        for cut in cuts
        if cut.silhouette is not None
    ]
    sequence = None
    if complete:
        indices, silhouettes, keypoints, parts, seen = zip(*complete, strict=True)
        joints = np.stack(keypoints) if keypoints[0] is not None else None
        labels = np.stack(parts) if parts[0] is not None else None
        pictures = np.stack([one for one, _ in seen]) if seen[0] is not None else None
        ratios = np.array([ratio for _, ratio in seen], np.float32) if seen[0] is not None else None
        sequence = GaitSequence(
            np.array(indices), np.stack(silhouettes), float(info.fps), joints, labels, pictures, ratios
        )
    return Walk(track, *walking_part(track, sequence, dropped, info, settings))


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of up to `size` items."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def _batches(frames: Iterable[Frame], size: int) -> Iterator[list[Frame]]:
    group: list[Frame] = []
    for frame in frames:
        group.append(frame)
        if len(group) == size or sum(map(bytes_of, group)) >= _LARGEST_BATCH:
            yield group
            group = []
    if group:
        yield group


def detections_of(
    frames: Iterable[Frame], detector: Detector, batch: int, watch: Stopwatch
) -> Iterator[tuple[list[Frame], list[Detections]]]:
    """Yield batches of up to `batch` frames, fewer where they are large, with the people who were detected in them."""
    for group in _batches(frames, batch):
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
    parser: Parser | None = None,
    pictures: bool = False,
) -> Iterator[Walk]:
    """Follow everybody and cut silhouettes. Yield each walk when its person has been gone long enough.

    Args:
        detected: batches of the frames that are looked at, in their order, with their detections.
        info: the video's header; sizes in px, frame rate in 1/s.
        tracker: a fresh tracker for this video.
        segmenter: cuts the people out. Its `start` has been called.
        settings: the run's settings.
        watch: measures the seconds of each step.
        after_batch: called with each batch of frames when it is done.
        pose: finds the joints of the people who are cut out; None for walks without keypoints.
        parser: finds the parts of their bodies; None for walks without them.
        pictures: whether walks get pictures in colour. They then have fewer frames: `app.walks.pictures.MOST`.

    Yields:
        Walks in the order in which they end; those that end together by rising track id.
    """
    fps = float(info.fps)
    patience = math.ceil(settings.track.lost_seconds * fps) + 1
    open_tracks: dict[int, _OpenTrack] = {}
    hindsight = Hindsight(fps) if settings.track.hindsight else None
    looks, before = Looks(fps, settings.video.looks), -1
    limit = min(settings.gait.max_frames, MOST // 2) if pictures else settings.gait.max_frames

    def put_right(exchanges: Iterable[Exchange], looked: list[tuple[Frame, TrackedBoxes]]) -> None:
        for exchange in exchanges:
            one, other = open_tracks[exchange.one], open_tracks[exchange.other]
            one.exchange(other, exchange)
            if not other.boxes:
                del open_tracks[exchange.other]
            looked[:] = [(frame, exchange.relabelled(tracked, frame.index)) for frame, tracked in looked]

    def close(person: _OpenTrack) -> Walk:
        dropped = Counter(reason for _, reason in person.dropped)
        return walk_of(person.track_id, person.boxes, person.cuts, dropped, info, settings.quality)

    for frames, detections in detected:
        looked: list[tuple[Frame, TrackedBoxes]] = []
        for frame, people in zip(frames, detections, strict=True):
            with watch.measure("track"):
                tracked = tracker.update(people, looks.number(frame.index) - looks.number(before))
                exchanges: list[Exchange] = []
                if hindsight is not None:
                    tracked, exchanges = hindsight.update(frame.index, tracked)
            _record(open_tracks, frame.index, tracked)
            looked.append((frame, tracked))
            put_right(exchanges, looked)
            before = frame.index
        for cut_person in cut_out(looked, info, segmenter, settings, watch, pose, parser, pictures):
            open_tracks[cut_person.track_id].add(cut_person, limit)
        after_batch(frames)
        last = frames[-1].index
        for track_id, person in list(open_tracks.items()):
            seen = person.boxes[-1][0]
            if last - seen > patience and (hindsight is None or hindsight.is_settled(track_id, seen)):
                yield close(open_tracks.pop(track_id))
    if hindsight is not None:
        put_right(hindsight.end(), [])
    for track_id in sorted(open_tracks):
        yield close(open_tracks[track_id])


def cut_out(
    looked: Sequence[tuple[Frame, TrackedBoxes]],
    info: VideoInfo,
    segmenter: Segmenter,
    settings: Settings,
    watch: Stopwatch,
    pose: PoseEstimator | None = None,
    parser: Parser | None = None,
    pictures: bool = False,
) -> Iterator[CutOut]:
    """Yield the silhouette of everybody in some frames, or the reason why there is none; see `walks`."""
    threshold = settings.segmenter.threshold if settings.segmenter.threshold is not None else segmenter.threshold
    frames: list[Frame] = []
    people: list[tuple[list[int], TrackedBoxes]] = []
    for frame, tracked in looked:
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
    maps: Sequence[Sequence[PartMap | None]] = [[None] * len(rows) for rows, _ in people]
    if parser is not None:
        with watch.measure("parse"):
            maps = parser.parse(frames, boxes)
    for frame, (rows, tracked), row_mattes, row_poses, row_maps in zip(
        frames, people, mattes, poses, maps, strict=True
    ):
        for row, matte, keypoints, part_map in zip(rows, row_mattes, row_poses, row_maps, strict=True):
            with watch.measure("silhouettes"):
                others = np.delete(tracked.boxes, row, axis=0)
                mask = cut(matte, tracked.boxes[row], others, threshold)
                silhouette = normalise(mask) if mask is not None else None
                parts = None
                if part_map is not None and mask is not None:
                    rows_columns = (mask.shape[0], mask.shape[1])
                    parts = normalise_parts(parts_of(part_map, matte, tracked.boxes[row], rows_columns), mask)
                seen = None
                if pictures and mask is not None:
                    seen = picture(frame.image, tracked.boxes[row], matte, mask)
            track_id = int(tracked.track_ids[row])
            if silhouette is None:
                yield CutOut(track_id, frame.index, reason=Reason.NO_SILHOUETTE)
            else:
                yield CutOut(track_id, frame.index, silhouette, keypoints, parts, seen)


def _record(open_tracks: dict[int, _OpenTrack], index: int, tracked: TrackedBoxes) -> None:
    for track_id, box, score in zip(tracked.track_ids.tolist(), tracked.boxes, tracked.scores.tolist(), strict=True):
        open_tracks.setdefault(track_id, _OpenTrack(track_id)).boxes.append((index, box, score))
