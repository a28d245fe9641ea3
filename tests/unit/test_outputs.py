"""One output of an ONNX file alone: `app.weights.outputs`."""

from __future__ import annotations

import numpy as np
import pytest

from app.weights.checkpoints import HOME
from app.weights.outputs import with_output
from app.weights.sessions import open_session

POSE = HOME / "embedded" / "pose" / "gaitprint-pose.onnx"


@pytest.mark.parametrize("name", ["keypoints", "parts"])
def test_the_output_that_is_left_is_as_before(name: str) -> None:
    whole, alone = open_session(POSE), open_session(POSE, output=name)
    assert [port.name for port in alone.get_outputs()] == [name]
    assert alone.get_modelmeta().custom_metadata_map == whole.get_modelmeta().custom_metadata_map
    picture = {"image": np.random.default_rng(0).normal(0, 1, (2, 3, 192, 96)).astype(np.float32)}
    np.testing.assert_allclose(alone.run(None, picture)[0], whole.run([name], picture)[0], atol=1e-4)


def test_what_only_the_others_need_is_left_out() -> None:
    onnx = pytest.importorskip("onnx")
    whole = onnx.load(POSE).graph
    alone = onnx.load_from_string(with_output(POSE.read_bytes(), "keypoints")).graph
    read = {name for node in alone.node for name in node.input} | {"keypoints"}
    assert len(alone.node) < len(whole.node)
    assert all(read & set(node.output) for node in alone.node), "a node whose result nobody reads"


def test_branches_keep_their_nodes() -> None:
    """A branch may read names of the graph around it, which its node does not list."""
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto

    def branch(node: str) -> object:
        value = helper.make_tensor_value_info(f"{node} value", kind.FLOAT, [2])
        return helper.make_graph([helper.make_node(node, ["half"], [f"{node} value"])], node, [], [value])

    nodes = [
        helper.make_node("Mul", ["x", "x"], ["half"]),
        helper.make_node("If", ["which"], ["y"], then_branch=branch("Neg"), else_branch=branch("Abs")),
        helper.make_node("Exp", ["x"], ["z"]),
    ]
    ports = [helper.make_tensor_value_info(name, kind.FLOAT, [2]) for name in ("x", "y", "z")]
    which = helper.make_tensor_value_info("which", kind.BOOL, [])
    graph = helper.make_graph(nodes, "branches", [ports[0], which], ports[1:])
    file = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()
    import onnxruntime

    alone = onnxruntime.InferenceSession(with_output(file, "y"), providers=["CPUExecutionProvider"])
    (answer,) = alone.run(None, {"x": np.array([2, 3], np.float32), "which": np.array(True)})
    np.testing.assert_allclose(answer, [-4, -9])


def test_an_output_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match="no output 'faces'"):
        with_output(POSE.read_bytes(), "faces")


@pytest.mark.parametrize("end", [1, 2, 9, 1000, -1])
def test_half_a_file_is_refused(end: int) -> None:
    with pytest.raises(ValueError, match=r"protocol buffer|no output"):
        with_output(POSE.read_bytes()[:end], "keypoints")
