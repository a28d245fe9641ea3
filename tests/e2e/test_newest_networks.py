"""The newest gait networks from the command line: SwinGait names people, the others say what a video lacks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from app.gait.base import EmbeddingNetwork
from app.gait.models.gaitbase import GaitBase
from app.gait.models.swingait import SwinGait
from app.gait.models.xgait import XGait
from app.gait.opengait import to_theirs
from app.gait.opengait.saving import architecture_for
from tests.contract.samples import shake
from tests.e2e.conftest import Demo

WIDTHS = (4, 4, 6, 6)


def put(network: EmbeddingNetwork, path: Path) -> Path:
    shake(network)
    torch.save({"model": to_theirs(network, architecture_for(network).table), "iteration": 60000}, path)
    return path


def test_a_run_with_swingait(demo: Demo, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = SwinGait((4, 8), (16, 16), (1, 1, 2, 2), (2, 4), channels=8, classes=9)
    path = put(network, tmp_path / "SwinGait3D_B1122_C2-60000.pt")
    ended = demo(
        "--probe", "probe1", "--output", tmp_path / "out", "--gait-checkpoint", path, "--set", "gait.max_frames=12"
    )
    assert ended.code == 0, ended.out + ended.err
    assert f"swingait ({path})" in " ".join(ended.out.split())
    (results,) = (tmp_path / "out" / "OutputVideos").glob("*/results.json")
    report = json.loads(results.read_text(encoding="utf-8"))
    assert report["models"]["gait"]["name"] == "swingait"
    assert "academic use only" in report["models"]["gait"]["licence"]
    assert any(track["identity"] for track in report["gallery"]["tracks"])


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Gait3D-XGait-120000.pt", ("takes parsing (maps of body parts) and silhouettes", "python -m app evaluate")),
        ("ScoNet-20000.pt", ("screens for scoliosis", "do not tell who walks")),
    ],
)
def test_what_a_video_does_not_give_is_said(demo: Demo, tmp_path: Path, name: str, says: tuple[str, ...]) -> None:
    network: EmbeddingNetwork = XGait(WIDTHS, narrow=2, channels=5) if "XGait" in name else GaitBase(WIDTHS, classes=3)
    path = put(network, tmp_path / name)
    ended = demo("--probe", "probe1", "--output", tmp_path / "out", "--gait-checkpoint", path)
    ended.failed_with(name, *says)
