"""GaitPart: Fan et al., "GaitPart: Temporal Part-Based Model for Gait Recognition", CVPR 2020.

Focal convolutions over single frames (section 3.2), horizontal strips, and for each strip a micro-motion capture
module that looks at short windows of time (section 3.3).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from app.gait.base import TemporalNetwork
from app.gait.layers import PartLinear, PlainBackbone, pool_strips


class MicroMotion(nn.Module):
    """A micro-motion template builder: pools windows of `window` frames and weighs each channel of each.

    The window's mean + maximum, times a gate from a bottleneck of two convolutions over time, the second `kernel`
    frames long: (n, c, t) -> (n, c, t).
    """

    def __init__(self, channels: int, hidden: int, window: int, kernel: int) -> None:
        super().__init__()
        self.window = window
        self.squeeze = nn.Conv1d(channels, hidden, 3, padding=1, bias=False)
        self.expand = nn.Conv1d(hidden, channels, kernel, padding=kernel // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate = torch.sigmoid(self.expand(F.leaky_relu(self.squeeze(x), inplace=True)))
        size, margin = self.window, self.window // 2
        return gate * (F.avg_pool1d(x, size, 1, margin) + F.max_pool1d(x, size, 1, margin))


class GaitPart(TemporalNetwork):
    """GaitPart; the published networks have `widths` 32, 64, 128 (CASIA-B) or 32, 64, 128, 256 (GREW).

    It is trained without a classifier.

    Args:
        strips: strips of each pair's focal convolutions, 1 for ordinary ones; None stands for the paper's, which are
            1, 4, 8 for three pairs and 1, 1, 8, 8 for four.
        hidden: channels of the bottleneck over time; None stands for the paper's quarter.
    """

    family: ClassVar[str] = "gaitpart"

    def __init__(
        self,
        widths: Sequence[int] = (32, 64, 128),
        strips: Sequence[int] | None = None,
        parts: int = 16,
        hidden: int | None = None,
        channels: int = 128,
        input_size: tuple[int, int] = (64, 44),
    ) -> None:
        super().__init__(input_size)
        self.parts = parts
        width = widths[-1]
        hidden = width // 4 if hidden is None else hidden
        self.backbone = PlainBackbone(
            widths, {4: (1, 1, 8, 8)}.get(len(widths), (1, 4, 8)) if strips is None else strips
        )
        self.short = nn.ModuleList(MicroMotion(width, hidden, window=3, kernel=1) for _ in range(parts))
        self.long = nn.ModuleList(MicroMotion(width, hidden, window=5, kernel=3) for _ in range(parts))
        self.linear = PartLinear(parts, width, channels)

    def embed_walks(self, walks: Tensor) -> Tensor:
        strips = pool_strips(self.backbone(walks.flatten(0, 1)[:, None]), self.parts)
        strips = strips.reshape(*walks.shape[:2], *strips.shape[1:]).permute(3, 0, 2, 1)  # (P, n, c, t)
        motions = [short(x) + long(x) for x, short, long in zip(strips, self.short, self.long, strict=True)]
        embedding: Tensor = self.linear(torch.stack([motion.amax(-1) for motion in motions], -1))
        return embedding
