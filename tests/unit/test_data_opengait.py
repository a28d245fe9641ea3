"""Data sets in OpenGait's layout, good and bad."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.lab.data.opengait import (
    DataSetError,
    _array,
    read_heatmaps,
    read_parsing,
    read_partition,
    read_silhouettes,
    walk_files,
)


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

    @pytest.mark.parametrize("size", [(64, 3000), (64, 65), (64, 43), (128, 64), (128, 129), (3000, 64), (44, 64)])
    @pytest.mark.parametrize("what", ["silhouettes", "skeleton maps", "maps of body parts"])
    def test_unlikely_shapes_are_not_cut_in_silence(self, tmp_path: Path, what: str, size: tuple[int, int]) -> None:
        read = {"silhouettes": read_silhouettes, "skeleton maps": read_heatmaps}.get(what, read_parsing)
        pictures = np.ones((2, *((2,) if what == "skeleton maps" else ()), *size), np.uint8)
        with pytest.raises(DataSetError, match=rf"{size[0]} x {size[1]} px|\(2, (2, )?{size[0]}, {size[1]}\)"):
            read(put(tmp_path / "0.pkl", pictures))

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
        with pytest.raises(DataSetError, match="There is no folder"):
            walk_files(tmp_path / "absent")


def test_partitions(tmp_path: Path) -> None:
    path = tmp_path / "partition.json"
    path.write_text(json.dumps({"TRAIN_SET": ["001", 2], "TEST_SET": ["003"]}), encoding="utf-8")
    assert read_partition(path, "train") == ["001", "2"]
    assert read_partition(path, "test") == ["003"]
    path.write_text('{"TRAIN_SET": []}', encoding="utf-8")
    with pytest.raises(DataSetError, match="not a partition"):
        read_partition(path, "test")
    with pytest.raises(DataSetError, match="There is no partition"):
        read_partition(tmp_path / "absent.json", "test")


def test_partitions_as_people_write_them(tmp_path: Path) -> None:
    path = tmp_path / "partition.json"
    path.write_bytes(b"\xef\xbb\xbf" + b'{"TRAIN_SET": [], "TEST_SET": ["075"]}')
    assert read_partition(path, "test") == ["075"]
    for content in (
        "",
        "[]",
        '"TEST_SET"',
        '{"TEST_SET": "075"}',
        '{"TEST_SET": {"075": 1}}',
        '{"TEST_SET": [["075"]]}',
        '{"TEST_SET": [null]}',
        '{"TEST_SET": [' + "9" * 5000 + "]}",
        '{"TEST_SET": ' + "[" * 100_000,
        '{"TEST_SET": "\\ud800',
    ):
        path.write_text(content)
        with pytest.raises(DataSetError, match="not a partition"):
            read_partition(path, "test")
    path.write_bytes(b'{"TEST_SET": ["\xff"]}')
    with pytest.raises(DataSetError, match="not a partition"):
        read_partition(path, "test")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for person in ("075", "076"):
        for condition in ("nm-01", "nm-02"):
            put(tmp_path / "set" / person / condition / "000" / "000.pkl", silhouettes())
    return tmp_path / "set"


class TestWhatIsPassedOver:
    def found(self, folder: Path, **more: Any) -> tuple[list[str], dict[str, str]]:
        left_out: dict[str, str] = {}
        return [walk.name for walk in walk_files(folder, left_out=left_out, **more)], left_out

    def test_what_systems_put_into_folders(self, data: Path) -> None:
        names = [walk.name for walk in walk_files(data)]
        for folder in [path for path in (data, *data.rglob("*")) if path.is_dir()]:
            for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._000.pkl"):
                (folder / name).write_bytes(b"\0\0\0\1Bud1")
        for foreign in ("__MACOSX", ".Trashes", "@eaDir", "lost+found"):
            put(data / foreign / "nm-01" / "000" / "._000.pkl", 0)
            put(data / "075" / foreign / "000" / "000.pkl", 0)
            put(data / "075" / "nm-01" / foreign / "000.pkl", 0)
        assert self.found(data) == (names, {})

    def test_members_without_a_walk_are_listed(self, data: Path, caplog: pytest.LogCaptureFixture) -> None:
        (data / "075/nm-01/018").mkdir()
        (data / "075/nm-01/036").mkdir()
        (data / "075/nm-01/036/000.png").touch()
        (data / "075/nm-01/054").mkdir()
        (data / "075/nm-01/054/000.pkl").touch()
        (data / "075/nm-01/072").mkdir()
        (data / "075/nm-01/072/000.pkl").symlink_to("absent")
        put(data / "075/nm-01/090/0.pkl", 0)
        put(data / "075/nm-01/090/1.pkl", 0)
        (data / "078").mkdir()
        (data / "079/nm-01").mkdir(parents=True)
        (data / "readme.txt").touch()
        names, left_out = self.found(data)
        assert names == [f"{person}/{condition}/000" for person in ("075", "076") for condition in ("nm-01", "nm-02")]
        assert left_out == {
            "075/nm-01/018": "has no .pkl or .npz file",
            "075/nm-01/036": "has no .pkl or .npz file",
            "075/nm-01/054": "has an empty file, 000.pkl",
            "075/nm-01/072": "has no .pkl or .npz file",
            "075/nm-01/090": left_out["075/nm-01/090"],
            "078": "has no folders condition/view",
            "079": "has no folders condition/view",
        }
        assert len(walk_files(data)) == 4
        (warning,) = caplog.messages
        assert "7 left out: 075/nm-01/018 has no .pkl or .npz file; " in warning

    def test_nothing_but_such_members_is_an_error_with_the_reason(self, data: Path) -> None:
        for path in data.rglob("*.pkl"):
            path.write_bytes(b"")
        with pytest.raises(DataSetError, match=r"075/nm-01/000 has an empty file, 000\.pkl"):
            walk_files(data)

    @pytest.mark.parametrize("walk", ["075/nm-01/000", "Silhouette_000-00/00001", "0000/00-nm/000/Sils"])
    def test_pictures_are_called_so(self, tmp_path: Path, walk: str) -> None:
        view = tmp_path / walk
        view.mkdir(parents=True)
        (view / "000.png").touch()
        with pytest.raises(DataSetError, match="prepare silhouettes makes walks of them"):
            walk_files(tmp_path)

    def test_a_list_of_nobody_is_said(self, data: Path, tmp_path: Path) -> None:
        with pytest.raises(DataSetError, match=r"split\.json names nobody"):
            walk_files(data, [], partition=tmp_path / "split.json")
        with pytest.raises(DataSetError, match=r"names nobody"):
            walk_files(data, [])

    def test_absent_people_are_said(self, data: Path) -> None:
        names, left_out = self.found(data, identities=["076", "079", "124"], partition=Path("mine.json"))
        assert names == ["076/nm-01/000", "076/nm-02/000"]
        assert left_out == {
            "person 079": "is in mine.json, but not in the data set",
            "person 124": "is in mine.json, but not in the data set",
        }


class TestDepth:
    @pytest.mark.parametrize("below", ["CASIA-B", "CASIA-B/pkl", "CASIA-B/data", "data/CASIA-B"])
    def test_a_data_set_in_another_folder_is_found(self, data: Path, tmp_path: Path, below: str) -> None:
        expected = [walk.name for walk in walk_files(data)]
        moved = tmp_path / "outer" / below
        moved.parent.mkdir(parents=True)
        data.rename(moved)
        (tmp_path / "outer" / "__MACOSX" / "._x").mkdir(parents=True)
        (tmp_path / "outer" / "readme").mkdir()
        assert [walk.name for walk in walk_files(tmp_path / "outer")] == expected
        assert [walk.name for walk in walk_files(tmp_path / "outer", ["076"])] == expected[2:]

    def test_several_are_named(self, data: Path) -> None:
        for name in ("train", "test"):
            (data.parent / "outer" / name).mkdir(parents=True)
        (data / "075").rename(data.parent / "outer/train/075")
        (data / "076").rename(data.parent / "outer/test/076")
        with pytest.raises(DataSetError, match=r"several data sets: .*test, .*train\. Give one"):
            walk_files(data.parent / "outer")

    @pytest.mark.parametrize("below", ["075", "075/nm-01", "075/nm-01/000"])
    def test_a_folder_within_the_data_set_is_named(self, data: Path, below: str) -> None:
        with pytest.raises(DataSetError, match=r"Expected is .* There is .*\.pkl, which is not as deep"):
            walk_files(data / below)


def refused(path: Path, says: str) -> None:
    """Check that a file is refused, and that it takes no more memory than such a file may."""
    import tracemalloc

    tracemalloc.start()
    try:
        with pytest.raises(DataSetError, match=says):
            read_silhouettes(path)
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


class TestFilesThatClaimMuch:
    def test_a_huge_file_is_not_read(self, tmp_path: Path) -> None:
        for name in ("0.pkl", "0.npz"):
            with (tmp_path / name).open("wb") as file:
                file.truncate(1 << 40)
            refused(tmp_path / name, "larger than 256 MB")

    @pytest.mark.parametrize("shape", ["(1000000000, 64, 64)", "(-1,)", "(2, 64, 64)", "(0, 64, 64)", "(9, 64, 0)"])
    def test_headers_of_npz(self, tmp_path: Path, shape: str) -> None:
        header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}".ljust(117) + "\n"
        with zipfile.ZipFile(tmp_path / "0.npz", "w") as archive:
            archive.writestr("arr.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode())
        refused(tmp_path / "0.npz", "claims|cannot be read|not silhouettes")

    def test_a_bomb_in_an_npz(self, tmp_path: Path) -> None:
        header = {"descr": "|u1", "fortran_order": False, "shape": (1 << 18, 64, 64)}
        archive = zipfile.ZipFile(tmp_path / "0.npz", "w", zipfile.ZIP_DEFLATED)
        with archive, archive.open("arr.npy", "w", force_zip64=True) as file:
            np.lib.format.write_array_header_1_0(file, header)
            for _ in range(64):
                file.write(bytes(1 << 20))
        refused(tmp_path / "0.npz", "claims an array uint8")

    @pytest.mark.parametrize("kind", ["O", "U9", "c8", "V8", "(3,)u1", "M8[s]"])
    def test_other_kinds_of_numbers(self, tmp_path: Path, kind: str) -> None:
        array = np.zeros((2, 64, 64), kind)
        refused(put(tmp_path / "0.pkl", array), "refused|cannot be read|not silhouettes")
        np.savez(tmp_path / "0.npz", array)
        refused(tmp_path / "0.npz", "claims|cannot be read|not silhouettes")

    @pytest.mark.parametrize(
        "content",
        [
            b"\x80\x02]r\xff\xff\xff\x0f.",  # a memo far out of turn
            b"\x80\x04\x8e" + (1 << 40).to_bytes(8, "little") + b"x.",  # bytes that are not there
            b"\x80\x04\x8a\xff\x01.",  # a number that is cut off
            b"\x80\x02}" + b")" + b"2\x86" * 60 + b"K\x01s.",  # a key that takes for ever to hash
            b"\x80\x02cnumpy\nndarray\n" + b"J\xff\xff\xff\x7f\x85R.",  # an array made by its size alone
            b"\x80\x02cnumpy\ndtype\nX\x0b\x00\x00\x00V2000000000\x85R.",
            b"\x80\x02cnumpy.core.multiarray\nscalar\nK\x01\x85R.",
            b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00xX\x03\x00\x00\x00hex\x86R.",
            b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n)R.",
            b"(lp0\n0.",
            b".",
            b"",
            b"\x80\x09.",
        ],
    )
    def test_crafted_pickles(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "0.pkl").write_bytes(content)
        refused(tmp_path / "0.pkl", "refused|cannot be read|not an array")

    @pytest.mark.parametrize(
        "state",
        [
            (1, (1 << 40, 64, 64), "u1", False, b"\0" * 8192),
            (1, (2, 64, -64), "u1", False, b""),
            (1, (2, 64, 64), "u1", False, b"\0" * 8191),
            (1, (2, 64, 64), "u1", False, [0] * 3),
            (1, (2, 64, 64), "u1", False, 8192),
            (1, 8192, "u1", False, b"\0" * 8192),
            (1, (2.0, 64, 64), "u1", False, b"\0" * 8192),
            (1, (2, 64, 0), "u1", False, b""),
            (),
        ],
    )
    def test_states_that_do_not_fit(self, tmp_path: Path, state: tuple[Any, ...]) -> None:
        class Given:
            def __reduce__(self) -> tuple[Any, ...]:
                given = tuple(np.dtype(part) if part == "u1" else part for part in state)
                return np.zeros(0, np.uint8).__reduce__()[0], (np.ndarray, (0,), b"b"), given

        refused(put(tmp_path / "0.pkl", Given(), 4), "refused|cannot be read|not silhouettes")

    @pytest.mark.parametrize("kind", ["u1", "?", "<f4", ">f4", ">i2", "<f8", "<i8"])
    def test_arrays_come_back_as_they_were(self, tmp_path: Path, kind: str) -> None:
        array = (np.arange(24).reshape(2, 3, 4) % 7).astype(kind)
        for given in (array, np.asfortranarray(array), array[:, ::2], array[:0]):
            for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
                np.testing.assert_array_equal(_array(put(tmp_path / "0.pkl", given, protocol)), given, strict=True)
            np.savez_compressed(tmp_path / "0.npz", given)
            np.testing.assert_array_equal(_array(tmp_path / "0.npz"), given, strict=True)
