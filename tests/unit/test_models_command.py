"""What `python -m app models` says, and that it is what a run does."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from app.cli.main import main
from app.errors import SettingsError
from app.hub.inventory import models_of, registries
from tests.contract.samples import CHECKPOINTS

Command = Callable[..., str]


@pytest.fixture(autouse=True)
def _no_embedded_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what a test puts there is there."""
    monkeypatch.setattr("app.weights.checkpoints.HOME", tmp_path / "nowhere")


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run ``models`` on the folder `tmp_path`, on a terminal of 100 columns."""
    monkeypatch.setenv("COLUMNS", "100")

    def run(*arguments: str) -> str:
        capsys.readouterr()
        assert main(["models", "--checkpoints", str(tmp_path), *arguments]) == 0
        return capsys.readouterr().out

    return run


def put(maker: str, folder: Path) -> Path:
    """A tiny checkpoint of random weights in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    return CHECKPOINTS[maker](folder)


def rows(text: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(text)["models"]
    return found


def test_a_bare_clone(command: Command) -> None:
    text = command()
    for stage, default in {"detector": "motion", "segmenter": "motion", "gait": "gei"}.items():
        assert f"{stage}, used by default: {default}\n" in text
    assert "pose, used by default: none" in text
    assert max(map(len, text.splitlines())) <= 100
    details = command("--details")
    assert "gaitbase-gait3d" in details
    assert "background subtraction: only for a camera that stands still" in details


@pytest.mark.parametrize("columns", [80, 120])
def test_every_network_has_its_line(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    put("opengait", tmp_path / "gait" / "gaitbase-gait3d")
    monkeypatch.setenv("COLUMNS", str(columns))
    text, details = command(), command("--details")
    for line in ("gei weight-free Apache-2.0", "GLN 8.5 silhouettes your own", "LidarGait not taken"):
        assert line in [" ".join(one.split()) for one in text.splitlines()]
    assert re.search(r"gaitbase +\S+\.pt +found +\d+\.\d MB +academic use only", text)
    assert "…" not in text
    assert len(text.splitlines()) < 75
    assert max(len(one) for one in details.splitlines() if not one.startswith("gait")) <= columns + 10
    for broken in ("Apache-2.\n", "Recogniti\n", "academ…", "publish\n"):
        assert broken not in re.sub(" +\n", "\n", details)


def test_what_is_found_says_where_it_comes_from(command: Command, tmp_path: Path) -> None:
    file = put("opengait", tmp_path / "gait" / "gaitbase-gait3d")
    text = command("--details")
    assert f"gait, used by default: gaitbase, {file.relative_to(tmp_path)}\n" in text
    assert "Gait3D 64.6" in text
    first, last = (row for row in rows(command("--json")) if row["stage"] == "gait")
    assert (first["name"], first["reader"], first["origin"], first["used"]) == ("gaitbase", "opengait", "found", True)
    assert (first["file"], first["bytes"]) == (str(file), file.stat().st_size)
    assert "academic use only" in first["licence"]
    assert (first["figures"], first["published"]) == ("Gait3D 64.6", "gaitbase-gait3d")
    assert "published as gaitbase-gait3d" in " ".join(text.split())
    assert (last["name"], last["origin"], last["used"]) == ("gei", "weight-free", False)


def test_an_embedded_network_states_its_licence_and_figures(command: Command, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    file = put("onnx-matte", tmp_path / "embedded" / "segmenter")
    (file.parent / "matte.md").write_text("the card")
    network = onnx.load(file)
    stated = {"licence": "CC0-1.0", "figures": "mean IoU .91, held-out pictures", "note": "small people"}
    onnx.helper.set_model_props(network, stated)
    onnx.save(network, file)
    row = next(row for row in rows(command("--json")) if row["stage"] == "segmenter")
    assert {key: row[key] for key in stated} == stated
    assert (row["origin"], row["used"], row["card"]) == ("embedded", True, str(file.with_suffix(".md")))
    assert "embedded/segmenter/matte.onnx" in command()


def test_what_cannot_be_used_says_why(command: Command, tmp_path: Path) -> None:
    put("opengait", tmp_path / "gait")
    depth = {"Backbone.forward_block.conv1.conv.weight": torch.zeros(999, 3, 3, 3)}
    weights = {f"{block}.weight": torch.zeros(99) for block in ("Backbone.forward_block.layer1.0.conv1", "FCs.fc_bin")}
    torch.save({"model": {**depth, **weights}}, tmp_path / "gait" / "other.pt")
    (tmp_path / "gait" / "notes.txt").write_text("nothing to read")
    found = [row for row in rows(command("--json")) if row["stage"] == "gait"]
    assert [(row["name"], row["used"], bool(row["problem"])) for row in found] == [
        ("gaitbase", True, False),
        ("other.pt", False, True),
        ("gei", False, False),
    ]
    assert "seems to be a LidarGait" in found[1]["problem"]
    assert "other.pt seems to be" in " ".join(command().split())


def test_a_network_whose_package_is_missing_says_so(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "segmenter" / "human"
    folder.mkdir(parents=True)
    for name in ("model.pdmodel", "model.pdiparams"):
        (folder / name).write_bytes(b"x")
    (folder / "deploy.yaml").write_text("Deploy: {transforms: [{type: Normalize}]}")
    monkeypatch.setitem(__import__("sys").modules, "paddle", None)
    row = next(row for row in rows(command("--json")) if row["stage"] == "segmenter")
    assert (row["name"], row["reader"], row["used"]) == ("human", "pp-humanseg", True), "a run would stop with it"
    assert "[paddle]" in row["problem"]


def test_failed_downloads_and_foreign_files_are_told(command: Command, tmp_path: Path) -> None:
    for stage, name, content in (
        ("gait", "page.pt", b"<!DOCTYPE html><html>Sign in</html>"),
        ("segmenter", "nothing.onnx", b""),
        ("detector", "pointer.pth", b"version https://git-lfs.github.com/spec/v1\nsize 9\n"),
        ("pose", "cut.onnx", b"\x08\x08\x3a\x7fabc"),
        ("pose", "other.onnx", b"\x08\x08"),
    ):
        (tmp_path / stage).mkdir(exist_ok=True)
        (tmp_path / stage / name).write_bytes(content)
    found = {row["name"]: row for row in rows(command("--json")) if row["problem"]}
    told = {name: row["problem"] for name, row in found.items()}
    assert told.keys() == {"page.pt", "nothing.onnx", "pointer.pth", "cut.onnx", "other.onnx"}
    assert "is a web page" in told["page.pt"]
    assert "is empty" in told["nothing.onnx"]
    assert "git lfs pull" in told["pointer.pth"]
    assert "damaged or incomplete" in told["cut.onnx"]
    assert "cannot be read as an ONNX network" in told["other.onnx"]
    assert not any(row["used"] for row in found.values())


def test_a_self_trained_network_says_what_it_was_trained_on(command: Command, tmp_path: Path) -> None:
    file = put("opengait", tmp_path / "gait")
    stated = {"licence": "unknown: depends on the data it was trained on", "note": "trained here on CASIA-B"}
    torch.save({**torch.load(file, weights_only=True), "metadata": stated}, file)
    row = next(row for row in rows(command("--json")) if row["name"] == "gaitbase")
    assert {key: row[key] for key in stated} == stated


@pytest.mark.parametrize("placed", [(), ("detector",), ("detector", "embedded/detector"), ("embedded/detector",)])
def test_the_default_is_that_of_a_run(placed: tuple[str, ...], tmp_path: Path) -> None:
    for folder in placed:
        put("yolox", tmp_path / folder)
    if "detector" in placed:
        shutil.copy(tmp_path / "detector" / "yolox.pth", tmp_path / "detector" / "another.pth")
        (tmp_path / "detector" / "large.pth").write_bytes(b"junk" * 100_000)
    for stage in registries():
        used = [(model.reader, model.file) for model in models_of(stage, tmp_path) if model.used]
        try:
            choice = stage.choose("auto", None, (tmp_path,))
            entry, file = choice.entry, choice.file
        except SettingsError:
            assert used == []
        else:
            assert used == [(entry.name, file.path if file else None)]


def test_published_ones_are_listed(command: Command, tmp_path: Path) -> None:
    (tmp_path / "detector" / "yolox-nano").mkdir(parents=True)
    found = {row["name"]: row for row in json.loads(command("--json"))["published"]}
    assert found["yolox-nano"]["here"]
    assert not found["yolox-x"]["here"]
    assert found["gaitbase-grew"]["supported"]
    assert found["gaitbase-grew"]["figures"] == {"GREW": "60.1"}
    assert found["gaitbase-grew"]["licence"]["short"] == "academic use only"
    words = " ".join(command("--details").split())  # a long name of the folder breaks the last column
    assert "yolox-nano 7.7 MB Apache-2.0 COCO AP 25.8 (val); here" in words


def test_an_export_replaces_nothing_unasked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "mine.onnx"
    out.write_bytes(b"mine")
    assert main(["models", "export", "nosuch.pt", str(out)]) == 2
    assert "--force" in capsys.readouterr().err
    assert main(["models", "export", "nosuch.pt", str(out), "--force"]) == 2
    assert "nosuch.pt" in capsys.readouterr().err
    assert out.read_bytes() == b"mine"
    assert main(["models", "export", "nosuch.pt", str(out / "x.onnx")]) == 2
    assert "cannot be made" in " ".join(capsys.readouterr().err.split())
