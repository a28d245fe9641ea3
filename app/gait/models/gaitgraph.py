"""GaitGraph: graph convolutions over the skeleton.

GaitGraph 1: Teepe et al., "GaitGraph: Graph Convolutional Network for Skeleton-Based Gait Recognition", ICIP 2021.
GaitGraph 2: Teepe et al., "Towards a Deeper Understanding of Skeleton-based Gait Recognition", CVPRW 2022.

Both are residual graph convolution networks: Song et al., "Stronger, Faster and More Explainable: A Graph Convolutional
Baseline for Skeleton-based Action Recognition", ACM MM 2020, section 3.
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
from app.types import MIRRORED_KEYPOINTS

JOINTS = 17
EDGES = (
    (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 6), (5, 7), (7, 9), (6, 8), (8, 10),
    (5, 11), (6, 12), (11, 12), (11, 13), (13, 15), (12, 14), (14, 16),
)  # fmt: skip
"""COCO-17 keypoints next to each other."""
PARENTS = (5, 0, 0, 1, 2, 0, 0, 5, 6, 7, 8, 5, 6, 11, 12, 13, 14)
"""Where the bone of each keypoint begins."""
REACH = 3


def adjacency() -> Tensor:
    """Return which joints see which, by their distance: float32 (`REACH` + 1, 17, 17), each column summing to 1."""
    near = torch.eye(JOINTS)
    for a, b in EDGES:
        near[a, b] = near[b, a] = 1
    within = [torch.eye(JOINTS)]
    for _ in range(REACH):
        within.append((within[-1] @ near > 0).float())
    rings = [within[0], *(outer - inner for inner, outer in pairwise(within))]
    return torch.stack(rings) / within[-1].sum(0)


def moves(points: Tensor, frames: int) -> Tensor:
    """Return how far each joint moves in so many frames, (n, t, 17, 2) as `points`; zero in the last two frames."""
    moved = torch.zeros_like(points)
    moved[:, :-2] = points[:, frames : points.shape[1] - 2 + frames] - points[:, :-2]
    return moved


def branches(keypoints: Tensor) -> Tensor:
    """Make the input of GaitGraph 2, float32 (n, t, 17, 3, 5), of COCO-17's x, y and score (n, t, 17, 3).

    It is joints (x, y, score, x and y from the nose), velocities (x and y over one frame, 0, score, y over two frames)
    and bones (x and y from the `PARENTS`, 0, score, angle).
    """
    points, score = keypoints[..., :2], keypoints[..., 2:]
    zero = torch.zeros_like(score)
    bones = points - points[:, :, PARENTS]
    angle = torch.acos(bones[..., 1:] / (bones.norm(dim=-1, keepdim=True) + 1e-4))
    joints = torch.cat([keypoints, points - points[:, :, :1]], -1)
    velocities = torch.cat([moves(points, 1), zero, score, moves(points, 2)[..., 1:]], -1)
    return torch.stack([joints, velocities, torch.cat([bones, zero, score, angle], -1)], -2)


def _conv(inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> NormalisedConv:
    """Return a convolution over time with its batch normalisation: (n, c, t, 17) -> (n, c', t', 17)."""
    conv = nn.Conv2d(inputs, outputs, (kernel, 1), (stride, 1), (kernel // 2, 0))
    return NormalisedConv(conv, nn.BatchNorm2d(outputs))


class GraphConv(nn.Module):
    """A convolution over joints nearer than `hops`, weighed by distance: (n, c, t, 17) -> (n, c', t, 17)."""

    def __init__(self, inputs: int, outputs: int, hops: int) -> None:
        super().__init__()
        self.hops = hops
        self.conv = nn.Conv2d(inputs, hops * outputs, 1)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        by_distance = self.conv(x).unflatten(1, (self.hops, -1))
        normalised: Tensor = self.norm(torch.einsum("nkctv,kvw->nctw", by_distance, edges[: self.hops]))
        return normalised


class GraphBlock(nn.Module):
    """A convolution over the joints and one over time; how much each edge counts is learnt.

    If `narrow` is given, both are bottlenecks of that many channels, with shortcuts around them.
    """

    def __init__(
        self, inputs: int, outputs: int, narrow: int | None, stride: int = 1, hops: int = 3, kernel: int = 9
    ) -> None:
        super().__init__()
        self.narrow = narrow
        self.edge = nn.Parameter(torch.ones(REACH + 1, JOINTS, JOINTS))
        self.graph = GraphConv(narrow or inputs, narrow or outputs, hops)
        self.time = _conv(narrow or outputs, narrow or outputs, kernel, stride)
        if narrow:
            self.graph_reduce, self.graph_expand = _conv(inputs, narrow), _conv(narrow, outputs)
            self.time_reduce, self.time_expand = _conv(outputs, narrow), _conv(narrow, outputs)
            self.graph_shortcut = nn.Identity() if inputs == outputs else _conv(inputs, outputs)
            self.time_shortcut = nn.Identity() if stride == 1 else _conv(outputs, outputs, stride=stride)

    def forward(self, x: Tensor, adjacent: Tensor) -> Tensor:
        edges = adjacent * self.edge
        if not self.narrow:
            return F.relu(self.time(F.relu(self.graph(x, edges))))
        y = F.relu(self.graph(F.relu(self.graph_reduce(x)), edges))
        x = F.relu(self.graph_expand(y) + self.graph_shortcut(x))
        y = F.relu(self.time(F.relu(self.time_reduce(x))))
        return F.relu(self.time_expand(y) + self.time_shortcut(x))


class GraphBranch(nn.Module):
    """The first blocks, which see one kind of input: (n, inputs, t, 17) -> (n, c, t, 17)."""

    def __init__(self, inputs: int, widths: Sequence[int], reduction: int, hops: int, kernel: int) -> None:
        super().__init__()
        self.adjacency: Tensor
        self.register_buffer("adjacency", adjacency())
        self.norm = nn.BatchNorm2d(inputs)
        self.blocks = nn.ModuleList([GraphBlock(inputs, widths[0], None, hops=hops, kernel=kernel)])
        for before, width in pairwise(widths):
            self.blocks.append(GraphBlock(before, width, width // reduction, hops=hops, kernel=kernel))

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        for block in self.blocks:
            x = block(x, self.adjacency)
        return x


class GraphNetwork(JointNetwork):
    """A residual graph convolution network over one or several kinds of input. The defaults are GaitGraph 1's.

    Args:
        inputs: how many numbers each joint has.
        branches: how many kinds of input there are.
        branch_widths: channels of the blocks of each branch.
        widths: channels of the blocks after the branches, and `strides` their strides over time.
        reduction: how many times narrower the bottlenecks are.
        hops: distances in the graph that have weights of their own.
        kernel: frames a convolution over time sees.
    """

    def __init__(
        self,
        inputs: int = 3,
        branches: int = 1,
        branch_widths: Sequence[int] = (64, 64, 32),
        widths: Sequence[int] = (128, 128, 256, 256),
        strides: Sequence[int] = (2, 1, 2, 1),
        channels: int = 128,
        reduction: int = 8,
        hops: int = 3,
        kernel: int = 9,
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            GraphBranch(inputs, branch_widths, reduction, hops, kernel) for _ in range(branches)
        )
        self.blocks = nn.ModuleList()
        for (before, width), stride in zip(pairwise([branches * branch_widths[-1], *widths]), strides, strict=True):
            self.blocks.append(GraphBlock(before, width, width // reduction, stride, hops, kernel))
        self.linear = nn.Linear(widths[-1], channels)

    def features(self, x: Tensor) -> Tensor:
        """Turn the input of all branches (n, branches, inputs, t, 17) into features (n, C)."""
        y = torch.cat([branch(x[:, index]) for index, branch in enumerate(self.branches)], 1)
        for block in self.blocks:
            y = block(y, self.branches[0].adjacency)
        features: Tensor = self.linear(y.mean((2, 3)))
        return features


class GaitGraph1(GraphNetwork):
    """GaitGraph 1: `embed` takes keypoints of COCO-17, float32 (n, 3, t, 17, 1): x, y, score; published: 24 frames.

    The arguments are those of `GraphNetwork`, and so are the defaults, which the published network has.
    """

    family: ClassVar[str] = "gaitgraph1"
    inputs: tuple[str, ...] = ("keypoints (n, 3, t, 17, 1)",)
    frames: int = 24

    @staticmethod
    def input_of(keypoints: Tensor) -> Tensor:
        return keypoints.permute(0, 3, 1, 2)[..., None]

    def embed(self, keypoints: Tensor) -> Tensor:
        """Return the mean of the features of the walk and of the walk backwards, each of unit length: (n, C, 1)."""
        require(self.family, keypoints, (3, None, JOINTS, 1))
        ways = [keypoints, keypoints.flip(2)]
        return torch.stack([self(way)[0] for way in ways]).mean(0)

    def forward(self, keypoints: Tensor) -> tuple[Tensor, None]:
        """Return the features of the walk as it is, of unit length: (n, C, 1)."""
        return F.normalize(self.features(keypoints[None, ..., 0].transpose(0, 1)))[..., None], None


class GaitGraph2(GraphNetwork):
    """GaitGraph 2: `embed` takes what `branches` makes of keypoints, float32 (n, t, 17, 3, 5); published: 60 frames.

    The arguments are those of `GraphNetwork`; the defaults are those of the published network.
    """

    family: ClassVar[str] = "gaitgraph2"
    inputs: tuple[str, ...] = ("joints, velocities and bones (n, t, 17, 3, 5)",)
    frames: int = 60

    def __init__(
        self,
        inputs: int = 5,
        branches: int = 3,
        branch_widths: Sequence[int] = (64, 32),
        widths: Sequence[int] = (128, 256),
        strides: Sequence[int] = (2, 2),
        channels: int = 128,
        reduction: int = 8,
        hops: int = 3,
        kernel: int = 9,
    ) -> None:
        super().__init__(inputs, branches, branch_widths, widths, strides, channels, reduction, hops, kernel)

    @staticmethod
    def input_of(keypoints: Tensor) -> Tensor:
        return branches(keypoints)

    def embed(self, x: Tensor) -> Tensor:
        """Return the features of the walk, of the walk backwards, and of its mirror image: (n, 3 C, 1)."""
        require(self.family, x, (None, JOINTS, 3, 5))
        keypoints = x[..., 0, :3]  # velocities and bones are not symmetric, so they are computed again
        ways = [x, branches(keypoints.flip(1)), branches(keypoints[:, :, MIRRORED_KEYPOINTS])]
        return torch.cat([self(way)[0] for way in ways], 1)

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """Return the features of the walk as it is: (n, C, 1)."""
        return self.features(x.permute(0, 3, 4, 1, 2))[..., None], None


def require(family: str, x: Tensor, shape: tuple[int | None, ...]) -> None:
    """Raise ValueError unless `x` is (n, *shape), None standing for any size."""
    given = x.shape[1:]
    if len(given) != len(shape) or any(size not in (None, own) for size, own in zip(shape, given, strict=True)):
        wanted = ", ".join("t" if size is None else str(size) for size in shape)
        raise ValueError(f"{family} takes (n, {wanted}), not {tuple(x.shape)}")
