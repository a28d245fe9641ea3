"""GaitSet, GaitPart, GLN and GaitGL against the outputs of the reference implementation."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from app.errors import CheckpointError, SettingsError
from app.gait import load_network
from app.gait.embedder import NetworkEmbedder
from app.gait.opengait import load_network as load_with_classifier
from app.gait.opengait import recognise
from app.settings import GaitSettings
from app.stages import GaitModel
from app.types import GaitSequence
from app.weights.checkpoints import CheckpointFile
from app.weights.registry import gait_models

Find = Callable[[str], Path]

CASES = [
    *((name, case) for name in ("gaitset", "gaitpart") for case in ("one", "batch", "packed")),
    *(("gln_p2", case) for case in ("one", "batch")),
    ("gaitgl", "one"),
    ("gaitgl_bnneck", "one"),
]
PUBLISHED = {
    "gaitset_casiab": {"widths": [32, 64, 128], "channels": 256},
    "gaitset_oumvlp": {"widths": [64, 128, 256], "channels": 256},
    "gaitpart_casiab": {"widths": [32, 64, 128], "hidden": 32, "channels": 128},
    "gaitpart_grew": {"widths": [32, 64, 128, 256], "hidden": 64, "channels": 256},
    "gaitgl_casiab": {"widths": [32, 64, 128, 128], "depth": 1, "neck": False, "classes": 74},
    "gln_p2_casiab": {"widths": [32, 64, 128], "lateral": 256, "channels": 256, "compact": 256, "classes": 74},
}


def relative_error(found: Any, expected: Any) -> float:
    return float(np.abs(np.asarray(found) - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize(("name", "case"), CASES)
def test_the_reference_embedding(parity: Find, name: str, case: str) -> None:
    network = load_network(parity(f"tiny_{name}.pt"))
    golden = np.load(parity(f"tiny_{name}.npz"))
    lengths = golden["packed_seqL"][0].tolist() if case == "packed" else None
    with torch.inference_mode():
        found = network.embed(torch.from_numpy(golden[f"{case}_in0"]), lengths)
    assert found.shape == golden[f"{case}_emb"].shape
    assert relative_error(found, golden[f"{case}_emb"]) < 1e-5


def test_every_case_of_the_golden_vectors_is_tested(parity: Find) -> None:
    for name in {name for name, _ in CASES}:
        held = {key.removesuffix("_emb") for key in np.load(parity(f"tiny_{name}.npz")).files if key.endswith("_emb")}
        assert held == {case for other, case in CASES if other == name}


@pytest.mark.parametrize("name", ["gln_p2", "gaitgl", "gaitgl_bnneck"])
def test_the_reference_logits(parity: Find, name: str) -> None:
    network = load_with_classifier(parity(f"tiny_{name}.pt"), classifier=True)
    golden = np.load(parity(f"tiny_{name}.npz"))
    with torch.inference_mode():
        _, logits = network(torch.from_numpy(golden["one_in0"]))
    assert logits is not None
    expected = golden["one_logits_first16"]
    if name == "gln_p2":  # the reference puts the one part before the classes
        expected = expected.transpose(0, 2, 1)
    assert logits.shape == expected.shape
    assert relative_error(logits, expected) < 1e-5


def test_gln_of_the_first_phase_has_no_compact_block(parity: Find, tmp_path: Path) -> None:
    weights = torch.load(parity("tiny_gln_p2.pt"), weights_only=True)
    weights = weights.get("model", weights)
    first = {key: value for key, value in weights.items() if not key.startswith(("encoder_", "reduce_"))}
    assert len(first) < len(weights)
    torch.save(first, tmp_path / "gln_p1.pt")
    golden = np.load(parity("tiny_gln_p2.npz"))
    network = load_with_classifier(tmp_path / "gln_p1.pt", classifier=True)
    with torch.inference_mode():
        embedding, logits = network(torch.from_numpy(golden["one_in0"]))
    assert logits is None
    assert relative_error(embedding, golden["one_emb"]) < 1e-5


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_networks_fit_in_full_size(parity: Find, name: str) -> None:
    keys = json.loads(parity("opengait_keys.json").read_text())[name]
    with torch.device("meta"):
        weights = {key: torch.empty(shape) for key, (shape, *_) in keys.items()}
        architecture = recognise(weights, Path(name))
        ours = {architecture.table.to_ours(key): tuple(value.shape) for key, value in weights.items()}
        arguments = architecture.read(ours)
        network = architecture.network(**arguments)
    assert {key: tuple(value.shape) for key, value in network.state_dict().items()} == ours
    assert {architecture.table.to_theirs(key) for key in ours} == set(keys)
    assert {key: arguments[key] for key in PUBLISHED[name]} == PUBLISHED[name]


@pytest.mark.parametrize("name", ["gaitset", "gaitpart", "gln_p2", "gaitgl", "gaitgl_bnneck"])
def test_a_wide_silhouette_is_refused(parity: Find, name: str) -> None:
    network = load_network(parity(f"tiny_{name}.pt"))
    with pytest.raises(ValueError, match=r"rows and \d+ columns, not 64 and 64"):
        network.embed(torch.zeros(1, 2, 64, 64))


def adapter(path: Path) -> GaitModel:
    return gait_models.recognise(path).build(CheckpointFile(path, "given"), GaitSettings())


@pytest.mark.parametrize(
    "name",
    ["gaitset", "gaitpart", "gaitgl", "gaitgl_bnneck", "deepgaitv2_2d", "deepgaitv2_3d", "deepgaitv2_p3d", "mtsgait"],
)
def test_the_adapter_gives_the_reference_embedding_from_raw_silhouettes(parity: Find, name: str) -> None:
    model = adapter(parity(f"tiny_{name}.pt"))
    golden = np.load(parity(f"tiny_{name}.npz"))
    case = "packed" if "packed_emb" in golden else "one"
    raw = [golden[f"{case}_raw0_{i}"] for i in range(len(golden[f"{case}_emb"]))]
    embeddings = model.embed([GaitSequence(np.arange(len(walk)), walk, 25.0) for walk in raw])
    for embedding, expected in zip(embeddings, golden[f"{case}_emb"], strict=True):
        assert relative_error(embedding.parts.T, expected) < 1e-5
    assert model.card.name.startswith(name.split("_")[0])
    assert not model.card.keypoints


@pytest.mark.parametrize("name", ["skeletongait", "skeletongaitpp"])
def test_the_adapter_draws_the_heatmaps_of_walks_with_keypoints(parity: Find, name: str) -> None:
    model = adapter(parity(f"tiny_{name}.pt"))
    assert model.card.keypoints
    golden = np.load(parity("heatmap.npz"))
    poses, maps = golden["pose_clean"].astype(np.float32), golden["heat_clean"]
    silhouettes = np.load(parity("tiny_gaitset.npz"))["one_raw0_0"]
    found = model.embed([GaitSequence(np.arange(30), silhouettes, 25.0, poses)])[0]
    if name == "skeletongaitpp":
        maps = np.concatenate([maps, silhouettes[:, None]], 1)
    with torch.inference_mode():
        cut = torch.from_numpy(maps[None, ..., 10:54] / np.float32(255))
        expected = load_network(parity(f"tiny_{name}.pt")).embed(cut)[0].numpy()
    # keypoints in float32 change a grey or two of the maps
    assert relative_error(found.parts.T, expected) < 1e-3
    with pytest.raises(SettingsError, match=r"a walk has no keypoints: set pose\.when"):
        model.embed([GaitSequence(np.arange(30), silhouettes, 25.0)])


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("gln_p2", "a gln network, which takes silhouettes of 128 rows and 88 columns"),
    ],
)
def test_the_adapter_says_what_walks_cannot_give(parity: Find, name: str, says: str) -> None:
    with pytest.raises(CheckpointError, match=says):
        NetworkEmbedder(CheckpointFile(parity(f"tiny_{name}.pt"), "given"), GaitSettings())
    with pytest.raises(CheckpointError, match=says):
        gait_models.recognise(parity(f"tiny_{name}.pt"))
