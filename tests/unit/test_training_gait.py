"""Training of gait networks: what a batch holds, how it is judged, and that it learns and is exported."""

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
from app.lab.data.opengait import DataSetError, walk_files
from app.lab.training.gait import GaitBatches, GaitTask, GaitTrainSettings, Walks, network_of, prepare, rank1
from app.lab.training.silhouettes import moved, worsened

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
def settings(tmp_path: Path) -> GaitTrainSettings:
    """Four people, four walks each, told apart by their width."""
    for person in range(4):
        for number in range(4):
            path = tmp_path / "data" / f"{person:03d}" / f"nm-{number + 1:02d}" / "090" / "0.pkl"
            path.parent.mkdir(parents=True)
            path.write_bytes(pickle.dumps(body(10 + 6 * person, 8 + number)))
    return GaitTrainSettings(
        out=tmp_path / "out",
        data=tmp_path,
        steps=20,
        batch=2,
        walks_each=2,
        rate=0.01,
        frames=(3, 6),
        held_out=1,
        **SMALL,
    )


class TestWalks:
    def test_what_is_packed_is_what_was_there(self, settings: GaitTrainSettings) -> None:
        files = walk_files(settings.data)
        walks = Walks.packed(files, settings.out / "walks")
        assert len(walks) == 16
        assert walks.identities[5] == files[5].identity
        assert walks.conditions[5] == files[5].condition == "nm-02"
        np.testing.assert_array_equal(walks[5], body(16, 9)[:, :, 10:54])
        assert [own.tolist() for own in walks.of(["003", "000"])] == [[12, 13, 14, 15], [0, 1, 2, 3]]

    def test_a_run_that_goes_on_sees_what_it_saw_or_nothing(self, settings: GaitTrainSettings) -> None:
        before = prepare(settings)
        packed = (settings.out / "walks" / "silhouettes.bin").stat().st_mtime_ns
        assert prepare(settings)[1:] == before[1:] == (["001", "002", "003"], ["000"])
        assert (settings.out / "walks" / "silhouettes.bin").stat().st_mtime_ns == packed
        partition = settings.data / "partition.json"
        partition.write_text(json.dumps({"TRAIN_SET": ["001", "002"], "TEST_SET": ["000"]}), encoding="utf-8")
        with pytest.raises(SettingsError, match="other walks"):
            prepare(replace(settings, partition=partition))
        with pytest.raises(DataSetError, match="no walks"):
            prepare(replace(settings, data=settings.data / "nosuch"))

    def test_another_process_gets_the_folder_and_not_the_pictures(self, settings: GaitTrainSettings) -> None:
        walks = prepare(settings)[0]
        sent = pickle.dumps(walks)
        assert len(sent) < 1000
        np.testing.assert_array_equal(pickle.loads(sent)[7], walks[7])


class TestBatches:
    def test_a_batch_is_a_function_of_seed_and_step(self, settings: GaitTrainSettings) -> None:
        walks, people, _ = prepare(settings)
        batches, again = GaitBatches(walks, people, settings), GaitBatches(walks, people, settings)
        for step in (0, 7):
            for key, value in batches[step].items():
                torch.testing.assert_close(value, again[step][key], rtol=0, atol=0)
        other = GaitBatches(walks, people, replace(settings, seed=2))
        shapes = [
            (b[step]["silhouettes"].shape, b[step]["people"].tolist()) for b in (batches, other) for step in range(9)
        ]
        assert shapes[:9] != shapes[9:]
        assert {shape[1] for shape, _ in shapes} == {3, 4, 5, 6}

    def test_people_by_walks_and_nobody_who_is_held_out(self, settings: GaitTrainSettings) -> None:
        walks, people, held_out = prepare(settings)
        batches = GaitBatches(walks, people, replace(settings, clean=1.0))
        seen = set()
        for step in range(12):
            batch = batches[step]
            assert batch["silhouettes"].dtype == torch.uint8
            assert batch["silhouettes"].shape[2:] == (64, 44)
            first, second = batch["people"].view(2, 2).unbind(0)
            assert first[0] == first[1] != second[0] == second[1]
            for walk, person in zip(batch["silhouettes"], batch["people"], strict=True):
                seen.add(int(person))
                width = float((walk[:, 20] > 127).sum(1).float().mean())
                assert width == pytest.approx(16 + 6 * int(person), abs=3), "the number is not that of whom we see"
        assert seen == {0, 1, 2}
        assert held_out == ["000"]

    def test_the_spoiling_grows(self, settings: GaitTrainSettings) -> None:
        walks, people, _ = prepare(settings)
        batches = GaitBatches(walks, people, replace(settings, clean=0.0, steps=1000))
        rough = []
        for start in (0, 500):
            pictures = torch.cat([batches[start + i]["silhouettes"].flatten(0, 1) for i in range(12)])
            rough.append(float(((pictures > 0) & (pictures < 255)).float().mean()))
        assert rough[1] > 1.1 * rough[0]

    def test_filmed_walks_come_as_often_as_asked_and_as_they_are(self, settings: GaitTrainSettings) -> None:
        walks, people, _ = prepare(settings)
        for person in ("002", "003"):  # nothing was filmed of 001
            path = settings.out / "film" / "data" / person / "cl-01" / "012" / "0.pkl"
            path.parent.mkdir(parents=True)
            path.write_bytes(pickle.dumps(body(40)))
        filmed = Walks.packed(walk_files(settings.out / "film"), settings.out / "filmed")
        share = replace(settings, clean=0.0, filmed_share=0.5)
        batches = GaitBatches(walks, people, share, filmed)
        counts = {person: [0, 0] for person in range(3)}
        for step in range(60):
            for walk, person in zip(batches[step]["silhouettes"], batches[step]["people"].tolist(), strict=True):
                wide = float((walk[:, 20] > 127).sum(1).float().mean()) > 33
                counts[person][int(wide)] += 1
        assert counts[0][1] == 0
        for drawn, film in (counts[1], counts[2]):
            assert 0.35 < film / (drawn + film) < 0.65

    def test_too_few_people_are_told(self, settings: GaitTrainSettings) -> None:
        walks, people, _ = prepare(settings)
        for changes in ({"batch": 4}, {"batch": 1}, {"walks_each": 1}):
            with pytest.raises(SettingsError, match="cannot be drawn from 3 people"):
                GaitBatches(walks, people, replace(settings, **changes))


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
            found = moved(still, np.random.default_rng(seed))
            assert (found == found[0]).all()
            mirrored += int(found[0, :10, :22].sum() > found[0, :10, 22:].sum())
        assert 10 <= mirrored <= 30


