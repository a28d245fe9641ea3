"""Keypoints of a data set become skeleton maps, and these are linked with silhouettes."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from app.cli.main import main
from app.errors import OutputError
from app.gait.heatmaps import heatmaps
from app.lab.data.bodies import prepare_bodies
from app.lab.data.link import link
from app.lab.data.opengait import DataSetError, read_heatmaps, read_keypoints, walk_files
from app.lab.data.raw import prepare_silhouettes, read_layout
from app.lab.data.skeleton_maps import coco17, prepare_heatmaps
from tests.contract.samples import STANDING

# fmt: off
OPENPOSE = [
    "nose", "neck", "right shoulder", "right elbow", "right wrist", "left shoulder", "left elbow", "left wrist",
    "right hip", "right knee", "right ankle", "left hip", "left knee", "left ankle", "right eye", "left eye",
    "right ear", "left ear",
]
COCO = [
    "nose", "left eye", "right eye", "left ear", "right ear", "left shoulder", "right shoulder", "left elbow",
    "right elbow", "left wrist", "right wrist", "left hip", "right hip", "left knee", "right knee", "left ankle",
    "right ankle",
]
# fmt: on


def poses(frames: int = 4) -> NDArray[np.float32]:
    pose = np.concatenate([np.asarray(STANDING, np.float32)[:, :2], np.full((17, 1), 0.9, np.float32)], axis=1)
    walk = np.repeat(pose[None], frames, axis=0)
    walk[:, :, 0] += np.random.default_rng(frames).normal(0, 2, (frames, 17))
    return walk.astype(np.float32)


def put(root: Path, walk: str, content: Any, name: str = "0.pkl") -> Path:
    path = root / walk / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content))
    return path


def silhouettes(frames: int = 4) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (frames, 64, 64), np.uint8)


class TestPrepareHeatmaps:
    def test_every_walk_is_drawn(self, tmp_path: Path) -> None:
        put(tmp_path / "poses", "001/nm-01/000", poses())
        put(tmp_path / "poses", "002/nm-01/000", poses(7).astype(np.float64))
        put(tmp_path / "poses", "003/nm-01/000", np.full((2, 17, 3), np.nan))
        put(tmp_path / "poses", "004/nm-01/000", poses() * 100)
        put(tmp_path / "poses", "005/nm-01/000", np.zeros((2, 18, 3)))
        put(tmp_path / "poses", "006/nm-01/000", poses()).write_bytes(b"")
        (tmp_path / "poses/partition.json").write_text('{"TRAIN_SET": [], "TEST_SET": []}', encoding="utf-8")
        report = prepare_heatmaps(tmp_path / "poses", tmp_path / "out")
        assert [walk.name for walk in walk_files(tmp_path / "out", modality="heatmap")] == [
            "001/nm-01/000",
            "002/nm-01/000",
        ]
        drawn = read_heatmaps(tmp_path / "out/data/002/nm-01/000/0_heatmap.pkl")
        np.testing.assert_array_equal(drawn, heatmaps(poses(7)))
        assert report.frames == 11
        assert report.left_out == {"006/nm-01/000": "has an empty file, 0.pkl"}
        assert "finite" in report.walks_dropped["003/nm-01/000"]
        assert "from 0 to 1" in report.walks_dropped["004/nm-01/000"]
        assert "18 joints" in report.walks_dropped["005/nm-01/000"]
        assert (tmp_path / "out/partition.json").is_file()

    def test_of_several_files_the_keypoints_are_taken(self, tmp_path: Path) -> None:
        view = "0000/00-nm/000"
        put(tmp_path, view, poses(2), "03-000-Camera-Pose.pkl")
        put(tmp_path, view, poses(3), "11-sync-000-Camera-Pose.pkl")
        put(tmp_path, view, silhouettes(), "06-000-Camera-Sils_aligned.pkl")
        put(tmp_path, view, silhouettes(), "07-000-Camera-Sils_raw.pkl")
        put(tmp_path, view, silhouettes(), "02-000-LiDAR-PCDs_sils.pkl")
        put(tmp_path, view, silhouettes(), "14-sync-000-Camera-Sils_aligned.pkl")
        (tmp_path / view / ".03-000-Camera-Pose.partial.pkl").write_bytes(b"")
        assert walk_files(tmp_path, modality="pose")[0].path.name == "03-000-Camera-Pose.pkl"
        assert walk_files(tmp_path)[0].path.name == "06-000-Camera-Sils_aligned.pkl"
        with pytest.raises(DataSetError, match=r"must hold one .* of heatmaps"):
            walk_files(tmp_path, modality="heatmap")

    def test_openpose_joints_change_places(self, tmp_path: Path) -> None:
        walk = poses()
        openpose = np.zeros((4, 18, 3), np.float32)
        for place, joint in enumerate(OPENPOSE):
            openpose[:, place] = walk[:, COCO.index(joint)] if joint in COCO else 1e4
        np.testing.assert_array_equal(coco17(openpose), walk)
        put(tmp_path / "poses", "00001/00/000", openpose)
        prepare_heatmaps(tmp_path / "poses", tmp_path / "out", openpose=True)
        (found,) = walk_files(tmp_path / "out", modality="heatmap")
        np.testing.assert_array_equal(read_heatmaps(found.path), heatmaps(walk))

    def test_the_command(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        put(tmp_path / "poses", "001/nm-01/000", np.insert(poses(), 1, 0, axis=1))
        options = {
            "--pose-data-path": tmp_path / "poses", "--save-root": tmp_path / "maps", "--dataset-name": "mine",
            "--ext-name": "op", "--workers": 1,
        }  # fmt: skip
        command = [
            "prepare",
            "heatmaps",
            "--transfer-to-coco17",
            *(str(word) for option in options.items() for word in option),
        ]
        assert main(command) == 0
        assert "1 people, 1 walks, 4 frames" in " ".join(capsys.readouterr().out.split())
        assert (tmp_path / "maps/mine_op/data/001/nm-01/000/0_heatmap.pkl").is_file()


def test_damaged_and_foreign_files_are_told(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "ran"),)

    for read in (read_keypoints, read_heatmaps):
        with pytest.raises(DataSetError, match="is refused"):
            read(put(tmp_path, "a/b/c", Evil()))
        with pytest.raises(DataSetError, match=r"holds uint8 \(4, 64, 64\)"):
            read(put(tmp_path, "a/b/c", silhouettes()))
    assert not (tmp_path / "ran").exists()


AWKWARD = 'O\'Neill; $(touch ran) "x" & y'


class TestLink:
    @pytest.fixture
    def sets(self, tmp_path: Path) -> tuple[Path, Path]:
        """Heatmaps and silhouettes of three walks, one of each alone, and one whose lengths differ."""
        maps, bodies = tmp_path / "my maps", tmp_path / "my 'bodies'"
        for person in (AWKWARD, "002", "003"):
            put(maps, f"{person}/nm 01/000", heatmaps(poses(3 if person == "003" else 4)), "0_heatmap.pkl")
            put(bodies, f"{person}/nm 01/000", silhouettes(), "000.pkl")
        put(maps, "alone/nm 01/000", heatmaps(poses()))
        put(bodies, "other/nm 01/000", silhouettes())
        (bodies / "partition.json").write_text('{"TRAIN_SET": ["002"], "TEST_SET": ["003"]}', encoding="utf-8")
        return maps, bodies

    def test_what_belongs_together_is_linked(
        self, sets: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        report = link(*sets, tmp_path / "out")
        found = walk_files(tmp_path / "out")
        assert {walk.identity for walk in found} == {AWKWARD, "002"}
        assert report.walks_dropped == {"003/nm 01/000": "3 heatmaps and 4 silhouettes"}
        assert report.left_out == {"alone/nm 01/000": "has no silhouettes", "other/nm 01/000": "has no heatmaps"}
        assert not (tmp_path / "ran").exists()
        for walk in found:
            files = sorted(path.name for path in walk.path.parent.iterdir())
            assert files == ["0_heatmap.pkl", "1_silhouette.pkl"]
            assert walk.path.is_symlink()
            assert walk.path.resolve() == sets[1] / walk.name / "000.pkl"
        (linked, _) = walk_files(tmp_path / "out", modality="heatmap")
        np.testing.assert_array_equal(read_heatmaps(linked.path), heatmaps(poses()))
        assert json.loads((tmp_path / "out/partition.json").read_text(encoding="utf-8"))["TRAIN_SET"] == ["002"]
        assert link(*sets, tmp_path / "out") == report

    @pytest.mark.parametrize("refused", [("symlink_to",), ("symlink_to", "hardlink_to")])
    def test_where_links_are_not_allowed(
        self,
        sets: tuple[Path, Path],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        refused: tuple[str, ...],
    ) -> None:
        def refuse(place: Path, source: Path) -> None:
            raise OSError(1, "A required privilege is not held by the client")

        for way in refused:
            monkeypatch.setattr(Path, way, refuse)
        link(*sets, tmp_path / "out")
        place = tmp_path / "out/data/002/nm 01/000/1_silhouette.pkl"
        assert not place.is_symlink()
        assert place.samefile(sets[1] / "002/nm 01/000/000.pkl") == (len(refused) == 1)
        assert place.read_bytes() == (sets[1] / "002/nm 01/000/000.pkl").read_bytes()
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert "hard links or copies instead" in caplog.text

    def test_nothing_in_common_is_told(self, sets: tuple[Path, Path], tmp_path: Path) -> None:
        put(tmp_path / "other", "x/y/z", silhouettes())
        with pytest.raises(DataSetError, match=r"None of 0 walks could be used\. .*: has no silhouettes"):
            link(sets[0], tmp_path / "other", tmp_path / "out")

    def test_the_command(self, sets: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        command = ["prepare", "link", "--heatmaps", sets[0], "--silhouettes", sets[1], "--out", tmp_path / "out"]
        assert main(list(map(str, command))) == 0
        told = " ".join(capsys.readouterr().out.split())
        assert "2 people, 2 walks, 8 frames" in told
        assert "Walks dropped: 1 (1 x 3 heatmaps and 4 silhouettes)" in told


class TestOtherDataSetsStay:
    """A new data set is written neither over what it is made from nor over one that something else made."""

    MAKE: ClassVar[dict[str, Callable[[Path, Path], object]]] = {
        "silhouettes": lambda data, out: prepare_silhouettes(read_layout("casia-b"), data / "data", out),
        "heatmaps": prepare_heatmaps,
        "bodies": lambda data, out: prepare_bodies(data, out, name="lift"),
        "links": lambda data, out: link(data, data, out),
        "links to it": lambda data, out: link(data.parent / "other", data, out),
    }

    @pytest.mark.parametrize("made", MAKE)
    def test_they_stay(self, tmp_path: Path, made: str) -> None:
        data, other = tmp_path / "mine", tmp_path / "other"
        for place in (data, other):
            put(place, "data/001/nm-01/000", poses(), "1_pose.pkl")
            put(place, "data/001/nm-01/000", heatmaps(poses()), "2_heatmap.pkl")
            put(place, "data/001/nm-01/000", silhouettes(), "0_silhouette.pkl")
        before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        for out in (data, data / "data" / "new", other):
            with pytest.raises(OutputError, match=r"which is read|exists already"):
                self.MAKE[made](data, out)
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
