"""Gait networks as ONNX files: they answer as torch does, and those from silhouettes are gait models again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("onnx")

from app.cli.main import main
from app.errors import CheckpointError, OutputError
from app.gait.base import EmbeddingNetwork
from app.gait.embedder import NetworkEmbedder
from app.gait.models.gaitgl import GaitGL
from app.gait.models.gaitgraph import GaitGraph1
from app.gait.models.mtsgait import MTSGait
from app.gait.models.skeletongait import SkeletonGaitPlus
from app.gait.models.smplgait import SMPLGait
from app.gait.onnx import OnnxGait
from app.gait.opengait import KeyTable, to_theirs
from app.gait.opengait.plain import GAITGL, TABLE_MTSGAIT, TABLE_SMPLGAIT
from app.gait.opengait.residual import TABLE_PLUS
from app.gait.opengait.skeletons import TABLE_GAITGRAPH
from app.lab.training.gait import export as gait_export
from app.lab.training.gait.export import export_checkpoint
from app.settings import GaitSettings
from app.types import GaitSequence
from app.weights.checkpoints import CheckpointFile

PLAIN: dict[str, Any] = {"widths": (16, 16), "bins": (2, 1), "channels": 5}
assert GAITGL.architecture
NETWORKS: dict[str, tuple[Callable[[], EmbeddingNetwork], KeyTable, bool]] = {
    "gaitgl": (lambda: GaitGL((4, 4, 6, 6), parts=8, channels=5), GAITGL.architecture.table, True),
    "mtsgait": (lambda: MTSGait(**PLAIN), TABLE_MTSGAIT, True),
    "smplgait": (lambda: SMPLGait(**PLAIN, smpl_widths=(8, 8)), TABLE_SMPLGAIT, False),
    "skeletongait++": (
        lambda: SkeletonGaitPlus((4, 4, 6, 6), (1, 1, 1, 1), parts=4, channels=5, narrow=2), TABLE_PLUS, False,
    ),
    "gaitgraph1": (
        lambda: GaitGraph1(branch_widths=(8, 8), widths=(16, 16), strides=(2, 1), channels=6, reduction=4),
        TABLE_GAITGRAPH, False,
    ),
}  # fmt: skip


def put(name: str, folder: Path) -> Path:
    torch.manual_seed(0)
    make, table, _ = NETWORKS[name]
    torch.save({"model": to_theirs(make(), table)}, folder / "net.pt")
    return folder / "net.pt"


@pytest.mark.parametrize("name", NETWORKS)
def test_the_file_answers_as_torch_does(name: str, tmp_path: Path) -> None:
    checkpoint, path = put(name, tmp_path), tmp_path / "net.onnx"
    made = export_checkpoint(checkpoint, path)
    assert made.family == name
    assert made.difference < 1e-5
    assert made.usable is NETWORKS[name][2]
    if not made.usable:
        return
    model = OnnxGait(CheckpointFile(path, "given"), GaitSettings())
    assert "academic use only" in model.card.licence
    reference = NetworkEmbedder(CheckpointFile(checkpoint, "given"), GaitSettings())
    for frames in (1, 2, 13):
        silhouettes = (np.random.default_rng(frames).random((frames, 64, 64)) > 0.5).astype(np.uint8) * 255
        walk = [GaitSequence(np.arange(frames), silhouettes, 25.0)]
        np.testing.assert_allclose(model.embed(walk)[0].parts, reference.embed(walk)[0].parts, rtol=1e-3, atol=1e-5)


def test_what_does_not_agree_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "net.onnx"
    path.write_text("an earlier one")
    monkeypatch.setattr(gait_export, "TOLERANCE", -1.0)
    with pytest.raises(CheckpointError, match="differ by"):
        export_checkpoint(put("gaitgraph1", tmp_path), path)
    assert path.read_text() == "an earlier one"


def test_the_command_says_what_the_file_is_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = put("gaitgl", tmp_path)
    assert main(["models", "export", str(checkpoint), str(tmp_path / "half.onnx"), "--half"]) == 0
    assert "--gait-checkpoint" in capsys.readouterr().out
    assert main(["models", "export", str(checkpoint), str(tmp_path / "net.txt")]) == 2
    assert "must end in .onnx" in capsys.readouterr().err
    with pytest.raises(OutputError):
        export_checkpoint(checkpoint, tmp_path / "net.bin")
    assert main(["models", "export", str(tmp_path / "nothing.pt"), str(tmp_path / "net.onnx")]) == 2
