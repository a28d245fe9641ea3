"""From the numbers that a gait network gives to embeddings that can be compared."""

from __future__ import annotations

import numpy as np

from app.errors import CheckpointError
from app.types import LARGEST, Embedding, Floats, ModelCard


def embedding(parts: Floats, card: ModelCard, frames: int, pieces: Floats | None = None) -> Embedding:
    """Return what a network gives for a walk as an embedding.

    Args:
        parts: float32 (P, C).
        card: of the network.
        frames: how many silhouettes the network saw.
        pieces: float32 (K, P, C), see `Embedding`.

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
