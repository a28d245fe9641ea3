"""Training from OpenGait's YAML: losses, schedules, the checkpoints, and that they can be loaded again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor, nn

pytest.importorskip("lightning", reason="needs the extra [train]")

from app.errors import CheckpointError, SettingsError
from app.gait.base import EmbeddingNetwork
from app.gait.models.cstl import CSTL
from app.gait.models.deepgaitv2 import DeepGaitV2, DeepGaitV2Frames
from app.gait.models.gaitbase import GaitBase
from app.gait.models.gaitgl import GaitGL
from app.gait.models.gaitgraph import GaitGraph1, GaitGraph2
from app.gait.models.gaitpart import GaitPart
from app.gait.models.gaitset import GaitSet
from app.gait.models.gaitstrips import GaitStrips
from app.gait.models.gaittr import GaitTR
from app.gait.models.geinet import GEINet
from app.gait.models.gln import GLN
from app.gait.models.mtsgait import MTSGait
from app.gait.models.skeletongait import SkeletonGait, SkeletonGaitPlus
from app.gait.models.smplgait import SMPLGait
from app.gait.opengait import load_network
from app.gait.opengait.saving import save_network
from app.lab.data.opengait import write_array
from app.lab.training.gait.config import read_gait_config
from app.lab.training.gait.judging import embed_walks, network_input
from app.lab.training.gait.sampling import GaitBatches
from app.lab.training.gait.settings import GaitTrainSettings, LossTerm
from app.lab.training.gait.task import GaitTask, evaluation_sets, loss_of, train, walks_of
from app.weights.checkpoints import load_pickle_safely, metadata_of

NARROW = (4, 4, 4, 8)
NETWORKS: dict[str, Callable[[], EmbeddingNetwork]] = {
    "geinet": lambda: GEINet((4, 6), 7, classes=3),
    "gaitset": lambda: GaitSet((4, 6, 8), channels=5),
    "gaitpart": lambda: GaitPart((4, 6, 8), channels=5),
    "gln": lambda: GLN((4, 6, 8), lateral=6, channels=5, compact=4, classes=3, input_size=(64, 44)),
    "gaitgl": lambda: GaitGL((3, 4, 5, 6), channels=5, classes=3),
    "gaitgl deep": lambda: GaitGL((3, 4, 5, 6), 2, 2, channels=5, neck=True, classes=3),
    "cstl": lambda: CSTL((4, 6, 8), parts=8, hidden=4, channels=5, classes=3),
    "gaitbase": lambda: GaitBase(NARROW, channels=5, classes=3),
    "smplgait": lambda: SMPLGait((4, 6, 8), (4, 4), channels=5, classes=3),
    "mtsgait": lambda: MTSGait((16, 16, 16), channels=5, classes=3),
    "deepgaitv2 2d": lambda: DeepGaitV2Frames(NARROW, (1, 1, 1, 1), channels=5, classes=3),
    "deepgaitv2 3d": lambda: DeepGaitV2("3d", NARROW, (1, 1, 1, 1), channels=5, classes=3),
    "deepgaitv2 p3d": lambda: DeepGaitV2("p3d", NARROW, (1, 1, 1, 1), channels=5, classes=3),
    "skeletongait": lambda: SkeletonGait("p3d", NARROW, (1, 1, 1, 1), channels=5, classes=3),
    "skeletongait++": lambda: SkeletonGaitPlus(NARROW, (1, 1, 1, 1), channels=5, classes=3),
    "gaitgraph 1": lambda: GaitGraph1(branch_widths=(8, 8), widths=(16, 16), strides=(2, 1), channels=5),
    "gaitgraph 2": lambda: GaitGraph2(branch_widths=(8, 8), widths=(16, 16), channels=5),
    "gaittr": lambda: GaitTR((8, 16), channels=5),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_written_is_the_network(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name]().eval()
    save_network(network, tmp_path / "network.pt", iteration=7)
    content = load_pickle_safely(tmp_path / "network.pt")
    assert {"model", "optimizer", "scheduler", "iteration"} == set(content)
    assert content["iteration"] == 7
    loaded = load_network(tmp_path / "network.pt", classifier=True) if name != "gln" else load_network(
        tmp_path / "network.pt", {"input_size": (64, 44)}, classifier=True
    )  # fmt: skip
    assert type(loaded) is type(network)
    for key, value in network.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[key], value, rtol=0, atol=0)


def test_our_own_network_has_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointError, match="A gaitstrips network cannot be saved as a checkpoint: OpenGait has no format for it"
    ):
        save_network(GaitStrips((2, 2), (2, 2)), tmp_path / "network.pt")
    assert not list(tmp_path.iterdir())


GAITSET: dict[str, Any] = {
    "model": "GaitSet",
    "in_channels": [1, 4, 6, 8],
    "SeparateFCs": {"out_channels": 8, "parts_num": 6},
    "bin_num": [2, 1],
}
GAITBASE: dict[str, Any] = {
    "model": "Baseline",
    "backbone_cfg": {"channels": [4, 4, 6, 8], "layers": [1, 1, 1, 1], "strides": [1, 2, 2, 1]},
    "SeparateFCs": {"out_channels": 8, "parts_num": 4},
    "bin_num": [4],
}
GAITGRAPH: dict[str, Any] = {"model": "GaitGraph1", "input_branch": [3, 8, 8], "main_stream": [8, 16], "strides": [2]}
TRIPLET = {"type": "TripletLoss", "log_prefix": "triplet"}
SOFTMAX = {"type": "CrossEntropyLoss", "log_prefix": "softmax"}


@pytest.fixture
def settings_for(tmp_path: Path) -> Callable[..., GaitTrainSettings]:
    """Four people, of whom the first three are to be learnt: wide and narrow ones, whose limbs are as far apart."""
    for person in range(4):
        for condition in ("nm-01", "nm-02", "nm-03", "nm-04", "nm-05", "bg-01", "cl-01"):
            for view in ("000", "090"):
                place = tmp_path / "data" / f"{person:03d}" / condition / view
                place.mkdir(parents=True)
                rng = np.random.default_rng([person, int(view), *map(ord, condition)])
                walk = np.zeros((8, 64, 44), np.uint8)
                walk[:, :, 20 - 4 * person : 24 + 4 * person] = 255
                poses = np.ones((8, 17, 3), np.float32)
                poses[..., :2] = (np.arange(34).reshape(17, 2) * (1 + person)) + rng.normal(0, 0.5, (8, 17, 2))
                write_array(walk, place / "0_sil.pkl")
                write_array(poses, place / "1_pose.pkl")
    (tmp_path / "part.json").write_text('{"TRAIN_SET": ["001", "002", "003"], "TEST_SET": ["000", "001"]}')

    def made(
        model: dict[str, Any], losses: list[dict[str, Any]], *assignments: str, **trainer: Any
    ) -> GaitTrainSettings:
        sampler = {"batch_size": [2, 3], "sample_type": "fixed_ordered", "frames_num_fixed": 4}
        config = {
            "data_cfg": {
                "dataset_name": "CASIA-B",
                "dataset_root": str(tmp_path / "data"),
                "dataset_partition": str(tmp_path / "part.json"),
                "num_workers": 0,
            },
            "model_cfg": model,
            "loss_cfg": losses,
            "optimizer_cfg": {"solver": "Adam", "lr": 0.01},
            "scheduler_cfg": {"scheduler": "MultiStepLR", "milestones": [4, 6], "gamma": 0.1, "warmup_iter": 2},
            "trainer_cfg": {"save_name": "small", "total_iter": 8, "save_iter": 4, "sampler": sampler, **trainer},
            "run_cfg": {"out": str(tmp_path / "out"), "threads": 1},
        }
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
        return read_gait_config(tmp_path / "config.yaml", assignments)

    return made


@pytest.mark.parametrize(
    ("model", "losses", "least"),
    [
        (GAITSET, [TRIPLET], 0.0),
        (GAITBASE, [TRIPLET, {**SOFTMAX, "label_smooth": False}], 0.0),
        (GAITGRAPH, [{"type": "SupConLoss_Re", "temperature": 0.1}], np.log(2)),  # two others of a person share it
        (GAITGRAPH, [{"type": "SupConLoss_Lp", "temperature": 0.5}], np.log(2)),
    ],
)
def test_networks_learn(model: Any, losses: Any, least: float, settings_for: Callable[..., GaitTrainSettings]) -> None:
    settings = settings_for(model, losses)
    torch.manual_seed(0)
    task = GaitTask(settings.plan.build(3, len(losses) > 1), settings)
    batch = GaitBatches(walks_of(settings, "train"), settings.sampling, settings.transforms, seed=1)[0]
    optimizer = torch.optim.Adam(task.parameters(), lr=0.01)
    found = []
    for _ in range(12):
        loss = task.loss(batch)["loss"]
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        found.append(float(loss.detach()) - least)
    assert found[-1] < 0.5 * found[0]


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_a_training_writes_what_opengait_reads_and_goes_on(settings_for: Callable[..., GaitTrainSettings]) -> None:
    settings = settings_for(GAITBASE, [TRIPLET, SOFTMAX])
    network = train(settings)
    names = sorted(path.name for path in (settings.out / "checkpoints").iterdir())
    assert names == ["small-00004.pt", "small-00008.pt"]
    content = load_pickle_safely(settings.out / "checkpoints" / names[1])
    assert content["iteration"] == 8
    assert "FCs.fc_bin" in content["model"]
    assert content["optimizer"]["param_groups"][0]["lr"] == pytest.approx(1e-4)
    assert content["scheduler"]["_last_lr"] == pytest.approx([1e-4])
    assert metadata_of(content)["licence"].startswith("unknown")
    assert metadata_of(content)["note"] == f"trained here on {settings.data_name or settings.data.name}, 8 steps"
    loaded = load_network(settings.out / "checkpoints" / names[1], settings.out / "config.yaml")
    walks = walks_of(settings, "test")
    np.testing.assert_array_equal(embed_walks(loaded, walks), embed_walks(network, walks))
    assert list((settings.out / "log").glob("events.*"))

    again = settings_for(GAITBASE, [TRIPLET, SOFTMAX], "trainer_cfg.total_iter=10", "out=" + str(settings.out))
    train(again)
    assert (settings.out / "checkpoints" / "small-00010.pt").is_file()

    begun = settings_for(
        GAITBASE, [TRIPLET, SOFTMAX], f"out={settings.out.parent / 'new'}", "trainer_cfg.total_iter=1",
        f"trainer_cfg.restore_hint={settings.out / 'checkpoints' / names[1]}", "optimizer_cfg.lr=1e-9",
    )  # fmt: skip
    found = train(begun)
    torch.testing.assert_close(found.state_dict()["linear.weight"], loaded.state_dict()["linear.weight"])


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_accumulated_batches_are_one_step(settings_for: Callable[..., GaitTrainSettings]) -> None:
    settings = settings_for(GAITSET, [TRIPLET], "accumulate=2", "trainer_cfg.total_iter=3")
    network = train(settings)
    torch.manual_seed(settings.seed)
    task = GaitTask(settings.plan.build(3, False), settings)
    batches = GaitBatches(walks_of(settings, "train"), settings.sampling, seed=settings.seed)
    made = task.configure_optimizers()
    optimizer, schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]
    for step in range(3):
        optimizer.zero_grad()
        for number in (2 * step, 2 * step + 1):
            (task.loss(batches[number])["loss"] / 2).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(task.parameters(), 10.0)
        optimizer.step()
        schedule.step()
    for key, value in task.network.state_dict().items():
        torch.testing.assert_close(network.state_dict()[key], value)


def test_the_rate_rises_and_falls(settings_for: Callable[..., GaitTrainSettings]) -> None:
    settings = settings_for(GAITSET, [TRIPLET], "scheduler_cfg.warmup_iter=3")
    made = GaitTask(settings.plan.build(3, False), settings).configure_optimizers()
    optimizer, schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]
    rates = []
    for _ in range(8):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([0.01 / 3, 0.02 / 3, 0.01, 0.01, 0.001, 0.001, 0.0001, 0.0001])


def test_a_loss_that_is_not_finite_ends_the_training(settings_for: Callable[..., GaitTrainSettings]) -> None:
    settings = settings_for(GAITSET, [TRIPLET])
    task = GaitTask(settings.plan.build(3, False), settings)
    nn.init.constant_(task.network.get_parameter("linear.weight"), torch.nan)
    batch = GaitBatches(walks_of(settings, "train"), settings.sampling, seed=1)[0]
    with pytest.raises(SettingsError, match="loss of small is no longer a finite number"):
        task.loss(batch)


def test_what_pytorch_cannot_use_is_told(settings_for: Callable[..., GaitTrainSettings]) -> None:
    settings = settings_for(GAITSET, [TRIPLET], "optimizer_cfg.betas=[1, 2]")
    with pytest.raises(SettingsError, match=r"optimizer_cfg or scheduler_cfg: .* Invalid beta"):
        GaitTask(settings.plan.build(3, False), settings).configure_optimizers()


@pytest.mark.parametrize(
    ("part", "changes", "says"),
    [
        ("backbone_cfg", {"channels": []}, "no gaitbase network can be built"),
        ("backbone_cfg", {"channels": [4, 4, -6, 8]}, r"built with .*\[4, 4, -6, 8\]"),
        ("backbone_cfg", {"layers": [1, 1]}, "Every stage needs its channels, layers and strides"),
        ("backbone_cfg", {"strides": [1, 2, 0, 1]}, "cannot work at a batch"),
        ("SeparateFCs", {"parts_num": 5}, "cannot work at a batch .*model_cfg"),
        ("SeparateFCs", {"out_channels": 0}, "no gaitbase network can be built"),
    ],
)
def test_networks_that_cannot_be_are_told(
    part: str, changes: dict[str, Any], says: str, settings_for: Callable[..., GaitTrainSettings]
) -> None:
    model = {key: value for key, value in GAITBASE.items() if key != "bin_num"}
    settings = settings_for({**model, part: {**model[part], **changes}}, [TRIPLET])
    with pytest.raises(SettingsError, match=says):
        GaitTask(settings.plan.build(3, False), settings).loss(
            GaitBatches(walks_of(settings, "train"), settings.sampling, seed=1)[0]
        )


def test_fixed_norms_keep_their_statistics(settings_for: Callable[..., GaitTrainSettings]) -> None:
    for fixed in (True, False):
        settings = settings_for(GAITBASE, [TRIPLET], fix_BN=fixed)
        task = GaitTask(settings.plan.build(3, False), settings).train()
        assert all(m.training is not fixed for m in task.modules() if isinstance(m, nn.BatchNorm2d))
        assert task.network.training


def test_early_evaluation_judges_the_test_people(settings_for: Callable[..., GaitTrainSettings]) -> None:
    settings = settings_for(GAITSET, [TRIPLET], with_test=True)
    assert settings.test
    assert settings.check_every == 4
    torch.manual_seed(0)
    walks = walks_of(settings, "test")
    assert {file.identity for file in walks.files} == {"000", "001"}
    network = settings.plan.build(3, False).eval()
    tests = evaluation_sets(settings, walks_of(settings, "train"), None)
    figures = GaitTask(network, settings, tests).check(network)
    assert figures["NM Rank-1"] == figures["CL mAP"] == 1.0, "two people of unlike width are told apart untrained"
    assert [group.name for group in tests[0].scores(network)] == ["NM", "BG", "CL"]


def test_walks_of_unlike_lengths_stay_in_order(settings_for: Callable[..., GaitTrainSettings]) -> None:
    settings = settings_for(GAITSET, [TRIPLET])
    root = settings.data
    for number, path in enumerate(sorted(root.glob("*/*/*/0_sil.pkl"))):
        walk = np.zeros((3 + number % 4, 64, 44), np.uint8)
        walk[:, : 1 + number] = 255
        write_array(walk, path)
    walks = walks_of(settings, "train")
    torch.manual_seed(0)
    network = settings.plan.build(3, False).eval()
    found = embed_walks(network, walks, most=5)
    with torch.inference_mode():
        for index in range(0, len(walks), 5):
            start = max(0, len(walks[index]) - 5) // 2
            middle = torch.from_numpy(walks[index][None, start : start + 5].copy())
            np.testing.assert_allclose(found[index], network.embed(network_input(network, middle))[0].T, atol=1e-6)


def test_losses_by_hand() -> None:
    people = torch.tensor([0, 0, 1, 1])
    embedding = torch.tensor([[0.0], [1.0], [3.0], [3.5]])[..., None]
    # Anchor 0: 1 - 3 and 1 - 3.5; anchor 1: 1 - 2 and 1 - 2.5; 2: 0.5 - 3, 0.5 - 2; 3: 0.5 - 3.5, 0.5 - 2.5.
    violated = torch.tensor([-2.0, -2.5, -1.0, -1.5, -2.5, -1.5, -3.0, -2.0]) + 1.6
    expected = violated[violated > 0].mean()
    found = loss_of(LossTerm("TripletLoss", "t", 1.0, margin=1.6), embedding, None, people)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)

    logits = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])[..., None]
    found = loss_of(LossTerm("CrossEntropyLoss", "s", 1.0, scale=2.0), embedding, logits, people)
    right, wrong = -torch.log_softmax(torch.tensor([2.0, 0.0]), 0)
    torch.testing.assert_close(found, (3 * right + wrong) / 4)

    def by_distance(temperature: float) -> Tensor:
        distances = torch.cdist(embedding[..., 0], embedding[..., 0]) / temperature
        shares = (-distances).masked_fill(torch.eye(4, dtype=torch.bool), -1e9).log_softmax(1)
        return -(shares[0, 1] + shares[1, 0] + shares[2, 3] + shares[3, 2]) / 4

    found = loss_of(LossTerm("SupConLoss_Lp", "c", 1.0, temperature=0.7), embedding, None, people)
    torch.testing.assert_close(found, by_distance(0.7))
    found = loss_of(LossTerm("SupConLoss_Re", "c", 1.0, temperature=0.7), embedding + 1, None, people)
    torch.testing.assert_close(found, torch.log(torch.tensor(3.0)), msg="in one dimension all point one way")
