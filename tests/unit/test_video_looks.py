"""Looks at a video: how many a second, which ones, and what lies between them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from app.video.looks import Looks, between
from app.video.reader import VideoReader
from tests.clips import Walker, crossing, write_clip


@pytest.mark.parametrize("fps", [2, 5, 10, 12, 12.5, 15, 24, 25, Fraction(30_000, 1001), 30, 50, 60, 120, 240])
@pytest.mark.parametrize("rate", [8.3, 10, 12.5, 30])
def test_the_rate_is_kept_evenly_and_slow_videos_are_seen_in_full(fps: float, rate: float) -> None:
    looks, fps = Looks(float(fps), rate), float(fps)
    due = np.array([index for index in range(round(20 * fps)) if looks.due(index)])
    assert len(due) / 20 == pytest.approx(min(rate, fps), abs=0.1)
    assert due[0] == 0
    steps = np.diff(due)
    assert set(steps.tolist()) <= {int(max(1, fps / rate)), int(max(1, fps / rate)) + 1}


def test_a_camera_that_is_slower_in_the_dark_is_seen_as_often_as_it_can() -> None:
    looks = Looks(50, 12.5)
    dark, light = range(0, 402, 6), range(402, 800)
    seen = np.array([index for index in (*dark, *light) if looks.due(index)])
    assert [index for index in seen if index < 402] == list(dark)
    assert np.diff(seen[seen >= 402]).max() <= 5


def test_between_two_looks_boxes_move_on_a_line() -> None:
    boxes = np.array([[0, 0, 10, 20], [4, 2, 14, 22], [4, 2, 14, 22]], np.float32)
    frames, every = between(np.array([3, 5, 6]), boxes)
    assert frames.tolist() == [3, 4, 5, 6]
    np.testing.assert_array_equal(every[[0, 2, 3]], boxes)
    np.testing.assert_array_equal(every[1], [2, 1, 12, 21])
    assert every.dtype == np.float32


@pytest.mark.parametrize("rate", [5, 12.5, 40])
def test_the_reader_gives_the_looks_and_counts_every_frame(tmp_path: Path, rate: float) -> None:
    path = tmp_path / "walk.mp4"
    write_clip(path, crossing([Walker(1)], gap=0, first=-0.5, seconds=1.48, width=96, height=64, seed=1))
    with VideoReader(path) as whole:
        every = list(whole)
    looks = Looks(25, rate)
    wanted = [frame for frame in every if looks.due(frame.index)]
    with VideoReader(path, looks=rate) as reader:
        seen = list(reader)
    assert reader.length == whole.length == len(every) == 37
    assert [frame.index for frame in seen] == [frame.index for frame in wanted]
    for one, same in zip(seen, wanted, strict=True):
        assert one.time == same.time
        np.testing.assert_array_equal(one.image, same.image)
