"""GaitGL: Lin et al., "Gait Recognition via Effective Global-Local Feature Representation and Local Temporal
Aggregation", ICCV 2021.

Convolutions over space and time, of the whole picture and of its horizontal strips side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from app.gait.base import TemporalNetwork
from app.gait.layers import PartClassifier, PartLinear


class GlobalLocal(nn.Module):
    """A 3D convolution of the whole maps and another of each of `strips` strips, (n, c, t, h, w) -> (n, c', t, h, w).

    The two results are added or, with `stack`, laid one above the other, which makes h twice as high.
    """

    def __init__(self, inputs: int, outputs: int, strips: int, stack: bool) -> None:
        super().__init__()
        self.strips = strips
        self.stack = stack
        self.whole = nn.Conv3d(inputs, outputs, 3, padding=1, bias=False)
        self.local = nn.Conv3d(inputs, outputs, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        whole = F.leaky_relu(self.whole(x), inplace=True)
        local = torch.cat([self.local(strip) for strip in x.chunk(self.strips, 3)], 3)
        local = F.leaky_relu(local, inplace=True)
        return torch.cat([whole, local], 3) if self.stack else whole + local


class GaitGL(TemporalNetwork):
    """GaitGL; the published networks have `widths` 32, 64, 128, 128 (CASIA-B) or `depth` 2 and up to 256 channels.

    The widths are those of the stem and of the three global-local blocks, each of which has `depth` convolutions. The
    local ones see `strips` one by one. With a `neck` the batch normalisation belongs to the classifier (BNNeck), and
    the embedding comes before it; else the embedding is the normalised one.
    """

    family: ClassVar[str] = "gaitgl"

    def __init__(
        self,
        widths: Sequence[int] = (32, 64, 128, 128),
        depth: int = 1,
        strips: int = 8,
        parts: int = 64,
        channels: int = 128,
        neck: bool = False,
        classes: int | None = None,
        input_size: tuple[int, int] = (64, 44),
    ) -> None:
        super().__init__(input_size)
        self.parts = parts
        stem = widths[0]
        self.stem = nn.ModuleList(
            nn.Conv3d(stem if index else 1, stem, 3, padding=1, bias=False) for index in range(depth)
        )
        self.temporal = nn.Conv3d(stem, stem, (3, 1, 1), stride=(3, 1, 1), bias=False)
        self.blocks = nn.ModuleList()
        for index, (before, width) in enumerate(pairwise(widths)):
            block = nn.Sequential()
            for step in range(depth):
                last = (index, step) == (2, depth - 1)
                block.append(GlobalLocal(width if step else before, width, strips, stack=last))
            self.blocks.append(block)
        self.power = nn.Parameter(torch.full((1,), 6.5))
        self.linear = PartLinear(parts, widths[-1], channels)
        self.norm = None if neck else nn.BatchNorm1d(channels)
        self.logits = PartLinear(parts, channels, classes) if classes is not None and not neck else None
        self.classifier = PartClassifier(parts, channels, classes) if classes is not None and neck else None

    def embed_walks(self, walks: Tensor) -> Tensor:
        repeats = (walks.shape[1] + 2) // walks.shape[1]  # the convolution over time takes three frames at a step
        x = walks.repeat(1, repeats, 1, 1)[:, None]
        for conv in self.stem:
            x = F.leaky_relu(conv(x), inplace=True)
        x = F.leaky_relu(self.temporal(x), inplace=True)
        x = F.max_pool3d(self.blocks[0](x), (1, 2, 2))
        x = self.blocks[2](self.blocks[1](x)).amax(2)
        x = x.reshape(*x.shape[:2], self.parts, -1).clamp(min=1e-6)
        x = self.linear(x.pow(self.power).mean(-1).pow(1 / self.power))  # generalised mean
        embedding: Tensor = x if self.norm is None else self.norm(x)
        return embedding

    def forward(self, silhouettes: Tensor, lengths: Sequence[int] | None = None) -> tuple[Tensor, Tensor | None]:
        """Return the embedding (n, C, P) and, with a classifier, its logits (n, classes, P)."""
        embedding = self.embed(silhouettes, lengths)
        classifier = self.logits if self.classifier is None else self.classifier
        return embedding, None if classifier is None else classifier(embedding)
