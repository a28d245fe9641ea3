"""What every gait network offers: from the frames of a walk to its embedding."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn


class EmbeddingNetwork(nn.Module, ABC):
    """A network from walks to embeddings.

    `inputs` names the tensors that `embed` takes. `refused` says why people cannot be recognised with the network, a
    clause; it is None where they can. `assumed` says what was assumed of the network because its file does not tell it,
    each a clause.
    """

    family: ClassVar[str]
    inputs: tuple[str, ...] = ("silhouettes",)
    refused: str | None = None
    assumed: tuple[str, ...] = ()

    @abstractmethod
    def embed(self, *inputs: Any, **options: Any) -> Tensor:
        """Embed walks: from tensors whose first axis is the walks to float32 (n, C, P)."""

    def forward(self, *inputs: Any, **options: Any) -> tuple[Tensor, Tensor | None]:
        """Return the embedding (n, C, P) and, if there is a classifier for training, its logits (n, classes, P)."""
        return self.embed(*inputs, **options), None


class JointNetwork(EmbeddingNetwork):
    """A network that sees the joints of a walk.

    Keypoints are taken in px, as the video or the data set has them: a network only knows bodies of the size in px and
    of the frame rate that it was trained with.
    """

    frames: int
    """How many frames the published network sees: those in the middle of the walk. It sees a shorter walk whole."""
    centred: bool = False
    """Whether missing joints are put into the middle of the pose, as in some trainings (``NormalizeEmpty``)."""

    def prepared(self, keypoints: Tensor) -> Tensor:
        """Make what `embed` takes from the keypoints of walks, float32 (n, t, 17, 3). A missing joint has score 0."""
        return self.input_of(with_missing_centred(keypoints) if self.centred else keypoints)

    @staticmethod
    @abstractmethod
    def input_of(keypoints: Tensor) -> Tensor:
        """Make what `embed` takes from the keypoints of walks, float32 (n, t, 17, 3): COCO-17, x, y and score."""


def with_missing_centred(keypoints: Tensor) -> Tensor:
    """Put joints of score 0 into the middle of those that are there: keypoints (..., 17, 3), frame by frame."""
    there = keypoints[..., 2:] > 0
    middle = (keypoints[..., :2] * there).sum(-2, keepdim=True) / there.sum(-2, keepdim=True).clamp(min=1)
    return torch.cat([torch.where(there, keypoints[..., :2], middle), keypoints[..., 2:]], -1)


class PictureNetwork(EmbeddingNetwork):
    """A network that sees pictures of a walk.

    Two arguments mean the same in all of these networks. `input_size` is the height and width in px of the pictures
    that the network is trained with: a body is always 64 (or 128) rows high, so pictures of another size are a mistake
    that scaling cannot mend. `classes` is the number of people in the training set, for the `classifier` that gives the
    logits in training; None leaves it out, because embedding needs none.
    """

    maps: tuple[int, ...] = ()
    """How many maps a picture has, if they have an axis of their own between time and rows."""

    def __init__(self, input_size: tuple[int, int]) -> None:
        super().__init__()
        self.input_size = input_size
        self.classifier: nn.Module | None = None

    def input_of(self, pictures: Tensor) -> Tensor:
        """Make what `embed` takes from pictures as files have them, uint8: 0..1, but labels of body parts stay whole.

        Args:
            pictures: of walks, (n, t, ...); they are labels where they never reach 255 and the network takes parsing.
        """
        if "parsing" in self.inputs and int(pictures.max()) < 255:
            return pictures.float()
        return pictures.float() / 255

    def forward(self, *inputs: Any, **options: Any) -> tuple[Tensor, Tensor | None]:
        embedding = self.embed(*inputs, **options)
        return embedding, self.classifier(embedding) if self.classifier is not None else None

    def check(self, silhouettes: Tensor, lengths: Sequence[int] | None = None) -> None:
        """Raise ValueError unless pictures are (n, t, ..., h, w) of `input_size` and `lengths` cover their frames."""
        if tuple(silhouettes.shape[-2:]) != self.input_size:
            h, w = silhouettes.shape[-2:]
            raise ValueError(
                f"{self.family} takes {self.inputs[0]} of {self.input_size[0]} rows and {self.input_size[1]} columns, "
                f"not {h} and {w}: cut the outer columns, do not resize."
            )
        if tuple(silhouettes.shape[2:-2]) != self.maps:
            wanted = "".join(f"{number}, " for number in self.maps)
            raise ValueError(
                f"{self.family} takes {self.inputs[0]} (n, t, {wanted}rows, columns), not {tuple(silhouettes.shape)}"
            )
        n, t = silhouettes.shape[:2]
        if lengths is not None and (n != 1 or sum(lengths) != t or min(lengths) < 1):
            raise ValueError(f"lengths {list(lengths)} do not divide {n} batch(es) of {t} frames")


class GaitNetwork(PictureNetwork):
    """A network that sees one kind of picture, silhouettes for most of them."""

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
            ValueError: silhouettes of another size than `input_size`, or `lengths` that do not cover the frames.
        """


class TemporalNetwork(GaitNetwork):
    """A network that sees the frames in their order.

    Walks of different lengths are embedded one by one: packing would mix them, and the network would see padding.
    """

    @abstractmethod
    def embed_walks(self, walks: Tensor) -> Tensor:
        """Embed walks of one length: (n, t, h, w) -> (n, C, P)."""

    def embed(self, silhouettes: Tensor, lengths: Sequence[int] | None = None) -> Tensor:
        self.check(silhouettes, lengths)
        if lengths is None:
            return self.embed_walks(silhouettes)
        return torch.cat([self.embed_walks(walk[None]) for walk in torch.split(silhouettes[0], list(lengths))])


def pool_walks(maps: Tensor, walks: int, lengths: Sequence[int] | None) -> Tensor:
    """Take the maximum over the time of each walk: (frames of all walks, ...) -> (walks, ...)."""
    if lengths is None:
        return maps.reshape(walks, -1, *maps.shape[1:]).amax(1)
    return torch.stack([walk.amax(0) for walk in torch.split(maps, list(lengths))])


class FramewiseNetwork(GaitNetwork):
    """A network that sees each frame alone and keeps the maximum over time.

    The order of the frames does not matter, walks may be packed, and a long walk may be run in chunks.
    """

    @abstractmethod
    def frame_features(self, frames: Tensor) -> Tensor:
        """Return what is pooled over time, of single frames: (t, 1, h, w) -> (t, c, h', w'), for most networks."""

    @abstractmethod
    def head(self, pooled: Tensor) -> Tensor:
        """Turn maps pooled over time into the embedding: (n, c, h', w') -> (n, C, P)."""

    def embed(self, silhouettes: Tensor, lengths: Sequence[int] | None = None) -> Tensor:
        self.check(silhouettes, lengths)
        maps = self.frame_features(silhouettes.flatten(0, 1)[:, None])
        return self.head(pool_walks(maps, len(silhouettes), lengths))
