"""CSTL: Huang et al., "Context-Sensitive Temporal Feature Learning for Gait Recognition", ICCV 2021.

Features of horizontal strips of single frames go two ways through time: a mixture of three temporal scales whose
    weights
depend on the context, and for each strip the frame in which it shows best. This is written from the paper: no weights
were at hand to compare with, so the names of the weights are ours. Where the paper leaves something open (sizes of the
hidden layers, how the best frame is learnt), this is our reading of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from app.gait.base import TemporalNetwork
from app.gait.layers import PartClassifier, PartLinear, PlainBackbone, pool_strips


class PartConv(nn.Module):
    """A convolution over time of its own for each part: (n, c, t, parts) -> (n, c', t, parts)."""

    def __init__(self, parts: int, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(parts * inputs, parts * outputs, kernel, padding=kernel // 2, groups=parts)

    def forward(self, x: Tensor) -> Tensor:
        n, _, t, parts = x.shape
        y: Tensor = self.conv(x.permute(0, 3, 1, 2).reshape(n, -1, t))
        return y.reshape(n, parts, -1, t).permute(0, 2, 3, 1)


class TemporalScales(nn.Module):
    """Multi-scale temporal extraction (section 3.2): each frame alone, its surroundings, and the whole walk.

    (n, c, t, parts) -> three of the same shape.
    """

    def __init__(self, parts: int, channels: int) -> None:
        super().__init__()
        self.near = PartConv(parts, channels, channels, 3)
        self.far = PartConv(parts, channels, channels, 3)
        self.attention = PartConv(parts, channels, channels, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        near = F.leaky_relu(self.near(x))
        weights = torch.sigmoid(self.attention(x))
        whole = (weights * x).sum(2, keepdim=True) / weights.sum(2, keepdim=True)
        return x, near + F.leaky_relu(self.far(near)), whole.expand_as(x)


class AdaptiveAggregation(nn.Module):
    """Adaptive temporal aggregation (section 3.3): weighs each scale by what all scales show, and takes the maximum.

    Three of (n, c, t, parts) -> (n, 3 c, parts).
    """

    def __init__(self, parts: int, channels: int, hidden: int) -> None:
        super().__init__()
        self.squeeze = PartConv(parts, 3 * channels, hidden, 1)
        self.expand = PartConv(parts, hidden, 3 * channels, 1)

    def forward(self, scales: Sequence[Tensor]) -> Tensor:
        x = torch.cat(tuple(scales), 1)
        weights = torch.sigmoid(self.expand(F.leaky_relu(self.squeeze(x))))
        return (weights * x).amax(2)


class SalientFrames(nn.Module):
    """Salient spatial features (section 3.4): takes for each part the frame that scores highest.

    (n, c, t, parts) -> (n, c, parts). The feature is multiplied by its score, so that training reaches the scores.
    """

    def __init__(self, parts: int, channels: int) -> None:
        super().__init__()
        self.score = PartConv(parts, channels, 1, 3)

    def forward(self, x: Tensor) -> Tensor:
        score, frame = torch.sigmoid(self.score(x)).max(2, keepdim=True)
        chosen: Tensor = x.gather(2, frame.expand(-1, x.shape[1], -1, -1)) * score
        return chosen[:, :, 0]


class CSTL(TemporalNetwork):
    """CSTL; the embedding has twice `parts`: the temporal features of all, then the salient ones.

    Args:
        widths: channels of the pairs of convolutions over single frames.
        hidden: channels of the bottleneck that weighs the temporal scales.
    """

    family: ClassVar[str] = "cstl"

    def __init__(
        self,
        widths: Sequence[int] = (32, 64, 128),
        parts: int = 16,
        hidden: int = 32,
        channels: int = 128,
        classes: int | None = None,
        input_size: tuple[int, int] = (64, 44),
    ) -> None:
        super().__init__(input_size)
        self.parts = parts
        width = widths[-1]
        self.backbone = PlainBackbone(widths, [1] * len(widths))
        self.scales = TemporalScales(parts, width)
        self.aggregation = AdaptiveAggregation(parts, width, hidden)
        self.salient = SalientFrames(parts, width)
        self.temporal_linear = PartLinear(parts, 3 * width, channels)
        self.salient_linear = PartLinear(parts, width, channels)
        self.classifier = PartClassifier(2 * parts, channels, classes) if classes is not None else None

    def embed_walks(self, walks: Tensor) -> Tensor:
        strips = pool_strips(self.backbone(walks.flatten(0, 1)[:, None]), self.parts)
        strips = strips.reshape(*walks.shape[:2], *strips.shape[1:]).transpose(1, 2)  # (n, c, t, parts)
        temporal = self.temporal_linear(self.aggregation(self.scales(strips)))
        return torch.cat([temporal, self.salient_linear(self.salient(strips))], 2)
