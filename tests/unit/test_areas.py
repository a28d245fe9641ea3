"""Areas, lines and stillness of a camera's picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from app.types import Detections, VideoInfo
from app.video.areas import Areas, Stillness, foot

INFO = VideoInfo(Path("camera"), 200, 100, 25)
LEFT, TOP = [(0, 0), (0.5, 0), (0.5, 1), (0, 1)], [(0, 0), (1, 0), (1, 0.5), (0, 0.5)]


def detections() -> Detections:
    boxes = np.array([[10, 10, 30, 40], [10, 10, 30, 90], [150, 10, 170, 40], [150, 10, 170, 90]], np.float32)
    return Detections(boxes, np.array([0.9, 0.8, 0.7, 0.6], np.float32))


def test_people_count_where_their_feet_are() -> None:
    assert foot(detections().boxes[0], INFO) == (0.1, 0.4)

    def kept(areas: Areas) -> list[float]:
        return [round(score, 1) for score in areas.keep(detections(), INFO).scores.tolist()]

    assert kept(Areas()) == [0.9, 0.8, 0.7, 0.6]
    assert kept(Areas(ignore=[LEFT])) == [0.7, 0.6]
    assert kept(Areas(interest=[LEFT])) == [0.9, 0.8]
    assert kept(Areas(interest=[LEFT], ignore=[TOP])) == [0.8]


def test_lines_are_crossed_to_a_side() -> None:
    areas = Areas(lines={"door": ((0.5, 0.0), (0.5, 0.5))})
    assert areas.crossed((0.4, 0.2), (0.6, 0.3)) == [("door", "left")]
    assert areas.crossed((0.6, 0.3), (0.4, 0.2)) == [("door", "right")]
    assert areas.crossed((0.4, 0.8), (0.6, 0.8)) == []
    assert areas.crossed((0.1, 0.2), (0.4, 0.2)) == []


def test_noise_is_no_movement_and_a_person_is() -> None:
    random = np.random.default_rng(0)
    still, empty = Stillness(), np.full((240, 320, 3), 60, np.int16)

    def picture() -> np.ndarray:
        return np.clip(empty + random.normal(0, 8, empty.shape), 0, 255).astype(np.uint8)

    assert not still.is_still(picture())
    assert all(still.is_still(picture()) for _ in range(20))
    empty[100:200, 100:140] = 160
    assert not still.is_still(picture())
    assert still.is_still(picture())
