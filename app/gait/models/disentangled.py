"""Static and dynamic disentanglement (IJCB 2021): gait recognition from skeletons, with separate codes of motion, body
and view.

An autoencoder of skeletons follows Aberman et al., "Learning Character-Agnostic Motion for Motion Retargeting in 2D",
SIGGRAPH 2019 (section 4: three encoders, two of which are pooled over time because body and view do not change, and a
decoder) and Yang et al., "TransMoMo", CVPR 2020 (section 3: the decoder returns three dimensions, two of which are
visible). A recognition network takes the poses and the codes. There are no published weights, so the names of the
weights are ours. Where the paper leaves something open, the choice is ours: see `Disentangled`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from app.gait.base import JointNetwork
from app.gait.models.gaitgraph import require

FRAMES = 64
JOINTS = 15
ROWS = 2 * JOINTS
STATIC_ROWS = ROWS - 2
"""Rows without the velocity of the root, which depends on neither body nor view."""

# The keypoints of COCO-17 whose midpoint each of the 15 joints is: nose, neck, right and left arm, centre of the hips,
# right and left leg.
_SOURCES = (
    (0, 0), (5, 6), (6, 6), (8, 8), (10, 10), (5, 5), (7, 7), (9, 9), (11, 12), (12, 12), (14, 14), (16, 16), (11, 11),
    (13, 13), (15, 15),
)  # fmt: skip
ROOT = 8
PARENTS = (1, 8, 1, 2, 3, 1, 5, 6, 8, 8, 9, 10, 8, 12, 13)
"""The neighbour of each joint on the way to the root. The root is its own."""
_OTHERS = [joint for joint in range(JOINTS) if joint != ROOT]
_SCALE = 4.0
"""Poses are in body heights. Multiplied by this, their standard deviation is about 1."""
_SPEED = 25.0
"""The same factor for the velocity of the root, in body heights per frame."""


def poses_of(keypoints: Tensor) -> Tensor:
    """Convert keypoints COCO-17 float32 (n, t, 17, 2 or more) in px to poses (n, t, 15, 2) in body heights.

    The height of a body, from its highest joint to its lowest, is averaged over the frames. The origin is the root in
    the first frame.
    """
    first, second = (list(side) for side in zip(*_SOURCES, strict=True))
    points = (keypoints[:, :, first, :2] + keypoints[:, :, second, :2]) / 2
    rows = points[..., 1]
    height = (rows.amax(2) - rows.amin(2)).mean(1).clamp_min(1e-3)
    return (points - points[:, :1, ROOT : ROOT + 1]) / height[:, None, None, None]


def rows_of(poses: Tensor) -> Tensor:
    """Convert poses (n, t, 15, 2) to rows float32 (n, 30, t): 14 joints relative to the root, and its velocity."""
    root = poses[:, :, ROOT]
    speed = F.pad(root[:, 1:] - root[:, :-1], (0, 0, 1, 0))
    others = poses[:, :, _OTHERS] - root[:, :, None]
    return torch.cat([_SCALE * others.flatten(2), _SPEED * speed], 2).mT


def poses_from(rows: Tensor) -> Tensor:
    """Convert rows (n, 30, t) to poses (n, t, 15, 2): the inverse of `rows_of`."""
    n, _, t = rows.shape
    root = (rows[:, STATIC_ROWS:].mT / _SPEED).cumsum(1)
    poses = rows.new_zeros(n, t, JOINTS, 2)
    poses[:, :, _OTHERS] = rows[:, :STATIC_ROWS].mT.reshape(n, t, JOINTS - 1, 2) / _SCALE
    return poses + root[:, :, None]


class Codes(NamedTuple):
    """The codes of walks: motion (n, 128, t / 8), body and view (n, 128, 1)."""

    motion: Tensor
    body: Tensor
    view: Tensor


class Encoder(nn.Sequential):
    """Convolutions over time with kernel 3, reflection padding and leaky ReLU 0.2. Each halves the time.

    (n, widths[0], t) -> (n, widths[-1], t / 8). With `static`, time is halved by max pooling, and the rest of it is
    pooled too: (n, widths[-1], 1).
    """

    def __init__(self, widths: Sequence[int], static: bool) -> None:
        super().__init__()
        for before, width in pairwise(widths):
            self.append(nn.Conv1d(before, width, 3, 1 if static else 2, 1, padding_mode="reflect"))
            self.append(nn.LeakyReLU(0.2))
            if static:
                self.append(nn.MaxPool1d(2))
        if static:
            self.append(nn.AdaptiveMaxPool1d(1))


class Decoder(nn.Sequential):
    """Nearest upsampling and convolutions over time with kernel 7: (n, widths[0], t) -> (n, widths[-1], 8 t)."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        for number, (before, width) in enumerate(pairwise(widths), 1):
            self.append(nn.Upsample(scale_factor=2))
            self.append(nn.Conv1d(before, width, 7, padding=3, padding_mode="reflect"))
            if number < len(widths) - 1:
                self.append(nn.LeakyReLU(0.2))


