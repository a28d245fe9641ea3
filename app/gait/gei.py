"""The gait energy image: Han and Bhanu, "Individual Recognition Using Gait Energy Image", TPAMI 2006, section 2.2."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from app.settings import GaitSettings
from app.types import Embedding, Floats, GaitSequence, ModelCard
from app.weights.checkpoints import CheckpointFile
from app.weights.registry import gait_models

STRIPS = 16
MARGIN = 10  # columns left out on either side, as for the networks: no walker reaches them


def energy_image(walk: GaitSequence) -> Floats:
    """Return the mean silhouette, mirrored onto itself: float32 (64, 22), 0..1, the left half of a symmetric image.

    A gait is alike on both sides. Folding the image makes walkers seen from the left comparable with those seen from
    the right. This raised rank-1 on the clips it was tried on; leaving out the frames that differ most from the median
    did not.
    """
    mean = walk.silhouettes[:, :, MARGIN:-MARGIN].mean(axis=0, dtype=np.float32) / np.float32(255)
    folded: Floats = (mean + mean[:, ::-1])[:, : mean.shape[1] // 2] / np.float32(2)
    return folded


@gait_models.register("gei", licence="Apache-2.0", about="gait energy image, needs no weights (weak)")
class GaitEnergyImage:
    """Embeds a walk as its gait energy image, in horizontal strips: parts (16, 88). It needs no weights, and every
    frame counts.
    """

    def __init__(self, checkpoint: CheckpointFile | None = None, settings: GaitSettings | None = None) -> None:
        self.card = ModelCard(
            stage="gait",
            name="gei",
            origin="weight-free",
            licence="Apache-2.0",
            note="weak: clothing and view change it",
        )

    def embed(self, walks: Sequence[GaitSequence]) -> list[Embedding]:
        return [Embedding(energy_image(walk).reshape(STRIPS, -1), self.card.model_id, len(walk)) for walk in walks]
