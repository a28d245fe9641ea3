"""Static and dynamic disentanglement: what is seen, what is exchanged, that it learns, and its command."""

from __future__ import annotations

import pickle
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("lightning")

from app.cli.main import main
from app.errors import CheckpointError, SettingsError
from app.gait.models.disentangled import (
    PARENTS,
    ROOT,
    Codes,
    Disentangled,
    poses_from,
    poses_of,
    rows_of,
)
from app.lab.data.opengait import DataSetError, walk_files
from app.lab.training.disentangled import (
    DisentangledTask,
    DisentangledTrainSettings,
    SkeletonBatches,
    Skeletons,
    errors,
    exchange,
    with_other_body,
)
from app.lab.training.disentangled_report import judge

# x and y of COCO-17 of a person who stands, and depth.
STANDING = np.array(
    [
        (50, 10, 5), (51, 9, 5), (49, 9, 5), (52, 10, 0), (48, 10, 0), (60, 20, 0), (40, 20, 0), (60, 40, 0),
        (40, 40, 0), (60, 60, 0), (40, 60, 0), (55, 60, 0), (45, 60, 0), (55, 90, 0), (45, 90, 0), (55, 120, 0),
        (45, 120, 0),
    ],
    np.float32,
)  # fmt: skip


def walk(person: int, number: int, view: float, frames: int = 70) -> torch.Tensor:
    """Keypoints (frames, 17, 3): how wide and how fast somebody strides is their own; seen from `view`, radians."""
    time = np.arange(frames)
    body = np.repeat(STANDING[None], frames, 0) - np.array([50, 0, 0], np.float32)
    body[:, :, 0] *= 1 + 0.1 * person
    swing = (10 + 3 * person) * np.sin(time * (0.3 + 0.03 * person) + number)
    body[:, [13, 15], 2] += swing[:, None] * np.array([0.5, 1.0])
    body[:, [14, 16], 2] -= swing[:, None] * np.array([0.5, 1.0])
    across = np.cos(view) * body[:, :, 0] + np.sin(view) * (body[:, :, 2] + 2 * time[:, None])
    points = np.stack([across, body[:, :, 1], np.ones_like(across)], 2)
    return torch.from_numpy(points.astype(np.float32))


def put(folder: Path, people: int = 4) -> Path:
    for person in range(people):
        for number in (1, 2):
            for degrees in (0, 60, 90):
                place = folder / f"{person:03d}" / f"nm-{number:02d}" / f"{degrees:03d}"
                place.mkdir(parents=True)
                keypoints = walk(person, number, np.radians(degrees)).numpy()
                (place / "0_pose.pkl").write_bytes(pickle.dumps(keypoints))
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return put(tmp_path_factory.mktemp("skeletons") / "set")


def settings(data: Path, out: Path) -> DisentangledTrainSettings:
    return DisentangledTrainSettings(out=out, steps=4, batch=3, rate=2e-3, warmup=2, data=data, held_out=1)


