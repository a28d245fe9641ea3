"""SkeletonGait: Fan et al., "SkeletonGait: Gait Recognition Using Skeleton Maps", AAAI 2024.

DeepGaitV2 on skeleton maps (`app.gait.heatmaps`); SkeletonGait++ also sees the silhouettes: both have first stages of
their own, whose features are weighed against each other, place by place, and added.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from app.gait.base import TemporalNetwork
from app.gait.layers import BasicBlock, BasicBlockP3d, ConvNorm
from app.gait.models.deepgaitv2 import DeepGaitV2, StripHead


class SkeletonGait(DeepGaitV2):
    """DeepGaitV2 on skeleton maps: `embed` takes float32 (n, t, 2, h, w), 0..1, channel 0 limbs, 1 joints."""

    family: ClassVar[str] = "skeletongait"
    inputs: ClassVar[tuple[str, ...]] = ("heatmaps",)
    maps: ClassVar[tuple[int, ...]] = (2,)


class AttentionFusion(nn.Module):
    """Two feature maps become one, weighed place by place and channel by channel (section "SkeletonGait++").

    Args:
        width: channels of either.
        narrow: channels between the convolutions that find the weights.
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


class SkeletonGaitPlus(TemporalNetwork):
    """SkeletonGait++: `embed` takes float32 (n, t, 3, h, w), 0..1: limbs, joints, silhouette.

    Args:
        widths: channels of the four stages; the stems have those of the first.
        depths: residual blocks of each stage.
        strides: stride of each stage's first block.
        narrow: channels inside of the fusion.
        parts: horizontal strips.
        channels: numbers per strip in the embedding.
        classes: people of the training set, for the classifier; None leaves it out, as embedding needs none.
        use_emb2: embed with the normalised features of the neck (OpenGait's name; published networks do not).
        input_size: height and width of the maps in px.
    """

    family: ClassVar[str] = "skeletongait++"
    inputs: ClassVar[tuple[str, ...]] = ("heatmaps with silhouettes",)
    maps: ClassVar[tuple[int, ...]] = (3,)

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
        self.map_stem, self.map_stage = ConvNorm(2, widths[0]), nn.Sequential()
        self.sil_stem, self.sil_stage = ConvNorm(1, widths[0]), nn.Sequential()
        for stage in (self.map_stage, self.sil_stage):
            stage.append(BasicBlock(widths[0], widths[0], strides[0]))
            stage.extend(BasicBlock(widths[0], widths[0], 1) for _ in range(depths[0] - 1))
        self.fusion = AttentionFusion(widths[0], narrow)
        self.stages = nn.Sequential()
        for (before, width), depth, stride in zip(pairwise(widths), depths[1:], strides[1:], strict=True):
            stage = nn.Sequential(BasicBlockP3d(before, width, stride))
            self.stages.append(stage.extend(BasicBlockP3d(width, width, 1) for _ in range(depth - 1)))
        self.head = StripHead(parts, widths[-1], channels, classes, use_emb2)

    def maps_of(self, walks: Tensor) -> Tensor:
        """Feature maps of walks of one length: (n, t, 3, h, w) -> (n, c, t, h', w')."""
        n, t = walks.shape[:2]
        frames = walks.flatten(0, 1)
        skeleton = self.map_stage(F.relu(self.map_stem(frames[:, :2]), inplace=True))
        silhouette = self.sil_stage(F.relu(self.sil_stem(frames[:, 2:]), inplace=True))
        fused = self.fusion(silhouette, skeleton)
        maps: Tensor = self.stages(fused.reshape(n, t, *fused.shape[1:]).transpose(1, 2))
        return maps

    def embed_walks(self, walks: Tensor) -> Tensor:
        return self.head.embed(self.maps_of(walks))

    def forward(self, walks: Tensor) -> tuple[Tensor, Tensor | None]:
        """The features before the neck (n, C, P) and, with a classifier, its logits (n, classes, P)."""
        features, logits = self.head(self.maps_of(walks))
        return features, logits
