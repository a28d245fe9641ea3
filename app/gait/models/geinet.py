"""GEINet: Shiraga et al., "GEINet: View-Invariant Gait Recognition Using a Convolutional Neural Network", ICB 2016.

Two convolutions over the gait energy image, the mean of a walk's silhouettes. This is written from the paper: there are
no published weights to compare with, so the names of the weights are ours. Two things differ from the paper. The
embedding is the output of the last hidden layer, so that it does not depend on how many people the network was trained
with. And the picture has the size of the other networks here, instead of the paper's 88 rows and 128 columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from app.gait.base import GaitNetwork


class GEINet(GaitNetwork):
    """GEINet; the order of the frames does not matter, and walks may be packed.

    The embedding has one part, the `channels` numbers of the last hidden layer; `widths` are the channels of the two
    convolutions.
    """

    family: ClassVar[str] = "geinet"

    def __init__(
        self,
        widths: Sequence[int] = (18, 45),
        channels: int = 1024,
        classes: int | None = None,
        input_size: tuple[int, int] = (64, 44),
    ) -> None:
        super().__init__(input_size)
        first, second = widths
        self.conv1 = nn.Conv2d(1, first, 7)
        self.conv2 = nn.Conv2d(first, second, 5)
        self.normalise = nn.LocalResponseNorm(5)
        rows, columns = ((((size - 6) // 2 - 4) - 3) // 2 + 1 for size in input_size)
        self.linear = nn.Linear(second * rows * columns, channels)
        self.dropout = nn.Dropout(0.5)
        self.classifier = nn.Linear(channels, classes) if classes is not None else None

    def embed(self, silhouettes: Tensor, lengths: Sequence[int] | None = None) -> Tensor:
        self.check(silhouettes, lengths)
        if lengths is None:
            energy = silhouettes.mean(1, keepdim=True)
        else:
            energy = torch.stack([walk.mean(0, keepdim=True) for walk in torch.split(silhouettes[0], list(lengths))])
        x = self.normalise(F.max_pool2d(F.relu(self.conv1(energy)), 2))
        x = self.normalise(F.max_pool2d(F.relu(self.conv2(x)), 3, 2))
        return F.relu(self.linear(x.flatten(1)))[..., None]

    def forward(self, silhouettes: Tensor, lengths: Sequence[int] | None = None) -> tuple[Tensor, Tensor | None]:
        """Return the embedding (n, C, 1) and, with a classifier, its logits (n, classes, 1)."""
        embedding = self.embed(silhouettes, lengths)
        if self.classifier is None:
            return embedding, None
        return embedding, self.classifier(self.dropout(embedding[..., 0]))[..., None]
