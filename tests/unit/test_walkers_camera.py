import numpy as np
import pytest

from app.lab.walkers.camera import Camera, shaken


def test_the_target_is_seen_in_the_middle() -> None:
    camera = Camera.look_at((-8.0, 3.0, 4.0), (1.0, -0.5, 0.9), 640, 360)
    x, y, depth = camera.project(np.array([1.0, -0.5, 0.9]))
    assert (x, y) == pytest.approx((320, 180), abs=1e-3)
    assert depth == pytest.approx(np.linalg.norm([9.0, 3.5, 3.1]), rel=1e-5)


def test_left_is_left_and_up_is_up() -> None:
    camera = Camera.look_at((0.0, 0.0, 1.0), (5.0, 0.0, 1.0), 200, 100)
    left, high = camera.project(np.array([[5.0, 1.0, 1.0], [5.0, 0.0, 2.0]]))
    assert left[0] < 100
    assert left[1] == pytest.approx(50, abs=1e-3)
    assert high[1] < 50
    assert high[0] == pytest.approx(100, abs=1e-3)


def test_the_rotation_is_orthonormal() -> None:
    rotation = Camera((1.0, 2.0, 3.0), 0.7, 0.3, 500.0, 64, 48, roll=0.4).rotation
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-6)
    assert np.linalg.det(rotation) == pytest.approx(1.0, abs=1e-5)


def test_a_hand_shakes_about_as_much_as_asked() -> None:
    angles = np.degrees(shaken(0.3, 500, 25.0, np.random.default_rng(0)))
    assert angles.shape == (500, 3)
    assert 0.1 < angles[:, 0].std() < 0.5
    assert np.abs(np.diff(angles, axis=0)).max() < 0.2, "a hand does not jump"
