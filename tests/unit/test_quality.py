"""The quality gate, on drawn walks."""

from __future__ import annotations

import re
from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from app.settings import QualitySettings
from app.types import Floats, GaitSequence, Track, VideoInfo
from app.walks.quality import (
    Reason,
    frame_reason,
    leg_motions,
    occlusion,
    pace_remark,
    step_seconds,
    walking_part,
)
from app.walks.silhouette import normalise
from tests.clips import View, Walker, crossing, render

INFO = VideoInfo(Path("clip.mp4"), 640, 480, Fraction(25))
SETTINGS = QualitySettings()


def walk_of(frames: int, swing: float, fps: float = 25.0, every: int = 1) -> GaitSequence:
    """A trunk with two legs which swing `swing` px to either side, once a second."""
    index = np.arange(0, frames * every, every)
    silhouettes = np.zeros((frames, 64, 64), np.uint8)
    silhouettes[:, :40, 26:38] = 255
    for silhouette, phase in zip(silhouettes, np.sin(2 * np.pi * index / fps), strict=True):
        for side in (-1, 1):
            left = round(29 + side * (3 + swing * phase))
            silhouette[40:, left : left + 6] = 255
    return GaitSequence(index.astype(np.int64), silhouettes, fps)


def track_of(frames: int, speed: float, height: float = 120.0, growth: float = 0.0) -> Track:
    """Somebody who moves `speed` px and grows by `growth` px in each frame."""
    index = np.arange(frames)
    left = 100 + speed * index
    grown = height + growth * index
    boxes = np.column_stack([left, 400 - grown, left + 50, np.full(frames, 400.0)]).astype(np.float32)
    return Track(1, index.astype(np.int64), boxes, np.ones(frames, np.float32))


def reason_of(
    track: Track, walk: GaitSequence | None, dropped: Counter[Reason], info: VideoInfo, settings: QualitySettings
) -> str | None:
    """Why a walk cannot be compared. Otherwise all of it can."""
    part, reason = walking_part(track, walk, dropped, info, settings)
    assert part is walk
    return reason


def legs_of(walk: GaitSequence) -> float:
    (value,) = leg_motions(walk, [np.ones(len(walk), np.bool_)])
    return value


def on_the_way(*pieces: tuple[int, bool]) -> tuple[Track, GaitSequence]:
    """Somebody who walks for some frames, and stands for some, as often as is said."""
    walks = np.concatenate([np.full(frames, walking) for frames, walking in pieces])
    silhouettes = np.where(
        walks[:, None, None], walk_of(len(walks), 6).silhouettes, walk_of(len(walks), 0.3).silhouettes
    )
    left = 100 + 2 * np.cumsum(walks)
    boxes = np.column_stack([left, np.full(len(walks), 280), left + 50, np.full(len(walks), 400)]).astype(np.float32)
    index = np.arange(len(walks), dtype=np.int64)
    track = Track(1, index, boxes, np.ones(len(walks), np.float32))
    return track, GaitSequence(index, silhouettes.astype(np.uint8), 25.0)


def naive_occlusion(boxes: Floats) -> Floats:
    shares = []
    for box in boxes:
        covered = np.zeros((int(box[3] - box[1]), int(box[2] - box[0])), bool)
        for other in boxes:
            if other[3] > box[3]:
                x1, y1, x2, y2 = (np.maximum(other - np.tile(box[:2], 2), 0)).astype(int)
                covered[y1:y2, x1:x2] = True
        shares.append(covered.mean())
    return np.array(shares, np.float32)


def test_occlusion_agrees_with_counting_pixels() -> None:
    random = np.random.default_rng(5)
    corners = random.integers(0, 150, (12, 2))
    boxes = np.hstack([corners, corners + random.integers(40, 120, (12, 2))]).astype(np.float32)
    assert np.abs(occlusion(boxes) - naive_occlusion(boxes)).max() < 0.06


def test_only_the_farther_person_is_hidden() -> None:
    boxes = np.array([[0, 0, 40, 100], [20, 0, 60, 110]], np.float32)
    np.testing.assert_allclose(occlusion(boxes), [0.5, 0.0])
    assert occlusion(boxes[:1]).tolist() == [0.0]
    assert occlusion(boxes[:0]).shape == (0,)


