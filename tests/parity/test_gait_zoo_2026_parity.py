"""The networks of 2026's OpenGait, and XGait, against the outputs of their references."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from app.gait import load_network
from app.gait.base import FramewiseNetwork, PictureNetwork
from app.gait.layers import prepare_for_inference
from app.gait.models.foundationgait import FoundationGait
from app.gait.models.gaitedge import GaitEdge
from app.gait.models.gaitssb import GaitSSB
from app.gait.models.parsinggait import NODES, adjacency
from app.gait.opengait import load_network as load_with_classifier
from app.gait.opengait import recognise, to_theirs
from app.lab.training.losses import own_view

Find = Callable[[str], Path]

NETWORKS = {
    "tiny_swingait": "swingait",
    "tiny_gaitssb_pretrain": "gaitssb",
    "tiny_gaitssb_finetune": "gaitssb",
    "tiny_foundationgait_pretrain": "foundationgait",
    "tiny_foundationgait_finetune": "foundationgait",
    "tiny_parsinggait": "parsinggait",
    "tiny_parsinggait_fine": "parsinggait",
    "tiny_parsinggait_fine_coarse": "parsinggait",
    "tiny_xgait": "xgait",
    "tiny_multigaitpp_sil_parsing": "multigait++",
    "tiny_multigaitpp_sil_parsing_flow": "multigait++",
    "tiny_sconet": "sconet",
}
PICTURES = ["tiny_biggergait", "tiny_biggergait_group"]
# Full-size networks, by the family of each.
PUBLISHED = {
    "swingait_ccpg": "swingait",
    "gaitssb_pretrain": "gaitssb",
    "gaitssb_finetune": "gaitssb",
    "parsinggait_gait3d_parsing": "parsinggait",
    "sconet_scoliosis1k": "gaitbase",
    "multigaitpp_gait3d": "multigait++",
    "multigaitpp_ccpg": "multigait++",
    "multigaitpp_grew": "multigait++",
    "multigaitpp_sustech1k": "multigait++",
    "foundationgait_003b_pretrain": "foundationgait",
    "foundationgait_003b_gait3d": "foundationgait",
    "foundationgait_013b_pretrain": "foundationgait",
    "foundationgait_013b_ccpg": "foundationgait",
    "biggergait_ccpg": "biggergait",
    "biggergait_group_ccpg": "biggergait",
    "gaitedge_casiab": "gaitedge",
    "xgait_gait3d": "xgait",
}


def relative_error(found: Any, expected: Any) -> float:
    return float(np.abs(np.asarray(found) - expected).max() / np.abs(expected).max())


def cases(golden: Any) -> list[str]:
    return sorted({key.removesuffix("_emb") for key in golden.files if key.endswith("_emb")})


def inputs(golden: Any, case: str) -> list[torch.Tensor]:
    return [torch.from_numpy(golden[f"{case}_in{i}"]) for i in range(2) if f"{case}_in{i}" in golden]


@pytest.mark.parametrize("name", NETWORKS)
def test_embeddings_and_logits_are_those_of_the_reference(parity: Find, name: str) -> None:
    golden, path = np.load(parity(f"{name}.npz")), parity(f"{name}.pt")
    network = load_with_classifier(path, classifier=name != "tiny_sconet")
    assert network.family == NETWORKS[name]
    assert load_network(path).family == network.family
    for case in cases(golden):
        if case == "wide":
            network = load_with_classifier(path, {"input_size": (64, 64)}, classifier=True)
        lengths = golden["packed_seqL"][0].tolist() if case == "packed" else None
        with torch.inference_mode():
            found = network.embed(*inputs(golden, case), lengths=lengths)
            assert found.shape == golden[f"{case}_emb"].shape
            assert relative_error(found, golden[f"{case}_emb"]) < 1e-5, case
            if f"{case}_logits_first16" in golden and lengths is None and name != "tiny_sconet":
                _, logits = network(*inputs(golden, case))
                assert relative_error(logits[:, :16], golden[f"{case}_logits_first16"]) < 1e-5, case


@pytest.mark.parametrize("name", NETWORKS)
def test_inputs_are_made_from_files_as_the_reference_makes_them(parity: Find, name: str) -> None:
    golden, network = np.load(parity(f"{name}.npz")), load_network(parity(f"{name}.pt"))
    assert isinstance(network, PictureNetwork)
    raw = [torch.from_numpy(golden[f"one_raw{i}_0"]) for i in range(2) if f"one_raw{i}_0" in golden]
    for picture, expected in zip(raw, inputs(golden, "one"), strict=True):
        if name.startswith("tiny_xgait") and int(picture.max()) == 1:
            continue  # silhouettes of data sets are read as 0 and 255
        torch.testing.assert_close(network.input_of(picture[None, ..., 10:54]), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", NETWORKS)
def test_preparing_for_inference_keeps_the_function(parity: Find, name: str) -> None:
    golden, network = np.load(parity(f"{name}.npz")), load_network(parity(f"{name}.pt"))
    prepare_for_inference(network)
    with torch.inference_mode():
        assert relative_error(network.embed(*inputs(golden, "one")), golden["one_emb"]) < 1e-5


@pytest.mark.parametrize("name", PICTURES)
def test_biggergait_embeds_pictures_as_the_reference_does(parity: Find, name: str) -> None:
    golden, network = np.load(parity(f"{name}.npz")), load_network(parity(f"{name}.pt"))
    assert isinstance(network, FramewiseNetwork)
    pairs = [[golden[key] for key in sorted(golden.files) if key.startswith(f"{case}_raw0")] for case in cases(golden)]
    for case, raw in zip(cases(golden), pairs, strict=True):
        is_packed = len({len(walk) for walk in raw}) > 1
        pictures = torch.from_numpy(np.concatenate(raw)[None] if is_packed else np.stack(raw))
        with torch.inference_mode():
            found = network.embed(network.input_of(pictures), [len(walk) for walk in raw] if is_packed else None)
        assert found.shape == golden[f"{case}_emb"].shape
        assert relative_error(found, golden[f"{case}_emb"]) < 1e-5


def test_gaitedge_cuts_aligns_and_embeds_as_the_reference_does(parity: Find) -> None:
    golden = np.load(parity("tiny_gaitedge.npz"))
    network = load_with_classifier(parity("tiny_gaitedge.pt"), classifier=True)
    assert isinstance(network, GaitEdge)
    for case in cases(golden):
        ratios, pictures, silhouettes = (torch.from_numpy(golden[f"{case}_raw{i}"])[None] for i in range(3))
        walk = ratios, network.input_of(pictures), network.input_of(silhouettes)
        with torch.inference_mode():
            embedding, logits = network(*walk)
            assert relative_error(embedding, golden[f"{case}_emb"]) < 1e-5
            assert relative_error(logits[:, :16], golden[f"{case}_logits_first16"]) < 1e-5
            if f"{case}_mid_aligned" in golden:
                seen = network.silhouettes_of(*(part[0] for part in walk))[:2, None]
                assert relative_error(seen, golden[f"{case}_mid_aligned"]) < 1e-5


def test_the_graphs_are_those_of_the_published_network(parity: Find) -> None:
    golden = np.load(parity("tiny_parsinggait_fine_coarse.npz"))
    for graph in NODES:
        np.testing.assert_allclose(adjacency(graph), golden[f"adjacency_{graph}"], atol=1e-6)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_networks_fit_in_full_size(parity: Find, name: str) -> None:
    keys = json.loads(parity("opengait_keys_2026.json").read_text())
    assert keys.keys() == PUBLISHED.keys()
    with torch.device("meta"):
        weights = {key: torch.empty(shape) for key, (shape, *_) in keys[name].items()}
        architecture = recognise(weights, Path(name))
        assert architecture.network.family == PUBLISHED[name]
        ours = {architecture.table.to_ours(key): tuple(value.shape) for key, value in weights.items()}
        network = architecture.network(**architecture.read(ours))
    assert {key: tuple(value.shape) for key, value in network.state_dict().items()} == ours
    assert to_theirs(network, architecture.table).keys() == weights.keys()


def test_a_step_of_gaitssb_is_that_of_the_reference(parity: Find) -> None:
    golden = np.load(parity("selfsupervised.npz"))
    network = load_with_classifier(parity("tiny_gaitssb_pretrain.pt"), classifier=True).double().train()
    assert isinstance(network, GaitSSB)
    views = [torch.from_numpy(golden[f"ssb_{view}"]).double() for view in ("query", "key")]
    likeness = network.likeness(*views)
    for number, found in enumerate(likeness, 1):
        assert relative_error(found.detach(), golden[f"ssb_logits{number}"]) < 1e-5
    loss = own_view(likeness)
    assert relative_error(loss.detach(), golden["ssb_loss"]) < 1e-5
    loss.backward()
    check_gradients(network, golden, "ssb_grad:", {"predictor.3.fc_bin": "predictor.3.weight"})


@pytest.mark.slow
def test_a_step_of_foundationgait_is_that_of_the_reference(parity: Find) -> None:
    golden = np.load(parity("selfsupervised.npz"))
    network = load_with_classifier(parity("tiny_foundationgait_pretrain.pt"), classifier=True).double()
    assert isinstance(network, FoundationGait)
    assert network.student is not None
    walks = torch.from_numpy(golden["fg_crops_in"])[:, 0].double()
    for bands in (8, 4, 2, 1):
        with torch.inference_mode():
            maps = network.student.maps_of_bands(walks, bands)
        assert relative_error(maps, golden[f"fg_crops{bands}_out"]) < 1e-5
    network.train()
    likeness = network.likeness(*(torch.from_numpy(golden[f"fg_{who}_in"]).double() for who in ("teacher", "student")))
    assert relative_error(likeness[0].detach(), golden["fg_logits"]) < 2e-5  # the reference computes in float32
    loss = own_view(likeness)
    assert relative_error(loss.detach(), golden["fg_loss"]) < 1e-5
    loss.backward()
    check_gradients(network, golden, "fg_grad:", {})
    assert relative_error(network.teacher.stem.norm.running_mean, golden["fg_teacher_running_mean_after"]) < 1e-5
    assert all(parameter.grad is None for parameter in network.teacher.parameters())


def check_gradients(network: Any, golden: Any, prefix: str, names: dict[str, str]) -> None:
    from app.gait.opengait.saving import architecture_for

    table, parameters = architecture_for(network).table, dict(network.named_parameters())
    checked = [key.removeprefix(prefix) for key in golden.files if key.startswith(prefix)]
    assert checked
    for key in checked:
        gradient = parameters[table.to_ours(key)].grad
        assert relative_error(gradient, golden[prefix + key]) < 1e-4, key  # the reference computes in float32
