"""Training of the embedded gait network: its batches, its evaluation, and that it learns, resumes and is exported."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from app.types import Bytes, GaitSequence

pytest.importorskip("lightning", reason="needs the extra [train]")

from app.errors import SettingsError
from app.gait.base import EmbeddingNetwork
from app.lab.data.opengait import DataSetError, WalkFile, walk_files, write_array
from app.lab.training.gait.judging import EvaluationSet, first_walk, numbered
from app.lab.training.gait.sampling import GaitBatches
from app.lab.training.gait.settings import EmbeddedGaitSettings, GaitTrainSettings
from app.lab.training.gait.task import GaitTask, evaluation_sets, filmed_walks_of, train, walks_of
from app.lab.training.gait.transforms import Deform
from app.lab.training.gait.walks import SHAPES, Form, PackedWalks
from app.lab.training.silhouettes import worsened

SMALL: dict[str, Any] = {"frame_widths": (4, 6), "set_widths": (8, 8), "channels": 6}


def body(width: int, frames: int = 8, columns: int = 64) -> Bytes:
    """Somebody of this width, whose legs swing."""
    walk = np.zeros((frames, 64, columns), np.uint8)
    for index, frame in enumerate(walk):
        middle = columns // 2
        frame[:40, middle - width // 2 : middle + width // 2] = 255
        stride = round(4 * np.sin(index))
        frame[40:, middle - 4 + stride : middle + stride] = 255
        frame[40:, middle - stride : middle + 4 - stride] = 255
    return walk


@pytest.fixture
def small(tmp_path: Path) -> EmbeddedGaitSettings:
    """Four people with four walks each, told apart by their width."""
    for person in range(4):
        for number in range(4):
            path = tmp_path / "data" / f"{person:03d}" / f"nm-{number + 1:02d}" / "090" / "0.pkl"
            path.parent.mkdir(parents=True)
            path.write_bytes(pickle.dumps(body(10 + 6 * person, 8 + number)))
    return EmbeddedGaitSettings(
        out=tmp_path / "out",
        data=tmp_path,
        steps=20,
        batch=2,
        walks_each=2,
        rate=0.01,
        frames=(3, 6),
        held_out=1,
        workers=0,
        threads=1,
        **SMALL,
    )


@pytest.fixture
def settings(small: EmbeddedGaitSettings) -> GaitTrainSettings:
    return small.trainer_settings()


def batches_of(settings: GaitTrainSettings, filmed: PackedWalks | None = None) -> GaitBatches:
    walks = walks_of(settings, "train")
    return GaitBatches(
        walks, settings.sampling, settings.transforms, seed=settings.seed, people=walks.people[settings.held_out :],
        filmed=filmed, filmed_share=settings.filmed_share, batches=settings.steps,
    )  # fmt: skip


class TestPackedWalks:
    def test_a_training_that_continues_sees_the_same_walks_or_none(self, settings: GaitTrainSettings) -> None:
        walks = walks_of(settings, "train")
        np.testing.assert_array_equal(walks[5], body(16, 9)[:, :, 10:54])
        partition = settings.data / "partition.json"
        partition.write_text(json.dumps({"TRAIN_SET": ["001", "002"], "TEST_SET": ["000"]}), encoding="utf-8")
        with pytest.raises(SettingsError, match="other walks"):
            walks_of(replace(settings, partition=partition), "train")
        with pytest.raises(DataSetError, match="There is no folder"):
            walks_of(replace(settings, data=settings.data / "nosuch"), "train")

    @pytest.mark.parametrize("form", ["silhouettes", "heatmaps", "heatmaps with silhouettes", "keypoints"])
    def test_walks_that_cannot_be_read_are_left_out_and_listed(
        self, form: Form, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        data = tmp_path / "data"
        for number in range(8):
            view = data / f"{number // 3:03d}" / f"nm-{number % 3:02d}" / "000"
            view.mkdir(parents=True)
            write_array(np.full((6, 64, 44), 255, np.uint8), view / "0_silhouette.pkl")
            poses = np.random.default_rng(number).uniform(1, 9, (6, 17, 3)).astype(np.float32) / 10
            write_array(poses, view / "1_pose.pkl")
        bad = [file.path.parent for number, file in enumerate(walk_files(data)) if number in (1, 3, 6, 7)]
        kinds = (b"no pickle", pickle.dumps([1]), pickle.dumps(np.zeros((2, 9))), b"\x80\x04")
        for view, kind in zip(bad, kinds, strict=True):
            for file in view.iterdir():
                file.write_bytes(kind)
        names = {"/".join(view.parts[-3:]) for view in bad}
        for _ in range(2):  # also where a training continues
            caplog.clear()
            walks = PackedWalks.pack(data, None, form, tmp_path / "out")
            assert len(walks) == 4
            assert walks.left_out.keys() == names
            assert "4 left out" in caplog.text
            assert walks.people == ["000", "001"], "nobody is left of the third person"
            for index in range(4):
                assert walks[index].shape == (6, *SHAPES[form][0])
        for file in walk_files(data):
            file.path.write_bytes(b"no pickle")
            (file.path.parent / "1_pose.pkl").write_bytes(b"no pickle")
        with pytest.raises(DataSetError, match="No walk can be read"):
            PackedWalks.pack(data, None, form, tmp_path / "other")
        assert not (tmp_path / "other").exists()

    def test_maps_of_another_width_are_not_taken_for_others(self, tmp_path: Path) -> None:
        for number, width in enumerate((64, 44, 30)):
            view = tmp_path / "data" / "000" / f"nm-{number:02d}" / "000"
            view.mkdir(parents=True)
            write_array(np.full((5, 2, 64, width), number, np.uint8), view / "0_heatmap.pkl")
        walks = PackedWalks.pack(tmp_path / "data", None, "heatmaps", tmp_path / "out")
        assert [int(walks[index].max()) for index in range(len(walks))] == [0, 1]
        assert list(walks.left_out) == ["000/nm-02/000"]


class TestBatches:
    def test_a_batch_depends_on_seed_and_step_alone(self, settings: GaitTrainSettings) -> None:
        batches, again = batches_of(settings), batches_of(settings)
        for step in (0, 7):
            for key, value in batches[step].items():
                torch.testing.assert_close(value, again[step][key], rtol=0, atol=0)
        other = batches_of(replace(settings, seed=2))
        shapes = [(b[step]["walks"].shape, b[step]["people"].tolist()) for b in (batches, other) for step in range(9)]
        assert shapes[:9] != shapes[9:]
        assert {shape[1] for shape, _ in shapes} == {3, 4, 5, 6}

    def test_it_is_told_that_everybody_is_held_out(self, small: EmbeddedGaitSettings) -> None:
        with pytest.raises(SettingsError, match=r"because the setting held_out keeps (\d+) of \1 for checks"):
            batches_of(replace(small, held_out=99).trainer_settings())

    def test_nobody_who_is_held_out_is_drawn(self, small: EmbeddedGaitSettings) -> None:
        batches = batches_of(replace(small, clean=1.0).trainer_settings())
        seen = set()
        for step in range(12):
            batch = batches[step]
            assert batch["walks"].dtype == torch.uint8
            assert batch["walks"].shape[2:] == (64, 44)
            for walk, person in zip(batch["walks"], batch["people"], strict=True):
                seen.add(int(person))
                width = float((walk[:, 20] > 127).sum(1).float().mean())
                assert width == pytest.approx(16 + 6 * int(person), abs=3), "the number is not that of the person"
        assert seen == {0, 1, 2}

    def test_the_spoiling_grows(self, small: EmbeddedGaitSettings) -> None:
        batches = batches_of(replace(small, clean=0.0, steps=1000).trainer_settings())
        rough = []
        for start in (0, 500):
            pictures = torch.cat([batches[start + i]["walks"].flatten(0, 1) for i in range(12)])
            rough.append(float(((pictures > 0) & (pictures < 255)).float().mean()))
        assert rough[1] > 1.1 * rough[0]

    def test_filmed_walks_come_as_often_as_asked_and_are_not_spoilt(self, small: EmbeddedGaitSettings) -> None:
        for person in ("002", "003"):  # nothing was filmed of 001
            path = small.out / "film" / "data" / person / "cl-01" / "012" / "0.pkl"
            path.parent.mkdir(parents=True)
            path.write_bytes(pickle.dumps(body(40)))
        settings = replace(
            small, clean=0.0, spoiling=1.0, filmed=small.out / "film", filmed_share=0.5
        ).trainer_settings()
        batches = batches_of(settings, filmed_walks_of(settings))
        counts = {person: [0, 0] for person in range(3)}
        for step in range(60):
            for walk, person in zip(batches[step]["walks"], batches[step]["people"].tolist(), strict=True):
                wide = float((walk[:, 20] > 127).sum(1).float().mean()) > 33
                counts[person][int(wide)] += 1
        assert counts[0][1] == 0
        for drawn, film in (counts[1], counts[2]):
            assert 0.35 < film / (drawn + film) < 0.65

    def test_too_few_people_are_named(self, small: EmbeddedGaitSettings) -> None:
        with pytest.raises(SettingsError, match="A batch has 4 people, and there are 3"):
            batches_of(replace(small, batch=4).trainer_settings())
        with pytest.raises(SettingsError, match="at least two walks"):
            replace(small, walks_each=1, batch=3).trainer_settings()


class TestSpoiling:
    def test_bodies_stay_64_rows_high(self) -> None:
        rng = np.random.default_rng(0)
        for width in (8, 16, 30):
            walk = body(width, columns=44)
            before = walk.copy()
            for spoilt in (worsened(walk, 1.0, rng) for _ in range(10)):
                assert spoilt.shape == walk.shape
                assert spoilt.dtype == np.uint8
                rows = (spoilt > 0).any(axis=2)
                assert rows[:, 0].all()
                assert rows[:, -1].all()
            np.testing.assert_array_equal(walk, before)

    def test_no_strength_changes_little_and_full_strength_much(self) -> None:
        walk = body(16, columns=44)
        off = [np.mean([(worsened(walk, strength, np.random.default_rng(i)) != walk).mean() for i in range(8)])
               for strength in (0.0, 1.0)]  # fmt: skip
        assert off[0] < 0.02
        assert off[1] > 3 * off[0]

    def test_an_empty_frame_stays_empty(self) -> None:
        empty = np.zeros((2, 64, 44), np.uint8)
        np.testing.assert_array_equal(worsened(empty, 1.0, np.random.default_rng(0)), empty)

    def test_a_walk_moves_as_one_and_every_other_is_mirrored(self) -> None:
        still = np.repeat(body(16, 1, 44), 5, axis=0)
        still[:, :10, 30:34] = 255  # something on the right
        mirrored = 0
        for seed in range(40):
            deformed = Deform()(still, np.random.default_rng(seed))
            assert (deformed == deformed[0]).all()
            mirrored += int(deformed[0, :10, :22].sum() > deformed[0, :10, 22:].sum())
        assert 10 <= mirrored <= 30


class Places(EmbeddingNetwork):
    """Embeds a walk as the mean of its pixels."""

    family = "places"

    def __init__(self) -> None:
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def embed(self, *inputs: Any, **options: Any) -> torch.Tensor:
        return inputs[0].mean((1, 2, 3))[:, None, None] * 255


class TestEvaluation:
    def test_rank1_is_counted_by_hand(self) -> None:
        # Two cameras: in the first gallery b stands where a's first probe is, in the second everything is right.
        labels = [("a", "nm-01"), ("a", "nm-01"), ("b", "nm-01"), ("b", "nm-01"), ("a", "nm-02"), ("b", "cl-01")]
        places = (50, 10, 12, 90, 11, 80)
        walks = [np.full((3, 64, 44), place, np.uint8) for place in places]
        angles = ("007", "300", "120", "121", "002", "077")  # drawn at random, so nobody shares one
        files = numbered([WalkFile(*label, view, Path()) for label, view in zip(labels, angles, strict=True)])
        test = EvaluationSet("clean", walks, files, first_walk(files))
        assert test.figures(Places().eval()) == {"clean NM Rank-1": 0.5, "clean CL Rank-1": 0.5}

    def test_walks_of_any_condition_are_numbered(self) -> None:
        names = [("a", "nm-01", "010"), ("a", "nm-01", "020"), ("b", "cl-02", "100"), ("b", "nm-03", "200")]
        files = numbered([WalkFile(*name, Path()) for name in names], conditions=False)
        assert [file.name for file in files] == [f"{p}/walk-{n:03d}/all" for p in "ab" for n in (0, 1)]
        assert first_walk(files).gallery == ("walk-000",)

    def test_people_held_out_are_evaluated_clean_spoilt_and_filmed(self, small: EmbeddedGaitSettings) -> None:
        for person in ("000", "001"):
            for number in range(2):
                path = small.out / "film" / "data" / person / "cl-01" / f"{number:03d}" / "0.pkl"
                path.parent.mkdir(parents=True)
                path.write_bytes(pickle.dumps(body(20)))
        settings = replace(small, held_out=2, filmed=small.out / "film").trainer_settings()
        tests = evaluation_sets(settings, walks_of(settings, "train"), filmed_walks_of(settings))
        assert [test.name for test in tests] == ["clean", "spoilt", "filmed"]
        assert [len(test.walks) for test in tests] == [8, 8, 4]
        torch.manual_seed(0)
        network = settings.plan.build(2, False).eval()
        figures = GaitTask(network, settings, tests).check(network)
        assert set(figures) == {"clean NM Rank-1", "spoilt NM Rank-1", "filmed WALK Rank-1"}


def test_it_learns_to_tell_people_apart(small: EmbeddedGaitSettings) -> None:
    torch.manual_seed(0)
    settings = replace(small, entropy=1.0, triplet=1.0, clean=1.0).trainer_settings()
    task = GaitTask(settings.plan.build(3, classifier=True), settings)
    batches = batches_of(settings)
    optimizer = torch.optim.AdamW(task.parameters(), lr=0.01)
    losses = []
    for step in range(30):
        values = task.loss(batches[step])
        optimizer.zero_grad()
        torch.autograd.backward(values["loss"])
        optimizer.step()
        losses.append(float(values["loss"].detach()))
    assert set(values) == {"loss", "parts", "walks", "triplet", "entropy", "accuracy"}
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::PendingDeprecationWarning")
def test_a_stopped_training_ends_bit_by_bit_as_one_that_was_not(small: EmbeddedGaitSettings, tmp_path: Path) -> None:
    short = replace(small, steps=6, save_every=2, precision="32-true", ema=0.9)
    whole = train(replace(short, out=tmp_path / "whole").trainer_settings()).state_dict()
    stopped = replace(short, out=tmp_path / "stopped").trainer_settings()
    loss, calls = GaitTask.loss, iter(range(100))

    def failing(self: GaitTask, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        if next(calls) == 3:
            raise RuntimeError("killed")
        return loss(self, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GaitTask, "loss", failing)
        with pytest.raises(RuntimeError, match="killed"):
            train(stopped)
    resumed = train(stopped).state_dict()
    assert all(torch.equal(resumed[key], value) for key, value in whole.items())
    assert not (stopped.out / "checkpoints").exists(), "OpenGait has no format for this network"


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::torch.jit.TracerWarning")  # torch's advice on exporting
def test_the_export_is_the_network(small: EmbeddedGaitSettings, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    from app.gait.onnx import OnnxGait, cut
    from app.lab.training.engine import load_trained
    from app.lab.training.gait.export import export_trained
    from app.settings import GaitSettings
    from app.weights.checkpoints import CheckpointFile

    settings = replace(small, piece=None).trainer_settings()
    with pytest.raises(SettingsError, match="Train the gait network first"):
        export_trained(settings, tmp_path / "gait.onnx")
    torch.manual_seed(0)
    settings.out.mkdir(exist_ok=True)
    torch.save(settings.plan.build(3, classifier=True).state_dict(), settings.out / "network.pt")
    assert export_trained(settings, tmp_path / "gait.onnx") < 1e-4
    model = OnnxGait(CheckpointFile(tmp_path / "gait.onnx", "given"), GaitSettings())
    assert model.card.licence == "Apache-2.0"
    network = load_trained(settings.plan.build(0, classifier=False), settings.out, "gait network")
    for frames in (1, 17):
        walk = body(14, frames)
        parts = model.embed([GaitSequence(np.arange(frames), walk, 25.0)])[0].parts
        views = torch.from_numpy(np.stack([walk, walk[:, :, ::-1]])[:, :, :, 10:54]).float() / 255
        with torch.inference_mode():
            expected = network.embed(views).mean(0).T
        assert parts.shape == (16, 6)
        np.testing.assert_allclose(parts, expected.numpy(), atol=5e-3)  # weights are kept as float16
    export_trained(replace(small, piece=8).trainer_settings(), tmp_path / "pieces.onnx")
    long = GaitSequence(np.arange(17), body(14, 17), 25.0)
    (pieced,) = OnnxGait(CheckpointFile(tmp_path / "pieces.onnx", "given"), GaitSettings()).embed([long])
    alone = model.embed([long.part(slice(int(piece[0]), int(piece[-1]) + 1)) for piece in cut(17, 8)])
    assert pieced.pieces is not None
    assert len(pieced.pieces) == len(alone) == 3
    for piece, by_itself in zip(pieced.pieces, alone, strict=True):
        np.testing.assert_allclose(piece, by_itself.parts, atol=1e-5)
    with pytest.raises(SettingsError, match="does not hold the gait network that these settings describe"):
        export_trained(replace(small, channels=7).trainer_settings(), tmp_path / "gait.onnx")


class TestStart:
    """A training that starts from an exported network of ours."""

    def exported(self, settings: GaitTrainSettings, folder: Path) -> Path:
        from app.lab.training.gait.export import export_trained

        pytest.importorskip("onnx", reason="needs the extra train")
        train(settings)
        export_trained(settings, folder / "first.onnx")
        return folder / "first.onnx"

    def test_the_first_embeddings_are_those_of_the_file(self, small: EmbeddedGaitSettings, tmp_path: Path) -> None:
        from app.gait.onnx import OnnxGait
        from app.lab.training.gait.task import _untrained
        from app.settings import GaitSettings
        from app.weights.checkpoints import CheckpointFile

        path = self.exported(small.trainer_settings(), tmp_path)
        walk = body(16)
        model = OnnxGait(CheckpointFile.given(path), GaitSettings())
        expected = model.embed([GaitSequence(np.arange(8), walk, 25.0)])[0].parts
        views = torch.from_numpy(np.stack([walk, walk[..., ::-1]])[..., 10:54].copy()).float() / 255
        for temporal, depth in ((False, 0), (True, 0), (True, 2)):  # what looks at time begins as nothing
            again = replace(small, start=path, temporal=temporal, depth=depth).trainer_settings()
            network = _untrained(again, people=4).eval()
            with torch.inference_mode():
                parts = network.embed(views).mean(0).T.numpy()
            parts /= np.linalg.norm(parts, axis=1, keepdims=True)
            assert np.abs(parts - expected).max() < 1e-4

    def test_the_exported_network_may_keep_a_share_of_the_start(
        self, small: EmbeddedGaitSettings, tmp_path: Path
    ) -> None:
        from app.lab.training.export import stored_weights
        from app.lab.training.gait.export import export_trained

        start = self.exported(small.trainer_settings(), tmp_path)
        again = replace(small, start=start, out=tmp_path / "again", seed=small.seed + 1)
        train(again.trainer_settings())
        found = {}
        for share in (0.0, 0.25, 1.0):
            path = tmp_path / f"{share}.onnx"
            export_trained(replace(again, start_share=share).trainer_settings(), path)
            found[share] = stored_weights(path)
        known = stored_weights(start)
        moved = 0
        for key, trained in found[0.0].items():
            assert torch.allclose(found[1.0][key], known[key], atol=2e-3, rtol=2e-3), key
            assert torch.allclose(found[0.25][key], 0.75 * trained + 0.25 * known[key], atol=2e-3, rtol=2e-3), key
            moved += bool((trained - known[key]).abs().max() > 5e-3)
        assert moved

    def test_a_file_of_another_network_is_refused(self, small: EmbeddedGaitSettings, tmp_path: Path) -> None:
        from app.errors import CheckpointError

        path = self.exported(small.trainer_settings(), tmp_path)
        other = {"frame_widths": (5, 7), "set_widths": (9, 9), "channels": 5, "parts": 8}
        with pytest.raises(CheckpointError, match="no weights that fit"):
            train(replace(small, start=path, out=tmp_path / "other", **other).trainer_settings())


class TestTime:
    """With `temporal` or `depth`, a network of ours sees the order of the frames."""

    @pytest.mark.parametrize(("temporal", "depth"), [(False, 0), (True, 0), (False, 1)])
    def test_only_a_network_over_time_sees_the_order(self, temporal: bool, depth: int) -> None:
        from app.gait.models.gaitstrips import GaitStrips

        torch.manual_seed(0)
        network = GaitStrips((4, 6), (8, 8), 16, 6, temporal=temporal, depth=depth).eval()
        for block in network.moving_blocks:  # otherwise they begin as nothing
            torch.nn.init.ones_(block.temporal.norm.weight)
        walk = torch.from_numpy(body(16)[..., 10:54].copy())[None].float() / 255
        with torch.inference_mode():
            apart = (network.embed(walk) - network.embed(walk[:, [0, 3, 6, 1, 4, 7, 2, 5]])).abs().max()
            packed = network.embed(torch.cat([walk[:, :3], walk], 1), [3, 8])
            assert torch.allclose(packed[1:], network.embed(walk), atol=1e-5)
            assert torch.allclose(packed[:1], network.embed(walk[:, :3]), atol=1e-5)
        assert (apart > 1e-4) == (temporal or depth > 0)
