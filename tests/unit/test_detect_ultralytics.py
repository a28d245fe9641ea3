"""Ultralytics files are whole pickles: which are accepted, which are refused, and the message without the package."""

from __future__ import annotations

import os
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from app.detect.ultralytics import UltralyticsDetector, holds_ultralytics, need_harmless
from app.detect.yolox_torch import holds_yolox
from app.errors import CheckpointError, MissingExtraError
from app.settings import DetectorSettings
from app.weights.checkpoints import CheckpointFile


class DetectionModel(nn.Module):
    """Is pickled under the name of ultralytics' network."""

    def __init__(self, cfg: Any = None) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.SiLU())
        self.names = {0: "person"}
        self.stride = torch.tensor([8.0])
        self.seen = {1, 2}


DetectionModel.__module__ = "ultralytics.nn.tasks"


@pytest.fixture(autouse=True)
def _package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Offer the names of the package while files are written."""
    tasks: Any = types.ModuleType("ultralytics.nn.tasks")
    tasks.DetectionModel = DetectionModel
    for name, module in {
        "ultralytics": types.ModuleType("ultralytics"),
        "ultralytics.nn": types.ModuleType("ultralytics.nn"),
        "ultralytics.nn.tasks": tasks,
    }.items():
        monkeypatch.setitem(sys.modules, name, module)


class Calls:
    """Calls something when the file is opened."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def saved(path: Path, content: Any, protocol: int = 2) -> Path:
    torch.save(content, path, pickle_protocol=protocol)
    return path


def test_an_ordinary_file_passes(tmp_path: Path) -> None:
    for protocol in (2, 4):
        path = saved(tmp_path / "model.pt", {"model": DetectionModel().half(), "ema": None, "date": "2026"}, protocol)
        assert holds_ultralytics(path)
        assert not holds_yolox(path)
        need_harmless(path)


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize(
    "function", [os.mkdir, eval, getattr, exec, torch.load, torch.hub.load, __import__], ids=lambda f: f.__name__
)
def test_code_is_refused_and_not_run(tmp_path: Path, function: Any, protocol: int) -> None:
    mark = tmp_path / "ran"
    arguments = {"mkdir": (str(mark),), "eval": (f"__import__('os').mkdir({str(mark)!r})",)}
    bomb = Calls(function, *arguments.get(function.__name__, ("os",)))
    path = saved(tmp_path / "bomb.pt", {"model": DetectionModel(), "bomb": bomb}, protocol)
    assert holds_ultralytics(path)
    with pytest.raises(CheckpointError, match=r"bomb\.pt is refused: .*the name "):
        UltralyticsDetector(CheckpointFile(path, "given"), DetectorSettings())
    assert not mark.exists()


def test_a_layer_may_be_restored_but_not_constructed(tmp_path: Path) -> None:
    """The real network's constructor evaluates its configuration."""
    bomb = Calls(DetectionModel, {"activation": "__import__('os').abort()"})
    path = saved(tmp_path / "bomb.pt", {"model": bomb})
    with pytest.raises(CheckpointError, match=r"a call of ultralytics\.nn\.tasks DetectionModel"):
        need_harmless(path)


def test_damaged_and_foreign_files(tmp_path: Path) -> None:
    path = saved(tmp_path / "model.pt", {"model": DetectionModel()})
    (tmp_path / "cut.pt").write_bytes(path.read_bytes()[:3000])
    (tmp_path / "junk.pt").write_bytes(b"ultralytics.nn.tasks")
    plain = saved(tmp_path / "plain.pt", {"model": {"a": torch.zeros(1)}})
    for other in (tmp_path / "cut.pt", tmp_path / "junk.pt", plain, tmp_path, tmp_path / "absent.pt"):
        assert not holds_ultralytics(other)
    with pytest.raises(CheckpointError, match="damaged"):
        need_harmless(tmp_path / "cut.pt")


def test_without_the_package_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "model.pt", {"model": DetectionModel()})
    monkeypatch.setitem(sys.modules, "ultralytics", None)
    with pytest.raises(MissingExtraError, match=r"\[ultralytics\]"):
        UltralyticsDetector(CheckpointFile(path, "given"), DetectorSettings())
