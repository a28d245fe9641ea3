"""DeepGaitV2, SkeletonGait, SMPLGait, MTSGait, GaitGraph and GaitTR without golden vectors: small random networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from app.body import load_body_estimator
from app.body.mannequin import Mannequin
from app.body.smpl import parameters_of
from app.errors import CheckpointError, SettingsError
from app.gait import load_network
from app.gait.base import EmbeddingNetwork, JointNetwork, TemporalNetwork
from app.gait.embedder import NetworkEmbedder
from app.gait.layers import pool_pyramid
from app.gait.models.deepgaitv2 import DeepGaitV2, DeepGaitV2Frames
from app.gait.models.gaitgraph import GaitGraph1, GaitGraph2, branches
from app.gait.models.gaittr import GaitTR, joint_features
from app.gait.models.mtsgait import MTSGait, switch
from app.gait.models.skeletongait import SkeletonGait, SkeletonGaitPlus
from app.gait.models.smplgait import SMPLGait
from app.gait.opengait import FAMILIES, KeyTable, to_theirs
from app.gait.opengait.plain import TABLE_MTSGAIT, TABLE_SMPLGAIT
from app.gait.opengait.residual import TABLE_2D, TABLE_3D, TABLE_P3D, TABLE_PLUS
from app.gait.opengait.skeletons import TABLE_GAITGRAPH, TABLE_GAITTR
from app.settings import GaitSettings
from app.types import MIRRORED_KEYPOINTS, GaitSequence
from app.weights.checkpoints import CheckpointFile
from tests.contract.samples import lifting
from tests.walking import seen_walk

SMALL: dict[str, Any] = {"widths": (4, 6, 8, 10), "depths": (1, 2, 1, 1), "parts": 4, "channels": 5, "classes": 3}
PLAIN: dict[str, Any] = {"widths": (16, 16, 32), "bins": (4, 2, 1), "channels": 5, "classes": 3}
GRAPH: dict[str, Any] = {"widths": (16, 16), "strides": (2, 1), "channels": 6, "reduction": 4}
Make = Callable[[], EmbeddingNetwork]

# Each network small, its table of names, the input of one walk of `t` frames, and the shape of its embedding.
NETWORKS: dict[str, tuple[Make, KeyTable, Callable[[int], tuple[torch.Tensor, ...]], tuple[int, int]]] = {
    "deepgaitv2 2d": (lambda: DeepGaitV2Frames(**SMALL), TABLE_2D, lambda t: (torch.rand(1, t, 64, 44),), (5, 4)),
    "deepgaitv2 3d": (lambda: DeepGaitV2("3d", **SMALL), TABLE_3D, lambda t: (torch.rand(1, t, 64, 44),), (5, 4)),
    "deepgaitv2 p3d": (lambda: DeepGaitV2("p3d", **SMALL), TABLE_P3D, lambda t: (torch.rand(1, t, 64, 44),), (5, 4)),
    "skeletongait": (lambda: SkeletonGait(**SMALL), TABLE_P3D, lambda t: (torch.rand(1, t, 2, 64, 44),), (5, 4)),
    "skeletongait++": (
        lambda: SkeletonGaitPlus(**SMALL, narrow=2), TABLE_PLUS, lambda t: (torch.rand(1, t, 3, 64, 44),), (5, 4),
    ),
    "smplgait": (
        lambda: SMPLGait(**PLAIN), TABLE_SMPLGAIT, lambda t: (torch.rand(1, t, 64, 44), torch.rand(1, t, 85)), (5, 7),
    ),
    "mtsgait": (lambda: MTSGait(**PLAIN), TABLE_MTSGAIT, lambda t: (torch.rand(1, t, 64, 44),), (5, 7)),
    "gaitgraph1": (
        lambda: GaitGraph1(branch_widths=(8, 8), **GRAPH), TABLE_GAITGRAPH,
        lambda t: (torch.rand(1, 3, t, 17, 1),), (6, 1),
    ),
    "gaitgraph2": (
        lambda: GaitGraph2(branch_widths=(8, 8), **GRAPH), TABLE_GAITGRAPH,
        lambda t: (branches(torch.rand(1, t, 17, 3)),), (18, 1),
    ),
    "gaittr": (
        lambda: GaitTR(widths=(32, 32, 64), channels=6, kernel=5), TABLE_GAITTR,
        lambda t: (joint_features(torch.rand(1, t, 17, 3)),), (6, 1),
    ),
}  # fmt: skip
PICTURES = ["deepgaitv2 2d", "deepgaitv2 3d", "deepgaitv2 p3d", "skeletongait", "skeletongait++", "smplgait", "mtsgait"]


def made(name: str, seed: int = 0) -> EmbeddingNetwork:
    """A network with random statistics, in eval mode."""
    torch.manual_seed(seed)
    network = NETWORKS[name][0]().eval()
    for key, value in network.state_dict().items():
        if key.endswith("running_var"):
            value.uniform_(0.5, 1.5)
        elif key.endswith("running_mean"):
            value.normal_(0, 0.1)
    return network


def save(network: EmbeddingNetwork, table: KeyTable, folder: Path, **replaced: torch.Tensor) -> Path:
    torch.save({"model": {**to_theirs(network, table), **replaced}, "iteration": 1}, folder / "made.pt")
    return folder / "made.pt"


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_survives_the_way_through_a_checkpoint(name: str, tmp_path: Path) -> None:
    _, table, walk, (channels, parts) = NETWORKS[name]
    network, inputs = made(name), walk(5)
    loaded = load_network(save(network, table, tmp_path))
    assert type(loaded) is type(network)
    assert not loaded.training
    with torch.inference_mode():
        found = loaded.embed(*inputs)
        torch.testing.assert_close(found, network.embed(*inputs), rtol=0, atol=0)
    assert found.shape == (1, channels, parts)


@pytest.mark.parametrize("name", NETWORKS)
def test_names_go_both_ways(name: str) -> None:
    table = NETWORKS[name][1]
    for key in made(name).state_dict():
        assert table.to_ours(table.to_theirs(key)) == key
        assert table.to_theirs(key) != key


@pytest.mark.parametrize("name", NETWORKS)
def test_one_step_of_training_reaches_every_weight(name: str) -> None:
    network, walk = made(name).train(), NETWORKS[name][2]
    inputs = [torch.cat(pair) for pair in zip(walk(4), walk(4), strict=True)]
    features, logits = network(*inputs)
    assert features.shape[0] == 2
    classified = name.split()[0] in {"deepgaitv2", "skeletongait", "skeletongait++", "smplgait", "mtsgait"}
    assert (logits is not None) == classified
    if logits is not None:
        assert logits.shape == (2, 3, features.shape[2])
    loss = features.square().mean() + (logits.square().mean() if logits is not None else 0)
    loss.backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("name", PICTURES)
def test_wide_pictures_are_refused(name: str) -> None:
    first, *others = NETWORKS[name][2](2)
    wide = F.pad(first, (10, 10))
    with pytest.raises(ValueError, match="64 rows and 44 columns, not 64 and 64"):
        made(name).embed(wide, *others)


def test_the_number_of_maps_must_be_right() -> None:
    with pytest.raises(
        ValueError, match=r"skeletongait takes heatmaps \(n, t, 2, rows, columns\), not \(1, 2, 64, 44\)"
    ):
        made("skeletongait").embed(torch.zeros(1, 2, 64, 44))
    with pytest.raises(
        ValueError, match=r"deepgaitv2 takes silhouettes \(n, t, rows, columns\), not \(1, 2, 1, 64, 44\)"
    ):
        made("deepgaitv2 p3d").embed(torch.zeros(1, 2, 1, 64, 44))


@pytest.mark.parametrize("name", PICTURES)
def test_walks_laid_end_to_end_do_not_mix(name: str) -> None:
    network, lengths = made(name), (4, 1, 2)
    walks = [NETWORKS[name][2](length) for length in lengths]
    packed = [torch.cat(parts, 1) for parts in zip(*walks, strict=True)]
    with torch.inference_mode():
        expected = torch.cat([network.embed(*walk) for walk in walks])
        torch.testing.assert_close(network.embed(*packed, lengths=lengths), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="do not divide"):
        network.embed(*packed, lengths=(4, 1))


@pytest.mark.parametrize("name", PICTURES)
def test_the_order_of_frames_matters_where_time_is_seen(name: str) -> None:
    network, walk = made(name), NETWORKS[name][2](6)
    with torch.inference_mode():
        same = torch.allclose(
            network.embed(*walk), network.embed(*(part[:, [3, 0, 5, 1, 4, 2]] for part in walk)), rtol=1e-4, atol=1e-6
        )
    assert same is not isinstance(network, TemporalNetwork)


def test_missing_and_left_over_keys_are_named_as_in_the_file(tmp_path: Path) -> None:
    weights = to_theirs(made("skeletongait++"), TABLE_PLUS)
    weights["fusion.odd"] = weights.pop("fusion.conv.forward_block.6.weight")
    torch.save(weights, tmp_path / "odd.pt")
    with pytest.raises(CheckpointError, match=r"missing: fusion.conv.forward_block.6.weight;.*over: fusion.odd"):
        load_network(tmp_path / "odd.pt")
    weights = to_theirs(made("gaitgraph2"), TABLE_GAITGRAPH)
    del weights["ResGCN.fcn.weight"]
    torch.save(weights, tmp_path / "short.pt")
    with pytest.raises(CheckpointError, match=r"not a whole gaitgraph2 network: 1 missing: ResGCN\.fcn\.weight"):
        load_network(tmp_path / "short.pt")


def test_the_other_embedding_is_chosen_by_config(tmp_path: Path) -> None:
    path = save(made("skeletongait"), TABLE_P3D, tmp_path)
    (tmp_path / "net.yaml").write_text("model_cfg:\n  model: SkeletonGait\n  use_emb2: true\n")
    x = NETWORKS["skeletongait"][2](3)
    with torch.inference_mode():
        found = load_network(path, {"use_emb2": True}).embed(*x)
        torch.testing.assert_close(load_network(path, tmp_path / "net.yaml").embed(*x), found)
        assert not torch.allclose(load_network(path).embed(*x), found)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(1, 4))


def test_2d_has_no_other_embedding(tmp_path: Path) -> None:
    path = save(made("deepgaitv2 2d"), TABLE_2D, tmp_path)
    (tmp_path / "net.yaml").write_text("model_cfg:\n  model: DeepGaitV2\n  use_emb2: true\n")
    with pytest.raises(SettingsError, match="use_emb2 is not supported"):
        load_network(path, tmp_path / "net.yaml")


def test_the_plain_baseline_is_mtsgait_without_hops(tmp_path: Path) -> None:
    network = made("mtsgait")
    assert isinstance(network, MTSGait)
    path = save(network, TABLE_MTSGAIT, tmp_path)
    (tmp_path / "net.yaml").write_text("model_cfg:\n  model: Baseline\n")
    (x,) = NETWORKS["mtsgait"][2](4)
    maps = x[0, :, None]
    for index, conv in enumerate(network.convs):
        maps = F.leaky_relu(F.conv2d(maps, conv.get_parameter("conv.weight"), padding="same"))
        maps = F.max_pool2d(maps, 2) if index in (1, 3) else maps
    expected = network.linear(pool_pyramid(maps.amax(0)[None], (4, 2, 1)))
    with torch.inference_mode():
        for config in ({"hops": ()}, tmp_path / "net.yaml"):
            torch.testing.assert_close(load_network(path, config).embed(x), expected, rtol=1e-4, atol=1e-6)
        assert not torch.allclose(load_network(path).embed(x), expected, rtol=1e-2)


def test_switching_takes_from_both_sides_of_time() -> None:
    x = torch.arange(1.0, 5).reshape(1, 4, 1, 1, 1).expand(1, 4, 16, 1, 1)
    switched = switch(x, 3)[0, :, :, 0, 0]
    assert switched[:, 0].tolist() == [4, 0, 0, 0]
    assert switched[:, 1:15].unique(dim=1).tolist() == [[1], [2], [3], [4]]
    assert switched[:, 15].tolist() == [0, 0, 0, 1]
    assert switch(x[:, :1], 3)[0, 0, :, 0, 0].tolist() == [0, *[1] * 14, 0]


def test_smplgait_reads_its_size_and_wants_a_body_for_each_silhouette(tmp_path: Path) -> None:
    network = SMPLGait(**PLAIN, input_size=(128, 88)).eval()
    loaded = load_network(save(network, TABLE_SMPLGAIT, tmp_path))
    assert isinstance(loaded, SMPLGait)
    assert loaded.input_size == (128, 88)
    with pytest.raises(ValueError, match=r"smpl is \(1, 2, 85\); smplgait takes 85 numbers for each silhouette"):
        loaded.embed(torch.zeros(1, 3, 128, 88), torch.zeros(1, 2, 85))


def test_gaitgraph2_embeds_the_walk_forwards_backwards_and_mirrored() -> None:
    network, keypoints = made("gaitgraph2"), torch.rand(1, 6, 17, 3)
    with torch.inference_mode():
        there, back, mirrored = (
            network.embed(branches(walk)).chunk(3, 1)
            for walk in (keypoints, keypoints.flip(1), keypoints[:, :, MIRRORED_KEYPOINTS])
        )
    torch.testing.assert_close(there[1], back[0])
    torch.testing.assert_close(there[2], mirrored[0])
    assert not torch.allclose(there[0], there[1], rtol=1e-3)


def test_gaitgraph1_does_not_know_the_direction_of_time() -> None:
    network, (x,) = made("gaitgraph1"), NETWORKS["gaitgraph1"][2](8)
    with torch.inference_mode():
        torch.testing.assert_close(network.embed(x), network.embed(x.flip(2)))


@pytest.mark.parametrize(
    ("name", "shape", "says"),
    [
        ("gaitgraph1", (1, 8, 17, 3), r"gaitgraph1 takes \(n, 3, t, 17, 1\), not \(1, 8, 17, 3\)"),
        ("gaitgraph2", (1, 8, 17, 3, 4), r"gaitgraph2 takes \(n, t, 17, 3, 5\)"),
        ("gaittr", (1, 8, 17, 10, 1), r"gaittr takes \(n, t, 10, 17, 1\)"),
    ],
)
def test_other_joints_are_refused(name: str, shape: tuple[int, ...], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        made(name).embed(torch.zeros(shape))


def test_the_catalogue_lists_them() -> None:
    supported = {family.title for family in FAMILIES if family.architecture}
    assert supported >= {
        "DeepGaitV2 (2D)",
        "DeepGaitV2 (3D)",
        "DeepGaitV2 (P3D)",
        "SkeletonGait",
        "SkeletonGait++",
        "SMPLGait",
        "MTSGait or Baseline",
        "GaitGraph 1",
        "GaitGraph 2",
        "GaitTR",
    }


@pytest.mark.parametrize("name", ["deepgaitv2 2d", "deepgaitv2 p3d", "mtsgait"])
def test_networks_on_silhouettes_are_gait_models(name: str, tmp_path: Path) -> None:
    path = save(made(name), NETWORKS[name][1], tmp_path)
    model = NetworkEmbedder(CheckpointFile(path, "given"), GaitSettings())
    silhouettes = (np.random.default_rng(0).random((3, 64, 64)) > 0.5).astype(np.uint8) * 255
    (embedding,) = model.embed([GaitSequence(np.arange(3), silhouettes, 25.0)])
    with torch.inference_mode():
        expected = made(name).embed(torch.from_numpy(silhouettes[None, :, :, 10:54] / np.float32(255)))[0].T
    np.testing.assert_allclose(embedding.parts, expected, rtol=1e-3, atol=1e-4)


def test_smplgait_sees_bodies_that_are_fitted_to_the_walk(tmp_path: Path) -> None:
    path = save(made("smplgait"), NETWORKS["smplgait"][1], tmp_path)
    model = NetworkEmbedder(CheckpointFile(path, "given"), GaitSettings())
    assert model.card.keypoints
    assert model.card.body
    assert "fitted here" in model.card.note
    walk, _ = seen_walk(frames=20, azimuth=0.5)
    with pytest.raises(SettingsError, match="need a fitted body"):
        model.embed([walk])
    model.body = load_body_estimator(lifting(tmp_path / "body.onnx"), "lift")
    (motion,) = model.body.fit([walk])
    (embedding,) = model.embed([walk])
    with torch.inference_mode():
        pictures = torch.from_numpy(walk.silhouettes[None, :, :, 10:54] / np.float32(255))
        smpl = torch.from_numpy(parameters_of(motion, Mannequin.load())[None])
        expected = made("smplgait").embed(pictures, smpl)[0].T
    np.testing.assert_allclose(embedding.parts, expected, rtol=1e-3, atol=1e-4)
    with pytest.raises(SettingsError, match="no keypoints"):
        model.embed([replace(walk, keypoints=None)])


@pytest.mark.parametrize("name", ["gaitgraph1", "gaitgraph2", "gaittr"])
def test_networks_on_joints_see_the_middle_of_a_walk(name: str, tmp_path: Path) -> None:
    path, network = save(made(name), NETWORKS[name][1], tmp_path), made(name)
    assert isinstance(network, JointNetwork)
    model = NetworkEmbedder(CheckpointFile(path, "given"), GaitSettings())
    assert model.card.keypoints
    count = network.frames + 5
    keypoints = torch.rand(count, 17, 3) * 100
    silhouettes = np.zeros((count, 64, 64), np.uint8)
    walks = [GaitSequence(np.arange(count), silhouettes, 25.0, keypoints.numpy()) for _ in range(2)]
    with torch.inference_mode():
        expected = network.embed(network.input_of(keypoints[None, 2 : 2 + network.frames]))[0].T
    for embedding in model.embed(walks):
        np.testing.assert_allclose(embedding.parts, expected, rtol=1e-3, atol=1e-4)
        assert embedding.frames == network.frames
    with pytest.raises(SettingsError, match="has no keypoints"):
        model.embed([GaitSequence(np.arange(count), silhouettes, 25.0)])
