"""YOLOX in torch; `app.detect.yolox_torch` is the detector.

Ge et al., "YOLOX: Exceeding YOLO Series in 2021", arXiv 2107.08430: CSPDarknet (Wang et al. 2020) with a Focus stem,
a path-aggregation pyramid (Liu et al. 2018) and a decoupled, anchor-free head. The modules have the names of the
published state dicts, so that a strict load needs no renaming. The weights tell the depth, the width, the number of
classes and whether there are depthwise convolutions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from app.weights.checkpoints import need_weights

_STEM = "backbone.backbone.stem.conv.conv.weight"
_DEPTHWISE = "backbone.backbone.dark2.0.dconv.conv.weight"
_BOTTLENECK = "backbone.backbone.dark2.1.m.{}.conv1.conv.weight"
_CLASSES = "head.cls_preds.0.weight"

_SIZES = {(1, 16): "nano", (1, 24): "tiny", (1, 32): "s", (2, 48): "m", (3, 64): "l", (4, 80): "x"}


@dataclass(frozen=True)
class YoloxLayout:
    """What the sizes of the network differ in: the stem's `channels`, `blocks` per stage, `classes`, `depthwise`."""

    channels: int
    blocks: int
    classes: int
    depthwise: bool

    @classmethod
    def of(cls, weights: Mapping[str, Tensor]) -> YoloxLayout:
        """Read the layout from a state dict with the stem and the class predictors; without them, raise `KeyError`."""
        blocks = 0
        while _BOTTLENECK.format(blocks) in weights:
            blocks += 1
        return cls(weights[_STEM].shape[0], blocks, weights[_CLASSES].shape[0], _DEPTHWISE in weights)

    @property
    def name(self) -> str:
        """The published size, such as ``x``, or the width and depth."""
        return _SIZES.get((self.blocks, self.channels), f"w{self.channels}d{self.blocks}")


