"""The layers that begin with what was learnt on ImageNet."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from app.errors import CheckpointError, MissingExtraError
from app.lab.training import backbone
from app.lab.training.backbone import CHANNELS, FIXED, Backbone, _Convolution

installed = pytest.mark.skipif(importlib.util.find_spec(backbone.PACKAGE) is None, reason="needs the extra [train]")


def test_levels_from_a_half_to_a_thirty_second() -> None:
    levels = Backbone().eval()(torch.randn(2, 3, 192, 96))
    assert [tuple(level.shape) for level in levels] == [
        (2, width, 192 >> n, 96 >> n) for n, width in enumerate(CHANNELS, 1)
    ]


@pytest.mark.parametrize(("size", "length"), [(3, 8), (5, 8), (5, 12)])
def test_it_pads_as_tensorflow_does(size: int, length: int) -> None:
    """ "SAME": of the zeros that are needed in all, the half, rounded down, comes first."""
    layer = _Convolution(1, 1, size, 2, 1)
    x = torch.randn(1, 1, length, length)
    needed = (length // 2 - 1) * 2 + size - length
    padded = torch.zeros(1, 1, length + needed, length + needed)
    padded[..., needed // 2 : needed // 2 + length, needed // 2 : needed // 2 + length] = x
    assert torch.equal(layer(x), nn.functional.conv2d(padded, layer.weight, stride=2))


def test_norms_keep_their_statistics() -> None:
    network = Backbone().train()
    before = {name: value.clone() for name, value in network.named_buffers()}
    network(3 + torch.randn(4, 3, 64, 32))
    assert all(torch.equal(value, before[name]) for name, value in network.named_buffers())


@installed
def test_the_published_weights_are_taken_and_the_first_are_kept() -> None:
    network = Backbone()
    drawn = {name: value.clone() for name, value in network.state_dict().items()}
    network.start()
    same = [name for name, value in network.state_dict().items() if torch.equal(value, drawn[name])]
    assert not [name for name in same if "num_batches" not in name], "all of them"
    learning = {name.partition(".layers")[0] for name, value in network.named_parameters() if value.requires_grad}
    assert learning == {f"blocks.{number}" for number in range(FIXED, 14)}
    edge = torch.ones(1, 3, 64, 64)
    edge[..., 32:] = -1
    with torch.inference_mode():
        levels = network.eval()(edge)
    # The means of an implementation of its own, with the same file.
    means = [float(level.mean()) for level in levels]
    assert means == pytest.approx([0.36024, -0.56283, -0.41825, -0.47916, 0.10425], abs=1e-4)


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbone, "PACKAGE", "no_such_package_at_all")
    with pytest.raises(MissingExtraError, match=r"\[train\]"):
        Backbone().start()


@pytest.mark.parametrize("content", [b"", b"not weights", None])
def test_other_weights_are_refused(content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "other_weights"
    (folder / backbone._FILE).parent.mkdir(parents=True)
    (folder / "__init__.py").touch()
    if content is None:
        torch.save({"_conv_stem.weight": torch.zeros(32, 3, 3, 3)}, folder / backbone._FILE)
    else:
        (folder / backbone._FILE).write_bytes(content)
    monkeypatch.setattr(backbone, "PACKAGE", "other_weights")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(CheckpointError, match="EfficientNet-Lite0"):
        Backbone().start()
