"""What is done before and after a YOLOX network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app.detect.letterbox import (
    PAD,
    cells,
    choose_normalise,
    clipped,
    decode,
    letterbox,
    network_size,
    nms,
    people,
)
from app.errors import CheckpointError, SettingsError
from app.settings import DetectorSettings
from app.types import Bytes, Floats


def picture(height: int, width: int, value: int = 200) -> Bytes:
    return np.full((height, width, 3), value, np.uint8)


def test_padding_ends_at_the_next_stride() -> None:
    boxed = letterbox([picture(854, 480)], (800, 1440))
    assert boxed.pixels.shape == (1, 800, 480, 3)
    assert letterbox([picture(854, 480)], (800, 1440), full=True).pixels.shape == (1, 800, 1440, 3)
    assert (boxed.pixels[0, :800, :449] == 200).all()
    assert (boxed.pixels[0, :, 449:] == PAD).all()


def test_pictures_of_different_sizes_share_a_batch() -> None:
    boxed = letterbox([picture(100, 300), picture(300, 100)], (320, 320))
    assert boxed.pixels.shape == (2, 320, 320, 3)
    np.testing.assert_allclose(boxed.ratios, 320 / 300)
    assert boxed.sizes.tolist() == [[100, 300], [300, 100]]


def test_a_picture_of_one_pixel_in_height_does_not_crash() -> None:
    assert letterbox([picture(1, 2000)], (416, 416)).pixels.shape == (1, 32, 416, 3)


def test_decoding_puts_boxes_onto_their_cells() -> None:
    grid = cells(64, 96)
    assert len(grid) == 8 * 12 + 4 * 6 + 2 * 3
    boxes = decode(np.zeros((len(grid), 4), np.float32), grid)
    assert boxes[13].tolist() == [8, 8, 8, 8]  # second row, second column, stride 8
    assert boxes[-1].tolist() == [64, 32, 32, 32]


def naive_nms(boxes: Floats, scores: Floats, most: float) -> list[int]:
    kept: list[int] = []
    for index in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        for other in kept:
            a, b = boxes[index], boxes[other]
            shared = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
            union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
            if shared > most * union:
                break
        else:
            kept.append(index)
    return kept


@pytest.mark.parametrize("most", [0.3, 0.7])
def test_suppression_equals_a_naive_implementation(most: float) -> None:
    random = np.random.default_rng(3)
    start = random.uniform(0, 40, (200, 2))
    boxes = np.concatenate([start, start + random.uniform(5, 40, (200, 2))], axis=1).astype(np.float32)
    scores = (random.integers(1, 51, 200) / 50).astype(np.float32)  # with ties
    assert nms(boxes, scores, most).tolist() == naive_nms(boxes, scores, most)
    assert nms(boxes[:0], scores[:0], most).tolist() == []


def test_people_are_clipped_sorted_and_back_in_frame_pixels() -> None:
    boxed = letterbox([picture(200, 100)], (320, 320))  # scaled by 1.6
    grid = cells(*boxed.pixels.shape[1:3])
    outputs = np.zeros((1, len(grid), 7), np.float32)
    outputs[0, 0] = [32, 32, 32, 64, 0.9, 0.5, 1.0]
    outputs[0, 1] = [16, 160, 64, 64, 0.8, 1.0, 0.0]  # half outside
    outputs[0, 2] = [-90, 160, 64, 64, 0.8, 0.9, 0.0]  # wholly outside
    outputs[0, 3] = [80, 80, 32, 32, 0.9, 0.1, 1.0]  # another class
    (found,) = people(outputs, boxed, decoded=True, score=0.3, nms_iou=0.7)
    np.testing.assert_allclose(found.boxes, [[0, 80, 30, 120], [10, 0, 30, 40]], atol=1e-4)
    np.testing.assert_allclose(found.scores, [0.8, 0.45], atol=1e-6)


def test_a_broken_network_gives_no_broken_detections() -> None:
    boxes = np.array([[np.nan, 0, np.nan, 9], [1, 1, 5, 5], [0, 0, np.inf, 4]], np.float32)
    found = clipped(boxes, np.array([0.9, np.nan, 0.5], np.float32), 8, 8)
    assert found.boxes.tolist() == [[0, 0, 8, 4]]


def test_the_input_form() -> None:
    auto, forced = DetectorSettings(), DetectorSettings(normalise="raw")
    assert choose_normalise(auto, None, True, Path("m")) == "imagenet"
    assert choose_normalise(auto, "raw", True, Path("m")) == "raw"
    assert choose_normalise(auto, None, False, Path("m")) == "raw"
    assert choose_normalise(forced, "imagenet", True, Path("m")) == "raw"
    with pytest.raises(CheckpointError, match="m asks for the input form 'grey'"):
        choose_normalise(auto, "grey", False, Path("m"))


def test_a_size_below_one_cell_is_refused() -> None:
    with pytest.raises(SettingsError, match="input_size"):
        network_size(DetectorSettings(input_size=(0, 640)), (640, 640))
