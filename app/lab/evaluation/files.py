"""Gait models for evaluation, also those whose input only data sets have.

That is SMPL parameters, maps of body parts, and silhouettes of 128 rows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from app.gait import LICENCE
from app.gait.base import PictureNetwork
from app.gait.embedder import name_of, note_of
from app.gait.embeddings import embedding
from app.gait.frames import thin
from app.gait.models.gln import GLN
from app.gait.opengait import outline_of, read_network
from app.lab.data.opengait import Modality, WalkFile, read_bodies, read_parsed, read_parsing, read_silhouettes
from app.settings import Settings
from app.stages import GaitModel
from app.types import Embedding, ModelCard
from app.weights.checkpoints import CheckpointFile, checkpoint_roots
from app.weights.registry import gait_models

_SUFFIXES = {".pt", ".pth", ".ckpt", ".tar"}


MODALITIES: dict[tuple[str, ...], tuple[Modality, ...]] = {
    ("silhouettes",): ("silhouette",),
    ("silhouettes", "smpl"): ("silhouette", "smpl"),
    ("parsing",): ("parsing",),
    ("parsing", "smpl"): ("parsing", "smpl"),
    ("parsing", "silhouettes"): ("parsing", "silhouette"),
    ("silhouettes with parsing",): ("silhouette", "parsing"),
}
"""The files that are read for what networks take."""


def load_model(settings: Settings, *, of_files: bool = True) -> GaitModel | FileEmbedder:
    """Load the gait model that the settings name, or else the best that is found.

    Args:
        of_files: whether walks are files of a data set. Otherwise they are as videos have them.

    Raises:
        SettingsError: there is no gait model of that name.
        CheckpointError: the file is missing, unsafe or of the wrong kind.
    """
    roots = checkpoint_roots(settings.checkpoints)
    if of_files and settings.gait.checkpoint is not None and settings.gait.name == "auto":
        given = CheckpointFile.given(settings.gait.checkpoint, roots)
        if needs_files(given.path):
            return FileEmbedder(given, settings.gait.max_frames, settings.gait.config)
    return gait_models.build(settings.gait, roots)


def needs_files(path: Path) -> bool:
    """Whether `path` is the checkpoint of a network that reads other files of a walk than silhouettes or keypoints.

    Raises:
        CheckpointError: it is a torch file, but not of a gait network, or it is damaged.
    """
    if path.suffix.lower() not in _SUFFIXES:
        return False
    network = outline_of(path)
    return isinstance(network, GLN) or (network.inputs != ("silhouettes",) and network.inputs in MODALITIES)


def middle(length: int, frames: int | None) -> slice:
    """Return the place of the `frames` consecutive frames in the middle of a walk; all frames where it is None."""
    start = 0 if frames is None else max(0, (length - frames) // 2)
    return slice(start, length if frames is None else start + frames)


class FileEmbedder:
    """Embeds the files of walks with such a network (`needs_files`), in float32 on the CPU.

    GLN's layers fit silhouettes of 64 and of 128 rows, and a checkpoint does not tell which of them it was trained on.
    So the network is given the silhouettes of the data set as they are. Walks of more than `max_frames` frames are
    thinned evenly.

    Raises:
        CheckpointError: see `app.gait.opengait.load_network`.
    """

    def __init__(self, checkpoint: CheckpointFile, max_frames: int, config: Path | None = None) -> None:
        network, extra = read_network(checkpoint.path, config)
        assert isinstance(network, PictureNetwork), "see needs_files"
        self._network, self._max_frames = network, max_frames
        self.main, *others = MODALITIES[network.inputs]
        """The files that walks are listed by."""
        self.beside: Modality | None = others[0] if others else None
        """What the network needs besides them. It must lie beside them."""
        self.card = ModelCard(
            stage="gait", name=name_of(network, extra), origin=checkpoint.origin, licence=LICENCE, file=checkpoint.path,
            sha256=checkpoint.sha256(), runtime="torch",
            note=note_of(network, "the weights are for academic use only"),
        )  # fmt: skip

    def embed(self, walk: WalkFile, frames: int | None = None) -> Embedding:
        """Embed a walk, by its `main` file and, where there is a `beside`, the other file.

        Only so many `frames` from its middle are taken; None: all.

        Raises:
            DataSetError: a file cannot be read, the two have different lengths, or silhouettes are too small.
        """
        network = self._network
        found = self._read(walk)
        if isinstance(network, GLN):
            network.input_size = (found[0].shape[1], found[0].shape[2])
        chosen = np.arange(len(found[0]))[middle(len(found[0]), frames)]
        chosen = chosen[thin(len(chosen), self._max_frames)]
        inputs = [torch.from_numpy(array[chosen][None]) for array in found]
        with torch.inference_mode():
            parts = network.embed(*(network.input_of(x) if x.dtype == torch.uint8 else x for x in inputs))
        return embedding(parts[0].mT.contiguous().numpy(), self.card, len(chosen))

    def _read(self, walk: WalkFile) -> list[NDArray[Any]]:
        """Read what the network takes, frame by frame, in its order."""
        network, rows = self._network, self._network.input_size[0]
        if isinstance(network, GLN):
            return [read_silhouettes(walk.path, None)]
        if walk.other is None:
            return [read_parsing(walk.path)]
        if self.beside == "smpl":
            bodies = read_bodies(walk.path, walk.other, rows, parsing=self.main == "parsing")
            return [bodies["silhouettes"], bodies["smpl"]]
        if self.main == "parsing":
            parsed = read_parsed(walk.path, walk.other)
            return [parsed["parsing"], parsed["silhouettes"]]
        parsed = read_parsed(walk.other, walk.path)
        return [np.stack([parsed["silhouettes"], parsed["parsing"]], 1)]
