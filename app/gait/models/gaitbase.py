"""GaitBase: Fan et al., "OpenGait: Revisiting Gait Recognition Toward Better Practicality", CVPR 2023, section 4.

A residual network over single frames, the maximum over time, horizontal strips and one linear layer per strip.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from app.gait.base import FramewiseNetwork
from app.gait.layers import BasicBlock, ConvNorm, PartClassifier, PartLinear, pool_strips, residual_stage


class GaitBase(FramewiseNetwork):
    """GaitBase; the published networks have `widths` 64, 128, 256, 512, `published_depths`, 16 parts, 256 channels."""

    family: ClassVar[str] = "gaitbase"
    published_depths: ClassVar[tuple[int, ...]] = (1, 1, 1, 1)

    def __init__(
        self,
        widths: Sequence[int] = (64, 128, 256, 512),
        depths: Sequence[int] | None = None,
        strides: Sequence[int] = (1, 2, 2, 1),
        parts: int = 16,
        channels: int = 256,
        classes: int | None = None,
        input_size: tuple[int, int] = (64, 44),
    ) -> None:
        super().__init__(input_size)
        self.parts = parts
        depths = self.published_depths if depths is None else depths
        self.stem = ConvNorm(1, widths[0])
        self.stages = nn.Sequential()
        for before, width, depth, stride in zip([widths[0], *widths[:-1]], widths, depths, strides, strict=True):
            self.stages.append(residual_stage(BasicBlock, before, width, depth, stride))
        self.linear = PartLinear(parts, widths[-1], channels)
        self.classifier = PartClassifier(parts, channels, classes) if classes is not None else None

    def frame_features(self, frames: Tensor) -> Tensor:
        maps: Tensor = self.stages(F.relu(self.stem(frames), inplace=True))
        return maps

    def head(self, pooled: Tensor) -> Tensor:
        parts: Tensor = self.linear(pool_strips(pooled, self.parts))
        return parts