@pytest.mark.parametrize(
    ("box", "hidden", "reason"),
    [
        ((100, 100, 150, 220), 0.0, None),
        ((0, 100, 50, 220), 0.0, Reason.CUT),
        ((100, 100, 150, 479), 0.0, Reason.CUT),
        ((100, 100, 108, 115), 0.0, Reason.TOO_SMALL),
        ((100, 100, 150, 220), 0.5, Reason.OCCLUDED),
    ],
)
def test_frames(box: tuple[float, ...], hidden: float, reason: Reason | None) -> None:
    assert frame_reason(np.array(box, np.float32), hidden, 640, 480, SETTINGS) is reason


def test_walkers_pass_across_and_towards_the_camera() -> None:
    assert reason_of(track_of(60, speed=2), walk_of(60, swing=6), Counter(), INFO, SETTINGS) is None
    # Frontal: the legs hardly swing, the feet hardly move, the box grows by 15 % a second.
    assert reason_of(track_of(60, 0, growth=0.7), walk_of(60, swing=2), Counter(), INFO, SETTINGS) is None


def test_a_slow_walker_seen_at_ten_frames_a_second_passes() -> None:
    info = VideoInfo(Path("clip.mp4"), 640, 480, Fraction(10))
    slow = walk_of(40, swing=5, fps=10)
    assert reason_of(track_of(40, speed=1.5), slow, Counter(), info, SETTINGS) is None


def test_a_treadmill_passes() -> None:
    assert reason_of(track_of(60, speed=0), walk_of(60, swing=10), Counter(), INFO, SETTINGS) is None


def test_a_long_skirt_hides_the_legs_of_a_walker() -> None:
    hidden = walk_of(60, swing=0.6)
    assert legs_of(hidden) < SETTINGS.min_motion
    assert reason_of(track_of(60, speed=1.5), hidden, Counter(), INFO, SETTINGS) is None


def test_those_who_stand_do_not_pass() -> None:
    still = reason_of(track_of(60, speed=0), walk_of(60, swing=0.6), Counter(), INFO, SETTINGS)
    assert still is not None
    assert still.startswith("standing still: leg motion")
    waving = walk_of(60, swing=0.6)
    waving.silhouettes[::4, :20, 38:60] = 255
    assert legs_of(waving) == legs_of(walk_of(60, swing=0.6))
    shifting = reason_of(track_of(60, speed=0), walk_of(60, swing=2.5), Counter(), INFO, SETTINGS)
    assert shifting is not None
    assert "body heights a second" in shifting


@pytest.mark.parametrize("stands", [60, 90, 300])
def test_of_people_who_stop_on_their_way_only_the_walking_counts(stands: int) -> None:
    track, walk = on_the_way((90, True), (stands, False), (90, True))
    part, reason = walking_part(track, walk, Counter(), INFO, SETTINGS)
    assert reason is None
    assert part is not None
    inside = (part.frame_indices >= 90 + 30) & (part.frame_indices < 90 + stands - 30)
    assert not inside.any(), "nobody walks there"
    assert {*range(60), *range(90 + stands + 30, 180 + stands)} <= set(part.frame_indices.tolist())
    np.testing.assert_array_equal(part.silhouettes, walk.silhouettes[part.frame_indices])


def test_one_cycle_in_which_somebody_passes_in_front_is_no_walk() -> None:
    track, walk = on_the_way((90, False), (30, True), (90, False))
    part, reason = walking_part(track, walk, Counter(), INFO, SETTINGS)
    assert part is walk
    assert reason is not None
    assert reason.startswith("standing still: leg motion")


def test_too_little_walking_says_how_much_there_is() -> None:
    track, walk = on_the_way((300, False), (75, True))
    settings = QualitySettings(min_seconds=5.0)
    part, reason = walking_part(track, walk, Counter(), INFO, settings)
    assert part is walk
    assert reason is not None
    assert re.fullmatch(r"standing still: they walk in \d\d of 375 silhouettes, but 125 are needed", reason)


