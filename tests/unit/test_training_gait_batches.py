"""The batches of the gait trainer: people, walks, frames and transforms."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from app.errors import SettingsError
from app.gait.heatmaps import heatmaps
from app.lab.data.opengait import DataSetError, write_array
from app.lab.training.gait.sampling import GaitBatches, Order, Sampling
from app.lab.training.gait.transforms import (
    TRANSFORMS,
    FlipSequence,
    InversePosesPre,
    JointNoise,
    MirrorPoses,
    PointNoise,
    RandomErasing,
    RandomHorizontalFlip,
    RandomMove,
    Transform,
)
from app.lab.training.gait.walks import PackedWalks
from app.types import Bytes, Floats

PLAIN = Sampling(people=2, walks=3, fewest=4, most=6, order="ordered")


def skeleton(frames: int, seed: int = 0) -> Floats:
    rng = np.random.default_rng(seed)
    keypoints = rng.uniform(20, 100, (frames, 17, 3)).astype(np.float32)
    keypoints[..., 2] = 1
    return keypoints


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three people, four walks: person p's silhouettes are p rows high, frame f of a walk has f + 1 columns."""
    for person in range(3):
        for number in range(4):
            view = tmp_path / "data" / f"{person:03d}" / f"nm-{number:02d}" / "090"
            view.mkdir(parents=True)
            walk = np.zeros((8, 64, 44), np.uint8)
            for frame in range(8):
                walk[frame, : 10 + person, : frame + 1] = 255
            write_array(walk, view / "0_sil.pkl")
            write_array(skeleton(7, person), view / "1_pose.pkl")
    return tmp_path / "data"


@pytest.fixture
def walks(data: Path, tmp_path: Path) -> PackedWalks:
    return PackedWalks.pack(data, None, "silhouettes", tmp_path / "pack")


class TestPeople:
    def test_groups_come_together(self) -> None:
        sampling, rng = Sampling(7, 2, 4, 6, "ordered", together=3), np.random.default_rng(0)
        seen = set()
        for _ in range(50):
            people = sampling.draw_people(12, rng)
            assert len(set(people.tolist())) == 7
            first, second, third = people[:3], people[3:6], people[6:]
            assert (np.diff(first) == 1).all()
            assert (np.diff(second) == 1).all()
            assert first[0] % 3 == second[0] % 3 == third[0] % 3 == 0
            seen.update(people.tolist())
        assert seen == set(range(12))

    def test_a_group_that_is_cut_off_by_the_end_leaves_no_gap(self) -> None:
        sampling = Sampling(4, 2, 4, 6, "ordered", together=3)
        for seed in range(20):
            people = sampling.draw_people(5, np.random.default_rng(seed))
            assert len(set(people.tolist())) == 4
            assert people.max() < 5

    def test_without_groups_anybody_meets_anybody(self) -> None:
        drawn = [PLAIN.draw_people(6, np.random.default_rng(seed)).tolist() for seed in range(200)]
        assert len({tuple(sorted(pair)) for pair in drawn}) == 15


class TestFrames:
    def test_ordered_frames_are_a_stretch(self) -> None:
        rng = np.random.default_rng(0)
        starts = set()
        for _ in range(60):
            frames = PLAIN.frames(9, 5, rng)
            assert (np.diff(frames) == 1).all()
            starts.add(int(frames[0]))
        assert starts == {0, 1, 2, 3, 4}

    def test_skipped_frames_stay_in_order(self) -> None:
        sampling, rng = Sampling(2, 3, 5, 5, "ordered", skip=3), np.random.default_rng(0)
        gaps = np.concatenate([np.diff(sampling.frames(20, 5, rng)) for _ in range(40)])
        assert gaps.min() == 1
        assert 1 < gaps.max() <= 4

    def test_unordered_frames_are_drawn_from_all_and_once(self) -> None:
        sampling, rng = Sampling(2, 3, 5, 5, "unordered"), np.random.default_rng(0)
        drawn = [sampling.frames(9, 5, rng) for _ in range(60)]
        assert all(len(set(frames.tolist())) == 5 for frames in drawn)
        assert {int(frame) for frames in drawn for frame in frames} == set(range(9))
        assert any((np.diff(frames) < 0).any() for frames in drawn)

    @pytest.mark.parametrize("order", ["ordered", "unordered"])
    def test_a_short_walk_is_repeated(self, order: Order) -> None:
        frames = Sampling(2, 3, 7, 7, order).frames(3, 7, np.random.default_rng(0))
        assert sorted(np.bincount(frames).tolist()) == [2, 2, 3]

    @pytest.mark.parametrize("numbers", [(1, 4, 5, 5, 0), (2, 1, 5, 5, 0), (2, 2, 6, 5, 0), (2, 2, 0, 5, 0)])
    def test_nonsense_is_refused(self, numbers: Sequence[int]) -> None:
        people, each, fewest, most, skip = numbers
        with pytest.raises(SettingsError, match="A batch"):
            Sampling(people, each, fewest, most, "ordered", skip)


