"""Several gait networks that look at the same walk, their embeddings side by side.

A fusion is a folder ``NAME.fusion`` that holds the checkpoints of two or more gait models and nothing else. The parts
of their embeddings, each brought to unit length, become the parts of one embedding. A distance is the mean over parts,
so a model counts as much as it has parts. This is late fusion; SkeletonGait++ (Fan et al., AAAI 2024) fuses
silhouettes and joints earlier.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from app.errors import CheckpointError, counted
from app.gait.embeddings import embedding
from app.settings import GaitSettings
from app.stages import BodyEstimator, GaitModel, UsesBody
from app.types import Embedding, Floats, GaitSequence
from app.weights.checkpoints import FUSION, CheckpointFile, members_of
from app.weights.registry import gait_models


def accepts(path: Path) -> bool:
    """Whether `path` is a folder of a fusion."""
    return path.suffix == FUSION and path.is_dir()


@gait_models.register(
    "fusion",
    licence="those of its files",
    about=f"a folder NAME{FUSION} with the checkpoints of several gait models, whose embeddings stand side by side",
    accepts=accepts,
)
class Fusion:
    """Embeds walks with every gait model of a folder; all are built with `settings`.

    Raises:
        CheckpointError: the folder does not hold two gait checkpoints, or one of them cannot be used.
    """

    def __init__(self, checkpoint: CheckpointFile | None, settings: GaitSettings) -> None:
        if checkpoint is None or not accepts(checkpoint.path):
            raise CheckpointError(
                f"The gait model 'fusion' needs a folder NAME{FUSION}, not "
                f"{checkpoint.path if checkpoint else 'nothing'}."
            )
        files = members_of(checkpoint.path)
        if len(files) < 2:
            raise CheckpointError(
                f"{checkpoint.path} holds {counted(len(files), 'checkpoint')}. A fusion needs those "
                "of at least two gait models."
            )
        self.members: tuple[GaitModel, ...] = tuple(
            gait_models.recognise(file).build(CheckpointFile(file, checkpoint.origin), settings) for file in files
        )
        """The models, in the order of their files' names."""
        cards = [member.card for member in self.members]
        self.card = checkpoint.card(
            "gait",
            checkpoint.path.stem,
            " and ".join(sorted({card.licence for card in cards})),
            " and ".join(dict.fromkeys(card.runtime for card in cards)),
            " and ".join(card.name for card in cards),
            keypoints=any(card.keypoints for card in cards),
            parts=any(card.parts for card in cards),
            body=any(card.body for card in cards),
            pictures=any(card.pictures for card in cards),
        )

    @property
    def body(self) -> BodyEstimator | None:
        """What fits bodies to walks, for those of the models that need them."""
        return next((member.body for member in self.members if isinstance(member, UsesBody)), None)

    @body.setter
    def body(self, estimator: BodyEstimator | None) -> None:
        for member in self.members:
            if isinstance(member, UsesBody):
                member.body = estimator

    def embed(self, walks: Sequence[GaitSequence]) -> list[Embedding]:
        """Return one embedding per walk: the parts (P, C) of all models, P of all together, C the largest of theirs.

        Where every model sees a walk in pieces, there are as many `pieces` as the first model has; each goes with the
        pieces of the others at the same time.
        """
        return [self._joined(own) for own in zip(*(member.embed(walks) for member in self.members), strict=True)]

    def _joined(self, own: Sequence[Embedding]) -> Embedding:
        pieces = None
        seen = [each.pieces for each in own]
        if seen[0] is not None and all(each is not None for each in seen):
            count = len(seen[0])
            places = (np.linspace(0, len(each) - 1, count).round().astype(int) for each in seen if each is not None)
            pieces = _side_by_side([each[at] for each, at in zip(seen, places, strict=True) if each is not None])
        return embedding(_side_by_side([each.parts for each in own]), self.card, own[0].frames, pieces)


def _side_by_side(parts: Sequence[Floats]) -> Floats:
    """Return parts (..., P, C) of several models as those of one, each of unit length."""
    widest = max(each.shape[-1] for each in parts)
    lengths = [np.linalg.norm(each, axis=-1, keepdims=True) for each in parts]
    return np.concatenate(
        [
            np.pad(
                each / np.maximum(length, np.finfo(np.float32).tiny),
                [(0, 0)] * (each.ndim - 1) + [(0, widest - each.shape[-1])],
            )
            for each, length in zip(parts, lengths, strict=True)
        ],
        axis=-2,
        dtype=np.float32,
    )
