"""Training of the newest networks: without names, further with names, and on maps of body parts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("lightning", reason="needs the extra [train]")

from app.errors import CheckpointError, SettingsError
from app.gait.models.foundationgait import FoundationGait
from app.gait.models.gaitssb import GaitSSB
from app.gait.models.swingait import SwinGait
from app.gait.opengait import load_network
from app.lab.data.opengait import PARSED, write_array
from app.lab.training.gait.config import read_shipped
from app.lab.training.gait.settings import GaitTrainSettings, LossTerm
from app.lab.training.gait.task import GaitTask, train
from app.lab.training.gait.transforms import RandomAffine, RandomHorizontalFlip, RandomPartBlur, RandomPartDilate

TINY = ["model_cfg.widths=[4, 4, 6, 6]", "trainer_cfg.total_iter=2", "run_cfg.threads=1"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Four people with three walks each: silhouettes, and beside them maps of body parts."""
    rng = np.random.default_rng(0)
    for person in range(4):
        for number in range(3):
            place = tmp_path / "data" / f"{person:03d}" / f"nm-{number + 1:02d}" / "090"
            place.mkdir(parents=True)
            parsing = np.zeros((9, 64, 64), np.uint8)
            parsing[:, 2:60, 24 - 3 * person : 40 + 3 * person] = rng.integers(1, 12, (9, 58, 1))
            write_array(parsing, place / "0_parsing.pkl")
            write_array((parsing > 0).astype(np.uint8) * 255, place / "1_silhouette.pkl")
    return tmp_path / "data"


def read(name: str, data: Path, out: Path, *more: str, people: int = 4) -> GaitTrainSettings:
    walks = 1 if "pretrain" in name else 2
    sampler = [f"trainer_cfg.sampler.batch_size=[{people}, {walks}]", "trainer_cfg.sampler.frames_num_fixed=4"]
    paths = [f"data_cfg.dataset_root={json.dumps(str(data))}", f"out={json.dumps(str(out))}"]
    return read_shipped(name, [*TINY, *sampler, *paths, *more])


def weights(path: Path) -> dict[str, torch.Tensor]:
    content: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["model"]
    return content


@pytest.mark.parametrize("name", ["gaitssb", "foundationgait"])
def test_without_names_and_then_with_names(name: str, data: Path, tmp_path: Path) -> None:
    first = read(f"{name}-pretrain", data, tmp_path / "first")
    network = train(first)
    assert first.checkpoint is not None
    if isinstance(network, FoundationGait):
        assert network.student is not None
        pairs = list(zip(network.teacher.parameters(), network.student.parameters(), strict=True))
        assert any(not torch.equal(teacher, student) for teacher, student in pairs), "the teacher lags behind"
    start = f"trainer_cfg.restore_hint={json.dumps(str(first.checkpoint))}"
    heads = ["model_cfg.channels=5"]
    second = read(f"{name}-finetune", data, tmp_path / "second", start, *heads)
    tuned = train(second)
    assert second.checkpoint is not None
    before, after = weights(first.checkpoint), weights(second.checkpoint)
    frozen, learnt = {
        "gaitssb": ("Backbone.forward_block.conv1.conv.weight", "projector.0.fc_bin"),
        "foundationgait": ("teacher_backbone.layer0.forward_block.0.weight", "teacher_backbone.projector.0.fc_bin"),
    }[name]
    torch.testing.assert_close(after[frozen], before[frozen], rtol=0, atol=0)
    assert not torch.equal(after[learnt], before[learnt])
    assert isinstance(tuned, GaitSSB | FoundationGait)
    assert tuned.linear is not None
    loaded = load_network(second.checkpoint)
    with torch.inference_mode():
        walk = torch.rand(1, 3, 64, 44)
        torch.testing.assert_close(loaded.embed(walk), tuned.eval().embed(walk))


@pytest.mark.parametrize("name", ["parsinggait", "xgait"])
def test_maps_of_body_parts_are_learnt_from(name: str, data: Path, tmp_path: Path) -> None:
    settings = read(name, data, tmp_path / "out")
    network = train(settings)
    assert settings.checkpoint is not None
    assert load_network(settings.checkpoint).family == network.family == name