class TestBatches:
    def test_people_by_walks_by_frames(self, walks: PackedWalks) -> None:
        batches = GaitBatches(walks, PLAIN, seed=1)
        lengths, seen = set(), set()
        for step in range(20):
            batch = batches[step]
            lengths.add(batch["walks"].shape[1])
            assert batch["walks"].shape[2:] == (64, 44)
            first, second = batch["people"].view(2, 3).unbind(0)
            assert len(set(first.tolist())) == len(set(second.tolist())) == 1
            assert first[0] != second[0]
            rows = (batch["walks"] > 0).any(3).sum(2)[:, 0] - 10
            torch.testing.assert_close(rows, batch["people"])
            seen |= set(rows.tolist())
        assert lengths == {4, 5, 6}
        assert seen == {0, 1, 2}

    def test_a_batch_is_a_function_of_seed_and_step(self, walks: PackedWalks) -> None:
        changes = (RandomHorizontalFlip(), RandomErasing())
        batches, again = GaitBatches(walks, PLAIN, changes, seed=1), GaitBatches(walks, PLAIN, changes, seed=1)
        other = GaitBatches(walks, PLAIN, changes, seed=2)
        for step in (0, 5):
            torch.testing.assert_close(batches[step], again[step], rtol=0, atol=0)
        assert any(
            a.shape != b.shape or not torch.equal(a, b)
            for a, b in ((batches[step]["walks"], other[step]["walks"]) for step in range(3))
        )

    def test_every_walk_twice(self, walks: PackedWalks) -> None:
        batch = GaitBatches(walks, PLAIN, (RandomHorizontalFlip(0.5),), seed=1, twice=True)[0]
        assert len(batch["walks"]) == len(batch["people"]) == 12

    def test_too_few_people_are_told(self, walks: PackedWalks) -> None:
        with pytest.raises(SettingsError, match="A batch has 4 people, and there are 3"):
            GaitBatches(walks, Sampling(4, 2, 3, 3, "ordered"), seed=1)

    @pytest.mark.parametrize("numbers", [(2, 10**8, 6), (2, 3, 10**9), (2, 40, 100)])
    def test_a_batch_that_memory_does_not_hold_is_told(
        self, walks: PackedWalks, numbers: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        people, each, most = numbers
        monkeypatch.setattr(f"{GaitBatches.__module__}.memory", lambda: 8 * 10**6 if most == 100 else 16 * 10**9)
        with pytest.raises(SettingsError, match=rf"2 people with {each} walks of up to {most} .* GB, and this machine"):
            GaitBatches(walks, Sampling(people, each, 4, most, "ordered"), seed=1)


class EvaluationSet:
    def test_what_is_packed_is_what_was_there(self, data: Path, walks: PackedWalks) -> None:
        assert len(walks) == 12
        assert walks.files[5].name == "001/nm-01/090"
        assert walks[5].shape == (8, 64, 44)
        assert [own.tolist() for own in walks.of(walks.people)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
        sent = pickle.dumps(walks)
        assert len(sent) < 1000
        np.testing.assert_array_equal(pickle.loads(sent)[5], walks[5])

    def test_keypoints_and_the_maps_drawn_from_them(self, data: Path, tmp_path: Path) -> None:
        poses = PackedWalks.pack(data, ["001"], "keypoints", tmp_path / "poses")
        assert len(poses) == 4
        np.testing.assert_array_equal(poses[0], skeleton(7, 1))
        maps = PackedWalks.pack(data, ["001"], "heatmaps", tmp_path / "maps")
        np.testing.assert_array_equal(maps[0], heatmaps(skeleton(7, 1))[..., 10:54])
        both = PackedWalks.pack(data, ["001"], "heatmaps with silhouettes", tmp_path / "both")
        assert both[0].shape == (7, 3, 64, 44)
        np.testing.assert_array_equal(both[0][:, :2], maps[0])
        assert (both[0][2, 2, :11, :3] == 255).all()

    def test_other_walks_need_another_pack(self, data: Path, tmp_path: Path, walks: PackedWalks) -> None:
        packed = (tmp_path / "pack" / "frames.bin").stat().st_mtime_ns
        assert len(PackedWalks.pack(data, None, "silhouettes", tmp_path / "pack")) == len(walks)
        assert (tmp_path / "pack" / "frames.bin").stat().st_mtime_ns == packed, (
            "a training that continues packs nothing"
        )
        with pytest.raises(SettingsError, match="holds a training on other walks"):
            PackedWalks.pack(data, ["001"], "silhouettes", tmp_path / "pack")

    @pytest.mark.parametrize("name", ["walks.json", "frames.bin"])
    def test_a_pack_that_is_damaged_is_told(self, data: Path, tmp_path: Path, name: str) -> None:
        PackedWalks.pack(data, None, "silhouettes", tmp_path / "pack")
        whole = (tmp_path / "pack" / name).read_bytes()
        for content in (b"", whole[:1000], whole[: len(whole) // 2 // 2816 * 2816]):
            (tmp_path / "pack" / name).write_bytes(content)
            with pytest.raises(SettingsError, match=r"pack is damaged\. Remove it, and the walks are packed again"):
                PackedWalks.pack(data, None, "silhouettes", tmp_path / "pack")

    def test_another_form_needs_another_pack(self, data: Path, tmp_path: Path, walks: PackedWalks) -> None:
        with pytest.raises(SettingsError, match="holds silhouettes, and keypoints are needed"):
            PackedWalks.pack(data, None, "keypoints", tmp_path / "pack")

    def test_nothing_is_left_of_a_pack_that_failed(self, data: Path, tmp_path: Path) -> None:
        (data / "002" / "nm-03" / "090" / "0_sil.pkl").write_bytes(b"odd")
        with pytest.raises(DataSetError, match="cannot be read"):
            PackedWalks.pack(data, None, "silhouettes", tmp_path / "bad")
        assert not list(tmp_path.glob("*bad*"))


def pictures(*channels: int) -> Bytes:
    walk = np.zeros((5, *channels, 64, 44), np.uint8)
    walk[..., 2:62, 2:38] = 200
    return walk


class TestTransforms:
    @pytest.mark.parametrize("name", [name for name, kind in TRANSFORMS.items() if kind.fits("heatmaps")])
    @pytest.mark.parametrize("channels", [(), (2,)])
    def test_pictures_change_alike_in_all_frames(self, name: str, channels: tuple[int, ...]) -> None:
        walk = pictures(*channels)
        before = walk.copy()
        found = TRANSFORMS[name](prob=1.0)(walk, np.random.default_rng(3))
        assert found.shape == walk.shape
        assert found.dtype == np.uint8
        assert (found != walk).any()
        assert (found == found[0]).all()
        assert 0.6 < found.mean() / walk.mean() < 1.4
        np.testing.assert_array_equal(walk, before)

    @pytest.mark.parametrize("kind", TRANSFORMS.values())
    def test_they_happen_as_often_as_they_should(self, kind: type[Transform]) -> None:
        walk = pictures() if kind.fits("silhouettes") else skeleton(5)
        rng = np.random.default_rng(0)
        changed = sum(bool((kind(prob=0.3)(walk, rng) != walk).any()) for _ in range(200))
        assert 40 <= changed <= 80
        assert kind(prob=0.0)(walk, rng) is walk

    def test_a_flip_is_a_mirror(self) -> None:
        found = RandomHorizontalFlip(1.0)(pictures(), np.random.default_rng(0))
        np.testing.assert_array_equal(found[..., ::-1], pictures())

    def test_erased_rectangles_have_the_size_asked_for(self) -> None:
        rng = np.random.default_rng(0)
        white = np.full((3, 64, 44), 255, np.uint8)
        for _ in range(50):
            gone = RandomErasing(1.0, sl=0.05, sh=0.2, r1=0.5)(white, rng)[0] == 0
            rows, columns = gone.any(1).sum(), gone.any(0).sum()
            assert gone.sum() == rows * columns
            assert 0.04 < gone.mean() < 0.21
            assert 0.4 < rows / columns < 2.3
        each = RandomErasing(1.0, per_frame=True)(white, rng)
        assert (each[0] != each[1]).any()

    def test_poses(self) -> None:
        rng, walk = np.random.default_rng(0), skeleton(5)
        np.testing.assert_array_equal(FlipSequence(1.0)(walk, rng), walk[::-1])
        mirrored = MirrorPoses(1.0)(walk, rng)
        np.testing.assert_allclose(mirrored[..., 0].mean(1), walk[..., 0].mean(1), rtol=1e-5)
        np.testing.assert_allclose(np.diff(mirrored[..., 0]), -np.diff(walk[..., 0]), atol=1e-4)
        np.testing.assert_array_equal(InversePosesPre(1.0)(walk, rng)[:, 5], walk[:, 6])
        by = JointNoise(1.0, std=2.0)(walk, rng) - walk
        np.testing.assert_allclose(by, np.broadcast_to(by[:1], by.shape), atol=1e-4)
        by = RandomMove(1.0, random_r=(4.0, 0.0))(walk, rng) - walk
        np.testing.assert_allclose(by[..., 0], by[0, 0, 0], atol=1e-4)
        assert not by[..., 1:].any()
        noise = (PointNoise(1.0, std=2.0)(skeleton(400), rng) - skeleton(400))[..., :2]
        assert noise.std() == pytest.approx(2.0, rel=0.05)
