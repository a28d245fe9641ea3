"""Gait networks that see what only data sets have: SMPL parameters, or silhouettes of 128 rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from app.gait.base import PictureNetwork
from app.gait.embedder import LICENCE, thin
from app.gait.models.gln import GLN
from app.gait.models.smplgait import SMPLGait
from app.gait.opengait import architecture_of, load_network
from app.lab.data.opengait import Modality, read_bodies, read_silhouettes
from app.types import Embedding, ModelCard
from app.weights.checkpoints import CheckpointFile

_SUFFIXES = {".pt", ".pth", ".ckpt", ".tar"}


def needs_files(path: Path) -> bool:
    """Whether `path` is the checkpoint of a network that no walk of a video can feed.

    Raises:
        CheckpointError: a torch file that is no gait network, or is not whole.
    """
    return path.suffix.lower() in _SUFFIXES and issubclass(architecture_of(path).network, SMPLGait | GLN)


class FileEmbedder:
    """Embeds the files of walks with such a network, in float32 on the CPU.

    GLN's layers fit silhouettes of 64 and of 128 rows, and a checkpoint does not tell which it has learnt from: it sees
    those of the data set.

    Args:
        checkpoint: see `needs_files`.
        max_frames: longest walk that the network sees; longer ones are thinned evenly.

    Raises:
        CheckpointError: see `app.gait.opengait.load_network`.
    """

    def __init__(self, checkpoint: CheckpointFile, max_frames: int) -> None:
        network = load_network(checkpoint.path)
        assert isinstance(network, PictureNetwork), "see needs_files"
        self._network, self._max_frames = network, max_frames
        self.beside: Modality | None = "smpl" if isinstance(network, SMPLGait) else None
        """What lies beside the silhouettes and is seen too."""
        self.card = ModelCard(
            stage="gait", name=network.family, origin=checkpoint.origin, licence=LICENCE, file=checkpoint.path,
            sha256=checkpoint.sha256(), runtime="torch", note="the weights are for academic use only",
        )  # fmt: skip

    def embed(self, walks: Sequence[Sequence[Path]], frames: int | None = None) -> list[Embedding]:
        """Return one embedding per walk.

        Args:
            walks: of each its silhouettes and, where there is a `beside`, that.
            frames: of each walk, consecutive ones from its middle; None takes all.

        Raises:
            DataSetError: a file cannot be read, the two are of unlike lengths, or silhouettes are too small.
        """
        return [self._embedded(walk, frames) for walk in walks]

    def _chosen(self, walk: NDArray[Any], frames: int | None) -> NDArray[Any]:
        start = 0 if frames is None else max(0, (len(walk) - frames) // 2)
        walk = walk[start : None if frames is None else start + frames]
        return walk[thin(len(walk), self._max_frames)]

    def _embedded(self, walk: Sequence[Path], frames: int | None) -> Embedding:
        network = self._network
        if isinstance(network, SMPLGait):
            both = self._chosen(read_bodies(walk[0], walk[1], network.input_size[0]), frames)
            inputs = [both["silhouettes"] / np.float32(255), both["smpl"].copy()]
        else:
            pictures = self._chosen(read_silhouettes(walk[0], None), frames)
            network.input_size = (pictures.shape[1], pictures.shape[2])
            inputs = [pictures / np.float32(255)]
        with torch.inference_mode():
            parts = network.embed(*(torch.from_numpy(value[None]) for value in inputs))
        return Embedding(parts[0].mT.contiguous().numpy(), self.card.model_id, len(inputs[0]))
