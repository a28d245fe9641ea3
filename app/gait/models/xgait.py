"""XGait: Zheng et al., "It Takes Two: Accurate Gait Recognition in the Wild via Cross-granularity Alignment", ACM MM
2024.

Two residual networks, one on silhouettes and one on maps of body parts. Their features are weighed against each other
over the whole body, and once more for its upper, middle and lower part.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from app.gait.base import PictureNetwork, pool_walks
from app.gait.layers import PartClassifier, PartLinear, ResidualBackbone, pool_strips
from app.gait.models.parsinggait import inside, pool_all, small_labels

BANDS: tuple[tuple[tuple[int, ...], float, float], ...] = (
    ((1,), 0.0, 0.25),
    ((2, 3, 4, 5, 6, 11), 0.25, 0.75),
    ((7, 8, 9, 10, 11), 0.75, 1.0),
)
"""Labels of the upper, middle and lower part of the body, and the rows it takes, as shares of the height."""


class Gate(nn.Module):
    """Weights of silhouette and parsing features, channel by channel: (t, 2 c) -> twice (t, c, 1, 1)."""

    def __init__(self, width: int, narrow: int) -> None:
        super().__init__()
        self.reduce = nn.Linear(2 * width, narrow, bias=False)
        self.expand = nn.Linear(narrow, 2 * width, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        weights = torch.sigmoid(self.expand(torch.relu(self.reduce(x))))
        of_silhouettes, of_parsing = weights[..., None, None].chunk(2, 1)
        return of_silhouettes, of_parsing


class PartGate(Gate):
    """The gate of a part of the body, whose `labels` the parsing features are weighed by."""

    def __init__(self, width: int, narrow: int, labels: Sequence[int]) -> None:
        super().__init__(width, narrow)
        self.labels = tuple(labels)
        self.gammas = nn.Parameter(torch.full((1,), 0.75))

    def gates(self, silhouettes: Tensor, parsing: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the weights, from feature maps (t, c, h', w') and the labels (t, h', w') at their places."""
        # The published network looks at the top quarter of the silhouette features for every part of the body.
        top = silhouettes[:, :, : silhouettes.shape[2] // 4]
        shown = torch.where(inside(labels, self.labels)[:, None], self.gammas, 1 - self.gammas)
        first, second = self(torch.cat([pool_all(top), pool_all(parsing * shown)], 1))
        return first, second


class EachKind(nn.ModuleList):
    """Modules side by side, each for an equal share of the parts: (n, c, parts) -> (n, c', parts)."""

    def forward(self, x: Tensor) -> Tensor:
        shares = x.chunk(len(self), 2)
        return torch.cat([module(share) for module, share in zip(self, shares, strict=True)], 2)


class XGait(PictureNetwork):
    """XGait: `embed` takes maps of body parts (whole numbers 0..11) and silhouettes of the same frames.

    The parts of the embedding, `parts` strips of `channels` numbers each, are those of the silhouettes, of the parsing,
    of both over the whole body, and of both by parts of the body. `widths`, `depths` and `strides` are those of the
    `ResidualBackbone` of each network; `narrow` are the channels inside of the gates.
    """

    family: ClassVar[str] = "xgait"
    inputs: tuple[str, ...] = ("parsing", "silhouettes")

    def __init__(
        self,
        widths: Sequence[int] = (64, 128, 256, 512),
        depths: Sequence[int] = (1, 1, 1, 1),
        strides: Sequence[int] = (1, 2, 2, 1),
        narrow: int = 32,
        parts: int = 16,
        channels: int = 256,
        classes: int | None = None,
        input_size: tuple[int, int] = (64, 44),
    ) -> None:
        super().__init__(input_size)
        self.parts, width = parts, widths[-1]
        self.silhouette_backbone = ResidualBackbone(1, widths, depths, strides)
        self.parsing_backbone = ResidualBackbone(1, widths, depths, strides)
        self.whole = Gate(width, narrow)
        self.bands = nn.ModuleList(PartGate(width, narrow, labels) for labels, _, _ in BANDS)
        self.linear = EachKind(PartLinear(parts, width, channels) for _ in range(4))
        if classes is not None:
            self.classifier = EachKind(PartClassifier(parts, channels, classes) for _ in range(4))

    def frame_maps(self, parsing: Tensor, silhouettes: Tensor) -> Tensor:
        """Return the four kinds of feature maps: twice (t, h, w) -> (t, 4, c, h', w')."""
        s, p = self.silhouette_backbone(silhouettes[:, None]), self.parsing_backbone(parsing[:, None])
        of_s, of_p = self.whole(torch.cat([s.mean((2, 3)), p.mean((2, 3))], 1))
        labels, rows = small_labels(parsing, s.shape[2]), s.shape[2]
        bands = []
        for gate, (_, first, last) in zip(self.bands, BANDS, strict=True):
            assert isinstance(gate, PartGate)
            band_of_s, band_of_p = gate.gates(s, p, labels)
            band = slice(int(first * rows), int(last * rows))
            bands.append(s[:, :, band] * band_of_s + p[:, :, band] * band_of_p)
        return torch.stack([s, p, s * of_s + p * of_p, torch.cat(bands, 2)], 1)

    def embed(self, parsing: Tensor, silhouettes: Tensor, lengths: Sequence[int] | None = None) -> Tensor:
        """Embed walks: float32 (n, C, 4 P).

        `parsing` has labels of body parts 0..11, as `GaitNetwork.embed` takes silhouettes; `silhouettes`, of the same
        shape, are 0..1.

        Raises:
            ValueError: pictures of another size than `input_size`, or silhouettes that do not belong to the parsing.
        """
        self.check(parsing, lengths)
        if silhouettes.shape != parsing.shape:
            raise ValueError(
                f"xgait takes a silhouette for each map of body parts, not {tuple(silhouettes.shape)} for "
                f"{tuple(parsing.shape)}"
            )
        maps = self.frame_maps(parsing.flatten(0, 1), silhouettes.flatten(0, 1))
        pooled = pool_walks(maps, len(parsing), lengths)
        strips = torch.cat([pool_strips(kind, self.parts) for kind in pooled.unbind(1)], 2)
        parts: Tensor = self.linear(strips)
        return parts
