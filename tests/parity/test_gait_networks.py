"""Networks against the outputs of the reference implementation."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from app.errors import CheckpointError
from app.gait import load_network
from app.gait.embedder import NetworkEmbedder
from app.gait.layers import prepare_for_inference
from app.gait.models.gaitbase import GaitBase
from app.gait.opengait import load_network as load_with_classifier
from app.gait.opengait import recognise
from app.settings import GaitSettings
from app.types import GaitSequence
from app.weights.checkpoints import CheckpointFile

Find = Callable[[str], Path]

CASES = ("one", "batch", "packed")


def relative_error(found: Any, expected: Any) -> float:
    return float(np.abs(np.asarray(found) - expected).max() / np.abs(expected).max())


@pytest.fixture(scope="module")
def golden(parity: Find) -> Any:
    return np.load(parity("tiny_gaitbase.npz"))


def lengths(golden: Any, case: str) -> list[int] | None:
    return golden["packed_seqL"][0].tolist() if case == "packed" else None


@pytest.mark.parametrize("prepared", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_gaitbase_gives_the_reference_embedding(parity: Find, golden: Any, case: str, prepared: bool) -> None:
    network = load_network(parity("tiny_gaitbase.pt"))
    if prepared:
        prepare_for_inference(network)
    with torch.inference_mode():
        found = network.embed(torch.from_numpy(golden[f"{case}_in0"]), lengths(golden, case))
    assert found.shape == golden[f"{case}_emb"].shape
    assert relative_error(found, golden[f"{case}_emb"]) < 1e-5


@pytest.mark.parametrize("case", CASES)
def test_gaitbase_gives_the_reference_logits(parity: Find, golden: Any, case: str) -> None:
    network = load_with_classifier(parity("tiny_gaitbase.pt"), classifier=True)
    with torch.inference_mode():
        _, logits = network(torch.from_numpy(golden[f"{case}_in0"]), lengths(golden, case))
    expected = golden[f"{case}_logits_first16"]
    assert relative_error(logits[:, :16], expected) < 1e-5


def test_the_adapter_gives_the_reference_embedding_from_raw_silhouettes(parity: Find, golden: Any) -> None:
    model = NetworkEmbedder(CheckpointFile(parity("tiny_gaitbase.pt"), "given"), GaitSettings())
    raw = [golden[f"packed_raw0_{i}"] for i in range(3)]
    embeddings = model.embed([GaitSequence(np.arange(len(walk)), walk, 25.0) for walk in raw])
    for embedding, expected in zip(embeddings, golden["packed_emb"], strict=True):
        assert relative_error(embedding.parts.T, expected) < 1e-5
    assert [embedding.frames for embedding in embeddings] == [len(walk) for walk in raw]


def test_every_published_network_is_recognised_and_fits_in_full_size(parity: Find) -> None:
    published = json.loads(parity("opengait_keys.json").read_text())
    for name, keys in published.items():
        weights = {key: torch.empty(shape, device="meta") for key, (shape, *_) in keys.items()}
        architecture = recognise(weights, Path(name))
        assert name.startswith(architecture.network.family.replace("++", "pp").split("-")[0])
        table = architecture.table
        shapes = {table.to_ours(key): tuple(value.shape) for key, value in weights.items()}
        with torch.device("meta"):
            network = architecture.network(**architecture.read(shapes))
        assert {key: tuple(value.shape) for key, value in network.state_dict().items()} == shapes
        assert {table.to_theirs(key) for key in shapes} == set(keys)


def test_the_published_size_is_the_default() -> None:
    with torch.device("meta"):
        shapes = {key: tuple(value.shape) for key, value in GaitBase().state_dict().items()}
    assert [shapes[f"stages.{stage}.0.conv1.conv.weight"][0] for stage in range(4)] == [64, 128, 256, 512]
    assert shapes["linear.weight"] == (16, 512, 256)


def test_a_detector_is_named_for_what_it_seems(parity: Find) -> None:
    with pytest.raises(CheckpointError, match="a YOLOX detector"):
        load_network(parity("yolox/yolox_w0625_normal_c1.pt"))
