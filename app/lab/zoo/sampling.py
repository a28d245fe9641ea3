"""Which walks are learnt from at once, and which of their frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.errors import SettingsError
from app.lab.zoo.sections import Section
from app.lab.zoo.transforms import Transform
from app.lab.zoo.walks import SeenWalks
from app.types import Ints


@dataclass(frozen=True)
class Sampling:
    """P `people` with K `walks` each (Hermans et al. 2017, section 2), and of each walk some frames.

    Their number is drawn for each batch, from `fewest` to `most`: alike in one batch, as networks over time would see
    any padding. `ordered` frames are a stretch of the walk; with `skip` it is longer by so many, which are left out by
    chance (GaitPart, section 4.2). Unordered ones are drawn from all of the walk.
    """

    people: int
    walks: int
    fewest: int
    most: int
    ordered: bool
    skip: int = 0

    def __post_init__(self) -> None:
        if self.people < 2 or self.walks < 1 or self.people * self.walks < 3:
            raise SettingsError(f"A batch of {self.people} people with {self.walks} walks each teaches nothing.")
        if not 1 <= self.fewest <= self.most or self.skip < 0:
            raise SettingsError(f"A batch cannot have {self.fewest} to {self.most} frames, {self.skip} being skipped.")

    def frames(self, length: int, count: int, rng: np.random.Generator) -> Ints:
        """Which `count` frames of a walk of `length` are taken; a short one begins again, as often as it must."""
        if self.ordered:
            stretch = count + self.skip
            start = int(rng.integers(0, max(1, length - stretch + 1)))
            kept = np.sort(rng.choice(stretch, count, replace=False))
            return np.asarray((start + kept) % length, np.int64)
        repeats = -(-count // length)
        return rng.choice(np.tile(np.arange(length), repeats), count, replace=False)


def read_sampling(sampler: Section, sequence: int | None) -> Sampling:
    """Read ``trainer_cfg.sampler``.

    Args:
        sampler: the section.
        sequence: frames that ``RandomSelectSequence`` takes, for ``all_ordered``; see `app.lab.zoo.transforms`.

    Raises:
        SettingsError: an unusable value.
    """
    sampler.one_of("type", ("TripletSampler",), "TripletSampler")
    sampler.implied("batch_shuffle", "frames_all_limit")  # people and walks are drawn anyway
    people, walks = sampler.take("batch_size", tuple[int, int])
    kinds = ("fixed_ordered", "fixed_unordered", "unfixed_ordered", "unfixed_unordered", "all_ordered")
    kind, _, order = sampler.one_of("sample_type", kinds).partition("_")
    skip = sampler.take("frames_skip_num", int, 0)
    if kind == "all":
        if sequence is None:
            raise SettingsError(
                f"{sampler.where('sample_type')}: whole walks have unlike lengths; say how many frames of them are "
                "taken, by the transform RandomSelectSequence or by fixed_ordered."
            )
        fewest = most = sequence
        sampler.implied("frames_num_fixed", "frames_num_min", "frames_num_max")
    elif kind == "fixed":
        fewest = most = sampler.take("frames_num_fixed", int)
        sampler.implied("frames_num_min", "frames_num_max")
    else:
        fewest, most = sampler.take("frames_num_min", int), sampler.take("frames_num_max", int)
        sampler.implied("frames_num_fixed")
    return Sampling(people, walks, fewest, most, order == "ordered", skip)


def tensors(walks: NDArray[Any]) -> dict[str, Tensor]:
    """Copy walks, as `SeenWalks` has them, to tensors: ``walks``, or each thing that is seen under its own name."""
    if walks.dtype.names is None:
        return {"walks": torch.tensor(walks)}
    return {name: torch.tensor(walks[name]) for name in walks.dtype.names}


class ZooBatches:
    """Batches for the engine: `tensors` of (P * K, T, *frame), and ``people`` int64 (P * K,), counted from 0.

    With `twice`, every walk is there twice, changed in two ways: (2 * P * K, ...).
    """

    def __init__(
        self, walks: SeenWalks, sampling: Sampling, transforms: Sequence[Transform], seed: int, twice: bool = False
    ) -> None:
        self._walks, self._sampling, self._transforms, self._seed = walks, sampling, tuple(transforms), seed
        self._twice = twice
        self._walks_of = walks.by_person()
        if len(self._walks_of) < sampling.people:
            raise SettingsError(
                f"A batch has {sampling.people} people, and there are {len(self._walks_of)} for training. "
                "Make trainer_cfg.sampler.batch_size smaller."
            )

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        sampling = self._sampling
        rng = np.random.default_rng([self._seed, step])
        count = int(rng.integers(sampling.fewest, sampling.most + 1))
        people = rng.choice(len(self._walks_of), sampling.people, replace=False)
        seen, owners = [], []
        for person in people:
            own = self._walks_of[person]
            for index in rng.choice(own, sampling.walks, replace=len(own) < sampling.walks):
                for _ in range(1 + self._twice):
                    walk = self._walks[index]
                    walk = walk[sampling.frames(len(walk), count, rng)]
                    for transform in self._transforms:
                        walk = transform(walk, rng)
                    seen.append(walk)
                    owners.append(int(person))
        return {**tensors(np.stack(seen)), "people": torch.tensor(owners)}
