"""Checkpoints that somebody crafted or that lost a byte: refused with a reason, quickly, in little memory."""

from __future__ import annotations

import io
import os
import pickle
import random
import struct
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from app.detect.ultralytics import holds_ultralytics, need_harmless
from app.detect.yolox_torch import YoloxDetector
from app.errors import CheckpointError
from app.gait.opengait import load_network
from app.settings import DetectorSettings
from app.weights.checkpoints import CheckpointFile, load_pickle_safely, need_whole, state_dict_of
from app.weights.pickles import need_modest
from app.weights.registry import detectors, gait_models
from tests.contract.samples import CHECKPOINTS, tiny_yolox

GIGABYTE = 1 << 30


def jagged() -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)])


def csr() -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.eye(3).to_sparse_csr()


def quantised() -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.quantize_per_tensor(torch.eye(3), 0.1, 0, torch.qint8)


ODD: dict[str, Callable[[], torch.Tensor]] = {
    "without numbers": lambda: torch.zeros(3, 3, device="meta"),
    "sparse": lambda: torch.eye(3).to_sparse(),
    "sparse rows": csr,
    "quantised": quantised,
    "nested": jagged,
    "complex": lambda: torch.zeros(3, 3, dtype=torch.complex64),
    "repeated": lambda: torch.zeros(1, dtype=torch.float16).expand(60000, 60000),
    "overlapping": lambda: torch.zeros(40000, dtype=torch.float16).as_strided((20000, 20001), (1, 1)),
    "empty": lambda: torch.zeros(10**9, 0, 3, 3),
}


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize(
    "key", ["Backbone.forward_block.layer1.0.conv1.weight", "backbone.backbone.stem.conv.conv.weight", "anything"]
)
def test_a_weight_that_is_no_plain_tensor_is_named(kind: str, key: str, tmp_path: Path) -> None:
    file = tmp_path / "odd.pt"
    others = {"FCs.fc_bin": torch.zeros(16, 4, 4), "head.cls_preds.0.weight": torch.zeros(80, 4, 1, 1)}
    torch.save({"model": {key: ODD[kind](), **others}}, file)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for registry in (detectors, gait_models):
            with pytest.raises(CheckpointError, match=rf"odd\.pt cannot be used: its weight '{key}'"):
                registry.recognise(file)


def test_many_names_for_the_same_numbers_are_refused(tmp_path: Path) -> None:
    same = torch.zeros(1000, dtype=torch.float16)
    with pytest.raises(CheckpointError, match="copies of the same numbers"):
        state_dict_of({f"w{place}": same for place in range(100)}, tmp_path / "same.pt")
    assert len(state_dict_of({"a": same, "b": same}, tmp_path / "twice.pt")) == 2


@pytest.mark.parametrize("shape", [(), (3,), (4, 4), (4, 12, 3)])
def test_shapes_that_no_layer_has_are_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    odd = torch.zeros(shape)
    yolox, gait = tmp_path / "yolox.pth", tmp_path / "gait.pt"
    torch.save({"backbone.backbone.stem.conv.conv.weight": odd, "head.cls_preds.0.weight": odd}, yolox)
    marks = ("layer1.0.conv1.weight", "conv1.conv.weight")
    torch.save({"FCs.fc_bin": odd, **{f"Backbone.forward_block.{mark}": odd for mark in marks}}, gait)
    for registry, file in ((detectors, yolox), (gait_models, gait)):
        with pytest.raises(CheckpointError, match=file.name):
            registry.recognise(file)


def test_a_network_that_would_not_fit_into_the_memory_is_never_built(tmp_path: Path) -> None:
    # The stem takes 9 MB. The network it claims to begin would take a terabyte.
    yolox, gait = tmp_path / "yolox.pth", tmp_path / "gait.pt"
    stem = torch.zeros(20000, 12, 3, 3)
    torch.save(
        {"backbone.backbone.stem.conv.conv.weight": stem, "head.cls_preds.0.weight": torch.ones(1, 1, 1, 1)}, yolox
    )
    with pytest.raises(CheckpointError, match=r"yolox\.pth does not fit"):
        YoloxDetector(CheckpointFile(yolox, "given"), DetectorSettings())
    wide = torch.zeros(200000, 1, 3, 3)
    weights = {f"Backbone.forward_block.layer{stage}.0.conv1.weight": wide for stage in (1, 2, 3, 4)}
    torch.save({**weights, "FCs.fc_bin": torch.zeros(16, 4, 4)}, gait)
    with pytest.raises(CheckpointError, match=r"gait\.pt"):
        load_network(gait)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("place", ["backbone.backbone.stem.conv.conv.weight", "head.cls_preds.2.bias"])
