"""Gait models: networks, and the readers of their published checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.gait.base import EmbeddingNetwork

__all__ = ["load_network"]


def load_network(path: Path, config: Mapping[str, Any] | Path | None = None) -> EmbeddingNetwork:
    """Load a gait network from a published checkpoint: see `app.gait.opengait.load_network`."""
    from app.gait.opengait import load_network  # torch is slow to import

    return load_network(path, config)
