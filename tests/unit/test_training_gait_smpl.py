"""SMPLGait's training from silhouettes and SMPL parameters, and GLN's from silhouettes of 128 rows."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

pytest.importorskip("lightning", reason="needs the extra [train]")

from app.cli.main import main
from app.errors import SettingsError
from app.gait.models.gln import GLN
from app.gait.models.smplgait import SMPLGait, mirrored
from app.gait.opengait import load_network
from app.gait.opengait.saving import save_network
from app.lab.data.opengait import DataSetError, WalkFile, bodies, read_bodies, read_silhouettes, read_smpl, write_array
from app.lab.evaluation.evaluate import evaluate
from app.lab.evaluation.files import FileEmbedder, needs_files
from app.lab.training.gait.config import read_gait_config
from app.lab.training.gait.judging import embed_walks, network_input
from app.lab.training.gait.sampling import GaitBatches, Sampling, tensors
from app.lab.training.gait.settings import GaitTrainSettings
from app.lab.training.gait.task import train, walks_of
from app.lab.training.gait.transforms import RandomHorizontalFlip, RandomRotate
from app.lab.training.gait.walks import PackedWalks
from app.weights.checkpoints import CheckpointFile

SMPLGAIT: dict[str, Any] = {
    "model": "SMPLGait",
    "backbone_cfg": {"type": "Plain", "in_channels": 1, "layers_cfg": ["BC-4", "BC-4", "M", "BC-6", "BC-6", "M"]},
    "smpl_widths": [8, 8],
    "SeparateFCs": {"in_channels": 6, "out_channels": 8, "parts_num": 3},
    "SeparateBNNecks": {"class_num": 3, "in_channels": 8, "parts_num": 3},
    "bin_num": [2, 1],
}
GLN_1: dict[str, Any] = {
    "model": "GLN",
    "in_channels": [1, 4, 4, 6],
    "lateral_dim": 4,
    "hidden_dim": 4,
    "bin_num": [16, 8, 4, 2, 1],
    "Lateral_pretraining": True,
    "reduce_dim": 5,
    "class_num": 3,
}
TRIPLET = {"type": "TripletLoss", "log_prefix": "triplet"}
SOFTMAX = {"type": "CrossEntropyLoss", "log_prefix": "softmax"}
FRAMES = 6


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three people as wide as their numbers say; frame f has f + 1 rows, and f is its first SMPL parameter."""
    for person in range(3):
        for condition in ("nm-01", "nm-02", "nm-05", "bg-01", "cl-01"):
            for view in ("000", "090"):
                place = tmp_path / "data" / f"{person:03d}" / condition / view
                place.mkdir(parents=True)
                walk = np.zeros((FRAMES, 128, 128), np.uint8)
                for frame in range(FRAMES):
                    walk[frame, : 2 * frame + 2, 40 - 8 * person : 60 + 8 * person] = 255
                smpl = np.full((FRAMES, 85), person, np.float64)
                smpl[:, 0] = np.arange(FRAMES)
                write_array(walk, place / "sils-seq0.pkl")
                write_array(smpl, place / "smpls-seq0.pkl")
    (tmp_path / "part.json").write_text('{"TRAIN_SET": ["000", "001", "002"], "TEST_SET": ["000", "001", "002"]}')
    return tmp_path / "data"


@pytest.fixture
def settings_for(data: Path, tmp_path: Path) -> Callable[..., GaitTrainSettings]:
    def made(
        model: dict[str, Any], losses: list[dict[str, Any]], *assignments: str, **trainer: Any
    ) -> GaitTrainSettings:
        config = {
            "data_cfg": {
                "dataset_name": "CASIA-B", "dataset_root": str(data), "num_workers": 0,
                "dataset_partition": str(tmp_path / "part.json"), "data_in_use": [True, True],
            },
            "model_cfg": model,
            "loss_cfg": losses,
            "optimizer_cfg": {"solver": "Adam", "lr": 0.01},
            "trainer_cfg": {
                "save_name": "small", "total_iter": 4, "save_iter": 4, **trainer,
                "sampler": {"batch_size": [2, 2], "sample_type": "fixed_unordered", "frames_num_fixed": 3},
                "transform": [{"type": "BaseSilCuttingTransform"}, {"type": "NoOperation"}],
            },
            "run_cfg": {"out": str(tmp_path / "out"), "threads": 1},
        }  # fmt: skip
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
        return read_gait_config(tmp_path / "config.yaml", assignments)

    return made


