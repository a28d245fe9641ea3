"""GaitEdge: Liang et al., "GaitEdge: Beyond Plain End-to-end Gait Recognition for Better Practicality", ECCV 2022.

A small U-Net (Ronneberger et al., MICCAI 2015) sees pictures of a person, and is only asked about the edge of the
silhouette; inside and outside are taken from the silhouette itself. The result is aligned, and GaitGL embeds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from app.gait.base import PictureNetwork
from app.gait.layers import ImageNetColours
from app.gait.models.gaitgl import GaitGL

SIDE = 128
"""Rows and columns in px of the pictures, whatever the shape of the person's box."""


def _convolutions(*widths: int) -> nn.Sequential:
    """Return 3x3 convolutions with bias, each followed by a norm and a ReLU."""
    layers = nn.Sequential()
    for before, width in pairwise(widths):
        layers.extend([nn.Conv2d(before, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)])
    return layers


class UNet(nn.Module):
    """Which places show the body: pictures (t, 3, h, w), normalised, -> the probability (t, 1, h, w)."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        levels = list(zip([3, *widths[:-1]], widths, strict=True))
        self.down = nn.ModuleList(_convolutions(before, width, width) for before, width in levels)
        # From the coarsest level up: a convolution after each doubling, then two on both maps together.
        up = list(pairwise(reversed(widths)))
        self.up = nn.ModuleList(_convolutions(before, width) for before, width in up)
        self.both = nn.ModuleList(_convolutions(2 * width, width, width) for _, width in up)
        self.last = nn.Conv2d(widths[0], 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        levels = []
        for index, convolutions in enumerate(self.down):
            x = convolutions(F.max_pool2d(x, 2) if index else x)
            levels.append(x)
        for up, both, level in zip(self.up, self.both, reversed(levels[:-1]), strict=True):
            x = both(torch.cat([level, up(F.interpolate(x, scale_factor=2.0))], 1))
        return torch.sigmoid(self.last(x))


def sampling(start: float, length: float, outputs: int, size: int) -> Tensor:
    """Return the matrix, float32 (outputs, size), that samples an axis as RoIAlign does (He et al., "Mask R-CNN", ICCV
    2017, section 3).

    A box begins at `start` and is `length` px long, at least 1, on an axis of `size` px. It is divided into equal
    cells, in each of which ``ceil(length / outputs)`` points are averaged.
    """
    length = max(length, 1.0)
    points = -int(-length // outputs)
    steps = (torch.arange(outputs * points, dtype=torch.float32) + 0.5) / points
    places = start + steps * (length / outputs)
    outside = (places < -1) | (places > size)
    places = places.clamp(0, size - 1)
    low = places.floor().long().clamp(max=size - 1)
    share = places - low
    matrix = torch.zeros(len(places), size)
    matrix.scatter_add_(1, low[:, None], (1 - share)[:, None])
    matrix.scatter_add_(1, (low + 1).clamp(max=size - 1)[:, None], share[:, None])
    matrix[outside] = 0
    return matrix.reshape(outputs, points, size).mean(1)


def aligned(pictures: Tensor, silhouettes: Tensor, ratios: Tensor, size: tuple[int, int]) -> Tensor:
    """Cut the body out of pictures, float32 (t, h, w), and bring it to `size` (rows, columns), as silhouettes are
    aligned.

    `silhouettes`, of the same shape, say where the body is; `ratios` (t,) are width divided by height of the person's
    box.
    """
    rows, columns = size
    t, height, width = pictures.shape
    margin = columns // 2
    padded = F.pad(pictures, (margin, margin))
    silhouettes = silhouettes.float()  # bfloat16 cannot count the pixels of a body
    filled = silhouettes.sum(2) >= 1
    # A picture without a body is taken whole.
    top = torch.where(filled.any(1), filled.int().argmax(1), 0)
    bottom = torch.where(filled.any(1), height - filled.flip(1).int().argmax(1), height)
    running = silhouettes.sum(1).cumsum(1)
    centre = (running < running[:, -1:] / 2).sum(1)
    found = []
    for index in range(t):
        ratio = float(ratios[index])
        first, last, middle = (float(edge[index]) for edge in (top, bottom, centre))
        extra = max(columns - rows * ratio, 0.0) / 2 / (rows * ratio / width)
        half = ((last - first) * width / height) / 2 + extra
        left = min(max(middle + margin - half, 0.0), float(padded.shape[2]))
        right = min(max(middle + margin + half, 0.0), float(padded.shape[2]))
        down = sampling(first, last - first, rows, height)
        across = sampling(left, right - left, columns, padded.shape[2])
        found.append(down.to(pictures) @ padded[index] @ across.to(pictures).T)
    return torch.stack(found)


class GaitEdge(PictureNetwork):
    """GaitEdge: `embed` takes pictures, silhouettes, and the shapes of the boxes that they were cut from.

    Args:
        unet_widths: channels of the levels of the U-Net.
        widths, depth, strips, parts, channels, neck: see `app.gait.models.gaitgl.GaitGL`.
    """

    family: ClassVar[str] = "gaitedge"
    inputs: tuple[str, ...] = ("box ratios", "pictures", "silhouettes of whole boxes")

    def __init__(
        self,
        unet_widths: Sequence[int] = (16, 32, 64, 128),
        widths: Sequence[int] = (32, 64, 128, 128),
        depth: int = 1,
        strips: int = 8,
        parts: int = 64,
        channels: int = 128,
        neck: bool = False,
        classes: int | None = None,
        input_size: tuple[int, int] = (SIDE, SIDE),
    ) -> None:
        super().__init__(input_size)
        self.segmenter = UNet(unet_widths)
        self.gait = GaitGL(widths, depth, strips, parts, channels, neck, classes)
        self.colours = ImageNetColours()

    def silhouettes_of(self, ratios: Tensor, pictures: Tensor, silhouettes: Tensor) -> Tensor:
        """Return what GaitGL sees: (t,), (t, 3, 128, 128), (t, 128, 128) -> (t, 64, 44)."""
        probability = self.segmenter(self.colours(pictures))[:, 0]
        grown = F.max_pool2d(silhouettes[:, None], 3, 1, 1)[:, 0] > 0.5
        shrunk = -F.max_pool2d(-silhouettes[:, None], 3, 1, 1)[:, 0] > 0.5
        mixed = probability * (grown ^ shrunk) + silhouettes * shrunk
        return aligned(mixed, silhouettes, ratios, self.gait.input_size)

    def embed(self, ratios: Tensor, pictures: Tensor, silhouettes: Tensor, **options: Any) -> Tensor:
        """Embed walks of one length: float32 (n, C, P).

        `ratios` (n, t) are width divided by height of the boxes; `pictures` (n, t, 3, 128, 128) are RGB, 0..1, without
        the boxes' shape; `silhouettes` (n, t, 128, 128), 0..1, are of the same boxes.

        Raises:
            ValueError: tensors of another size, or that do not belong together.
        """
        seen = self._aligned(ratios, pictures, silhouettes)
        embedding: Tensor = self.gait.embed(seen, **options)
        return embedding

    def _aligned(self, ratios: Tensor, pictures: Tensor, silhouettes: Tensor) -> Tensor:
        self.check(silhouettes)
        n, t = silhouettes.shape[:2]
        if ratios.shape != (n, t) or pictures.shape != (n, t, 3, *self.input_size):
            raise ValueError(
                f"gaitedge takes ratios (n, t) and pictures (n, t, 3, {SIDE}, {SIDE}) for silhouettes (n, t, {SIDE}, "
                f"{SIDE}), not {tuple(ratios.shape)} and {tuple(pictures.shape)} for {tuple(silhouettes.shape)}"
            )
        flat = self.silhouettes_of(ratios.flatten(), pictures.flatten(0, 1), silhouettes.flatten(0, 1))
        return flat.reshape(n, t, *flat.shape[1:])

    def forward(self, ratios: Tensor, pictures: Tensor, silhouettes: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the embedding (n, C, P) and, with a classifier, its logits (n, classes, P)."""
        embedding, logits = self.gait(self._aligned(ratios, pictures, silhouettes))
        return embedding, logits
