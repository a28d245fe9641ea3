"""Data sets in OpenGait's layout, good and bad."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.lab.data.opengait import DataSetError, read_partition, read_silhouettes, walk_files


def silhouettes(frames: int = 3, rows: int = 64, columns: int = 64) -> Any:
    return np.random.default_rng(0).integers(0, 256, (frames, rows, columns), np.uint8)


def put(path: Path, content: Any, protocol: int = pickle.HIGHEST_PROTOCOL) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


class TestReadSilhouettes:
    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_pickles_of_every_protocol_lose_their_outer_columns(self, tmp_path: Path, protocol: int) -> None:
        given = silhouettes()
        for array in (given, np.asfortranarray(given)):
            found = read_silhouettes(put(tmp_path / "0.pkl", array, protocol))
            np.testing.assert_array_equal(found, given[:, :, 10:54])

    def test_npz_and_cut_ones_are_read(self, tmp_path: Path) -> None:
        given = silhouettes(columns=44)
        np.savez_compressed(tmp_path / "0.npz", silhouettes=given)
        np.testing.assert_array_equal(read_silhouettes(tmp_path / "0.npz"), given)

    def test_masks_of_zero_and_one_become_black_and_white(self, tmp_path: Path) -> None:
        mask = silhouettes() > 127
        for array in (mask, mask.astype(np.uint8)):
            found = read_silhouettes(put(tmp_path / "0.pkl", array))
            np.testing.assert_array_equal(found, mask[:, :, 10:54] * np.uint8(255))

    def test_larger_ones_are_reduced(self, tmp_path: Path) -> None:
        large = np.repeat(np.repeat(silhouettes(), 2, axis=1), 2, axis=2)
        found = read_silhouettes(put(tmp_path / "0.pkl", large))
        np.testing.assert_array_equal(found, silhouettes()[:, :, 10:54])

    def test_a_pickle_that_runs_code_is_refused_and_not_run(self, tmp_path: Path) -> None:
        class Evil:
            def __reduce__(self) -> tuple[Any, ...]:
                return os.mkdir, (str(tmp_path / "ran"),)

        with pytest.raises(DataSetError, match=r"0\.pkl is refused: it asks for .*mkdir"):
            read_silhouettes(put(tmp_path / "0.pkl", Evil()))
        assert not (tmp_path / "ran").exists()

    @pytest.mark.parametrize(
        ("content", "says"),
        [
            ([1, 2], "holds list"),
            (np.zeros((2, 64, 64), np.float32), r"float32 \(2, 64, 64\)"),
            (np.zeros((0, 64, 64), np.uint8), "not silhouettes"),
            (np.zeros((2, 64, 30), np.uint8), "64 x 30 px"),
            (np.zeros((2, 32, 64), np.uint8), "32 x 64 px"),
        ],
    )
    def test_what_is_no_walk_is_told(self, tmp_path: Path, content: Any, says: str) -> None:
        with pytest.raises(DataSetError, match=says):
            read_silhouettes(put(tmp_path / "0.pkl", content))

    def test_damage_is_told(self, tmp_path: Path) -> None:
        path = put(tmp_path / "0.pkl", silhouettes())
        path.write_bytes(path.read_bytes()[:100])
        with pytest.raises(DataSetError, match=r"0\.pkl cannot be read"):
            read_silhouettes(path)
        with pytest.raises(DataSetError, match="cannot be read"):
            read_silhouettes(tmp_path / "absent.npz")


class TestWalkFiles:
    def test_folders_say_who_how_and_whence(self, tmp_path: Path) -> None:
        for person, condition, view in (("002", "nm-01", "090"), ("001", "bg-02", "000"), ("001", "bg-02", "018")):
            put(tmp_path / "data" / person / condition / view / "0.pkl", silhouettes())
        (tmp_path / "data" / ".003.partial" / "nm-01" / "000").mkdir(parents=True)
        found = walk_files(tmp_path)
        expected = [("001", "bg-02", "000"), ("001", "bg-02", "018"), ("002", "nm-01", "090")]
        assert [(walk.identity, walk.condition, walk.view) for walk in found] == expected
        assert found == walk_files(tmp_path / "data")
        assert walk_files(tmp_path, ["002", "009"]) == found[2:]
        assert found[0].path.name == "0.pkl"

    def test_of_several_files_the_silhouettes_are_taken(self, tmp_path: Path) -> None:
        view = tmp_path / "1" / "nm-01" / "000"
        put(view / "0_heatmap.pkl", 0)
        put(view / "1_silhouette.pkl", 0)
        assert walk_files(tmp_path)[0].path == view / "1_silhouette.pkl"
        put(view / "2_sils.pkl", 0)
        with pytest.raises(DataSetError, match="must hold one"):
            walk_files(tmp_path)

    def test_nothing_there_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(DataSetError, match="has no walks"):
            walk_files(tmp_path)
        with pytest.raises(DataSetError, match="has no walks"):
            walk_files(tmp_path / "absent")


def test_partitions(tmp_path: Path) -> None:
    path = tmp_path / "partition.json"
    path.write_text(json.dumps({"TRAIN_SET": ["001", 2], "TEST_SET": ["003"]}), encoding="utf-8")
    assert read_partition(path, "train") == ["001", "2"]
    assert read_partition(path, "test") == ["003"]
    path.write_text('{"TRAIN_SET": []}', encoding="utf-8")
    with pytest.raises(DataSetError, match="not a partition"):
        read_partition(path, "test")
    with pytest.raises(DataSetError, match="not a partition"):
        read_partition(tmp_path / "absent.json", "test")
