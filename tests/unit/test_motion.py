"""Background subtraction, and the detector and the segmenter that use it, on clips drawn here."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

import app.video.background
from app.detect.motion import MotionDetector, person_boxes, person_scores
from app.errors import VideoError
from app.runs.build import build
from app.segment.motion import MotionSegmenter
from app.settings import DetectorSettings, GaitSettings, SegmenterSettings, Settings
from app.stages import Detector, Segmenter
from app.types import Bools, Bytes, Floats, Frame, Image, VideoInfo
from app.video.background import BackgroundModel, SubtractsBackground
from app.weights.registry import detectors, segmenters

Draw = Callable[[int], Image]
HEIGHT, WIDTH, COUNT = 180, 320, 60


def scenery(width: int = WIDTH, height: int = HEIGHT) -> Image:
    rng = np.random.default_rng(5)
    coarse = rng.integers(90, 210, (height // 12, width // 12, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def person(x: float, y: float = 50, height: float = 100, shape: tuple[int, int] = (HEIGHT, WIDTH)) -> Bools:
    """A body of `height` px whose head touches row `y`, centred at column `x`."""
    mask = np.zeros(shape, np.uint8)
    head, half = round(0.08 * height), round(0.13 * height)
    cv2.circle(mask, (round(x), round(y) + head), head, 1, -1)
    cv2.rectangle(mask, (round(x) - half, round(y) + 2 * head), (round(x) + half, round(y + height)), 1, -1)
    return mask > 0


def painted(*masks: Bools, on: Image | None = None) -> Image:
    picture = scenery() if on is None else on.copy()
    for mask in masks:
        picture[mask] = (30, 25, 40)
    return picture


def film(path: Path, draw: Draw, count: int = COUNT) -> tuple[VideoInfo, list[Frame]]:
    """Write a clip of 10 frames/s and return it as the reader would."""
    height, width = draw(0).shape[:2]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = width, height, "yuv420p", 4_000_000
        for index in range(count):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(draw(index), format="bgr24")))
        container.mux(stream.encode())
    return VideoInfo(path, width, height, Fraction(10), count), list(decoded(path))


def decoded(path: Path) -> Iterator[Frame]:
    with av.open(str(path)) as container:
        for index, picture in enumerate(container.decode(video=0)):
            yield Frame(index, index / 10, np.asarray(picture.to_ndarray(format="bgr24"), np.uint8))


def overlap(alpha: Bytes, truth: Bools) -> float:
    return float(((alpha >= 128) & truth).sum() / ((alpha >= 128) | truth).sum())


def started(info: VideoInfo) -> BackgroundModel:
    background = BackgroundModel()
    background.start(info)
    return background


def sharing(background: BackgroundModel) -> tuple[MotionDetector, MotionSegmenter]:
    detector, segmenter = MotionDetector(None, DetectorSettings()), MotionSegmenter(None, SegmenterSettings())
    detector.background = segmenter.background = background
    return detector, segmenter


def walk(index: int) -> Bools:
    return person(20 + 4.7 * index)


def test_a_walker_is_the_foreground_from_the_first_frame_to_the_last(tmp_path: Path) -> None:
    info, frames = film(tmp_path / "walk.mp4", lambda index: painted(walk(index)))
    for index, alpha in enumerate(started(info).foreground(frames)):
        assert overlap(alpha, walk(index)) > 0.85, index


def test_somebody_who_stands_for_most_of_the_video_stays_foreground(tmp_path: Path) -> None:
    def stands(index: int) -> Bools:
        return person(min(20 + 14 * index, 160) if index < 44 else 160 + 14 * (index - 44))

    info, frames = film(tmp_path / "stand.mp4", lambda index: painted(stands(index)))
    for index, alpha in enumerate(started(info).foreground(frames)):
        if index < 52:
            assert overlap(alpha, stands(index)) > 0.8, index


def test_a_soft_shadow_and_changing_light_are_not_foreground(tmp_path: Path) -> None:
    def draw(index: int) -> Image:
        picture = painted(walk(index)).astype(np.float32)
        x = round(20 + 4.7 * index)
        picture[145:160, max(0, x - 60) : max(0, x - 14)] *= 0.82
        return np.asarray((picture + 0.5 * index).clip(0, 255), np.uint8)

    info, frames = film(tmp_path / "shadow.mp4", draw)
    for index, alpha in enumerate(started(info).foreground(frames)):
        assert overlap(alpha, walk(index)) > 0.8, index


def test_each_frame_is_subtracted_once_and_kept_as_long_as_it_is_there(tmp_path: Path) -> None:
    info, frames = film(tmp_path / "walk.mp4", lambda index: painted(walk(index)), 20)
    background = started(info)
    first = background.foreground(frames[:4])
    assert all(a is b for a, b in zip(first[1:3], background.foreground(frames[1:3]), strict=True))
    background.foreground(frames[4:8])
    assert all(a is b for a, b in zip(first, background.foreground(frames[:4]), strict=True)), "the cutter comes later"
    del frames[:6]
    assert len(background._foreground) == 2


def test_start_forgets_the_earlier_video(tmp_path: Path) -> None:
    info, frames = film(tmp_path / "walk.mp4", lambda index: painted(walk(index)), 20)
    inverted = 255 - scenery()
    other, other_frames = film(tmp_path / "other.mp4", lambda index: painted(walk(index), on=inverted), 20)
    background = started(info)
    background.foreground(frames[:3])
    background.start(other)
    assert overlap(background.foreground(other_frames[2:3])[0], walk(2)) > 0.8


def test_frames_before_start_are_an_error() -> None:
    with pytest.raises(RuntimeError, match="start"):
        BackgroundModel().foreground([Frame(0, 0.0, scenery())])


def test_a_file_without_pictures_is_a_video_error(tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    background = started(VideoInfo(broken, WIDTH, HEIGHT, Fraction(10)))
    with pytest.raises(VideoError, match=r"broken\.mp4"):
        background.foreground([Frame(0, 0.0, scenery())])


@pytest.mark.parametrize(("pan", "warned"), [(0, 0), (3, 1)])
def test_a_moving_camera_gives_one_warning(
    tmp_path: Path, pan: int, warned: int, caplog: pytest.LogCaptureFixture
) -> None:
    wide = scenery(WIDTH + 60 * 3)

    def draw(index: int) -> Image:
        return painted(walk(index), on=wide[:, pan * index : pan * index + WIDTH])

    info, frames = film(tmp_path / "pan.mp4", draw)
    background = started(info)
    with caplog.at_level(logging.WARNING):
        for frame in frames[:12]:
            background.foreground([frame])
    messages = [record.message for record in caplog.records if "camera" in record.message]
    assert len(messages) == warned
    assert all("pan.mp4" in message for message in messages)


def test_memory_and_work_do_not_grow_with_the_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.video.background, "_LONGEST_SIDE", 160)
    info, frames = film(tmp_path / "walk.mp4", lambda index: painted(walk(index)), 30)
    background = started(info)
    detector, segmenter = sharing(background)
    (found,) = detector.detect(frames[15:16])
    assert background.foreground(frames[15:16])[0].shape == (90, 160)
    assert_box(found.boxes[0], walk(15))
    ((matte,),) = segmenter.segment(frames[15:16], [found.boxes[:1]])
    assert_matte(matte.alpha, matte.left, matte.top, walk(15))


def assert_box(box: Floats, truth: Bools, tolerance: float = 3.0) -> None:
    rows, columns = np.flatnonzero(truth.any(axis=1)), np.flatnonzero(truth.any(axis=0))
    np.testing.assert_allclose(box, [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], atol=tolerance)


def assert_matte(alpha: Bytes, left: int, top: int, truth: Bools) -> None:
    height, width = alpha.shape
    assert left >= 0
    assert top >= 0
    assert overlap(alpha, truth[top : top + height, left : left + width]) > 0.85


def test_detector_and_segmenter_share_the_foreground(tmp_path: Path) -> None:
    info, frames = film(tmp_path / "walk.mp4", lambda index: painted(walk(index)))
    detector, segmenter = sharing(BackgroundModel())
    assert isinstance(detector, Detector)
    assert isinstance(segmenter, Segmenter)
    detector.start(info)
    segmenter.start(info)
    found = detector.detect(frames)
    mattes = segmenter.segment(frames[::2], [people.boxes for people in found[::2]])
    for index, people in enumerate(found):
        assert len(people.boxes) == 1
        assert people.scores[0] > 0.6
        assert_box(people.boxes[0], walk(index))
    for index, row in enumerate(mattes):
        assert_matte(row[0].alpha, row[0].left, row[0].top, walk(2 * index))


def test_both_are_the_weight_free_fallback() -> None:
    for registry in (detectors, segmenters):
        entry = registry.get(registry.fallback)
        assert entry.name == "motion"
        assert entry.accepts is None
    card = detectors.get("motion").build(None, DetectorSettings()).card
    assert card.origin == "weight-free"
    assert "stands still" in card.note
    assert card.needs_recording


def test_a_run_subtracts_the_background_once() -> None:
    settings = Settings(DetectorSettings(name="motion"), segmenter=SegmenterSettings(name="motion"))
    stages = build(replace(settings, gait=GaitSettings(name="gei")))
    assert isinstance(stages.detector, SubtractsBackground)
    assert isinstance(stages.segmenter, SubtractsBackground)
    assert stages.detector.background is stages.segmenter.background


def boxes_of(masks: Sequence[Bools]) -> Floats:
    return person_boxes(np.any(masks, axis=0).astype(np.uint8) * 255)


def test_two_people_who_touch_are_two_boxes() -> None:
    found = boxes_of([person(100), person(126, y=54)])
    assert len(found) == 2
    assert_box(min(found[:, :4], key=lambda box: float(box[0])), person(100))


def test_a_person_behind_a_lamp_post_is_one_box() -> None:
    body = person(100)
    body[95:103] = False
    (found,) = boxes_of([body])
    assert_box(found[:4], person(100))


def test_scores_tell_people_from_specks_bars_and_clouds() -> None:
    #              a person             a speck          a bar on the ground  a thin cloud
    boxes = np.array([[0, 0, 40, 100], [0, 0, 4, 10], [0, 0, 100, 30], [0, 0, 40, 100]], np.float32)
    areas = np.array([2600, 30, 2500, 600], np.float32)
    scores = person_scores(boxes, areas)
    assert scores[0] == pytest.approx(0.9)
    assert (scores[1:] < 0.1).all()


def test_real_clips_say_whether_the_camera_moves(shared: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name, moves in (("vtest.avi", False), ("intel_one-by-one.mp4", False), ("aio_probe3.mp4", True)):
        path = shared / "videos" / name
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            info = VideoInfo(path, stream.width, stream.height, Fraction(stream.average_rate or 10))
        caplog.clear()
        started(info).foreground(list(islice(decoded(path), 1)))
        assert bool(caplog.records) is moves, name
