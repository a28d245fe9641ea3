"""OpenGait's checkpoints as gait models. Torch is slow to import, so it is imported only where such a file is met."""

from __future__ import annotations

from pathlib import Path

from app.gait import LICENCE
from app.settings import GaitSettings
from app.stages import GaitModel
from app.weights.checkpoints import CheckpointFile
from app.weights.registry import gait_models


def accepts(path: Path) -> bool:
    """Whether `path` is a checkpoint of a supported gait network, with all of its keys.

    Raises:
        CheckpointError: a torch file that is another network, or lacks keys; the message says which.
    """
    if path.is_dir() or path.suffix.lower() not in {".pt", ".pth", ".ckpt", ".tar"}:
        return False
    from app.gait.embedder import input_of
    from app.gait.opengait import outline_of

    input_of(outline_of(path), path)
    return True


@gait_models.register(
    "opengait",
    licence=LICENCE,
    about="checkpoints of OpenGait (.pt), family and widths read from the file",
    accepts=accepts,
)
def opengait(checkpoint: CheckpointFile | None, settings: GaitSettings) -> GaitModel:
    """Return `app.gait.embedder.NetworkEmbedder` of a checkpoint."""
    from app.gait.embedder import NetworkEmbedder

    return NetworkEmbedder(checkpoint, settings)
