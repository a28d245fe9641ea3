"""The person detector that comes with Gaitprint, in torch, for training; ONNX Runtime runs its export.

Its architecture is NanoDet-g's (NanoDet, Copyright 2020-2021 RangiLyu, Apache-2.0), so that training can start from the
weights which that network learnt on COCO. It was read off the published ONNX graph. Plain 3x3 convolutions stand in
stages whose halves are joined again (CSPNet: Wang et al. 2019, arXiv 1911.11929). A path-aggregation pyramid adds the
levels up (Liu et al. 2018, arXiv 1803.01534). A head for each level gives a score, and the distances to the four edges
as distributions over bins (GFL: Li et al. 2020, arXiv 2006.04388). Unlike NanoDet-g it knows one class, the person, and
has YOLOX's output, so that `app.detect.letterbox` reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from app.detect.letterbox import STRIDES
from app.errors import CheckpointError, needing, reason_of
from app.types import Floats

_MEAN = (103.53, 116.28, 123.675)
_STD = (57.375, 57.12, 58.395)
"""Normalisation of blue, green and red, which the published weights were learnt with."""
_BINS = 11
"""An edge is 0 to 10 strides away from the middle of its cell."""
_PYRAMID = 128
_RARE = 0.01
"""The probability of a person in a cell before training (Lin et al. 2017, section 3.3)."""
_NANODET_CLASSES = 80
"""The classes of the published network; the person is the first."""


class Block(nn.Sequential):
    """A convolution and a leaky ReLU. Without norms, the first weights must keep the scale (He et al. 2015)."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        convolution = nn.Conv2d(inputs, outputs, 3, stride, 1)
        nn.init.kaiming_normal_(convolution.weight, a=0.1)
        super().__init__(convolution, nn.LeakyReLU(0.1, inplace=True))


class _Halves(nn.Module):
    """Two convolutions of half the width each, one after the other, and both side by side."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = Block(width, width // 2)
        self.second = Block(width // 2, width // 2)

    def forward(self, x: Tensor) -> Tensor:
        half = self.first(x)
        return torch.cat([self.second(half), half], dim=1)


class _Stage(nn.Module):
    """`inputs` channels to twice `width`, at `stride`."""

    def __init__(self, inputs: int, width: int, stride: int, blocks: int) -> None:
        super().__init__()
        self.enter = Block(inputs, width, stride)
        self.blocks = nn.Sequential(*(_Halves(width) for _ in range(blocks)))
        self.leave = Block(width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        return torch.cat([self.leave(self.blocks(x)), x], dim=1)


class SmallBackbone(nn.Module):
    """Normalised BGR (N, 3, H, W) to features of `CHANNELS` channels at the strides 2, 4, 8, 16 and 32."""

    CHANNELS = (32, 64, 128, 256, 512)

    def __init__(self) -> None:
        super().__init__()
        self.stem = Block(3, 32, 2)
        self.stages = nn.ModuleList(
            [_Stage(32, 32, 1, 1), _Stage(64, 64, 2, 2), _Stage(128, 128, 2, 2), _Stage(256, 256, 2, 3)]
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        levels = [self.stem(x)]
        x = F.max_pool2d(levels[0], 3, 2, 1)
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        return levels

    def freeze(self, stages: int) -> None:
        """Keep the weights of the stem and of the first `stages` of the four stages. 0 keeps none."""
        for part in (self.stem, *self.stages[:stages]) if stages else ():
            part.requires_grad_(False)

    def start(self, path: Path, *, rgb: bool = False) -> None:
        """Load the weights of NanoDet-g's backbone; see `SmallDetector.start`. With `rgb`, pictures will be RGB."""
        _load(path, _convolutions_of(self))
        if rgb:
            with torch.no_grad():
                first = _convolutions_of(self.stem)[0].weight
                first.copy_(first.flip(1))


