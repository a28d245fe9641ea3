"""The small person detector that comes with Gaitprint, in torch, for training; ONNX Runtime runs its export.

Like YOLOX (Ge et al. 2021, arXiv 2107.08430) it is free of anchors and has the strides 8, 16 and 32, so that
`app.detect.letterbox` reads its output. Unlike YOLOX it consists of plain 3x3 convolutions and ReLU, which CPUs run
faster than depthwise ones: residual stages (He et al. 2016), pooling over several windows (He et al. 2015), a
path-aggregation pyramid (Liu et al. 2018) with sums in place of concatenations, and a head whose convolutions all
levels share, each with its own batch norms (Lyu et al. 2022, arXiv 2212.07784).
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from app.detect.letterbox import PAD, STRIDES

_WIDTHS = (32, 64, 96, 160)
_PYRAMID = 64
_HEAD = 48
_RARE = 0.01
"""The probability of a person in a cell before training (Lin et al. 2017, section 3.3)."""


class Block(nn.Sequential):
    """Convolution, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> None:
        # An even kernel is centred on the stride, so that cells lie over their pixels.
        padding = kernel // 2 if kernel % 2 else (kernel - stride) // 2
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )

    def fuse(self) -> None:
        """Fold the batch norm into the convolution."""
        convolution, norm, _ = self
        assert isinstance(convolution, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        self[0], self[1] = fuse_conv_bn_eval(convolution, norm), nn.Identity()


class Residual(nn.Module):
    """A convolution to `hidden` channels (1x1, or 3x3 if the number stays the same), a 3x3 one, and the input added."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.first = Block(channels, hidden, 3 if hidden == channels else 1)
        self.second = Block(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.second(self.first(x))
        return y


class Pooling(nn.Module):
    """Maxima over 5, 9 and 13 cells, beside the cells themselves."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = Block(channels, channels // 2, 1)
        self.second = Block(channels * 2, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        views = [self.first(x)]
        for _ in range(3):
            views.append(F.max_pool2d(views[-1], 5, 1, 2))
        y: Tensor = self.second(torch.cat(views, dim=1))
        return y


class Shared(nn.Module):
    """One convolution for all levels, with a batch norm for each of them."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(outputs) for _ in STRIDES)
        self.fused = nn.ModuleList()

    def fuse(self) -> None:
        """Fold the batch norms into a convolution for each level."""
        for norm in self.norms:
            assert isinstance(norm, nn.BatchNorm2d)
            self.fused.append(fuse_conv_bn_eval(self.conv, norm))

    def forward(self, x: Tensor, level: int) -> Tensor:
        return F.relu(self.fused[level](x) if self.fused else self.norms[level](self.conv(x)), inplace=True)


class SmallDetector(nn.Module):
    """Raw BGR 0..255 (N, 3, H, W), H and W multiples of 32, to (N, A, 5), A the cells of the strides 8, 16 and 32.

    Each cell gives the centre x and y in cells from its corner, the logarithms of width and height in strides, and the
    logit of a person.
    """

    def __init__(self) -> None:
        super().__init__()
        a, b, c, d = _WIDTHS
        self.stem = Block(3, a, 6, 4)
        self.stage4 = Residual(a, a // 2)
        self.stage8 = nn.Sequential(Block(a, b, 3, 2), Residual(b, 48), Residual(b, 48))
        self.stage16 = nn.Sequential(Block(b, c, 3, 2), Residual(c, c), Residual(c, c))
        self.stage32 = nn.Sequential(Block(c, d, 3, 2), Residual(d, d // 2), Residual(d, d // 2), Pooling(d))
        self.lateral = nn.ModuleList(Block(width, _PYRAMID, 1) for width in (b, c, d))
        self.down = nn.ModuleList(Block(_PYRAMID, _PYRAMID) for _ in range(2))
        self.up = nn.ModuleList(Block(_PYRAMID, _PYRAMID, 3, 2) for _ in range(2))
        self.common = Shared(_PYRAMID, _HEAD)
        self.where = Shared(_HEAD, _HEAD)
        self.whether = Shared(_HEAD, _HEAD)
        self.box = nn.Conv2d(_HEAD, 4, 1)
        self.person = nn.Conv2d(_HEAD, 1, 1)
        nn.init.normal_(self.box.weight, std=0.01)
        nn.init.normal_(self.person.weight, std=0.01)
        with torch.no_grad():
            assert self.box.bias is not None
            assert self.person.bias is not None
            self.box.bias.copy_(torch.tensor([0.5, 0.5, 1.0, 2.0]))  # upright, some cells high
            self.person.bias.fill_(float(torch.logit(torch.tensor(_RARE))))

    def forward(self, images: Tensor) -> Tensor:
        x = (images - PAD) / 64
        x8 = self.stage8(self.stage4(self.stem(x)))
        x16 = self.stage16(x8)
        x32 = self.stage32(x16)
        y8, y16, y32 = (lateral(x) for lateral, x in zip(self.lateral, (x8, x16, x32), strict=True))
        y16 = self.down[0](y16 + F.interpolate(y32, scale_factor=2.0))
        y8 = self.down[1](y8 + F.interpolate(y16, scale_factor=2.0))
        y16 = y16 + self.up[0](y8)
        y32 = y32 + self.up[1](y16)
        return torch.cat([self._cells(y, level) for level, y in enumerate((y8, y16, y32))], dim=1)

    def fused(self) -> SmallDetector:
        """Return a copy with its batch norms folded into the convolutions, for inference only."""
        copied = copy.deepcopy(self).eval()
        for module in list(copied.modules()):
            if isinstance(module, Block | Shared):
                module.fuse()
        return copied.eval()

    def _cells(self, x: Tensor, level: int) -> Tensor:
        x = self.common(x, level)
        cells = torch.cat([self.box(self.where(x, level)), self.person(self.whether(x, level))], dim=1)
        return cells.flatten(2).transpose(1, 2)
