"""SwinGait: Fan et al., "Exploring Deep Models for Practical Gait Recognition", arXiv:2303.03301, section 5.

The first two stages of DeepGaitV2, then a Video Swin transformer (Liu et al., "Video Swin Transformer", CVPR 2022,
section 3): attention within windows of 3 frames, 3 rows and 5 columns of tokens, which every second block shifts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from app.gait.base import TemporalNetwork
from app.gait.layers import (
    BasicBlock,
    BasicBlockP3d,
    ConvNorm,
    PartClassifier,
    PartLinear,
    pool_strips,
    residual_stage,
)

WINDOW = (3, 3, 5)
"""Frames, rows and columns of tokens that see each other."""
SHIFT = (1, 1, 2)
TOKENS = (15, 10)
"""Rows and columns of tokens in a frame; feature maps are resized to twice that."""
_HIDDEN = -100.0
"""What is added to the attention of tokens that must not see each other."""
_INSIDE = WINDOW[0] * WINDOW[1] * WINDOW[2]


def relative_positions() -> Tensor:
    """Return which row of the table of biases belongs to each pair of tokens of a window: int64 (45, 45)."""
    places = torch.cartesian_prod(*(torch.arange(size) for size in WINDOW))
    apart = places[:, None] - places + torch.tensor(WINDOW) - 1
    _, rows, columns = (2 * size - 1 for size in WINDOW)
    return (apart[..., 0] * rows + apart[..., 1]) * columns + apart[..., 2]


class Windows:
    """Where the tokens of a walk of `frames` frames go when they are sorted into windows, shifted by `SHIFT` where
    `shifted`.

    The last frames of a walk are repeated as zeros until windows of three frames are full. In a walk of up to three
    frames, nobody sees those zeros and nothing is shifted in time; a longer walk does see them, as in the original.
    Everything is computed with tensors, so that an exported graph takes walks of any length.
    """

    def __init__(self, frames: int, shifted: bool, device: torch.device) -> None:
        rows, columns = TOKENS
        times = torch.arange((frames + WINDOW[0] - 1) // WINDOW[0] * WINDOW[0], device=device)
        is_long = torch.clamp(times.amax() - WINDOW[0] + 1, 0, 1)  # 1 if there is more than one window in time
        shifts: list[Tensor | int] = [is_long * SHIFT[0], SHIFT[1], SHIFT[2]] if shifted else [is_long * 0, 0, 0]
        sizes: tuple[int, ...] = (times.shape[0], rows, columns)
        axes = [times, torch.arange(rows, device=device), torch.arange(columns, device=device)]
        moved = [(axis + shift) % size for axis, shift, size in zip(axes, shifts, sizes, strict=True)]
        place = _sorted((moved[0][:, None, None] * rows + moved[1][:, None]) * columns + moved[2])
        self.place = place.flatten()
        """int64 (windows * 45,): the token that stands at each place."""
        self.real = self.place < frames * rows * columns
        """bool (windows * 45,): whether that token is no zero that fills a window."""
        self.back = torch.argsort(self.place)[: frames * rows * columns]
        """int64 (frames * 150,): where each token went."""
        # A shift brings tokens of both ends of an axis into one window. They must not see each other.
        regions = [
            (axis >= size - window).long() + (axis >= size - shift).long()
            for axis, size, window, shift in zip(axes, sizes, WINDOW, shifts, strict=True)
        ]
        region = _sorted((regions[0][:, None, None] * 3 + regions[1][:, None]) * 3 + regions[2])
        apart = (region[:, :, None] != region[:, None]).float() * (_HIDDEN if shifted else 0.0)
        unseen = ~self.real.reshape(place.shape) & (is_long == 0)
        self.mask = apart.masked_fill(unseen[:, None], float("-inf"))
        """float32 (windows, 45, 45), added to the attention."""


def _sorted(grid: Tensor) -> Tensor:
    """Sort what belongs to each token of a walk into windows: (frames, rows, columns) -> (windows, 45)."""
    t, h, w = WINDOW
    rows, columns = TOKENS
    grid = grid.reshape(-1, t, rows // h, h, columns // w, w)
    return grid.permute(0, 2, 4, 1, 3, 5).reshape(-1, _INSIDE)


class WindowAttention(nn.Module):
    """Attention of the tokens of a window to each other: (windows, 45, c) of the same shape."""

    relative_position_index: Tensor

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.biases = nn.Parameter(torch.zeros((2 * WINDOW[0] - 1) * (2 * WINDOW[1] - 1) * (2 * WINDOW[2] - 1), heads))
        self.register_buffer("relative_position_index", relative_positions())
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """`mask` is (windows of one walk, 45, 45) and is added for each walk."""
        windows = mask.shape[0]
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        q = q * q.shape[-1] ** -0.5
        biases = self.biases[self.relative_position_index.flatten()].reshape(_INSIDE, _INSIDE, -1).permute(2, 0, 1)
        scores = (q @ k.transpose(2, 3) + biases).reshape(-1, windows, self.heads, _INSIDE, _INSIDE) + mask[:, None].to(
            q.dtype
        )
        seen: Tensor = (scores.softmax(-1).flatten(0, 1) @ v).transpose(1, 2).flatten(2)
        projected: Tensor = self.project(seen)
        return projected


class DropPath(nn.Module):
    """Stochastic depth (Huang et al. 2016): in training, leaves out a branch for a share of the walks."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.share == 0:
            return x
        kept = torch.rand(len(x), *(1,) * (x.ndim - 1), device=x.device) >= self.share
        return x * kept / (1 - self.share)


