"""What every gait model must do, whichever it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from app.gait.embeddings import embed
from app.settings import GaitSettings
from app.stages import GaitModel
from app.types import GaitSequence
from app.weights.registry import gait_models
from tests.contract import samples

SETTINGS = GaitSettings(max_frames=60)
Maker = Callable[[], GaitModel]


def walk(frames: int, seed: int = 0) -> GaitSequence:
    """Ellipses whose size changes: smooth silhouettes with some grey; and somebody's joints, which tremble."""
    random = np.random.default_rng(seed)
    widths = 10 + random.uniform(0, 8, frames)
    silhouettes = np.zeros((frames, 64, 64), np.uint8)
    for picture, width in zip(silhouettes, widths, strict=True):
        cv2.ellipse(picture, (32, 32), (round(float(width)), 31), 0, 0, 360, (255,), -1, cv2.LINE_AA)
    joints = samples.STANDING * (40, 100) + random.normal(0, 1, (frames, 17, 2))
    keypoints = np.concatenate([joints, np.ones((frames, 17, 1))], axis=2).astype(np.float32)
    return GaitSequence(np.arange(frames) * 2, silhouettes, 25.0, keypoints)


@pytest.fixture(scope="module", params=samples.names_of(gait_models))
def make(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Maker:
    name: str = request.param
    file = samples.checkpoint_for(gait_models, name, tmp_path_factory.mktemp("gait"))
    return lambda: gait_models.get(name).build(file, SETTINGS)


@pytest.fixture(scope="module")
def model(make: Maker) -> GaitModel:
    return make()


class TestGaitModel:
    def test_follows_the_protocol(self, model: GaitModel) -> None:
        assert isinstance(model, GaitModel)
        samples.need_whole_card(model.card, "gait")

    def test_embeddings_have_one_shape_and_say_the_model(self, model: GaitModel) -> None:
        found = model.embed([walk(1), walk(30, 1), walk(300, 2)])
        assert len({embedding.parts.shape for embedding in found}) == 1
        for embedding in found:
            assert embedding.parts.dtype == np.float32
            assert embedding.parts.ndim == 2
            assert embedding.model_id == model.card.model_id
        assert found[0].frames == 1
        assert found[1].frames == 30
        assert 60 <= found[2].frames <= 300

    def test_a_batch_is_its_walks_one_by_one_and_in_order(self, model: GaitModel) -> None:
        walks = [walk(30, 1), walk(1, 2), walk(75, 3), walk(12, 4)]
        together = model.embed(walks)
        assert len(together) == 4
        for one, found in zip(walks, together, strict=True):
            np.testing.assert_allclose(model.embed([one])[0].parts, found.parts, rtol=1e-4, atol=1e-5)
        assert np.abs(together[0].parts - together[2].parts).max() > 1e-4, "two walks that differ have one embedding"

    def test_walks_are_told_apart(self, model: GaitModel) -> None:
        for frames in (1, 8, 100):
            assert len(embed(model, [walk(frames)])) == 1

    def test_nothing_in_nothing_out(self, model: GaitModel) -> None:
        assert model.embed([]) == []

    def test_the_same_twice(self, make: Maker, model: GaitModel) -> None:
        for other in (model, make()):
            np.testing.assert_array_equal(other.embed([walk(9)])[0].parts, model.embed([walk(9)])[0].parts)

    def test_blank_silhouettes_can_be_embedded(self, model: GaitModel) -> None:
        for grey in (0, 255):
            blank = replace(walk(3), silhouettes=np.full((3, 64, 64), grey, np.uint8))
            assert np.isfinite(model.embed([blank])[0].parts).all()

    def test_walks_are_left_as_they_are(self, model: GaitModel) -> None:
        given = walk(8)
        assert given.keypoints is not None
        arrays = given.silhouettes, given.keypoints
        before = [array.copy() for array in arrays]
        for array in arrays:
            array.setflags(write=False)
        model.embed([given])
        for array, old in zip(arrays, before, strict=True):
            np.testing.assert_array_equal(array, old)

    def test_no_person_at_all_in_the_keypoints(self, model: GaitModel) -> None:
        lost = replace(walk(5), keypoints=np.zeros((5, 17, 3), np.float32))
        assert np.isfinite(model.embed([lost])[0].parts).all()

    def test_foreign_and_unsafe_files_are_refused(
        self, request: pytest.FixtureRequest, make: Maker, tmp_path: Path
    ) -> None:
        name = request.node.callspec.params["make"]
        if gait_models.get(name).accepts is None:
            pytest.skip("reads no files")
        samples.need_refusals(gait_models, name, SETTINGS, tmp_path)
