"""Gait models: networks, and the readers of their published checkpoints.

`load_gait_model` gives what a run uses, from walks to embeddings. `load_network` gives the bare torch network of a
checkpoint, for training and for research.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.errors import CheckpointError
from app.files import expanded
from app.stages import GaitModel

if TYPE_CHECKING:
    from app.gait.base import EmbeddingNetwork

__all__ = ["load_gait_model", "load_network"]

LICENCE = "academic use only (OpenGait weights)"
"""What may be done with weights that OpenGait's authors published."""


def load_gait_model(checkpoint: Path | str | None = None, name: str = "auto", **settings: Any) -> GaitModel:
    """Load a gait model, which turns walks into embeddings.

    Arguments and errors are those of `app.detect.load_detector`; the settings are those of `app.settings.GaitSettings`.
    """
    from app.weights.registry import gait_models

    return gait_models.load(checkpoint, name, settings)


def load_network(path: Path | str, config: Mapping[str, Any] | Path | None = None) -> EmbeddingNetwork:
    """Load a gait network from a published checkpoint: see `app.gait.opengait.load_network`."""
    from app.gait.opengait import load_network  # torch is slow to import

    return load_network(expanded(path, CheckpointError), config)
