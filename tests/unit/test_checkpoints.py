from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from app.errors import CheckpointError
from app.weights.checkpoints import (
    HOME,
    CheckpointFile,
    find_checkpoints,
    load_pickle_safely,
    load_strictly,
    metadata_of,
    need_whole,
    state_dict_of,
)
from app.weights.registry import pose_models


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


@pytest.mark.parametrize("legacy", [False, True])
def test_numbers_of_numpy_are_only_numbers(tmp_path: Path, legacy: bool) -> None:
    # YOLOX's trainer writes the best average precision so, others the iteration.
    file = tmp_path / "numbers.pth"
    numbers = {"best_ap": np.float64(0.4), "iteration": np.int64(3), "loss": np.float32(1.5)}
    torch.save({"model": {"w": torch.ones(2)}, **numbers}, file, _use_new_zipfile_serialization=not legacy)
    for mapped in (False, True):
        content = load_pickle_safely(file, mapped=mapped)
        assert {key: content[key] for key in numbers} == numbers
        assert content["model"]["w"].tolist() == [1, 1]


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 broken"])
def test_junk_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "junk.pt"
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"junk\.pt"):
        load_pickle_safely(file)


@pytest.mark.parametrize("content", [b"x\n", b"hello", b"%PDF-1.7", b"\xff\xd8\xff\xe0"])
def test_a_file_of_another_kind_is_not_called_dangerous(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "other.pt"
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"other\.pt is not a torch checkpoint"):
        load_pickle_safely(file)


def test_truncated_checkpoint_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "cut.pt"
    torch.save({"model": {"w": torch.zeros(1000)}}, file)
    file.write_bytes(file.read_bytes()[:1500])
    with pytest.raises(CheckpointError, match=r"cut\.pt"):
        load_pickle_safely(file)


FAILED_DOWNLOADS = {
    "is empty": b"",
    "is a web page": b"\n<!DOCTYPE html>\n<html><body>Sign in</body></html>",
    "instead of weights": b'{"message": "Not Found"}',
    "git lfs pull": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 28311552\n",
}


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".pth.tar", ".onnx", ".pdiparams"])
@pytest.mark.parametrize("what", FAILED_DOWNLOADS)
def test_a_failed_download_is_called_what_it_is(
    what: str, suffix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "gait" / "human" if suffix == ".pdiparams" else tmp_path / "gait"
    folder.mkdir(parents=True)
    file = folder / f"model{suffix}"
    file.write_bytes(FAILED_DOWNLOADS[what])
    if suffix == ".pdiparams":
        (folder / "deploy.yaml").write_text("Deploy: {}")
        file = folder
    for given in (file, Path(file.name)):
        with pytest.raises(CheckpointError, match=rf"{file.name}.*{what}"):
            CheckpointFile.given(given, (tmp_path,))
    assert list(find_checkpoints((tmp_path,), ("gait",))) == []
    assert what in caplog.text


def test_a_file_without_its_end_is_told(tmp_path: Path) -> None:
    torch_file = tmp_path / "net.pt"
    torch.save({"model": {"w": torch.zeros(5000)}}, torch_file)
    need_whole(torch_file)
    whole = torch_file.read_bytes()
    for share in (0.3, 0.9):
        torch_file.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(CheckpointError, match="its end is missing"):
            need_whole(torch_file)


@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_an_onnx_file_without_its_end_is_told(tmp_path: Path, share: float) -> None:
    whole = next((HOME / "embedded" / "pose").glob("*.onnx")).read_bytes()
    file = tmp_path / "net.onnx"
    file.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(CheckpointError, match=r"net\.onnx cannot be read as an ONNX network; .* incomplete"):
        pose_models.choose("auto", file, ())


def test_a_file_says_what_may_be_done_with_it() -> None:
    assert metadata_of({"model": {}, "metadata": {"licence": "CC0-1.0"}}) == {"licence": "CC0-1.0"}
    assert metadata_of({"model": {}, "metadata": 3}) == {}
    assert metadata_of({"model": {}}) == {}


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


def test_own_files_come_before_embedded_then_rank_and_name_decide_and_never_the_size(tmp_path: Path) -> None:
    for name, size in (("embedded/d/e.onnx", 9), ("d/b.pth", 1), ("d/c.pth", 5), ("d/a.pth", 3), ("old/z.pth", 7)):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"0" * size)
    (tmp_path / "d" / "notes.md").write_text("not weights")
    found = list(
        find_checkpoints((tmp_path,), ("d", "old", "embedded/d"), rank=lambda path: 2 if path.stem == "a" else 1)
    )
    assert [(candidate.file.path.name, candidate.file.origin, candidate.rank) for candidate in found] == [
        ("b.pth", "found", 1),
        ("c.pth", "found", 1),
        ("a.pth", "found", 2),
        ("z.pth", "found", 1),
        ("e.onnx", "embedded", 1),
    ]


def test_paddle_folder_is_one_model(tmp_path: Path) -> None:
    folder = tmp_path / "seg_model" / "human"
    folder.mkdir(parents=True)
    for name in ("deploy.yaml", "model.pdmodel", "model.pdiparams"):
        (folder / name).write_bytes(b"x")
    assert [found.file.path for found in find_checkpoints((tmp_path,), ("seg_model",))] == [folder]
