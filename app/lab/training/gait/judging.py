"""Evaluation of gait networks during and after a training, with the protocols and metrics of `app.lab.evaluation`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from app.gait.base import EmbeddingNetwork, JointNetwork, PictureNetwork
from app.gallery.distances import Metric
from app.lab.data.opengait import DataSetError, WalkFile
from app.lab.evaluation.files import middle
from app.lab.evaluation.protocol import Protocol, groups_of, views_of
from app.lab.evaluation.scores import Score, score
from app.lab.training.gait.sampling import tensors
from app.lab.training.gait.transforms import Transform
from app.lab.training.gait.walks import Walks
from app.progress import Progress, Silent
from app.types import Floats

BATCH = 16
"""Walks of one length that are embedded at once."""


def network_input(network: EmbeddingNetwork, walks: Tensor) -> Tensor:
    """Return what a network takes, from one of the `tensors` of walks.

    Pictures become 0..1, and keypoints what `JointNetwork.prepared` makes of them. Labels of body parts and SMPL
    parameters stay as they are.
    """
    if isinstance(network, JointNetwork):
        return network.prepared(walks)
    if walks.dtype != torch.uint8:
        return walks
    return network.input_of(walks) if isinstance(network, PictureNetwork) else walks.float() / 255


def embed_walks(
    network: EmbeddingNetwork,
    walks: Walks,
    most: int = 720,
    progress: Progress | None = None,
    transforms: Sequence[Transform] = (),
) -> Floats:
    """Embed walks of at least one frame each, in their order: float32 (N, P, C). The network is in evaluation mode.

    Of a longer walk only `most` frames from its middle are embedded; a network over joints has a limit of its own.
    `transforms` change each walk first, always in the same way.
    """
    limit = network.frames if isinstance(network, JointNetwork) else most
    device = next(network.parameters()).device
    lengths = [min(len(walks[index]), limit) for index in range(len(walks))]
    features: Floats | None = None
    order = sorted(range(len(walks)), key=lambda index: lengths[index])
    with (progress or Silent()).stage("Embedding", len(walks)) as advance:
        for length, group in groupby(order, key=lambda index: lengths[index]):
            of_one_length = list(group)
            for start in range(0, len(of_one_length), BATCH):
                chosen = of_one_length[start : start + BATCH]
                batch = []
                for index in chosen:
                    walk = walks[index][middle(len(walks[index]), length)]
                    rng = np.random.default_rng(index)
                    for transform in transforms:
                        walk = transform(walk, rng)
                    batch.append(walk)
                with torch.inference_mode():
                    inputs = (network_input(network, value.to(device)) for value in tensors(np.stack(batch)).values())
                    parts = network.embed(*inputs).mT.float().cpu().numpy()
                if features is None:
                    features = np.empty((len(walks), *parts.shape[1:]), np.float32)
                features[chosen] = parts
                advance(len(chosen))
    if features is None:
        raise DataSetError("There are no walks to embed.")
    return features


@dataclass(frozen=True, eq=False)
class EvaluationSet:
    """Walks that a network is evaluated on by a protocol.

    `files` give the identity, condition and view of each of the `walks`. `transforms` spoil the walks first.
    `name` distinguishes the figures from those of other test walks.
    """

    name: str
    walks: Walks
    files: Sequence[WalkFile]
    protocol: Protocol
    partition: Path | None = None
    transforms: tuple[Transform, ...] = ()

    def scores(
        self,
        network: EmbeddingNetwork,
        *,
        metric: Metric = "euclidean",
        most: int = 720,
        progress: Progress | None = None,
    ) -> list[Score]:
        """Evaluate a network in evaluation mode. For `most` and `progress` see `embed_walks`."""
        groups = groups_of(self.protocol, self.files, self.partition)
        features = embed_walks(network, self.walks, most, progress, self.transforms)
        people = np.array([file.identity for file in self.files])
        return score(features, people, views_of(self.protocol, self.files), groups, self.protocol, metric=metric)

    def figures(self, network: EmbeddingNetwork, *, metric: Metric = "euclidean", most: int = 720) -> dict[str, float]:
        """Return the metrics of each group of probes, 0..1, by name: ``clean NM Rank-1``."""
        return {
            f"{self.name} {group.name} {name}".strip(): figure.value
            for group in self.scores(network, metric=metric, most=most)
            for name, figure in group.metrics.items()
            if figure.value is not None
        }


def first_walk(walks: Sequence[WalkFile], metrics: tuple[str, ...] = ("Rank-1",), same_view: bool = True) -> Protocol:
    """Return the protocol in which each person's first walk is the gallery, one view at a time.

    The first walk is the one called ``nm-01`` in the field's data sets. All others are probes, grouped by the first
    part of their condition: NM, BG, CL. `same_view` is whether they are also compared with galleries of their own view.

    Raises:
        DataSetError: all walks have the same condition.
    """
    first, *others = sorted({walk.condition for walk in walks}, key=nm_first)
    if not others:
        raise DataSetError(f"All walks are called '{first}'. Probes and gallery need two conditions.")
    kinds: dict[str, tuple[str, ...]] = {}
    for name in others:
        kind = name.partition("-")[0].upper()
        kinds[kind] = (*kinds.get(kind, ()), name)
    return Protocol(
        source=f"gallery {first}",
        probes=kinds,
        gallery=(first,),
        gallery_views="each",
        metrics=metrics,
        exclude="nothing" if same_view else "same view",
    )


def nm_first(condition: str) -> tuple[bool, str]:
    """Sort normal walks before all other conditions."""
    return not condition.startswith("nm"), condition


def numbered(walks: Sequence[WalkFile], *, conditions: bool = True) -> list[WalkFile]:
    """Number the views of each walk 0, 1, 2 ... instead of calling them by their angles.

    Virtual walkers are filmed from random angles. With numbers, the gallery of every view has every person. Without
    `conditions`, all walks of a person are numbered together, as different conditions from one view.
    """
    counts: Counter[tuple[str, str]] = Counter()
    renamed = []
    for walk in walks:
        key = walk.identity, walk.condition if conditions else ""
        number, counts[key] = counts[key], counts[key] + 1
        condition, view = (walk.condition, str(number)) if conditions else (f"walk-{number:03d}", "all")
        renamed.append(replace(walk, condition=condition, view=view))
    return renamed
