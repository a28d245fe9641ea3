"""BiggerGait: "BiggerGait: Unlocking Gait Recognition with Layer-wise Representations from Large Vision Models",
NeurIPS 2025.

Pictures of a person go through a large vision transformer, DINOv2 (Oquab et al., TMLR 2024). What its layers show is
brought down to a few maps, without the background, and a GaitBase embeds the maps of each group of layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from app.gait.base import FramewiseNetwork
from app.gait.layers import ImageNetColours, PartClassifier, PartLinear, ResidualBackbone, pool_strips

PATCH = 14
"""Rows and columns of a patch in px."""
_SEEN = (448, 224)
"""Size in px of the picture that the transformer sees."""
_PATCHES = (_SEEN[0] // PATCH, _SEEN[1] // PATCH)
"""Rows and columns of patches."""
_MAPS = (64, 32)
"""Size of the maps that GaitBase sees."""
_EPSILON = 1e-6


class VisionBlock(nn.Module):
    """A block of a vision transformer with scaled branches: (n, tokens, c) of the same shape."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width, _EPSILON), nn.LayerNorm(width, _EPSILON)
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.project = nn.Linear(width, width)
        self.scale1, self.scale2 = nn.Parameter(torch.ones(width)), nn.Parameter(torch.ones(width))
        self.expand, self.reduce = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        layers = (self.query, self.key, self.value)
        q, k, v = (layer(y).reshape(*y.shape[:2], self.heads, -1).transpose(1, 2) for layer in layers)
        seen = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + self.scale1 * self.project(seen)
        y = self.reduce(F.gelu(self.expand(self.norm2(x))))
        z: Tensor = x + self.scale2 * y
        return z


