"""Loading gait checkpoints, and embedding walks with them and without."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from app.errors import CheckpointError, SettingsError
from app.gait import load_network
from app.gait.embedder import CHUNK, NetworkEmbedder
from app.gait.frames import thin
from app.gait.gei import GaitEnergyImage
from app.gait.layers import prepare_for_inference
from app.gait.models.gaitbase import GaitBase
from app.gait.opengait import FAMILIES, to_theirs
from app.settings import GaitSettings
from app.types import GaitSequence
from app.weights.checkpoints import CheckpointFile
from app.weights.registry import gait_models

ARCHITECTURE = FAMILIES[0].architecture
assert ARCHITECTURE is not None
TABLE = ARCHITECTURE.table


@pytest.fixture(scope="module")
def network() -> GaitBase:
    torch.manual_seed(0)
    made = GaitBase(widths=(4, 6, 8, 10), parts=16, channels=5, classes=4).eval()
    for name, value in made.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 1.5)
        elif name.endswith("running_mean"):
            value.normal_(0, 0.3)
    return made


@pytest.fixture
def weights(network: GaitBase) -> dict[str, Any]:
    return to_theirs(network, TABLE)


def save(weights: dict[str, Any], folder: Path, name: str = "GaitBase_DA-180000.pt") -> Path:
    torch.save({"model": weights, "iteration": 1}, folder / name)
    return folder / name


def walk(frames: int, seed: int = 0) -> GaitSequence:
    silhouettes = (np.random.default_rng(seed).random((frames, 64, 64)) > 0.5).astype(np.uint8) * 255
    return GaitSequence(np.arange(frames), silhouettes, 25.0)


def test_a_network_survives_the_way_through_a_checkpoint(network: GaitBase, weights: Any, tmp_path: Path) -> None:
    loaded = load_network(save(weights, tmp_path))
    x = torch.rand(2, 4, 64, 44)
    with torch.inference_mode():
        torch.testing.assert_close(loaded.embed(x), network.embed(x), rtol=0, atol=0)
    assert not loaded.training


def test_names_go_both_ways(network: GaitBase) -> None:
    for key in network.state_dict():
        assert TABLE.to_theirs(key) != key
        assert TABLE.to_ours(TABLE.to_theirs(key)) == key


def test_missing_and_left_over_keys_are_named_as_in_the_file(weights: Any, tmp_path: Path) -> None:
    weights["Backbone.odd"] = weights.pop("Backbone.forward_block.layer3.0.bn2.bias")
    with pytest.raises(CheckpointError, match=r"missing: Backbone.forward_block.layer3.0.bn2.bias.*over: Backbone.odd"):
        load_network(save(weights, tmp_path))


@pytest.mark.parametrize("bad", [float("nan"), float("-inf")])
def test_weights_that_are_not_finite_are_named(weights: Any, tmp_path: Path, bad: float) -> None:
    key = next(key for key in weights if key.endswith("running_var"))
    weights[key] = weights[key].clone()
    weights[key][-1] = bad
    with pytest.raises(CheckpointError, match=rf"not finite .* in '{re.escape(key)}': "):
        load_network(save(weights, tmp_path))


def test_a_checkpoint_without_its_linear_layer_says_so(weights: Any, tmp_path: Path) -> None:
    weights["FCs.other"] = weights.pop("FCs.fc_bin")
    with pytest.raises(CheckpointError, match=r"not a whole gaitbase network: 1 missing: FCs\.fc_bin"):
        load_network(save(weights, tmp_path))


def test_what_a_file_cannot_tell_can_be_given(weights: Any, tmp_path: Path) -> None:
    path = save(weights, tmp_path)
    loaded = load_network(path, {"strides": (1, 1, 1, 1), "input_size": (16, 44)})
    assert loaded.embed(torch.zeros(1, 1, 16, 44)).shape == (1, 5, 16)
    with pytest.raises(SettingsError, match="Did you mean 'strides'"):
        load_network(path, {"stride": (1, 1, 1, 1)})


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (
            "{model: GaitSet, bin_num: [2]}",
            r"has no key 'backbone_cfg'; its model_cfg\.model is GaitSet\. Give the YAML",
        ),
        ("hello", "its sections have other kinds of values"),
        ("{backbone_cfg: {strides: [1, 2]}}", r"cannot be read as a gaitbase network, strides \[1, 2\]"),
        ("{backbone_cfg: {strides: [1, 2, 0, 1]}}", "cannot work at a walk of 9 frames"),
        ("{backbone_cfg: {strides: [1, 2, 2, 64]}}", "check that it is the one of its training"),
    ],
)
def test_the_yaml_of_another_network_is_told(weights: Any, tmp_path: Path, model: str, says: str) -> None:
    path = save(weights, tmp_path)
    path.with_suffix(".yaml").write_text(f"model_cfg: {model}")
    with pytest.raises(CheckpointError, match=says):
        NetworkEmbedder(CheckpointFile(path, "given"), GaitSettings()).embed([walk(9)])


def test_a_wide_silhouette_is_refused(network: GaitBase) -> None:
    with pytest.raises(ValueError, match="64 rows and 44 columns, not 64 and 64"):
        network.embed(torch.zeros(1, 2, 64, 64))


def test_lengths_must_cover_the_frames(network: GaitBase) -> None:
    with pytest.raises(ValueError, match="do not divide"):
        network.embed(torch.zeros(1, 5, 64, 44), [2, 2])


def test_preparing_for_inference_keeps_the_result(weights: Any, tmp_path: Path) -> None:
    plain, fast = load_network(save(weights, tmp_path)), load_network(save(weights, tmp_path))
    prepare_for_inference(fast)
    x = torch.rand(1, 3, 64, 44)
    with torch.inference_mode():
        torch.testing.assert_close(fast.embed(x), plain.embed(x), rtol=1e-4, atol=1e-5)


class Evil:
    """The content of a malicious checkpoint: opening it without protection makes a folder."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


