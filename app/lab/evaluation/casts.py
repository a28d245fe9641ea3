"""The embeddings of casts (`app.lab.synthesis.casts`), kept so that a run that was stopped goes on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import app
from app.errors import GalleryError
from app.files import written_whole
from app.lab.evaluation.embeddings import CACHE
from app.lab.evaluation.files import FileEmbedder
from app.lab.synthesis.casts import CastWalk, read_cast
from app.progress import Progress, Silent
from app.stages import GaitModel
from app.types import Embedding, Floats


@dataclass(frozen=True, eq=False)
class EmbeddedCasts:
    """Walks of casts, and their embeddings."""

    walks: list[CastWalk]
    embeddings: list[Embedding]

    @property
    def features(self) -> Floats:
        """The parts of the embeddings (n, P, C)."""
        return np.stack([embedding.parts for embedding in self.embeddings])

    @property
    def videos(self) -> list[str]:
        """In which video each walk was filmed (n,): cast and recording."""
        return [f"{walk.cast}/{walk.recording}" for walk in self.walks]


def embed_casts(
    paths: Sequence[Path],
    model: GaitModel | FileEmbedder,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> EmbeddedCasts:
    """Embed the casts in `paths`, one by one, with a gait model that reads silhouettes, keypoints or body parts.

    Raises:
        GalleryError: there are no casts, or the model reads something that they do not contain.
        OutputError: the cache cannot be written.
    """
    if isinstance(model, FileEmbedder) or model.card.pictures:
        raise GalleryError(
            f"Casts contain only silhouettes, keypoints and body parts, but the gait model '{model.card.name}' needs "
            "more. Calibrate it with --data."
        )
    if not paths:
        raise GalleryError("There are no casts. Make some: python -m app walkers casts.")
    walks, embeddings = list[CastWalk](), list[Embedding]()
    with (progress or Silent()).stage("Embedding", len(paths)) as advance:
        for path in paths:
            digest = hashlib.sha256(repr(app.__version__).encode() + path.read_bytes()).hexdigest()[:32]
            kept = (cache or CACHE) / model.card.model_id / f"{digest}.npz"
            of_cast = read_cast(path)
            if model.card.parts and any(walk.sequence.parts is None for walk in of_cast):
                raise GalleryError(
                    f"The cast {path} has no body parts, which the gait model '{model.card.name}' needs. Film casts "
                    "with them: python -m app walkers casts --parts."
                )
            if not kept.is_file():
                found = model.embed([walk.sequence for walk in of_cast])
                with written_whole(kept) as temporary, temporary.open("wb") as stream:
                    np.savez(
                        stream,
                        parts=np.stack([one.parts for one in found]),
                        views=np.concatenate([one.views for one in found]),
                        counts=np.array([0 if one.pieces is None else len(one.views) for one in found]),
                    )
            walks += of_cast
            embeddings += _kept(kept, of_cast, model.card.model_id)
            advance(1)
    return EmbeddedCasts(walks, embeddings)


def _kept(path: Path, walks: Sequence[CastWalk], model_id: str) -> list[Embedding]:
    """Read the embeddings of a cast; ``counts`` are the views of each walk, 0 for one that was seen as a whole."""
    with np.load(path, allow_pickle=False) as file:
        parts, views, counts = file["parts"], file["views"], file["counts"]
    ends = np.cumsum(np.maximum(counts, 1))
    return [
        Embedding(one, model_id, len(walk.sequence), views[end - count : end] if count else None)
        for one, walk, count, end in zip(parts, walks, counts.tolist(), ends.tolist(), strict=True)
    ]
