"""What every pose estimator must do, whichever it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from app.settings import PoseSettings
from app.stages import PoseEstimator
from app.types import Floats, Frame, VideoInfo
from app.weights.registry import pose_models
from tests.contract import samples
from tests.contract.samples import BOXES, NONE

SETTINGS = PoseSettings(threads=2)
Maker = Callable[[], PoseEstimator]
Clip = tuple[VideoInfo, list[Frame]]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return samples.clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module", params=samples.names_of(pose_models))
def make(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Maker:
    name: str = request.param
    file = samples.checkpoint_for(pose_models, name, tmp_path_factory.mktemp("pose"))
    return lambda: pose_models.get(name).build(file, SETTINGS)


@pytest.fixture(scope="module")
def estimator(make: Maker) -> PoseEstimator:
    return make()


def run(estimator: PoseEstimator, clip: Clip, groups: list[list[int]], boxes: dict[int, Floats]) -> list[Floats]:
    info, frames = clip
    estimator.start(info)
    return [
        poses
        for group in groups
        for poses in estimator.estimate([frames[i] for i in group], [boxes.get(i, BOXES) for i in group])
    ]


class TestPoseEstimator:
    def test_follows_the_protocol(self, estimator: PoseEstimator) -> None:
        assert isinstance(estimator, PoseEstimator)
        samples.need_whole_card(estimator.card, "pose")

    def test_seventeen_joints_per_box_in_pixels_of_the_frame(self, estimator: PoseEstimator, clip: Clip) -> None:
        (poses,) = run(estimator, clip, [[12]], {})
        assert poses.dtype == np.float32
        assert poses.shape == (len(BOXES), 17, 3)
        assert np.isfinite(poses).all()
        assert (poses[..., 2] >= 0).all()
        assert (poses[..., 2] <= 1).all()

    def test_joints_move_with_the_box(self, estimator: PoseEstimator, clip: Clip) -> None:
        frame = clip[1][12]
        grey = Frame(0, 0.0, np.full_like(frame.image, 128))
        box = np.array([[40, 20, 60, 70]], np.float32)  # away from the edges, where windows are cut
        here, moved = estimator.estimate([grey, grey], [box, box + np.array([30, 5, 30, 5], np.float32)])
        np.testing.assert_allclose(moved[..., :2] - here[..., :2], np.broadcast_to((30, 5), (1, 17, 2)), atol=1e-3)

    def test_a_batch_is_its_crops_one_by_one_and_in_order(self, estimator: PoseEstimator, clip: Clip) -> None:
        boxes = {0: BOXES[:1], 3: NONE, 4: BOXES[::-1], 9: BOXES[2:4]}
        together = run(estimator, clip, [[0, 3, 4, 9]], boxes)
        assert [len(poses) for poses in together] == [1, 0, 7, 2]
        for one, other in zip(together, run(estimator, clip, [[0], [3], [4], [9]], boxes), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-3)
        (alone,) = run(estimator, clip, [[4]], {4: BOXES[3:4]})
        np.testing.assert_allclose(together[2][3:4], alone, atol=1e-3)

    def test_nobody_gives_nothing(self, estimator: PoseEstimator, clip: Clip) -> None:
        estimator.start(clip[0])
        assert estimator.estimate([], []) == []
        assert [poses.shape for poses in estimator.estimate(clip[1][:2], [NONE, NONE])] == [(0, 17, 3)] * 2

    def test_answers_depend_on_the_picture(self, estimator: PoseEstimator, clip: Clip) -> None:
        first, second = run(estimator, clip, [[5, 30]], {5: BOXES[5:6], 30: BOXES[5:6]})
        assert (first != second).any()

    def test_pictures_and_boxes_are_left_as_they_are(self, estimator: PoseEstimator, clip: Clip) -> None:
        image, boxes = clip[1][7].image.copy(), BOXES.copy()
        run(estimator, clip, [[7]], {})
        np.testing.assert_array_equal(clip[1][7].image, image)
        np.testing.assert_array_equal(boxes, BOXES)

    def test_start_forgets_the_video_before(
        self, make: Maker, clip: Clip, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        other = samples.clip(tmp_path_factory.mktemp("other"), seed=5)
        used, unused = make(), make()
        run(used, other, [[0, 1, 2]], {})
        for one, twin in zip(run(used, clip, [[0, 1]], {}), run(unused, clip, [[0, 1]], {}), strict=True):
            np.testing.assert_array_equal(one, twin)

    def test_foreign_and_unsafe_files_are_refused(
        self, request: pytest.FixtureRequest, make: Maker, tmp_path: Path
    ) -> None:
        name = request.node.callspec.params["make"]
        if pose_models.get(name).accepts is None:
            pytest.skip("reads no files")
        samples.need_refusals(pose_models, name, SETTINGS, tmp_path)