class TestRows:
    def test_they_tell_the_whole_pose(self) -> None:
        poses = poses_of(torch.stack([walk(0, 1, 0.4), walk(2, 1, 1.0)]))
        rows = rows_of(poses)
        assert rows.shape == (2, 30, 70)
        torch.testing.assert_close(poses_from(rows), poses, rtol=1e-4, atol=1e-4)

    def test_place_and_size_in_the_picture_do_not_matter(self) -> None:
        keypoints = walk(0, 1, 0.4)[None]
        moved = 3 * keypoints + torch.tensor([50.0, 20.0, 0.0])
        torch.testing.assert_close(Disentangled.input_of(keypoints), Disentangled.input_of(moved), rtol=1e-4, atol=1e-4)

    def test_a_short_walk_goes_back_and_forth(self) -> None:
        seen = Disentangled.input_of(walk(0, 1, 0.4, frames=30)[None])
        assert seen.shape == (1, 30, 64)
        torch.testing.assert_close(seen[:, :28, 28], seen[:, :28, 30])
        torch.testing.assert_close(seen[:, :28, 0], seen[:, :28, 58])
        assert Disentangled.input_of(walk(0, 1, 0.4, frames=1)[None]).shape == (1, 30, 64)

    def test_another_body_moves_alike(self) -> None:
        rows = Disentangled.input_of(torch.stack([walk(0, 1, 0.4), walk(0, 1, 1.0)]))
        both = with_other_body(rows, 0.25, np.random.default_rng(0))
        torch.testing.assert_close(both[:, 0], rows)
        for view in range(2):
            own, other = poses_from(both[view])
            limbs = [pose - pose[:, PARENTS] for pose in (own, other)]
            for joint in set(range(15)) - {ROOT}:
                lengths = [limb[:, joint].norm(dim=-1) for limb in limbs]
                ratio = lengths[1] / lengths[0]
                assert 0.79 < float(ratio.min()) <= float(ratio.max()) < 1.26
                assert float(ratio.max() - ratio.min()) < 1e-2
                unit = [limb[:, joint] / length[:, None] for limb, length in zip(limbs, lengths, strict=True)]
                torch.testing.assert_close(*unit, rtol=1e-2, atol=1e-2)
        assert (both[:, 1] - rows).abs().max() > 0.05


class TestNetwork:
    def test_widths_are_those_of_the_paper(self) -> None:
        network = Disentangled()
        shapes = {name: tuple(value.shape) for name, value in network.named_parameters() if value.ndim > 1}
        convs = [shape for name, shape in shapes.items() if "coder." in name]
        assert convs == [
            *((64, 30, 3), (128, 64, 3), (128, 128, 3)),
            *((64, 28, 3), (128, 64, 3), (128, 128, 3)),
            *((64, 28, 3), (32, 64, 3), (128, 32, 3)),
            *((256, 384, 7), (128, 256, 7), (45, 128, 7)),
        ]
        rows = torch.rand(2, 30, 64)
        codes = network.encode(rows)
        assert [tuple(code.shape) for code in codes] == [(2, 128, 8), (2, 128, 1), (2, 128, 1)]
        assert network.decode(codes).shape == (2, 45, 64)
        assert network.embed(rows).shape == (2, 512, 1)

    def test_body_and_view_do_not_see_the_speed(self) -> None:
        network, rows = Disentangled().eval(), torch.rand(1, 30, 64)
        faster = torch.cat([rows[:, :28], rows[:, 28:] + 1], 1)
        first, second = network.encode(rows), network.encode(faster)
        torch.testing.assert_close(first.body, second.body)
        torch.testing.assert_close(first.view, second.view)
        assert not torch.allclose(first.motion, second.motion)

    def test_what_is_exchanged_comes_from_the_other(self) -> None:
        network, rows = Disentangled().eval(), torch.rand(3, 2, 2, 30, 64)
        found = exchange(network, rows, network.encode(rows.flatten(0, 2)))
        one, other, turned = (network.encode(rows[1, i, j][None]) for i, j in ((0, 0), (0, 1), (1, 0)))
        body, wanted = found["body"]
        torch.testing.assert_close(body[1, 0, 0], network.decode(Codes(one.motion, other.body, one.view))[0, :30])
        assert torch.equal(wanted[1, 0, 0], rows[1, 0, 1])
        view, wanted = found["view"]
        torch.testing.assert_close(view[1, 0, 0], network.decode(Codes(one.motion, one.body, turned.view))[0, :30])
        assert torch.equal(wanted[1, 0, 0], rows[1, 1, 0])


