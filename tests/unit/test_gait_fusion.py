"""Several gait models as one: `app.gait.fusion`, and the network of joints that may be one of them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.errors import CheckpointError, SettingsError
from app.gait.fusion import Fusion
from app.gallery.distances import part_distances
from app.settings import GaitSettings
from app.types import GaitSequence
from app.weights.checkpoints import CheckpointFile
from app.weights.registry import gait_models
from tests.contract.samples import CHECKPOINTS
from tests.contract.test_contract_gait import walk


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return CHECKPOINTS["fusion"](tmp_path)


def fusion(folder: Path) -> Fusion:
    return Fusion(CheckpointFile(folder, "given"), GaitSettings())


def test_a_distance_is_the_mean_over_the_parts_of_all(folder: Path) -> None:
    model, walks = fusion(folder), [walk(30), walk(40, 1)]
    one_walk, other_walk = model.embed(walks)
    together = part_distances(one_walk.parts[None], other_walk.parts[None])[0, 0]
    alone, count = 0.0, 0
    for member in model.members:
        one, other = (each.parts / np.linalg.norm(each.parts, axis=1, keepdims=True) for each in member.embed(walks))
        alone += np.linalg.norm(one - other, axis=1).sum()
        count += len(one)
    assert together == pytest.approx(alone / count, rel=1e-4)


def test_pieces_are_those_of_the_first_model(folder: Path) -> None:
    model = fusion(folder)
    for frames in (1, 16, 17, 75):
        (found,) = model.embed([walk(frames)])
        (silhouettes,) = model.members[0].embed([walk(frames)])
        assert found.pieces is not None
        assert silhouettes.pieces is not None
        assert len(found.pieces) == len(silhouettes.pieces)
        assert found.pieces.shape[1:] == found.parts.shape


def test_it_needs_what_its_models_need(folder: Path) -> None:
    model = fusion(folder)
    assert model.card.keypoints
    assert not model.card.parts
    with pytest.raises(SettingsError, match=r"no keypoints: set pose.when"):
        model.embed([replace(walk(9), keypoints=None)])


def test_it_is_found_as_one_model_and_its_files_are_none(folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "checkpoints" / "gait" / "both.fusion"
    place.parent.mkdir(parents=True)
    shutil.move(folder, place)
    found = [candidate.file.path for candidate, _ in gait_models.candidates((tmp_path / "checkpoints",))]
    assert found == [place]
    assert gait_models.choose("auto", Path("both.fusion"), (tmp_path / "checkpoints",)).entry.name == "fusion"
    alone = gait_models.choose("auto", Path("joints.onnx"), (tmp_path / "checkpoints",))
    assert alone.entry.name == "onnx-joints", "one of its files, named"


def test_other_weights_are_another_model_and_another_card_is_not(folder: Path) -> None:
    before = fusion(folder).card.model_id
    (folder / "gait.md").write_text("Another card.", encoding="utf-8")
    assert fusion(folder).card.model_id == before
    with (folder / "joints.onnx").open("ab") as file:
        file.write(b"\x82\x01\x01x")  # a field that no reader knows
    assert fusion(folder).card.model_id != before


@pytest.mark.parametrize("files", [0, 1])
def test_one_model_is_no_fusion(folder: Path, files: int) -> None:
    for path in sorted(folder.glob("*.onnx"))[files:]:
        path.unlink()
    with pytest.raises(CheckpointError, match=rf"holds {files} checkpoints?\. A fusion needs"):
        fusion(folder)


def test_a_file_in_it_that_is_damaged_is_named(folder: Path) -> None:
    (folder / "joints.onnx").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=r"joints\.onnx"):
        fusion(folder)


def test_joints_of_half_the_looks_are_nearly_the_same(folder: Path) -> None:
    """Keypoints are brought to one rate by their times, so every second frame of smooth motion changes little."""
    joints = fusion(folder).members[1]
    times = np.arange(60) / 25
    swing = np.sin(2 * np.pi * times)[:, None, None] * np.linspace(-8, 8, 17)[:, None] * (1, 0.3)
    keypoints = np.concatenate([walk(60).keypoints[:1, :, :2] + swing, np.ones((60, 17, 1))], 2).astype(np.float32)  # type: ignore[index]
    whole = GaitSequence(np.arange(60), np.zeros((60, 64, 64), np.uint8), 25.0, keypoints)
    half = whole.part(slice(0, None, 2))
    one, other = joints.embed([whole, half])
    assert float(np.abs(one.parts - other.parts).max()) < 0.05 * float(np.abs(one.parts).max())
