"""Gait networks as ONNX files, which run without torch: from a checkpoint, or from a training of ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from app.errors import CheckpointError, OutputError, SettingsError
from app.files import written_whole
from app.gait import LICENCE
from app.gait.base import EmbeddingNetwork, JointNetwork, PictureNetwork
from app.gait.models.gaitedge import GaitEdge
from app.gait.models.gaitstrips import GaitStrips
from app.gait.onnx import accepts
from app.gait.opengait import load_network, need_recognition
from app.lab.training.export import Answering, Storage, export, largest_difference, mix, stored_weights
from app.types import BODY_PARTS, SMPL
from app.weights.checkpoints import load_pickle_safely, metadata_of

if TYPE_CHECKING:
    from app.lab.training.gait.settings import GaitTrainSettings

NOTE = "the weights are for academic use only"
TRACED, COMPARED = 9, (1, 2, 31)
"""Frames of the walk that the network is traced with, and of the walks on which file and network are compared."""
TOLERANCE = 1e-3
"""Largest difference from torch with which a file is kept, as a share of the largest number of the embedding."""


@dataclass(frozen=True)
class Exported:
    """A file that was written.

    `difference` is the largest one from torch, as a share of the largest number of the embedding. `usable` says whether
    a run takes the file as a gait model; otherwise only other programs can use it.
    """

    family: str
    parameters: int
    inputs: tuple[str, ...]
    difference: float
    usable: bool


def example(network: EmbeddingNetwork, frames: int) -> dict[str, Tensor]:
    """Make a walk of noise as `network` takes it, always the same: tensors by name, float32 (n, ...).

    It is one walk. Our own network, which takes several walks at once in its file too, gets two.
    """
    noise = torch.Generator().manual_seed(frames)
    if isinstance(network, JointNetwork):
        return {"joints": network.input_of(64 * torch.rand(1, frames, 17, 3, generator=noise))}
    assert isinstance(network, PictureNetwork)
    size = (1 + isinstance(network, GaitStrips), frames, *network.maps, *network.input_size)
    tensors = {}
    for name in network.inputs:
        if name == "smpl":
            tensors[name] = torch.rand(1, frames, SMPL, generator=noise)
        elif name == "parsing":
            tensors[name] = torch.randint(len(BODY_PARTS) + 1, size, generator=noise).float()
        else:
            tensors[name.replace(" ", "_")] = (torch.rand(size, generator=noise) > 0.5).float()
    return tensors


def export_checkpoint(
    checkpoint: Path, path: Path, config: Mapping[str, Any] | Path | None = None, storage: Storage = "float32"
) -> Exported:
    """Write the network of a checkpoint as an ONNX file, and compare the two on walks of 1 to 31 frames.

    The file takes one walk of any length, as `EmbeddingNetwork.embed` does, and returns its embedding (1, C, P). If it
    takes silhouettes of 64 rows, `app.gait.onnx` can read it.

    Args:
        storage: how the file keeps the weights; `int8` stores kernels of two-dimensional convolutions in eight bits.

    Raises:
        CheckpointError: it is not a gait network that recognises people, or has no ONNX form; or ONNX Runtime and
            torch do not agree, then nothing is written.
        OutputError: `path` cannot be written, or does not end in ``.onnx``.
        MissingExtraError: the package `onnx` is not installed.
    """
    network = load_network(checkpoint, config)
    need_recognition(network, checkpoint)
    licence = metadata_of(load_pickle_safely(checkpoint, mapped=True)).get("licence", LICENCE)
    return write_onnx(network, path, {"licence": licence, "note": NOTE}, storage)


def export_trained(settings: GaitTrainSettings, path: Path) -> float:
    """Write the network that a training has left in `settings.out` as an ONNX file.

    The metadata say the licence, how the network was trained, and its figures on the people held out. Returns the
    largest difference from torch, as a share of the largest number of the embedding.

    Raises:
        SettingsError: nothing was trained in `settings.out`, or with other settings.
        CheckpointError, OutputError, MissingExtraError: see `export_checkpoint`.
    """
    # Exporting a checkpoint needs no Lightning, which these modules import.
    from app.lab.training.engine import load_trained
    from app.lab.training.gait.task import GaitTask, evaluation_sets, walks_of

    if settings.checkpoint is None:
        network = load_trained(settings.plan.build(0, classifier=False), settings.out, "gait network")
    elif settings.checkpoint.is_file():
        network = load_network(settings.checkpoint, settings.plan.arguments)
    else:
        raise SettingsError(f"{settings.checkpoint} does not exist. Train the network first.")
    if settings.start is not None and settings.start_share:
        mix(network, stored_weights(settings.start), settings.start_share)
    note = settings.note or f"trained here on {settings.data_name or settings.data.name}, {settings.steps} steps"
    metadata = {"licence": settings.licence, "note": note, **settings.properties}
    if settings.held_out:
        evaluations = evaluation_sets(settings, walks_of(settings, "train"), None)
        clean = [each for each in evaluations if each.name == "clean"]
        with torch.inference_mode():
            figures = GaitTask(network, settings, clean).check(network)
        rates = ", ".join(f"{name.split()[1].lower()} {100 * value:.0f} %" for name, value in figures.items())
        metadata["figures"] = f"{settings.held_out} held-out people, any view to any: rank-1 {rates}"
    return write_onnx(network, path, metadata, "float16" if isinstance(network, GaitStrips) else "float32").difference


def write_onnx(network: EmbeddingNetwork, path: Path, metadata: Mapping[str, str], storage: Storage) -> Exported:
    """Write a network in evaluation mode with the `metadata`; see `export_checkpoint`."""
    if path.suffix.lower() != ".onnx":
        raise OutputError(f"{path} must end in .onnx, because runs recognise the file by that.")
    if isinstance(network, GaitEdge):
        raise CheckpointError(
            "A gaitedge network cannot be exported: where it cuts a picture depends on its silhouette, frame by frame."
        )
    walk = example(network, TRACED)
    axes = {name: _open_axes(value) for name, value in walk.items()}
    if isinstance(network, GaitStrips):
        axes["embedding"] = {0: "walks"}
    properties = {"family": network.family, "inputs": ", ".join(network.inputs), **metadata}
    with written_whole(path) as temporary:
        embedding = Answering(network, lambda network, *inputs: network.embed(*inputs))
        export(embedding, walk, ["embedding"], temporary, dynamic=axes, metadata=properties, storage=storage)
        difference = max(_difference(network, temporary, frames) for frames in COMPARED)
        if difference > TOLERANCE:
            raise CheckpointError(
                f"ONNX Runtime and torch differ by {difference:.1e} of the largest number of an embedding, so {path} "
                "was not written."
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


def _open_axes(walk: Tensor) -> dict[int, str]:
    """Return the axes whose size is free in the file: that of the frames unless it is fixed, and that of the walks."""
    frames = {axis: "frames" for axis, size in enumerate(walk.shape) if size == TRACED}
    return {0: "walks", **frames} if len(walk) > 1 else frames