class ConvBlock(nn.Module):
    """Convolution, batch norm, SiLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn: nn.Module = nn.BatchNorm2d(outputs, eps=1e-3)
        self.act = nn.SiLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))  # type: ignore[no-any-return]

    def fuse(self) -> None:
        """Fold the batch norm into the convolution. For inference only."""
        if isinstance(self.bn, nn.BatchNorm2d):
            self.conv = fuse_conv_bn_eval(self.conv.eval(), self.bn.eval())
            self.bn = nn.Identity()


class DepthwiseBlock(nn.Module):
    """A depthwise, then a pointwise convolution."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.dconv = ConvBlock(inputs, inputs, kernel, stride, groups=inputs)
        self.pconv = ConvBlock(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.pconv(self.dconv(x))  # type: ignore[no-any-return]


def _spatial(inputs: int, outputs: int, stride: int, depthwise: bool) -> nn.Module:
    return (DepthwiseBlock if depthwise else ConvBlock)(inputs, outputs, 3, stride)


class Focus(nn.Module):
    """Puts each 2x2 square of pixels into the channels, column by column, and convolves."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.conv = ConvBlock(12, outputs, 3)

    def forward(self, x: Tensor) -> Tensor:
        corners = [x[..., row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.conv(torch.cat(corners, dim=1))  # type: ignore[no-any-return]


class Bottleneck(nn.Module):
    """A 1x1 and a 3x3 convolution, with a residual if `shortcut` is true."""

    def __init__(self, channels: int, shortcut: bool, depthwise: bool) -> None:
        super().__init__()
        self.conv1 = ConvBlock(channels, channels, 1)
        self.conv2 = _spatial(channels, channels, 1, depthwise)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv2(self.conv1(x))
        return y.add_(x) if self.shortcut else y


class CSPBlock(nn.Module):
    """Half of the channels go through `blocks` bottlenecks, the other half around them (Wang et al. 2020)."""

    def __init__(self, inputs: int, outputs: int, blocks: int, shortcut: bool, depthwise: bool) -> None:
        super().__init__()
        hidden = outputs // 2
        self.conv1 = ConvBlock(inputs, hidden, 1)
        self.conv2 = ConvBlock(inputs, hidden, 1)
        self.conv3 = ConvBlock(2 * hidden, outputs, 1)
        self.m = nn.Sequential(*(Bottleneck(hidden, shortcut, depthwise) for _ in range(blocks)))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv3(torch.cat([self.m(self.conv1(x)), self.conv2(x)], dim=1))  # type: ignore[no-any-return]


class SpatialPyramid(nn.Module):
    """Maxima over 5, 9 and 13 px side by side (He et al. 2015); two poolings over 5 px in a row see 9, three see 13."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = ConvBlock(channels, channels // 2, 1)
        self.conv2 = ConvBlock(channels * 2, channels, 1)
        self.pool = nn.MaxPool2d(5, stride=1, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        views = [self.conv1(x)]
        for _ in range(3):
            views.append(self.pool(views[-1]))
        return self.conv2(torch.cat(views, dim=1))  # type: ignore[no-any-return]


class CSPDarknet(nn.Module):
    """The backbone: features at strides 8, 16 and 32."""

    def __init__(self, layout: YoloxLayout) -> None:
        super().__init__()
        c, n, dw = layout.channels, layout.blocks, layout.depthwise
        self.stem = Focus(c)
        self.dark2 = nn.Sequential(_spatial(c, 2 * c, 2, dw), CSPBlock(2 * c, 2 * c, n, True, dw))
        self.dark3 = nn.Sequential(_spatial(2 * c, 4 * c, 2, dw), CSPBlock(4 * c, 4 * c, 3 * n, True, dw))
        self.dark4 = nn.Sequential(_spatial(4 * c, 8 * c, 2, dw), CSPBlock(8 * c, 8 * c, 3 * n, True, dw))
        self.dark5 = nn.Sequential(
            _spatial(8 * c, 16 * c, 2, dw), SpatialPyramid(16 * c), CSPBlock(16 * c, 16 * c, n, False, dw)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        stride8 = self.dark3(self.dark2(self.stem(x)))
        stride16 = self.dark4(stride8)
        return stride8, stride16, self.dark5(stride16)


class PathAggregation(nn.Module):
    """The backbone with the pyramid: coarse features flow up, then fine features flow down (Liu et al. 2018)."""

    def __init__(self, layout: YoloxLayout) -> None:
        super().__init__()
        c, n, dw = layout.channels, layout.blocks, layout.depthwise
        self.backbone = CSPDarknet(layout)
        self.lateral_conv0 = ConvBlock(16 * c, 8 * c, 1)
        self.C3_p4 = CSPBlock(16 * c, 8 * c, n, False, dw)
        self.reduce_conv1 = ConvBlock(8 * c, 4 * c, 1)
        self.C3_p3 = CSPBlock(8 * c, 4 * c, n, False, dw)
        self.bu_conv2 = _spatial(4 * c, 4 * c, 2, dw)
        self.C3_n3 = CSPBlock(8 * c, 8 * c, n, False, dw)
        self.bu_conv1 = _spatial(8 * c, 8 * c, 2, dw)
        self.C3_n4 = CSPBlock(16 * c, 16 * c, n, False, dw)
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        fine, middle, coarse = self.backbone(x)
        lateral = self.lateral_conv0(coarse)
        reduced = self.reduce_conv1(self.C3_p4(torch.cat([self.upsample(lateral), middle], dim=1)))
        stride8 = self.C3_p3(torch.cat([self.upsample(reduced), fine], dim=1))
        stride16 = self.C3_n3(torch.cat([self.bu_conv2(stride8), reduced], dim=1))
        stride32 = self.C3_n4(torch.cat([self.bu_conv1(stride16), lateral], dim=1))
        return stride8, stride16, stride32


class DecoupledHead(nn.Module):
    """At each stride, one branch for the class and one for box and objectness."""

    def __init__(self, layout: YoloxLayout) -> None:
        super().__init__()
        hidden, dw = 4 * layout.channels, layout.depthwise
        levels = range(3)

        def branch() -> nn.Module:
            return nn.Sequential(_spatial(hidden, hidden, 1, dw), _spatial(hidden, hidden, 1, dw))

        self.stems = nn.ModuleList(ConvBlock(hidden << level, hidden, 1) for level in levels)
        self.cls_convs = nn.ModuleList(branch() for _ in levels)
        self.reg_convs = nn.ModuleList(branch() for _ in levels)
        self.cls_preds = nn.ModuleList(nn.Conv2d(hidden, layout.classes, 1) for _ in levels)
        self.reg_preds = nn.ModuleList(nn.Conv2d(hidden, 4, 1) for _ in levels)
        self.obj_preds = nn.ModuleList(nn.Conv2d(hidden, 1, 1) for _ in levels)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        levels = []
        for level, x in enumerate(features):
            x = self.stems[level](x)
            # The predictors may be kept at a higher precision than the rest.
            box = self.reg_convs[level](x).to(self.reg_preds[level].weight.dtype)
            kind = self.cls_convs[level](x).to(self.cls_preds[level].weight.dtype)
            predictions = [
                self.reg_preds[level](box),
                self.obj_preds[level](box).sigmoid(),
                self.cls_preds[level](kind).sigmoid(),
            ]
            levels.append(torch.cat(predictions, dim=1).flatten(start_dim=2))
        return torch.cat(levels, dim=2).transpose(1, 2)


class Yolox(nn.Module):
    """The network: images (N, 3, H, W), H and W multiples of 32, to (N, A, 5 + classes).

    A row is x, y, log width, log height in units of its cell (see `letterbox.decode`), objectness, class
    probabilities; A is HW (1/8^2 + 1/16^2 + 1/32^2).
    """

    def __init__(self, layout: YoloxLayout) -> None:
        super().__init__()
        self.layout = layout
        self.backbone = PathAggregation(layout)
        self.head = DecoupledHead(layout)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.backbone(x))  # type: ignore[no-any-return]

    def for_inference(self, dtype: torch.dtype = torch.float32) -> Yolox:
        """Fold the batch norms and lay the weights out channels-last, in place. Afterwards it cannot be trained.

        With bfloat16, the last 1x1 layers stay float32: they take no time, and the size of a box is an exponential.
        """
        self.eval()
        for module in self.modules():
            if isinstance(module, ConvBlock):
                module.fuse()
        self.to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        for predictors in (self.head.cls_preds, self.head.reg_preds, self.head.obj_preds):
            predictors.float()
        return self.requires_grad_(False)


def layout_of(weights: Mapping[str, Tensor], path: Path) -> YoloxLayout | None:
    """Return the layout of a checkpoint, None if it is not one of YOLOX's.

    The network is built without numbers here, because a file may claim layers that do not fit into the memory.

    Raises:
        CheckpointError: weights are missing, left over or of another shape.
    """
    if any(key not in weights or weights[key].ndim != 4 for key in (_STEM, _CLASSES)):
        return None
    layout = YoloxLayout.of(weights)
    with torch.device("meta"):
        need_weights(Yolox(layout), weights, path, f"YOLOX-{layout.name}")
    return layout
