"""The network for crops of one person: an encoder with three heads, for matte, keypoints and body parts.

The encoder is the detector's (`app.detect.small`). It has levels from a half to a thirty-second of the crop, and can
start with weights that NanoDet-g learnt on COCO. A decoder adds the levels up, beginning with the deepest (Lin et al.
2017, FPN). The heads of matte and keypoints enlarge their maps at the end by sub-pixel convolution (Shi et al. 2016).
That of the parts joins the levels at a quarter and at a half of the crop once more, wider than the decoder does,
because nearly all of its errors are at borders. A crop is centred on its person, so the deepest level also learns a map
of places, which tells the person in the centre from others.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from app.detect.small import SmallBackbone
from app.types import BODY_PARTS, MIRRORED_KEYPOINTS, MIRRORED_PARTS

HEIGHT, WIDTH = 192, 96
"""Size of the crop in px."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Normalisation of the colours red, green, blue in 0..1."""
JOINTS = 17
LABELS = len(BODY_PARTS) + 1
CELL = 4
"""Size in px of a cell of the keypoints' maps."""
_WIDTHS = (16, 32, 96, 128)
"""Channels of the decoder at a half to a sixteenth of the crop."""
_WIDE, _FINE = 64, 48
"""Channels of the parts' head at a quarter and at a half of the crop."""


def _convolution(inside: int, outside: int, size: int = 3, *, active: bool = True) -> nn.Sequential:
    layers = [nn.Conv2d(inside, outside, size, 1, size // 2, bias=False), nn.BatchNorm2d(outside)]
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if active else []))


class _Joined(nn.Module):
    """Adds a coarser level to a finer one."""

    def __init__(self, fine: int, coarse: int, width: int) -> None:
        super().__init__()
        self.side = _convolution(fine, width, 1, active=False)
        self.narrow = _convolution(coarse, width, 1, active=False)
        self.mix = _convolution(width, width)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        added = self.side(fine) + functional.interpolate(self.narrow(coarse), scale_factor=2.0)
        return cast(Tensor, self.mix(functional.relu(added)))


class PersonNetwork(nn.Module):
    """Crops float32 (N, 3, 192, 96), normalised RGB, to logits of matte, keypoints' places and body parts."""

    OF_PARTS = ("wide", "inner", "borders", "parts")
    """The layers that nothing but the body parts need."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = SmallBackbone()
        *fine, last = SmallBackbone.CHANNELS
        self.places = nn.Parameter(torch.zeros(1, last, HEIGHT // 32, WIDTH // 32))
        self.joins = nn.ModuleList(map(_Joined, fine, (*_WIDTHS[1:], last), _WIDTHS))
        half, quarter, eighth, _ = _WIDTHS
        self.matte = nn.Conv2d(half, 4, 3, padding=1)
        self.maps = nn.Sequential(_convolution(eighth, eighth), nn.Conv2d(eighth, 4 * JOINTS, 1))
        self.absent = nn.Linear(last, JOINTS)
        self.wide = _Joined(quarter, eighth, _WIDE)
        self.inner = nn.Sequential(_convolution(_WIDE, _WIDE), _convolution(_WIDE, _WIDE, active=False))
        self.borders = _Joined(fine[0] + half, _WIDE, _FINE)
        self.parts = nn.Sequential(_convolution(_FINE, _FINE), nn.Conv2d(_FINE, LABELS, 1))

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the logits of matte (N, 1, 192, 96), keypoints (N, 17, 48 * 24 + 1) and parts (N, 12, 96, 48).

        Those of the keypoints are those of the cells of a map, row by row. The last one says that the keypoint is not
        in the crop. Those of the parts begin with the background.
        """
        *fine, last = self.backbone(crops)
        last = last + self.places
        x = last
        for number in (3, 2):
            x = self.joins[number](fine[number], x)
        eighth = x
        quarter = self.joins[1](fine[1], x)
        x = self.joins[0](fine[0], quarter)
        wide = self.wide(quarter, eighth)
        wide = functional.relu(wide + self.inner(wide))
        parts = self.parts(self.borders(torch.cat([fine[0], x], dim=1), wide))
        maps = functional.pixel_shuffle(self.maps(eighth), 2).flatten(2)
        keypoints = torch.cat([maps, self.absent(last.mean((2, 3)))[..., None]], dim=2)
        return functional.pixel_shuffle(self.matte(x), 2), keypoints, parts


def decode(logits: Tensor) -> Tensor:
    """Return the keypoints (N, 17, 3) of logits (N, 17, 48 * 24 + 1): x, y in 0..1 of the crop, and a score.

    The score is the probability of the 5x5 cells that have the highest sum, about 5 % of the crop's height to each
    side. The place is their mean. (The mean over all cells would lie between two people.)
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


def matte_only(network: nn.Module, crops: Tensor) -> Tensor:
    """Turn crops (N, 3, 192, 96) into probabilities (N, 1, 192, 96)."""
    matte: Tensor = network(crops)[0]
    return matte.sigmoid()


def both_ways(network: nn.Module, crops: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the average output of a `PersonNetwork` for crops and their mirror images.

    Args:
        network: in evaluation mode.
        crops: (N, 3, 192, 96), normalised.

    Returns:
        The probability of the body, (N, 1, 192, 96), the keypoints, (N, 17, 3): see `decode`, and the probabilities of
        background and parts, (N, 12, 96, 48).
    """
    matte, places, parts = network(crops)
    mirrored, there, other = network(crops.flip(3))
    there = there.float().softmax(dim=2)
    maps = there[..., :-1].unflatten(2, (-1, WIDTH // CELL)).flip(3).flatten(2)
    there = torch.cat([maps, there[..., -1:]], dim=2)[:, list(MIRRORED_KEYPOINTS)]
    shares = (places.float().softmax(dim=2) + there) / 2
    labels = parts.float().softmax(dim=1) + other.float().softmax(dim=1).flip(3)[:, list(MIRRORED_PARTS)]
    body = matte.float().sigmoid() + mirrored.float().sigmoid().flip(3)
    return body / 2, decode(shares.log()), labels / 2


def keypoints_and_parts(network: nn.Module, crops: Tensor) -> tuple[Tensor, Tensor]:
    """Turn crops (N, 3, 192, 96) into keypoints (N, 17, 3) and probabilities of parts (N, 12, 96, 48)."""
    return both_ways(network, crops)[1:]
