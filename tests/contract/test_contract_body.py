"""What every body estimator must do, whichever it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app.body.kinematics import poses_of
from app.body.mannequin import COCO, Mannequin, posed
from app.settings import BodySettings
from app.stages import BodyEstimator
from app.types import GaitSequence
from app.weights.registry import body_models
from tests.contract import samples
from tests.walking import seen_walk

SETTINGS = BodySettings(steps=3)


@pytest.fixture(scope="module", params=samples.names_of(body_models))
def estimator(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> BodyEstimator:
    name: str = request.param
    file = samples.checkpoint_for(body_models, name, tmp_path_factory.mktemp("body"))
    return body_models.get(name).build(file, SETTINGS)


@pytest.fixture(scope="module")
def walk() -> GaitSequence:
    return seen_walk(frames=24)[0]


class TestBodyEstimator:
    def test_follows_the_protocol(self, estimator: BodyEstimator) -> None:
        assert isinstance(estimator, BodyEstimator)
        samples.need_whole_card(estimator.card, "body")

    def test_a_body_for_each_walk_in_its_frames(self, estimator: BodyEstimator, walk: GaitSequence) -> None:
        few = walk.part(np.array([0, 1, 2, 7, 8, 20]))
        one = walk.part(slice(3, 4))
        motions = estimator.fit([walk, few, one])
        for given, motion in zip([walk, few, one], motions, strict=True):
            np.testing.assert_array_equal(motion.frame_indices, given.frame_indices)
            assert motion.fps == given.fps
            assert ((motion.confidence >= 0) & (motion.confidence <= 1)).all()
            assert motion.root[0, 0] == pytest.approx(0, abs=0.2)
        assert estimator.fit([]) == []

    def test_bones_are_constant_and_joints_are_those_of_the_poses(
        self, estimator: BodyEstimator, walk: GaitSequence
    ) -> None:
        (motion,) = estimator.fit([walk])
        rest = Mannequin.load().rest(motion.shape)
        np.testing.assert_allclose(posed(rest, poses_of(motion))[:, COCO], motion.joints, atol=1e-4)

    def test_the_camera_sees_the_body_about_where_the_keypoints_are(
        self, estimator: BodyEstimator, walk: GaitSequence
    ) -> None:
        (motion,) = estimator.fit([walk])
        local = (motion.joints - motion.root[:, None]) @ motion.view.transpose(0, 2, 1)
        seen = motion.camera[:, None, 1:] + motion.camera[:, :1, None] * local[..., :2]
        assert walk.keypoints is not None
        middle = np.abs(seen.mean(axis=1) - walk.keypoints[..., :2].mean(axis=1))
        assert middle.max() < 0.2 * np.ptp(walk.keypoints[..., 1])
        np.testing.assert_allclose(
            motion.view @ motion.view.transpose(0, 2, 1), np.tile(np.eye(3), (24, 1, 1)), atol=1e-5
        )

    def test_the_place_and_size_in_the_picture_do_not_change_the_body(
        self, estimator: BodyEstimator, walk: GaitSequence
    ) -> None:
        assert walk.keypoints is not None
        larger = walk.keypoints * np.array([2, 2, 1], np.float32) + np.array([300, -50, 0], np.float32)
        moved = GaitSequence(walk.frame_indices, walk.silhouettes, walk.fps, larger)
        (one,), (other,) = estimator.fit([walk]), estimator.fit([moved])
        np.testing.assert_allclose(other.joints, one.joints, atol=5e-3)
        np.testing.assert_allclose(other.camera[:, 0], 2 * one.camera[:, 0], rtol=1e-2)

    def test_keypoints_that_nobody_saw_do_no_harm(self, estimator: BodyEstimator, walk: GaitSequence) -> None:
        assert walk.keypoints is not None
        nothing = GaitSequence(walk.frame_indices, walk.silhouettes, walk.fps, np.zeros_like(walk.keypoints))
        (motion,) = estimator.fit([nothing])
        assert motion.confidence.max() == 0

    def test_a_walk_without_keypoints_is_refused(self, estimator: BodyEstimator, walk: GaitSequence) -> None:
        bare = GaitSequence(walk.frame_indices, walk.silhouettes, walk.fps)
        with pytest.raises(ValueError, match="has keypoints"):
            estimator.fit([bare])

    def test_walks_are_left_as_they_are_and_answers_repeat(self, estimator: BodyEstimator, walk: GaitSequence) -> None:
        assert walk.keypoints is not None
        before = walk.keypoints.copy()
        (one,), (other,) = estimator.fit([walk]), estimator.fit([walk])
        np.testing.assert_array_equal(walk.keypoints, before)
        np.testing.assert_array_equal(one.joints, other.joints)


@pytest.mark.parametrize("name", samples.names_of(body_models))
def test_foreign_files_are_refused(name: str, tmp_path: Path) -> None:
    samples.need_refusals(body_models, name, SETTINGS, tmp_path)
