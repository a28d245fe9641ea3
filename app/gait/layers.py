"""Building blocks the gait networks share."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval


class ConvNorm(nn.Module):
    """A convolution without bias, padded to keep the size, and its batch normalisation."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        normalised: Tensor = self.norm(self.conv(x))
        return normalised

    def fuse(self) -> None:
        """Fold the normalisation into the convolution: the same function in one step, for inference only."""
        if isinstance(self.norm, nn.BatchNorm2d):
            self.conv = fuse_conv_bn_eval(self.conv, self.norm)
            self.norm = nn.Identity()


def prepare_for_inference(network: nn.Module) -> None:
    """Fold every batch normalisation of `network` (in eval mode) and lay its weights out channels last.

    The same function, nearly twice as fast (see tests/benchmarks/gait.py); it can no longer be trained or saved.
    """
    for module in network.modules():
        if isinstance(module, ConvNorm):
            module.fuse()
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al. 2016, fig. 2)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(inputs, outputs, stride=stride)
        self.conv2 = ConvNorm(outputs, outputs)
        same = stride == 1 and inputs == outputs
        self.shortcut: nn.Module = nn.Identity() if same else ConvNorm(inputs, outputs, kernel=1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(F.relu(self.conv1(x), inplace=True))
        return F.relu(y + self.shortcut(x), inplace=True)


def pool_strips(x: Tensor, parts: int) -> Tensor:
    """Horizontal pooling (Fu et al. 2019): mean + max of each of `parts` strips, (n, c, h, w) -> (n, c, parts)."""
    strips = x.reshape(*x.shape[:2], parts, -1)
    return strips.mean(-1) + strips.amax(-1)


class PartLinear(nn.Module):
    """A linear layer of its own for each part, without bias: (n, inputs, parts) -> (n, outputs, parts)."""

    def __init__(self, parts: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(parts, inputs, outputs)))

    def forward(self, x: Tensor) -> Tensor:
        return torch.matmul(x.permute(2, 0, 1), self.weight).permute(1, 2, 0)


class PartClassifier(nn.Module):
    """The neck of batch normalisation (Luo et al. 2019) and cosine logits, for training: (n, c, parts) -> classes."""

    def __init__(self, parts: int, inputs: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(inputs * parts)
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(parts, inputs, classes)))

    def forward(self, x: Tensor) -> Tensor:
        x = F.normalize(self.norm(x.flatten(1)).view_as(x), dim=1)
        return torch.matmul(x.permute(2, 0, 1), F.normalize(self.weight, dim=1)).permute(1, 2, 0)
