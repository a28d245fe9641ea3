"""GEINet, GaitSet, GaitPart, GLN, GaitGL and CSTL: narrow networks are trained a step, saved, loaded and misused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from app.errors import CheckpointError, SettingsError
from app.gait.base import GaitNetwork
from app.gait.layers import ConvPair
from app.gait.models.cstl import CSTL
from app.gait.models.gaitgl import GaitGL
from app.gait.models.gaitpart import GaitPart
from app.gait.models.gaitset import GaitSet
from app.gait.models.geinet import GEINet
from app.gait.models.gln import GLN
from app.gait.opengait import FAMILIES, Architecture, load_network, to_theirs

SETS = ("geinet", "gaitset", "gln", "gln of phase 1")
NETWORKS: dict[str, tuple[Callable[[], GaitNetwork], tuple[int, int], tuple[int, int] | None]] = {
    # the network; channels and parts of its embedding; classes and parts of its logits
    "geinet": (lambda: GEINet((4, 6), 7, classes=3), (7, 1), (3, 1)),
    "gaitset": (lambda: GaitSet((4, 6, 8), channels=5), (5, 62), None),
    "gaitpart": (lambda: GaitPart((4, 6, 8), parts=16, channels=5), (5, 16), None),
    "gaitpart of four pairs": (lambda: GaitPart((4, 4, 4, 8), parts=8, hidden=3, channels=5), (5, 8), None),
    "gln": (
        lambda: GLN((4, 6, 8), lateral=6, channels=5, compact=4, classes=3, input_size=(64, 44)),
        (5, 93),
        (3, 1),
    ),
    "gln of phase 1": (lambda: GLN((4, 6, 8), lateral=6, channels=5, input_size=(64, 44)), (5, 93), None),
    "gaitgl": (lambda: GaitGL((3, 4, 5, 6), channels=5, classes=3), (5, 64), (3, 64)),
    "gaitgl deep": (lambda: GaitGL((3, 4, 5, 6), 2, 2, channels=5, neck=True, classes=3), (5, 64), (3, 64)),
    "cstl": (lambda: CSTL((4, 6, 8), parts=8, hidden=4, channels=5, classes=3), (5, 16), (3, 16)),
}
ORDERED = tuple(name for name in NETWORKS if name not in SETS)


def made(name: str) -> GaitNetwork:
    torch.manual_seed(0)
    network = NETWORKS[name][0]()
    for key, value in network.state_dict().items():
        if key.endswith("running_var"):
            value.uniform_(0.5, 1.5)
        elif key.endswith("running_mean"):
            value.normal_(0, 0.3)
    return network.eval()


def walks(n: int, frames: int) -> Tensor:
    random = torch.Generator().manual_seed(1)
    return (torch.rand(n, frames, 64, 44, generator=random) > 0.5).float()


def architecture_of(network: GaitNetwork) -> Architecture:
    weights = network.state_dict()
    for family in FAMILIES:
        known = family.architecture
        if known is None or known.network is not type(network):
            continue
        keys = [known.table.to_theirs(key) for key in weights]
        if all(any(key.startswith(mark) for key in keys) for mark in family.marks):
            return known
    raise AssertionError(f"{network.family} is in no family")


def save(network: GaitNetwork, path: Path) -> Path:
    torch.save({"model": to_theirs(network, architecture_of(network).table)}, path)
    return path


@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_of_training_reaches_every_weight(name: str) -> None:
    _, (channels, parts), classes = NETWORKS[name]
    network = made(name).train()
    embedding, logits = network(walks(3, 5))
    assert embedding.shape == (3, channels, parts)
    loss = embedding.square().mean()
    if classes is None:
        assert logits is None
    else:
        assert logits is not None
        assert logits.shape == (3, *classes)
        loss = loss + F.cross_entropy(logits, torch.arange(3)[:, None].expand(3, classes[1]))
    loss.backward()
    unreached = [key for key, value in network.named_parameters() if value.grad is None or not value.grad.any()]
    assert unreached == []
    torch.optim.SGD(network.parameters(), lr=0.01).step()
    assert not torch.equal(network(walks(3, 5))[0], embedding)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_survives_the_way_through_a_checkpoint(name: str, tmp_path: Path) -> None:
    network = made(name)
    config = {"input_size": (64, 44)}
    loaded = load_network(save(network, tmp_path / "network.pt"), config, classifier=True)
    assert type(loaded) is type(network)
    assert not loaded.training
    x = walks(2, 4)
    with torch.inference_mode():
        for found, expected in zip(loaded(x), network(x), strict=True):
            assert (found is None) == (expected is None)
            if expected is not None:
                torch.testing.assert_close(found, expected, rtol=0, atol=0)
        lean = load_network(tmp_path / "network.pt", config)
        torch.testing.assert_close(lean.embed(x), network.embed(x), rtol=0, atol=0)
    if NETWORKS[name][2] is not None:
        assert len(lean.state_dict()) < len(network.state_dict())


@pytest.mark.parametrize("name", NETWORKS)
def test_walks_laid_end_to_end_are_embedded_as_if_alone(name: str) -> None:
    network = made(name)
    x = walks(1, 9)
    with torch.inference_mode():
        packed = network.embed(x, [5, 1, 3])
        alone = torch.cat([network.embed(walk) for walk in (x[:, :5], x[:, 5:6], x[:, 6:])])
    torch.testing.assert_close(packed, alone, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="do not divide"):
        network.embed(x, [5, 3])


@pytest.mark.parametrize("name", NETWORKS)
def test_the_order_of_frames_matters_where_it_should(name: str) -> None:
    network = made(name)
    x = walks(1, 9)
    with torch.inference_mode():
        found, shuffled = network.embed(x), network.embed(x[:, [3, 8, 0, 6, 1, 5, 2, 7, 4]])
    change = float((found - shuffled).abs().max() / found.abs().max())
    assert change < 1e-5 if name in SETS else change > 1e-3


@pytest.mark.parametrize("name", NETWORKS)
def test_silhouettes_of_another_width_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="64 rows and 44 columns, not 64 and 64"):
        made(name).embed(torch.zeros(1, 3, 64, 64))


@pytest.mark.parametrize("name", NETWORKS)
def test_missing_and_left_over_keys_are_named_as_in_the_file(name: str, tmp_path: Path) -> None:
    network = made(name)
    weights = to_theirs(network, architecture_of(network).table)
    path = tmp_path / "network.pt"
    lost = next(key for key in weights if "conv2" in key or ".2.conv" in key or "local_conv3d" in key)
    torch.save({**{key: value for key, value in weights.items() if key != lost}, "odd.weight": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match=rf"missing: {lost}") as caught:
        load_network(path)
    if "not a whole" not in str(caught.value):
        assert "left over: odd.weight" in str(caught.value)


@pytest.mark.parametrize("name", ORDERED)
def test_a_walk_of_one_frame_is_embedded(name: str) -> None:
    with torch.inference_mode():
        assert torch.isfinite(made(name).embed(walks(1, 1))).all()


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_runs_where_its_weights_are(name: str) -> None:
    found, _ = made(name).to("meta")(walks(2, 4).to("meta"))
    assert found.device.type == "meta"
    assert found.shape == (2, *NETWORKS[name][1])


def test_the_error_for_another_file_lists_the_families(tmp_path: Path) -> None:
    torch.save({"odd.weight": torch.zeros(1)}, tmp_path / "odd.pt")
    with pytest.raises(CheckpointError, match=r"its keys are odd\.weight") as caught:
        load_network(tmp_path / "odd.pt")
    listed = str(caught.value).split("Supported: ")[1]
    assert {"GaitSet", "GaitPart", "GLN", "GaitGL", "GEINet", "CSTL"} <= set(listed.rstrip(".").split(", "))


def test_geinet_sees_the_mean_silhouette() -> None:
    network = made("geinet")
    x = walks(1, 6)
    with torch.inference_mode():
        torch.testing.assert_close(network.embed(x), network.embed(x.mean(1, keepdim=True)), rtol=1e-5, atol=1e-6)


def test_strips_of_a_focal_convolution_do_not_see_each_other() -> None:
    pair = ConvPair(1, 2, strips=4)
    x = torch.rand(1, 1, 16, 6)
    changed = x.clone()
    changed[:, :, 4:8] += 1.0
    differs = (pair(x) != pair(changed)).any(dim=(0, 1, 3))
    assert differs.nonzero()[:, 0].tolist() == [4, 5, 6, 7]


@pytest.mark.parametrize(
    ("name", "yaml", "attribute", "expected"),
    [
        ("gaitset", "model_cfg: {bin_num: [31]}", "bins", (31,)),
        ("gln", "model_cfg: {bin_num: [31]}", "bins", (31,)),
        (
            "gaitpart",
            "model_cfg: {backbone_cfg: {layers_cfg: [BC-4, BC-4, M, FC-6-1, FC-6-1, M, FC-8-2, FC-8-2]}}",
            "strips",
            [1, 2, 4],
        ),
    ],
)
def test_opengaits_yaml_tells_what_the_file_cannot(
    name: str, yaml: str, attribute: str, expected: object, tmp_path: Path
) -> None:
    path = save(made(name), tmp_path / "network.pt")
    (tmp_path / "config.yaml").write_text(yaml)
    network = load_network(path, tmp_path / "config.yaml")
    if attribute == "strips":
        assert [pair.strips for pair in network.modules() if isinstance(pair, ConvPair)] == expected
    else:
        assert getattr(network, attribute) == expected


@pytest.mark.parametrize("yaml", ["", "model_cfg: {}", "model_cfg: [", "data_cfg: {}"])
def test_another_yaml_is_refused(yaml: str, tmp_path: Path) -> None:
    path = save(made("gaitset"), tmp_path / "network.pt")
    (tmp_path / "config.yaml").write_text(yaml)
    with pytest.raises(
        SettingsError, match=r"config\.yaml is not (YAML|OpenGait's configuration of a gaitset network)"
    ):
        load_network(path, tmp_path / "config.yaml")