def test_rank1_is_counted_by_hand() -> None:
    # Two cameras: in the first gallery b stands where a's first probe is, in the second all is well.
    labels = [("a", "nm-01"), ("a", "nm-01"), ("b", "nm-01"), ("b", "nm-01"), ("a", "nm-02"), ("b", "cl-01")]
    places = [5.0, 1.0, 1.2, 9.0, 1.1, 8.0]
    parts = np.array(places, np.float32)[:, None, None]
    assert rank1(parts, labels) == {"nm": 0.5, "cl": 0.5}


def test_it_learns_to_tell_people_apart(settings: GaitTrainSettings) -> None:
    torch.manual_seed(0)
    walks, people, held_out = prepare(settings)
    weights = replace(settings, entropy=1.0, triplet=1.0, clean=1.0)
    task = GaitTask(network_of(weights, len(people)), weights, walks, held_out)
    batches = GaitBatches(walks, people, weights)
    optimizer = torch.optim.AdamW(task.parameters(), lr=0.01)
    losses = []
    for step in range(30):
        found = task.loss(batches[step])
        optimizer.zero_grad()
        found["loss"].backward()
        optimizer.step()
        losses.append(float(found["loss"].detach()))
    assert {"loss", "parts", "walks", "triplet", "entropy", "active"} == set(found)
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    task.network.eval()
    figures = task.check(task.network)
    assert set(figures) == {"clean nm", "spoilt nm"}


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::torch.jit.TracerWarning")  # torch's advice on exporting
def test_the_export_is_the_network(settings: GaitTrainSettings, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    from app.gait.onnx import OnnxGait, cut
    from app.lab.training.gait import export_network, trained
    from app.settings import GaitSettings
    from app.weights.checkpoints import CheckpointFile

    with pytest.raises(SettingsError, match="Train it first"):
        export_network(settings, tmp_path / "gait.onnx")
    torch.manual_seed(0)
    settings.out.mkdir()
    torch.save(network_of(settings, classes=3).state_dict(), settings.out / "network.pt")
    assert export_network(replace(settings, piece=None), tmp_path / "gait.onnx") < 1e-4
    model = OnnxGait(CheckpointFile(tmp_path / "gait.onnx", "given"), GaitSettings())
    assert model.card.licence == "Apache-2.0"
    for frames in (1, 17):
        walk = body(14, frames)
        found = model.embed([GaitSequence(np.arange(frames), walk, 25.0)])[0].parts
        views = torch.from_numpy(np.stack([walk, walk[:, :, ::-1]])[:, :, :, 10:54]).float() / 255
        with torch.inference_mode():
            expected = trained(settings).embed(views).mean(0).T
        assert found.shape == (16, 6)
        np.testing.assert_allclose(found, expected.numpy(), atol=5e-3)  # weights are kept as float16
    export_network(replace(settings, piece=8), tmp_path / "pieces.onnx")
    long = GaitSequence(np.arange(17), body(14, 17), 25.0)
    (pieced,) = OnnxGait(CheckpointFile(tmp_path / "pieces.onnx", "given"), GaitSettings()).embed([long])
    assert pieced.pieces is not None
    alone = model.embed([long.part(slice(int(piece[0]), int(piece[-1]) + 1)) for piece in cut(17, 8)])
    for piece, by_itself in zip(pieced.pieces, alone, strict=True):
        np.testing.assert_allclose(piece, by_itself.parts, atol=1e-5)
    with pytest.raises(SettingsError, match="not the gait network of these settings"):
        trained(replace(settings, channels=7))