class TestReading:
    def test_silhouettes_of_both_sizes(self, data: Path) -> None:
        path = data / "001/nm-01/090/sils-seq0.pkl"
        large = read_silhouettes(path, 128)
        assert large.shape == (FRAMES, 128, 88)
        np.testing.assert_array_equal(read_silhouettes(path, None), large)
        small = read_silhouettes(path)
        assert small.shape == (FRAMES, 64, 44)
        np.testing.assert_array_equal(small, large[:, ::2, ::2])
        write_array(small, path)
        np.testing.assert_array_equal(read_silhouettes(path, None), small)
        with pytest.raises(DataSetError, match=r"sils-seq0\.pkl holds silhouettes of 64 rows, not 128. .*--size 128"):
            read_silhouettes(path, 128)

    def test_bodies_and_silhouettes_of_the_same_frames(self, data: Path) -> None:
        view = data / "002/nm-01/000"
        found = read_bodies(view / "sils-seq0.pkl", view / "smpls-seq0.pkl")
        assert found.dtype == bodies(64)
        assert found["smpl"].dtype == np.float32
        np.testing.assert_array_equal((found["silhouettes"] > 0).any(2).sum(1), found["smpl"][:, 0] + 1)
        write_array(np.zeros((FRAMES - 1, 85), np.float32), view / "smpls-seq0.pkl")
        with pytest.raises(DataSetError, match=r"smpls-seq0\.pkl has 5 bodies, and .*sils-seq0\.pkl has 6 silhouettes"):
            read_bodies(view / "sils-seq0.pkl", view / "smpls-seq0.pkl")

    @pytest.mark.parametrize(
        ("content", "says"),
        [
            (np.zeros((3, 82), np.float32), r"float32 \(3, 82\), not SMPL parameters: float \(T, 85\)"),
            (np.zeros((3, 64, 64), np.uint8), r"uint8 \(3, 64, 64\), not SMPL"),
            (np.zeros((0, 85), np.float32), "not SMPL"),
            (np.full((3, 85), np.nan), "not finite"),
        ],
    )
    def test_what_is_no_body_is_told(self, tmp_path: Path, content: Any, says: str) -> None:
        write_array(content, tmp_path / "0.pkl")
        with pytest.raises(DataSetError, match=rf"0\.pkl holds .*{says}"):
            read_smpl(tmp_path / "0.pkl")

    def test_a_walk_without_smpl_is_left_out_and_told(
        self, data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (data / "001/bg-01/000/smpls-seq0.pkl").unlink()
        packed = PackedWalks.pack(data, None, "silhouettes with smpl", tmp_path / "pack")
        names = {file.name for file in packed.files}
        assert names
        assert "001/bg-01/000" not in names
        assert re.search(r"bg-01/000.*sils-seq0\.pkl holds uint8 .*, not SMPL parameters", caplog.text)


class TestBatches:
    @pytest.mark.parametrize("ordered", [True, False])
    def test_both_are_of_the_same_frames_and_people(self, data: Path, tmp_path: Path, ordered: bool) -> None:
        walks = PackedWalks.pack(data, None, "silhouettes with smpl", tmp_path / "pack")
        batches = GaitBatches(walks, Sampling(2, 3, 4, 4, "ordered" if ordered else "unordered"), seed=1)
        for step in range(6):
            batch = batches[step]
            assert batch["silhouettes"].shape == (6, 4, 64, 44)
            assert batch["smpl"].shape == (6, 4, 85)
            rows = (batch["silhouettes"] > 0).any(3).sum(2)
            torch.testing.assert_close(rows, batch["smpl"][..., 0].long() + 1)
            torch.testing.assert_close(batch["smpl"][:, 0, 1].long(), batch["people"])

    def test_a_mirror_turns_bodies_too_and_other_changes_do_not(self, data: Path, tmp_path: Path) -> None:
        walks = PackedWalks.pack(data, None, "silhouettes with smpl", tmp_path / "pack")
        walk, rng = np.array(walks[0]), np.random.default_rng(0)
        walk["smpl"] = rng.normal(size=walk["smpl"].shape)
        found = RandomHorizontalFlip(1.0)(walk, rng)
        np.testing.assert_array_equal(found["silhouettes"], walk["silhouettes"][..., ::-1])
        np.testing.assert_array_equal(found["smpl"], mirrored(walk["smpl"]))
        np.testing.assert_array_equal(found["smpl"][:, 6:9], walk["smpl"][:, 9:12] * [1, -1, -1])  # hips
        np.testing.assert_array_equal(found["smpl"][:, :6], walk["smpl"][:, :6] * [1, -1, 1, 1, -1, -1])
        np.testing.assert_array_equal(mirrored(found["smpl"]), walk["smpl"])
        found = RandomRotate(1.0, degree=30)(walk, rng)
        assert (found["silhouettes"] != walk["silhouettes"]).any()
        np.testing.assert_array_equal(found["smpl"], walk["smpl"])


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_smplgait_is_trained_written_and_read_again(settings_for: Callable[..., GaitTrainSettings]) -> None:
    settings = settings_for(SMPLGAIT, [TRIPLET, SOFTMAX], with_test=True)
    assert settings.form == "silhouettes with smpl"
    network = train(settings)
    assert isinstance(network, SMPLGait)
    path = settings.out / "checkpoints" / "small-00004.pt"
    loaded = load_network(path, settings.out / "config.yaml", classifier=True)
    for key, value in network.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[key], value, rtol=0, atol=0)
    walks = walks_of(settings, "test")
    found = embed_walks(network, walks)
    one = tensors(walks[7][None])
    silhouettes, smpl = network_input(network, one["silhouettes"]), network_input(network, one["smpl"])
    with torch.inference_mode():
        alone = network.embed(silhouettes, smpl)[0].mT
        other = network.embed(silhouettes, smpl + torch.arange(85.0))[0].mT
    np.testing.assert_allclose(found[7], alone, atol=1e-5)
    assert not np.allclose(found[7], other, atol=1e-3), "the bodies are seen"

    again = settings_for(SMPLGAIT, [TRIPLET, SOFTMAX], "trainer_cfg.total_iter=6", "out=" + str(settings.out))
    train(again)
    assert (settings.out / "checkpoints" / "small-00006.pt").is_file()


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_gln_learns_from_128_rows_in_two_phases(settings_for: Callable[..., GaitTrainSettings], tmp_path: Path) -> None:
    first = settings_for(GLN_1, [TRIPLET], f"out={tmp_path / 'first'}")
    assert first.form == "silhouettes of 128 rows"
    network = train(first)
    assert isinstance(network, GLN)
    assert network.classifier is None
    assert walks_of(first, "train")[0].shape == (FRAMES, 128, 88)
    written = tmp_path / "first" / "checkpoints" / "small-00004.pt"
    second = settings_for(
        {**GLN_1, "Lateral_pretraining": False, "dropout": 0.5}, [TRIPLET, SOFTMAX], f"out={tmp_path / 'second'}",
        "optimizer_cfg.lr=1e-9", "trainer_cfg.total_iter=1", restore_hint=str(written), restore_ckpt_strict=False,
    )  # fmt: skip
    compact = train(second)
    assert isinstance(compact, GLN)
    assert compact.classifier is not None
    assert compact.classifier.reduce.weight.shape[0] == 5
    assert compact.classifier.dropout.p == 0.5
    for key, value in network.state_dict().items():
        torch.testing.assert_close(compact.state_dict()[key], value, rtol=0, atol=1e-6)
    loaded = load_network(tmp_path / "second/checkpoints/small-00001.pt", tmp_path / "second/config.yaml")
    walks = walks_of(second, "test")
    np.testing.assert_allclose(embed_walks(loaded, walks), embed_walks(compact, walks), atol=1e-6)


