"""GaitTR: Zhang et al., "Spatial Transformer Network on Skeleton-based Gait Recognition", Expert Systems 2023.

Blocks of a convolution over time and self-attention over the joints of each frame, on hand-made features of the joints.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from app.gait.base import JointNetwork
from app.gait.layers import NormalisedConv
from app.gait.models.gaitgraph import JOINTS, PARENTS, moves, require

FEATURES = 10


def joint_features(keypoints: Tensor) -> Tensor:
    """Make the input of GaitTR, float32 (n, t, 10, 17, 1), of COCO-17's x and y, float32 (n, t, 17, 2 or more).

    It is two numbers each, x and y: the joint's place; its place seen from the nose; how far it moves in one frame, and
    in two; its place seen from its parent.
    """
    points = keypoints[..., :2]
    features = [points, points - points[:, :, :1], moves(points, 1), moves(points, 2), points - points[:, :, PARENTS]]
    return torch.cat(features, -1).mT[..., None]


class MishUnit(nn.Module):
    """A convolution over time, Mish, batch normalisation: (n, c, t, 17) -> (n, c', t, 17)."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, (kernel, 1), padding=(kernel // 2, 0))
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        normalised: Tensor = self.norm(F.mish(self.conv(x)))
        return normalised


class JointAttention(nn.Module):
    """Self-attention of the joints of each frame, (n, c, t, 17) -> (n, c', t, 17); keys are a quarter as wide."""

    def __init__(self, inputs: int, outputs: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.widths = (outputs // 4, outputs // 4, outputs)
        self.data_norm = nn.BatchNorm1d(inputs * JOINTS)
        self.project = nn.Conv2d(inputs, sum(self.widths), 1)
        self.mix = nn.Conv2d(outputs, outputs, 1)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        n, c, t, v = x.shape
        x = self.data_norm(x.transpose(2, 3).reshape(n, c * v, t)).reshape(n, c, v, t).transpose(2, 3)
        heads = [part.unflatten(1, (self.heads, -1)) for part in self.project(x).split(self.widths, 1)]
        query, key, value = (head.permute(0, 1, 3, 4, 2) for head in heads)  # (n, heads, t, 17, c)
        attended = F.scaled_dot_product_attention(query, key, value).permute(0, 1, 4, 2, 3).flatten(1, 2)
        normalised: Tensor = self.norm(F.mish(self.mix(attended)))
        return normalised


class TransformerBlock(nn.Module):
    """A convolution over time, then attention over the joints, each with a shortcut, and one around both."""

    def __init__(self, inputs: int, outputs: int, heads: int, kernel: int) -> None:
        super().__init__()
        self.time = MishUnit(inputs, inputs, kernel)
        self.attention = JointAttention(inputs, outputs, heads)
        self.inner: nn.Module = nn.Identity()
        self.outer: nn.Module = nn.Identity()
        if inputs != outputs:
            self.inner = NormalisedConv(nn.Conv2d(inputs, outputs, 1), nn.BatchNorm2d(outputs))
            self.outer = MishUnit(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.time(x) + x
        walked: Tensor = self.attention(y) + self.inner(y) + self.outer(x)
        return walked


class GaitTR(JointNetwork):
    """GaitTR: `embed` takes what `joint_features` makes of keypoints, float32 (n, t, 10, 17, 1); published: 60 frames.

    `heads` are those of the attention, in published networks 8, and `kernel` is how many frames a convolution over time
    sees.
    """

    family: ClassVar[str] = "gaittr"
    inputs: tuple[str, ...] = ("joint features (n, t, 10, 17, 1)",)
    frames: int = 60

    def __init__(
        self, widths: Sequence[int] = (64, 64, 128, 256), heads: int = 8, kernel: int = 9, channels: int = 128
    ) -> None:
        super().__init__()
        self.data_norm = nn.BatchNorm1d(FEATURES * JOINTS)
        self.blocks = nn.Sequential(*(TransformerBlock(*pair, heads, kernel) for pair in pairwise([FEATURES, *widths])))
        self.linear = nn.Conv1d(widths[-1], channels, 1)

    @staticmethod
    def input_of(keypoints: Tensor) -> Tensor:
        return joint_features(keypoints)

    def embed(self, x: Tensor) -> Tensor:
        """Embed walks: (n, t, 10, 17, 1) -> (n, C, 1); `ValueError` for another shape."""
        require(self.family, x, (None, FEATURES, JOINTS, 1))
        n, t = x.shape[:2]
        flat = x[..., 0].permute(0, 3, 2, 1).flatten(1, 2)  # joint by joint
        maps = self.data_norm(flat).reshape(n, JOINTS, FEATURES, t).permute(0, 2, 3, 1)
        embedding: Tensor = self.linear(self.blocks(maps).mean((2, 3))[..., None])
        return embedding
