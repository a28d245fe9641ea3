"""What every segmenter must do, whichever it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from app.settings import SegmenterSettings
from app.stages import Segmenter
from app.types import Floats, Frame, Matte, VideoInfo
from app.weights.registry import segmenters
from tests.contract import samples
from tests.contract.samples import BOXES, NONE

SETTINGS = SegmenterSettings(threads=2)
Maker = Callable[[], Segmenter]
Clip = tuple[VideoInfo, list[Frame]]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return samples.clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module", params=samples.names_of(segmenters))
def make(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Maker:
    name: str = request.param
    file = samples.checkpoint_for(segmenters, name, tmp_path_factory.mktemp("segmenter"))
    return lambda: segmenters.get(name).build(file, SETTINGS)


@pytest.fixture(scope="module")
def segmenter(make: Maker) -> Segmenter:
    return make()


def run(segmenter: Segmenter, clip: Clip, groups: list[list[int]], boxes: dict[int, Floats]) -> list[list[Matte]]:
    info, frames = clip
    segmenter.start(info)
    return [
        mattes
        for group in groups
        for mattes in segmenter.segment([frames[i] for i in group], [boxes.get(i, BOXES) for i in group])
    ]


def need_same(one: list[list[Matte]], other: list[list[Matte]], most: int = 1) -> None:
    for mattes, others in zip(one, other, strict=True):
        for matte, twin in zip(mattes, others, strict=True):
            assert (matte.left, matte.top, matte.alpha.shape) == (twin.left, twin.top, twin.alpha.shape)
            assert np.abs(matte.alpha.astype(int) - twin.alpha).max() <= most


class TestSegmenter:
    def test_follows_the_protocol(self, segmenter: Segmenter) -> None:
        assert isinstance(segmenter, Segmenter)
        assert 0 < segmenter.threshold < 1
        samples.need_whole_card(segmenter.card, "segmenter")

    def test_one_matte_per_box_around_it_and_inside_the_frame(self, segmenter: Segmenter, clip: Clip) -> None:
        (mattes,) = run(segmenter, clip, [[12]], {})
        assert len(mattes) == len(BOXES)
        for matte, box in zip(mattes, BOXES, strict=True):
            rows, columns = matte.alpha.shape
            assert rows > 0
            assert columns > 0
            assert matte.left >= 0
            assert matte.top >= 0
            assert matte.left + columns <= 131
            assert matte.top + rows <= 97
            x1, y1, x2, y2 = np.clip(box, 0, [131, 97, 131, 97]).tolist()
            assert matte.left <= x1
            assert matte.top <= y1
            assert matte.left + columns >= x2
            assert matte.top + rows >= y2

    def test_a_batch_is_its_crops_one_by_one_and_in_order(self, segmenter: Segmenter, clip: Clip) -> None:
        boxes = {0: BOXES[:1], 3: NONE, 4: BOXES[::-1], 9: BOXES[2:4]}
        together = run(segmenter, clip, [[0, 3, 4, 9]], boxes)
        assert [len(mattes) for mattes in together] == [1, 0, 7, 2]
        need_same(together, run(segmenter, clip, [[0], [3], [4], [9]], boxes))
        (alone,) = run(segmenter, clip, [[4]], {4: BOXES[3:4]})
        need_same([together[2][3:4]], [alone])

    def test_nobody_gives_nothing(self, segmenter: Segmenter, clip: Clip) -> None:
        segmenter.start(clip[0])
        assert segmenter.segment([], []) == []
        assert segmenter.segment(clip[1][:2], [NONE, NONE]) == [[], []]

    def test_answers_depend_on_the_picture(self, segmenter: Segmenter, clip: Clip) -> None:
        first, second = run(segmenter, clip, [[5, 30]], {5: BOXES[5:6], 30: BOXES[5:6]})
        assert (first[0].alpha != second[0].alpha).any()

    def test_pictures_and_boxes_are_left_as_they_are(self, segmenter: Segmenter, clip: Clip) -> None:
        image, boxes = clip[1][7].image.copy(), BOXES.copy()
        run(segmenter, clip, [[7]], {})
        np.testing.assert_array_equal(clip[1][7].image, image)
        np.testing.assert_array_equal(boxes, BOXES)

    def test_start_forgets_the_video_before(
        self, make: Maker, clip: Clip, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        other = samples.clip(tmp_path_factory.mktemp("other"), seed=5)
        used, unused = make(), make()
        run(used, other, [[0, 1, 2]], {})
        need_same(run(used, clip, [[0, 1]], {}), run(unused, clip, [[0, 1]], {}), most=0)

    def test_foreign_and_unsafe_files_are_refused(
        self, request: pytest.FixtureRequest, make: Maker, tmp_path: Path
    ) -> None:
        name = request.node.callspec.params["make"]
        if segmenters.get(name).accepts is None:
            pytest.skip("reads no files")
        samples.need_refusals(segmenters, name, SETTINGS, tmp_path)
