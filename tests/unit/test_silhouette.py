"""Cutting one person out of a matte, on drawn cases."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from app.types import Bytes, Floats, Matte, PartMap
from app.walks.silhouette import cut, normalise, normalise_parts, parts_of

NOBODY = np.zeros((0, 4), np.float32)


def box(*corners: float) -> Floats:
    return np.array(corners, np.float32)


def draw_person(alpha: Bytes, left: int, top: int, width: int = 60, height: int = 160) -> None:
    """A head, a trunk and two legs that fill the box."""
    middle = left + width // 2
    cv2.circle(alpha, (middle, top + 14), 14, 255, -1)
    cv2.rectangle(alpha, (left + 8, top + 24), (left + width - 8, top + height // 2), 255, -1)
    cv2.rectangle(alpha, (left + 8, top + height // 2), (left + 24, top + height - 1), 255, -1)
    cv2.rectangle(alpha, (left + width - 24, top + height // 2), (left + width - 8, top + height - 1), 255, -1)


@pytest.fixture
def alone() -> Bytes:
    alpha = np.zeros((200, 240), np.uint8)
    draw_person(alpha, 90, 20)
    return alpha


TRACKED = box(90, 20, 150, 180)


def normalised(alpha: Bytes, others: Floats = NOBODY, tracked: Floats = TRACKED) -> Bytes:
    mask = cut(Matte(0, 0, alpha), tracked, others, 0.5)
    assert mask is not None
    silhouette = normalise(mask)
    assert silhouette is not None
    return silhouette


def test_one_person_is_kept_whole(alone: Bytes) -> None:
    mask = cut(Matte(0, 0, alone), TRACKED, NOBODY, 0.5)
    assert mask is not None
    assert set(np.unique(mask)) == {0, 255}
    assert (mask > 0).sum() == (alone > 0).sum()


def test_the_position_of_the_matte_counts(alone: Bytes) -> None:
    shifted = cut(Matte(500, 300, alone), TRACKED + box(500, 300, 500, 300), NOBODY, 0.5)
    np.testing.assert_array_equal(shifted, cut(Matte(0, 0, alone), TRACKED, NOBODY, 0.5))


@pytest.mark.parametrize("speck", [(slice(16, 17), slice(120, 121)), (slice(14, 18), slice(130, 136))])
def test_specks_above_the_head_do_not_rescale_the_body(alone: Bytes, speck: tuple[slice, slice]) -> None:
    expected = normalised(alone)
    dirty = alone.copy()
    dirty[speck] = 255
    np.testing.assert_array_equal(normalised(dirty), expected)
    assert not np.array_equal(normalise(dirty), normalise(alone)), "the case would not show the fault"


def test_a_detached_foot_survives_and_a_far_piece_does_not(alone: Bytes) -> None:
    alone[165:168] = 0  # both ankles lost
    mask = cut(Matte(0, 0, alone), TRACKED, NOBODY, 0.5)
    assert mask is not None
    assert (mask > 0).sum() == (alone > 0).sum()
    alone[120:168] = 0  # what is left of the legs is no part of this body any more
    mask = cut(Matte(0, 0, alone), TRACKED, NOBODY, 0.5)
    assert mask is not None
    rows = np.flatnonzero(mask.any(axis=1))
    assert rows[-1] - rows[0] == 119 - 20


def test_two_people_side_by_side_keep_to_themselves(alone: Bytes) -> None:
    both = alone.copy()
    draw_person(both, 145, 25)  # the boxes overlap by 5 px, the bodies do not touch
    neighbour = box(145, 25, 205, 185)
    np.testing.assert_array_equal(normalised(both, neighbour[None]), normalised(alone))


def test_touching_neighbours_are_parted_where_their_boxes_meet(alone: Bytes) -> None:
    both = alone.copy()
    draw_person(both, 130, 20)
    both[80:95, 90:190] = 255  # arm in arm
    for tracked, other in ((TRACKED, box(130, 20, 190, 180)), (box(130, 20, 190, 180), TRACKED)):
        mask = cut(Matte(0, 0, both), tracked, other[None], 0.5)
        assert mask is not None
        columns = np.flatnonzero(mask.any(axis=0))
        assert columns[-1] - columns[0] + 1 <= 60


def test_of_two_who_cross_the_nearer_keeps_more(alone: Bytes) -> None:
    both = alone.copy()
    draw_person(both, 115, 30)
    near, far = box(115, 30, 175, 190), TRACKED
    mask_near = cut(Matte(0, 0, both), near, far[None], 0.5)
    mask_far = cut(Matte(0, 0, both), far, near[None], 0.5)
    assert mask_near is not None
    assert (mask_near > 0).sum() > 0.7 * (alone > 0).sum()
    assert mask_far is None or (mask_far > 0).sum() < (mask_near > 0).sum()


def test_a_farther_person_behind_the_middle_leaves_no_stripe(alone: Bytes) -> None:
    behind = box(110, 15, 130, 150)
    np.testing.assert_array_equal(normalised(alone, behind[None]), normalised(alone))


def test_a_torso_or_a_sliver_is_nobody(alone: Bytes) -> None:
    torso = alone.copy()
    torso[90:] = 0
    assert cut(Matte(0, 0, torso), TRACKED, NOBODY, 0.5) is None
    sliver = np.zeros_like(alone)
    sliver[20:180, 118:122] = 255
    assert cut(Matte(0, 0, sliver), TRACKED, NOBODY, 0.5) is None
    assert cut(Matte(0, 0, np.zeros_like(alone)), TRACKED, NOBODY, 0.5) is None


def test_a_box_outside_the_matte_is_nobody(alone: Bytes) -> None:
    assert cut(Matte(0, 0, alone), box(900, 20, 960, 180), NOBODY, 0.5) is None


def test_large_bodies_are_reduced_and_look_the_same(alone: Bytes) -> None:
    large = cv2.resize(alone, None, fx=6, fy=6, interpolation=cv2.INTER_NEAREST)
    mask = cut(Matte(0, 0, np.asarray(large, np.uint8)), TRACKED * 6, NOBODY, 0.5)
    assert mask is not None
    assert mask.shape[0] == 256
    silhouette = normalise(mask)
    assert silhouette is not None
    differs = (silhouette > 127) != (normalised(alone) > 127)
    assert differs.mean() < 0.02


def test_the_threshold_is_a_probability() -> None:
    alpha = np.full((160, 60), 128, np.uint8)
    person = box(0, 0, 60, 160)
    assert cut(Matte(0, 0, alpha), person, NOBODY, 0.5) is not None
    assert cut(Matte(0, 0, alpha), person, NOBODY, 0.51) is None


def test_normalise_fills_the_height_and_centres_the_mass(alone: Bytes) -> None:
    silhouette = normalise(np.roll(alone, 60, axis=1))
    assert silhouette is not None
    assert silhouette.shape == (64, 64)
    assert silhouette[0].any()
    assert silhouette[-1].any()
    columns = silhouette.sum(axis=0).cumsum()
    assert abs(int(np.searchsorted(columns, columns[-1] / 2)) - 32) <= 1
    assert normalise(np.zeros((10, 10), np.uint8)) is None


def test_parts_lie_where_the_silhouette_shows_them() -> None:
    mask = np.zeros((200, 120), np.uint8)
    mask[20:180, 30:90] = 255
    mask[100:180, 55:65] = 0  # between the legs
    labels = np.full(mask.shape, 9, np.uint8)  # also beside the body
    labels[:60], labels[60:100] = 1, 2
    labels[100:, :60], labels[100:, 60:] = 8, 7
    silhouette, parts = normalise(mask), normalise_parts(labels, mask)
    assert silhouette is not None
    assert parts is not None
    np.testing.assert_array_equal(parts > 0, silhouette > 127)
    assert set(np.unique(parts[:15])) == {0, 1}
    assert set(np.unique(parts[17:31])) == {0, 2}
    assert set(np.unique(parts[33:, :32])) == {0, 8}
    assert set(np.unique(parts[33:, 32:])) == {0, 7}
    assert normalise_parts(labels, np.zeros_like(mask)) is None


@pytest.mark.parametrize("margin", [0, 12, -6])
@pytest.mark.parametrize("scale", [1, 4])
def test_parts_are_found_whatever_the_margins_of_matte_and_map(margin: int, scale: int) -> None:
    """The parser may cut its crops with another margin than the segmenter."""
    left, top, wide, high = 40 * scale, 20 * scale, 60 * scale, 140 * scale
    alpha = np.zeros((high + 20, wide + 20), np.uint8)
    alpha[10:-10, 10:-10] = 255
    matte = Matte(left - 10, top - 10, alpha)
    labels = np.zeros((high + 2 * margin, wide + 2 * margin), np.uint8)
    rows = np.arange(len(labels)) - margin
    labels[:] = np.where(rows < high // 2, 2, 7)[:, None].astype(np.uint8)
    found = PartMap(left - margin, top - margin, labels)
    box = np.array([left, top, left + wide, top + high], np.float32)
    mask = cut(matte, box, np.zeros((0, 4), np.float32), 0.5)
    assert mask is not None
    parts = parts_of(found, matte, box, (mask.shape[0], mask.shape[1]))
    assert parts.shape == mask.shape
    rows_of_body = np.flatnonzero(mask.any(axis=1))
    upper, lower = np.array_split(rows_of_body, 2)
    middle = mask.shape[1] // 2
    assert (parts[upper[4 + abs(margin) : -2], middle] == 2).all()
    assert (parts[lower[2 : -4 - abs(margin)], middle] == 7).all()
