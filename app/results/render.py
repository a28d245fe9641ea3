"""Pass 2: decode the video again and paint the recorded boxes into it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

from app.results.report import TrackReport, VideoReport
from app.settings import Blur
from app.stages import Run
from app.types import Floats, Frame, GaitSequence, Image
from app.video.blur import blur, body_region, head_region
from app.video.looks import between
from app.video.paint import Label, Painter
from app.video.prefetch import QUEUE, bytes_of, prefetched
from app.video.reader import VideoReader
from app.video.writer import VideoWriter
from app.walks.analysed import AnalysedWalk

# The longest gap, in s, across which joints are interpolated. A step takes about half a second.
_LONGEST_GAP = 0.2
# For so long, in s, somebody is blurred before the track begins and after it ends, because trackers start late.
_LEAD = 0.4

Skeletons: TypeAlias = Mapping[int, Mapping[int, Floats]]
"""Keypoints (17, 3) by track id and 0-based frame index."""


def skeletons_of(walks: Iterable[tuple[AnalysedWalk, GaitSequence | None]]) -> Skeletons:
    """Return the skeletons of walks that have keypoints (`app.walks.analyse.AnalysedVideo.sequences`)."""
    return {walk.track.track_id: keypoints_by_frame(sequence) for walk, sequence in walks if sequence is not None}


def keypoints_by_frame(walk: GaitSequence) -> dict[int, Floats]:
    """Return the keypoints of a walk, (17, 3) each, by frame index. Gaps of at most 0.2 s are filled.

    In a gap each joint moves on a straight line, and it has the smaller of its two scores.
    """
    if walk.keypoints is None:
        return {}
    filled: dict[int, Floats] = {}
    frames, longest = walk.frame_indices.tolist(), walk.fps * _LONGEST_GAP + 1e-6
    for index, before, after, following in zip(frames, walk.keypoints, walk.keypoints[1:], frames[1:], strict=False):
        filled[index] = before
        for missing in range(index + 1, following) if following - index <= longest else ():
            share = np.float32((missing - index) / (following - index))
            filled[missing] = before + share * (after - before)
            filled[missing][:, 2] = np.minimum(before[:, 2], after[:, 2])
    filled[frames[-1]] = walk.keypoints[-1]
    return filled


def labels_by_frame(video: VideoReport, skeletons: Skeletons | None = None) -> dict[int, list[Label]]:
    """Return the labels that are painted into each frame, by 0-based frame index.

    Between the frames in which somebody was seen, boxes are interpolated (`app.video.looks.between`).
    """
    labels: dict[int, list[Label]] = defaultdict(list)
    for track in video.tracks:
        usable = track.status != "unusable"
        # The picture has only the cause ("too short"). The figures behind it are in the report.
        note = (track.reason or "").partition(":")[0] if not usable else ""
        keypoints = (skeletons or {}).get(track.track_id, {})
        sureness, doubtful = track.sureness
        frames, boxes = between(np.asarray(track.frames), np.asarray(track.boxes, np.float32))
        for index, box in zip(frames.tolist(), boxes, strict=True):
            labels[index].append(
                Label(box, track.identity, sureness, note, usable, keypoints.get(index), doubtful=doubtful)
            )
    return labels


def regions_to_blur(video: VideoReport, which: Blur, skeletons: Skeletons | None = None) -> dict[int, list[Floats]]:
    """Return the regions that are blurred in each frame, float32 (4,) px each, by 0-based frame index.

    `which` are the heads of everybody (shown by `skeletons`, if they are known), the boxes of people who are not
    identified, or the boxes of everybody. Boxes in the gaps of a track are interpolated, and the track is extended in
    its direction by 0.4 s before its beginning and after its end. So nobody is visible for a moment.
    """
    regions: dict[int, list[Floats]] = defaultdict(list)
    for track in video.tracks:
        keypoints = (skeletons or {}).get(track.track_id, {})
        for index, box in without_gaps(track, round(_LEAD * video.fps)):
            region = region_to_blur(box, track.identity, which, keypoints.get(index))
            if region is not None:
                regions[index].append(region)
    return regions


def region_to_blur(box: Floats, identity: str | None, which: Blur, keypoints: Floats | None = None) -> Floats | None:
    """Return the region, float32 (4,) px, in which a person is blurred; None where the person is not.

    `which` says whom to blur, see `regions_to_blur`. An unknown person has no identity; `keypoints` are float32 (17,
    3).
    """
    if which == "none" or (which == "unknown" and identity is not None):
        return None
    return head_region(box, keypoints) if which == "faces" else body_region(box)


def without_gaps(track: TrackReport, lead: int) -> Iterator[tuple[int, Floats]]:
    """Yield a box (4,) px for each frame from `lead` frames before the track's first to `lead` after its last.

    Boxes in the gaps of the track are interpolated. Before and after the track they go on in its direction.
    """
    indices, boxes = between(np.asarray(track.frames), np.asarray(track.boxes, np.float32))
    span = min(lead, len(indices) - 1)
    ahead = np.arange(1, lead + 1)[:, None]
    before = boxes[0] - ahead[::-1] * ((boxes[span] - boxes[0]) / max(1, span))
    after = boxes[-1] + ahead * ((boxes[-1] - boxes[-1 - span]) / max(1, span))
    yield from zip(
        range(int(indices[0]) - lead, int(indices[-1]) + lead + 1),
        np.concatenate([before, boxes, after]).astype(np.float32),
        strict=True,
    )


def render(
    path: Path,
    video: VideoReport,
    identities: Sequence[str],
    out: Path,
    run: Run,
    skeletons: Skeletons | None = None,
    blurred: Mapping[int, Sequence[Floats]] | None = None,
    look: Callable[[Frame], None] = lambda frame: None,
    show: Callable[[Image, float], None] = lambda image, time: None,
) -> None:
    """Write a video with its labels painted in to the MP4 file `out`.

    Args:
        identities: the names of the gallery, which fix the colours.
        blurred: the regions to blur by frame, see `regions_to_blur`.
        look: called with each frame when it is blurred but not yet painted. It must copy what it keeps.
        show: called with each painted picture (H, W, 3) and its time in s. It must copy what it keeps.

    Raises:
        VideoError: the video cannot be read any more.
        OutputError: `out` cannot be written.
    """
    labels = labels_by_frame(video, skeletons)
    painter = Painter(identities, video.width, video.height)
    with (
        VideoReader(path, run.settings.video) as reader,
        VideoWriter(out, video.width, video.height, reader.info.fps, run.settings.output) as writer,
        run.progress.stage(f"{out.name}: paint", video.frame_count) as advance,
        run.watch.measure("paint"),
        prefetched(reader, QUEUE, bytes_of) as frames,
    ):
        for frame in frames:
            blur(frame.image, (blurred or {}).get(frame.index, ()))
            look(frame)
            painted = painter.paint(frame.image, labels.get(frame.index, ()))
            show(painted, frame.time)
            writer.write(painted, frame.time)
            advance(1)