class TestTraining:
    def test_what_is_exchanged_becomes_right(self, data: Path, tmp_path: Path) -> None:
        torch.manual_seed(0)
        skeletons = Skeletons(data)
        given = replace(settings(data, tmp_path), batch=2, alone=0.5)
        task = DisentangledTask(Disentangled(classes=3), given, skeletons, skeletons.people[:1])
        batches = SkeletonBatches(skeletons, skeletons.people[1:], given)
        rows = [Disentangled.input_of(views) for views in skeletons.walks[skeletons.people[1]].values()]
        with torch.inference_mode():
            before = errors(task.network.eval(), rows)
        optimiser = torch.optim.AdamW(task.parameters(), 2e-3)
        task.train()
        losses = []
        for step in range(16):
            found = task.loss(batches[step])
            optimiser.zero_grad()
            torch.autograd.backward(found["loss"])
            optimiser.step()
            losses.append(float(found["reconstruction"].detach()))
        with torch.inference_mode():
            after = errors(task.network.eval(), rows)
            figures = task.check(task.network)
        assert losses[-1] < 0.6 * losses[0]
        assert after["reconstruction"] < 0.7 * before["reconstruction"]
        assert after["view"] < 0.7 * before["view"]
        assert {"reconstruction", "body", "view", "NM Rank-1"} <= figures.keys()

    def test_batches_are_a_function_of_the_step(self, data: Path, tmp_path: Path) -> None:
        skeletons = Skeletons(data)
        batches = SkeletonBatches(skeletons, skeletons.people, settings(data, tmp_path))
        first, again, other = batches[3], batches[3], batches[4]
        assert first["rows"].shape == (6, 2, 2, 30, 64)
        assert torch.equal(first["rows"], again["rows"])
        assert not torch.equal(first["rows"], other["rows"])

    def test_walks_that_cannot_be_read_are_left_out_and_listed(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        data = put(tmp_path / "data")
        files = walk_files(data, modality="pose")
        for number in (0, 5):
            files[number].path.write_bytes(b"no pickle")
        skeletons = Skeletons(data)
        assert len(skeletons.files) == len(skeletons.keypoints) == len(files) - 2
        assert "2 left out" in caplog.text
        for file in files:
            file.path.write_bytes(b"no pickle")
        with pytest.raises(DataSetError, match="No walk can be read"):
            Skeletons(data)

    def test_one_view_is_not_enough(self, tmp_path: Path) -> None:
        data = put(tmp_path / "set", 1)
        for frames, view in ((8, "060"), (9, "090")):
            for path in data.glob(f"*/*/{view}/*"):
                path.write_bytes(pickle.dumps(np.ones((frames, 17, 3), np.float32)))
        with pytest.raises(SettingsError, match="no walk has two views"):
            Skeletons(data)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::PendingDeprecationWarning")
def test_the_command_trains_tests_and_draws(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("xlsxwriter", reason="needs the extra evaluate")
    pytest.importorskip("matplotlib", reason="needs the extra train")
    monkeypatch.chdir(tmp_path)
    wanted = {"data": data, "out": "run", "steps": 2, "batch": 3, "held_out": 1, "threads": 1, "precision": "32-true"}
    assignments = [word for key, value in wanted.items() for word in ("--set", f"{key}={value}")]
    assert main(["disentangle", "train", *assignments]) == 0
    network = tmp_path / "run" / "network.pt"
    assert network.is_file()
    assert list((tmp_path / "run" / "log").glob("events.*"))
    given = ["--checkpoint", str(network), "--data", str(data)]
    capsys.readouterr()
    assert main(["disentangle", "test", *given, "--excel", "test.xlsx"]) == 0
    assert "rank-1" in capsys.readouterr().out
    with zipfile.ZipFile(tmp_path / "test.xlsx") as book:
        assert "NM Rank-1" in book.read("xl/workbook.xml").decode()
    found = judge(network, data)
    assert found.evaluation.scores[0].searches == 4 * 3 * 2  # the other walk of four people, across three views
    assert main(["disentangle", "visualize", *given, "--people", "0", "3", "--out", "pictures"]) == 0
    for name in ("exchange.png", "motion.png"):
        with Image.open(tmp_path / "pictures" / name) as picture:
            assert len(picture.convert("RGB").getcolors(1 << 20) or []) > 20
    assert main(["disentangle", "visualize", *given, "--people", "0", "4"]) == 2
    torch.save({"model": {"other": torch.zeros(1)}}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError):
        judge(tmp_path / "other.pt", data)