def test_the_sizes_that_data_sets_are_read_in(settings_for: Callable[..., GaitTrainSettings]) -> None:
    assert settings_for({**GLN_1, "input_size": [64, 44]}, [TRIPLET]).form == "silhouettes"
    large = settings_for({**SMPLGAIT, "input_size": [128, 88]}, [TRIPLET])
    assert large.form == "silhouettes with smpl of 128 rows"
    assert PackedWalks.pack(large.data, None, large.form, large.out / "pack")[0].dtype == bodies(128)
    with pytest.raises(SettingsError, match="input_size: data sets cannot be read as silhouettes of 128 rows"):
        settings_for({**GLN_1, "input_size": [128, 64]}, [TRIPLET])
    with pytest.raises(SettingsError, match=r"smpl_width is unknown\. Did you mean 'smpl_widths'"):
        settings_for({**SMPLGAIT, "smpl_width": [3]}, [TRIPLET])


class TestEvaluation:
    @pytest.fixture
    def checkpoint(self, tmp_path: Path) -> Path:
        torch.manual_seed(0)
        network = SMPLGait((4, 6), (8, 8), (2, 1), 5).eval()
        save_network(network, tmp_path / "smplgait.pt")
        return tmp_path / "smplgait.pt"

    def test_smplgait_is_judged_with_its_bodies(self, data: Path, checkpoint: Path, tmp_path: Path) -> None:
        assert needs_files(checkpoint)
        model = FileEmbedder(CheckpointFile(checkpoint, "given"), 4)
        view = data / "001/nm-01/090"
        found = model.embed(WalkFile("001", "nm-01", "090", view / "sils-seq0.pkl", view / "smpls-seq0.pkl"), frames=2)
        assert found.frames == 2
        middle = read_bodies(view / "sils-seq0.pkl", view / "smpls-seq0.pkl")[2:4][None]
        network = load_network(checkpoint)
        with torch.inference_mode():
            expected = network.embed(*(network_input(network, value) for value in tensors(middle).values()))[0].mT
        np.testing.assert_allclose(found.parts, expected, atol=1e-6)
        judged = evaluate(model, data, "casia-b", cache=tmp_path / "cache")
        assert judged.model.startswith("smplgait@")
        assert [score.name for score in judged.scores] == ["NM", "BG", "CL"]

    def test_the_command_names_what_is_missing(
        self, data: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        arguments = ["evaluate", "--data", str(data), "--protocol", "casia-b", "--checkpoint", str(checkpoint)]
        arguments += ["--cache", str(tmp_path / "cache"), "--json", str(tmp_path / "found.json")]
        assert main(arguments) == 0
        assert (tmp_path / "found.json").is_file()
        capsys.readouterr()
        for path in data.rglob("smpls-*.pkl"):
            path.unlink()
        assert main(arguments) == 2
        told = " ".join(capsys.readouterr().err.split())
        assert "needs SMPL parameters, but" in told
        assert "1_smpl.pkl" in told

    def test_gln_sees_silhouettes_as_the_data_set_has_them(self, data: Path, tmp_path: Path) -> None:
        torch.manual_seed(0)
        network = GLN((4, 4, 6), lateral=4, channels=4).eval()
        save_network(network, tmp_path / "gln.pt")
        assert needs_files(tmp_path / "gln.pt")
        model = FileEmbedder(CheckpointFile(tmp_path / "gln.pt", "given"), 720)
        path = data / "001/nm-01/090/sils-seq0.pkl"
        large, small = read_silhouettes(path, 128), read_silhouettes(path)
        found = model.embed(WalkFile("001", "nm-01", "090", path))
        with torch.inference_mode():
            expected = network.embed(torch.from_numpy(large[None]) / 255)[0].mT
        np.testing.assert_allclose(found.parts, expected, atol=1e-6)
        write_array(small, path)
        reduced = model.embed(WalkFile("001", "nm-01", "090", path))
        assert not np.allclose(reduced.parts, found.parts, atol=1e-3)
