"""The quality gate: which frames are worth cutting, which walks can be compared, and why others cannot."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from enum import Enum
from itertools import pairwise

import numpy as np

from app.settings import QualitySettings
from app.types import Bools, Floats, GaitSequence, Ints, Measure, Track, VideoInfo

# Points along each side of a box at which it is tested whether the box is covered.
_SAMPLES = 24

# A gait cycle (Winter 1991: 1.0 to 1.2 s), in which the legs of a walker take every posture.
_CYCLE_SECONDS = 1.2
_FRAMES_PER_CYCLE = 4

# Legs move if they change by this share of their area, and look alike again if they change by this share less.
_LEGS_MOVE, _RETURN = 0.25, 0.3
# Steps of walkers take 0.4 to 0.8 s. Where left and right differ, two of them are measured.
_SLOW_STEP, _FAST_STEP = 1.5, 0.3
# A whole stride changes more than this share of the legs' area, which standing and turning round do not. Within 0.35 s,
# the legs of walkers are as different as 0.7 of the most that they ever are.
_STRIDE, _RISEN, _SLOW_RISE = 0.8, 0.7, 0.6
ENOUGH_RATE = 10.0
"""Frames a second. Recordings with fewer are common, and nothing else in them may be wrong."""

# The lowest 24 of 64 rows show the legs. Arms and bags swing above them.
_LEGS = 40

# Travel is in body heights a second. Somebody who travels less than this only shifts from foot to foot, unless the legs
# move like those of a walker seen from the side (on a treadmill, or before a panning camera).
_MIN_TRAVEL = 0.05
_STRIDING = 0.8
# Somebody who travels at least this much walks, even if a skirt or coat hides the legs. Walkers reach 0.17 and more.
_TRAVELLING = 0.15


class Reason(str, Enum):
    """Why a frame or a walk is not used."""

    TOO_SHORT = "too short"
    TOO_SMALL = "too small"
    CUT = "cut by the border"
    OCCLUDED = "occluded"
    STANDING = "standing still"
    NO_SILHOUETTE = "no silhouette"


def occlusion(boxes: Floats) -> Floats:
    """Return how much of each box of one frame, float32 (N, 4) px, is covered by the boxes of nearer people.

    Their lower edges are lower. The shares, float32 (N,), are in steps of 1/576.
    """
    hidden = np.zeros(len(boxes), np.float32)
    if len(boxes) < 2:
        return hidden
    low, high = boxes[:, None, :2] < boxes[None, :, 2:], boxes[:, None, 2:] > boxes[None, :, :2]
    nearer = (low & high).all(2) & (boxes[:, None, 3] < boxes[None, :, 3])
    behind = np.flatnonzero(nearer.any(1))  # mostly nobody
    if not len(behind):
        return hidden
    covered_by, own = boxes[None, :, None], boxes[behind]
    steps = (np.arange(_SAMPLES, dtype=np.float32) + 0.5) / _SAMPLES
    points = own[:, None, :2] + steps[:, None] * (own[:, 2:] - own[:, :2])[:, None]  # (N, samples, x and y)
    inside = (points[:, None] >= covered_by[..., :2]) & (points[:, None] < covered_by[..., 2:])
    covered = inside[..., None, :, 0] & inside[..., :, None, 1] & nearer[behind, :, None, None]
    hidden[behind] = covered.any(axis=1).mean(axis=(1, 2))
    return hidden


def frame_reason(box: Floats, hidden: float, width: int, height: int, settings: QualitySettings) -> Reason | None:
    """Return why a frame of a person is not worth cutting; None where it is.

    `hidden` is the share of the box (4,) px that is covered by somebody nearer (`occlusion`), and `width` and `height`
    are the frame's. Half of the smallest height of a walk is enough here, because a walk is judged by its median height
    and somebody may come closer.
    """
    x1, y1, x2, y2 = box.tolist()
    margin = settings.border_margin
    if x1 < margin or y1 < margin or x2 > width - margin or y2 > height - margin:
        return Reason.CUT
    if y2 - y1 < settings.min_height / 2:
        return Reason.TOO_SMALL
    if hidden > settings.max_occlusion:
        return Reason.OCCLUDED
    return None


def walking_part(
    track: Track,
    walk: GaitSequence | None,
    dropped: Mapping[Reason, int],
    info: VideoInfo,
    settings: QualitySettings,
) -> tuple[GaitSequence | None, str | None]:
    """Return the part of a walk that can be compared, and None; or the whole walk, and why it cannot be compared.

    `walk` are the silhouettes that could be cut, and `dropped` the numbers of frames without one, by reason.
    Silhouettes of somebody who stands say nothing about how they walk. So people who stop on their way are compared by
    the gait cycles in which they walk.
    """
    seconds = float((track.frame_indices[-1] - track.frame_indices[0] + 1) / info.fps)
    if seconds < settings.min_seconds - 1e-6:
        return walk, f"{Reason.TOO_SHORT.value}: {seconds:.1f} s, but {settings.min_seconds:.1f} s are needed"
    height = picture_height(track.boxes).value
    if height < settings.min_height:
        return walk, f"{Reason.TOO_SMALL.value}: {height:.0f} px high, but {settings.min_height:.0f} px are needed"
    frames = len(walk) if walk is not None else 0
    lost = sum(dropped.values())
    # The silhouettes must cover `min_seconds` at the rate at which cutting was tried.
    fewest = max(settings.min_frames, math.ceil(settings.min_seconds * (frames + lost) / seconds - 1e-6))
    if frames < fewest or walk is None:
        return walk, _too_few(frames, fewest, dropped) + slow_rate(float(info.fps))
    cycles = _cycles(walk.frame_indices, walk.fps)
    moves, travels = leg_motions(walk, cycles), _travels(track, walk, cycles)
    walking = _is_walking(walk, cycles, [_walks(*each, settings) for each in zip(moves, travels, strict=True)])
    if walking.sum() >= fewest:
        return (walk if walking.all() else walk.part(walking)), None
    move, travel = float(np.median(moves)), float(np.median(travels))
    if walking.any():
        said = f"they walk in {walking.sum()} of {frames} silhouettes, but {fewest} are needed"
    elif move < settings.min_motion:
        said = f"leg motion is {move:.2f}, but {settings.min_motion:.2f} is needed"
    elif travel < _MIN_TRAVEL:
        said = f"{travel:.2f} body heights a second, but {_MIN_TRAVEL:.2f} are needed"
    else:
        said = "they never walk for two gait cycles on end"
    return walk, f"{Reason.STANDING.value}: {said}{slow_rate(float(info.fps))}"


def _walks(moves: float, travel: float, settings: QualitySettings) -> bool:
    """Return whether somebody walks whose legs move so much and who travels so fast in a gait cycle."""
    if moves < settings.min_motion:
        return travel >= _TRAVELLING
    return travel >= _MIN_TRAVEL or moves >= _STRIDING


def _is_walking(walk: GaitSequence, cycles: Sequence[Bools], walks: Sequence[bool]) -> Bools:
    """Return which silhouettes (N,) are of a cycle in which somebody walks, given for which `cycles` that is so.

    One cycle alone between others in which they stand is somebody else who passes in front of them. Silhouettes that
    are in no cycle count as the nearest cycle does.
    """
    own = np.array(walks)
    beside = np.append(own[1:], False) | np.append(False, own[:-1])
    believed = own & (beside | (len(own) == 1))
    middles = np.array([walk.frame_indices[cycle].mean() for cycle in cycles])
    nearest = np.abs(walk.frame_indices[:, None] - middles).argmin(axis=1)
    for number, cycle in enumerate(cycles):
        nearest[cycle] = number
    return np.asarray(believed[nearest], np.bool_)


def picture_height(boxes: Floats) -> Measure:
    """Return how high somebody is in the picture, by their boxes (N, 4) px: the median."""
    return Measure("height in the picture", "px", float(np.median(boxes[:, 3] - boxes[:, 1])), None, len(boxes))


def slow_rate(fps: float) -> str:
    """Return a remark about a frame rate that shows too little of each step; an empty string for other rates."""
    return f"; the video has only {fps:.3g} frame{'s' * (fps != 1)} a second" if fps < ENOUGH_RATE else ""


def leg_motions(walk: GaitSequence, cycles: Sequence[Bools]) -> list[float]:
    """Return how much the legs move in each gait cycle: their changing area over their mean area.

    The changing area is the sum of the standard deviations of all pixels of the lowest 24 rows over 1.2 s. It depends
    little on the speed and direction of the walk. Measured with the MediaPipe selfie network, people who walk towards
    the camera reach 0.42 to 0.56 (no single cycle below 0.33), people who walk across the picture 0.7 to 1.05, and
    people who stand 0.05 to 0.19.
    """
    legs = (walk.silhouettes[:, _LEGS:] > 127).reshape(len(walk), -1).astype(np.float32)
    values = []
    for cycle in cycles:
        mean = legs[cycle].mean(axis=0)
        # The standard deviation of zeros and ones with this mean.
        values.append(float(np.sqrt(mean * (1 - mean)).sum() / max(mean.sum(), 1)))
    return values


def step_seconds(walk: GaitSequence) -> float | None:
    """Return how much time passes until the legs look alike again, in s: one step, or two where left and right differ.

    Where they move so slowly that the walk ends before that, it is the longest time that could be looked at.

    None where the legs hardly move, the walk is too short or the frame rate too low to tell.
    """
    if walk.fps < ENOUGH_RATE:
        return None
    legs = (walk.silhouettes[:, _LEGS::2, ::2] > 127).reshape(len(walk), -1).astype(np.float32)
    times = walk.frame_indices - walk.frame_indices[0]
    differences: list[float] = []
    for lag in range(1, int(times[-1] * 2 / 3) + 1):
        after = np.searchsorted(times, times + lag)
        later = np.minimum(after, len(times) - 1)
        pairs = np.flatnonzero((after < len(times)) & (times[later] == times + lag))
        if len(pairs) == 0:
            differences.append(np.nan)
            continue
        differences.append(float(np.abs(legs[later[pairs]] - legs[pairs]).sum(axis=1).mean()))
    area, highest = max(1.0, float(legs.sum(axis=1).mean())), 0.0
    known = np.flatnonzero(np.isfinite(differences)).tolist()
    for at, following in pairwise(known):
        highest = max(highest, differences[at])
        alike = highest > _LEGS_MOVE * area and differences[at] < (1 - _RETURN) * highest
        if alike and differences[at] <= differences[following]:
            return (at + 1) / walk.fps
    rise = next((at + 1 for at in known if differences[at] > _RISEN * highest), 0) / walk.fps
    return (known[-1] + 1) / walk.fps if highest > _STRIDE * area and rise > _SLOW_RISE else None


def pace_remark(steps: Sequence[float]) -> str | None:
    """Return a remark if people walk as nobody does, because the video runs too slowly or too fast; else None.

    `steps` are what `step_seconds` measured for the walks of the video.
    """
    step = float(np.median(steps)) if len(steps) else _FAST_STEP
    if _FAST_STEP <= step <= _SLOW_STEP:
        return None
    what = "slow motion" if step > _SLOW_STEP else "a recording that runs too fast"
    return (
        f"People in it take a step every {step:.2g} s, but people do so every 0.4 to 0.8 s. It seems to be {what}: "
        "give the rate at which it was filmed with --fps."
    )


def _travels(track: Track, walk: GaitSequence, cycles: Sequence[Bools]) -> list[float]:
    """Return how fast the box moves or grows in each gait cycle, in body heights a second."""
    boxes = track.boxes[np.isin(track.frame_indices, walk.frame_indices)].astype(np.float64)
    height = np.maximum(boxes[:, 3] - boxes[:, 1], 1)
    # The height is included because walking towards the camera hardly moves the feet in the picture.
    place = np.column_stack([(boxes[:, 0] + boxes[:, 2]) / 2, boxes[:, 3], height])
    values = []
    for part in cycles:
        third = max(1, len(place[part]) // 3)
        first, last = place[part][:third].mean(axis=0), place[part][-third:].mean(axis=0)
        frames = walk.frame_indices[part]
        seconds = max(float(frames[-third:].mean() - frames[:third].mean()) / walk.fps, 1 / walk.fps)
        scale = np.median(height[part])
        values.append(float((np.hypot(*(last - first)[:2]) + abs(last - first)[2]) / scale / seconds))
    return values


def _cycles(frame_indices: Ints, fps: float) -> list[Bools]:
    """Split a walk into gait cycles that have enough frames; return the whole walk where none has."""
    cycle = ((frame_indices - frame_indices[0]) / (fps * _CYCLE_SECONDS)).astype(np.int64)
    numbers, counts = np.unique(cycle, return_counts=True)
    full = numbers[counts >= max(_FRAMES_PER_CYCLE, counts.max() // 2)]
    return [cycle == number for number in full] or [np.ones(len(frame_indices), bool)]


def _too_few(frames: int, needed: int, dropped: Mapping[Reason, int]) -> str:
    lost = sum(dropped.values())
    if not lost:
        return f"{Reason.TOO_SHORT.value}: {frames} frames, but {needed} are needed"
    reason = max(dropped, key=lambda key: dropped[key])
    share = f"{dropped[reason] / (lost + frames):.0%}".replace("%", " %")
    return f"{reason.value}: in {share} of the frames; {frames} silhouettes are left, but {needed} are needed"
