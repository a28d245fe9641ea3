"""The box filter gives the same as the textbook's filter with full 8x8 matrices."""

from __future__ import annotations

import numpy as np

from app.track.kalman import BoxFilter, Doubles
from app.types import Floats

MOTION = np.eye(8) + np.eye(8, k=4)
LOOK = np.eye(4, 8)


def noise(height: float, place: float, speed: float, aspect: float, aspect_speed: float) -> Doubles:
    places, speeds = np.full(4, place * height), np.full(4, speed * height)
    places[2], speeds[2] = aspect, aspect_speed
    return np.diag(np.concatenate([places, speeds]) ** 2)


def textbook(boxes: Floats) -> Doubles:
    """Return cx, cy, w/h, h after each of `boxes` (T, 4), seen one after the other."""
    seen = np.array([[(a + c) / 2, (b + d) / 2, (c - a) / (d - b), d - b] for a, b, c, d in boxes.astype(float)])
    state = np.concatenate([seen[0], np.zeros(4)])
    covariance = noise(state[3], 2 / 20, 10 / 160, 1e-2, 1e-5)
    found = [state[:4]]
    for measured in seen[1:]:
        covariance = MOTION @ covariance @ MOTION.T + noise(state[3], 1 / 20, 1 / 160, 1e-2, 1e-5)
        state = MOTION @ state
        certainty = LOOK @ covariance @ LOOK.T + noise(state[3], 1 / 20, 0, 1e-1, 0)[:4, :4]
        gain = covariance @ LOOK.T @ np.linalg.inv(certainty)
        state = state + gain @ (measured - LOOK @ state)
        covariance = covariance - gain @ certainty @ gain.T
        found.append(state[:4])
    return np.array(found)


def walkers(count: int, frames: int) -> Floats:
    rng = np.random.default_rng(3)
    corner = rng.uniform(0, 300, (count, 1, 2)) + rng.uniform(-8, 8, (count, 1, 2)) * np.arange(frames)[None, :, None]
    size = rng.uniform(30, 90, (count, 1, 2)) + rng.normal(0, 2, (count, frames, 2))
    return np.concatenate([corner, corner + size], axis=2).astype(np.float32)


def test_all_tracks_at_once_equal_the_textbook() -> None:
    boxes = walkers(count=6, frames=25)
    expected = np.stack([textbook(track) for track in boxes])
    tracks = BoxFilter.of(boxes[:, 0])
    for frame in range(1, 25):
        tracks.predict(np.zeros(6, bool))
        rows = np.random.default_rng(frame).permutation(6)
        tracks.correct(rows, boxes[rows, frame])
        np.testing.assert_allclose(tracks.position, expected[:, frame], rtol=1e-9)


def test_boxes_come_back_as_they_went_in() -> None:
    boxes = walkers(count=5, frames=1)[:, 0]
    np.testing.assert_allclose(BoxFilter.of(boxes).boxes(), boxes, atol=1e-4)


def test_hidden_tracks_do_not_grow() -> None:
    boxes = np.array([[[0, 0, 40 + 2 * t, 100 + 5 * t]] * 2 for t in range(10)], np.float32)
    tracks = BoxFilter.of(boxes[0])
    for seen in boxes[1:]:
        tracks.predict(np.zeros(2, bool))
        tracks.correct(np.arange(2), seen)
    before = tracks.position[:, 3].copy()
    tracks.predict(np.array([True, False]))
    assert tracks.position[0, 3] == before[0]
    assert tracks.position[1, 3] > before[1] + 2


def test_joined_keeps_in_order_and_adds_at_the_end() -> None:
    boxes = walkers(count=5, frames=1)[:, 0]
    kept = BoxFilter.of(boxes[:3]).joined(BoxFilter.of(boxes[3:]), np.array([True, False, True]))
    np.testing.assert_allclose(kept.boxes(), boxes[[0, 2, 3, 4]], atol=1e-4)
