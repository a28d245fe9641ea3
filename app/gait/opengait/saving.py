"""From a network to a checkpoint file of OpenGait."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from app.errors import CheckpointError
from app.files import written_whole
from app.gait.base import EmbeddingNetwork
from app.gait.opengait.keys import Architecture
from app.gait.opengait.loading import FAMILIES, to_theirs


def architecture_for(network: EmbeddingNetwork) -> Architecture:
    """Return the architecture whose checkpoints `network` can be written as.

    Raises:
        CheckpointError: it belongs to none of OpenGait's families.
    """
    found: list[tuple[int, Architecture]] = []
    for family in FAMILIES:
        known = family.architecture
        if known is not None and known.network is type(network):
            theirs = to_theirs(network, known.table)
            if family.has(theirs):
                found.append((len(theirs.keys() & network.state_dict().keys()), known))
    if not found:
        raise CheckpointError(
            f"A {network.family} network cannot be saved as a checkpoint: OpenGait has no format for it."
        )
    # Two kinds of one network may share names. The table that leaves the fewest of ours is the right one.
    return min(found, key=lambda each: each[0])[1]


def save_network(
    network: EmbeddingNetwork,
    path: Path,
    *,
    iteration: int = 0,
    optimizer: Mapping[str, Any] | None = None,
    scheduler: Mapping[str, Any] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a network as OpenGait does: a dictionary of ``model``, ``optimizer``, ``scheduler`` and ``iteration``.

    The weights have OpenGait's names and can be loaded there. Strides and other things that weights do not show belong
    to its YAML. The optimiser's state counts the weights in the order they have here, which need not be the order in
    OpenGait, so a training that goes on there must begin with ``optimizer_reset: true``. `metadata` is our addition,
    which `app.weights.checkpoints.metadata_of` reads: whose data the weights come from, and what may be done with them.

    Raises:
        CheckpointError: the network belongs to none of OpenGait's families.
        OutputError: `path` cannot be written.
    """
    content = {
        "model": to_theirs(network, architecture_for(network).table),
        "optimizer": dict(optimizer or {}),
        "scheduler": dict(scheduler or {}),
        "iteration": iteration,
        **({"metadata": dict(metadata)} if metadata else {}),
    }
    with written_whole(path) as temporary, temporary.open("wb") as file:  # torch writes the name of a path into it
        torch.save(content, file)
