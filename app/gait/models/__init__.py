"""Gait networks, a file for each family; none of them knows OpenGait's names."""

from __future__ import annotations

import importlib
import pkgutil

from app.gait.base import EmbeddingNetwork


def networks() -> dict[str, type[EmbeddingNetwork]]:
    """Return every network that can be built, by its family's name."""
    modules = [importlib.import_module(found.name) for found in pkgutil.iter_modules(__path__, f"{__name__}.")]
    kinds = [kind for module in modules for kind in vars(module).values() if isinstance(kind, type)]
    return {kind.family: kind for kind in kinds if issubclass(kind, EmbeddingNetwork) and "family" in vars(kind)}
