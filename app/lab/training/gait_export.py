"""Gait networks of published checkpoints as ONNX files, which run without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from app.errors import CheckpointError, OutputError
from app.files import written_whole
from app.gait.base import EmbeddingNetwork, JointNetwork, PictureNetwork
from app.gait.embedder import LICENCE
from app.gait.models.smplgait import SMPLGait
from app.gait.onnx import accepts
from app.gait.opengait import load_network
from app.lab.training.export import Storage, export, largest_difference
from app.types import SMPL
from app.weights.checkpoints import load_pickle_safely, metadata_of

NOTE = "the weights are for academic use only"
TRACED, COMPARED = 9, (1, 2, 31)
"""Frames of the walk the network is traced with, and of those on which the file is compared."""
TOLERANCE = 1e-3
"""Largest difference from torch, in shares of the largest number of the embedding, with which a file is kept."""


@dataclass(frozen=True)
class Exported:
    """A file that was written: `difference` is the largest from torch, in shares of the largest number of the
    embedding; `usable` says whether a run takes the file as a gait model, or only other programs do."""

    family: str
    parameters: int
    inputs: tuple[str, ...]
    difference: float
    usable: bool


class _Embedding(nn.Module):
    """What is left to be used of a network: one walk to its embedding (1, C, P)."""

    def __init__(self, network: EmbeddingNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.network.embed(*inputs)


def example(network: EmbeddingNetwork, frames: int) -> dict[str, Tensor]:
    """Make a walk of noise, always the same, as `network` takes it: tensors by name, float32 (1, ...)."""
    noise = torch.Generator().manual_seed(frames)
    if isinstance(network, JointNetwork):
        return {"joints": network.seen(64 * torch.rand(1, frames, 17, 3, generator=noise))}
    assert isinstance(network, PictureNetwork)
    size = (1, frames, *network.maps, *network.input_size)
    pictures = {network.inputs[0].replace(" ", "_"): (torch.rand(size, generator=noise) > 0.5).float()}
    if isinstance(network, SMPLGait):
        pictures["smpl"] = torch.rand(1, frames, SMPL, generator=noise)
    return pictures


def export_gait(
    checkpoint: Path, path: Path, config: Mapping[str, Any] | Path | None = None, storage: Storage = "float32"
) -> Exported:
    """Write the network of a checkpoint as an ONNX file, and compare the two on walks of 1 to 31 frames.

    The file takes one walk of any length, as `EmbeddingNetwork.embed` does, and returns its embedding (1, C, P). Where
    it takes silhouettes of 64 rows, `app.gait.onnx` reads it.

    Args:
        checkpoint: of OpenGait, see `app.gait.opengait.load_network`.
        path: the ``.onnx`` file.
        config: what the checkpoint does not tell, as there.
        storage: how the file keeps the weights; `int8` keeps kernels of two-dimensional convolutions in eight bits.

    Raises:
        CheckpointError: no gait network; or ONNX Runtime and torch do not agree, then nothing is written.
        OutputError: `path` cannot be written, or is not an ``.onnx``.
        MissingExtraError: the package `onnx` is not installed.
    """
    if path.suffix.lower() != ".onnx":
        raise OutputError(f"{path} must end in .onnx: by that runs find it.")
    network = load_network(checkpoint, config)
    walk = example(network, TRACED)
    axes = {name: _times(value) for name, value in walk.items()}
    licence = metadata_of(load_pickle_safely(checkpoint, mapped=True)).get("licence", LICENCE)
    metadata = {"licence": licence, "family": network.family, "inputs": ", ".join(network.inputs)}
    with written_whole(path) as temporary:
        export(
            _Embedding(network), walk, ["embedding"], temporary, dynamic=axes, metadata={**metadata, "note": NOTE},
            storage=storage,
        )  # fmt: skip
        difference = max(_difference(network, temporary, frames) for frames in COMPARED)
        if difference > TOLERANCE:
            raise CheckpointError(
                f"{checkpoint}: ONNX Runtime and torch differ by {difference:.1e} of an embedding's largest number, "
                "so no file was written."
            )
    return Exported(
        family=network.family,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        inputs=network.inputs,
        difference=difference,
        usable=accepts(path),
    )


def _difference(network: EmbeddingNetwork, path: Path, frames: int) -> float:
    walk = example(network, frames)
    with torch.inference_mode():
        expected = network.embed(*walk.values())
    return largest_difference(path, walk, expected) / float(expected.abs().max())


def _times(walk: Tensor) -> dict[int, str]:
    """The axis of the frames, unless their number is fixed."""
    return {axis: "frames" for axis, size in enumerate(walk.shape) if size == TRACED}
