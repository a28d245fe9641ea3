"""ParsingGait: Zheng et al., "Parsing is All You Need for Accurate Gait Recognition in the Wild", ACM MM 2023.

GaitBase's residual network on maps of body parts, and graphs of these parts: each part is a node, which the map's
labels cut out of the features, and neighbours in the body exchange what they show.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from app.gait.base import FramewiseNetwork
from app.gait.layers import PartClassifier, PartLinear, PartNorm, ResidualBackbone, pool_strips

Graph = Literal["fine", "coarse"]
NODES: dict[Graph, tuple[tuple[int, ...], ...]] = {
    "fine": tuple((label,) for label in range(1, 12)),
    "coarse": ((1, 2, 11), (3, 5), (4, 6), (7, 9), (8, 10)),
}
"""Labels of each node."""
EDGES: dict[Graph, tuple[tuple[int, int], ...]] = {
    "fine": (
        (0, 1), (0, 10), (1, 2), (1, 3), (1, 6), (1, 7), (2, 4), (2, 10), (3, 5), (3, 10), (6, 8), (6, 10), (7, 9),
        (7, 10),
    ),
    "coarse": ((0, 1), (0, 2), (0, 3), (0, 4)),
}  # fmt: skip
"""Pairs of neighbours."""


def small_labels(labels: Tensor, rows: int) -> Tensor:
    """Return the labels at the places of the feature maps: (t, h, w) -> (t, rows, w'), every n-th row and column."""
    step = labels.shape[1] // rows
    return labels[:, ::step, ::step]


def inside(labels: Tensor, parts: Sequence[int]) -> Tensor:
    """Return whether each label is one of `parts`."""
    found = labels == parts[0]
    for part in parts[1:]:
        found = found | (labels == part)
    return found


def pool_all(maps: Tensor) -> Tensor:
    """Return the mean and the maximum over all places, added: (..., h, w) -> (...)."""
    return maps.mean((-2, -1)) + maps.amax((-2, -1))


def adjacency(graph: Graph) -> Tensor:
    """Return the normalised adjacency of the nodes: float32 (nodes, nodes)."""
    joined = torch.eye(len(NODES[graph]))
    for first, second in EDGES[graph]:
        joined[first, second] = joined[second, first] = 1
    scale = joined.sum(1).rsqrt()
    return scale[:, None] * joined * scale


class GraphLayer(nn.Module):
    """A graph convolution with its norm: (t, nodes, c) of the same shape."""

    def __init__(self, nodes: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(width, width)))
        self.bias = nn.Parameter(torch.zeros(width))
        self.norm = PartNorm(nodes, width)

    def forward(self, x: Tensor, joined: Tensor) -> Tensor:
        y: Tensor = F.relu(self.norm(joined @ (x @ self.weight) + self.bias))
        return y


class BodyGraph(nn.Module):
    """The graph of body parts: feature maps (t, c, h', w') and their labels (t, h', w') -> (t, nodes, c)."""

    joined: Tensor

    def __init__(self, graph: Graph, width: int) -> None:
        super().__init__()
        self.nodes = NODES[graph]
        self.gammas = nn.Parameter(torch.full((len(self.nodes),), 0.75))
        self.layers = nn.ModuleList(GraphLayer(len(self.nodes), width) for _ in range(2))
        self.register_buffer("joined", adjacency(graph), persistent=False)

    def forward(self, maps: Tensor, labels: Tensor) -> Tensor:
        nodes = []
        for parts, gamma in zip(self.nodes, self.gammas, strict=True):
            shown = torch.where(inside(labels, parts)[:, None], gamma, 1 - gamma)
            nodes.append(pool_all(maps * shown))
        x = torch.stack(nodes, 1)
        for layer in self.layers:
            x = layer(x, self.joined)
        return x


class ParsingGait(FramewiseNetwork):
    """ParsingGait: `embed` takes maps of body parts, float32 (n, t, h, w), numbers 0..11 (`app.types.BODY_PARTS`).

    `widths`, `depths` and `strides` are those of a `ResidualBackbone`. Behind `parts` horizontal strips, the embedding
    has the nodes of `graphs`, of which the published network has "coarse" alone, with `channels` numbers each.
    """

    family: ClassVar[str] = "parsinggait"
    inputs: tuple[str, ...] = ("parsing",)

    def __init__(
        self,
        widths: Sequence[int] = (64, 128, 256, 512),
        depths: Sequence[int] = (1, 1, 1, 1),
        strides: Sequence[int] = (1, 2, 2, 1),
        parts: int = 16,
        graphs: Sequence[Graph] = ("coarse",),
        channels: int = 256,
        classes: int | None = None,
        input_size: tuple[int, int] = (64, 44),
    ) -> None:
        super().__init__(input_size)
        self.parts = parts
        self.backbone = ResidualBackbone(1, widths, depths, strides)
        self.graphs = nn.ModuleDict({graph: BodyGraph(graph, widths[-1]) for graph in graphs})
        parts += sum(len(NODES[graph]) for graph in graphs)
        self.linear = PartLinear(parts, widths[-1], channels)
        self.classifier = PartClassifier(parts, channels, classes) if classes is not None else None

    def frame_features(self, frames: Tensor) -> Tensor:
        """Return what the strips and the nodes show: (t, 1, h, w) -> (t, c, h' w' + nodes)."""
        maps = self.backbone(frames)
        labels = small_labels(frames[:, 0], maps.shape[2])
        nodes = [graph(maps, labels).transpose(1, 2) for graph in self.graphs.values()]
        return torch.cat([maps.flatten(2), *nodes], 2)

    def head(self, pooled: Tensor) -> Tensor:
        nodes = self.linear.weight.shape[0] - self.parts
        places = pooled.shape[2] - nodes
        # A strip is as many places of the maps in a row as any other.
        strips = pool_strips(pooled[:, :, :places], self.parts)
        parts: Tensor = self.linear(torch.cat([strips, pooled[:, :, places:]], 2))
        return parts
