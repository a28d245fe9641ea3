"""GaitSSB: Fan et al., "Learning Gait Representation from Massive Unlabelled Walking Videos: A Benchmark", TPAMI 2023.

A residual network over single frames that learns without names: two views of one walk, each changed in its own way,
should be more alike than views of different walks. A file of that first training holds a projector and a predictor. A
network that was trained further with names has a linear layer of cosines instead of the predictor.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from app.gait.base import EmbeddingNetwork, FramewiseNetwork
from app.gait.layers import PartCosine, PartLinear, PartNorm, ResidualBackbone, pool_pyramid


def projector(parts: int, width: int) -> nn.Sequential:
    """Return two linear layers for each part, each followed by a norm: (n, width, parts) of the same shape."""
    return nn.Sequential(
        PartLinear(parts, width, width), PartNorm(parts, width), nn.ReLU(inplace=True),
        PartLinear(parts, width, width), PartNorm(parts, width),
    )  # fmt: skip


def predictor(parts: int, width: int) -> nn.Sequential:
    """Return the same without the last norm."""
    return nn.Sequential(*list(projector(parts, width))[:4])


def cosines(x: Tensor, y: Tensor) -> Tensor:
    """Return how alike each walk of `x` is to each of `y`, part by part: (n, c, parts), (m, c, parts) -> (n, m, parts).

    Nothing is learnt through `y`.
    """
    x, y = F.normalize(x, dim=1), F.normalize(y.detach(), dim=1)
    return torch.einsum("ncp,mcp->nmp", x, y)


class SelfSupervised(EmbeddingNetwork):
    """A network that learns from two views of each walk, without names."""

    @abstractmethod
    def likeness(self, first: Tensor, second: Tensor) -> list[Tensor]:
        """Compare two views of the same walks (n, t, h, w), in training mode: one or more matrices of cosines (n, n,
        P).

        Row i should be largest at place i: the loss is the cross entropy of each row, see
        `app.lab.training.losses.own_view`.
        """

    def begin(self) -> None:
        """Do what precedes the first step, once the weights are there."""

    def after_step(self, progress: float) -> None:  # most networks have nothing to do
        """Do what follows a step of the training; `progress` is the share of all steps that is done, 0..1."""


class GaitSSB(SelfSupervised, FramewiseNetwork):
    """GaitSSB; published with the defaults, and after further training with `channels` 512.

    Without `channels` it was not trained further with names, and embeds with its predictor.
    """

    family: ClassVar[str] = "gaitssb"

    def __init__(
        self,
        widths: Sequence[int] = (64, 128, 256, 512),
        depths: Sequence[int] = (1, 1, 1, 1),
        strides: Sequence[int] = (1, 2, 2, 1),
        bins: Sequence[int] = (16, 8, 4, 2, 1),
        channels: int | None = None,
        input_size: tuple[int, int] = (64, 44),
    ) -> None:
        super().__init__(input_size)
        self.bins = tuple(bins)
        parts = sum(bins)
        self.backbone = ResidualBackbone(1, widths, depths, strides)
        self.projector = projector(parts, widths[-1])
        self.predictor = predictor(parts, widths[-1]) if channels is None else None
        self.linear = PartCosine(parts, widths[-1], channels) if channels is not None else None

    def frame_features(self, frames: Tensor) -> Tensor:
        maps: Tensor = self.backbone(frames)
        return maps

    def head(self, pooled: Tensor) -> Tensor:
        projected = self.projector(pool_pyramid(pooled, self.bins))
        embedding: Tensor
        if self.linear is not None:
            embedding = self.linear(projected)
        else:
            assert self.predictor is not None
            embedding = F.normalize(self.predictor(projected), dim=1)
        return embedding

    def likeness(self, first: Tensor, second: Tensor) -> list[Tensor]:
        assert self.predictor is not None, "a network that was trained further has no predictor"
        views = []
        for walks in (first, second):
            maps = self.backbone(walks.flatten(0, 1)[:, None])
            projected = self.projector(pool_pyramid(maps.unflatten(0, walks.shape[:2]).amax(1), self.bins))
            views.append((projected, self.predictor(projected)))
        (z1, p1), (z2, p2) = views
        return [cosines(p1, z2), cosines(p2, z1)]
