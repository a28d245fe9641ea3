"""MTSGait: Zheng et al., "Gait Recognition in the Wild with Multi-hop Temporal Switch", ACM MM 2022, section 3.

The plain baseline, in which each convolution but the first also sees other frames: some channels are exchanged with
those of frames several hops of time away, and the results are added.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from app.gait.base import TemporalNetwork
from app.gait.layers import PartClassifier, PartLinear, pool_pyramid

SHARE = 16
"""Of this many channels, one comes from the future and one from the past."""


def switch(x: Tensor, hop: int) -> Tensor:
    """Take the first channels from `hop` frames later and the last channels from `hop` frames earlier.

    From (n, t, c, h, w) to the same shape; beyond the ends of the walk there are zeros.
    """
    count = x.shape[2] // SHARE
    later, same, earlier = torch.split(x, [count, x.shape[2] - 2 * count, count], 2)
    later = F.pad(later, (0, 0) * 3 + (0, hop))[:, hop:]
    earlier = F.pad(earlier, (0, 0) * 3 + (hop, 0))[:, :-hop]
    return torch.cat([later, same, earlier], 2)


class SwitchedConv(nn.Module):
    """A convolution over single frames of the sum of `x` and, for each hop, `x` switched; and a leaky ReLU.

    As convolutions are linear, this is the sum of their results: (n, t, c, h, w) -> (n, t, c', h, w).
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, hops: Sequence[int]) -> None:
        super().__init__()
        self.hops = tuple(hops)
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        for switched in [switch(x, hop) for hop in self.hops]:
            x = x + switched
        y = F.leaky_relu(self.conv(x.flatten(0, 1)), inplace=True)
        return y.reshape(*x.shape[:2], *y.shape[1:])


class MTSGait(TemporalNetwork):
    """MTSGait; the published network has the defaults.

    The `widths` are at least 16. `hops` are the frames between those that exchange channels. Without them it is the
    plain baseline of OpenGait and Gait3D (SMPLGait without 3D), whose checkpoints look the same.
    """

    family: ClassVar[str] = "mtsgait"

    def __init__(
        self,
        widths: Sequence[int] = (64, 128, 256),
        hops: Sequence[int] = (1, 3),
        bins: Sequence[int] = (16, 8, 4, 2, 1),
        channels: int = 256,
        classes: int | None = None,
        input_size: tuple[int, int] = (64, 44),
    ) -> None:
        super().__init__(input_size)
        self.bins = tuple(bins)
        self.convs = nn.ModuleList([SwitchedConv(1, widths[0], 5, ()), SwitchedConv(widths[0], widths[0], 3, hops)])
        for before, width in pairwise(widths):
            self.convs.extend([SwitchedConv(before, width, 3, hops), SwitchedConv(width, width, 3, hops)])
        self.linear = PartLinear(sum(bins), widths[-1], channels)
        self.classifier = PartClassifier(sum(bins), channels, classes) if classes is not None else None

    def embed_walks(self, walks: Tensor) -> Tensor:
        x = walks[:, :, None]
        for index, conv in enumerate(self.convs):
            x = conv(x)
            if index in (1, 3):
                x = F.max_pool3d(x, (1, 2, 2))  # channels stand for its depth
        parts: Tensor = self.linear(pool_pyramid(x.amax(1), self.bins))
        return parts