def test_reasons_say_what_was_measured() -> None:
    short = reason_of(track_of(15, speed=2), walk_of(15, swing=6), Counter(), INFO, SETTINGS)
    assert short == "too short: 0.6 s, but 1.0 s are needed"
    small = reason_of(track_of(60, 2, height=31), walk_of(60, swing=6), Counter(), INFO, SETTINGS)
    assert small == "too small: 31 px high, but 32 px are needed"
    dropped = Counter({Reason.CUT: 48, Reason.OCCLUDED: 6})
    cut = reason_of(track_of(60, speed=2), walk_of(6, swing=6), dropped, INFO, SETTINGS)
    assert cut == "cut by the border: in 80 % of the frames; 6 silhouettes are left, but 25 are needed"
    none = reason_of(track_of(60, speed=2), None, Counter({Reason.NO_SILHOUETTE: 60}), INFO, SETTINGS)
    assert none == "no silhouette: in 100 % of the frames; 0 silhouettes are left, but 25 are needed"


def test_what_is_left_must_cover_a_gait_cycle() -> None:
    # 15 of 60 frames are enough silhouettes, but 0.6 s in all.
    reason = reason_of(track_of(60, speed=2), walk_of(15, swing=6), Counter({Reason.OCCLUDED: 45}), INFO, SETTINGS)
    assert reason == "occluded: in 75 % of the frames; 15 silhouettes are left, but 25 are needed"


def test_a_walk_thinned_by_its_length_is_still_judged() -> None:
    moving, still = walk_of(100, swing=6, every=16), walk_of(100, swing=0.2, every=16)
    assert reason_of(track_of(1600, speed=0.3), moving, Counter(), INFO, SETTINGS) is None
    assert reason_of(track_of(1600, speed=0.3), still, Counter(), INFO, SETTINGS) is not None


@pytest.mark.parametrize("fps", [1, 2, 5])
def test_reasons_that_come_from_a_low_frame_rate_name_it(fps: int) -> None:
    info = VideoInfo(Path("clip.mp4"), 640, 480, Fraction(fps))
    frames = min(2 * fps, 7)
    short = reason_of(track_of(frames, speed=2), walk_of(frames, swing=6, fps=fps), Counter(), info, SETTINGS)
    assert short is not None
    assert short.startswith("too short")
    assert f"the video has only {fps} frame" in short
    still = reason_of(track_of(60, speed=0), walk_of(60, swing=0.6, fps=fps), Counter(), info, SETTINGS)
    assert still is not None
    assert f"the video has only {fps} frame" in still


def walker_at(view: View, slower: float, seconds: float) -> GaitSequence:
    """A drawn walker, filmed for `seconds` and played `slower` times as slowly."""
    scene = crossing([Walker(5)], view, width=240, height=136, fps=Fraction(25), seconds=3.0)
    silhouettes, indices = [], []
    times = [1.2 + index / 25 / slower for index in range(int(25 * seconds * slower))]
    for index, (_, truth) in enumerate(render(scene, times)):
        silhouette = normalise(truth.mask(1))
        assert silhouette is not None
        silhouettes.append(silhouette)
        indices.append(index)
    return GaitSequence(np.array(indices), np.stack(silhouettes), 25.0)


@pytest.mark.parametrize("view", ["side", "oblique"])
@pytest.mark.parametrize("slower", [0.4, 1, 4, 8])
def test_slow_motion_is_suspected(view: View, slower: float) -> None:
    step = step_seconds(walker_at(view, slower, 1.6))
    assert step == pytest.approx(slower / Walker(5).traits["cadence"] / 2, rel=0.15)
    said = pace_remark([step])
    assert (said is None) == (slower == 1)
    if said is not None:
        assert "--fps" in said
        assert ("slow motion" in said) == (slower > 1)


@pytest.mark.parametrize("slower", [8, 16])
def test_slow_motion_is_suspected_where_less_than_a_step_is_seen(slower: float) -> None:
    step = step_seconds(walker_at("side", slower, 0.6))
    assert step is not None
    assert "slow motion" in (pace_remark([step]) or "")
    assert step_seconds(walker_at("side", 1, 0.6)) is None


def test_those_who_stand_have_no_steps() -> None:
    assert step_seconds(walk_of(100, swing=0.3)) is None
    assert step_seconds(walk_of(1, swing=6)) is None
    assert pace_remark([]) is None
