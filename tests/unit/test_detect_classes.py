"""Detectors of somebody's own classes: which class is the person, and why other files are not taken."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from app.detect.letterbox import cells, letterbox, people
from app.detect.yolox import Yolox, YoloxLayout
from app.detect.yolox_onnx import YoloxOnnxDetector
from app.detect.yolox_torch import YoloxDetector
from app.errors import CheckpointError, SettingsError
from app.settings import DetectorSettings
from app.weights.checkpoints import CheckpointFile, find_checkpoints
from app.weights.registry import detectors, gait_models

SIZE = (64, 96)


def exported(path: Path, output: Any, *, opset: int = 17, ir: int = 9, metadata: dict[str, str] | None = None) -> Path:
    """Write a graph of a fixed size that gives `output` whatever it sees."""
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["fixed", "nothing"], ["output"]),
    ]
    constants = [
        numpy_helper.from_array(np.asarray(output, np.float32), "fixed"),
        numpy_helper.from_array(np.zeros((), np.float32), "zero"),
    ]
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("images", [1, 3, *SIZE]), ("output", list(np.shape(output))))
    ]
    graph = helper.make_graph(nodes, "graph", ports[:1], ports[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = ir
    helper.set_model_props(model, metadata or {})
    onnx.save(model, str(path))
    return path


def classes_of(number: int) -> Any:
    """An output in which each class is seen in another cell: class 0 in the first, and so on."""
    output = np.zeros((1, len(cells(*SIZE)), 5 + number), np.float32)
    output[0, :, 4] = 1
    for one in range(number):
        output[0, 12 * one, 5 + one] = 0.9
    return output


@pytest.mark.parametrize(("classes", "warned"), [(1, False), (2, True), (3, True), (80, False), (365, True)])
def test_other_numbers_of_classes_are_warned_of(
    classes: int, warned: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch_file = tmp_path / "own.pth"
    torch.save({"model": Yolox(YoloxLayout(8, 1, classes, True)).state_dict()}, torch_file)
    onnx_file = exported(
        tmp_path / "own.onnx", classes_of(classes) if classes < 10 else np.zeros((1, 126, 5 + classes))
    )
    for detector, file in ((YoloxDetector, torch_file), (YoloxOnnxDetector, onnx_file)):
        caplog.clear()
        detector(CheckpointFile(file, "given"), DetectorSettings())
        assert (f"{file.name} knows {classes} classes" in caplog.text) == warned
        caplog.clear()
        last = DetectorSettings(person_class=classes - 1)
        detector(CheckpointFile(file, "given"), last)
        assert "classes of its own" not in caplog.text
        with pytest.raises(SettingsError, match=rf"person_class={classes} does not fit .*{file.name}"):
            detector(CheckpointFile(file, "given"), DetectorSettings(person_class=classes))


def test_the_class_of_the_settings_is_the_person() -> None:
    boxed = letterbox([np.zeros((*SIZE, 3), np.uint8)], SIZE, full=True)
    places = []
    for person in range(3):
        (found,) = people(classes_of(3), boxed, person=person, decoded=False, score=0.5, nms_iou=0.7)
        assert len(found.boxes) == 1
        places.append(found.boxes[0].tolist())
    assert len({tuple(place) for place in places}) == 3


@pytest.mark.parametrize(
    ("shape", "metadata"),
    [((1, 84, 126), {}), ((1, 5, 126), {}), ((1, 300, 6), {}), ((1, 7, 7), {"author": "Ultralytics"})],
)
def test_exports_of_ultralytics_are_called_so(shape: tuple[int, ...], metadata: dict[str, str], tmp_path: Path) -> None:
    file = exported(tmp_path / "yolov8n.onnx", np.zeros(shape), metadata=metadata)
    with pytest.raises(CheckpointError, match=r"yolov8n\.onnx is an ONNX file that ultralytics exported.*Use the \.pt"):
        detectors.recognise(file)


def test_a_file_that_is_too_new_for_the_runtime_is_called_so(tmp_path: Path) -> None:
    file = exported(tmp_path / "new.onnx", classes_of(1), ir=99)
    for registry in (detectors, gait_models):
        with pytest.raises(
            CheckpointError, match=r"new\.onnx is newer than the installed onnxruntime .*IR version: 99"
        ):
            registry.recognise(file)


def test_names_that_are_no_text_are_damage(tmp_path: Path) -> None:
    file = exported(tmp_path / "odd.onnx", classes_of(1))
    file.write_bytes(file.read_bytes().replace(b"images", b"\xff\xfeages").replace(b"output", b"\xff\xfetput"))
    for registry in (detectors, gait_models):
        with pytest.raises(CheckpointError, match=r"odd\.onnx cannot be read as an ONNX network"):
            registry.recognise(file)


def test_a_file_for_another_reader_is_named(tmp_path: Path) -> None:
    file = exported(tmp_path / "own.onnx", classes_of(1))
    with pytest.raises(CheckpointError, match="for the detector 'yolox', but one for 'yolox-onnx'"):
        detectors.choose("yolox", file, ())
    (tmp_path / "own.safetensors").write_bytes(bytes(64))
    with pytest.raises(CheckpointError, match="format safetensors, which is not read"):
        detectors.choose("auto", tmp_path / "own.safetensors", ())


def test_a_zip_file_in_a_folder_of_checkpoints_is_not_passed_over_in_silence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "gait").mkdir()
    with zipfile.ZipFile(tmp_path / "gait" / "pretrained.zip", "w") as archive:
        archive.writestr("GaitBase_DA-180000.pt", b"weights")
    assert list(find_checkpoints((tmp_path,), ("gait",))) == []
    assert "pretrained.zip is an ordinary zip file" in caplog.text
