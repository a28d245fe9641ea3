"""The table of the families: made from small people, resumed, written; and the commands."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

pytest.importorskip("lightning", reason="needs the extra [train]")
pytest.importorskip("anny", reason="needs the extra [walkers]")

from app.cli.benchmark import app as benchmark
from app.cli.train import app as train_app
from app.errors import SettingsError
from app.gait.onnx import OnnxGait
from app.gait.opengait import load_network
from app.lab.data.opengait import read_keypoints, read_smpl, write_array
from app.lab.training.gait.config import families
from app.lab.training.gait.walks import PackedWalks
from app.lab.walkers.dataset import Plan
from app.lab.zoo import table
from app.lab.zoo.table import RECORDED, Row, cells, make_table, milliseconds, parameters, read_family
from app.settings import GaitSettings
from app.weights.checkpoints import CheckpointFile

CONFIG: dict[str, Any] = {
    "data_cfg": {"dataset_root": "", "num_workers": 0},
    "model_cfg": {"model": "GaitSet", "in_channels": [1, 4, 4, 8], "bin_num": [1], "SeparateFCs": {"out_channels": 4}},
    "loss_cfg": {"type": "TripletLoss"},
    "optimizer_cfg": {"solver": "Adam", "lr": 0.001},
    "trainer_cfg": {
        "save_name": "tiny",
        "total_iter": 2,
        "sampler": {"batch_size": [2, 2], "sample_type": "fixed_unordered", "frames_num_fixed": 3},
    },
    "run_cfg": {"threads": 1},
}


def write_people(folder: Path, plan: Plan, **_: Any) -> None:
    """Rectangles instead of people, as wide as their number says, and poses as wide."""
    views = range(3) if plan.cameras else plan.views[:3]
    for index in range(plan.subjects):
        for condition, number in plan.walks:
            for view in views:
                place = folder / "data" / f"{plan.first + index:05d}" / f"{condition}-{number:02d}" / f"{view:03d}"
                place.mkdir(parents=True, exist_ok=True)
                walk = np.zeros((6, 64, 44), np.uint8)
                walk[:, :, 10 : 20 + 2 * index] = 255
                pose = np.ones((6, 17, 3), np.float32)
                pose[:, :, :2] = [[(20 + 20 * index) * (joint % 2), 8 * joint] for joint in range(17)]
                arrays: dict[str, Any] = {"silhouette": walk, "parsing": walk // 128, "pose": pose}
                for modality in plan.modalities:
                    write_array(arrays[modality], place / f"0_{modality}.pkl")


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    """The plans of the people that were made."""
    plans: list[Plan] = []

    def write(folder: Path, plan: Plan, **options: Any) -> None:
        plans.append(plan)
        write_people(folder, plan, **options)

    monkeypatch.setattr(table, "write_dataset", write)
    return plans


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Families in batches of 2 people with 2 walks of 3 frames."""

    def read(name: str, out: Path, steps: int | None = None) -> Any:
        found = read_family(name, out, steps)
        sampling = replace(found.sampling, people=2, walks=2, fewest=3, most=3)
        return replace(found, sampling=sampling, precision="32-true")

    monkeypatch.setattr(table, "read_family", read)


@pytest.mark.usefixtures("small")
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_a_family_is_trained_judged_and_not_again(tmp_path: Path, made: list[Plan]) -> None:
    rows = make_table(tmp_path, ["geinet"], 3, 2, cache=tmp_path, steps=2)
    learnt, tested = made
    assert (learnt.subjects, learnt.training, learnt.cameras, learnt.modalities) == (3, 3, 3, ("silhouette",))
    assert (tested.subjects, tested.first, tested.training) == (2, 1, 0)
    assert not {learnt.first + i for i in range(learnt.subjects)} & {tested.first + i for i in range(tested.subjects)}
    (row,) = rows
    assert (row.family, row.sees, row.steps, row.walks) == ("GEINet", "silhouettes", 2, 4)
    assert row.rank1 == {"NM": 1.0, "BG": 1.0, "CL": 1.0}, "wide and narrow ones are told apart untrained"
    assert row.minutes > 0
    lines = (tmp_path / "table.md").read_text().splitlines()
    assert lines[0].startswith("| family | sees | NM | BG | CL | mAP |")
    assert lines[2].startswith("| GEINet | silhouettes | 100.0 | 100.0 | 100.0 |")
    assert len({line.count("|") for line in lines}) == 1
    written = tmp_path / "geinet" / "checkpoints" / "GEINet-00002.pt"
    before = written.stat().st_mtime_ns
    assert make_table(tmp_path, ["geinet"], 3, 2, cache=tmp_path, steps=2) == rows
    assert written.stat().st_mtime_ns == before
    assert len(made) == 2, "nobody walks for families that were judged"
    assert [Row(**row) for row in json.loads((tmp_path / "results.json").read_text())] == rows


@pytest.mark.usefixtures("small")
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_keypoints_and_heatmaps_are_of_the_same_people(tmp_path: Path, made: list[Plan]) -> None:
    rows = make_table(tmp_path, ["gaitgraph1", "skeletongait"], 2, 2, cache=tmp_path, steps=1)
    assert {row.sees for row in rows} == {"keypoints", "heatmaps"}
    poses, silhouettes = made[:2], made[2:]
    assert {plan.modalities for plan in poses} == {("pose",)}
    assert [replace(plan, modalities=("pose",)) for plan in silhouettes] == poses
    assert sorted(path.name for path in tmp_path.glob("people-*")) == ["people-pose", "people-silhouette"]
    packs = [
        PackedWalks(tmp_path / "people-pose" / f"test-{name}") for name in ("keypoints", "heatmaps-with-silhouettes")
    ]
    assert packs[0].files[0].name == packs[1].files[0].name
    exact = read_keypoints(tmp_path / "people-pose" / "test" / "data" / packs[0].files[0].name / "0_pose.pkl")
    assert 0.1 < np.abs(packs[0][0] - exact)[..., :2].mean() < 10, "an estimator errs, but not much"


