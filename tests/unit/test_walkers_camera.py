import numpy as np
import pytest

from app.lab.walkers.camera import CASIA_VIEWS, Camera, CameraMotion


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


def test_ground_is_the_inverse_of_project() -> None:
    camera = Camera.look_at((-6.0, 1.0, 3.0), (0.0, 0.0, 0.0), 640, 360).turned(0.1, 0.05, 0.2)
    x, y, _ = camera.project(np.array([0.7, -0.4, 0.0]))
    assert camera.ground(float(x), float(y)) == pytest.approx((0.7, -0.4), abs=1e-3)
    with pytest.raises(ValueError, match="does not show the floor"):
        Camera.look_at((0.0, 0.0, 1.0), (1.0, 0.0, 1.5), 640, 360).ground(320, 10)


def test_the_rotation_is_orthonormal() -> None:
    rotation = Camera((1.0, 2.0, 3.0), 0.7, 0.3, 500.0, 64, 48, roll=0.4).rotation
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-6)
    assert np.linalg.det(rotation) == pytest.approx(1.0, abs=1e-5)


def test_casia_views_go_from_front_to_back() -> None:
    front, side, back = (Camera.casia(view, (0.0, 0.0), 0.0, 320, 240) for view in (0, 90, 180))
    assert front.position[0] > 5
    assert back.position[0] < -5
    assert side.position[1] > 5
    assert CASIA_VIEWS == (0, 18, 36, 54, 72, 90, 108, 126, 144, 162, 180)


def test_a_still_camera_stays_and_a_pan_is_as_wide_as_asked() -> None:
    rng = np.random.default_rng(0)
    assert not CameraMotion().angles(10, 25.0, rng).any()
    yaw = CameraMotion(pan=20.0).angles(50, 25.0, rng)[:, 0]
    assert np.degrees(yaw[-1] - yaw[0]) == pytest.approx(20.0)
