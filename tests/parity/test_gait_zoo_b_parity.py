"""DeepGaitV2, SkeletonGait, SMPLGait, MTSGait, GaitGraph and GaitTR against the outputs of their references."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from app.gait import load_network
from app.gait.layers import prepare_for_inference
from app.gait.models.gaitgraph import adjacency, branches
from app.gait.models.gaittr import joint_features
from app.gait.opengait import load_network as load_with_classifier
from app.gait.opengait import recognise

Find = Callable[[str], Path]

# Golden vectors: what the file cannot tell, and the cases.
NETWORKS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "tiny_deepgaitv2_2d": ({}, ("one", "batch", "packed")),
    "tiny_deepgaitv2_3d": ({}, ("one", "batch")),
    "tiny_deepgaitv2_p3d": ({}, ("one", "batch")),
    "tiny_skeletongait": ({}, ("one", "batch")),
    "tiny_skeletongait_emb2": ({"use_emb2": True}, ("one", "batch")),
    "tiny_skeletongaitpp": ({}, ("one", "batch")),
    "tiny_smplgait": ({}, ("one", "batch", "packed")),
    "tiny_mtsgait": ({}, ("one", "batch", "packed")),
    "gaitgraph1_gait3d": ({}, ("one", "batch")),
    "gaitgraph2_gait3d": ({}, ("one", "batch")),
    "gaittr_gait3d": ({}, ("one",)),
}
CASES = [(name, case) for name, (_, cases) in NETWORKS.items() for case in cases]
# The published networks, by the class of each.
PUBLISHED = {
    "deepgaitv2_gait3d_p3d": "DeepGaitV2",
    "skeletongait_gait3d": "SkeletonGait",
    "skeletongaitpp_gait3d": "SkeletonGaitPlus",
    "smplgait_gait3d": "SMPLGait",
    "mtsgait_gait3d": "MTSGait",
    "gaitgraph1_gait3d": "GaitGraph1",
    "gaitgraph2_gait3d": "GaitGraph2",
    "gaittr_gait3d": "GaitTR",
}


def relative_error(found: Any, expected: Any) -> float:
    return float(np.abs(np.asarray(found) - expected).max() / np.abs(expected).max())


def inputs(golden: Any, case: str) -> list[torch.Tensor]:
    return [torch.from_numpy(golden[f"{case}_in{i}"]) for i in range(2) if f"{case}_in{i}" in golden]


def packing(golden: Any, case: str) -> dict[str, list[int]]:
    return {"lengths": golden["packed_seqL"][0].tolist()} if case == "packed" else {}


@pytest.mark.parametrize(("name", "case"), CASES)
def test_the_embedding_is_that_of_the_reference(parity: Find, name: str, case: str) -> None:
    golden = np.load(parity(f"{name}.npz"))
    network = load_network(parity(f"{name}.pt"), NETWORKS[name][0])
    with torch.inference_mode():
        found = network.embed(*inputs(golden, case), **packing(golden, case))
    assert found.shape == golden[f"{case}_emb"].shape
    assert found.dtype == torch.float32
    assert relative_error(found, golden[f"{case}_emb"]) < 1e-5


@pytest.mark.parametrize("name", ["tiny_deepgaitv2_3d", "tiny_skeletongaitpp", "tiny_smplgait", "gaitgraph1_gait3d"])
def test_preparing_for_inference_keeps_the_function(parity: Find, name: str) -> None:
    golden = np.load(parity(f"{name}.npz"))
    network = load_network(parity(f"{name}.pt"), NETWORKS[name][0])
    prepare_for_inference(network)
    with torch.inference_mode():
        assert relative_error(network.embed(*inputs(golden, "one")), golden["one_emb"]) < 1e-5


@pytest.mark.parametrize("name", [name for name in NETWORKS if name.startswith("tiny_")])
def test_the_logits_are_those_of_the_reference(parity: Find, name: str) -> None:
    golden = np.load(parity(f"{name}.npz"))
    network = load_with_classifier(parity(f"{name}.pt"), NETWORKS[name][0], classifier=True)
    with torch.inference_mode():
        _, logits = network(*inputs(golden, "one"))
    assert relative_error(logits[:, :16], golden["one_logits_first16"]) < 1e-5


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_network_is_recognised_and_fits(parity: Find, name: str) -> None:
    published = json.loads(parity("opengait_keys.json").read_text())[name]
    weights = {key: torch.empty(shape, device="meta") for key, (shape, *_) in published.items()}
    architecture = recognise(weights, Path(name))
    assert architecture.network.__name__ == PUBLISHED[name]
    shapes = {architecture.table.to_ours(key): tuple(value.shape) for key, value in weights.items()}
    arguments = architecture.read(shapes)
    with torch.device("meta"):
        network, default = architecture.network(**arguments), architecture.network()
    assert {key: tuple(value.shape) for key, value in network.state_dict().items()} == shapes
    assert {architecture.table.to_theirs(key) for key in shapes} == set(weights)
    sizes = {key: value.shape for key, value in default.named_parameters()}  # the defaults are the published sizes
    assert sizes.items() <= {key: value.shape for key, value in network.named_parameters()}.items()


def test_the_graph_networks_inputs_are_made_from_keypoints(parity: Find) -> None:
    raw = torch.from_numpy(np.load(parity("gaitgraph2_gait3d.npz"))["batch_raw0_1"])[None]
    expected = np.load(parity("gaitgraph2_gait3d.npz"))["batch_in0"][1:]
    np.testing.assert_allclose(branches(raw), expected, rtol=1e-5, atol=1e-4)
    golden = np.load(parity("gaittr_gait3d.npz"))
    np.testing.assert_array_equal(joint_features(torch.from_numpy(golden["one_raw0_0"])[None]), golden["one_in0"])


def test_the_graph_is_that_of_the_published_networks(parity: Find) -> None:
    network = load_network(parity("gaitgraph2_gait3d.pt"))
    for name, graph in network.named_buffers():
        if name.endswith("adjacency"):
            torch.testing.assert_close(graph, adjacency())