class SmallDetector(nn.Module):
    """Raw BGR 0..255 (N, 3, H, W), H and W multiples of 32, to (N, A, 5), A the cells of the strides 8, 16 and 32.

    Each cell gives the centre x and y in cells from its corner, the logarithms of width and height in strides, and the
    logit of a person.
    """

    mean: Tensor
    std: Tensor
    bins: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(_STD).view(3, 1, 1), persistent=False)
        self.register_buffer("bins", torch.arange(_BINS, dtype=torch.float32), persistent=False)
        self.backbone = SmallBackbone()
        self.lateral = nn.ModuleList(nn.Conv2d(width, _PYRAMID, 1) for width in self.backbone.CHANNELS[2:])
        self.heads = nn.ModuleList(
            nn.Sequential(Block(_PYRAMID, _PYRAMID), nn.Conv2d(_PYRAMID, 1 + 4 * _BINS, 1)) for _ in STRIDES
        )
        for head in self.heads:
            last = _convolutions_of(head)[-1]
            nn.init.normal_(last.weight, std=0.01)
            with torch.no_grad():
                assert last.bias is not None
                last.bias[0] = torch.logit(torch.tensor(_RARE))

    def forward(self, images: Tensor) -> Tensor:
        levels = self.backbone((images - self.mean) / self.std)[2:]
        x8, x16, x32 = (lateral(x) for lateral, x in zip(self.lateral, levels, strict=True))
        x16 = x16 + F.interpolate(x32, scale_factor=2.0, mode="bilinear")
        x8 = x8 + F.interpolate(x16, scale_factor=2.0, mode="bilinear")
        # The mean of two by two cells is what the published network's bilinear halving gives.
        x16 = x16 + F.avg_pool2d(x8, 2)
        x32 = x32 + F.avg_pool2d(x16, 2)
        outputs = [head(x).flatten(2) for head, x in zip(self.heads, (x8, x16, x32), strict=True)]
        return self._boxes(torch.cat(outputs, dim=2).transpose(1, 2))

    def start(self, path: Path) -> None:
        """Load the weights of NanoDet-g as published in ONNX form; of its classes only that of the person.

        Raises:
            CheckpointError: `path` is not that network.
            MissingExtraError: the package `onnx` is not installed.
        """
        heads = [convolution for head in reversed(self.heads) for convolution in _convolutions_of(head)]
        laterals = [convolution for lateral in reversed(self.lateral) for convolution in _convolutions_of(lateral)]
        _load(path, [*_convolutions_of(self.backbone), *laterals, *heads])

    def _boxes(self, outputs: Tensor) -> Tensor:
        """Return (N, A, 5) of the heads' outputs (N, A, 45): the logit of a person, and the bins of the four edges."""
        bins = outputs[..., 1:].float().reshape(*outputs.shape[:2], 4, _BINS).softmax(dim=3)
        left, top, right, bottom = (bins * self.bins).sum(dim=3).unbind(dim=2)
        middle = torch.stack([right - left, bottom - top], dim=2) / 2 + 0.5
        sizes = torch.stack([left + right, top + bottom], dim=2).clamp(min=0.01).log()
        return torch.cat([middle, sizes, outputs[..., :1].float()], dim=2)


def _convolutions_of(network: nn.Module) -> list[nn.Conv2d]:
    """Return all convolutions in the order in which they run, which is that in which they were made."""
    return [module for module in network.modules() if isinstance(module, nn.Conv2d)]


def _load(path: Path, targets: Sequence[nn.Conv2d]) -> None:
    """Load the first convolutions of NanoDet-g's ONNX file into `targets`."""
    weights = _stored_convolutions(path)
    if len(weights) < len(targets):
        raise CheckpointError(f"{path} is not NanoDet-g: it has {len(weights)} convolutions, and not {len(targets)}.")
    for number, (target, (kernel, bias)) in enumerate(zip(targets, weights, strict=False), 1):
        if len(kernel) == _NANODET_CLASSES + 4 * _BINS:
            person_and_edges = [0, *range(_NANODET_CLASSES, len(kernel))]
            kernel, bias = kernel[person_and_edges], bias[person_and_edges]
        if kernel.shape != target.weight.shape or target.bias is None:
            raise CheckpointError(
                f"{path} is not NanoDet-g: its convolution {number} has the shape {kernel.shape}, and not "
                f"{tuple(target.weight.shape)}."
            )
        with torch.no_grad():
            target.weight.copy_(torch.from_numpy(kernel))
            target.bias.copy_(torch.from_numpy(bias))


def _stored_convolutions(path: Path) -> list[tuple[Floats, Floats]]:
    """Return kernel and bias of every convolution of an ONNX file, in the order in which they run."""
    with needing('Reading the first weights needs onnx: pip install -e ".[train]"'):
        import onnx
        from onnx import numpy_helper
    try:
        graph = onnx.load(str(path)).graph
        values: dict[str, Any] = {weight.name: numpy_helper.to_array(weight) for weight in graph.initializer}
        # Kernels are stored as float16 and made float32 by nodes of the graph.
        values |= {
            node.output[0]: values[node.input[0]]
            for node in graph.node
            if node.op_type == "Cast" and node.input[0] in values
        }
        stored = [[values[name] for name in node.input[1:]] for node in graph.node if node.op_type == "Conv"]
        return [(kernel.astype(np.float32), bias.astype(np.float32)) for kernel, bias in stored]
    except Exception as error:  # the library has no common class for the errors of damaged files
        raise CheckpointError(f"{path} cannot be read as NanoDet-g's ONNX file ({reason_of(error)}).") from error
