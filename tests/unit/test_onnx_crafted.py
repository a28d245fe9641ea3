"""ONNX graphs that loop without end, ask for any memory or give no numbers: refused before they are run here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.errors import CheckpointError
from app.weights import sessions
from app.weights.registry import detectors, gait_models

onnx = pytest.importorskip("onnx")

GAIT = (["n", "t", 64, 44], ["n", "c", "p"])
YOLOX = (["n", 3, "h", "w"], ["n", "a", 85])


def saved(path: Path, ports: tuple[list[Any], list[Any]], nodes: list[Any], **constants: Any) -> Path:
    """Write a graph: the mean of the pictures, (n, 1, 1), goes into `nodes`, which give ``y``."""
    make, numbers = onnx.helper, onnx.numpy_helper
    begin = [
        make.make_node("ReduceMean", ["x"], ["m"], axes=[1, 2, 3], keepdims=1),
        make.make_node("Squeeze", ["m", "axis"], ["s"]),
    ]
    values = [numbers.from_array(np.asarray(value), name) for name, value in {"axis": [3], **constants}.items()]
    inputs, outputs = (
        [make.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)]
        for name, shape in zip("xy", ports, strict=True)
    )
    graph = make.make_graph([*begin, *nodes], "graph", inputs, outputs, values)
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save(model, str(path))
    return path


def endless(path: Path, ports: Any) -> Path:
    make, kinds = onnx.helper, onnx.TensorProto
    body = make.make_graph(
        [make.make_node("Identity", ["c"], ["c2"]), make.make_node("Identity", ["v"], ["v2"])],
        "body",
        [
            make.make_tensor_value_info(n, k, s)
            for n, k, s in (("i", kinds.INT64, []), ("c", kinds.BOOL, []), ("v", 1, None))
        ],
        [make.make_tensor_value_info(n, k, s) for n, k, s in (("c2", kinds.BOOL, []), ("v2", 1, None))],
    )
    loop = make.make_node("Loop", ["trips", "true", "s"], ["y"], body=body)
    return saved(path, ports, [loop], trips=np.int64(2**62), true=np.bool_(True))


def large(path: Path, ports: Any) -> Path:
    return saved(path, ports, [onnx.helper.make_node("Expand", ["s", "to"], ["y"])], to=[1, 120_000_000, 85])


def folded(path: Path, ports: Any) -> Path:
    nodes = [
        onnx.helper.make_node("ConstantOfShape", ["to"], ["big"]),
        onnx.helper.make_node("ReduceSum", ["big"], ["sum"], keepdims=0),
        onnx.helper.make_node("Add", ["s", "sum"], ["y"]),
    ]
    return saved(path, ports, nodes, to=[10_000_000_000])


def broken(number: float) -> Callable[[Path, Any], Path]:
    def make(path: Path, ports: Any) -> Path:
        return saved(path, ports, [onnx.helper.make_node("Add", ["s", "n"], ["y"])], n=np.float32([number]))

    return make


HARMFUL: dict[str, tuple[Callable[[Path, Any], Path], str]] = {
    "endless": (endless, "has not finished after 5 s"),
    "a large output": (large, "needs more than 4 GB of memory"),
    "a large constant": (folded, "needs more than 4 GB of memory"),
    "no number": (broken(float("nan")), "not finite"),
    "infinite": (broken(float("inf")), "not finite"),
}


@pytest.mark.parametrize("what", HARMFUL)
def test_harmful_graphs_are_refused(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make, reason = HARMFUL[what]
    if what == "endless":
        monkeypatch.setattr(sessions, "_SECONDS", 5)
    for name, ports, registry in (("gait.onnx", GAIT, gait_models), ("yolox.onnx", YOLOX, detectors)):
        file = make(tmp_path / name, ports)
        with pytest.raises(CheckpointError, match=f"{name} cannot be used: it .*{reason}"):
            registry.recognise(file)


def test_an_ordinary_graph_is_used(tmp_path: Path) -> None:
    file = broken(0.0)(tmp_path / "gait.onnx", GAIT)
    assert gait_models.recognise(file).name == "onnx-gait"


def test_each_file_is_tried_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[Any] = []
    monkeypatch.setattr(
        sessions.subprocess, "run", lambda *a, **k: runs.append(a) or type("Ended", (), {"returncode": -11})
    )
    file = broken(0.0)(tmp_path / "gait.onnx", GAIT)
    for _ in range(3):
        with pytest.raises(CheckpointError, match="crashes ONNX Runtime"):
            sessions.open_session(file)
    assert len(runs) == 1
