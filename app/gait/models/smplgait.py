"""SMPLGait: Zheng et al., "Gait Recognition in the Wild with Dense 3D Representations", CVPR 2022, section 4.

The plain baseline, whose feature maps are multiplied, frame by frame, with a matrix that a second branch makes of the
body's SMPL parameters (the 3D spatial transformation network).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from app.gait.base import PictureNetwork, pool_walks
from app.gait.layers import PartClassifier, PartLinear, PlainBackbone, pool_pyramid
from app.types import SMPL, Floats

_MIRRORED = [0, 2, 1, 3, 5, 4, 6, 8, 7, 9, 11, 10, 12, 14, 13, 15, 17, 16, 19, 18, 21, 20, 23, 22]
"""SMPL's 24 joints, left and right exchanged."""


def mirrored(smpl: Floats) -> Floats:
    """Return SMPL parameters (T, 85) as a mirrored picture has them: sides exchanged, turns about y and z reversed."""
    camera, pose, shape = np.split(smpl, [3, 75], axis=1)
    pose = pose.reshape(-1, 24, 3)[:, _MIRRORED] * np.array([1, -1, -1], smpl.dtype)
    return np.concatenate([camera * np.array([1, -1, 1], smpl.dtype), pose.reshape(-1, 72), shape], 1)


class SMPLGait(PictureNetwork):
    """SMPLGait: `embed` takes silhouettes and the SMPL parameters of the same frames.

    `smpl_widths` are the channels of the first layers of the 3D branch; its last layer has one for each number of the
    matrix.
    """

    family: ClassVar[str] = "smplgait"
    inputs: tuple[str, ...] = ("silhouettes", "smpl")

    def __init__(
        self,
        widths: Sequence[int] = (64, 128, 256),
        smpl_widths: Sequence[int] = (128, 256),
        bins: Sequence[int] = (16, 8, 4, 2, 1),
        channels: int = 256,
        classes: int | None = None,
        input_size: tuple[int, int] = (64, 44),
    ) -> None:
        super().__init__(input_size)
        self.bins = tuple(bins)
        self.side = input_size[0] // 4
        self.backbone = PlainBackbone(widths, [1] * len(widths))
        self.smpl = nn.Sequential()
        for before, width in pairwise([SMPL, *smpl_widths, self.side**2]):
            self.smpl.append(nn.Sequential(nn.Linear(before, width), nn.BatchNorm1d(width), nn.ReLU(inplace=True)))
        self.linear = PartLinear(sum(bins), widths[-1], channels)
        self.classifier = PartClassifier(sum(bins), channels, classes) if classes is not None else None

    def embed(self, silhouettes: Tensor, smpl: Tensor, lengths: Sequence[int] | None = None) -> Tensor:
        """Embed walks, silhouettes as in `GaitNetwork.embed`: float32 (n, C, P). The body in the same frames is `smpl`
        (n, t, 85).

        Raises:
            ValueError: silhouettes of another size than `input_size`, or SMPL parameters that do not belong to them.
        """
        self.check(silhouettes, lengths)
        if smpl.shape != (*silhouettes.shape[:2], SMPL):
            raise ValueError(f"smpl is {tuple(smpl.shape)}; smplgait takes {SMPL} numbers for each silhouette.")
        maps = self.backbone(silhouettes.flatten(0, 1)[:, None])
        turn = self.smpl(smpl.flatten(0, 1)).unflatten(1, (1, self.side, self.side))
        turn = turn + torch.eye(self.side, dtype=turn.dtype, device=turn.device)
        # The matrix is square and the maps are not: empty columns on the right make them so.
        maps = F.pad(maps, (0, self.side - maps.shape[-1])) @ turn
        pooled = pool_walks(maps, len(silhouettes), lengths)
        parts: Tensor = self.linear(pool_pyramid(pooled, self.bins))
        return parts
