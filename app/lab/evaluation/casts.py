"""The embeddings of casts (`app.lab.synthesis.casts`), kept so that a run that was stopped goes on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import app
from app.errors import GalleryError
from app.files import written_whole
from app.lab.evaluation.embeddings import CACHE, parts_of
from app.lab.evaluation.files import FileEmbedder
from app.lab.synthesis.casts import CastWalk, read_cast
from app.stages import GaitModel
from app.types import Floats


@dataclass(frozen=True, eq=False)
class EmbeddedCasts:
    """Walks of casts, and their embeddings (n, P, C)."""

    walks: list[CastWalk]
    features: Floats

    @property
    def videos(self) -> list[str]:
        """In which video each walk was filmed (n,): cast and recording."""
        return [f"{walk.cast}/{walk.recording}" for walk in self.walks]


def embed_casts(
    paths: Sequence[Path],
    model: GaitModel | FileEmbedder,
    cache: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> EmbeddedCasts:
    """Embed casts, one by one.

    Args:
        paths: their files.
        model: a gait model that reads silhouettes, keypoints or both.
        cache: the folder where embeddings are kept.
        progress: receives the number of casts done and of all.

    Raises:
        GalleryError: there are no casts, or the model reads something else.
        OutputError: the cache cannot be written.
    """
    if isinstance(model, FileEmbedder) or model.card.parts:
        raise GalleryError(f"Casts hold silhouettes and keypoints, and the gait model '{model.card.name}' needs more.")
    if not paths:
        raise GalleryError("There are no casts. Make some: python -m app walkers casts.")
    walks, features = [], []
    for done, path in enumerate(paths, 1):
        digest = hashlib.sha256(repr(app.__version__).encode() + path.read_bytes()).hexdigest()[:32]
        kept = (cache or CACHE) / model.card.model_id / f"{digest}.npy"
        of_cast = read_cast(path)
        if not kept.is_file():
            parts = parts_of(model, [walk.sequence for walk in of_cast])
            with written_whole(kept) as temporary:
                np.save(temporary, parts)
        walks += of_cast
        features.append(np.load(kept, allow_pickle=False))
        if progress is not None:
            progress(done, len(paths))
    return EmbeddedCasts(walks, np.concatenate(features))
