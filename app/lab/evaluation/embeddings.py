"""The embeddings of a data set, kept on disk so that a run that was stopped continues where it was."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np

import app
from app.errors import CheckpointError, OutputError
from app.files import written_whole
from app.lab.data.opengait import (
    DataSetError,
    Modality,
    WalkFile,
    read_file,
    read_keypoints,
    read_partition,
    read_silhouettes,
    walk_files,
    warn_of,
)
from app.lab.evaluation.files import FileEmbedder, load_model, middle
from app.progress import Progress, Silent
from app.settings import Settings
from app.stages import GaitModel
from app.types import Bytes, Floats, GaitSequence
from app.workers import on_cluster

CACHE = Path("output") / "cache" / "embeddings"
MAX_FRAMES = 720
"""The longest walk that a network is given, as is usual in the evaluation of gait."""

_MODALITY_NAMES: dict[Modality, str] = {
    "silhouette": "silhouettes",
    "pose": "keypoints",
    "smpl": "SMPL parameters",
    "parsing": "maps of body parts",
}


@dataclass(frozen=True)
class Embedded:
    """The walks of a data set that could be read and their embeddings, float32 (N, P, C). `left_out` has the reasons
    for all others by name.
    """

    walks: list[WalkFile]
    features: Floats
    left_out: dict[str, str]


@dataclass(frozen=True)
class Cluster:
    """The address of a cluster (`app.workers.on_cluster`) that embeds, and the settings that name the model.

    Its machines must see the data set, the cache and the model under the same paths. The figures are the same to the
    bit where the machines compute as this one does: processors of one kind, or GPUs of one kind.
    """

    address: str
    settings: Settings


def walks_for(
    model: GaitModel | FileEmbedder,
    data: Path,
    partition: Path | None = None,
    left_out: dict[str, str] | None = None,
) -> list[WalkFile]:
    """List the walks of a data set in OpenGait's layout, each with the other file that a model needs, if it does.

    Keypoints or SMPL parameters must lie beside the silhouettes. `partition` is OpenGait's JSON, whose test people are
    taken; None: everybody. For `left_out` see `app.lab.data.opengait.walk_files`.

    Raises:
        DataSetError: there are no walks, or the model needs what the data set lacks.
    """
    people = None if partition is None else read_partition(partition, "test")
    main: Modality = model.main if isinstance(model, FileEmbedder) else "silhouette"
    modality = model.beside if isinstance(model, FileEmbedder) else "pose" if model.card.keypoints else None
    passed: dict[str, str] = {}
    walks = walk_files(data, people, main, partition=partition, left_out=passed)
    if modality is not None:
        what = _MODALITY_NAMES[modality]
        others = {walk.name: walk.path for walk in walk_files(data, people, modality, left_out={})}
        both = [walk for walk in walks if others.get(walk.name, walk.path) != walk.path]
        passed |= {walk.name: f"has no {what}" for walk in walks if others.get(walk.name, walk.path) == walk.path}
        if not both:
            raise DataSetError(
                f"The gait model '{model.card.name}' needs {what}, but {data} has only {_MODALITY_NAMES[main]}. Put "
                f"both side by side, as in identity/condition/view/0_{main}.pkl and 1_{modality}.pkl."
            )
        walks = [replace(walk, other=others[walk.name]) for walk in both]
    if left_out is None:
        warn_of(passed, data)
    else:
        left_out |= passed
    return walks


def embed_walks(
    walks: Sequence[WalkFile],
    model: GaitModel | FileEmbedder,
    *,
    frames: int | None = None,
    fps: float = 25.0,
    cache: Path | None = None,
    cluster: Cluster | None = None,
    progress: Progress | None = None,
) -> Embedded:
    """Embed every walk that can be read, person by person.

    The embeddings of a person are a file in `cache`, below the model's id. Its name is a digest of the walks' bytes
    and of everything else that shapes the embeddings, so that it can never be out of date.

    Args:
        walks: from `walks_for` the same model, sorted by identity.
        frames: the number of consecutive frames taken from the middle of each walk. None: all.
        cluster: embeds in place of this process, by the model that `model` is.

    Raises:
        DataSetError: no walk can be read, or none has as many poses or bodies as silhouettes.
        OutputError: the cache cannot be written, or what a cluster has written is not there.
        CheckpointError: a machine of the cluster has another model.
        MissingExtraError: a cluster is named, and Ray is not installed.
        GaitprintError: the cluster cannot be reached.
    """
    folder = (cache or CACHE) / model.card.model_id
    people = [list(group) for _, group in groupby(walks, key=lambda walk: walk.identity)]
    if cluster is None:
        answers: Iterator[_Person] = (_person(group, model, frames, fps, folder) for group in people)
    else:  # its workers have working folders of their own
        todo = [[_anchored(walk) for walk in group] for group in people]
        settings, there = cluster.settings.anchored(), folder.absolute()
        answers = on_cluster(_person_there, [(group, settings, frames, fps, there) for group in todo], cluster.address)
    found: dict[str, _Person] = {}
    with (progress or Silent()).stage("Embedding", len(walks)) as advance:
        for answer in answers:
            found[answer.identity] = answer
            advance(len(answer.read) + len(answer.left_out))
    parts: list[Floats] = []
    read: list[WalkFile] = []
    left_out: dict[str, str] = {}
    for group in people:
        answer = found[group[0].identity]
        left_out |= answer.left_out
        if answer.path is not None:
            parts.append(_kept(answer.path))
            read += [walk for walk in group if walk.name in answer.read]
    if not parts:
        raise DataSetError(f"No walk can be read: {next(iter(left_out.values()), 'there is none')}")
    return Embedded(read, np.concatenate(parts), left_out)


def parts_of(model: GaitModel, walks: Sequence[GaitSequence]) -> Floats:
    """Embed walks, all at once: float32 (N, P, C)."""
    return np.stack([embedding.parts for embedding in model.embed(walks)])


def sequence_of(silhouettes: Bytes, fps: float = 25.0, keypoints: Floats | None = None) -> GaitSequence:
    """Turn the silhouettes of a data set, uint8 (T, 64, 44), into a walk of consecutive frames (T, 64, 64)."""
    margin = (64 - silhouettes.shape[2]) // 2
    return GaitSequence(
        np.arange(len(silhouettes)), np.pad(silhouettes, ((0, 0), (0, 0), (margin, margin))), fps, keypoints
    )


class _Person(NamedTuple):
    """The names of the walks of a person that can be read, the file of their embeddings, and what is wrong with others.

    Without such a walk, `path` is None.
    """

    identity: str
    read: frozenset[str]
    path: Path | None
    left_out: dict[str, str]


def _person(
    walks: list[WalkFile], model: GaitModel | FileEmbedder, frames: int | None, fps: float, folder: Path
) -> _Person:
    """Embed the walks of a person that can be read, unless that was done before."""
    path, left_out = folder / f"{_digest(walks, frames, fps)}.npy", dict[str, str]()
    everything = _Person(walks[0].identity, frozenset(walk.name for walk in walks), path, left_out)
    if path.is_file():
        return everything
    sequences: list[GaitSequence] = []
    embeddings: list[Floats] = []
    good: list[WalkFile] = []
    for walk in walks:
        try:
            if isinstance(model, FileEmbedder):
                embeddings.append(model.embed(walk, frames).parts)
            else:
                sequences.append(_read(walk, frames, fps))
            good.append(walk)
        except DataSetError as error:
            left_out[walk.name] = str(error)
    if not good:
        return _Person(walks[0].identity, frozenset(), None, left_out)
    if left_out:  # the cache may have the others
        return _person(good, model, frames, fps, folder)._replace(left_out=left_out)
    parts = np.stack(embeddings) if isinstance(model, FileEmbedder) else parts_of(model, sequences)
    with written_whole(path) as temporary:
        np.save(temporary, parts)
    return everything


def _person_there(walks: list[WalkFile], settings: Settings, frames: int | None, fps: float, folder: Path) -> _Person:
    """Embed the walks of a person on another machine, which must have the model that `folder` is named after."""
    model = _model(settings)
    if model.card.model_id != folder.name:
        raise CheckpointError(
            f"A machine of the cluster found the gait model {model.card.model_id}, not {folder.name}. All machines "
            f"must see the same checkpoints: {settings.gait.checkpoint or settings.checkpoints}."
        )
    return _person(walks, model, frames, fps, folder)


@lru_cache(maxsize=1)
def _model(settings: Settings) -> GaitModel | FileEmbedder:
    """Load the model, once for each process."""
    return load_model(settings)


def _anchored(walk: WalkFile) -> WalkFile:
    return replace(walk, path=walk.path.absolute(), other=None if walk.other is None else walk.other.absolute())


def _kept(path: Path) -> Floats:
    try:
        kept: Floats = np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise OutputError(
            f"Embeddings were written to {path}, but they are not there. With a cluster, give a --cache folder that "
            "all machines see under the same path."
        ) from error
    return kept


def _digest(walks: Sequence[WalkFile], frames: int | None, fps: float) -> str:
    digest = hashlib.sha256(repr((app.__version__, frames, fps, MAX_FRAMES)).encode())
    for file in (file for walk in walks for file in (walk.path, walk.other) if file is not None):
        try:
            digest.update(hashlib.sha256(read_file(file)).digest())
        except DataSetError as error:
            digest.update(str(error).encode("utf-8", "replace"))
    return digest.hexdigest()[:32]


def _read(walk: WalkFile, frames: int | None, fps: float) -> GaitSequence:
    silhouettes = read_silhouettes(walk.path)
    keypoints = None if walk.other is None else read_keypoints(walk.other)
    if keypoints is not None and len(keypoints) != len(silhouettes):
        raise DataSetError(
            f"{walk.other} has {len(keypoints)} poses, and {walk.path} has {len(silhouettes)} silhouettes. They must "
            "be of the same frames."
        )
    chosen = middle(len(silhouettes), frames)
    return sequence_of(silhouettes[chosen], fps, None if keypoints is None else keypoints[chosen])