def test_a_detector_whose_training_failed_is_named(number: float, place: str, tmp_path: Path) -> None:
    weights = tiny_yolox().state_dict()
    weights[place].view(-1)[-1] = number
    torch.save({"model": weights}, path := tmp_path / "yolox.pth")
    with pytest.raises(CheckpointError, match=rf"yolox\.pth holds numbers that are not finite .* in '{place}'"):
        YoloxDetector(CheckpointFile(path, "given"), DetectorSettings())


def test_a_gait_network_whose_training_failed_is_named(tmp_path: Path) -> None:
    path = CHECKPOINTS["opengait"](tmp_path)
    content = torch.load(path)
    for name, value in content["model"].items():
        content["model"][name] = value * float("nan") if name.endswith("running_mean") else value
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=r"tiny\.pt holds numbers that are not finite.*'Backbone.* and 11 more"):
        load_network(path)


def checkpoint(path: Path) -> None:
    torch.save({"model": {"w": torch.ones(300)}, "iteration": 3}, path)


def test_any_flipped_bit_of_the_directory_is_refused_or_harmless(tmp_path: Path) -> None:
    file = tmp_path / "net.pt"
    checkpoint(file)
    whole = file.read_bytes()
    end = len(whole) - 98  # of the directory: a zip64 end, its locator, and the usual end
    chance = random.Random(0)
    for place in [*range(end, len(whole)), *(chance.randrange(len(whole)) for _ in range(100))]:
        for bit in (0, 6):
            broken = bytearray(whole)
            broken[place] ^= 1 << bit
            file.write_bytes(broken)
            with suppress(CheckpointError):
                load_pickle_safely(file)


def rewritten(path: Path, pickled: bytes, compression: int = zipfile.ZIP_STORED) -> None:
    """Exchange the pickle inside of a torch file."""
    checkpoint(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, pickled if name.endswith("data.pkl") else content)


def test_a_file_that_would_fill_the_memory_when_unpacked_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "bomb.pt"
    rewritten(file, pickle.dumps({}) + bytes(1 << 26), zipfile.ZIP_DEFLATED)
    assert file.stat().st_size < 1 << 20
    for refuse in (need_whole, load_pickle_safely, need_harmless, detectors.recognise, gait_models.recognise):
        with pytest.raises(CheckpointError, match=r"bomb\.pt is compressed"):
            refuse(file)


def test_zip_files_that_are_no_checkpoints_are_called_what_they_are(tmp_path: Path) -> None:
    outer, program = tmp_path / "GaitBase_DA-60000.zip", tmp_path / "script.pt"
    checkpoint(tmp_path / "inner.pt")
    with zipfile.ZipFile(outer, "w") as archive:
        archive.write(tmp_path / "inner.pt", "GaitBase_DA-60000.pt")
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(program))
    with pytest.raises(CheckpointError, match=r"ordinary zip file.*Unpack it.*GaitBase_DA-60000\.pt"):
        CheckpointFile.given(outer)
    with pytest.raises(CheckpointError, match="TorchScript archive") as caught:
        load_pickle_safely(program)
    assert "weights_only" not in str(caught.value)


GREEDY = {
    "LONG_BINPUT": b"\x80\x02Nr" + struct.pack("<I", 1 << 27) + b".",
    "PUT": b"Np134217728\n.",
    "BYTEARRAY8": b"\x80\x05\x96" + struct.pack("<Q", 1 << 33) + b".",
    "BINBYTES8": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b".",
    "BINUNICODE": b"\x80\x02X" + struct.pack("<I", (1 << 32) - 1) + b".",
    "cut off": pickle.dumps([1, 2, "three"])[:-3],
    "no pickle": b"\xff\xfe\x00",
}


@pytest.mark.parametrize("kind", GREEDY)
def test_a_pickle_cannot_take_more_memory_than_it_is_long(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "greedy.pt"
    rewritten(file, b"\x80\x04cultralytics.nn.tasks\nDetectionModel\n0" + GREEDY[kind].removeprefix(b"\x80\x02"))
    assert holds_ultralytics(file)
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match=r"greedy\.pt is refused"):
            need_harmless(file)
        assert tracemalloc.get_traced_memory()[1] < GIGABYTE / 100
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_ordinary_pickles_are_modest(protocol: int) -> None:
    shared = ["text", 3.5, b"bytes"]
    content = pickle.dumps({"a": [shared] * 3000, "b": [str(number) for number in range(3000)]}, protocol)
    need_modest(content)
    assert pickle.load(io.BytesIO(content))["a"][0] == shared


def test_a_pipe_is_no_checkpoint(tmp_path: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("Windows has no pipes with names")
    os.mkfifo(tmp_path / "pipe.pt")
    for refuse in (need_whole, load_pickle_safely, CheckpointFile.given):
        with pytest.raises(CheckpointError, match=r"pipe\.pt is a device or a pipe"):
            refuse(tmp_path / "pipe.pt")