class VisionTransformer(nn.Module):
    """DINOv2's transformer: pictures (n, 3, h, w) -> what each of its layers shows, (n, 1 + patches, c)."""

    def __init__(self, width: int, depth: int, heads: int, hidden: int, positions: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, PATCH, PATCH)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.mask_token = nn.Parameter(torch.zeros(1, width))  # for its own training; in the file
        self.positions = nn.Parameter(torch.zeros(1, positions, width))
        self.blocks = nn.ModuleList(VisionBlock(width, heads, hidden) for _ in range(depth))
        self.norm = nn.LayerNorm(width, _EPSILON)  # not used here; in the file

    def forward(self, pictures: Tensor) -> list[Tensor]:
        patches = self.patches(pictures)
        rows, columns = patches.shape[2:]
        side = int((self.positions.shape[1] - 1) ** 0.5)
        grid = self.positions[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
        grid = F.interpolate(grid, (rows, columns), mode="bicubic", align_corners=False).flatten(2).transpose(1, 2)
        first = (self.class_token + self.positions[:, :1]).expand(pictures.shape[0], -1, -1)
        x = torch.cat([first, patches.flatten(2).transpose(1, 2) + grid], 1)
        layers = []
        for block in self.blocks:
            x = block(x)
            layers.append(x)
        return layers


class MapNorm(nn.BatchNorm2d):
    """Batch normalisation of maps without scale and shift: (n, c, h, w) of the same shape.

    In evaluation it is written out, because ONNX's needs channels whose number the exporter loses sight of here.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return super().forward(x)
        assert self.running_mean is not None
        assert self.running_var is not None
        scale = (self.running_var + self.eps).rsqrt()
        return (x - self.running_mean[:, None, None]) * scale[:, None, None]


class Reduction(nn.Sequential):
    """Brings a group of layers down to a few maps: (n, inputs, h, w) -> (n, maps, 64, 32), 0..1."""

    def __init__(self, inputs: int, hidden: int, maps: int) -> None:
        super().__init__(
            MapNorm(inputs), nn.Conv2d(inputs, hidden, 1), MapNorm(hidden), nn.GELU(), nn.Conv2d(hidden, maps, 1),
            nn.Upsample(_MAPS, mode="bilinear", align_corners=False), MapNorm(maps), nn.Sigmoid(),
        )  # fmt: skip


class TokenNorm(nn.BatchNorm1d):
    """Batch normalisation of every token: (n, tokens, c) of the same shape.

    In evaluation it is written out, as in `MapNorm`.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return super().forward(x.transpose(1, 2)).transpose(1, 2)
        assert self.running_mean is not None
        assert self.running_var is not None
        return (x - self.running_mean) * (self.running_var + self.eps).rsqrt()


class BodyMask(nn.Module):
    """Finds the patches that show the body: (n, patches, c) -> bool (n, patches)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = TokenNorm(width, affine=False)
        self.reduce = nn.Linear(width, 2)
        # The way back to the features, for its training; in the file.
        self.back_norm = nn.BatchNorm1d(2, affine=False)
        self.expand = nn.Linear(2, width)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.reduce(self.norm(x)).softmax(2)
        return scores[..., 1] > 0.5


class GaitHead(nn.Module):
    """A GaitBase on maps of a group of layers: its backbone, linear layers and, in training, its classifier."""

    def __init__(self, maps: int, widths: Sequence[int], parts: int, channels: int, classes: int | None) -> None:
        super().__init__()
        self.backbone = ResidualBackbone(maps, widths, (1, 1, 1, 1), (1, 2, 1, 1))
        self.linear = PartLinear(parts, widths[-1], channels)
        self.classifier = PartClassifier(parts, channels, classes) if classes is not None else None


class BiggerGait(FramewiseNetwork):
    """BiggerGait: `embed` takes pictures float32 (n, t, 3, 256, 128), RGB, 0..1.

    A person's box is brought to 256 rows without changing its shape, in the middle of 128 columns: what is wider is cut
    off, and what is missing is black. The network needs about a minute for a walk on a CPU.

    Args:
        width: numbers of a token of the transformer.
        depth: its layers.
        attention_heads: heads of its attention, which a file does not tell; None: one for every 64 numbers.
        hidden: numbers inside of its blocks.
        positions: places its position embedding has, with that of the class token.
        groups: the layers are divided into so many groups of neighbours.
        heads: how many GaitBases there are; each embeds as many groups as any other.
        reduced: channels inside of the reduction.
        maps_each: maps that a group is brought down to.
        widths: channels of the four stages of a GaitBase.
    """

    family: ClassVar[str] = "biggergait"
    inputs: tuple[str, ...] = ("pictures",)
    maps: tuple[int, ...] = (3,)

    def __init__(
        self,
        width: int = 384,
        depth: int = 12,
        attention_heads: int | None = None,
        hidden: int = 1536,
        positions: int = 1370,
        groups: int = 12,
        heads: int = 12,
        reduced: int | None = None,
        maps_each: int = 16,
        widths: Sequence[int] = (64, 128, 256, 512),
        parts: int = 32,
        channels: int = 256,
        classes: int | None = None,
        input_size: tuple[int, int] = (256, 128),
    ) -> None:
        super().__init__(input_size)
        if depth % groups or groups % heads:
            raise ValueError(f"{depth} layers cannot be divided into {groups} groups, or these among {heads} heads")
        self.width, self.parts = width, parts
        self.vision = VisionTransformer(width, depth, attention_heads or width // 64, hidden, positions)
        self.reductions = nn.ModuleList(
            Reduction(width * depth // groups, width // 2 if reduced is None else reduced, maps_each)
            for _ in range(groups)
        )
        self.mask = BodyMask(width)
        self.heads = nn.ModuleList(GaitHead(maps_each, widths, parts, channels, classes) for _ in range(heads))
        # The same heads, by the group that they embed: the published files name them twice.
        self.of_group = nn.ModuleList(self.heads[group * heads // groups] for group in range(groups))
        self.colours = ImageNetColours()

    def group_maps(self, frames: Tensor) -> list[Tensor]:
        """Return the maps of each group of layers, without the background: (t, 3, h, w) -> (t, maps, 64, 32)."""
        pictures = F.interpolate(self.colours(frames), _SEEN, mode="bilinear", align_corners=False)
        layers = self.vision(pictures)
        last = F.layer_norm(layers[-1], (self.width,), eps=_EPSILON)[:, 1:]
        together = torch.cat(layers, 2)
        together = F.layer_norm(together, (self.width * len(layers),), eps=_EPSILON)[:, 1:].transpose(1, 2)
        inputs = self.width * len(layers)
        together = together.reshape(-1, inputs, *_PATCHES)
        body = self.mask(last).float().reshape(-1, 1, *_PATCHES)
        shown = (F.interpolate(body, _MAPS, mode="bilinear", align_corners=False) > 0.5).float()
        groups = torch.split(together, inputs // len(self.reductions), 1)
        shown = shown.to(frames)  # in the precision of the weights
        return [reduction(group) * shown for reduction, group in zip(self.reductions, groups, strict=True)]

    def frame_features(self, frames: Tensor) -> Tensor:
        """Return the feature maps of every group: (t, 1, 3, h, w) or (t, 3, h, w) -> (t, groups, c, h', w')."""
        maps = self.group_maps(frames.reshape(-1, 3, *self.input_size))
        features = [head.backbone(one) for head, one in zip(self._heads(), maps, strict=True)]
        return torch.stack(features, 1)

    def head(self, pooled: Tensor) -> Tensor:
        parts = [
            head.linear(pool_strips(group, self.parts))
            for head, group in zip(self._heads(), pooled.unbind(1), strict=True)
        ]
        return torch.cat(parts, 2)

    def _heads(self) -> list[GaitHead]:
        return [head for head in self.of_group if isinstance(head, GaitHead)]

    def forward(self, pictures: Tensor, lengths: Sequence[int] | None = None) -> tuple[Tensor, Tensor | None]:
        """Return the embedding (n, C, groups * parts) and, with a classifier, its logits (n, classes, same)."""
        embedding = self.embed(pictures, lengths)
        groups = embedding.chunk(len(self.of_group), 2)
        logits = [
            head.classifier(group)
            for head, group in zip(self._heads(), groups, strict=True)
            if head.classifier is not None
        ]
        return embedding, torch.cat(logits, 2) if logits else None
