"""8-bit versions of networks: how they are made, what they are compared with, and when none is written."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from app.errors import CheckpointError, VideoError
from app.hub import quantise as module
from app.hub.quantise import Quantised, quantise
from app.weights.checkpoints import HOME, CheckpointFile
from app.weights.networks import open_network
from app.weights.quantised import SOURCE, quantised_path, unpacked

onnx = pytest.importorskip("onnx")
CLIPS = HOME.parent / "input_videos"


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for name in ("gallery.mp4", "probe1.mp4"):
        shutil.copy(CLIPS / name, folder)
    return folder


@pytest.fixture(scope="module")
def looked_at(clips: Path) -> list[module._Clip]:
    """What is kept of the clips, which is read only once."""
    return module._clips(sorted(clips.iterdir()), 2, module.Silent())


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, looked_at: list[module._Clip]) -> Path:
    """A copy of the embedded segmenter without its 8-bit version."""
    monkeypatch.setattr(module, "_clips", lambda videos, frames, progress: looked_at)
    return Path(shutil.copy(HOME / "embedded" / "segmenter" / "gaitprint-segmenter.onnx", tmp_path))


def test_an_8_bit_version_is_made_and_used(network: Path, clips: Path) -> None:
    made: Quantised = quantise(network, clips, frames=2)
    assert made.path == quantised_path(network)
    assert made.size == made.path.stat().st_size < 0.9 * network.stat().st_size
    assert "mean IoU" in made.figures
    assert float(made.figures.split()[-1]) > 0.95
    page = made.page.read_text(encoding="utf-8")
    assert made.figures in page
    assert "Calibrated with" in page
    assert "from gallery.mp4." in page
    assert "on probe1.mp4" in page
    file = CheckpointFile(network, "given")
    session = open_network(file, "cpu", "int8")
    stated = session.get_modelmeta().custom_metadata_map
    assert stated[SOURCE] == file.sha256()
    assert stated["threshold"], "the float file's own metadata is kept"


def test_the_last_convolutions_stay_in_float(network: Path, clips: Path) -> None:
    quantise(network, clips, frames=2)
    graph = onnx.load_from_string(unpacked(quantised_path(network))).graph
    made_by = {name: node.op_type for node in graph.node for name in node.output}
    convolutions: Sequence[onnx.NodeProto] = [node for node in graph.node if node.op_type == "Conv"]
    in_8_bits = [made_by.get(node.input[1]) == "DequantizeLinear" for node in convolutions]
    assert in_8_bits == [True] * (len(convolutions) - 1) + [False]
    levels = [onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer]
    kernels = [level for level in levels if level.dtype == "int8" and level.ndim == 4]
    assert len(kernels) == len(convolutions) - 1
    assert max(abs(kernel.astype(int)).max() for kernel in kernels) <= 64, "7 bits"


def test_nothing_is_written_where_the_answers_differ(
    network: Path, clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LEAST", 1.01)
    with pytest.raises(CheckpointError, match=r"was not written, because it answers too differently on probe1\.mp4"):
        quantise(network, clips, frames=2)
    assert list(network.parent.glob("*.int8*")) == []


def test_what_cannot_be_quantised_is_refused(network: Path, clips: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be quantised"):
        quantise(HOME / "embedded" / "gait" / "gaitprint-gait.onnx", clips)
    (tmp_path / "one").mkdir()
    with pytest.raises(VideoError, match="has 0 videos"):
        quantise(network, tmp_path / "one")
