"""Building blocks that the gait networks share."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

Stride: TypeAlias = int | tuple[int, int]
"""One stride for rows and columns, or one for each."""


class ImageNetColours(nn.Module):
    """Takes pictures (..., 3, h, w) RGB, 0..1, to the colours that networks of ImageNet's pictures expect."""

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor((0.485, 0.456, 0.406))[:, None, None], persistent=False)
        self.register_buffer("deviation", torch.tensor((0.229, 0.224, 0.225))[:, None, None], persistent=False)

    def forward(self, pictures: Tensor) -> Tensor:
        return (pictures - self.mean) / self.deviation


class NormalisedConv(nn.Module):
    """A convolution followed by its batch normalisation."""

    def __init__(self, conv: nn.Conv2d | nn.Conv3d, norm: nn.Module) -> None:
        super().__init__()
        self.conv = conv
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        normalised: Tensor = self.norm(self.conv(x))
        return normalised

    def fuse(self) -> None:
        """Fold the normalisation into the convolution, which computes the same in one step. For inference only."""
        if isinstance(self.norm, nn.BatchNorm2d | nn.BatchNorm3d):
            self.conv = fuse_conv_bn_eval(self.conv, self.norm)
            self.norm = nn.Identity()


class ConvNorm(NormalisedConv):
    """A convolution without bias, padded to keep the size, and its batch normalisation."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: Stride = 1) -> None:
        conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
        super().__init__(conv, nn.BatchNorm2d(outputs))


class ConvNorm3d(NormalisedConv):
    """`ConvNorm` over time, rows and columns; time keeps its length whatever the `stride` of rows and columns."""

    def __init__(self, inputs: int, outputs: int, kernel: int | tuple[int, int, int] = 3, stride: Stride = 1) -> None:
        sizes = (kernel, kernel, kernel) if isinstance(kernel, int) else kernel
        strides = (stride, stride) if isinstance(stride, int) else stride
        padding = (sizes[0] // 2, sizes[1] // 2, sizes[2] // 2)
        conv = nn.Conv3d(inputs, outputs, sizes, (1, *strides), padding, bias=False)
        super().__init__(conv, nn.BatchNorm3d(outputs))


def prepare_for_inference(network: nn.Module) -> None:
    """Fold every batch normalisation of `network` (in eval mode) and lay its weights out channels last.

    The network computes the same, nearly twice as fast (see tests/benchmarks/gait.py). It can no longer be trained or
    saved.
    """
    for module in network.modules():
        if isinstance(module, NormalisedConv):
            module.fuse()
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al. 2016, fig. 2)."""

    conv: ClassVar[type[ConvNorm | ConvNorm3d]] = ConvNorm

    def __init__(self, inputs: int, outputs: int, stride: Stride = 1) -> None:
        super().__init__()
        self.conv1 = self.conv(inputs, outputs, stride=stride)
        self.conv2 = self.conv(outputs, outputs)
        self.shortcut = shortcut(self.conv, inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(F.relu(self.conv1(x), inplace=True))
        return F.relu(y + self.shortcut(x), inplace=True)


class BasicBlock3d(BasicBlock):
    """`BasicBlock` with convolutions over time as well: (n, c, t, h, w) -> (n, c', t, h', w')."""

    conv = ConvNorm3d


def shortcut(conv: type[ConvNorm | ConvNorm3d], inputs: int, outputs: int, stride: Stride) -> nn.Module:
    """Return the way around a residual block: a 1x1 convolution, or nothing where the shape stays the same."""
    same = stride == 1 and inputs == outputs
    return nn.Identity() if same else conv(inputs, outputs, kernel=1, stride=stride)


def each_frame(layer: nn.Module, x: Tensor) -> Tensor:
    """Apply a layer of pictures to every frame: (n, c, t, h, w) -> (n, c', t, h', w')."""
    n, _, t = x.shape[:3]
    y: Tensor = layer(x.transpose(1, 2).flatten(0, 1))
    return y.reshape(n, t, *y.shape[1:]).transpose(1, 2)


class BasicBlockP3d(nn.Module):
    """The pseudo-3D residual block of DeepGaitV2 (Fan et al. 2023): (n, c, t, h, w) -> (n, c', t, h', w').

    Two convolutions of single frames, and between them one over time with a shortcut of its own.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = ConvNorm(inputs, outputs, stride=stride)
        self.temporal = ConvNorm3d(outputs, outputs, kernel=(3, 1, 1))
        self.conv2 = ConvNorm(outputs, outputs)
        self.shortcut = shortcut(ConvNorm3d, inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(each_frame(self.conv1, x), inplace=True)
        y = F.relu(y + self.temporal(y), inplace=True)
        return F.relu(each_frame(self.conv2, y) + self.shortcut(x), inplace=True)


def residual_stage(
    block: type[BasicBlock | BasicBlockP3d], inputs: int, outputs: int, depth: int, stride: int
) -> nn.Sequential:
    """Return `depth` residual blocks in a row, of which the first has the `stride`."""
    return nn.Sequential(block(inputs, outputs, stride), *(block(outputs, outputs) for _ in range(depth - 1)))


class ResidualBackbone(nn.Module):
    """A residual network over single frames, as GaitBase has it: (t, inputs, h, w) -> (t, c, h', w').

    Args:
        inputs: maps of a picture.
        widths: channels of the stages; the stem has those of the first.
        depths: residual blocks of each stage.
        strides: stride of each stage's first block.
    """

    def __init__(self, inputs: int, widths: Sequence[int], depths: Sequence[int], strides: Sequence[int]) -> None:
        super().__init__()
        self.stem = ConvNorm(inputs, widths[0])
        self.stages = nn.Sequential()
        for before, width, depth, stride in zip([widths[0], *widths[:-1]], widths, depths, strides, strict=True):
            self.stages.append(residual_stage(BasicBlock, before, width, depth, stride))

    def forward(self, x: Tensor) -> Tensor:
        maps: Tensor = self.stages(F.relu(self.stem(x), inplace=True))
        return maps


class ConvPair(nn.Module):
    """Two convolutions without normalisation, each followed by a leaky ReLU: the block of the plain networks.

    If `strips` is above 1, each horizontal strip of the maps is convolved by itself, with the same weights: the focal
    convolution (Fan et al., "GaitPart", CVPR 2020, section 3.2).
    """

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, strips: int = 1) -> None:
        super().__init__()
        self.strips = strips
        self.conv1 = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        x = x.reshape(n, -1, self.strips, h // self.strips, w).transpose(1, 2).flatten(0, 1)
        x = F.leaky_relu(self.conv2(F.leaky_relu(self.conv1(x), inplace=True)), inplace=True)
        return x.reshape(n, self.strips, -1, h // self.strips, w).transpose(1, 2).flatten(2, 3)


class PlainBackbone(nn.Module):
    """Pairs of convolutions over single frames: (t, 1, h, w) -> (t, c, h / 4, w / 4), halved after each of two pairs.

    `strips` says into how many strips each pair's focal convolutions cut the maps; 1 is an ordinary convolution.
    """

    def __init__(self, widths: Sequence[int], strips: Sequence[int]) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        for (before, width), count in zip(pairwise([1, *widths]), strips, strict=True):
            self.stages.append(ConvPair(before, width, 3 if self.stages else 5, count))

    def forward(self, x: Tensor) -> Tensor:
        for index, stage in enumerate(self.stages):
            x = F.max_pool2d(stage(x), 2) if index < 2 else stage(x)
        return x


def pool_strips(x: Tensor, parts: int) -> Tensor:
    """Horizontal pooling (Fu et al. 2019): mean + max of each of `parts` strips, (n, c, h, w) -> (n, c, parts)."""
    strips = x.reshape(*x.shape[:2], parts, -1)
    return strips.mean(-1) + strips.amax(-1)


def pool_pyramid(x: Tensor, bins: Sequence[int]) -> Tensor:
    """Horizontal pyramid pooling: `pool_strips` at several scales, (n, c, h, w) -> (n, c, sum of `bins`)."""
    return torch.cat([pool_strips(x, parts) for parts in bins], -1)


class PartLinear(nn.Module):
    """A linear layer of its own for each part, without bias: (n, inputs, parts) -> (n, outputs, parts)."""

    def __init__(self, parts: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(parts, inputs, outputs)))

    def forward(self, x: Tensor) -> Tensor:
        return torch.matmul(x.permute(2, 0, 1), self.weight).permute(1, 2, 0)


class PartCosine(PartLinear):
    """Cosines of each part with the columns of a matrix of its own: (n, inputs, parts) -> (n, outputs, parts)."""

    def forward(self, x: Tensor) -> Tensor:
        x = F.normalize(x, dim=1)
        return torch.matmul(x.permute(2, 0, 1), F.normalize(self.weight, dim=1)).permute(1, 2, 0)


class PartNorm(nn.BatchNorm1d):
    """Batch normalisation of every number of every part: (n, c, parts) of the same shape."""

    def __init__(self, parts: int, inputs: int) -> None:
        super().__init__(inputs * parts)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(1)).view_as(x)


class PartNeck(nn.Module):
    """The neck of batch normalisation (Luo et al. 2019): (n, c, parts) of the same shape, each part of unit length."""

    def __init__(self, parts: int, inputs: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(inputs * parts)

    def features(self, x: Tensor) -> Tensor:
        return F.normalize(self.norm(x.flatten(1)).view_as(x), dim=1)


class PartClassifier(PartNeck):
    """The neck and the cosine logits after it, for training: (n, c, parts) -> (n, classes, parts)."""

    def __init__(self, parts: int, inputs: int, classes: int) -> None:
        super().__init__(parts, inputs)
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(parts, inputs, classes)))

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        return torch.matmul(x.permute(2, 0, 1), F.normalize(self.weight, dim=1)).permute(1, 2, 0)
