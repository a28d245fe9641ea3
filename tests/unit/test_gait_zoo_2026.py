"""The networks of 2026's OpenGait, and XGait, without golden vectors: small random networks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from app.errors import CheckpointError, SettingsError
from app.gait import load_network
from app.gait.base import EmbeddingNetwork, FramewiseNetwork, PictureNetwork
from app.gait.checkpoints import accepts
from app.gait.embedder import NetworkEmbedder
from app.gait.models.biggergait import BiggerGait
from app.gait.models.foundationgait import FoundationGait
from app.gait.models.gaitbase import GaitBase
from app.gait.models.gaitedge import GaitEdge, sampling
from app.gait.models.gaitssb import GaitSSB
from app.gait.models.multigait import MultiGait
from app.gait.models.parsinggait import ParsingGait
from app.gait.models.sconet import ScoNet
from app.gait.models.swingait import SwinGait
from app.gait.models.xgait import XGait
from app.gait.opengait import load_network as load_with_classifier
from app.gait.opengait import to_theirs
from app.gait.opengait.saving import architecture_for, save_network
from app.gait.opengait.selfsupervised import TABLE_GRADER
from app.lab.data.opengait import DataSetError, read_parsed, read_parsing, write_array
from app.lab.evaluation.embeddings import embed_walks, walks_for
from app.lab.evaluation.files import FileEmbedder, load_model, needs_files
from app.settings import GaitSettings, Settings
from app.types import GaitSequence
from app.weights.checkpoints import CheckpointFile

WIDTHS: dict[str, Any] = {"widths": (4, 6, 8, 10), "depths": (1, 1, 1, 1)}
Make = Callable[[], PictureNetwork]
Walk = Callable[[int], tuple[Tensor, ...]]


def silhouettes(t: int) -> tuple[Tensor, ...]:
    return (torch.rand(1, t, 64, 44),)


def labels(t: int) -> Tensor:
    return torch.randint(0, 12, (1, t, 64, 44)).float()


def boxes(t: int) -> tuple[Tensor, ...]:
    body = torch.zeros(1, t, 128, 128)
    body[:, :, 10:120, 40:90] = 1
    return torch.full((1, t), 0.5), torch.rand(1, t, 3, 128, 128), body


# Each network small, the input of one walk of `t` frames, and the shape of its embedding.
NETWORKS: dict[str, tuple[Make, Walk, tuple[int, int]]] = {
    "swingait": (
        lambda: SwinGait((4, 8), (8, 16), (1, 1, 2, 2), (2, 4), channels=5, drop=0.0, classes=4), silhouettes, (5, 15),
    ),
    "gaitssb": (lambda: GaitSSB(**WIDTHS), silhouettes, (10, 31)),
    "gaitssb tuned": (lambda: GaitSSB(**WIDTHS, channels=5), silhouettes, (5, 31)),
    "foundationgait": (lambda: FoundationGait(**WIDTHS, student=True), silhouettes, (10, 31)),
    "foundationgait tuned": (lambda: FoundationGait(**WIDTHS, channels=5, classes=4), silhouettes, (5, 31)),
    "parsinggait": (
        lambda: ParsingGait(**WIDTHS, graphs=("fine", "coarse"), channels=5, classes=4),
        lambda t: (labels(t),), (5, 32),
    ),
    "xgait": (
        lambda: XGait(**WIDTHS, narrow=2, channels=5, classes=4), lambda t: (labels(t), *silhouettes(t)), (5, 64),
    ),
    "multigait++": (
        lambda: MultiGait(**WIDTHS, narrow=2, channels=5, classes=4), lambda t: (torch.rand(1, t, 2, 64, 44),), (5, 16),
    ),
    "biggergait": (
        lambda: BiggerGait(8, 2, 2, 16, 5, 2, 1, 4, 3, (4, 4, 4, 4), channels=5, classes=4),
        lambda t: (torch.rand(1, t, 3, 256, 128),), (5, 64),
    ),
    "gaitedge": (
        lambda: GaitEdge((2, 3, 4, 5), (4, 4, 6, 6), channels=5, classes=4), boxes, (5, 64),
    ),
}  # fmt: skip
PACKED = [name for name in NETWORKS if name not in ("foundationgait", "gaitedge")]
EXPORTED = {"swingait": True, "gaitssb": True, "foundationgait tuned": True, "parsinggait": False, "xgait": False,
            "multigait++": False, "biggergait": False}  # fmt: skip


def made(name: str, seed: int = 0) -> PictureNetwork:
    """A network with random statistics, in eval mode."""
    torch.manual_seed(seed)
    network = NETWORKS[name][0]().eval()
    for key, value in network.state_dict().items():
        if key.endswith("running_var"):
            value.uniform_(0.5, 1.5)
        elif key.endswith("running_mean"):
            value.normal_(0, 0.1)
        elif key.endswith("biases"):
            value.normal_()
    return network


def saved(network: EmbeddingNetwork, folder: Path) -> Path:
    save_network(network, folder / "made.pt", metadata={"licence": "mine"})
    return folder / "made.pt"


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_survives_the_way_through_a_checkpoint(name: str, tmp_path: Path) -> None:
    _, walk, shape = NETWORKS[name]
    network, inputs = made(name), walk(5)
    config = {"attention_heads": 2} if name == "biggergait" else None
    path = saved(network, tmp_path)
    with torch.inference_mode():
        for classifier in (False, True):
            loaded = load_with_classifier(path, config, classifier)
            assert type(loaded) is type(network)
            assert loaded.refused is None
            torch.testing.assert_close(loaded.embed(*inputs), network.embed(*inputs), rtol=0, atol=0)
        assert network.embed(*inputs).shape == (1, *shape)
    theirs, table = to_theirs(network, architecture_for(network).table), architecture_for(network).table
    assert [table.to_ours(key) for key in theirs] == list(network.state_dict())


@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in ("gaitssb", "foundationgait")])
def test_one_step_of_training_reaches_every_weight(name: str) -> None:
    network, walk = made(name).train(), NETWORKS[name][1]
    inputs = [torch.cat(pair) for pair in zip(walk(4), walk(4), strict=True)]
    features, logits = network(*inputs)
    (features.square().mean() + (logits.square().mean() if logits is not None else 0)).backward()
    unused = {"vision.mask_token", "vision.norm", "mask.expand", "mask.reduce", "teacher.predictor"}
    missed = [key for key, parameter in network.named_parameters() if parameter.grad is None]
    assert all(any(key.startswith(name) for name in unused) for key in missed), missed


@pytest.mark.parametrize("name", PACKED)
def test_walks_laid_end_to_end_do_not_mix(name: str) -> None:
    network, lengths = made(name), (4, 1, 2)
    walks = [NETWORKS[name][1](length) for length in lengths]
    packed = [torch.cat(parts, 1) for parts in zip(*walks, strict=True)]
    with torch.inference_mode():
        expected = torch.cat([network.embed(*walk) for walk in walks])
        torch.testing.assert_close(network.embed(*packed, lengths=lengths), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["swingait", "gaitssb", "foundationgait", "parsinggait", "xgait", "multigait++"])
def test_wide_pictures_are_refused(name: str) -> None:
    wide = [F.pad(part, (10, 10)) for part in NETWORKS[name][1](2)]
    with pytest.raises(ValueError, match="64 rows and 44 columns, not 64 and 64"):
        made(name).embed(*wide)


@pytest.mark.parametrize("name", EXPORTED)
def test_the_exported_file_answers_as_torch_does(name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    from app.lab.training.gait.export import export_checkpoint

    config = {"attention_heads": 2} if name == "biggergait" else None
    exported = export_checkpoint(saved(made(name), tmp_path), tmp_path / "net.onnx", config)
    assert exported.difference < 1e-4
    assert exported.usable is EXPORTED[name]


def test_gaitedge_cannot_be_exported(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    from app.lab.training.gait.export import export_checkpoint

    with pytest.raises(CheckpointError, match="gaitedge network cannot be exported"):
        export_checkpoint(saved(made("gaitedge"), tmp_path), tmp_path / "net.onnx")
    assert not (tmp_path / "net.onnx").exists()


@pytest.mark.parametrize("name", ["swingait", "gaitssb", "gaitssb tuned", "foundationgait", "foundationgait tuned"])
def test_networks_on_silhouettes_are_gait_models(name: str, tmp_path: Path) -> None:
    model = NetworkEmbedder(CheckpointFile(saved(made(name), tmp_path), "given"), GaitSettings())
    assert accepts(tmp_path / "made.pt")
    bodies = (np.random.default_rng(0).random((5, 64, 64)) > 0.5).astype(np.uint8) * 255
    walks = [GaitSequence(np.arange(length), bodies[:length], 25.0) for length in (5, 1)]
    for walk, embedding in zip(walks, model.embed(walks), strict=True):
        with torch.inference_mode():
            cut = torch.from_numpy(walk.silhouettes[None, :, :, 10:54] / np.float32(255))
            expected = made(name).embed(cut)[0].T
        np.testing.assert_allclose(embedding.parts, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["parsinggait", "xgait", "multigait++"])
def test_networks_on_body_parts_are_gait_models(name: str, tmp_path: Path) -> None:
    model = NetworkEmbedder(CheckpointFile(saved(made(name), tmp_path), "given"), GaitSettings())
    assert accepts(tmp_path / "made.pt")
    assert model.card.parts
    assert not model.card.keypoints
    parts = np.random.default_rng(0).integers(0, 12, (5, 64, 64)).astype(np.uint8)
    bodies = (parts > 0).astype(np.uint8) * 255
    walks = [GaitSequence(np.arange(n), bodies[:n], 25.0, None, parts[:n]) for n in (5, 2)]
    for walk, embedding in zip(walks, model.embed(walks), strict=True):
        assert walk.parts is not None
        labels = torch.from_numpy(walk.parts[None, :, :, 10:54]).float()
        pictures = torch.from_numpy(walk.silhouettes[None, :, :, 10:54]).float() / 255
        inputs = {
            "parsinggait": (labels,),
            "xgait": (labels, pictures),
            "multigait++": (torch.stack([pictures, labels / 255], 2),),
        }[name]
        with torch.inference_mode():
            expected = made(name).embed(*inputs)[0].T
        np.testing.assert_allclose(embedding.parts, expected, rtol=1e-3, atol=1e-4)
        assert embedding.frames == len(walk)
    with pytest.raises(SettingsError, match="looks at maps of body parts, but a walk has none"):
        model.embed([GaitSequence(np.arange(5), bodies, 25.0)])


@pytest.mark.parametrize("name", ["biggergait", "gaitedge"])
def test_networks_on_pictures_are_gait_models(name: str, tmp_path: Path) -> None:
    network = made(name)
    if name == "biggergait":  # as many heads as its width tells, which a file does not say otherwise
        network = BiggerGait(64, 2, None, 16, 5, 2, 1, 4, 3, (4, 4, 4, 4), channels=5, classes=4).eval()
    model = NetworkEmbedder(CheckpointFile(saved(network, tmp_path), "given"), GaitSettings())
    assert model.card.pictures
    assert not model.card.keypoints
    rng = np.random.default_rng(0)
    bodies = np.zeros((5, 64, 64), np.uint8)
    bodies[:, :, 20:44] = 255
    pictures = np.zeros((5, 256, 128, 4), np.uint8)
    pictures[:, :, 32:96, :3] = rng.integers(0, 256, (5, 256, 64, 3))
    pictures[:, 20:250, 48:80, 3] = 255
    ratios = np.full(5, 0.25, np.float32)
    walks = [GaitSequence(np.arange(n), bodies[:n], 25.0, pictures=pictures[:n], ratios=ratios[:n]) for n in (5, 3)]
    for walk, embedding in zip(walks, model.embed(walks), strict=True):
        assert walk.pictures is not None
        seen = torch.from_numpy(walk.pictures[None] / np.float32(255)).permute(0, 1, 4, 2, 3)
        boxes = seen[..., 32:96]  # the ratio is a quarter, so a box has 64 of the 128 columns
        whole = torch.nn.functional.interpolate(boxes[0], (128, 128), mode="bilinear", align_corners=False)[None]
        inputs = {
            "biggergait": (seen[:, :, :3],),
            "gaitedge": (torch.full((1, len(walk)), 0.25), whole[:, :, :3], whole[:, :, 3]),
        }[name]
        with torch.inference_mode():
            expected = network.embed(*inputs)[0].T
        np.testing.assert_allclose(embedding.parts, expected, rtol=1e-2, atol=1e-2)
        assert embedding.frames == len(walk)
    quick = NetworkEmbedder(CheckpointFile(tmp_path / "made.pt", "given"), GaitSettings(precision="bfloat16"))
    (rough,), (exact,) = quick.embed(walks[:1]), model.embed(walks[:1])
    # The mask of BiggerGait is yes or no for each patch, and pictures of noise have many patches in doubt.
    assert np.linalg.norm(rough.parts - exact.parts) < 0.2 * np.linalg.norm(exact.parts)
    with pytest.raises(SettingsError, match="looks at people in colour, but a walk has no pictures"):
        model.embed([GaitSequence(np.arange(5), bodies, 25.0)])


def test_scoliosis_is_not_who_walks(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = GaitBase(**WIDTHS, channels=5, classes=3).eval()
    torch.save({"model": to_theirs(network, architecture_for(network).table)}, tmp_path / "ScoNet-20000.pt")
    found = load_network(tmp_path / "ScoNet-20000.pt")
    assert isinstance(found, ScoNet)
    walk = torch.rand(2, 3, 64, 44)
    with torch.inference_mode():
        _, logits = network(walk)
        torch.testing.assert_close(found.embed(walk), logits)
        torch.testing.assert_close(found.grades(walk), logits.mean(2).argmax(1))
    for refuse in (accepts, lambda path: NetworkEmbedder(CheckpointFile(path, "given"), GaitSettings())):
        with pytest.raises(CheckpointError, match="screens for scoliosis: its scores do not tell who walks"):
            refuse(tmp_path / "ScoNet-20000.pt")
    (tmp_path / "ScoNet-20000.yaml").write_text("model_cfg: {model: Baseline, backbone_cfg: {strides: [1, 2, 2, 1]}}")
    assert type(load_network(tmp_path / "ScoNet-20000.pt")) is GaitBase, "OpenGait's YAML says otherwise"
    (tmp_path / "ScoNet-20000.yaml").write_text("model_cfg: {model: ScoNet, backbone_cfg: {strides: [1, 2, 2, 1]}}")
    assert isinstance(load_network(tmp_path / "ScoNet-20000.pt"), ScoNet)
    save_network(network, tmp_path / "own.pt", metadata={"licence": "mine"})
    assert type(load_network(tmp_path / "own.pt")) is GaitBase, "three people were learnt from here"


def test_a_foundation_that_grades_is_refused(tmp_path: Path) -> None:
    network = FoundationGait(**WIDTHS, scores=3).eval()
    torch.save({"model": to_theirs(network, TABLE_GRADER)}, tmp_path / "scoliosis.pt")
    with torch.inference_mode():
        assert load_network(tmp_path / "scoliosis.pt").embed(torch.rand(1, 2, 64, 44)).shape == (1, 3, 1)
    with pytest.raises(
        CheckpointError, match=r"scoliosis, depression or attributes, in 3 classes\): its scores do not"
    ):
        accepts(tmp_path / "scoliosis.pt")


def test_positions_outside_of_the_table_are_refused(tmp_path: Path) -> None:
    path = saved(made("swingait"), tmp_path)
    content = torch.load(path, weights_only=True)
    content["model"]["transformer.layers.0.blocks.1.attn.relative_position_index"][3, 4] = 225
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=r"damaged: its 'blocks\.0\.1\.attention\.relative_position_index'"):
        load_network(path)


def test_the_teacher_follows_the_student() -> None:
    network = made("foundationgait").train()
    assert isinstance(network, FoundationGait)
    assert network.student is not None
    network.begin()
    before = network.teacher.stem.conv.weight.clone()
    torch.testing.assert_close(before, network.student.stem.conv.weight.detach())
    with torch.no_grad():
        network.student.stem.conv.weight.add_(1)
    network.after_step(0.0)
    torch.testing.assert_close(network.teacher.stem.conv.weight, before + 0.01)
    network.after_step(1.0)
    torch.testing.assert_close(network.teacher.stem.conv.weight, before + 0.01)


def test_an_axis_is_sampled_as_its_cells_say() -> None:
    line = torch.arange(10.0)
    torch.testing.assert_close(sampling(0, 9, 3, 10) @ line, torch.tensor([1.5, 4.5, 7.5]))
    torch.testing.assert_close(sampling(2, 2, 2, 10) @ line, torch.tensor([2.5, 3.5]))
    assert (sampling(12, 3, 2, 10) == 0).all(), "nothing is beyond the picture"


def walk_of(name: str, folder: Path, frames: int = 4) -> None:
    rng = np.random.default_rng(len(name))
    parsing = rng.integers(0, 12, (frames, 64, 64)).astype(np.uint8)
    place = folder / name / "nm-01" / "000"
    place.mkdir(parents=True)
    write_array(parsing, place / "0_parsing.pkl")
    write_array((parsing > 0).astype(np.uint8) * 255, place / "1_silhouette.pkl")


@pytest.mark.parametrize("name", ["parsinggait", "xgait", "multigait++"])
def test_parsing_of_data_sets_is_judged(name: str, tmp_path: Path) -> None:
    path = saved(made(name), tmp_path)
    assert needs_files(path)
    for person in ("anna", "bert"):
        walk_of(person, tmp_path / "data")
    model = FileEmbedder(CheckpointFile(path, "given"), 100)
    walks = walks_for(model, tmp_path / "data")
    found = embed_walks(walks, model, cache=tmp_path / "cache")
    assert [walk.identity for walk in found.walks] == ["anna", "bert"]
    view = tmp_path / "data" / "anna" / "nm-01" / "000"
    parsed = read_parsed(view / "0_parsing.pkl", view / "1_silhouette.pkl")
    labels, bodies = torch.from_numpy(parsed["parsing"]).float(), torch.from_numpy(parsed["silhouettes"]).float() / 255
    inputs = {
        "parsinggait": (labels,), "xgait": (labels, bodies), "multigait++": (torch.stack([bodies, labels / 255], 1),)
    }[name]  # fmt: skip
    with torch.inference_mode():
        expected = made(name).embed(*(part[None] for part in inputs))[0].T
    np.testing.assert_allclose(found.features[0], expected, rtol=1e-4, atol=1e-5)
    settings = Settings().changed({"gait.checkpoint": path})
    assert isinstance(load_model(settings), FileEmbedder)
    of_videos = load_model(settings, of_files=False)  # as casts are embedded
    assert not isinstance(of_videos, FileEmbedder)
    assert of_videos.card.parts


def test_what_is_no_parsing_is_said(tmp_path: Path) -> None:
    write_array(np.full((2, 64, 64), 12, np.uint8), tmp_path / "high.pkl")
    write_array(np.zeros((2, 32, 32), np.uint8), tmp_path / "small.pkl")
    write_array(np.zeros((3, 128, 88), np.uint8), tmp_path / "large.pkl")
    write_array(np.zeros((2, 64, 44), np.uint8), tmp_path / "bodies.pkl")
    for file, says in (("high", "numbers up to 12"), ("small", "not maps of body parts")):
        with pytest.raises(DataSetError, match=says):
            read_parsing(tmp_path / f"{file}.pkl")
    assert read_parsing(tmp_path / "large.pkl").shape == (3, 64, 44)
    with pytest.raises(DataSetError, match=r"3 maps of body parts, and .* 2 silhouettes"):
        read_parsed(tmp_path / "large.pkl", tmp_path / "bodies.pkl")


def test_frames_are_alone_where_they_are_packed() -> None:
    for name in ("gaitssb", "parsinggait", "biggergait"):
        assert isinstance(made(name), FramewiseNetwork)
