"""ONNX graphs that loop without end, ask for any memory or give no numbers: refused before they are run here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.errors import CheckpointError
from app.gait.embeddings import embed
from app.settings import GaitSettings, SegmenterSettings
from app.types import Frame, GaitSequence
from app.weights import sessions
from app.weights.checkpoints import CheckpointFile
from app.weights.registry import detectors, gait_models, segmenters

onnx = pytest.importorskip("onnx")
pytestmark = pytest.mark.usefixtures("tried")

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
    "endless": (endless, "has not finished after 2 s"),
    "a large output": (large, "needs more than 4 GB of memory"),
    "a large constant": (folded, "needs more than 4 GB of memory"),
    "no number": (broken(float("nan")), "not finite"),
    "infinite": (broken(float("inf")), "not finite"),
}


@pytest.mark.parametrize("what", HARMFUL)
def test_harmful_graphs_are_refused(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make, reason = HARMFUL[what]
    if what == "endless":
        monkeypatch.setattr(sessions, "_SECONDS", 2)
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


def plain(
    path: Path, ports: tuple[list[Any], list[Any]], nodes: list[Any], properties: dict[str, str], **constants: Any
) -> Path:
    """Write a graph that is `nodes` alone, from ``x`` to ``y``."""
    make, numbers = onnx.helper, onnx.numpy_helper
    inputs, outputs = (
        [make.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)]
        for name, shape in zip("xy", ports, strict=True)
    )
    values = [numbers.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = make.make_graph(nodes, "graph", inputs, outputs, values)
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=9)
    make.set_model_props(model, properties)
    onnx.save(model, str(path))
    return path


def node(kind: str, *inputs: str, to: str = "y", **attributes: Any) -> Any:
    return onnx.helper.make_node(kind, list(inputs), [to], **attributes)


MEAN = {"axes": [1], "keepdims": 0}
ONLY_WHEN_RUN: dict[str, tuple[Callable[[], list[Any]], dict[str, Any], str]] = {
    "another length": (
        lambda: [node("Reshape", "x", "form", to="r"), node("ReduceMean", "r", **MEAN)],
        {"form": [1, 64, 64, 44]},
        r"cannot be run with x \[1, 9, 64, 44\]: .*reshape",
    ),
    "no number for an empty row": (
        lambda: [node("ReduceMean", "x", to="m", **MEAN), node("Log", "m")],
        {},
        "not finite",
    ),
    "numbers too large": (
        lambda: [node("ReduceMean", "x", to="m", **MEAN), node("Mul", "m", "n")],
        {"n": np.float32(1e38)},
        "not finite",
    ),
    "as many parts as silhouettes": (
        lambda: [node("ReduceMean", "x", to="m", axes=[2, 3], keepdims=0), node("Unsqueeze", "m", "at")],
        {"at": [1]},
        "not give numbers of one shape",
    ),
    "several answers": (
        lambda: [node("ReduceMean", "x", to="m", **MEAN), node("Concat", "m", "m", axis=0)],
        {},
        "not give numbers of one shape",
    ),
}


@pytest.mark.parametrize("what", ONLY_WHEN_RUN)
def test_a_gait_network_that_fails_only_on_a_walk_is_named(what: str, tmp_path: Path) -> None:
    nodes, constants, reason = ONLY_WHEN_RUN[what]
    file = plain(tmp_path / "gait.onnx", GAIT, nodes(), {}, **constants)
    model = gait_models.build(GaitSettings(checkpoint=file), ())
    silhouettes = np.zeros((9, 64, 64), np.uint8)
    silhouettes[:, 20:40, 20:40] = 255
    with pytest.raises(CheckpointError, match=rf"gait\.onnx.*{reason}"):
        for length in (9, 7):
            model.embed([GaitSequence(np.arange(length), silhouettes[:length], 25.0)])


def fields(content: bytes, start: int = 0) -> Iterator[tuple[int, int]]:
    """Yield where the lengths of the fields of a message begin and end, those of its graph too."""
    place = start
    while place < len(content):
        key = content[place]
        end = place + 1
        while content[end] & 128:
            end += 1
        end += 1
        number = sum((byte & 127) << 7 * power for power, byte in enumerate(content[place + 1 : end]))
        if key & 7 == 2:
            yield place + 1, end
            if key >> 3 == 7 and not start:  # the graph
                yield from fields(content[: end + number], end)
            end += number
        place = end


@pytest.mark.parametrize("length", [b"\xff\xff\xff\xff\x07", b"\xff" * 12])
def test_lengths_of_fields_that_cannot_be_are_refused_or_harmless(length: bytes, tmp_path: Path) -> None:
    whole = plain(tmp_path / "gait.onnx", GAIT, [node("ReduceMean", "x", **MEAN)], {"note": "x"}).read_bytes()
    places = list(fields(whole))
    refused: list[str] = []
    for number, (start, end) in enumerate(places):
        file = tmp_path / f"{number}.onnx"
        file.write_bytes(whole[:start] + length + whole[end:])
        try:
            gait_models.build(GaitSettings(checkpoint=file), ())
        except CheckpointError as error:
            refused.append(str(error))
    assert len(refused) >= len(places) / 2
    assert all(".onnx" in reason for reason in refused)


ALL_ALIKE: dict[str, tuple[Callable[[], list[Any]], dict[str, Any]]] = {
    "zeros": (lambda: [node("ReduceMean", "x", to="m", **MEAN), node("Mul", "m", "n")], {"n": np.float32(0)}),
    "constants": (
        lambda: [node("ReduceMean", "x", to="m", **MEAN), node("Mul", "m", "n", to="o"), node("Add", "o", "c")],
        {"n": np.float32(0), "c": np.arange(44, dtype=np.float32)},
    ),
    "nearly constants": (
        lambda: [node("ReduceMean", "x", to="m", **MEAN), node("Mul", "m", "n", to="o"), node("Add", "o", "c")],
        {"n": np.float32(1e-5), "c": np.float32(1)},
    ),
}


@pytest.mark.parametrize("what", ALL_ALIKE)
def test_a_gait_network_to_which_all_walks_are_alike_is_refused(what: str, tmp_path: Path) -> None:
    nodes, constants = ALL_ALIKE[what]
    model = gait_models.build(
        GaitSettings(checkpoint=plain(tmp_path / "gait.onnx", GAIT, nodes(), {}, **constants)), ()
    )
    silhouettes = np.zeros((9, 64, 64), np.uint8)
    silhouettes[:, :, 20:40] = 255
    for _ in range(2):
        with pytest.raises(CheckpointError, match=r"gait\.onnx gives all walks the same embedding"):
            embed(model, [GaitSequence(np.arange(9), silhouettes, 25.0)])


def test_whether_a_gait_network_tells_walks_apart_is_tried_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = gait_models.build(
        GaitSettings(checkpoint=plain(tmp_path / "gait.onnx", GAIT, [node("ReduceMean", "x", **MEAN)], {})), ()
    )
    asked: list[int] = []
    as_it_is = model.embed
    monkeypatch.setattr(model, "embed", lambda walks: asked.append(len(walks)) or as_it_is(walks))
    silhouettes = np.zeros((9, 64, 64), np.uint8)
    blank = GaitSequence(np.arange(9), silhouettes.copy(), 25.0)
    silhouettes[:, :, 20:40] = 255
    walks = [GaitSequence(np.arange(9), silhouettes, 25.0)] * 2
    assert [len(embed(model, some)) for some in ([], walks, walks, [blank])] == [0, 2, 2, 1]
    assert asked == [0, 2, 1, 2, 1]


def matte(path: Path, nodes: list[Any], properties: dict[str, str] | None = None, **constants: Any) -> CheckpointFile:
    ports: tuple[list[Any], list[Any]] = [1, 3, 48, 32], [1, 1, 48, 32]
    return CheckpointFile(plain(path, ports, nodes, properties or {}, **constants), "given")


def test_a_network_that_cannot_be_run_at_all_is_named(tmp_path: Path) -> None:
    file = matte(tmp_path / "matte.onnx", [node("Gather", "x", "channel", axis=1)], channel=[7])
    with pytest.raises(CheckpointError, match=r"matte\.onnx cannot be run with x \[1, 3, 48, 32\]: .*7"):
        segmenters.get("onnx-matte").build(file, SegmenterSettings())


def test_a_network_that_fails_only_on_some_pictures_is_named(tmp_path: Path) -> None:
    nodes = [
        node("ReduceMax", "x", to="most", keepdims=1),
        node("Log", "most", to="log"),
        node("ReduceMean", "x", to="mean", axes=[1], keepdims=1),
        node("Add", "mean", "log"),
    ]
    segmenter = segmenters.get("onnx-matte").build(matte(tmp_path / "matte.onnx", nodes), SegmenterSettings())
    dark = Frame(0, 0.0, np.zeros((90, 60, 3), np.uint8))
    with pytest.raises(CheckpointError, match=r"matte\.onnx gives numbers that are not finite"):
        segmenter.segment([dark], [np.array([[5, 5, 30, 80]], np.float32)])


@pytest.mark.parametrize(
    "properties",
    [
        *({"margin": "1e308"}, {"margin": "-1"}, {"aspect": "nan"}, {"aspect": "wide"}, {"std": "0,0,0"}, {"std": "1"}),
        *({"mean": "nan,0,0"}, {"threshold": "half"}, {"threshold": "2"}),
    ],
    ids=str,
)
def test_properties_that_make_no_sense_are_named(properties: dict[str, str], tmp_path: Path) -> None:
    file = matte(tmp_path / "matte.onnx", [node("ReduceMean", "x", axes=[1], keepdims=1)], properties)
    with pytest.raises(CheckpointError, match=rf"matte\.onnx: its .*'{next(iter(properties))}'"):
        segmenters.get("onnx-matte").build(file, SegmenterSettings())
