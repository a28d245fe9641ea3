"""Gait networks as ONNX files: what their properties do, and which files are taken for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.checkpoints import CheckpointFile
from app.errors import CheckpointError
from app.gait.onnx import OnnxGait, accepts, ordinary
from app.registry import gait_models
from app.settings import GaitSettings
from app.types import Bytes, GaitSequence

onnx = pytest.importorskip("onnx")


def write(
    path: Path,
    ports: tuple[Sequence[Any], Sequence[Any]] = (("n", "t", 64, 44), ("n", 64, 44)),
    **properties: str,
) -> CheckpointFile:
    """A network whose embedding is the mean silhouette: a part for each column, a number for each row."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    keep = len(ports[0]) == len(ports[1])
    graph = helper.make_graph(
        [helper.make_node("ReduceMean", ["x"], ["y"], axes=[1], keepdims=int(keep))],
        "gait",
        [helper.make_tensor_value_info("x", kind, list(ports[0]))],
        [helper.make_tensor_value_info("y", kind, list(ports[1]))],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, properties)
    onnx.save(model, path)
    return CheckpointFile(path, "given")


def walk(frames: int = 6, seed: int = 0) -> GaitSequence:
    silhouettes = (np.random.default_rng(seed).random((frames, 64, 64)) > 0.5).astype(np.uint8) * 255
    return GaitSequence(np.arange(frames), silhouettes, 25.0)


def mean(silhouettes: Bytes) -> Any:
    return (silhouettes[:, :, 10:54].mean(axis=0) / 255).T


def test_parts_are_those_of_the_network(tmp_path: Path) -> None:
    model = OnnxGait(write(tmp_path / "a.onnx"), GaitSettings())
    found = model.embed([walk(), walk(9, 1)])
    np.testing.assert_allclose(found[0].parts, mean(walk().silhouettes), atol=1e-6)
    np.testing.assert_allclose(found[1].parts, mean(walk(9, 1).silhouettes), atol=1e-6)
    assert found[0].parts.flags["C_CONTIGUOUS"]


@pytest.mark.parametrize("walks", ["n", 1])
def test_flip_makes_a_walk_and_its_mirror_image_one(tmp_path: Path, walks: Any) -> None:
    model = OnnxGait(write(tmp_path / "a.onnx", ((walks, "t", 64, 44), (walks, 64, 44)), flip="true"), GaitSettings())
    one = walk()
    other = GaitSequence(one.frame_indices, one.silhouettes[:, :, ::-1].copy(), 25.0)
    found, mirrored = model.embed([one, other])
    np.testing.assert_allclose(found.parts, mirrored.parts, atol=1e-6)
    both = (mean(one.silhouettes) + mean(other.silhouettes)) / 2
    np.testing.assert_allclose(found.parts, both, atol=1e-6)


def test_keep_leaves_out_what_is_unlike_the_rest(tmp_path: Path) -> None:
    silhouettes = np.repeat(walk(1).silhouettes, 8, axis=0)
    silhouettes[:, 50:] = np.random.default_rng(1).integers(0, 256, (8, 14, 64), np.uint8)  # legs move
    good = silhouettes.copy()
    silhouettes[[2, 5], 10:30] = 0
    assert ordinary(silhouettes, 0.75).tolist() == [0, 1, 3, 4, 6, 7]
    assert ordinary(silhouettes, 0.01).tolist() == [0]
    assert ordinary(silhouettes, 1.0).tolist() == list(range(8))
    model = OnnxGait(write(tmp_path / "a.onnx", keep="0.75"), GaitSettings())
    found = model.embed([GaitSequence(np.arange(8), silhouettes, 25.0)])[0]
    np.testing.assert_allclose(found.parts, mean(good[[0, 1, 3, 4, 6, 7]]), atol=1e-6)
    assert found.frames == 8


def test_long_walks_are_thinned(tmp_path: Path) -> None:
    model = OnnxGait(write(tmp_path / "a.onnx"), GaitSettings(max_frames=4))
    long = walk(10)
    found = model.embed([long])[0]
    np.testing.assert_allclose(found.parts, mean(long.silhouettes[[0, 3, 6, 9]]), atol=1e-6)
    assert found.frames == 4


def test_the_file_says_its_licence(tmp_path: Path) -> None:
    file = write(tmp_path / "mine.onnx", licence="CC0-1.0", note="a mean")
    card = OnnxGait(file, GaitSettings()).card
    assert (card.name, card.licence, card.note) == ("mine", "CC0-1.0", "a mean")
    assert OnnxGait(write(tmp_path / "mine.onnx"), GaitSettings()).card.licence == "that of the file"
    assert gait_models.choose("auto", file.path, ())[0].name == "onnx-gait"


@pytest.mark.parametrize("keep", ["0", "1.5", "many", "nan"])
def test_a_share_that_is_none_is_told(tmp_path: Path, keep: str) -> None:
    with pytest.raises(CheckpointError, match=f"property 'keep'.*not {keep}"):
        OnnxGait(write(tmp_path / "a.onnx", keep=keep), GaitSettings())


@pytest.mark.parametrize(
    "ports",
    [
        ((1, 3, 64, 44), (1, 64, 44)),  # YOLOX has three colours
        (("n", "t", 64, 44), ("n", 1, 64, 44)),  # a matte
        (("n", "t", 128, 88), ("n", 128, 88)),
        (("n", "t", 64, "w"), ("n", 64, "w")),
        ((4, "t", 64, 44), (4, 64, 44)),
    ],
)
def test_other_ports_are_not_taken(tmp_path: Path, ports: Any) -> None:
    file = write(tmp_path / "a.onnx", ports)
    assert not accepts(file.path)
    with pytest.raises(CheckpointError, match="'onnx-gait' needs"):
        OnnxGait(file, GaitSettings())