class Recogniser(nn.Module):
    """3x3 convolutions of 32 and 64 channels with pooling, a residual pair of 64, the mean over time, a linear layer.

    The input is a picture of one channel whose columns are frames: (n, 1, rows, t) -> (n, channels).
    """

    def __init__(self, rows: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.residual = nn.ModuleList(nn.Conv2d(64, 64, 3, padding=1) for _ in range(2))
        self.linear = nn.Linear(64 * (rows // 4), channels)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.leaky_relu(self.conv1(x), 0.2), 2)
        x = F.max_pool2d(F.leaky_relu(self.conv2(x), 0.2), 2)
        first, second = self.residual
        x = F.leaky_relu(x + second(F.leaky_relu(first(x), 0.2)), 0.2)
        features: Tensor = self.linear(x.mean(3).flatten(1))
        return features


class Disentangled(JointNetwork):
    """The autoencoder and the recognition network. `embed` takes what `input_of` makes of keypoints, float32 (n, 30,
    64).

    Input rows are 14 joints relative to the root, and its velocity. Body and view are encoded without the velocity. The
    decoder returns 45 rows, 15 joints with three coordinates. The first 30 correspond to the input; the depth has no
    target. The recognition network takes the 30 rows and the codes of motion and body, stretched to 64 frames: 286
    rows.

    Args:
        code: channels of each code.
    """

    family: ClassVar[str] = "disentangled"
    inputs: tuple[str, ...] = ("joints and velocity (n, 30, 64)",)
    frames: int = FRAMES

    def __init__(self, code: int = 128, channels: int = 512, classes: int | None = None) -> None:
        super().__init__()
        self.motion_encoder = Encoder((ROWS, 64, 128, code), static=False)
        self.body_encoder = Encoder((STATIC_ROWS, 64, 128, code), static=True)
        self.view_encoder = Encoder((STATIC_ROWS, 64, 32, code), static=True)
        self.decoder = Decoder((3 * code, 256, 128, 3 * JOINTS))
        self.recogniser = Recogniser(ROWS + 2 * code, channels)
        self.classifier = nn.Linear(channels, classes) if classes is not None else None

    @staticmethod
    def input_of(keypoints: Tensor) -> Tensor:
        """Return rows (n, 30, 64). A walk of fewer frames is continued backwards and forwards."""
        t = keypoints.shape[1]
        turn = torch.arange(FRAMES) % max(1, 2 * t - 2)
        return rows_of(poses_of(keypoints[:, torch.minimum(turn, (2 * t - 2 - turn).abs())]))

    def encode(self, rows: Tensor) -> Codes:
        """Encode rows (n, 30, t); t is a multiple of 8."""
        static = rows[:, :STATIC_ROWS]
        return Codes(self.motion_encoder(rows), self.body_encoder(static), self.view_encoder(static))

    def decode(self, codes: Codes) -> Tensor:
        """Decode codes, of one walk or of several: float32 (n, 45, t), of which the first 30 are rows."""
        length = codes.motion.shape[2]
        still = [code.expand(-1, -1, length) for code in (codes.body, codes.view)]
        decoded: Tensor = self.decoder(torch.cat([codes.motion, *still], 1))
        return decoded

    def features(self, rows: Tensor, codes: Codes) -> Tensor:
        """Return the embedding of walks (n, 30, t) from their rows and codes: (n, channels)."""
        t = rows.shape[2]
        stretched = [rows, F.interpolate(codes.motion, t), codes.body.expand(-1, -1, t)]
        features: Tensor = self.recogniser(torch.cat(stretched, 1)[:, None])
        return features

    def embed(self, rows: Tensor) -> Tensor:
        """Embed walks: (n, 30, 64) -> (n, channels, 1), of unit length; `ValueError` for another shape."""
        require(self.family, rows, (ROWS, FRAMES))
        return F.normalize(self.features(rows, self.encode(rows)))[..., None]
