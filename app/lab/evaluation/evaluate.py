"""Judge a gait model on a data set, by a protocol."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.errors import SettingsError
from app.gallery.distances import Metric
from app.lab.data.opengait import DataSetError, WalkFile, read_partition, walk_files
from app.lab.evaluation.embeddings import BESIDE, CACHE, beside_of, embed_walks
from app.lab.evaluation.files import FileEmbedder
from app.lab.evaluation.protocol import groups_of, read_protocol, views_of
from app.lab.evaluation.scores import Score, need_comparable, score
from app.lab.evaluation.submission import write_submission
from app.stages import GaitModel


@dataclass(frozen=True)
class Evaluation:
    """What was judged, how, and the figures: `scores` of whole walks, or of so many frames (`by_frames`)."""

    protocol: str
    source: str
    model: str
    data: str
    distance: str
    reranked: bool
    people: int
    walks: int
    scores: list[Score]
    by_frames: dict[int, list[Score]]


def evaluate(
    model: GaitModel | FileEmbedder,
    data: Path,
    protocol: str,
    partition: Path | None = None,
    *,
    metric: Metric = "euclidean",
    rerank: bool = False,
    frames: Sequence[int] = (),
    cache: Path = CACHE,
    progress: Callable[[str, int, int], None] | None = None,
) -> Evaluation:
    """Judge `model` on the test people of a data set in OpenGait's layout.

    Args:
        model: what embeds walks; keypoints or SMPL parameters that it needs lie beside the silhouettes.
        data: the data set's folder.
        protocol: name of one that comes with the project, or a YAML file.
        partition: OpenGait's JSON; without one everybody is a test person.
        metric: distance of embeddings.
        rerank: by k-reciprocal neighbours.
        frames: judge also with so many frames of each walk.
        cache: folder where embeddings are kept.
        progress: gets what is done, how much of it and all of it.

    Raises:
        SettingsError: unknown protocol, unusable number of frames.
        DataSetError: the data set lacks what the protocol compares, or a walk cannot be read.
        OutputError: the cache cannot be written.
    """
    if min(frames, default=1) < 1:
        raise SettingsError(f"A walk of {min(frames)} frames cannot be judged: give --frames 5,10,20.")
    rules = read_protocol(protocol)
    walks, beside = _walks(model, data, partition)
    people = np.array([walk.identity for walk in walks])
    views = views_of(rules, walks)
    groups = groups_of(rules, walks, partition)
    need_comparable(views, groups, rules, rerank)  # before the long work

    def judge(count: int | None) -> list[Score]:
        what = "whole walks" if count is None else f"{count} frames"
        report = None if progress is None else lambda done, total: progress(what, done, total)
        features = embed_walks(walks, model, beside=beside, frames=count, fps=rules.fps, cache=cache, progress=report)
        return score(features, people, views, groups, rules, metric=metric, rerank=rerank)

    return Evaluation(
        protocol=protocol,
        source=rules.source,
        model=model.card.model_id,
        data=str(data),
        distance=metric,
        reranked=rerank,
        people=len(np.unique(people)),
        walks=len(walks),
        scores=judge(None),
        by_frames={count: judge(count) for count in frames},
    )


def submit(
    model: GaitModel | FileEmbedder,
    data: Path,
    protocol: str,
    path: Path,
    partition: Path | None = None,
    *,
    metric: Metric = "euclidean",
    cache: Path = CACHE,
    progress: Callable[[str, int, int], None] | None = None,
) -> None:
    """Write what GREW's server judges, see `app.lab.evaluation.submission`; arguments and errors are those of
    `evaluate` and `write_submission`.
    """
    rules = read_protocol(protocol)
    walks, beside = _walks(model, data, partition)
    group, *_ = groups_of(rules, walks, partition)
    report = None if progress is None else lambda done, total: progress("whole walks", done, total)
    features = embed_walks(walks, model, beside=beside, fps=rules.fps, cache=cache, progress=report)
    write_submission(features, walks, group, path, metric)


def _walks(
    model: GaitModel | FileEmbedder, data: Path, partition: Path | None
) -> tuple[list[WalkFile], list[WalkFile]]:
    """The test people's walks and, where the model needs them, their keypoints or SMPL parameters."""
    people = None if partition is None else read_partition(partition, "test")
    walks = walk_files(data, people, partition=partition)
    wanted = beside_of(model)
    if wanted is None:
        return walks, []
    beside = walk_files(data, people, wanted, partition=partition)
    if any(walk.path == other.path for walk, other in zip(walks, beside, strict=True)):
        what = BESIDE[wanted]
        raise DataSetError(
            f"The gait model '{model.card.name}' needs {what}, and {data} holds one file for a view: silhouettes "
            f"and {what} must lie side by side, as in identity/condition/view/0_silhouette.pkl and 1_{wanted}.pkl."
        )
    return walks, beside
