"""Virtual walkers in the layout of SMPL's parameters, and silhouettes of 128 rows."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("numba")

from app.body.skeleton import JOINT, Poses, Skeleton, forward_kinematics
from app.errors import SettingsError
from app.lab.walkers.body import BodyModel, BodyTraits
from app.lab.walkers.camera import Camera
from app.lab.walkers.dataset import Plan, subject_walks, write_dataset
from app.lab.walkers.smpl import NOTE, parameters
from app.types import SMPL, Floats
from tests.walking import SMPL_PLACES, average_skeleton, rest_poses, smpl_places

CAMERA = Camera.look_at((3.0, -4.0, 1.8), (0.0, 0.0, 0.9), 320, 240)
TRAITS = BodyTraits.sample(np.random.default_rng(0))
ROWS = 256


def windows(frames: int) -> Floats:
    return np.tile(np.array([700.0, -0.4, -0.2], np.float32), (frames, 1))


def walk(skeleton: Skeleton, frames: int = 5) -> Poses:
    """A walk in which every joint turns at random, beside the axis of the camera."""
    rng = np.random.default_rng(1)
    poses = rest_poses(skeleton, frames)
    for rotation in poses.rotations.reshape(-1, 3, 3):
        rotation[:] = cv2.Rodrigues(rng.normal(0, 0.5, 3))[0]
    poses.root[:] += rng.normal(0, 0.3, (frames, 3))
    return poses


def test_smpls_own_kinematics_give_the_walkers_joints() -> None:
    skeleton = average_skeleton()
    poses = walk(skeleton)
    found = parameters(poses, skeleton, TRAITS, CAMERA, windows(len(poses)), ROWS)
    assert found.shape == (len(poses), SMPL)
    assert found.dtype == np.float32
    joints, _ = forward_kinematics(skeleton, poses)
    for frame, pose in enumerate(found[:, 3:75].reshape(-1, 24, 3)):
        places = smpl_places(pose, skeleton)
        expected = (joints[frame] - joints[frame, 0])[[JOINT[name] for name in SMPL_PLACES]] @ CAMERA.rotation.T
        lengths = np.linalg.norm(places[:, None] - places, axis=2)
        np.testing.assert_allclose(lengths, np.linalg.norm(expected[:, None] - expected, axis=2), atol=1e-4)
        # The same body, turned by the small angle between the camera's axis and the line of sight.
        sight = (poses.root[frame] - np.array(CAMERA.position)) @ CAMERA.rotation.T
        angle = np.arccos(sight[2] / np.linalg.norm(sight))
        between, _ = cv2.Rodrigues(np.cross(sight, [0, 0, 1]) / np.hypot(*sight[:2]) * angle)
        np.testing.assert_allclose(places, expected @ between.T, atol=1e-4)


def test_the_first_joint_faces_as_estimators_say() -> None:
    skeleton = average_skeleton()
    poses = rest_poses(skeleton)
    target = (0.0, 0.0, float(poses.root[0, 2]))
    for place, axis in (((5.0, 0.0), (1, 0, 0)), ((-5.0, 0.0), (0, 0, 1))):  # from the front, and from behind
        camera = Camera.look_at((*place, target[2]), target, 320, 240)
        found = parameters(poses, skeleton, TRAITS, camera, windows(1), ROWS)[0]
        np.testing.assert_allclose(np.abs(found[3:6]), np.pi * np.array(axis), atol=1e-3)
    arm = found[3 + 3 * 16 : 6 + 3 * 16]
    np.testing.assert_allclose(np.degrees(arm), [0, 0, -50], atol=1, err_msg="arms hang 40 degrees from the body")


def test_the_camera_puts_the_pelvis_where_it_is_seen() -> None:
    skeleton = average_skeleton()
    poses = walk(skeleton)
    scale, x, y = parameters(poses, skeleton, TRAITS, CAMERA, windows(len(poses)), ROWS)[:, :3].T
    local = (poses.root - np.array(CAMERA.position, np.float32)) @ CAMERA.rotation.T
    px = (local[:, :2] / local[:, 2:] - [-0.4, -0.2]) * 700
    np.testing.assert_allclose(scale * x, px[:, 0] / (ROWS / 2) - 2, atol=1e-4)
    np.testing.assert_allclose(scale * y, px[:, 1] / (ROWS / 2) - 1, atol=1e-4)
    np.testing.assert_allclose(scale, 700 / local[:, 2] / (ROWS / 2), rtol=1e-5)


def test_shapes_are_about_0_and_1_over_people() -> None:
    skeleton, poses = average_skeleton(), rest_poses(average_skeleton())
    rng = np.random.default_rng(0)
    shapes = np.stack(
        [parameters(poses, skeleton, BodyTraits.sample(rng), CAMERA, windows(1), ROWS)[0, 75:] for _ in range(300)]
    )
    assert np.abs(shapes.mean(0)).max() < 0.25
    assert 0.75 < shapes.std(0).min() < shapes.std(0).max() < 1.25


class TestDataSet:
    PLAN = Plan(subjects=1, seed=9, conditions=(("nm", 1),), views=(0, 90), frames=3, modalities=("silhouette", "pose"))

    @pytest.fixture(scope="class")
    def cache(self, request: pytest.FixtureRequest) -> Path:
        pytest.importorskip("anny")
        return Path(request.config.cache.mkdir("walkers"))

    @pytest.mark.filterwarnings("ignore")  # Anny's and torch's own
    def test_other_modalities_and_sizes_do_not_change_the_walks(self, cache: Path) -> None:
        model = BodyModel.load(cache)
        plain = list(subject_walks(self.PLAN, 0, model))
        more = list(subject_walks(replace(self.PLAN, modalities=("silhouette", "pose", "smpl")), 0, model))
        large = list(subject_walks(replace(self.PLAN, rows=128), 0, model))
        for (*_, old), (*_, new), (*_, high) in zip(plain, more, large, strict=True):
            np.testing.assert_array_equal(new["silhouette"], old["silhouette"])
            np.testing.assert_array_equal(new["pose"], old["pose"])
            assert new["smpl"].shape == (3, SMPL)
            assert high["silhouette"].shape == (3, 128, 128)
            assert high["silhouette"].any(axis=2).all()
            np.testing.assert_allclose(high["pose"], old["pose"], atol=0.02)
            reduced = high["silhouette"].reshape(3, 64, 2, 64, 2).mean((2, 4))
            assert np.abs(reduced - old["silhouette"]).mean() < 8

    @pytest.mark.filterwarnings("ignore")
    def test_the_manifest_notes_smpl_and_older_manifests_are_understood(self, cache: Path, tmp_path: Path) -> None:
        plan = replace(self.PLAN, views=(0,), frames=1)
        write_dataset(tmp_path / "old", plan, cache=cache)
        card = tmp_path / "old" / "dataset.json"
        content = json.loads(card.read_text())
        assert content.pop("rows") == 64
        assert "note" not in content
        card.write_text(json.dumps(content))
        write_dataset(tmp_path / "old", plan, cache=cache)
        write_dataset(tmp_path / "new", replace(plan, modalities=("smpl",)), cache=cache)
        assert json.loads((tmp_path / "new" / "dataset.json").read_text())["note"] == NOTE
        with pytest.raises(SettingsError, match="64 or 128 rows high, not 96"):
            replace(plan, rows=96)
