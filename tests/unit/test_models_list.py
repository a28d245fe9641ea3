"""The list of gait families, and checkpoints that are not whole: skipped by default, an error where they are given."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from app.cli.main import main
from app.errors import CheckpointError
from app.gait.base import EmbeddingNetwork
from app.gait.models import networks
from app.gait.models.cstl import CSTL
from app.gait.models.deepgaitv2 import DeepGaitV2
from app.gait.models.gaitbase import GaitBase
from app.gait.models.gaitgraph import GaitGraph2
from app.gait.opengait import FAMILIES, KeyTable, load_network, outline_of, to_theirs
from app.gait.opengait.residual import TABLE_GAITBASE, TABLE_P3D
from app.gait.opengait.skeletons import TABLE_GAITGRAPH
from app.hub.inventory import gait_families, models_of
from app.weights.published import published
from app.weights.registry import gait_models

NETWORKS: dict[str, tuple[Callable[[], EmbeddingNetwork], KeyTable]] = {
    "gaitbase": (lambda: GaitBase((4, 6, 8, 10), parts=4, channels=5), TABLE_GAITBASE),
    "deepgaitv2": (lambda: DeepGaitV2("p3d", (4, 6, 8, 10), (1, 1, 1, 1), parts=4, channels=5), TABLE_P3D),
    "cstl": (lambda: CSTL((4, 8), 4, 8, 8), KeyTable()),
    "gaitgraph2": (lambda: GaitGraph2(branch_widths=(8, 8), widths=(16, 16), channels=6, reduction=4), TABLE_GAITGRAPH),
}


def put(folder: Path, name: str, without: str | None = None, file: str = "net.pt") -> Path:
    make, table = NETWORKS[name]
    weights = to_theirs(make(), table)
    if without is not None:
        del weights[without]
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({"model": weights}, folder / file)
    return folder / file


@pytest.fixture(autouse=True)
def _no_embedded_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.weights.checkpoints.HOME", tmp_path / "nowhere")


LACKING = "Backbone.forward_block.layer3.0.conv2.weight"


def test_a_file_that_lacks_keys_is_not_the_default(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bad = put(tmp_path / "gait", "gaitbase", without=LACKING, file="bad.pt")
    torch.save(torch.load(bad) | {"optimizer": torch.zeros(99_999)}, bad)  # the largest file comes first
    with caplog.at_level(logging.WARNING):
        assert gait_models.choose("auto", None, (tmp_path,)).entry.name == "gei"
    assert LACKING in caplog.text
    good = put(tmp_path / "gait", "gaitbase", file="good.pt")
    choice = gait_models.choose("auto", None, (tmp_path,))
    entry, file = choice.entry, choice.file
    assert file is not None
    assert (entry.name, file.path) == ("opengait", good)
    listed = {model.name: model for model in models_of(gait_models, tmp_path)}
    assert LACKING in listed["bad.pt"].problem
    assert not listed["bad.pt"].used
    assert listed["gaitbase"].used


def test_given_by_name_it_is_an_error(tmp_path: Path) -> None:
    bad = put(tmp_path, "gaitbase", without=LACKING)
    with pytest.raises(CheckpointError, match=f"1 missing: {LACKING}"):
        gait_models.choose("auto", bad, ())
    with pytest.raises(CheckpointError, match=LACKING):
        load_network(bad)


@pytest.mark.parametrize("name", NETWORKS)
def test_whichever_key_is_missing_the_file_is_refused(name: str, tmp_path: Path) -> None:
    keys = [key for key in to_theirs(NETWORKS[name][0](), NETWORKS[name][1]) if "num_batches" not in key]
    assert outline_of(put(tmp_path, name)).family == name
    for key in keys[:: len(keys) // 8]:
        with pytest.raises(CheckpointError):
            outline_of(put(tmp_path, name, without=key))


def test_a_missing_stage_is_named(tmp_path: Path) -> None:
    key = "Backbone.forward_block.layer3.0.conv1.weight"
    with pytest.raises(CheckpointError, match=f"not a whole gaitbase network: .*{key}"):
        outline_of(put(tmp_path, "gaitbase", without=key))


def test_every_network_is_in_the_list_of_families() -> None:
    families = {family.name: family for family in gait_families()}
    networks = {family.network for family in families.values()}
    assert {family.architecture.network.family for family in FAMILIES if family.architecture} <= networks
    assert {family.title for family in FAMILIES if not family.architecture} <= set(families)
    base = families["GaitBase"]
    assert (base.parameters, base.inputs, base.licence) == (6_994_112, "silhouettes", "academic use only")
    assert base.figures == {"CASIA-B NM/BG/CL": "97.6/94.0/77.4", "Gait3D": "64.6", "GREW": "60.1"}
    assert "gaitbase-gait3d" in base.published
    assert families["SkeletonGait++"].inputs == "heatmaps with silhouettes"
    assert families["PoseGait"].published == ()
    assert families["LidarGait"].parameters is None
    assert {name for name, family in families.items() if family.reason} == {
        "ScoNet", "LidarGait", "DenoisingGait", "MSGG"
    }  # fmt: skip
    assert "swingait-gait3d" in families["SwinGait"].published
    assert "academic use only" in families["SwinGait"].licence
    assert families["XGait"].inputs == "parsing and silhouettes"


def test_the_list_of_families_has_the_sizes_of_the_networks() -> None:
    classes = networks()
    for family in gait_families():
        if family.network is not None:
            with torch.device("meta"):  # gives the shapes without allocating the weights
                network = classes[family.network]()
            parameters = sum(parameter.numel() for parameter in network.parameters())
            inputs = " and ".join(what.partition(" (")[0] for what in network.inputs)
            assert (family.parameters, family.inputs) == (parameters, inputs), f"{family.name} in published.json"


def test_figures_of_checkpoints_are_those_of_their_family() -> None:
    families = {family.name: family for family in gait_families()}
    for model in published().values():
        if model.stage == "gait" and model.family in families:
            assert model.figures.items() <= families[model.family].figures.items()


def test_the_command_shows_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert main(["models", "--checkpoints", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 100
    line = next(line for line in text.splitlines() if line.startswith("GaitBase "))
    assert line.split()[1:3] == ["7.0", "silhouettes"]
    assert main(["models", "--checkpoints", str(tmp_path), "--json"]) == 0
    found = {family["name"]: family for family in json.loads(capsys.readouterr().out)["gait_families"]}
    assert found["GaitSet"]["figures"]["Gait3D"] == "36.7"
