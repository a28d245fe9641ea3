"""What the embedding of walks needs from a gait network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn


class GaitNetwork(nn.Module, ABC):
    """A network from silhouettes to an embedding.

    `input_size` is the height and width in px it was trained with: a body is always 64 (or 128) rows high, so
    another size is a mistake and not a matter of scale.
    """

    family: ClassVar[str]

    def __init__(self, input_size: tuple[int, int]) -> None:
        super().__init__()
        self.input_size = input_size

    @abstractmethod
    def embed(self, silhouettes: Tensor, lengths: Sequence[int] | None = None) -> Tensor:
        """Embed walks.

        Args:
            silhouettes: float32 (n, t, h, w), 0..1, n walks of the same length; or, with `lengths`, (1, sum of
                lengths, h, w): several walks laid end to end.
            lengths: frames of each walk laid end to end.

        Returns:
            float32 (n, C, P): for each of the P parts a feature of C numbers.

        Raises:
            ValueError: silhouettes of another size than `input_size`.
        """

    def check(self, silhouettes: Tensor) -> None:
        """Raise ValueError unless `silhouettes` are (..., h, w) of `input_size`."""
        if tuple(silhouettes.shape[-2:]) != self.input_size:
            h, w = silhouettes.shape[-2:]
            raise ValueError(
                f"{self.family} takes silhouettes of {self.input_size[0]} rows and {self.input_size[1]} columns, "
                f"not {h} and {w}: cut the outer columns, do not resize."
            )


class FramewiseNetwork(GaitNetwork):
    """A network that sees each frame alone and keeps the maximum over time.

    The order of the frames does not matter, walks may be packed, and a long walk may be run in chunks.
    """

    @abstractmethod
    def frame_features(self, frames: Tensor) -> Tensor:
        """Feature maps of single frames: (t, 1, h, w) -> (t, c, h', w')."""

    @abstractmethod
    def head(self, pooled: Tensor) -> Tensor:
        """From maps pooled over time to the embedding: (n, c, h', w') -> (n, C, P)."""

    def embed(self, silhouettes: Tensor, lengths: Sequence[int] | None = None) -> Tensor:
        self.check(silhouettes)
        n, t = silhouettes.shape[:2]
        if lengths is not None and (n != 1 or sum(lengths) != t or min(lengths) < 1):
            raise ValueError(f"lengths {list(lengths)} do not divide {n} batch(es) of {t} frames")
        maps = self.frame_features(silhouettes.flatten(0, 1)[:, None])
        return self.head(torch.stack([walk.amax(0) for walk in torch.split(maps, list(lengths or [t] * n))]))
