"""People in colour, as networks that look at pictures take them."""

from __future__ import annotations

import numpy as np
import pytest

from app.types import GaitSequence, Matte
from app.walks.pictures import picture

RED, GREEN = 200, 90


def drawn(width: int = 40, height: int = 100) -> tuple[np.ndarray, np.ndarray, Matte, np.ndarray]:
    """A frame with somebody of plain colour, the box, a matte that reaches beyond it, and the silhouette of the box."""
    frame = np.zeros((200, 300, 3), np.uint8)
    frame[50 : 50 + height, 100 : 100 + width] = (0, GREEN, RED)
    box = np.array([100, 50, 100 + width, 50 + height], np.float32)
    margin = round(0.04 * height)
    alpha = np.zeros((height + 2 * margin, width + 2 * margin), np.uint8)
    alpha[margin:-margin, margin:-margin] = 255
    return frame, box, Matte(100 - margin, 50 - margin, alpha), alpha


def test_the_box_fills_256_rows_in_the_middle_of_128_columns() -> None:
    found, ratio = picture(*drawn())
    assert found.shape == (256, 128, 4)
    assert ratio == pytest.approx(0.4, abs=0.01)
    used = slice(64 - 51, 64 + 51)
    assert (found[:, used, 0] == RED).all()
    assert (found[:, used, 1] == GREEN).all()
    assert (found[:, used, 2] == 0).all()
    assert (found[4:-4, 64 - 45 : 64 + 45, 3] == 255).all()
    assert not found[:, : 64 - 52].any()
    assert not found[:, 64 + 52 :].any()


def test_what_is_wider_than_the_picture_is_cut_off() -> None:
    found, ratio = picture(*drawn(width=90))
    assert ratio == 0.5
    assert (found[..., 0] == RED).all()


@pytest.mark.parametrize("left", [-12, 270])
def test_a_box_that_leaves_the_frame_is_cut_there(left: int) -> None:
    frame, box, matte, mask = drawn()
    frame[:] = (0, GREEN, RED)
    box = box + np.array([left - 100, 0, left - 100, 0], np.float32)
    start = max(left, 0)
    columns = min(300, left + 40) - start
    found, ratio = picture(frame, box, Matte(start, 46, matte.alpha[:, :columns]), mask[:, :columns])
    assert ratio == pytest.approx(columns / 100, abs=0.01)
    assert found[..., 0].max() == RED


def test_a_part_of_a_walk_keeps_its_pictures() -> None:
    found, ratio = picture(*drawn())
    pictures, ratios = np.stack([found] * 4), np.full(4, ratio, np.float32)
    walk = GaitSequence(np.arange(4), np.zeros((4, 64, 64), np.uint8), 25.0, pictures=pictures, ratios=ratios)
    part = walk.part(slice(1, 3))
    assert part.pictures is not None
    assert part.ratios is not None
    assert len(part.pictures) == len(part.ratios) == 2
    with pytest.raises(ValueError, match="belong together"):
        GaitSequence(np.arange(4), np.zeros((4, 64, 64), np.uint8), 25.0, pictures=pictures)
