"""What every parser of body parts must do, whichever it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from app.settings import ParserSettings
from app.stages import Parser
from app.types import BODY_PARTS, Floats, Frame, PartMap, VideoInfo
from app.weights.registry import parsers
from tests.contract import samples
from tests.contract.samples import BOXES, NONE

SETTINGS = ParserSettings(threads=2)
Maker = Callable[[], Parser]
Clip = tuple[VideoInfo, list[Frame]]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return samples.clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module", params=samples.names_of(parsers))
def make(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Maker:
    name: str = request.param
    file = samples.checkpoint_for(parsers, name, tmp_path_factory.mktemp("parser"))
    return lambda: parsers.get(name).build(file, SETTINGS)


@pytest.fixture(scope="module")
def parser(make: Maker) -> Parser:
    return make()


def run(parser: Parser, clip: Clip, groups: list[list[int]], boxes: dict[int, Floats]) -> list[list[PartMap]]:
    info, frames = clip
    parser.start(info)
    return [
        maps
        for group in groups
        for maps in parser.parse([frames[i] for i in group], [boxes.get(i, BOXES) for i in group])
    ]


def same(one: list[PartMap], other: list[PartMap]) -> bool:
    pairs = zip(one, other, strict=True)
    return all(a.left == b.left and a.top == b.top and np.array_equal(a.labels, b.labels) for a, b in pairs)


class TestParser:
    def test_follows_the_protocol(self, parser: Parser) -> None:
        assert isinstance(parser, Parser)
        samples.need_whole_card(parser.card, "parser")

    def test_labels_of_every_box_inside_of_the_frame(self, parser: Parser, clip: Clip) -> None:
        (maps,) = run(parser, clip, [[12]], {})
        assert len(maps) == len(BOXES)
        width, height = clip[0].width, clip[0].height
        for found, box in zip(maps, BOXES, strict=True):
            rows, columns = found.labels.shape
            assert found.labels.max() <= len(BODY_PARTS)
            assert found.left >= 0
            assert found.top >= 0
            assert found.left + columns <= width
            assert found.top + rows <= height
            x1, y1, x2, y2 = np.clip(box, 0, (width, height, width, height))
            assert found.left <= x1
            assert found.top <= y1
            assert found.left + columns >= x2
            assert found.top + rows >= y2

    def test_a_batch_is_its_crops_one_by_one_and_in_order(self, parser: Parser, clip: Clip) -> None:
        boxes = {0: BOXES[:1], 3: NONE, 4: BOXES[::-1], 9: BOXES[2:4]}
        together = run(parser, clip, [[0, 3, 4, 9]], boxes)
        assert [len(maps) for maps in together] == [1, 0, 7, 2]
        for one, other in zip(together, run(parser, clip, [[0], [3], [4], [9]], boxes), strict=True):
            assert same(one, other)

    def test_nobody_gives_nothing(self, parser: Parser, clip: Clip) -> None:
        parser.start(clip[0])
        assert parser.parse([], []) == []
        assert parser.parse(clip[1][:2], [NONE, NONE]) == [[], []]

    def test_answers_depend_on_the_picture(self, parser: Parser, clip: Clip) -> None:
        first, second = run(parser, clip, [[5, 30]], {5: BOXES[5:6], 30: BOXES[5:6]})
        assert not same(first, second)

    def test_pictures_and_boxes_are_left_as_they_are(self, parser: Parser, clip: Clip) -> None:
        image, boxes = clip[1][7].image.copy(), BOXES.copy()
        run(parser, clip, [[7]], {})
        np.testing.assert_array_equal(clip[1][7].image, image)
        np.testing.assert_array_equal(boxes, BOXES)

    def test_start_forgets_the_video_before(
        self, make: Maker, clip: Clip, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        other = samples.clip(tmp_path_factory.mktemp("other"), seed=5)
        used, unused = make(), make()
        run(used, other, [[0, 1, 2]], {})
        for one, twin in zip(run(used, clip, [[0, 1]], {}), run(unused, clip, [[0, 1]], {}), strict=True):
            assert same(one, twin)

    def test_foreign_and_unsafe_files_are_refused(
        self, request: pytest.FixtureRequest, make: Maker, tmp_path: Path
    ) -> None:
        name = request.node.callspec.params["make"]
        if parsers.get(name).accepts is None:
            pytest.skip("reads no files")
        samples.need_refusals(parsers, name, SETTINGS, tmp_path)
