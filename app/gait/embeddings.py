"""From the numbers that a gait network gives to embeddings that can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from app.errors import CheckpointError
from app.stages import GaitModel
from app.types import LARGEST, Embedding, Floats, GaitSequence, ModelCard

_FRAMES = 30  # of the walk that shows whether a model tells walks apart
_ALIKE = 1e-4  # the largest difference of embeddings that are called the same, against the size of the embedding
_HIPS, _LEGS = slice(11, 13), slice(13, 17)  # of the keypoints

_tells_apart: set[str] = set()
"""The ids of models that have told walks apart in this process."""


def embed(model: GaitModel, walks: Sequence[GaitSequence]) -> list[Embedding]:
    """Embed walks, and make sure once in each process that the model tells walks apart.

    Raises:
        CheckpointError: the model gives a walk and the same walk without legs one and the same embedding. Whoever is
            filmed would be taken for the very recording that somebody was enrolled from.
    """
    found = model.embed(walks)
    if found and model.card.model_id not in _tells_apart:
        other = _without_legs(walks[0])
        parts, others = found[0].parts, model.embed([other])[0].parts
        is_changed = not np.array_equal(other.silhouettes, walks[0].silhouettes[: len(other)])
        if is_changed and np.abs(parts - others).max() <= _ALIKE * np.abs(parts).max():
            raise CheckpointError(
                f"{model.card.file or model.card.name} gives all walks the same embedding, so it can tell nobody "
                "apart. Its training has failed, or it was not exported well. Use another file."
            )
        _tells_apart.add(model.card.model_id)
    return found


def _without_legs(walk: GaitSequence) -> GaitSequence:
    """Return the beginning of a walk with half the body, and with short legs where it has keypoints."""
    walk = walk.part(slice(_FRAMES))
    silhouettes, keypoints = walk.silhouettes.copy(), walk.keypoints
    parts, pictures = (None if each is None else each.copy() for each in (walk.parts, walk.pictures))
    for each in (silhouettes, parts, pictures):
        if each is not None:
            each[:, each.shape[1] // 2 :] = 0
    if keypoints is not None:
        keypoints = keypoints.copy()
        hips = keypoints[:, _HIPS, :2].mean(axis=1, keepdims=True)
        keypoints[:, _LEGS, :2] = (keypoints[:, _LEGS, :2] + hips) / 2
    return replace(walk, silhouettes=silhouettes, keypoints=keypoints, parts=parts, pictures=pictures)


def embedding(parts: Floats, card: ModelCard, frames: int, pieces: Floats | None = None) -> Embedding:
    """Return what a network gives for a walk, `parts` float32 (P, C) and `pieces` (K, P, C), as an embedding; see
    `Embedding`.

    Raises:
        CheckpointError: the numbers cannot be compared.
    """
    for numbers in (parts, *([pieces] if pieces is not None else [])):
        if not numbers.size or not (np.abs(numbers) < LARGEST).all():  # not true of NaN either
            raise CheckpointError(
                f"{card.file} cannot be used: for a walk of {frames} silhouettes it gives "
                f"{'numbers that are not finite' if numbers.size else 'nothing'}. Its training has failed, or the file "
                "is damaged. Use another file."
            )
    return Embedding(parts, card.model_id, frames, pieces)


def mean_of_pieces(pieces: Floats) -> Floats:
    """Return the embedding (P, C) of a walk that was seen in pieces (K, P, C): their mean, each part of unit length."""
    mean = pieces.mean(axis=0)
    parts: Floats = mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return parts
