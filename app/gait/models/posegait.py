"""PoseGait: Liao et al., "A model-based gait recognition method with body pose and human prior knowledge", Pattern
Recognition 98, 2020.

Handmade features of the joints (section 3.2: pose, angles, limb lengths, motion) make a picture whose columns are the
frames. A convolutional network (section 3.3) sees it and is trained with a softmax and a centre loss. This is written
from the paper, with one difference: the paper first lifts the joints to three dimensions, while here they stay in two.
There are no published weights, so the names of the weights are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from app.gait.base import JointNetwork
from app.gait.models.gaitgraph import require

JOINTS = 14
NECK, HIPS = 1, (8, 11)
# Nose, neck, right and left arm, right and left leg: one keypoint of COCO-17, or the middle of two.
_SOURCES = (
    (0, 0), (5, 6), (6, 6), (8, 8), (10, 10), (5, 5), (7, 7), (9, 9), (12, 12), (14, 14), (16, 16), (11, 11), (13, 13),
    (15, 15),
)  # fmt: skip
LIMBS = (
    (1, 0), (1, 2), (2, 3), (3, 4), (1, 5), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13),
)  # fmt: skip
BENDS = ((1, 2, 3), (2, 3, 4), (1, 5, 6), (5, 6, 7), (1, 8, 9), (8, 9, 10), (1, 11, 12), (11, 12, 13))
"""Three joints each, at the middle one of which two limbs meet."""
FEATURES = 2 * JOINTS + len(LIMBS) + len(BENDS) + len(LIMBS) + 2 * JOINTS


def pose_features(keypoints: Tensor) -> Tensor:
    """Make the input of PoseGait, float32 (n, 90, t), of COCO-17's x and y, float32 (n, t, 17, 2 or more).

    It is, in this order: x and y of 14 joints, measured from the neck in lengths of the trunk (from the neck to the
    middle of the hips); directions of 13 limbs and angles at 8 joints, in half turns; lengths of the limbs, in lengths
    of the trunk; and how far each joint moves to the next frame, zero in the last frame.
    """
    first, second = (list(side) for side in zip(*_SOURCES, strict=True))
    points = (keypoints[:, :, first, :2] + keypoints[:, :, second, :2]) / 2
    points = points - points[:, :, NECK : NECK + 1]
    trunk = points[:, :, HIPS].mean(2).norm(dim=-1).clamp_min(1e-3)
    points = points / trunk[..., None, None]
    start, end = (list(side) for side in zip(*LIMBS, strict=True))
    limbs = points[:, :, end] - points[:, :, start]
    directions = torch.atan2(limbs[..., 0], limbs[..., 1]) / torch.pi
    before, middle, after = (list(side) for side in zip(*BENDS, strict=True))
    upper, lower = points[:, :, before] - points[:, :, middle], points[:, :, after] - points[:, :, middle]
    cross = upper[..., 0] * lower[..., 1] - upper[..., 1] * lower[..., 0]
    angles = torch.atan2(cross.abs(), (upper * lower).sum(-1)) / torch.pi
    motion = F.pad(points[:, 1:] - points[:, :-1], (0, 0, 0, 0, 0, 1))
    return torch.cat([points.flatten(2), directions, angles, limbs.norm(dim=-1), motion.flatten(2)], 2).mT


class ResidualPair(nn.Module):
    """Two 3x3 convolutions and a shortcut, PReLU after each: (n, c, h, w) alike."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.act1, self.act2 = nn.PReLU(width), nn.PReLU(width)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.act2(self.conv2(self.act1(self.conv1(x))))
        return y


class PoseGait(JointNetwork):
    """PoseGait: `embed` takes what `pose_features` makes of keypoints, float32 (n, 90, t); in the paper 60 frames.

    Each convolution (`widths`) is followed by pooling, and from the second on by a residual pair. `classes` are the
    people of the training set, for the classifier; None leaves it out, as embedding needs none.
    """

    family: ClassVar[str] = "posegait"
    inputs: tuple[str, ...] = ("pose features (n, 90, t)",)
    frames: int = 60

    def __init__(
        self, widths: Sequence[int] = (32, 64, 128, 256), channels: int = 512, classes: int | None = None
    ) -> None:
        super().__init__()
        self.stages = nn.Sequential()
        for before, width in pairwise([1, *widths]):
            stage = nn.Sequential(nn.Conv2d(before, width, 3, padding=1), nn.PReLU(width))
            self.stages.append(stage.append(ResidualPair(width)) if len(self.stages) else stage)
        rows = FEATURES // 2 ** len(widths)
        self.linear = nn.Linear(widths[-1] * rows, channels)
        self.classifier = nn.Linear(channels, classes) if classes is not None else None

    @staticmethod
    def input_of(keypoints: Tensor) -> Tensor:
        return pose_features(keypoints)

    def embed(self, x: Tensor) -> Tensor:
        """Embed walks: (n, 90, t) -> (n, C, 1); `ValueError` for another shape."""
        require(self.family, x, (FEATURES, None))
        x = x[:, None]
        for stage in self.stages:
            x = F.max_pool2d(stage(x), (2, 1))
        embedding: Tensor = self.linear(x.mean(3).flatten(1))
        return embedding[..., None]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the embedding (n, C, 1) and, with a classifier, its logits (n, classes, 1)."""
        embedding = self.embed(x)
        return embedding, None if self.classifier is None else self.classifier(embedding[..., 0])[..., None]
