"""What a checkpoint leaves open: known publications are told apart, the rest is said, OpenGait's YAML settles it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from app.errors import CheckpointError, SettingsError
from app.gait import load_network
from app.gait.base import EmbeddingNetwork, JointNetwork, PictureNetwork
from app.gait.checkpoints import accepts
from app.gait.embedder import NetworkEmbedder
from app.gait.layers import ConvPair
from app.gait.models.deepgaitv2 import DeepGaitV2
from app.gait.models.gaitbase import GaitBase
from app.gait.models.gaitgl import GaitGL
from app.gait.models.gaitgraph import GaitGraph1, GaitGraph2
from app.gait.models.gaitpart import GaitPart
from app.gait.models.gaitset import GaitSet
from app.gait.models.gaittr import GaitTR
from app.gait.models.mtsgait import MTSGait
from app.gait.models.skeletongait import SkeletonGait
from app.gait.opengait import to_theirs
from app.gait.opengait.saving import architecture_for
from app.settings import GaitSettings
from app.types import Floats, GaitSequence
from app.weights.checkpoints import CheckpointFile

SMALL: dict[str, Any] = {"widths": (4, 6, 8, 10), "parts": 4, "channels": 5}
NARROW: dict[str, Any] = {"widths": (4, 4, 6, 8), "channels": 5}
FEW: dict[str, Any] = {"channels": 5}  # 3,000 classes of 256 numbers for each part take 100 MB


def save(network: EmbeddingNetwork, path: Path, training: Mapping[str, Any] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"model": to_theirs(network, architecture_for(network).table), **(training or {})}, path)
    return path


def strips_of(network: EmbeddingNetwork) -> list[int]:
    return [pair.strips for pair in network.modules() if isinstance(pair, ConvPair)]


def schedule(iteration: int, *milestones: int) -> dict[str, Any]:
    return {"iteration": iteration, "scheduler": {"milestones": dict.fromkeys(milestones, 1)}}


@pytest.mark.parametrize(("widths", "strips"), [((32, 64, 128), [1, 4, 8]), ((32, 64, 128, 256), [1, 1, 8, 8])])
def test_published_gaitparts_are_told_apart_by_their_widths(
    widths: tuple[int, ...], strips: list[int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = save(GaitPart(widths, parts=2, channels=5), tmp_path / "GaitPart-120000.pt", schedule(120000, 100000))
    assert strips_of(load_network(path)) == strips
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("network", "assumed"),
    [
        (lambda: GaitPart((4, 6, 8), parts=2, channels=5), "strips 1, 4, 8 of its convolutions"),
        (lambda: GaitPart((4, 6, 8, 10), parts=2, channels=5), "strips 1, 1, 8, 8 of its convolutions"),
        (lambda: GaitPart((4, 6, 8, 10, 12), (1,) * 5, parts=2, channels=5), "strips 1, 1, 1, 1, 1"),
        (lambda: GaitBase(**SMALL, classes=74), "strides 1, 2, 2, 1"),
        (lambda: MTSGait((16, 16), bins=(4, 2, 1), channels=5, classes=74), "that it is MTSGait and not the plain"),
        (lambda: DeepGaitV2(**NARROW, classes=7), "embeds before its neck"),
        (lambda: GaitBase((64, 128, 256, 512), parts=4, **FEW, classes=3000), "silhouettes of 64 rows"),
        (lambda: GaitSet((32, 64, 128), channels=5), "silhouettes of 64 rows"),
        (lambda: GaitGraph1(), "24 frames of a walk, not CASIA-B's 60"),
    ],
)
def test_what_nothing_tells_is_assumed_aloud_and_a_yaml_settles_it(
    network: Any, assumed: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = save(network(), tmp_path / "net.pt")
    loaded = load_network(path)
    assert f"{assumed}" in caplog.text
    assert "net.pt does not tell" in caplog.text
    assert "--gait-config" in caplog.text
    caplog.clear()
    model = {
        "gaitpart": "backbone_cfg: {layers_cfg: [BC-4, BC-4, FC-6-1, FC-6-1, FC-8-3, FC-8-3]}",
        "gaitbase": "backbone_cfg: {strides: [1, 2, 2, 1]}",
        "mtsgait": "model: MTSGait",
        "gaitset": "bin_num: [16, 8, 4, 2, 1]",
    }.get(loaded.family, "model: Any")
    if loaded.family == "gaitpart" and len(strips_of(loaded)) != 3:
        return
    path.with_suffix(".yaml").write_text(f"model_cfg: {{{model}}}")
    settled = load_network(path)
    assert caplog.text == ""
    if isinstance(settled, GaitPart):
        assert strips_of(settled) == [1, 2, 8]


@pytest.mark.parametrize(
    ("network", "file", "training", "attribute", "expected"),
    [
        (lambda: SkeletonGait(**NARROW, classes=100), "SkeletonGait-60000.pt", {}, "use_emb2", True),
        (lambda: SkeletonGait(**NARROW, classes=3000), "SkeletonGait-60000.pt", {}, "use_emb2", False),
        (lambda: DeepGaitV2(**NARROW, classes=100), "DeepGaitV2-60000.pt", {}, "use_emb2", False),
        (lambda: MTSGait((16, 16, 16, 16), classes=500, channels=5), "Baseline.pt", {}, "input_size", (128, 88)),
        (lambda: MTSGait(**FEW, classes=3000), "128pixel-SMPLGait_wo3D.pt", schedule(180000), "input_size", (128, 88)),
        (lambda: MTSGait(**FEW, classes=3000), "64pixel-MTSGait-180000.pt", schedule(180000), "input_size", (64, 44)),
        (lambda: GaitSet(channels=5), "128pixel-GaitSet-180000.pt", schedule(180000), "input_size", (128, 88)),
        (lambda: GaitGraph1(), "GaitGraph.pt", {"scheduler": {"total_steps": 6000}}, "frames", 60),
        (lambda: GaitGraph1(), "GaitGraph.pt", {"scheduler": {"total_steps": 20000}}, "frames", 24),
        (lambda: GaitGraph2(reduction=4), "GG2.pt", {"scheduler": {"total_steps": 80000}}, "frames", 30),
        (lambda: GaitGraph2(reduction=4), "GG2.pt", {"scheduler": {"total_steps": 80000}}, "centred", True),
        (lambda: GaitGraph2(reduction=4), "GG2.pt", {"scheduler": {"total_steps": 50000}}, "centred", True),
        (lambda: GaitGraph2(), "GG2.pt", {"scheduler": {"total_steps": 500}}, "centred", True),
        (lambda: GaitGraph2(), "GG2.pt", {"scheduler": {"total_steps": 2000}}, "centred", False),
        (lambda: GaitGraph1(), "GaitGraph.pt", {"scheduler": {"total_steps": 6000}}, "centred", False),
    ],
)
def test_publications_are_told_apart(
    network: Any,
    file: str,
    training: Mapping[str, Any],
    attribute: str,
    expected: object,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    loaded = load_network(save(network(), tmp_path / file, training))
    assert isinstance(loaded, PictureNetwork | JointNetwork)
    found = getattr(loaded.head if attribute == "use_emb2" else loaded, attribute)
    assert found == expected
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("network", "file", "reason"),
    [
        (lambda: GaitBase(**SMALL, classes=3), "ScoNet-20000.pt", "do not tell who walks"),
        (lambda: GaitSet(channels=5), "128pixel-GaitSet-180000.pt", "silhouettes of 128 rows"),
        (lambda: MTSGait((16,) * 4, classes=500), "Baseline-60000.pt", "silhouettes of 128 rows"),
    ],
)
def test_networks_of_other_pictures_are_not_used_for_walks(
    network: Any, file: str, reason: str, tmp_path: Path
) -> None:
    path = save(network(), tmp_path / file)
    with pytest.raises(CheckpointError, match=reason):
        accepts(path)


@pytest.mark.parametrize(
    ("network", "file"),
    [
        (lambda: GaitSet(channels=5), "Gait3D-Parsing-GaitSet-180000.pt"),
        (lambda: GaitSet(channels=5), "Gait3D-Parsing/GaitSet/checkpoints/GaitSet-180000.pt"),
        (lambda: GaitGL(channels=5, classes=3000), "gaitgl-parsing/GaitGL-180000.pt"),
    ],
)
def test_networks_that_learnt_from_body_parts_get_them(network: Any, file: str, tmp_path: Path) -> None:
    path = save(network(), tmp_path / file)
    assert accepts(path)
    model = NetworkEmbedder(CheckpointFile(path, "given"), GaitSettings())
    assert model.card.parts
    parts = np.random.default_rng(0).integers(0, 12, (6, 64, 64)).astype(np.uint8)
    bodies = (parts > 0).astype(np.uint8) * 255
    other = np.where(parts > 0, np.uint8(2), np.uint8(0))
    one, two = model.embed([GaitSequence(np.arange(6), bodies, 25.0, None, labels) for labels in (parts, other)])
    assert not np.allclose(one.parts, two.parts), "it sees parts, not silhouettes"


def test_a_network_of_depth_pictures_is_called_so(tmp_path: Path) -> None:
    path = save(GaitBase(**SMALL, classes=250), tmp_path / "LidarGait.pt")
    content = torch.load(path, weights_only=True)
    content["model"]["Backbone.forward_block.conv1.conv.weight"] = torch.zeros(4, 3, 3, 3)
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=r"LidarGait\.pt seems to be a LidarGait .* depth pictures of a lidar"):
        accepts(path)


def test_the_settings_of_a_network_belong_to_the_name_of_the_model(tmp_path: Path) -> None:
    path = save(GaitPart((4, 6, 8), parts=2, channels=5), tmp_path / "own.pt")
    config = tmp_path / "opengait.yaml"
    config.write_text("model_cfg: {backbone_cfg: {layers_cfg: [BC-4, BC-4, M, BC-6, BC-6, M, FC-8-3, FC-8-3]}}")
    file = CheckpointFile(path, "given")
    plain, settled = NetworkEmbedder(file, GaitSettings()), NetworkEmbedder(file, GaitSettings(config=config))
    assert plain.card.model_id.startswith("gaitpart@")
    assert settled.card.model_id.startswith("gaitpart+strips=1,1,8@")
    assert plain.card.sha256 == settled.card.sha256


@pytest.mark.parametrize(
    ("network", "file", "training", "distance"),
    [
        (lambda: MTSGait(**FEW, classes=3000), "64pixel-MTSGait-180000.pt", schedule(180000, 30000, 90000), "cosine"),
        (lambda: MTSGait(**FEW, classes=3000), "64pixel-Baseline.pt", schedule(180000, 30000, 90000), "cosine"),
        (
            lambda: MTSGait(**FEW, classes=3000),
            "64pixel-Baseline-60000.pt",
            schedule(60000, 20000, 40000, 50000),
            "euclidean",
        ),
        (lambda: MTSGait(**FEW, classes=3000), "MTSGait.pt", {}, "open"),
        (lambda: MTSGait(**FEW, classes=3000), "Baseline.pt", {}, "open"),
        (lambda: MTSGait(**FEW, classes=74), "64pixel-Baseline.pt", {}, "euclidean"),
        (lambda: GaitSet(channels=5), "64pixel-GaitSet-180000.pt", schedule(180000), "cosine"),
        (lambda: GaitSet(channels=5), "GaitSet-40000.pt", schedule(40000), "euclidean"),
        (lambda: GaitSet(channels=5), "GaitSet.pt", {}, "open"),
        (lambda: GaitPart(channels=5), "64pixel-GaitPart.pt", schedule(180000), "cosine"),
        (lambda: GaitPart(channels=5), "GaitPart-120000.pt", schedule(120000), "euclidean"),
        (lambda: GaitGL(channels=5, classes=3000), "64pixel-GaitGL.pt", schedule(180000), "cosine"),
        (lambda: GaitGL(channels=5, classes=74), "GaitGL-80000.pt", schedule(80000), "euclidean"),
        (lambda: GaitGraph2(), "GaitGraph2.pt", {"scheduler": {"total_steps": 2000}}, "cosine"),
        (lambda: GaitBase(**SMALL, classes=74), "GaitBase.pt", schedule(60000), "euclidean"),
    ],
)
def test_how_embeddings_are_compared_is_known_or_said(
    network: Any, file: str, training: Mapping[str, Any], distance: str, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    caplog.set_level(logging.INFO)
    load_network(save(network(), tmp_path / file, training))
    assert ("Do so with match.metric=cosine" in caplog.text) == (distance == "cosine")
    assert ("compared by the Euclidean distance (match.metric)" in caplog.text) == (distance == "open")


def poses_with_gaps() -> tuple[Floats, Floats]:
    """Keypoints (1, 9, 17, 3) of which some are missing, and the same with these in the middle of the others."""
    rng = np.random.default_rng(3)
    poses = rng.uniform(20, 100, (1, 9, 17, 3)).astype(np.float32)
    poses[..., 2] = 0.5
    poses[0, 2, 5], poses[0, 2, 11:14], poses[0, 4] = 0, 0, 0
    whole = poses.copy()
    others = [joint for joint in range(17) if joint not in (5, 11, 12, 13)]
    whole[0, 2, [5, 11, 12, 13], :2] = poses[0, 2, others, :2].mean(0)
    return poses, whole


@pytest.mark.parametrize("kind", [GaitGraph1, GaitGraph2, GaitTR])
@pytest.mark.parametrize("how", ["file", "yaml", "yaml in Compose", "yaml without", "training yaml"])
def test_missing_joints_are_put_where_the_network_was_trained_with_them(
    kind: type[JointNetwork], how: str, tmp_path: Path
) -> None:
    if how == "file" and kind is not GaitGraph2:
        pytest.skip("only GaitGraph 2 was published with it")
    torch.manual_seed(0)
    path = save(kind(), tmp_path / "own.pt", {"scheduler": {"total_steps": 500}} if how == "file" else {})
    transforms = {
        "yaml": "evaluator_cfg: {transform: [{type: NormalizeEmpty}, "
        "{type: SelectSequenceCenter, sequence_length: 5}]}",
        "yaml in Compose": "evaluator_cfg: {transform: [{type: Compose, trf_cfg: [{type: NormalizeEmpty}, "
        "{type: SelectSequenceCenter, sequence_length: 5}]}]}",
        "yaml without": "{evaluator_cfg: {transform: [{type: NoOperation}]}, "
        "trainer_cfg: {transform: [{type: NormalizeEmpty}]}}",
        "training yaml": "trainer_cfg: {transform: [{type: NormalizeEmpty}, "
        "{type: RandomSelectSequence, sequence_length: 5}]}",
    }
    if how in transforms:
        config = yaml.safe_load(transforms[how]) | {"model_cfg": {"model": kind.__name__}}
        path.with_suffix(".yaml").write_text(yaml.safe_dump(config))
    network = load_network(path)
    assert isinstance(network, JointNetwork)
    centred = how != "yaml without"
    assert network.frames == (kind.frames if how in ("file", "yaml without") else 5)
    poses, whole = (torch.from_numpy(one) for one in poses_with_gaps())
    torch.testing.assert_close(network.prepared(poses), network.input_of(whole if centred else poses))
    model = NetworkEmbedder(CheckpointFile(path, "given"), GaitSettings())
    assert ("centred=true" in model.card.model_id) == centred, "embeddings of the two cannot be compared"
    bodies = np.full((9, 64, 64), 255, np.uint8)
    walk = GaitSequence(np.arange(9), bodies, 25.0, poses[0].numpy())
    start = (9 - min(9, network.frames)) // 2
    chosen = (whole if centred else poses)[:, start : start + network.frames]
    with torch.inference_mode():
        expected = network.embed(network.input_of(chosen))[0].T
    np.testing.assert_allclose(model.embed([walk])[0].parts, expected, rtol=1e-3, atol=3e-3)


def test_what_is_assumed_of_missing_joints_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for reduction, words in ((8, "missing joints stay where they are"), (4, "missing joints are put into the middle")):
        caplog.clear()
        load_network(save(GaitGraph2(reduction=reduction), tmp_path / "own.pt", {}))
        assert words in caplog.text
        assert "put OpenGait's YAML of its training beside the file" in caplog.text


def test_what_is_assumed_is_shown_with_the_model(tmp_path: Path) -> None:
    path = save(GaitBase(**SMALL, classes=74), tmp_path / "own.pt")
    note = NetworkEmbedder(CheckpointFile(path, "given"), GaitSettings()).card.note
    assert "assumed strides 1, 2, 2, 1" in note
    assert "--gait-config FILE" in note
    assert "academic use only" in note
    path.with_suffix(".yaml").write_text("model_cfg: {backbone_cfg: {strides: [1, 2, 2, 1]}}")
    assert "assumed" not in NetworkEmbedder(CheckpointFile(path, "given"), GaitSettings()).card.note


@pytest.mark.parametrize("text", ["a: [", "[]", "model_cfg: 3", "data_cfg: {}"])
def test_a_yaml_that_is_not_opengaits_is_named(text: str, tmp_path: Path) -> None:
    path = save(GaitSet(channels=5), tmp_path / "own.pt")
    beside = path.with_suffix(".yaml")
    beside.write_text(text)
    with pytest.raises(CheckpointError, match=r"own\.yaml"):
        load_network(path)
    with pytest.raises(SettingsError, match=r"own\.yaml"):
        load_network(path, beside)