@pytest.mark.usefixtures("small")
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_body_parts_and_fitted_bodies_are_of_the_same_people(tmp_path: Path, made: list[Plan]) -> None:
    rows = make_table(tmp_path, ["multigait++", "parsinggait", "smplgait-estimated"], 2, 2, cache=tmp_path, steps=1)
    assert {row.family: row.sees for row in rows} == {
        "MultiGait++": "silhouettes with parsing",
        "ParsingGait": "parsing",
        "SMPLGait-estimated": "silhouettes with smpl",
    }
    assert len({replace(plan, modalities=("pose",)) for plan in made}) == 2, "the training people and the test people"
    pack = PackedWalks(tmp_path / "people-estimated" / "test-silhouettes-with-smpl")
    bodies = {file.name: pack[index]["smpl"] for index, file in enumerate(pack.files)}
    again = read_smpl(tmp_path / "people-estimated" / "test" / "data" / pack.files[0].name / "1_smpl.pkl")
    assert np.array_equal(bodies[pack.files[0].name], again)
    assert again.shape == (6, 85)
    assert np.abs(again[:, 3:75]).max() > 0.01, "somebody who stands as the keypoints say"
    assert not (tmp_path / "people-smpl").exists(), "nothing exact was recorded"


@pytest.mark.usefixtures("made", "small")
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_a_family_that_learns_without_names_first_goes_on_from_there(tmp_path: Path) -> None:
    (row,) = make_table(tmp_path, ["gaitssb-finetune"], 2, 2, cache=tmp_path, steps=1)
    assert (row.family, row.steps) == ("GaitSSB-finetune", 1)
    first = load_network(tmp_path / "gaitssb-pretrain" / "checkpoints" / "GaitSSB-pretrain-00001.pt").state_dict()
    tuned = load_network(tmp_path / "gaitssb-finetune" / "checkpoints" / "GaitSSB-finetune-00001.pt").state_dict()
    stem = [name for name in first if name.startswith("backbone.stem") and name.endswith("weight")]
    assert stem
    assert all(np.array_equal(first[name].numpy(), tuned[name].numpy()) for name in stem), "its rate is 0"


def test_what_every_family_sees_is_recorded(tmp_path: Path) -> None:
    for name in families():
        assert RECORDED[read_family(name, tmp_path).form]


def test_parameters_are_those_of_embedding(tmp_path: Path) -> None:
    settings = read_family("gaitbase", tmp_path)
    network = settings.plan.build(50, classifier=True)
    lean = settings.plan.build(50, classifier=False)
    assert parameters(network) == parameters(lean) == sum(value.numel() for value in lean.parameters())
    write_people(tmp_path / "people", Plan(subjects=1, conditions=(("nm", 1),), views=(0, 90)))
    walks = PackedWalks.pack(tmp_path / "people", None, "silhouettes", tmp_path / "pack")
    assert 0 < milliseconds(lean.eval(), walks) < 1000


def test_a_row_as_text() -> None:
    shares = {"NM": 0.5, "BG": 0.25, "CL": 0.125}
    row = Row("X", "keypoints", shares, {"NM": 0.6, "BG": 0.3, "CL": 0.0}, 1_234_567, 12.34, 100, 24, 2.04)
    assert cells(row) == ["X", "keypoints", "50.0", "25.0", "12.5", "30.0", "1.23 M", "12.3", "100", "2.0"]


def test_an_unknown_family_ends_the_command(tmp_path: Path) -> None:
    found = CliRunner().invoke(benchmark, ["walkers", str(tmp_path / "out"), "--family", "gaitst"])
    assert isinstance(found.exception, SettingsError)
    assert "Did you mean 'gaitset'" in str(found.exception)
    assert not (tmp_path / "out").exists()


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_the_train_command_takes_opengaits_yaml(tmp_path: Path) -> None:
    write_people(tmp_path / "people", Plan(subjects=3, conditions=(("nm", 2),), views=(0, 90)))
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    given = ["gait", "--config", str(tmp_path / "config.yaml"), "--set", f"data_cfg.dataset_root={tmp_path / 'people'}"]
    found = CliRunner().invoke(train_app, [*given, "--set", f"out={tmp_path / 'out'}"], catch_exceptions=False)
    assert found.exit_code == 0
    assert "in OpenGait's format" in found.output
    assert "ONNX Runtime and torch differ by" in found.output
    model = OnnxGait(CheckpointFile(tmp_path / "out" / "gait.onnx", "given"), GaitSettings())
    assert model.card.licence.startswith("unknown")
    again = CliRunner().invoke(train_app, [*given, "--set", f"out={tmp_path / 'out'}", "--export-only"])
    assert again.exit_code == 0
    load_network(tmp_path / "out" / "checkpoints" / "tiny-00002.pt", tmp_path / "out" / "config.yaml")
    untrained = ["--set", f"out={tmp_path / 'new'}", "--export-only"]
    for more, message in ((["--set", "trainer_cfg.totl=1"], "'total_iter'"), (untrained, "Train the network first")):
        found = CliRunner().invoke(train_app, [*given, *more])
        assert isinstance(found.exception, SettingsError)
        assert message in str(found.exception)
