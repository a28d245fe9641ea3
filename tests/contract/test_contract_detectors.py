"""What every detector must do, whichever it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from app.settings import DetectorSettings
from app.stages import Detector
from app.types import Detections, Floats, Frame, VideoInfo
from app.weights.registry import detectors
from tests.contract import samples

SETTINGS = DetectorSettings(input_size=(96, 96), score=0.3, threads=2)
Maker = Callable[..., Detector]
Clip = tuple[VideoInfo, list[Frame]]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return samples.clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module", params=samples.names_of(detectors))
def make(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Maker:
    name: str = request.param
    file = samples.checkpoint_for(detectors, name, tmp_path_factory.mktemp("detector"))
    return lambda settings=SETTINGS: detectors.get(name).build(file, settings)


@pytest.fixture(scope="module")
def detector(make: Maker) -> Detector:
    return make()


def run(detector: Detector, clip: Clip, batch: int, count: int = 12) -> list[Detections]:
    info, frames = clip[0], clip[1][:count]
    detector.start(info)
    return [found for first in range(0, count, batch) for found in detector.detect(frames[first : first + batch])]


class TestDetector:
    def test_follows_the_protocol(self, detector: Detector) -> None:
        assert isinstance(detector, Detector)
        samples.need_whole_card(detector.card, "detector")

    def test_boxes_are_sorted_and_inside_the_frame(self, detector: Detector, clip: Clip) -> None:
        found = run(detector, clip, 8)
        assert len(found) == 12
        assert sum(len(one.scores) for one in found) >= 10, "the sample finds too little to test with"
        for one in found:
            assert one.boxes.dtype == one.scores.dtype == np.float32
            assert (one.boxes >= 0).all()
            assert (one.boxes <= [131, 97, 131, 97]).all()
            assert (one.boxes[:, 2:] > one.boxes[:, :2]).all()
            assert (np.diff(one.scores) <= 0).all()
            assert ((one.scores >= SETTINGS.score) & (one.scores <= 1)).all()

    def test_a_batch_is_its_frames_one_by_one_and_in_order(self, detector: Detector, clip: Clip) -> None:
        together = run(detector, clip, 7)
        for batch in (1, 12):
            for one, other in zip(together, run(detector, clip, batch), strict=True):
                np.testing.assert_allclose(one.scores, other.scores, atol=1e-4)
                need_same_boxes(one.boxes, other.boxes)

    def test_nothing_in_nothing_out(self, detector: Detector, clip: Clip) -> None:
        detector.start(clip[0])
        assert detector.detect([]) == []

    def test_pictures_are_left_as_they_are(self, detector: Detector, clip: Clip) -> None:
        info, frames = clip
        before = [frame.image.copy() for frame in frames[:8]]
        for frame in frames[:8]:
            frame.image.setflags(write=False)
        detector.start(info)
        detector.detect(frames[:8])
        for frame, image in zip(frames, before, strict=False):
            np.testing.assert_array_equal(frame.image, image)

    def test_start_forgets_the_video_before(
        self, make: Maker, clip: Clip, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        other = samples.clip(tmp_path_factory.mktemp("other"), seed=5)
        used, unused = make(), make()
        run(used, other, 8, count=8)
        for one, two in zip(run(used, clip, 8, count=8), run(unused, clip, 8, count=8), strict=True):
            np.testing.assert_array_equal(one.boxes, two.boxes)
            np.testing.assert_array_equal(one.scores, two.scores)

    def test_a_strict_score_leaves_nobody(self, make: Maker, clip: Clip) -> None:
        for found in run(make(DetectorSettings(score=0.9999, input_size=(96, 96))), clip, 8, count=8):
            assert found.boxes.shape == (0, 4)
            assert found.scores.shape == (0,)

    def test_foreign_and_unsafe_files_are_refused(
        self, request: pytest.FixtureRequest, make: Maker, tmp_path: Path
    ) -> None:
        name = request.node.callspec.params["make"]
        if detectors.get(name).accepts is None:
            pytest.skip("reads no files")
        samples.need_refusals(detectors, name, SETTINGS, tmp_path)


def need_same_boxes(one: Floats, other: Floats) -> None:
    """Boxes of nearly the same score may change places."""
    assert one.shape == other.shape
    if len(one):
        apart = np.abs(one[:, None] - other).max(axis=2)
        assert apart.min(axis=1).max() < 0.01
