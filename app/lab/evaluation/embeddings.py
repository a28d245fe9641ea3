"""The embeddings of a data set, kept on disk so that a run that was stopped goes on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from itertools import chain, groupby
from pathlib import Path

import numpy as np

import app
from app.errors import SettingsError
from app.files import written_whole
from app.lab.data.opengait import DataSetError, Modality, WalkFile, read_keypoints, read_silhouettes
from app.lab.evaluation.files import FileEmbedder
from app.stages import GaitModel
from app.types import Floats, GaitSequence

CACHE = Path("output") / "cache" / "embeddings"
BESIDE: dict[Modality, str] = {"pose": "keypoints", "smpl": "SMPL parameters"}
"""What may be seen beside silhouettes, and how it is called."""
MAX_FRAMES = 720
"""Longest walk handed to a network, as is usual in the evaluation of gait."""


def embed_walks(
    walks: Sequence[WalkFile],
    model: GaitModel | FileEmbedder,
    *,
    beside: Sequence[WalkFile] = (),
    frames: int | None = None,
    fps: float = 25.0,
    cache: Path = CACHE,
    progress: Callable[[int, int], None] | None = None,
) -> Floats:
    """Embed every walk.

    Every person is a file in `cache`, under the model's id, named by a digest of the walks' bytes and of what shapes
    the embedding: nothing there can be stale.

    Args:
        walks: sorted by identity.
        model: what embeds them.
        beside: the keypoints or SMPL parameters of the same walks, for a model that needs them.
        frames: of each walk, consecutive ones from its middle; None takes all.
        fps: of the walks, 1/s.
        cache: folder of the embeddings.
        progress: gets the walks done and all of them.

    Returns:
        float32 (N, P, C), in the order of `walks`.

    Raises:
        SettingsError: the model needs keypoints and there are none.
        DataSetError: a walk cannot be read, or has not as many poses or bodies as silhouettes.
        OutputError: the cache cannot be written.
    """
    wanted = beside_of(model)
    if wanted is not None and not beside:
        raise SettingsError(
            f"The gait model '{model.card.name}' needs {BESIDE[wanted]}, and only silhouettes are given."
        )
    paths = [[walk.path] for walk in walks]
    if wanted is not None:
        paths = [[walk.path, other.path] for walk, other in zip(walks, beside, strict=True)]
    features: Floats | None = None
    done = 0
    for _, group in groupby(walks, key=lambda walk: walk.identity):
        person = list(group)
        parts = _person(paths[done : done + len(person)], model, frames, fps, cache / model.card.model_id)
        if features is None:
            features = np.empty((len(walks), *parts.shape[1:]), np.float32)
        features[done : done + len(person)] = parts
        done += len(person)
        if progress is not None:
            progress(done, len(walks))
    return np.zeros((0, 1, 1), np.float32) if features is None else features


def beside_of(model: GaitModel | FileEmbedder) -> Modality | None:
    """What a model sees beside the silhouettes."""
    if isinstance(model, FileEmbedder):
        return model.beside
    return "pose" if model.card.keypoints else None


def _person(
    walks: Sequence[Sequence[Path]], model: GaitModel | FileEmbedder, frames: int | None, fps: float, folder: Path
) -> Floats:
    digest = hashlib.sha256(repr((app.__version__, frames, fps, MAX_FRAMES)).encode())
    for file in chain.from_iterable(walks):
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    path = folder / f"{digest.hexdigest()[:32]}.npy"
    if path.is_file():
        kept: Floats = np.load(path, allow_pickle=False)
        return kept
    if isinstance(model, FileEmbedder):
        found = model.embed(walks, frames)
    else:
        found = model.embed([_sequence(*walk, frames=frames, fps=fps) for walk in walks])
    parts = np.stack([embedding.parts for embedding in found])
    with written_whole(path) as temporary:
        np.save(temporary, parts)
    return parts


def _sequence(walk: Path, pose: Path | None = None, *, frames: int | None, fps: float) -> GaitSequence:
    silhouettes = read_silhouettes(walk)
    keypoints = None if pose is None else read_keypoints(pose)
    if keypoints is not None and len(keypoints) != len(silhouettes):
        raise DataSetError(
            f"{pose} has {len(keypoints)} poses, and {walk} {len(silhouettes)} silhouettes: they must be of the same "
            "frames."
        )
    start = 0 if frames is None else max(0, (len(silhouettes) - frames) // 2)
    chosen = slice(start, None if frames is None else start + frames)
    margin = (64 - silhouettes.shape[2]) // 2
    whole = np.pad(silhouettes[chosen], ((0, 0), (0, 0), (margin, margin)))
    return GaitSequence(np.arange(len(whole)), whole, fps, None if keypoints is None else keypoints[chosen])
