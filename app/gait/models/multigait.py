"""MultiGait++: "MultiGait++", AAAI 2025.

DeepGaitV2's pseudo-3D network on several kinds of pictures: silhouettes, maps of body parts, optical flow. The first
features of two groups of pictures are split into what both show and what only one of them shows. These three go on by
themselves for two stages, and are joined for the last.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from app.gait.layers import BasicBlock, BasicBlockP3d, ConvNorm, each_frame, residual_stage
from app.gait.models.deepgaitv2 import StripHead, StripNetwork

KINDS = {
    (1, 1): "silhouettes with parsing",
    (1, 3): "silhouettes with flow",
    (2, 3): "silhouettes with parsing and flow",
}
"""What the published networks take, by the number of maps of both groups. Flow has three maps."""


class Scores(nn.Sequential):
    """Three 1x1 convolutions that score every channel at every place: (t, c, h, w) of the same shape."""

    def __init__(self, width: int, narrow: int) -> None:
        super().__init__(
            ConvNorm(width, narrow, kernel=1),
            nn.ReLU(inplace=True),
            ConvNorm(narrow, narrow, kernel=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(narrow, width, 1, bias=False),
        )


class Split(nn.Module):
    """Splits two feature maps (t, c, h, w) into what only the first shows, what both show, and what only the second
    shows."""

    def __init__(self, width: int, narrow: int) -> None:
        super().__init__()
        self.first, self.second = Scores(width, narrow), Scores(width, narrow)

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        of_first, of_second = torch.stack([self.first(first), self.second(second)]).softmax(0).unbind(0)
        least = torch.minimum(of_first, of_second)
        low, high = least.amin(1, keepdim=True), least.amax(1, keepdim=True)
        common = ((least - low) / (high - low + 1e-6)).clamp(0, 1)
        own = 1 - common
        return first * own * of_first, (first + second) / 2 * common, second * own * of_second


class MultiGait(StripNetwork):
    """MultiGait++: `embed` takes float32 (n, t, maps, h, w), 0..1: the maps of the first group, then the second's.

    How the authors coded maps of body parts and flow as pictures is not published. Here, labels of body parts 0..11 are
    divided by 255 as everything else.

    `groups` is how many maps both groups have (see `KINDS`). `widths`, `depths` and `strides` are those of a
    `ResidualBackbone`, `narrow` are the channels inside of the scores, and there are `channels` numbers for each of
    `parts` horizontal strips.
    """

    family: ClassVar[str] = "multigait++"
    inputs: tuple[str, ...] = ("silhouettes with parsing",)
    maps: tuple[int, ...] = (2,)

    def __init__(
        self,
        groups: tuple[int, int] = (1, 1),
        widths: Sequence[int] = (64, 128, 256, 512),
        depths: Sequence[int] = (1, 2, 2, 1),
        strides: Sequence[int] = (1, 2, 2, 1),
        narrow: int = 4,
        parts: int = 16,
        channels: int = 256,
        classes: int | None = None,
        input_size: tuple[int, int] = (64, 44),
    ) -> None:
        super().__init__(input_size)
        self.groups = (groups[0], groups[1])
        self.maps = (sum(groups),)
        self.inputs = (KINDS.get(self.groups, f"{groups[0]} maps with {groups[1]} others"),)
        first = widths[0]
        self.stems = nn.ModuleList(ConvNorm(group, first) for group in groups)
        self.stages = nn.ModuleList(residual_stage(BasicBlock, first, first, depths[0], strides[0]) for _ in groups)
        self.split = Split(first, narrow)
        self.streams = nn.ModuleList(
            nn.Sequential(
                residual_stage(BasicBlockP3d, first, widths[1], depths[1], strides[1]),
                residual_stage(BasicBlockP3d, widths[1], widths[2], depths[2], strides[2]),
            )
            for _ in range(3)
        )
        self.join = nn.Conv2d(3 * widths[2], widths[2], 1, bias=False)
        self.last = residual_stage(BasicBlockP3d, widths[2], widths[3], depths[3], strides[3])
        self.head = StripHead(parts, widths[-1], channels, classes, use_emb2=False)

    def maps_of(self, walks: Tensor) -> Tensor:
        n, t = walks.shape[:2]
        groups = torch.split(walks.flatten(0, 1), list(self.groups), 1)
        first = [
            stage(F.relu(stem(group), inplace=True))
            for stem, stage, group in zip(self.stems, self.stages, groups, strict=True)
        ]
        streams = [
            stream(part.reshape(n, t, *part.shape[1:]).transpose(1, 2))
            for stream, part in zip(self.streams, self.split(*first), strict=True)
        ]
        maps: Tensor = self.last(each_frame(self.join, torch.cat(streams, 1)))
        return maps
