"""The network that looks at one person: an encoder for crops with two heads, the matte and the keypoints.

An encoder of residual blocks (He et al. 2016) goes from half to a thirty-second of the crop, a decoder adds the levels
again from below (Lin et al. 2017, FPN). Both heads take their last doubling of the resolution from channels (Shi et al.
2016, sub-pixel convolution). Plain 3x3 convolutions throughout: on CPUs they are several times faster than depthwise
ones of the same size of result. As a crop is centred on its person, the deepest level learns a map of places, too:
whoever stands in the middle is meant.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

HEIGHT, WIDTH = 192, 96
"""The crop, px."""
MEAN, STD = (0.46, 0.45, 0.43), (0.26, 0.26, 0.27)
"""Of the colours red, green, blue in 0..1."""
JOINTS = 17
CELL = 4
"""Size of a cell of the keypoints' maps, px."""
_STAGES = ((32, 1), (64, 2), (112, 2), (144, 2))
"""Channels and residual blocks at a quarter, an eighth, a sixteenth, a thirty-second."""
_STEM = 16


def _convolution(inside: int, outside: int, size: int = 3, stride: int = 1, *, active: bool = True) -> nn.Sequential:
    layers = [nn.Conv2d(inside, outside, size, stride, size // 2, bias=False), nn.BatchNorm2d(outside)]
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if active else []))


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(_convolution(channels, channels), _convolution(channels, channels, active=False))

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.layers(x))


class _Joined(nn.Module):
    """A finer level, to which the coarser one is added."""

    def __init__(self, fine: int, coarse: int) -> None:
        super().__init__()
        self.narrow = _convolution(coarse, fine, 1, active=False)
        self.mix = _convolution(fine, fine)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        return cast(Tensor, self.mix(fine + functional.interpolate(self.narrow(coarse), scale_factor=2.0)))


class PersonNetwork(nn.Module):
    """Crops float32 (N, 3, 192, 96), normalised RGB, to logits of the matte and of the keypoints' places."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _convolution(3, _STEM, stride=2)
        stages, width = [], _STEM
        for channels, blocks in _STAGES:
            stages.append(
                nn.Sequential(_convolution(width, channels, stride=2), *(_Residual(channels) for _ in range(blocks)))
            )
            width = channels
        self.stages = nn.ModuleList(stages)
        quarter, eighth, sixteenth, last = (channels for channels, _ in _STAGES)
        self.places = nn.Parameter(torch.zeros(1, last, HEIGHT // 32, WIDTH // 32))
        self.to_sixteenth, self.to_eighth = _Joined(sixteenth, last), _Joined(eighth, sixteenth)
        self.to_quarter, self.to_half = _Joined(quarter, eighth), _Joined(_STEM, quarter)
        self.matte = nn.Conv2d(_STEM, 4, 3, padding=1)
        self.maps = nn.Sequential(_convolution(eighth, eighth), nn.Conv2d(eighth, 4 * JOINTS, 1))
        self.absent = nn.Linear(last, JOINTS)

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """Return the matte's logits (N, 1, 192, 96), and the keypoints' (N, 17, 48 * 24 + 1).

        The latter are those of the cells of a map, row by row, and last that the keypoint is not in the crop.
        """
        half, levels, eighth = self._levels(crops)
        return self._matte(half, levels, eighth), self._keypoints(levels, eighth)

    def _levels(self, crops: Tensor) -> tuple[Tensor, list[Tensor], Tensor]:
        half: Tensor = self.stem(crops)
        levels, x = [], half
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        levels[-1] = levels[-1] + self.places
        return half, levels, self.to_eighth(levels[1], self.to_sixteenth(levels[2], levels[3]))

    def _matte(self, half: Tensor, levels: list[Tensor], eighth: Tensor) -> Tensor:
        fine = self.to_half(half, self.to_quarter(levels[0], eighth))
        return functional.pixel_shuffle(self.matte(fine), 2)

    def _keypoints(self, levels: list[Tensor], eighth: Tensor) -> Tensor:
        maps = functional.pixel_shuffle(self.maps(eighth), 2).flatten(2)
        return torch.cat([maps, self.absent(levels[-1].mean((2, 3)))[..., None]], dim=2)


def decoded(logits: Tensor) -> Tensor:
    """Return the keypoints (N, 17, 3) of logits (N, 17, 48 * 24 + 1): x, y in 0..1 of the crop, and a score.

    The score is the probability of the 5x5 cells that hold the most, about 5 % of the crop's height to each side; the
    place is their mean. (The mean over all cells would lie between two people.)
    """
    rows, columns = HEIGHT // CELL, WIDTH // CELL
    shares = logits.softmax(dim=2)[..., :-1].reshape(-1, JOINTS, rows, columns)
    x = (torch.arange(columns, dtype=shares.dtype) + 0.5) / columns
    y = (torch.arange(rows, dtype=shares.dtype) + 0.5) / rows
    sums = [
        functional.avg_pool2d(part, 5, 1, 2, count_include_pad=True).flatten(2) * 25
        for part in (shares, shares * x, shares * y[:, None])
    ]
    best = sums[0].argmax(dim=2, keepdim=True)
    mass, left, top = (part.gather(2, best) for part in sums)
    return torch.cat([left / mass, top / mass, mass], dim=2)


class MatteOnly(nn.Module):
    """Crops (N, 3, 192, 96) to probabilities (N, 1, 192, 96)."""

    def __init__(self, network: PersonNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, crops: Tensor) -> Tensor:
        matte: Tensor = self.network(crops)[0]
        return matte.sigmoid()


class KeypointsOnly(nn.Module):
    """Crops (N, 3, 192, 96) to keypoints (N, 17, 3): see `decoded`."""

    def __init__(self, network: PersonNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, crops: Tensor) -> Tensor:
        return decoded(self.network(crops)[1])
