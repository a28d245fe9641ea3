"""The batches of the gait trainer: which walks they hold, and which frames of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from app.errors import SettingsError
from app.lab.training.gait.transforms import Transform
from app.lab.training.gait.walks import PackedWalks, WalkArray
from app.settings import memory
from app.types import Ints

Order: TypeAlias = Literal["ordered", "unordered", "either"]
"""``ordered`` frames are consecutive, ``unordered`` ones are drawn from the whole walk; ``either`` is one of these."""


@dataclass(frozen=True)
class Sampling:
    """A batch has P `people` with K `walks` each (Hermans et al. 2017, section 2), and some frames of each walk.

    The number of frames is drawn for each batch, from `fewest` to `most`. It is the same for all walks of a batch,
    because networks over time would see any padding. With `skip`, ordered frames are drawn from a stretch that is
    longer by this number, and the frames in excess are left out at random (GaitPart, section 4.2).

    With `together`, so many people who follow each other in the data set always come into a batch together. In data
    sets of look-alikes they are a group, so the network has to tell look-alikes apart.
    """

    people: int
    walks: int
    fewest: int
    most: int
    order: Order
    skip: int = 0
    together: int = 1

    def __post_init__(self) -> None:
        if self.people < 2 or self.walks < 1 or self.people * self.walks < 3:
            raise SettingsError(
                f"A batch of {self.people} people with {self.walks} walks each is too small to learn from."
            )
        if not 1 <= self.fewest <= self.most or self.skip < 0:
            raise SettingsError(
                f"A batch cannot have {self.fewest} to {self.most} frames of each walk, with {self.skip} skipped."
            )

    def draw_people(self, number: int, rng: np.random.Generator) -> Ints:
        """Draw the people of a batch from `number` people."""
        groups = rng.choice(-(-number // self.together), -(-self.people // self.together), replace=False)
        everybody = (groups[:, None] * self.together + np.arange(self.together)).ravel()
        return everybody[everybody < number][: self.people]

    def frames(self, length: int, count: int, rng: np.random.Generator) -> Ints:
        """Draw the indices of `count` frames of a walk of `length`. A short walk is repeated as often as necessary."""
        if self.order == "ordered" or (self.order == "either" and rng.random() < 0.5):
            stretch = count + self.skip
            start = int(rng.integers(0, max(1, length - stretch + 1)))
            kept = np.sort(rng.choice(stretch, count, replace=False))
            return np.asarray((start + kept) % length, np.int64)
        repeats = -(-count // length)
        return rng.choice(np.tile(np.arange(length), repeats), count, replace=False)


def tensors(walks: WalkArray) -> dict[str, Tensor]:
    """Copy walks of one length to tensors: to ``walks``, or each field of `bodies` to its own name."""
    if walks.dtype.names is None:
        return {"walks": torch.tensor(walks)}
    return {name: torch.tensor(walks[name]) for name in walks.dtype.names}


class GaitBatches:
    """Batches for the engine: `tensors` of (P * K, T, *frame), and ``people`` int64 (P * K,), counted from 0.

    Args:
        sampling: how many of them, and how many frames.
        twice: whether each walk is in the batch twice, changed in two ways: (2 * P * K, ...).
        people: only these. None takes everybody.
        filmed: walks of the same people as a segmenter has cut them out; see `app.lab.synthesis.filmed`.
        filmed_share: how many of the walks of a batch are filmed ones, for people who have any.
        batches: of the whole training; transforms that grow stronger depend on it.

    Raises:
        SettingsError: there are fewer people than in a batch, or it would not fit into memory.
    """

    def __init__(
        self,
        walks: PackedWalks,
        sampling: Sampling,
        transforms: Sequence[Transform] = (),
        *,
        seed: int,
        twice: bool = False,
        people: Sequence[str] | None = None,
        filmed: PackedWalks | None = None,
        filmed_share: float = 0.5,
        batches: int = 1,
    ) -> None:
        people = walks.people if people is None else people
        if len(people) < sampling.people:
            kept = len(walks.people) - len(people)
            why = f", because the setting held_out keeps {kept} of {len(walks.people)} for checks" if kept else ""
            raise SettingsError(
                f"A batch has {sampling.people} people, and there are {len(people)} for training{why}. Make the batch "
                f"smaller (batch, or trainer_cfg.sampler.batch_size){' or held_out' * bool(kept)}, or give more people."
            )
        frames = sampling.people * sampling.walks * (1 + twice) * sampling.most
        size, there = frames * walks.frame_bytes, memory()
        if there is not None and size > there / 4:  # a few batches wait, and the network needs more for each
            raise SettingsError(
                f"A batch of {sampling.people} people with {sampling.walks} walks of up to {sampling.most} frames each "
                f"takes {size / 1e9:,.1f} GB, and this machine has {there / 1e9:,.0f} GB. Give fewer people, walks or "
                "frames (batch, walks_each, frames, or trainer_cfg.sampler), and accumulate several batches for a step."
            )
        self._walks, self._sampling, self._transforms = walks, sampling, tuple(transforms)
        self._seed, self._copies, self._batches = seed, 1 + twice, batches
        self._walks_of = walks.of(people)
        self._filmed, self._filmed_of = filmed, filmed.of(people) if filmed is not None else []
        self._filmed_share = filmed_share

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        sampling = self._sampling
        rng = np.random.default_rng([self._seed, step])
        transforms = [transform.at(step / self._batches) for transform in self._transforms]
        count = int(rng.integers(sampling.fewest, sampling.most + 1))
        people = sampling.draw_people(len(self._walks_of), rng)
        walks, owners = [], []
        for person in people:
            own = self._walks_of[person]
            for index in rng.choice(own, sampling.walks, replace=len(own) < sampling.walks):
                filmed = self._draw_filmed(person, rng)
                whole = self._walks[index] if filmed is None else filmed
                for _ in range(self._copies):
                    walk = whole[sampling.frames(len(whole), count, rng)]
                    for transform in transforms:
                        if filmed is None or not transform.spoils:  # a segmenter has spoilt filmed walks already
                            walk = transform(walk, rng)
                    walks.append(walk)
                    owners.append(int(person))
        return {**tensors(np.stack(walks)), "people": torch.tensor(owners)}

    def _draw_filmed(self, person: int, rng: np.random.Generator) -> WalkArray | None:
        """Draw one of the person's filmed walks, as often as `filmed_share` says."""
        if self._filmed is None or not len(self._filmed_of[person]) or rng.random() >= self._filmed_share:
            return None
        return self._filmed[int(rng.choice(self._filmed_of[person]))]
