"""SkeletonGait: Fan et al., "SkeletonGait: Gait Recognition Using Skeleton Maps", AAAI 2024.

SkeletonGait is DeepGaitV2 on skeleton maps (`app.gait.heatmaps`). SkeletonGait++ also sees the silhouettes: maps and
silhouettes have first stages of their own, whose features are weighed against each other, place by place, and added.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from app.gait.layers import BasicBlock, BasicBlockP3d, ConvNorm, residual_stage
from app.gait.models.deepgaitv2 import DeepGaitV2, StripHead, StripNetwork


class SkeletonGait(DeepGaitV2):
    """DeepGaitV2 on skeleton maps: `embed` takes float32 (n, t, 2, h, w), 0..1, channel 0 limbs, 1 joints."""

    family: ClassVar[str] = "skeletongait"
    inputs: tuple[str, ...] = ("heatmaps",)
    maps: tuple[int, ...] = (2,)


class AttentionFusion(nn.Module):
    """Makes one feature map of two, weighed place by place and channel by channel (section "SkeletonGait++").

    Both have `width` channels, and `narrow` are between the convolutions that find the weights.
    """

    def __init__(self, width: int, narrow: int) -> None:
        super().__init__()
        self.reduce = ConvNorm(2 * width, narrow, kernel=1)
        self.mix = ConvNorm(narrow, narrow)
        self.expand = nn.Conv2d(narrow, 2 * width, 1, bias=False)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        scores = F.relu(self.reduce(torch.cat([first, second], 1)), inplace=True)
        scores = self.expand(F.relu(self.mix(scores), inplace=True))
        weights_first, weights_second = scores.unflatten(1, (2, -1)).softmax(1).unbind(1)
        fused: Tensor = first * weights_first + second * weights_second
        return fused


class SkeletonGaitPlus(StripNetwork):
    """SkeletonGait++: `embed` takes float32 (n, t, 3, h, w), 0..1: limbs, joints, silhouette.

    The arguments are those of `DeepGaitV2`, and `narrow`: channels inside of the fusion.
    """

    family: ClassVar[str] = "skeletongait++"
    inputs: tuple[str, ...] = ("heatmaps with silhouettes",)
    maps: tuple[int, ...] = (3,)

    def __init__(
        self,
        widths: Sequence[int] = (64, 128, 256, 512),
        depths: Sequence[int] = (1, 4, 4, 1),
        strides: Sequence[int] = (1, 2, 2, 1),
        narrow: int = 4,
        parts: int = 16,
        channels: int = 256,
        classes: int | None = None,
        use_emb2: bool = False,
        input_size: tuple[int, int] = (64, 44),
    ) -> None:
        super().__init__(input_size)
        first = widths[0]
        self.map_stem = ConvNorm(2, first)
        self.map_stage = residual_stage(BasicBlock, first, first, depths[0], strides[0])
        self.sil_stem = ConvNorm(1, first)
        self.sil_stage = residual_stage(BasicBlock, first, first, depths[0], strides[0])
        self.fusion = AttentionFusion(first, narrow)
        self.stages = nn.Sequential()
        for (before, width), depth, stride in zip(pairwise(widths), depths[1:], strides[1:], strict=True):
            self.stages.append(residual_stage(BasicBlockP3d, before, width, depth, stride))
        self.head = StripHead(parts, widths[-1], channels, classes, use_emb2)

    def maps_of(self, walks: Tensor) -> Tensor:
        n, t = walks.shape[:2]
        frames = walks.flatten(0, 1)
        skeleton = self.map_stage(F.relu(self.map_stem(frames[:, :2]), inplace=True))
        silhouette = self.sil_stage(F.relu(self.sil_stem(frames[:, 2:]), inplace=True))
        fused = self.fusion(silhouette, skeleton)
        maps: Tensor = self.stages(fused.reshape(n, t, *fused.shape[1:]).transpose(1, 2))
        return maps
