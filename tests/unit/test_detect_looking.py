"""How large a network of free size looks at a video."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from app.detect.looking import EVERY, LEAST, LOOKS, MOST, SIZES, Looking
from app.types import Detections, Frame, VideoInfo

WIDE = (480, 854)
FPS = 10


def frames(count: int, shape: tuple[int, int] = WIDE) -> list[Frame]:
    return [Frame(index, index / FPS, np.zeros((*shape, 3), np.uint8)) for index in range(count)]


def people(*heights: float, score: float = 0.9) -> Detections:
    boxes = np.array([[10, 10, 30, 10 + height] for height in heights], np.float32).reshape(-1, 4)
    return Detections(boxes, np.full(len(boxes), score, np.float32))


def started(shape: tuple[int, int] = WIDE) -> Looking:
    looking = Looking(640)
    looking.start(VideoInfo(Path("walk.mp4"), shape[1], shape[0], Fraction(FPS)))
    return looking


def sizes(looking: Looking, batches: Sequence[int], looks: Sequence[Detections]) -> list[int]:
    """The size of each frame of a video in which the looks find `looks`, one after the other."""
    every, waiting, found = frames(sum(batches)), list(looks), []
    for batch in batches:
        here, every = every[:batch], every[batch:]
        for closely, group in looking.groups(here):
            if closely:
                looking.learn(group[0], waiting.pop(0))
            found += [looking.size] * len(group)
    return found


def test_small_people_are_looked_at_larger_and_large_ones_smaller() -> None:
    chosen = []
    for height in (10, 30, 45, 65, 75, 100, 128, 129, 170, 220, 300):
        looking = started()
        looking.learn(frames(1)[0], people(height, height, height))
        chosen.append(looking.size)
        scaled = height * looking.size / WIDE[1]
        if looking.size > 640:
            assert scaled < 1.3 * LEAST
        if 640 < looking.size < SIZES[-1]:
            assert scaled >= LEAST
        if looking.size < 640:
            assert scaled >= MOST
    assert chosen == sorted(chosen, reverse=True)
    assert chosen == [960, 960, 960, 800, 640, 640, 640, 640, 640, 512, 416]


def test_one_large_person_does_not_hide_the_small_ones() -> None:
    looking = started()
    looking.learn(frames(1)[0], people(50, 52, 54, 400))
    alone = started()
    alone.learn(frames(1)[0], people(50, 52, 54))
    assert looking.size == alone.size


def test_without_people_the_size_is_the_networks_own() -> None:
    looking = started()
    looking.learn(frames(1)[0], people())
    looking.learn(frames(1)[0], people(20, score=0.3))
    assert looking.size == 640


def test_small_pictures_are_not_enlarged_without_end() -> None:
    looking, frame = started((120, 240)), frames(1, (120, 240))[0]
    looking.learn(frame, people(8))
    assert looking.size == 416
    assert looking.largest(frame) == 416
    assert looking.largest(frames(1, (48, 64))[0]) == SIZES[0]


@pytest.mark.parametrize("batches", [[1] * 65, [8] * 8 + [1], [65], [3, 50, 12], [20, 20, 20, 5]])
def test_the_sizes_do_not_depend_on_the_batches(batches: list[int]) -> None:
    every = round(EVERY * FPS)
    looks = [people(300), people(40), people(40), people(40)]
    found = sizes(started(), batches, looks)
    assert len(found) == 65
    assert found[:every] == [416] * every
    assert found == sizes(started(), [13] * 5, looks)
    assert len(set(found)) > 1


def test_what_was_long_ago_is_forgotten() -> None:
    looking = started()
    looking.learn(frames(1)[0], people(20))
    assert looking.size == SIZES[-1]
    for _ in range(LOOKS):
        looking.learn(frames(1)[0], people(300))
    assert looking.size == SIZES[0]


def test_another_video_begins_anew(caplog: pytest.LogCaptureFixture) -> None:
    looking = started()
    with caplog.at_level(logging.INFO, logger="app"):
        sizes(looking, [7], [people(30)])
        for _ in range(LOOKS):
            looking.learn(frames(1)[0], people(300))
    assert looking.size == SIZES[0]
    assert caplog.messages == ["walk.mp4: people are 30 px high, so the detector looks at 960 px."]  # told once
    looking.start(VideoInfo(Path("other.mp4"), WIDE[1], WIDE[0], Fraction(FPS)))
    assert looking.size == 640
    assert next(looking.groups(frames(1)))[0]
