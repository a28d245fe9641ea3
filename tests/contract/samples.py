"""Tiny checkpoints of random weights, one maker for each implementation that reads files.

A new detector, segmenter, pose, body or gait model needs one line in `CHECKPOINTS` here; the contract tests then
run over it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from app.types import Frame, VideoInfo
from app.weights.checkpoints import CheckpointFile
from app.weights.registry import Registry
from tests.clips import Scene, Walker, crossing, render, write_clip

# A usual one, a tiny one, one of less than a pixel, and some that leave the frame of 131x97 px.
BOXES = np.array(
    [
        [40, 10, 70, 90],
        [60, 40, 64, 52],
        [20.2, 30.2, 20.6, 30.9],
        [-10, -5, 30, 80],
        [110, 30, 140, 120],
        [0, 0, 131, 97],
        [125, 5, 131, 30],
    ],
    np.float32,
)
NONE = np.zeros((0, 4), np.float32)


@lru_cache(maxsize=2)
def scene(width: int = 131, height: int = 97, seed: int = 0) -> Scene:
    """Two people in a picture of odd size."""
    people = [Walker(1), Walker(2)]
    return crossing(people, gap=0.4, first=-0.3, width=width, height=height, fps=Fraction(25), seconds=2.0, seed=seed)


def clip(folder: Path, seed: int = 0) -> tuple[VideoInfo, list[Frame]]:
    """Write `scene` without loss and return its header and its pictures."""
    of = scene(seed=seed)
    path = folder / f"clip{seed}.mkv"
    write_clip(path, of, codec="ffv1", pix_fmt="bgr0")
    frames = [Frame(index, index / 25, image) for index, (image, _) in enumerate(render(of))]
    return VideoInfo(path, of.width, of.height, of.fps, len(frames)), frames


class Evil:
    """Makes a folder when it is unpickled without protection."""

    def __init__(self, flag: Path) -> None:
        self.flag = flag

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.flag),)


def shake(network: nn.Module) -> nn.Module:
    """Give the norms of an untrained network random statistics, so that its outputs differ."""
    torch.manual_seed(1)
    for name, value in network.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 1.5)
        elif name.endswith("running_mean"):
            value.normal_(0, 0.3)
    return network.eval()


def tiny_yolox() -> nn.Module:
    """A YOLOX of four channels that finds something in any picture."""
    from app.detect.yolox import Yolox, YoloxLayout

    torch.manual_seed(0)
    network = Yolox(YoloxLayout(channels=4, blocks=1, classes=2, depthwise=False))
    shake(network)
    for predictors in (network.head.reg_preds, network.head.obj_preds, network.head.cls_preds):
        for predictor in predictors:
            assert isinstance(predictor, nn.Conv2d)
            nn.init.normal_(predictor.weight, std=3.0)
    return network


def _yolox(folder: Path) -> Path:
    path = folder / "yolox.pth"
    torch.save({"model": tiny_yolox().state_dict(), "best_ap": 0.1}, path)
    return path


def _yolox_onnx(folder: Path) -> Path:
    pytest.importorskip("onnx")
    path = folder / "yolox.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        axes = {"images": {0: "n", 2: "h", 3: "w"}, "output": {0: "n", 1: "a"}}
        names: Any = {"input_names": ["images"], "output_names": ["output"], "dynamic_axes": axes}
        torch.onnx.export(tiny_yolox(), (torch.rand(1, 3, 64, 64),), str(path), dynamo=False, **names)
    return path


def _ultralytics(folder: Path) -> Path:
    ultralytics = pytest.importorskip("ultralytics", reason="needs the extra [ultralytics]")
    path = folder / "yolo.pt"
    network = ultralytics.YOLO("yolo11n.yaml")
    network.model.names = {number: "person" if number == 0 else f"thing {number}" for number in range(80)}
    for branch in network.model.model[-1].cv3:  # an untrained network detects nothing; with this it detects people
        branch[-1].bias.data[0] = 0.0
    network.save(path)
    return path


def _onnx_matte(folder: Path) -> Path:
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    weights = np.random.default_rng(0).normal(0, 1, (1, 3, 5, 5)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w"], ["body"], pads=[2, 2, 2, 2]),
            helper.make_node("Sigmoid", ["body"], ["y"]),
        ],
        "matte",
        [helper.make_tensor_value_info("x", kind, [1, 3, 48, 32])],
        [helper.make_tensor_value_info("y", kind, [1, 1, 48, 32])],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    path = folder / "matte.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


# COCO's 17 joints of somebody who stands, as x and y in shares of the crop.
STANDING = np.array(
    [
        *((0.5, 0.14), (0.52, 0.12), (0.48, 0.12), (0.55, 0.13), (0.45, 0.13)),
        *((0.62, 0.25), (0.38, 0.25), (0.66, 0.39), (0.34, 0.39), (0.67, 0.52), (0.33, 0.52)),
        *((0.57, 0.53), (0.43, 0.53), (0.58, 0.71), (0.42, 0.71), (0.59, 0.89), (0.41, 0.89)),
    ],
    np.float32,
)


def onnx_pose(
    path: Path,
    shape: tuple[int | str, ...] = (1, 3, 48, 32),
    answer: tuple[int | str, ...] = (17, 3),
    form: tuple[int, ...] = (17, 3),
    score: float = 0.9,
    **metadata: str,
) -> Path:
    """A pose network that sees everybody as `STANDING`, moved to the right by a tenth of the normalised red.

    `shape` and `answer` are what the file says of its input and, without the batch, of its output; `form` is that.
    """
    onnx = pytest.importorskip("onnx")
    helper, kind, array = onnx.helper, onnx.TensorProto.FLOAT, onnx.numpy_helper.from_array
    pixels = [2, 3] if shape[1] == 3 else [1, 2]
    standing = np.column_stack([STANDING, np.full(17, score, np.float32)])
    gain = np.zeros((3, 51), np.float32)
    gain[0, ::3] = 0.1
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["x"], ["colour"], axes=pixels, keepdims=0),
            helper.make_node("MatMul", ["colour", "gain"], ["moved"]),
            helper.make_node("Add", ["moved", "standing"], ["joints"]),
            helper.make_node("Round", ["form"], ["rounded"]),  # so that the shape cannot be inferred
            helper.make_node("Cast", ["rounded"], ["whole"], to=onnx.TensorProto.INT64),
            helper.make_node("Reshape", ["joints", "whole"], ["y"]),
        ],
        "pose",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", kind, [shape[0], *answer])],
        [
            array(gain, "gain"),
            array(standing.reshape(1, 51).astype(np.float32), "standing"),
            array(np.array([-1, *form], np.float32), "form"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, {"kind": "pose17", **metadata})
    onnx.save(model, path)
    return path


def _onnx_pose(folder: Path) -> Path:
    return onnx_pose(folder / "pose.onnx")


def _onnx_parts(folder: Path) -> Path:
    """A parser that knows only colours: each label likes another mixture of them."""
    onnx = pytest.importorskip("onnx")
    helper, kind, array = onnx.helper, onnx.TensorProto.FLOAT, onnx.numpy_helper.from_array
    weights = np.random.default_rng(0).normal(0, 3, (12, 3, 1, 1)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w"], ["scores"]),
            helper.make_node("Softmax", ["scores"], ["parts"], axis=1),
        ],
        "parts",
        [helper.make_tensor_value_info("x", kind, ["n", 3, 48, 32])],
        [helper.make_tensor_value_info("parts", kind, ["n", 12, 48, 32])],
        [array(weights, "w")],
    )
    path = folder / "parts.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def lifting(path: Path, outputs: int = 81, **metadata: str) -> Path:
    """A lifting network that sees everybody in the rest pose from the left, nearly whatever the keypoints are."""
    from app.body.mannequin import FEATURES, SHAPES, Mannequin

    onnx = pytest.importorskip("onnx")
    helper, kind, array = onnx.helper, onnx.TensorProto.FLOAT, onnx.numpy_helper.from_array
    rest = Mannequin.load().rest(np.zeros(SHAPES, np.float32))
    points = np.concatenate([rest.skeleton.rest, rest.face]) - rest.skeleton.rest[0]
    still = np.concatenate([points.ravel(), [1.0, 0.0, 0.1], np.zeros(81)])[:outputs].astype(np.float32)
    gain = np.random.default_rng(0).normal(0, 0.004, (FEATURES, outputs)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "gain"], ["moved"]),
            helper.make_node("Add", ["moved", "still"], ["y"]),
        ],
        "lift",
        [helper.make_tensor_value_info("x", kind, ["batch", "frames", FEATURES])],
        [helper.make_tensor_value_info("y", kind, ["batch", "frames", outputs])],
        [array(gain, "gain"), array(still, "still")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, {"kind": "lift26", **metadata})
    onnx.save(model, path)
    return path


def _lifting(folder: Path) -> Path:
    return lifting(folder / "body.onnx")


_PADDLE = """
import sys
import paddle
from paddle import nn
class Network(nn.Layer):
    def __init__(self):
        super().__init__()
        self.body = nn.Conv2D(3, 2, 3, 1, 1)
    def forward(self, x):
        return nn.functional.softmax(self.body(x), axis=1)
