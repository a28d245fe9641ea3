"""Gait networks, a file for each family; none of them knows OpenGait's names.

Where a network does not say otherwise, its arguments mean: `widths`, `depths` and `strides` are those of the stages
(see `app.gait.layers.ResidualBackbone`), or `widths` the channels of pairs of convolutions. The embedding has
`channels` numbers for each of `parts` horizontal strips, or for each strip of a pyramid whose scales have so many as
`bins` says. `classes` are the people of the training set, for the classifier; None leaves it out, as embedding needs
none.
"""

from __future__ import annotations

import importlib
import pkgutil

from app.gait.base import EmbeddingNetwork


def networks() -> dict[str, type[EmbeddingNetwork]]:
    """Return every network that can be built, by its family's name."""
    modules = [importlib.import_module(found.name) for found in pkgutil.iter_modules(__path__, f"{__name__}.")]
    kinds = [kind for module in modules for kind in vars(module).values() if isinstance(kind, type)]
    return {kind.family: kind for kind in kinds if issubclass(kind, EmbeddingNetwork) and "family" in vars(kind)}
