"""The exported file answers as torch does, for other sizes too, and says what it was told to say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

pytest.importorskip("onnx")

from app.errors import CheckpointError
from app.lab.training.export import Storage, export, largest_difference, stored_weights

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
AXES = {"image": {0: "n", 2: "h", 3: "w"}, "matte": {0: "n", 2: "h", 3: "w"}}


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.Conv2d(64, 8, 3, padding=1)
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


@pytest.mark.parametrize(("storage", "share", "change"), [("float16", 0.8, 5e-3), ("int8", 0.6, 5e-2)])
def test_small_storage_costs_little(tmp_path: Path, storage: Storage, share: float, change: float) -> None:
    image = torch.rand(1, 3, 32, 32)
    paths: dict[Storage, Path] = {"float32": tmp_path / "whole.onnx", storage: tmp_path / "small.onnx"}
    answers = []
    for kind, path in paths.items():
        assert export(network(), {"image": image}, ["matte"], path, dynamic=AXES, metadata={}, storage=kind) < 1e-5
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        answers.append(session.run(None, {"image": image.numpy()})[0])
    sizes = [path.stat().st_size for path in paths.values()]
    assert sizes[1] < share * sizes[0]
    assert 0 < np.abs(answers[0] - answers[1]).max() < change


class Wrapped(nn.Module):
    """A network as exports wrap it: the file calls its weights ``network.NAME``."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.network = inner

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.network(image)
        return answer


@pytest.mark.parametrize("storage", ["float32", "float16", "int8"])
def test_the_weights_of_a_file_can_be_read_again(tmp_path: Path, storage: Storage) -> None:
    net = network()
    export(
        Wrapped(net), {"image": torch.rand(1, 3, 32, 32)}, ["matte"], tmp_path / "net.onnx",
        dynamic=AXES, metadata={}, storage=storage,
    )  # fmt: skip
    again = stored_weights(tmp_path / "net.onnx")
    assert again.keys() == {name for name in net.state_dict() if "num_batches" not in name}
    for name, weight in again.items():  # `export` has rounded those of the network itself
        assert torch.equal(weight, net.state_dict()[name]), name


def test_weights_of_another_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"no graph")
    with pytest.raises(CheckpointError, match="cannot be read as an ONNX file"):
        stored_weights(tmp_path / "net.onnx")
