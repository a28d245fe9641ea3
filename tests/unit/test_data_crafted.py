"""Data sets that somebody crafted: pickled arrays are remade from their bytes, partitions are lists of names."""

from __future__ import annotations

import json
import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.lab.data.opengait import DataSetError, read_keypoints, read_partition, read_silhouettes


class Call:
    """Pickled as a call."""

    def __init__(self, function: Any, *arguments: Any, state: Any = None) -> None:
        self.call = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> Any:
        return self.call


RECONSTRUCT = np.zeros(1).__reduce__()[0]
KIND = (3, "|", None, None, None, -1, -1, 0)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_are_what_they_were(protocol: int, order: Any, tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    silhouettes = np.asarray(chance.integers(0, 256, (5, 64, 64)), np.uint8, order=order)
    path = tmp_path / "walk.pkl"
    path.write_bytes(pickle.dumps(silhouettes, protocol))
    np.testing.assert_array_equal(read_silhouettes(path), silhouettes[:, :, 10:54])
    for kind in ("<f4", ">f4", "<f8", "<f2", ">i2"):
        keypoints = np.asarray(chance.integers(0, 99, (4, 17, 3)), kind, order=order)
        path.write_bytes(pickle.dumps(keypoints, protocol))
        np.testing.assert_array_equal(read_keypoints(path), keypoints.astype(np.float32))


CRAFTED: dict[str, Any] = {
    "an empty array of any size": Call(RECONSTRUCT, np.ndarray, (1 << 36,), b"b"),
    "a picture repeated by strides": Call(np.ndarray, (1 << 20, 64, 64), "u1", b"x", 0, (0, 0, 0)),
    "fewer bytes than the shape": Call(
        RECONSTRUCT, np.ndarray, (0,), b"b", state=(1, (9, 64, 64), np.dtype("u1"), False, b"x")
    ),
    "a type of another size": Call(np.dtype, "V8", False, True),
    "a type of objects": np.array([{}, []], object),
    "a structure": np.zeros(3, [("a", "f4")]),
    "dates": np.zeros(3, "M8[s]"),
    "text": np.array(["a", "b"]),
    "a type without an array": np.dtype("f4"),
    "a width of nothing": np.zeros((5, 64, 0), np.uint8),
    "no rows": np.zeros((5, 0, 64), np.uint8),
    "another encoding": Call(__import__("codecs").encode, "x" * 100, "zlib"),
    "no array": [1, 2, 3],
    "memos out of turn": b"\x80\x02Nr\xff\xff\xff\x7f.",
    "an endless text": b"\x80\x02X\xff\xff\xff\xff.",
}


@pytest.mark.parametrize("what", CRAFTED)
def test_crafted_pickles_are_refused_without_memory(what: str, tmp_path: Path) -> None:
    made, path = CRAFTED[what], tmp_path / "walk.pkl"
    path.write_bytes(made if isinstance(made, bytes) else pickle.dumps(made, 4))
    tracemalloc.start()
    try:
        for read in (read_silhouettes, read_keypoints):
            with pytest.raises(DataSetError, match=r"walk\.pkl"):
                read(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 23
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "text",
    [
        "[]", "3", "null", '{"TRAIN_SET": {}}', '{"TRAIN_SET": "abc"}', '{"TRAIN_SET": [[1]]}', '{"TRAIN_SET": [null]}',
        "[" * 100_000, '{"TRAIN_SET": [' + "9" * 6000 + "]}", '{"TRAIN_SET"', "\ufffe",
    ],
)  # fmt: skip
def test_what_is_no_partition_is_named(text: str, tmp_path: Path) -> None:
    path = tmp_path / "partition.json"
    path.write_text(text, encoding="utf-8")
    for place in (path, tmp_path, tmp_path / "absent.json"):
        with pytest.raises(DataSetError, match=place.name):
            read_partition(place, "train")


def test_a_partition_that_is_not_there_is_called_so(tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match=r"There is no partition .*absent\.json\.$"):
        read_partition(tmp_path / "absent.json", "train")


def test_a_byte_order_mark_is_no_part_of_a_partition(tmp_path: Path) -> None:
    path = tmp_path / "partition.json"
    path.write_text(json.dumps({"TRAIN_SET": ["001", 2], "TEST_SET": []}), encoding="utf-8-sig")
    assert read_partition(path, "train") == ["001", "2"]