network = Network()
network.eval()
paddle.jit.save(network, sys.argv[1], input_spec=[paddle.static.InputSpec([-1, 3, 32, 32], "float32")])
"""


def _pp_humanseg(folder: Path) -> Path:
    pytest.importorskip("paddle", reason="needs the extra [paddle]")
    path = folder / "humanseg"
    path.mkdir()
    script = folder / "export.py"  # a file: Paddle reads the source of what it exports
    script.write_text(_PADDLE, encoding="utf-8")
    environment = {**os.environ, "FLAGS_enable_pir_api": "0"}
    subprocess.run([sys.executable, str(script), str(path / "model")], env=environment, check=True, capture_output=True)
    (path / "deploy.yaml").write_text(
        "Deploy:\n  model: model.pdmodel\n  params: model.pdiparams\n  output_op: softmax\n  transforms:\n"
        "  - {target_size: [32, 32], type: Resize}\n  - {type: Normalize}\n",
        encoding="utf-8",
    )
    return path


def _opengait(folder: Path) -> Path:
    from app.gait.models.gaitbase import GaitBase
    from app.gait.opengait import FAMILIES, to_theirs

    torch.manual_seed(0)
    network = shake(GaitBase(widths=(4, 6, 8, 10), parts=16, channels=5, classes=4))
    architecture = FAMILIES[0].architecture
    assert architecture is not None
    path = folder / "GaitBase-tiny.pt"
    torch.save({"model": to_theirs(network, architecture.table), "iteration": 1}, path)
    return path


def _onnx_gait(folder: Path) -> Path:
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    weights = np.random.default_rng(0).normal(0, 0.1, (64 * 44, 5 * 4)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["x"], ["image"], axes=[1], keepdims=0),
            helper.make_node("Reshape", ["image", "flat"], ["vector"]),
            helper.make_node("MatMul", ["vector", "w"], ["values"]),
            helper.make_node("Reshape", ["values", "parts"], ["y"]),
        ],
        "gait",
        [helper.make_tensor_value_info("x", kind, ["n", "t", 64, 44])],
        [helper.make_tensor_value_info("y", kind, ["n", 5, 4])],
        [
            onnx.numpy_helper.from_array(weights, "w"),
            onnx.numpy_helper.from_array(np.array([0, 64 * 44]), "flat"),
            onnx.numpy_helper.from_array(np.array([0, 5, 4]), "parts"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, {"licence": "CC0-1.0", "flip": "true", "keep": "0.7", "piece": "16"})
    path = folder / "gait.onnx"
    onnx.save(model, path)
    return path


def _onnx_joints(folder: Path) -> Path:
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    weights = np.random.default_rng(0).normal(0, 1, (56, 12)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["features", "w"], ["frames"]),
            helper.make_node("Tanh", ["frames"], ["bent"]),
            helper.make_node("ReduceMean", ["bent"], ["values"], axes=[1], keepdims=0),
            helper.make_node("Reshape", ["values", "parts"], ["embedding"]),
        ],
        "joints",
        [helper.make_tensor_value_info("features", kind, ["n", "t", 56])],
        [helper.make_tensor_value_info("embedding", kind, ["n", 6, 2])],
        [
            onnx.numpy_helper.from_array(weights, "w"),
            onnx.numpy_helper.from_array(np.array([-1, 6, 2]), "parts"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, {"kind": "joints", "licence": "CC0-1.0", "piece": "16"})
    path = folder / "joints.onnx"
    onnx.save(model, path)
    return path


def _fusion(folder: Path) -> Path:
    """Two networks, and a card, which is no checkpoint."""
    path = folder / "both.fusion"
    path.mkdir()
    _onnx_gait(path)
    _onnx_joints(path)
    (path / "gait.md").write_text("A card.", encoding="utf-8")
    return path


CHECKPOINTS: dict[str, Callable[[Path], Path]] = {
    "yolox": _yolox,
    "yolox-onnx": _yolox_onnx,
    "ultralytics": _ultralytics,
    "onnx-matte": _onnx_matte,
    "onnx-pose": _onnx_pose,
    "onnx-parts": _onnx_parts,
    "lift": _lifting,
    "fit": _lifting,
    "pp-humanseg": _pp_humanseg,
    "opengait": _opengait,
    "onnx-gait": _onnx_gait,
    "onnx-joints": _onnx_joints,
    "fusion": _fusion,
}


def checkpoint_for(registry: Registry[Any, Any], name: str, folder: Path) -> CheckpointFile | None:
    """Make a checkpoint for the implementation called `name`; None if it needs none."""
    if registry.get(name).accepts is None:
        return None
    if name not in CHECKPOINTS:
        pytest.fail(f"The {registry.stage} '{name}' is not tested: add a maker of a tiny checkpoint to {__name__}.")
    return CheckpointFile(CHECKPOINTS[name](folder), "given")


def names_of(registry: Registry[Any, Any]) -> list[str]:
    """Return every implementation of a stage, also those that will be registered later."""
    return [entry.name for entry in registry.entries()]


def need_whole_card(card: Any, stage: str) -> None:
    """Check that a model card says everything a report repeats."""
    assert card.stage == stage
    assert card.name
    assert card.licence
    assert card.runtime
    assert card.origin in ("given", "found", "embedded", "weight-free")
    assert (card.file is None) == (card.sha256 is None) == (card.origin == "weight-free")
    if card.sha256 is not None:
        assert len(card.sha256) == 64
        assert card.model_id == f"{card.name}@{card.sha256[:8]}"


def need_refusals(registry: Registry[Any, Any], name: str, settings: Any, folder: Path) -> None:
    """Check that foreign and unsafe files are neither accepted nor loaded, and never run."""
    from app.errors import GaitprintError

    entry = registry.get(name)
    assert entry.accepts is not None
    flag = folder / "ran"
    (folder / "text.txt").write_text("not a network")
    (folder / "junk.onnx").write_bytes(b"junk" * 100)
    (folder / "junk.pt").write_bytes(b"PK\x03\x04 junk")
    (folder / "empty.pth").touch()
    torch.save({"weight": torch.zeros(2)}, folder / "other.pth")
    torch.save([1, 2], folder / "list.pt")
    (folder / "folder").mkdir()
    content = {"model": {"backbone.backbone.stem.conv.conv.weight": torch.zeros(1)}, "evil": Evil(flag)}
    evil = [folder / f"evil{suffix}" for suffix in (".pt", ".pth", ".pth.tar", ".ckpt", ".onnx")]
    for path in evil:
        torch.save(content, path)
    foreign = [path for path in sorted(folder.iterdir()) if path not in evil]
    for path in [*foreign, *evil, folder / "absent.pt"]:
        try:
            accepted = entry.accepts(path)
        except GaitprintError:
            accepted = False
        assert not accepted, path
        with pytest.raises(GaitprintError, match=r"\w"):
            entry.build(CheckpointFile(path, "given"), settings)
    with pytest.raises(GaitprintError):
        entry.build(None, settings)
    assert not flag.exists()
