"""The detector's own architecture, and the published weights that it can start from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from app.detect.letterbox import cells
from app.detect.small import SmallBackbone, SmallDetector
from app.errors import CheckpointError

onnx = pytest.importorskip("onnx", reason="needs the extra train")

PUBLISHED = Path(__file__).parents[3] / "shared" / "models" / "nanodet_g.onnx"
MEAN = np.array([103.53, 116.28, 123.675], np.float32).reshape(3, 1, 1)
STD = np.array([57.375, 57.12, 58.395], np.float32).reshape(3, 1, 1)


def convolutions(network: nn.Module) -> list[nn.Conv2d]:
    return [module for module in network.modules() if isinstance(module, nn.Conv2d)]


def stored(path: Path, kernels: list[np.ndarray], *, cast: bool = True) -> Path:
    """Write a graph whose convolutions have these kernels, stored as float16 as in the published file."""
    nodes, weights, previous = [], [], "x"
    for number, kernel in enumerate(kernels):
        kind = np.float16 if cast else np.float32
        weights.append(onnx.numpy_helper.from_array(kernel.astype(kind), f"k{number}"))
        weights.append(onnx.numpy_helper.from_array(kernel.sum((1, 2, 3)).astype(np.float32), f"b{number}"))
        if cast:
            nodes.append(onnx.helper.make_node("Cast", [f"k{number}"], [f"w{number}"], to=onnx.TensorProto.FLOAT))
        nodes.append(
            onnx.helper.make_node("Conv", [previous, f"{'wk'[not cast]}{number}", f"b{number}"], [f"y{number}"])
        )
        previous = f"y{number}"
    ports = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in ("x", previous)]
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", ports[:1], ports[1:], weights)), str(path))
    return path


def published_kernels(network: SmallDetector) -> list[np.ndarray]:
    """Random kernels of the shapes of the published file: the pyramid and the heads begin with the coarsest level."""
    random = np.random.default_rng(0)
    shapes = [tuple(layer.weight.shape) for layer in convolutions(network.backbone)]
    shapes += [(128, width, 1, 1) for width in (512, 256, 128)] + 3 * [(128, 128, 3, 3), (124, 128, 1, 1)]
    return [random.normal(0, 0.05, shape).astype(np.float16).astype(np.float32) for shape in shapes]


def test_the_backbone_has_levels_from_a_half_to_a_thirty_second() -> None:
    levels = SmallBackbone()(torch.randn(2, 3, 192, 96))
    shapes = [(2, width, 192 >> n, 96 >> n) for n, width in enumerate(SmallBackbone.CHANNELS, 1)]
    assert [tuple(level.shape) for level in levels] == shapes


def test_every_cell_gives_a_box_and_a_score() -> None:
    assert SmallDetector()(torch.rand(2, 3, 64, 96) * 255).shape == (2, len(cells(64, 96)), 5)


@pytest.mark.parametrize("cast", [True, False])
def test_published_weights_go_where_they_belong(tmp_path: Path, cast: bool) -> None:
    network = SmallDetector()
    kernels = published_kernels(network)
    network.start(stored(tmp_path / "nanodet.onnx", kernels, cast=cast))
    for layer, kernel in zip(convolutions(network.backbone), kernels, strict=False):
        assert layer.bias is not None
        np.testing.assert_array_equal(layer.weight.detach(), kernel)
        np.testing.assert_allclose(layer.bias.detach(), kernel.sum((1, 2, 3)), rtol=1e-5)
    laterals, heads = kernels[-9:-6], kernels[-6:]
    for number, layer in enumerate(convolutions(network.lateral)):
        np.testing.assert_array_equal(layer.weight.detach(), laterals[2 - number])
    for number, head in enumerate(network.heads):
        inner, last = convolutions(head)
        np.testing.assert_array_equal(inner.weight.detach(), heads[4 - 2 * number])
        published = heads[5 - 2 * number]
        np.testing.assert_array_equal(last.weight.detach(), np.concatenate([published[:1], published[80:]]))


def test_a_backbone_alone_takes_the_first_weights_also_for_rgb(tmp_path: Path) -> None:
    kernels = published_kernels(SmallDetector())
    path = stored(tmp_path / "nanodet.onnx", kernels)
    blue_first, red_first = SmallBackbone(), SmallBackbone()
    blue_first.start(path)
    red_first.start(path, rgb=True)
    image = torch.randn(1, 3, 64, 64)
    for one, other in zip(blue_first(image), red_first(image.flip(1)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_frozen_stages_do_not_learn() -> None:
    network = SmallBackbone()
    network.freeze(0)
    assert all(parameter.requires_grad for parameter in network.parameters())
    network.freeze(2)
    learning = {name.rpartition(".")[0] for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert learning
    assert all(name.startswith(("stages.2", "stages.3")) for name in learning)


@pytest.mark.parametrize("fault", ["empty", "text", "too few", "other shapes"])
def test_other_files_are_refused(tmp_path: Path, fault: str) -> None:
    path = tmp_path / "other.onnx"
    kernels = published_kernels(SmallDetector())
    if fault == "empty":
        path.write_bytes(b"")
    elif fault == "text":
        path.write_text("not a network")
    else:
        stored(path, kernels[:-1] if fault == "too few" else [kernels[1], *kernels[1:]])
    with pytest.raises(CheckpointError, match="NanoDet-g"):
        SmallDetector().start(path)


@pytest.mark.skipif(not PUBLISHED.is_file(), reason="needs the published NanoDet-g beside the project")
def test_it_answers_as_the_published_network() -> None:
    from onnxruntime import InferenceSession

    network = SmallDetector().eval()
    network.start(PUBLISHED)
    image = torch.rand(1, 3, 96, 160, generator=torch.Generator().manual_seed(0)) * 255
    with torch.inference_mode():
        found = network(image)[0].numpy()
    session = InferenceSession(str(PUBLISHED), providers=["CPUExecutionProvider"])
    outputs = {port.name: port.name for port in session.get_outputs()}
    values = dict(
        zip(outputs, session.run(None, {session.get_inputs()[0].name: (image.numpy() - MEAN) / STD}), strict=True)
    )
    scores = np.concatenate([values[f"Identity{name}:0"][0, :, 0] for name in ("", "_1", "_2")])
    np.testing.assert_allclose(1 / (1 + np.exp(-found[:, 4])), scores, atol=1e-5)
    bins = np.exp(np.concatenate([values[f"Identity{name}:0"][0] for name in ("_3", "_4", "_5")]).reshape(-1, 4, 11))
    left, top, right, bottom = ((bins / bins.sum(2, keepdims=True)) @ np.arange(11)).T
    np.testing.assert_allclose(np.exp(found[:, 2:4]), np.stack([left + right, top + bottom], 1), atol=1e-3)
    middles = np.stack([right - left, bottom - top], 1) / 2 + 0.5
    np.testing.assert_allclose(found[:, :2], middles, atol=1e-3)
