"""Evaluate gait models on data sets, by the protocols of these data sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from app.errors import SettingsError
from app.gallery.distances import Metric
from app.lab.data.opengait import DataSetError, warn_of
from app.lab.evaluation.embeddings import Cluster, Embedded, embed_walks, walks_for
from app.lab.evaluation.files import FileEmbedder
from app.lab.evaluation.protocol import groups_of, read_protocol, views_of
from app.lab.evaluation.scores import Score, need_comparable, need_rerankable, score
from app.lab.evaluation.submission import write_submission
from app.progress import Progress, Titled
from app.stages import GaitModel


@dataclass(frozen=True)
class Evaluation:
    """One model on one data set: how it was evaluated, and the figures.

    `scores` are of whole walks, `by_frames` of so many frames of each walk. `left_out` has what of the data set was not
    used, with the reasons.
    """

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
    left_out: dict[str, str] = field(default_factory=dict)


def data_sets(
    folders: Sequence[Path], protocols: Sequence[str], partitions: Sequence[Path] = (), *, rerank: bool = False
) -> list[tuple[Path, str, Path | None]]:
    """Return each data set with its protocol and its partition, from what the command line gives.

    Raises:
        SettingsError: their numbers do not fit, or a protocol is unknown or, with `rerank`, cannot be re-ranked.
    """
    each = [*protocols] * len(folders) if len(protocols) == 1 else protocols
    listed: Sequence[Path | None] = partitions or [None] * len(folders)
    if not len(folders) == len(each) == len(listed):
        raise SettingsError(
            f"There are {len(folders)} data sets, {len(protocols)} protocols and {len(partitions)} partitions. Give "
            "one protocol for all data sets or one for each, and no partition or one for each."
        )
    for protocol in each:
        rules = read_protocol(protocol)
        if rerank:
            need_rerankable(rules)
    return list(zip(folders, each, listed, strict=True))


def frame_counts(text: str | None) -> list[int]:
    """Read numbers of frames, such as ``5,10,20``; `SettingsError` where the text is something else."""
    try:
        return [int(number) for number in text.split(",")] if text is not None else []
    except ValueError as error:
        raise SettingsError(f"--frames {text}: write numbers with commas between them, e.g. 5,10,20,40.") from error


def evaluate(
    model: GaitModel | FileEmbedder,
    data: Path,
    protocol: str,
    partition: Path | None = None,
    *,
    metric: Metric = "euclidean",
    rerank: bool = False,
    frames: Sequence[int] = (),
    cache: Path | None = None,
    cluster: Cluster | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Evaluate a model on the test people of a data set.

    Args:
        model: embeds the walks. Keypoints or SMPL parameters that it needs must lie beside the silhouettes.
        protocol: the name of one that comes with the project, or the path of a YAML file.
        partition: OpenGait's JSON. Without it everybody is a test person.
        frames: numbers of frames; the model is also evaluated with so many frames of each walk.
        cache: the folder where embeddings are kept. Default: `app.lab.evaluation.embeddings.CACHE`.
        progress: where it is shown how many of the walks are embedded.

    Raises:
        SettingsError: the protocol is unknown, or a number of frames cannot be used.
        DataSetError: the data set lacks what the protocol compares, or no walk can be read.
        OutputError: the cache cannot be written.
    """
    if min(frames, default=1) < 1:
        raise SettingsError(f"A walk of {min(frames)} frames cannot be evaluated. Give for example --frames 5,10,20.")
    rules = read_protocol(protocol)
    left_out: dict[str, str] = {}
    listed = walks_for(model, data, partition, left_out)
    groups = groups_of(rules, listed, partition)
    need_comparable(views_of(rules, listed), groups, rules, rerank)  # before the long work
    if all(len({listed[number].identity for number in group.gallery}) == 1 for group in groups):
        raise DataSetError(f"{data}: the gallery shows one person only, as whom every walk is named. Give more people.")

    def embedded(count: int | None) -> Embedded:
        title = f"Embedding {model.card.name} on {data.name}, {'whole walks' if count is None else f'{count} frames'}"
        shown = Titled(progress, title)
        return embed_walks(listed, model, frames=count, fps=rules.fps, cache=cache, cluster=cluster, progress=shown)

    whole = embedded(None)
    walks = whole.walks
    left_out |= whole.left_out
    warn_of(left_out, data)
    people = np.array([walk.identity for walk in walks])
    views = views_of(rules, walks)
    groups = groups_of(rules, walks, partition)
    need_comparable(views, groups, rules, rerank)
    score_of = partial(score, people=people, views=views, groups=groups, protocol=rules, metric=metric, rerank=rerank)
    return Evaluation(
        protocol=protocol,
        source=rules.source,
        model=model.card.model_id,
        data=str(data),
        distance=metric,
        reranked=rerank,
        people=len(np.unique(people)),
        walks=len(walks),
        scores=score_of(whole.features),
        by_frames={count: score_of(embedded(count).features) for count in frames},
        left_out=left_out,
    )


def submit(
    model: GaitModel | FileEmbedder,
    data: Path,
    protocol: str,
    path: Path,
    partition: Path | None = None,
    *,
    metric: Metric = "euclidean",
    cache: Path | None = None,
    cluster: Cluster | None = None,
    progress: Progress | None = None,
) -> None:
    """Write the file that GREW's server scores.

    Arguments and errors are those of `evaluate` and `app.lab.evaluation.submission.write_submission`.
    """
    rules = read_protocol(protocol)
    walks = walks_for(model, data, partition)
    groups_of(rules, walks, partition)  # before the long work
    found = embed_walks(walks, model, fps=rules.fps, cache=cache, cluster=cluster, progress=progress)
    warn_of(found.left_out, data)
    group, *_ = groups_of(rules, found.walks, partition)
    write_submission(found.features, found.walks, group, path, metric)
