"""Gait models for evaluation, also those whose input only data sets have: SMPL parameters, silhouettes of 128 rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from app.gait import LICENCE
from app.gait.base import PictureNetwork
from app.gait.embedder import name_of
from app.gait.frames import thin
from app.gait.models.gln import GLN
from app.gait.models.smplgait import SMPLGait
from app.gait.opengait import outline_of, read_network
from app.lab.data.opengait import Modality, WalkFile, read_bodies, read_silhouettes
from app.settings import Settings
from app.stages import GaitModel
from app.types import Embedding, ModelCard
from app.weights.checkpoints import CheckpointFile, checkpoint_roots
from app.weights.registry import gait_models

_SUFFIXES = {".pt", ".pth", ".ckpt", ".tar"}


def load_model(settings: Settings) -> GaitModel | FileEmbedder:
    """Load the gait model that the settings name, or else the best that is found.

    Raises:
        SettingsError: there is no gait model of that name.
        CheckpointError: the file is missing, unsafe or of the wrong kind.
    """
    roots = checkpoint_roots(settings.checkpoints)
    if settings.gait.checkpoint is not None and settings.gait.name == "auto":
        given = CheckpointFile.given(settings.gait.checkpoint, roots)
        if needs_files(given.path):
            return FileEmbedder(given, settings.gait.max_frames, settings.gait.config)
    return gait_models.build(settings.gait, roots)


def needs_files(path: Path) -> bool:
    """Whether `path` is the checkpoint of a network that cannot embed walks cut out of videos.

    Raises:
        CheckpointError: it is a torch file, but not of a gait network, or it is damaged.
    """
    return path.suffix.lower() in _SUFFIXES and isinstance(outline_of(path), SMPLGait | GLN)


def middle(length: int, frames: int | None) -> slice:
    """Return the place of the `frames` consecutive frames in the middle of a walk; all frames where it is None."""
    start = 0 if frames is None else max(0, (length - frames) // 2)
    return slice(start, length if frames is None else start + frames)


class FileEmbedder:
    """Embeds the files of walks with such a network, in float32 on the CPU.

    GLN's layers fit silhouettes of 64 and of 128 rows, and a checkpoint does not tell which of them it was trained on.
    So the network is given the silhouettes of the data set as they are.

    Args:
        checkpoint: see `needs_files`.
        max_frames: the longest walk that the network is given. Longer walks are thinned evenly.
        config: OpenGait's YAML; see `app.gait.opengait.load_network`.

    Raises:
        CheckpointError: see `app.gait.opengait.load_network`.
    """

    def __init__(self, checkpoint: CheckpointFile, max_frames: int, config: Path | None = None) -> None:
        network, extra = read_network(checkpoint.path, config)
        assert isinstance(network, PictureNetwork), "see needs_files"
        self._network, self._max_frames = network, max_frames
        self.beside: Modality | None = "smpl" if isinstance(network, SMPLGait) else None
        """What the network needs besides the silhouettes. It must lie beside them."""
        self.card = ModelCard(
            stage="gait", name=name_of(network, extra), origin=checkpoint.origin, licence=LICENCE, file=checkpoint.path,
            sha256=checkpoint.sha256(), runtime="torch", note="the weights are for academic use only",
        )  # fmt: skip

    def embed(self, walk: WalkFile, frames: int | None = None) -> Embedding:
        """Embed a walk.

        Args:
            walk: its silhouettes and, where there is a `beside`, the other file.
            frames: the number of consecutive frames taken from its middle. None: all.

        Raises:
            DataSetError: a file cannot be read, the two have different lengths, or silhouettes are too small.
        """
        network = self._network
        if isinstance(network, SMPLGait) and walk.other is not None:
            bodies = read_bodies(walk.path, walk.other, network.input_size[0])
            silhouettes, more = bodies["silhouettes"], [bodies["smpl"]]
        else:
            silhouettes, more = read_silhouettes(walk.path, None), []
            network.input_size = (silhouettes.shape[1], silhouettes.shape[2])
        frame_indices = np.arange(len(silhouettes))[middle(len(silhouettes), frames)]
        frame_indices = frame_indices[thin(len(frame_indices), self._max_frames)]
        inputs = [silhouettes[frame_indices] / np.float32(255), *(array[frame_indices] for array in more)]
        with torch.inference_mode():
            parts = network.embed(*(torch.from_numpy(array[None]) for array in inputs))
        return Embedding(parts[0].mT.contiguous().numpy(), self.card.model_id, len(frame_indices))
