"""GLN: Hou et al., "Gait Lateral Network: Learning Discriminative and Compact Representations", ECCV 2020.

A frame-wise and a set-wise pipeline as in GaitSet. Lateral connections bring their three stages together from the top
down, and each stage ends in a horizontal pyramid. The second phase of training adds a compact block, which is a
classifier here: the embedding that is evaluated comes before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from app.gait.base import GaitNetwork, pool_walks
from app.gait.layers import ConvPair, PartLinear, pool_pyramid


class CompactBlock(nn.Module):
    """Makes a short feature of all parts, and logits of it (section 3.3): (n, c, parts) -> (n, classes, 1)."""

    def __init__(self, inputs: int, hidden: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(inputs)
        self.dropout = nn.Dropout(dropout)
        self.reduce = nn.Linear(inputs, hidden, bias=False)
        self.reduced_norm = nn.BatchNorm1d(hidden)
        self.linear = nn.Linear(hidden, classes, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.reduce(self.dropout(F.relu(self.norm(x.flatten(1)))))
        logits: Tensor = self.linear(self.reduced_norm(x))
        return logits[..., None]


class GLN(GaitNetwork):
    """GLN of either phase; published for silhouettes of 128 rows.

    The order of the frames does not matter, and walks may be packed. `lateral` are the channels of the lateral
    connections. The embedding has three times the sum of `bins` of parts. `compact` is how many numbers of the compact
    feature the classifier sees, and `dropout` the share of the embedding's numbers that the compact block does not see
    in training. `classes` are for the compact block of the second phase; the first phase has none.
    """

    family: ClassVar[str] = "gln"

    def __init__(
        self,
        widths: Sequence[int] = (32, 64, 128),
        lateral: int = 256,
        bins: Sequence[int] = (16, 8, 4, 2, 1),
        channels: int = 256,
        compact: int = 256,
        dropout: float = 0.9,
        classes: int | None = None,
        input_size: tuple[int, int] = (128, 88),
    ) -> None:
        super().__init__(input_size)
        self.bins = tuple(bins)
        first, second, third = widths
        parts = 3 * sum(bins)
        self.frame1 = ConvPair(1, first, kernel=5)
        self.frame2 = ConvPair(first, second)
        self.frame3 = ConvPair(second, third)
        self.set2 = ConvPair(first, second)
        self.set3 = ConvPair(second, third)
        self.lateral = nn.ModuleList(nn.Conv2d(2 * width, lateral, 1, bias=False) for width in widths)
        self.smooth = nn.ModuleList(nn.Conv2d(lateral, lateral, 3, padding=1, bias=False) for _ in widths)
        self.linear = PartLinear(parts, lateral, channels)
        self.classifier = CompactBlock(parts * channels, compact, classes, dropout) if classes is not None else None

    def embed(self, silhouettes: Tensor, lengths: Sequence[int] | None = None) -> Tensor:
        self.check(silhouettes, lengths)
        n = len(silhouettes)
        frames = self.frame1(silhouettes.flatten(0, 1)[:, None])
        pooled = pool_walks(frames, n, lengths)
        stages = [torch.cat([pooled, pooled], 1)]  # there is no set before the first pooling over time

        frames = F.max_pool2d(frames, 2)
        walks = self.set2(pool_walks(frames, n, lengths))
        frames = self.frame2(frames)
        pooled = pool_walks(frames, n, lengths)
        walks = walks + pooled
        stages.append(torch.cat([pooled, walks], 1))

        walks = self.set3(F.max_pool2d(walks, 2))
        pooled = pool_walks(self.frame3(F.max_pool2d(frames, 2)), n, lengths)
        stages.append(torch.cat([pooled, walks + pooled], 1))

        maps = [lateral(stage) for lateral, stage in zip(self.lateral, stages, strict=True)]
        for upper in (1, 0):
            maps[upper] = maps[upper] + F.interpolate(maps[upper + 1], maps[upper].shape[-2:])
        pyramids = [pool_pyramid(smooth(one), self.bins) for smooth, one in zip(self.smooth, maps, strict=True)]
        embedding: Tensor = self.linear(torch.cat(pyramids, -1))
        return embedding
