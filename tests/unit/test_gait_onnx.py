"""Gait networks as ONNX files: what their properties do, and which files are recognised."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.errors import CheckpointError
from app.gait.onnx import OnnxGait, accepts, cut, ordinary
from app.settings import GaitSettings
from app.types import Bytes, GaitSequence
from app.weights.checkpoints import CheckpointFile
from app.weights.registry import gait_models

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
def test_flip_gives_a_walk_and_its_mirror_image_one_embedding(tmp_path: Path, walks: Any) -> None:
    model = OnnxGait(write(tmp_path / "a.onnx", ((walks, "t", 64, 44), (walks, 64, 44)), flip="true"), GaitSettings())
    one = walk()
    other = GaitSequence(one.frame_indices, one.silhouettes[:, :, ::-1].copy(), 25.0)
    found, mirrored = model.embed([one, other])
    np.testing.assert_allclose(found.parts, mirrored.parts, atol=1e-6)
    both = (mean(one.silhouettes) + mean(other.silhouettes)) / 2
    np.testing.assert_allclose(found.parts, both, atol=1e-6)


def test_keep_leaves_out_silhouettes_unlike_the_rest(tmp_path: Path) -> None:
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


def test_a_cut_walk_is_covered_by_the_fewest_pieces() -> None:
    assert cut(8, 4).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert cut(9, 4).tolist() == [[0, 1, 2, 3], [2, 3, 4, 5], [5, 6, 7, 8]]
    assert cut(3, 4).tolist() == [[0, 1, 2]]
    assert cut(1, 1).tolist() == [[0]]
    for frames in range(1, 60):
        pieces = cut(frames, 7)
        assert len(pieces) == -(-frames // 7)
        assert sorted(set(pieces.ravel().tolist())) == list(range(frames))


@pytest.mark.parametrize("walks", ["n", 1])
@pytest.mark.parametrize("flip", ["true", "false"])
def test_a_long_walk_is_embedded_piece_by_piece(tmp_path: Path, walks: Any, flip: str) -> None:
    file = write(tmp_path / "a.onnx", ((walks, "t", 64, 44), (walks, 64, 44)), piece="4", flip=flip)
    model = OnnxGait(file, GaitSettings())
    long, short = walk(8), walk(3, 1)
    found, brief = model.embed([long, short])
    assert found.pieces is not None
    assert brief.pieces is not None
    assert (found.frames, len(found.pieces)) == (8, 2)
    assert (brief.frames, len(brief.pieces)) == (3, 1)
    whole = OnnxGait(write(tmp_path / "b.onnx", flip=flip), GaitSettings())
    halves = whole.embed([long.part(slice(4)), long.part(slice(4, 8))])
    for piece, half in zip(found.pieces, halves, strict=True):
        np.testing.assert_allclose(piece, half.parts, atol=1e-6)
    assert {piece.model_id for piece in found.of_pieces()} == {model.card.model_id}
    for embedding, pieces in ((found, found.pieces), (brief, brief.pieces)):
        mean_of_pieces = pieces.mean(axis=0)
        unit = mean_of_pieces / np.linalg.norm(mean_of_pieces, axis=1, keepdims=True)
        np.testing.assert_allclose(embedding.parts, unit, atol=1e-6)


def test_another_size_of_pieces_is_another_model(tmp_path: Path) -> None:
    cards = [OnnxGait(write(tmp_path / "a.onnx", piece=piece), GaitSettings()).card for piece in ("8", "16")]
    assert cards[0].model_id != cards[1].model_id


@pytest.mark.parametrize(
    ("fps", "gap", "expected"), [(25.0, 1, 2), (12.5, 1, 1), (25.0, 2, 1), (60.0, 1, 5), (8.0, 1, 1)]
)
def test_silhouettes_follow_each_other_as_fast_as_in_training(
    tmp_path: Path, fps: float, gap: int, expected: int
) -> None:
    model = OnnxGait(write(tmp_path / "a.onnx", rate="12.5"), GaitSettings())
    given = GaitSequence(gap * np.arange(20), walk(20).silhouettes, fps)
    found = model.embed([given])[0]
    np.testing.assert_allclose(found.parts, mean(given.silhouettes[::expected]), atol=1e-6)
    assert found.frames == len(range(0, 20, expected))


@pytest.mark.parametrize("rate", ["0", "-4", "many", "nan"])
def test_an_unusable_rate_is_an_error(tmp_path: Path, rate: str) -> None:
    with pytest.raises(CheckpointError, match=f"property 'rate'.*not {rate}"):
        OnnxGait(write(tmp_path / "a.onnx", rate=rate), GaitSettings())


@pytest.mark.parametrize("piece", ["0", "-4", "2.5", "many", "nan", "inf"])
def test_an_unusable_piece_is_an_error(tmp_path: Path, piece: str) -> None:
    with pytest.raises(CheckpointError, match=f"property 'piece'.*not {piece}"):
        OnnxGait(write(tmp_path / "a.onnx", piece=piece), GaitSettings())


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
    assert gait_models.choose("auto", file.path, ()).entry.name == "onnx-gait"


@pytest.mark.parametrize("keep", ["0", "1.5", "many", "nan"])
def test_an_unusable_share_is_an_error(tmp_path: Path, keep: str) -> None:
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
def test_networks_with_other_inputs_or_outputs_are_not_accepted(tmp_path: Path, ports: Any) -> None:
    file = write(tmp_path / "a.onnx", ports)
    assert not accepts(file.path)
    with pytest.raises(CheckpointError, match="'onnx-gait' needs"):
        OnnxGait(file, GaitSettings())
