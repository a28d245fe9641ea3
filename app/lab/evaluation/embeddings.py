"""The embeddings of a data set, kept on disk so that a run that was stopped continues where it was."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np

import app
from app.files import written_whole
from app.lab.data.opengait import (
    DataSetError,
    Modality,
    WalkFile,
    read_keypoints,
    read_partition,
    read_silhouettes,
    walk_files,
)
from app.lab.evaluation.files import FileEmbedder, middle
from app.stages import GaitModel
from app.types import Bytes, Floats, GaitSequence

CACHE = Path("output") / "cache" / "embeddings"
MAX_FRAMES = 720
"""The longest walk that a network is given, as is usual in the evaluation of gait."""

_MODALITY_NAMES: dict[Modality, str] = {"pose": "keypoints", "smpl": "SMPL parameters"}


def walks_for(model: GaitModel | FileEmbedder, data: Path, partition: Path | None = None) -> list[WalkFile]:
    """List the walks of a data set in OpenGait's layout, each with the other file that a model needs, if it does.

    Args:
        model: whatever embeds the walks. Keypoints or SMPL parameters must lie beside the silhouettes.
        data: the data set's folder.
        partition: OpenGait's JSON, whose test people are taken. None: everybody.

    Raises:
        DataSetError: there are no walks, or the model needs what the data set lacks.
    """
    people = None if partition is None else read_partition(partition, "test")
    walks = walk_files(data, people, partition=partition)
    modality = model.beside if isinstance(model, FileEmbedder) else "pose" if model.card.keypoints else None
    if modality is None:
        return walks
    others = walk_files(data, people, modality, partition=partition)
    walks = [replace(walk, other=other.path) for walk, other in zip(walks, others, strict=True)]
    if any(walk.path == walk.other for walk in walks):
        what = _MODALITY_NAMES[modality]
        raise DataSetError(
            f"The gait model '{model.card.name}' needs {what}, but {data} has only silhouettes. Put both side by side, "
            f"as in identity/condition/view/0_silhouette.pkl and 1_{modality}.pkl."
        )
    return walks


def embed_walks(
    walks: Sequence[WalkFile],
    model: GaitModel | FileEmbedder,
    *,
    frames: int | None = None,
    fps: float = 25.0,
    cache: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Floats:
    """Embed every walk, person by person.

    The embeddings of a person are a file in `cache`, below the model's id. Its name is a digest of the walks' bytes
    and of everything else that shapes the embeddings, so that it can never be out of date.

    Args:
        walks: from `walks_for` the same model, sorted by identity.
        model: embeds them.
        frames: the number of consecutive frames taken from the middle of each walk. None: all.
        fps: frame rate of the walks, 1/s.
        cache: folder of the embeddings. Default: `CACHE`.
        progress: receives the number of walks done and the number of all walks.

    Returns:
        float32 (N, P, C), in the order of `walks`.

    Raises:
        DataSetError: a walk cannot be read, or has not as many poses or bodies as silhouettes.
        OutputError: the cache cannot be written.
    """
    features: Floats = np.zeros((0, 1, 1), np.float32)
    folder = (cache or CACHE) / model.card.model_id
    done = 0
    for _, group in groupby(walks, key=lambda walk: walk.identity):
        parts = _person(list(group), model, frames, fps, folder)
        if not len(features):
            features = np.empty((len(walks), *parts.shape[1:]), np.float32)
        features[done : done + len(parts)] = parts
        done += len(parts)
        if progress is not None:
            progress(done, len(walks))
    return features


def parts_of(model: GaitModel, walks: Sequence[GaitSequence]) -> Floats:
    """Embed walks, all at once: float32 (N, P, C)."""
    return np.stack([embedding.parts for embedding in model.embed(walks)])


def sequence_of(silhouettes: Bytes, fps: float = 25.0, keypoints: Floats | None = None) -> GaitSequence:
    """Turn the silhouettes of a data set, uint8 (T, 64, 44), into a walk of consecutive frames (T, 64, 64)."""
    margin = (64 - silhouettes.shape[2]) // 2
    return GaitSequence(
        np.arange(len(silhouettes)), np.pad(silhouettes, ((0, 0), (0, 0), (margin, margin))), fps, keypoints
    )


def _person(
    walks: Sequence[WalkFile], model: GaitModel | FileEmbedder, frames: int | None, fps: float, folder: Path
) -> Floats:
    digest = hashlib.sha256(repr((app.__version__, frames, fps, MAX_FRAMES)).encode())
    for file in (file for walk in walks for file in (walk.path, walk.other)):
        if file is not None:
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    path = folder / f"{digest.hexdigest()[:32]}.npy"
    if path.is_file():
        cached: Floats = np.load(path, allow_pickle=False)
        return cached
    if isinstance(model, FileEmbedder):
        parts = np.stack([model.embed(walk, frames).parts for walk in walks])
    else:
        parts = parts_of(model, [_read(walk, frames, fps) for walk in walks])
    with written_whole(path) as temporary:
        np.save(temporary, parts)
    return parts


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