def test_swingait_begins_with_a_deepgaitv2(data: Path, tmp_path: Path) -> None:
    deep = ["model_cfg.Backbone.channels=[8, 16, 16, 16]", "model_cfg.SeparateFCs.out_channels=4"]
    deep.append("trainer_cfg.total_iter=1")
    paths = [f"data_cfg.dataset_root={json.dumps(str(data))}", f"out={json.dumps(str(tmp_path / 'deep'))}"]
    sampler = ["trainer_cfg.sampler.batch_size=[4, 2]", "trainer_cfg.sampler.frames_num_fixed=4"]
    before = read_shipped("deepgaitv2-p3d", [*deep, *paths, *sampler])
    train(before)
    assert before.checkpoint is not None
    hint = [f"trainer_cfg.restore_hint={json.dumps(str(before.checkpoint))}", "trainer_cfg.restore_ckpt_strict=false"]
    slow = "optimizer_cfg.groups=[{names: [stem, stages], lr: 0.0}, {names: ['*biases'], weight_decay: 0}]"
    paths[1] = f"out={json.dumps(str(tmp_path / 'swin'))}"
    settings = read_shipped("swingait", [*paths, *sampler, *hint, slow, "trainer_cfg.total_iter=1"])
    network = train(settings)
    assert isinstance(network, SwinGait)
    own = weights(before.checkpoint)["layer2.0.conv1.forward_block.0.weight"]
    found = network.stages[1].get_parameter("0.conv1.conv.weight")
    torch.testing.assert_close(found.detach(), own, rtol=0, atol=0)
    groups = GaitTask(network, settings)._grouped()
    assert [group.get("lr") for group in groups] == [0.0, None, None]
    assert groups[1]["weight_decay"] == 0
    with pytest.raises(CheckpointError, match="is a deepgaitv2 network, not a swingait network"):
        train(read_shipped("swingait", [*paths[:1], f"out={tmp_path / 'strict'}", *sampler, hint[0]]))


@pytest.mark.parametrize(
    ("name", "kind", "says"),
    [
        ("gaitssb-pretrain", "TripletLoss", "learns without names: loss_cfg must be OwnView"),
        ("gaitbase", "OwnView", "must not be OwnView"),
    ],
)
def test_a_loss_of_the_other_kind_is_refused(name: str, kind: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        replace(read_shipped(name), losses=(LossTerm(kind, kind, 1.0),))


def test_one_view_is_not_enough() -> None:
    with pytest.raises(SettingsError, match="needs the transform TwoView"):
        read_shipped("gaitssb-pretrain", ["trainer_cfg.transform=[]"])


def test_a_group_needs_names() -> None:
    with pytest.raises(SettingsError, match="names is missing"):
        read_shipped("swingait", ["optimizer_cfg.groups=[{lr: 0.1}]"])


def test_groups_of_no_weight_are_said(data: Path, tmp_path: Path) -> None:
    settings = read("gaitssb-pretrain", data, tmp_path / "out", "optimizer_cfg.groups=[{names: [nosuch], lr: 0}]")
    with pytest.raises(SettingsError, match=r"no weight is called \['nosuch'\]|no weight is called \('nosuch',\)"):
        train(settings)


def test_labels_are_moved_and_not_mixed() -> None:
    rng = np.random.default_rng(1)
    walk = np.empty(3, PARSED)
    walk["parsing"] = rng.integers(0, 12, (3, 64, 44))
    walk["silhouettes"] = (walk["parsing"] > 0) * np.uint8(255)
    found = RandomAffine(prob=1.0, labels=True)(walk, np.random.default_rng(2))
    assert set(np.unique(found["parsing"])) <= set(range(12))
    assert not np.array_equal(found["parsing"], walk["parsing"])
    agreement = ((found["parsing"] > 0) == (found["silhouettes"] > 127)).mean()
    assert agreement > 0.9, "both are moved alike"
    mirrored = RandomHorizontalFlip(prob=1.0, labels=True)(walk, rng)
    expected: dict[int, int] = {3: 4, 4: 3, 9: 10, 10: 9, 2: 2, 0: 0, 11: 11}
    for label, other in expected.items():
        assert (mirrored["parsing"][..., ::-1][walk["parsing"] == label] == other).all()
    np.testing.assert_array_equal(mirrored["silhouettes"], walk["silhouettes"][..., ::-1])


@pytest.mark.parametrize("kind", [RandomPartDilate, RandomPartBlur])
def test_a_band_of_rows_is_changed_alike_in_all_frames(kind: Any) -> None:
    walk = np.zeros((3, 64, 44), np.uint8)
    walk[:, 10:60, 15:30] = 255
    walk[:, 30:34, 20:23] = 0
    before = walk.copy()
    rng = np.random.default_rng(4)
    changed = [kind(prob=1.0)(walk, rng) for _ in range(20)]
    np.testing.assert_array_equal(walk, before)
    rows = [np.flatnonzero((one != walk).any((0, 2))) for one in changed]
    assert any(len(own) for own in rows)
    for one, own in zip(changed, rows, strict=True):
        assert (one == one[0]).all()
        assert len(own) <= 32 or own[-1] - own[0] < 40
