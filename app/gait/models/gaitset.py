"""GaitSet: Chao et al., "GaitSet: Regarding Gait as a Set for Cross-View Gait Recognition", AAAI 2019.

Convolutions over single frames; the maximum over time after each of three blocks feeds a second pipeline (multilayer
global pipeline), and both end in a horizontal pyramid.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from app.gait.base import GaitNetwork, pool_walks
from app.gait.layers import ConvPair, PartLinear, pool_pyramid


class GaitSet(GaitNetwork):
    """GaitSet; the published networks have `widths` 32, 64, 128 (CASIA-B) or 64, 128, 256 (OU-MVLP).

    The order of the frames does not matter, and walks may be packed. It is trained without a classifier. The embedding
    has twice the sum of `bins` of parts.
    """

    family: ClassVar[str] = "gaitset"

    def __init__(
        self,
        widths: Sequence[int] = (32, 64, 128),
        bins: Sequence[int] = (16, 8, 4, 2, 1),
        channels: int = 256,
        input_size: tuple[int, int] = (64, 44),
    ) -> None:
        super().__init__(input_size)
        self.bins = tuple(bins)
        first, second, third = widths
        self.frame1 = ConvPair(1, first, kernel=5)
        self.frame2 = ConvPair(first, second)
        self.frame3 = ConvPair(second, third)
        self.set2 = ConvPair(first, second)
        self.set3 = ConvPair(second, third)
        self.linear = PartLinear(2 * sum(bins), third, channels)

    def embed(self, silhouettes: Tensor, lengths: Sequence[int] | None = None) -> Tensor:
        self.check(silhouettes, lengths)
        n = len(silhouettes)
        frames = F.max_pool2d(self.frame1(silhouettes.flatten(0, 1)[:, None]), 2)
        walks = F.max_pool2d(self.set2(pool_walks(frames, n, lengths)), 2)
        frames = F.max_pool2d(self.frame2(frames), 2)
        walks = self.set3(walks + pool_walks(frames, n, lengths))
        pooled = pool_walks(self.frame3(frames), n, lengths)
        pyramids = [pool_pyramid(maps, self.bins) for maps in (pooled, walks + pooled)]
        embedding: Tensor = self.linear(torch.cat(pyramids, -1))
        return embedding
