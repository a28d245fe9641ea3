"""The exported file answers as torch does, for other sizes too, and says what it was told to say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

pytest.importorskip("onnx")

from app.training.export import export, largest_difference

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
AXES = {"image": {0: "n", 2: "h", 3: "w"}, "matte": {0: "n", 2: "h", 3: "w"}}


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 1, 3, padding=1)
    )
    with torch.no_grad():  # statistics that float16 cannot hold exactly
        layers[1].running_mean.uniform_(-1, 1)
        layers[1].running_var.uniform_(0.5, 2)
    return layers


def test_the_file_answers_as_torch_does(tmp_path: Path) -> None:
    path, net = tmp_path / "net.onnx", network()
    difference = export(
        net, {"image": torch.rand(2, 3, 32, 24)}, ["matte"], path, dynamic=AXES, metadata={"licence": "MIT"}
    )
    assert difference < 1e-5
    other = torch.rand(1, 3, 40, 56)
    with torch.inference_mode():
        assert largest_difference(path, {"image": other}, net(other)) < 1e-5
        assert largest_difference(path, {"image": other}, net(other) + 0.5) == pytest.approx(0.5, abs=1e-4)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert session.get_modelmeta().custom_metadata_map["licence"] == "MIT"


def test_float16_halves_the_file_and_costs_little(tmp_path: Path) -> None:
    image = torch.rand(1, 3, 32, 32)
    whole, half = tmp_path / "whole.onnx", tmp_path / "half.onnx"
    for path, small in ((whole, False), (half, True)):
        export(network(), {"image": image}, ["matte"], path, dynamic=AXES, metadata={}, half=small)
    answers = [
        onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"image": image.numpy()})[
            0
        ]
        for path in (whole, half)
    ]
    assert half.stat().st_size < 0.8 * whole.stat().st_size
    assert 0 < np.abs(answers[0] - answers[1]).max() < 5e-3
