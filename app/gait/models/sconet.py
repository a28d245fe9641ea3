"""ScoNet: "Gait Patterns as Biomarkers: A Video-Based Approach for Classifying Scoliosis", MICCAI 2024.

GaitBase with three classes, which screens for scoliosis: it grades spines and does not tell who walks. It is here so
that its files are known for what they are, and is refused wherever people are to be recognised.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from app.gait.models.gaitbase import GaitBase

GRADES = ("negative", "neutral", "positive")


class ScoNet(GaitBase):
    """ScoNet: `embed` returns the scores of the three `GRADES` (n, 3, P) instead of an embedding."""

    family: ClassVar[str] = "sconet"

    def __init__(
        self,
        widths: Sequence[int] = (64, 128, 256, 512),
        depths: Sequence[int] | None = None,
        strides: Sequence[int] = (1, 2, 2, 1),
        parts: int = 16,
        channels: int = 256,
        classes: int | None = len(GRADES),
        input_size: tuple[int, int] = (64, 44),
    ) -> None:
        super().__init__(widths, depths, strides, parts, channels, classes or len(GRADES), input_size)

    def head(self, pooled: Tensor) -> Tensor:
        assert self.classifier is not None
        scores: Tensor = self.classifier(super().head(pooled))
        return scores

    def forward(self, silhouettes: Tensor, lengths: Sequence[int] | None = None) -> tuple[Tensor, Tensor | None]:
        """Return the scores (n, 3, P), twice."""
        scores = self.embed(silhouettes, lengths)
        return scores, scores

    def grades(self, silhouettes: Tensor, lengths: Sequence[int] | None = None) -> Tensor:
        """Return the place in `GRADES` of each walk, int64 (n,)."""
        return self.embed(silhouettes, lengths).mean(2).argmax(1)