def test_a_malicious_pickle_is_refused_and_not_run(weights: Any, tmp_path: Path) -> None:
    path = save({**weights, "evil": Evil(tmp_path / "ran")}, tmp_path)
    with pytest.raises(CheckpointError, match="refused"):
        gait_models.choose("auto", path, ())
    assert not (tmp_path / "ran").exists()


def test_a_detector_is_not_a_gait_network(tmp_path: Path) -> None:
    yolox = {"backbone.backbone.stem.conv.conv.weight": torch.zeros(1), "head.cls_preds.0.weight": torch.zeros(1)}
    with pytest.raises(CheckpointError, match="seems to be a YOLOX detector"):
        gait_models.choose("auto", save(yolox, tmp_path, "yolox_x.pth"), ())


def test_the_registry_takes_a_found_checkpoint_or_gei(weights: Any, tmp_path: Path) -> None:
    assert gait_models.choose("auto", None, (tmp_path,)).entry.name == "gei"
    (tmp_path / "gait_model").mkdir()
    save(weights, tmp_path / "gait_model")
    choice = gait_models.choose("auto", None, (tmp_path,))
    entry, file = choice.entry, choice.file
    model = entry.build(file, GaitSettings())
    assert model.card.name == "gaitbase"
    assert model.card.origin == "found"
    assert "academic" in model.card.licence
    assert model.card.model_id.startswith("gaitbase@")


@pytest.mark.parametrize("lengths", [(CHUNK, 1), (1, CHUNK - 1, CHUNK + 1), (3, 2 * CHUNK + 5, 1), (2,)])
def test_walks_embedded_together_are_as_embedded_alone(weights: Any, tmp_path: Path, lengths: tuple[int, ...]) -> None:
    path = save(weights, tmp_path)
    model = NetworkEmbedder(CheckpointFile(path, "given"), GaitSettings())
    walks = [walk(length, seed) for seed, length in enumerate(lengths)]
    reference = load_network(path)
    for embedding, one in zip(model.embed(walks), walks, strict=True):
        x = torch.from_numpy(one.silhouettes[None, :, :, 10:54].astype(np.float32) / 255)
        with torch.inference_mode():
            expected = reference.embed(x)[0].T.numpy()
        assert embedding.parts.dtype == np.float32
        np.testing.assert_allclose(embedding.parts, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
        assert embedding.frames == len(one)
    assert model.embed([]) == []


def test_long_walks_are_thinned_evenly(weights: Any, tmp_path: Path) -> None:
    model = NetworkEmbedder(CheckpointFile(save(weights, tmp_path), "given"), GaitSettings(max_frames=5))
    long = walk(13)
    kept = [0, 3, 6, 9, 12]
    short = GaitSequence(np.array(kept), long.silhouettes[kept], 25.0)
    found, expected = model.embed([long, short])
    np.testing.assert_array_equal(found.parts, expected.parts)
    assert found.frames == 5
    assert thin(3, 5).tolist() == [0, 1, 2]
    assert thin(1000, 240)[[0, -1]].tolist() == [0, 999]
    assert len(np.unique(thin(241, 240))) == 240


def test_the_energy_image_is_the_mean_silhouette() -> None:
    silhouettes = np.zeros((4, 64, 64), np.uint8)
    silhouettes[:, 8:12, 20] = 255  # the third strip, 12 columns left of the axis
    silhouettes[:2, 8:12, 43] = 255  # its mirror image, in half of the frames
    embedding = GaitEnergyImage().embed([GaitSequence(np.arange(4), silhouettes, 25.0)])[0]
    expected = np.zeros((16, 4, 22), np.float32)
    expected[2, :, 10] = 0.75
    np.testing.assert_allclose(embedding.parts, expected.reshape(16, 88), atol=1e-6)
    assert embedding.model_id == "gei"


def test_the_energy_image_does_not_see_the_side() -> None:
    one = walk(6)
    other = GaitSequence(one.frame_indices, one.silhouettes[:, :, ::-1].copy(), 25.0)
    found, mirrored = GaitEnergyImage().embed([one, other])
    np.testing.assert_allclose(found.parts, mirrored.parts, atol=1e-6)


def test_bfloat16_hardly_moves_an_embedding(weights: Any, tmp_path: Path) -> None:
    checkpoint = CheckpointFile(save(weights, tmp_path), "given")
    models = [NetworkEmbedder(checkpoint, GaitSettings(precision=kind)) for kind in ("float32", "bfloat16")]
    assert [model.card.runtime for model in models] == ["torch float32", "torch bfloat16"]
    (exact,), (rough,) = (model.embed([walk(9)]) for model in models)
    assert rough.parts.dtype == np.float32
    moved = np.linalg.norm(rough.parts - exact.parts) / np.linalg.norm(exact.parts)
    assert 0 < moved < 0.03
