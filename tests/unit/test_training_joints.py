"""The network that sees how joints move: its training people, its batches, and a training from end to end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

pytest.importorskip("lightning", reason="needs the extra [train]")

from app.body.observed import features, resampled
from app.body.skeleton import JOINT
from app.cli.train import app
from app.errors import GaitprintError, OutputError, SettingsError
from app.gait.joints import OnnxJoints
from app.lab.training.bodies import Acquaintances, Motions
from app.lab.training.joints import JointsBatches, JointsNetwork, JointsTrainSettings, export_network, train
from app.settings import GaitSettings
from app.weights.checkpoints import CheckpointFile
from app.weights.sessions import open_session
from tests.contract.test_contract_gait import walk


@pytest.fixture
def settings(tmp_path: Path) -> JointsTrainSettings:
    return JointsTrainSettings(
        out=tmp_path / "out", steps=4, batch=4, rate=1e-3, people=6, walks=3, width=16, depth=1, parts=2, channels=8,
        warmup=2, workers=0, threads=1, save_every=2, check_every=4,
    )  # fmt: skip


def test_people_are_made_once_and_stay_themselves(tmp_path: Path) -> None:
    made = Acquaintances.made(tmp_path / "people.npz", 4, 3, seed=1)
    assert len(made) == 4
    assert made.walks == 3
    again = Acquaintances.made(tmp_path / "people.npz", 4, 3, seed=2)
    np.testing.assert_array_equal(again.points, made.points)
    for people, walks in ((3, 3), (4, 2)):
        with pytest.raises(SettingsError, match=f"holds 4 x 3 walks, and the settings ask for {people} x {walks}"):
            Acquaintances.made(tmp_path / "people.npz", people, walks, seed=1)


@pytest.mark.parametrize("change", [{"batch": 7}, {"walks_each": 4}, {"walks_each": 1}, {"lifting": Path("nowhere")}])
def test_what_cannot_be_trained_is_said_before_the_long_work(
    settings: JointsTrainSettings, change: dict[str, Any]
) -> None:
    with pytest.raises(GaitprintError, match=r"A batch has \d people with|There is no file nowhere"):
        train(replace(settings, **change))
    assert not (settings.out / "people.npz").exists()


@pytest.mark.parametrize("network", ["body", "joints"])
def test_a_place_where_no_network_can_be_written_is_named_before_the_training(network: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    words = [network, "--set", f"out={tmp_path / 'out'}", "--export", str(tmp_path / "file" / "network.onnx")]
    with pytest.raises(OutputError, match=r"file.network\.onnx cannot be made"):
        CliRunner().invoke(app, words, catch_exceptions=False)
    assert not (tmp_path / "out").exists()


def test_walks_can_be_told_from_earlier_ones(tmp_path: Path) -> None:
    Motions.made(tmp_path / "motions.npz", 2, seed=1)
    with pytest.raises(SettingsError, match="holds 2 walks, and the settings ask for 3"):
        Motions.made(tmp_path / "motions.npz", 3, seed=1)
    whole = (tmp_path / "motions.npz").read_bytes()
    for content in (b"", whole[:1000], b"something else"):
        (tmp_path / "motions.npz").write_bytes(content)
        with pytest.raises(SettingsError, match=r"motions\.npz is damaged\. Remove it, and it is made again"):
            Motions.made(tmp_path / "motions.npz", 2, seed=1)


def test_bones_are_the_persons_own(tmp_path: Path) -> None:
    made = Acquaintances.made(tmp_path / "people.npz", 2, 2, seed=1)
    points, _, _ = made.motion(np.array([0, 0, 1]), np.array([0, 1, 0]))
    hip, knee = JOINT["hip_l"], JOINT["knee_l"]
    thighs = np.linalg.norm(points[:, :, hip] - points[:, :, knee], axis=2).mean(axis=1)
    assert abs(thighs[0] - thighs[1]) < 1e-3, "bones are the person's own"
    assert abs(thighs[0] - thighs[2]) > 1e-3


def test_a_batch_depends_on_its_number_alone(settings: JointsTrainSettings, tmp_path: Path) -> None:
    batches = JointsBatches(Acquaintances.made(tmp_path / "people.npz", 6, 3, seed=1), settings)
    one, again, other = batches[7], batches[7], batches[8]
    torch.testing.assert_close(one, again, rtol=0, atol=0)
    assert one["features"].shape != other["features"].shape or not torch.equal(one["features"], other["features"])
    assert one["people"].bincount().max() == settings.walks_each


def test_parts_have_unit_length(settings: JointsTrainSettings) -> None:
    embedding = JointsNetwork(settings).eval()(torch.randn(3, 20, 56))
    assert embedding.shape == (3, 8, 2)
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(3, 2))


def test_the_exported_network_is_a_gait_model(settings: JointsTrainSettings, tmp_path: Path) -> None:
    lifting = train(settings)
    assert isinstance(lifting, JointsNetwork)
    seen = features(resampled(walk(40))[0])[None]
    (expected,) = open_session(settings.lifting).run(None, {"features": seen})
    found = lifting.lift(torch.from_numpy(seen)).detach().numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4, err_msg="the lifting network stays as it was")
    assert export_network(settings, tmp_path / "joints.onnx") < 1e-3
    model = OnnxJoints(CheckpointFile(tmp_path / "joints.onnx", "given"), GaitSettings())
    assert model.card.licence == "Apache-2.0"
    one, other = model.embed([walk(30), walk(90, 1)])
    assert one.parts.shape == other.parts.shape == (2, 8)
    assert other.pieces is not None
    assert len(other.pieces) == 3, "90 frames at 12.5 a second, 30 at once"