class SwinBlock(nn.Module):
    """Attention within windows and two linear layers, each with a norm before and a shortcut around."""

    def __init__(self, width: int, heads: int, drop: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = WindowAttention(width, heads)
        self.expand, self.reduce = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.drop = DropPath(drop)

    def forward(self, x: Tensor, windows: Windows) -> Tensor:
        """(n, tokens of a walk, c) of the same shape."""
        y = self.norm1(x)
        sorted_ = y[:, torch.where(windows.real, windows.place, 0)] * windows.real[:, None]
        seen = self.attention(sorted_.reshape(-1, _INSIDE, x.shape[2]), windows.mask)
        x = x + self.drop(seen.reshape(len(x), -1, x.shape[2])[:, windows.back])
        y = self.drop(self.reduce(F.gelu(self.expand(self.norm2(x)))))
        z: Tensor = x + y
        return z


class SwinGait(TemporalNetwork):
    """SwinGait in 3D; published with `depths` 1, 4, 4, 2 (Gait3D, GREW) and 1, 1, 2, 2.

    Args:
        widths: channels of the two stages of convolutions; the stem has those of the first.
        tokens: channels of the two stages of the transformer.
        heads: of the attention in the two stages of the transformer.
        drop: in training, the share of the walks for which the last block is left out; it is less for earlier blocks.
    """

    family: ClassVar[str] = "swingait"

    def __init__(
        self,
        widths: Sequence[int] = (64, 128),
        tokens: Sequence[int] = (256, 512),
        depths: Sequence[int] = (1, 1, 2, 2),
        heads: Sequence[int] = (16, 32),
        channels: int = 256,
        drop: float = 0.1,
        classes: int | None = None,
        input_size: tuple[int, int] = (64, 44),
    ) -> None:
        super().__init__(input_size)
        self.stem = ConvNorm(1, widths[0])
        self.stages = nn.ModuleList(
            [
                residual_stage(BasicBlock, widths[0], widths[0], depths[0], 1),
                residual_stage(BasicBlockP3d, widths[0], widths[1], depths[1], 2),
            ]
        )
        self.patches = nn.Conv3d(widths[1], tokens[0], (1, 2, 2), (1, 2, 2))
        self.patch_norm = nn.LayerNorm(tokens[0])
        drops = torch.linspace(0, drop, sum(depths[2:]), device="cpu").tolist()
        self.blocks = nn.ModuleList(
            nn.ModuleList(SwinBlock(width, number, drops.pop(0)) for _ in range(depth))
            for width, depth, number in zip(tokens, depths[2:], heads, strict=True)
        )
        self.widen = nn.Sequential(nn.LayerNorm(tokens[0]), nn.Linear(tokens[0], tokens[1], bias=False))
        self.norm = nn.LayerNorm(tokens[1])
        # There are 15 rows of tokens. The published networks have 16 parts, the last of which is not used.
        self.linear = PartLinear(TOKENS[0] + 1, tokens[1], channels)
        self.classifier = PartClassifier(TOKENS[0] + 1, channels, classes) if classes is not None else None

    def features(self, walks: Tensor) -> Tensor:
        """Return the features with the part that is not used: (n, t, h, w) -> (n, C, 16)."""
        n, t = walks.shape[:2]
        x: Tensor = self.stages[0](F.relu(self.stem(walks.flatten(0, 1)[:, None]), inplace=True))
        x = self.stages[1](x.reshape(n, t, *x.shape[1:]).transpose(1, 2)).transpose(1, 2)
        rows, columns = TOKENS
        x = F.interpolate(x.flatten(0, 1), (2 * rows, 2 * columns), mode="bilinear", align_corners=True)
        x = self.patches(x.reshape(n, t, *x.shape[1:]).transpose(1, 2))
        x = self.patch_norm(x.flatten(2).transpose(1, 2))  # (n, tokens of the walk, c)
        windows = [Windows(t, shifted, x.device) for shifted in (False, True)]
        for stage, blocks in enumerate(self.blocks):
            assert isinstance(blocks, nn.ModuleList)
            for number, block in enumerate(blocks):
                x = block(x, windows[number % 2])
            x = self.widen(x) if stage == 0 else x
        x = self.norm(x).reshape(n, t, rows, columns, -1).amax(1).permute(0, 3, 1, 2)
        parts = pool_strips(x, rows)
        features: Tensor = self.linear(torch.cat([parts, parts[..., -1:]], -1))
        return features

    def embed_walks(self, walks: Tensor) -> Tensor:
        return self.features(walks)[..., : TOKENS[0]]

    def forward(self, walks: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the embedding (n, C, 15) and, with a classifier, its logits (n, classes, 15)."""
        self.check(walks)
        features = self.features(walks)
        logits = self.classifier(features)[..., : TOKENS[0]] if self.classifier is not None else None
        return features[..., : TOKENS[0]], logits
