"""GaitStrips: a small network of our own that looks at frames cheaply and at the walk as a whole thoroughly.

Like GaitSet (Chao et al., AAAI 2019) it takes a walk as a set of frames, and like GaitBase (Fan et al., CVPR 2023) it
ends in horizontal strips with a linear layer for each. Two things differ. Time is pooled early, so the wider layers run
once for a walk and not once for a frame, which is a tenth of the work. And it is pooled by the maximum and by the mean,
side by side: the maximum says what was ever seen, the mean says for how long. With `temporal`, frames are first
compared with their neighbours, as in the temporal convolution of DeepGaitV2's blocks (Fan et al. 2023), so that the
network sees how a body moves and not only how it looks. With `depth`, such residual blocks over space and time follow.
Each part of the embedding has unit length.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from app.gait.base import GaitNetwork
from app.gait.layers import BasicBlock, ConvNorm, NormalisedConv, PartClassifier, PartLinear, pool_strips


class GaitStrips(GaitNetwork):
    """From silhouettes (n, t, 64, 44) to an embedding (n, C, P).

    Args:
        frame_widths: channels of the stem and of the residual blocks that see single frames; each halves the picture.
        set_widths: channels of the residual blocks that see the walk; from the second on they halve its columns.
        temporal: whether each frame is compared with the one before and the one after. Without it the order of the
            frames does not matter.
        depth: residual blocks over space and time before time is pooled.
    """

    family: ClassVar[str] = "gaitstrips"

    def __init__(
        self,
        frame_widths: Sequence[int] = (24, 64),
        set_widths: Sequence[int] = (128, 192),
        parts: int = 16,
        channels: int = 128,
        classes: int | None = None,
        input_size: tuple[int, int] = (64, 44),
        temporal: bool = False,
        depth: int = 0,
    ) -> None:
        super().__init__(input_size)
        self.parts = parts
        self.stem = ConvNorm(1, frame_widths[0], kernel=5, stride=2)
        self.frame_blocks = nn.Sequential(*(BasicBlock(a, b, stride=2) for a, b in pairwise(frame_widths)))
        width = frame_widths[-1]
        self.temporal = _over_time(width) if temporal else None
        self.moving_blocks = nn.ModuleList(_MovingBlock(width) for _ in range(depth))
        self.set_blocks = nn.Sequential()
        for before, width in pairwise([2 * frame_widths[-1], *set_widths]):
            self.set_blocks.append(BasicBlock(before, width, stride=(1, 2) if len(self.set_blocks) else 1))
        self.linear = PartLinear(parts, set_widths[-1], channels)
        self.classifier = PartClassifier(parts, channels, classes) if classes is not None else None

    def embed(self, silhouettes: Tensor, lengths: Sequence[int] | None = None) -> Tensor:
        self.check(silhouettes, lengths)
        n, t = silhouettes.shape[:2]
        maps = silhouettes.flatten(0, 1)[:, None].contiguous(memory_format=torch.channels_last)
        maps = self.frame_blocks(F.relu(self.stem(maps), inplace=True))
        if lengths is None:
            walks = [maps.reshape(n, t, *maps.shape[1:])]
        else:
            walks = [walk[None] for walk in maps.split(list(lengths))]
        if self.temporal is not None:
            walks = [F.relu(walk + _along_time(self.temporal, walk), inplace=True) for walk in walks]
        for block in self.moving_blocks:
            walks = [block(walk) for walk in walks]
        pooled = torch.cat([torch.cat([walk.amax(1), walk.mean(1)], 1) for walk in walks])
        pooled = pooled.contiguous(memory_format=torch.channels_last)
        parts: Tensor = self.linear(pool_strips(self.set_blocks(pooled), self.parts))
        return F.normalize(parts.float(), dim=1)


class _MovingBlock(nn.Module):
    """A residual block over space, then over time, as P3D's (Qiu et al. 2017) in DeepGaitV2. It begins as nothing."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.spatial = ConvNorm(width, width)
        self.temporal = _over_time(width)
        nn.init.zeros_(cast("nn.BatchNorm2d", self.temporal.norm).weight)

    def forward(self, walks: Tensor) -> Tensor:
        maps = walks.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        spatial = F.relu(self.spatial(maps), inplace=True).reshape(walks.shape)
        return F.relu(walks + _along_time(self.temporal, spatial), inplace=True)


def _over_time(width: int) -> NormalisedConv:
    conv = nn.Conv2d(width, width, (3, 1), padding=(1, 0), bias=False)
    return NormalisedConv(conv, nn.BatchNorm2d(width))


def _along_time(layer: NormalisedConv, walks: Tensor) -> Tensor:
    """Apply a convolution over time alone to walks of one length, (n, t, c, h, w); the shape stays."""
    n, t, c, h, w = walks.shape
    # Rows and columns of the maps are one axis.
    flat: Tensor = layer(walks.reshape(n, t, c, h * w).transpose(1, 2))
    return flat.transpose(1, 2).reshape(walks.shape)
