"""DeepGaitV2: Fan et al., "Exploring Deep Models for Practical Gait Recognition", arXiv:2303.03301, section 4.

GaitBase made deeper: a residual network whose later stages see single frames (2D), frames and time at once (3D), or
frames and time in turn (pseudo-3D, the published choice). Then follow the maximum over time, strips and a linear layer
for each strip.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from math import prod
from typing import ClassVar, Literal

from torch import Tensor, nn
from torch.nn import functional as F

from app.gait.base import TemporalNetwork
from app.gait.layers import (
    BasicBlock,
    BasicBlock3d,
    BasicBlockP3d,
    ConvNorm,
    PartClassifier,
    PartLinear,
    PartNeck,
    pool_strips,
    residual_stage,
)
from app.gait.models.gaitbase import GaitBase

Block = Literal["3d", "p3d"]
BLOCKS: dict[Block, type[BasicBlock3d | BasicBlockP3d]] = {"3d": BasicBlock3d, "p3d": BasicBlockP3d}


class StripHead(nn.Module):
    """The end that DeepGaitV2 and SkeletonGait share, from a walk's feature maps to its embedding.

    It takes the maximum over time, cuts it into `parts` strips, and gives each strip a linear layer. With `use_emb2`
    the embedding comes after the neck: normalised over the training set and then of unit length.
    """

    def __init__(self, parts: int, inputs: int, channels: int, classes: int | None, use_emb2: bool) -> None:
        super().__init__()
        self.parts = parts
        self.use_emb2 = use_emb2
        self.linear = PartLinear(parts, inputs, channels)
        self.neck: PartNeck | None = None
        if classes is not None:
            self.neck = PartClassifier(parts, channels, classes)
        elif use_emb2:
            self.neck = PartNeck(parts, channels)

    def features(self, maps: Tensor) -> Tensor:
        """Return the features before the neck: (n, c, t, h, w) -> (n, C, P)."""
        parts: Tensor = self.linear(pool_strips(maps.amax(2), self.parts))
        return parts

    def embed(self, maps: Tensor) -> Tensor:
        """Return the embedding: (n, c, t, h, w) -> (n, C, P)."""
        features = self.features(maps)
        return self.neck.features(features) if self.use_emb2 and self.neck is not None else features

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the features before the neck (n, C, P) and, with a classifier, its logits (n, classes, P)."""
        features = self.features(maps)
        return features, self.neck(features) if isinstance(self.neck, PartClassifier) else None


class StripNetwork(TemporalNetwork):
    """A network that ends in a `StripHead`."""

    head: StripHead

    @abstractmethod
    def maps_of(self, walks: Tensor) -> Tensor:
        """Return the feature maps of walks of one length: (n, t, ..., h, w) -> (n, c, t, h', w')."""

    def embed_walks(self, walks: Tensor) -> Tensor:
        return self.head.embed(self.maps_of(walks))

    def forward(self, walks: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the features before the neck (n, C, P) and, with a classifier, its logits (n, classes, P)."""
        features, logits = self.head(self.maps_of(walks))
        return features, logits


class DeepGaitV2(StripNetwork):
    """DeepGaitV2 in 3D or pseudo-3D; the published networks have the defaults, or `depths` 1, 1, 1, 1.

    `block` is the kind of block from the second stage on; the first stage always sees single frames. `use_emb2` embeds
    with the normalised features of the neck (OpenGait's name; published networks do not).
    """

    family: ClassVar[str] = "deepgaitv2"

    def __init__(
        self,
        block: Block = "p3d",
        widths: Sequence[int] = (64, 128, 256, 512),
        depths: Sequence[int] = (1, 4, 4, 1),
        strides: Sequence[int] = (1, 2, 2, 1),
        parts: int = 16,
        channels: int = 256,
        classes: int | None = None,
        use_emb2: bool = False,
        input_size: tuple[int, int] = (64, 44),
    ) -> None:
        super().__init__(input_size)
        self.stem = ConvNorm(prod(self.maps), widths[0])
        self.stages = nn.ModuleList()
        for before, width, depth, stride in zip([widths[0], *widths[:-1]], widths, depths, strides, strict=True):
            kind = BLOCKS[block] if len(self.stages) else BasicBlock
            self.stages.append(residual_stage(kind, before, width, depth, stride))
        self.head = StripHead(parts, widths[-1], channels, classes, use_emb2)

    def maps_of(self, walks: Tensor) -> Tensor:
        n, t = walks.shape[:2]
        frames = walks.reshape(n * t, prod(self.maps), *walks.shape[-2:])
        x: Tensor = self.stages[0](F.relu(self.stem(frames), inplace=True))
        x = x.reshape(n, t, *x.shape[1:]).transpose(1, 2)
        for stage in self.stages[1:]:
            x = stage(x)
        return x


class DeepGaitV2Frames(GaitBase):
    """DeepGaitV2 in 2D: GaitBase with more blocks; it sees single frames."""

    family: ClassVar[str] = "deepgaitv2-2d"
    published_depths: ClassVar[tuple[int, ...]] = (1, 4, 4, 1)
