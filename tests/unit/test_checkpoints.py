from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from app.checkpoints import CheckpointFile, find_checkpoints, load_pickle_safely, load_strictly, state_dict_of
from app.errors import CheckpointError


class Evil:
    def __init__(self, flag: Path) -> None:
        self.flag = flag

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.flag),)


def test_malicious_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    flag, file = tmp_path / "ran", tmp_path / "evil.pt"
    torch.save({"model": Evil(flag)}, file)
    with pytest.raises(CheckpointError, match="refused"):
        load_pickle_safely(file)
    assert not flag.exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 broken"])
def test_junk_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "junk.pt"
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"junk\.pt"):
        load_pickle_safely(file)


def test_truncated_checkpoint_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "cut.pt"
    torch.save({"model": {"w": torch.zeros(1000)}}, file)
    file.write_bytes(file.read_bytes()[:1500])
    with pytest.raises(CheckpointError, match=r"cut\.pt"):
        load_pickle_safely(file)


def test_weights_are_found_under_any_usual_key_and_upcast(tmp_path: Path) -> None:
    weights = {"module.w": torch.ones(2, dtype=torch.float16)}
    for content in ({"model": weights, "epoch": 3}, {"state_dict": weights}, weights):
        found = state_dict_of(content, tmp_path)
        assert list(found) == ["w"]
        assert found["w"].dtype == torch.float32


def test_strict_loading_names_every_fault(tmp_path: Path) -> None:
    network = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 3))
    weights = network.state_dict()
    weights["0.weight"] = torch.zeros(4, 4)
    weights["surplus"] = weights.pop("1.bias")
    with pytest.raises(CheckpointError) as caught:
        load_strictly(network, weights, tmp_path / "a.pt", "a pair")
    message = str(caught.value)
    assert "1 missing: 1.bias" in message
    assert "1 left over: surplus" in message
    assert "0.weight is (4, 4), expected (3, 2)" in message


def test_given_checkpoint_is_looked_up_and_the_nearest_is_named(tmp_path: Path) -> None:
    (tmp_path / "gait_model").mkdir()
    file = tmp_path / "gait_model" / "GaitBase_DA-180000.pt"
    file.write_bytes(b"x")
    assert CheckpointFile.given(Path("GaitBase_DA-180000.pt"), (tmp_path,)).path == file
    with pytest.raises(CheckpointError, match=r"Did you mean 'GaitBase_DA-180000\.pt'"):
        CheckpointFile.given(Path("GaitBase_DA-18000.pt"), (tmp_path,))


def test_own_files_come_before_embedded_and_larger_before_smaller(tmp_path: Path) -> None:
    for name, size in (("embedded/detector/e.onnx", 9), ("detector/s.pth", 1), ("detector/x.pth", 5)):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"0" * size)
    (tmp_path / "detector" / "notes.md").write_text("not weights")
    found = list(find_checkpoints((tmp_path,), ("detector", "embedded/detector")))
    assert [(file.path.name, file.origin) for file in found] == [
        ("x.pth", "found"),
        ("s.pth", "found"),
        ("e.onnx", "embedded"),
    ]


def test_paddle_folder_is_one_model(tmp_path: Path) -> None:
    folder = tmp_path / "seg_model" / "human"
    folder.mkdir(parents=True)
    for name in ("deploy.yaml", "model.pdmodel", "model.pdiparams"):
        (folder / name).write_bytes(b"x")
    assert [file.path for file in find_checkpoints((tmp_path,), ("seg_model",))] == [folder]
