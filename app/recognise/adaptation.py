"""What a video does to everybody who is filmed in it, and how walks are compared without it.

Camera, place, light and segmenter move the embeddings of everybody in a video by about the same amount. Between two
videos, this shift can be larger than the difference between two people. The mean of a video's walks shows it, but shows
also who happens to walk there. So the shift is estimated as the mean of a random effect is (best linear unbiased
prediction; Robinson, Statistical Science 1991): of what n people share, n / (n + k) is believed. There are two such
effects: what all videos of a run share because their world differs from the world of the training, and what each video
adds to it.

An embedding is then compared by the direction in which it leaves the middle of its video, part by part: two people who
have nothing in common are about the root of 2 apart, whatever the camera.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from app.gallery.distances import part_distances
from app.types import Bools, Doubles, Embedding, Floats, Ints

PEOPLE = 2.0
"""Half of what a video's people share is believed to be the video's where there are so many people besides one."""
WORLD = 1.0
"""The weight of the training's world, in people."""


@dataclass(frozen=True, eq=False)
class Shared:
    """What the walks of one video share: `mean` (P, C), over its `people`, of the mean over each one's walks."""

    people: int
    mean: Doubles

    @classmethod
    def of(cls, walks: Floats, people: Ints) -> Shared:
        """Return what `walks` (n, P, C) share; `people` (n,) says whose each is."""
        each = [walks[people == person].mean(axis=0, dtype=np.float64) for person in np.unique(people)]
        return cls(len(each), np.mean(each, axis=0))

    @property
    def weight(self) -> float:
        """The share of `mean` that is believed to be the video's. One person alone says nothing about a video."""
        return (self.people - 1) / (self.people - 1 + PEOPLE)

    @property
    def widening(self) -> float:
        """How many times as far apart two people of the video are once their own share of the mean is taken off.

        It is 1 / sqrt(1 - (2 w - w^2) / n) for independent people.
        """
        return float(1 / np.sqrt(1 - (2 * self.weight - self.weight**2) / self.people))


def people_in(walks: Floats, together: Bools) -> Ints:
    """Number the people of a video, as few as there can be: the person of each walk (n,), from 0.

    Walks that are seen together, `together` (n, n), are of different people. All others may be pieces of one broken
    track, so they count as one person's as long as that is possible, the most alike first.
    """
    distances, apart = part_distances(walks, walks), together.copy()
    np.fill_diagonal(apart, True)
    group, sizes = np.arange(len(walks)), np.ones(len(walks))
    while not apart.all():
        one, other = np.unravel_index(np.where(apart, np.inf, distances).argmin(), apart.shape)
        total = sizes[one] + sizes[other]
        distances[one] = (sizes[one] * distances[one] + sizes[other] * distances[other]) / total
        distances[:, one] = distances[one]
        sizes[one] = total
        apart[one] |= apart[other]
        apart[:, one] = apart[one]
        apart[other] = apart[:, other] = True
        group[group == group[other]] = group[one]
    return np.unique(group, return_inverse=True)[1]


def middles(videos: Sequence[Shared], centre: Doubles, people: int) -> list[Doubles]:
    """Return the middle of each video, (P, C): where an average person's embedding would lie in it.

    `centre` (P, C) is the middle of the training's videos, and `people` how many different people there are in all
    `videos` together, at least.
    """
    believed = [PEOPLE * video.people / (video.people + PEOPLE) * (1 - 1 / max(people, 1)) for video in videos]
    moved = sum((weight * (video.mean - centre) for weight, video in zip(believed, videos, strict=True)), 0 * centre)
    world = centre + moved / (sum(believed) + WORLD)
    return [world + video.weight * (video.mean - world) for video in videos]


def around(walks: Floats, middle: Doubles) -> Doubles:
    """Return the directions, part by part, in which `walks` (..., P, C) leave the `middle` (P, C)."""
    moved = walks - middle
    directions: Doubles = moved / np.maximum(np.linalg.norm(moved, axis=-1, keepdims=True), 1e-12)
    return directions


def embeddings_around(embeddings: Sequence[Embedding], middle: Doubles) -> list[Embedding]:
    """Return embeddings, and their pieces, as `around` does."""
    return [
        replace(
            embedding,
            parts=around(embedding.parts, middle).astype(np.float32),
            pieces=None if embedding.pieces is None else around(embedding.pieces, middle).astype(np.float32),
        )
        for embedding in embeddings
    ]
