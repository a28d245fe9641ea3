"""What was computed from walks and is kept on disk, beside the archives of pass 1: bodies and costly embeddings.

The name of a file is a digest of everything that determines what is in it, so it can never be stale. A walk that is the
same in several places of a run, or in several runs, has its result from there; so has whatever a run had done before it
was interrupted.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np

from app.files import READING_ARRAYS, written_whole
from app.settings import BodySettings, GaitSettings
from app.stages import BodyEstimator, GaitModel
from app.types import BodyMotion, Embedding, GaitSequence
from app.walks.archive import code_digest, library_versions

Result = TypeVar("Result")
Arrays: TypeAlias = Mapping[str, Any]

_FIELDS = tuple(BodyMotion.__dataclass_fields__)
_FRAME, _HEAD = 1200, 20_000
"""A body takes at most so many bytes a frame, and so many besides. A larger file is damaged."""
_EMBEDDING = 1 << 26
"""Bytes of the largest embedding."""


class Kept:
    """Keeps results from the moment it is told where."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._fresh = False
        self._made: set[Path] = set()

    def keep(self, folder: Path, *, fresh: bool) -> None:
        """Keep results in the cache `folder` from now on; with `fresh`, ignore those that earlier runs have left."""
        self._folder, self._fresh = folder, self._fresh or fresh

    def _once(
        self,
        name: str,
        make: Callable[[], Result],
        arrays: Callable[[Result], Arrays],
        read: Callable[[Arrays], Result | None],
        largest: int,
    ) -> Result:
        """Return the result called `name` from the cache, or make it and keep it.

        Raises:
            OutputError: it cannot be written.
        """
        if self._folder is None:
            return make()
        path = self._folder / f"{name}.npz"
        known = None if self._fresh and path not in self._made else _read(path, read, largest)
        if known is not None:
            return known
        result = make()
        with written_whole(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **arrays(result))
        self._made.add(path)
        return result


class KeptBodies(Kept, BodyEstimator):
    """A body estimator that keeps what it has fitted."""

    def __init__(self, estimator: BodyEstimator, settings: BodySettings) -> None:
        super().__init__()
        self._estimator, self._steps = estimator, settings.steps
        self.card = estimator.card

    def fit(self, walks: Sequence[GaitSequence]) -> list[BodyMotion]:
        """Return the body of each walk; `OutputError` where a body cannot be written into the cache."""
        return [self._fitted(walk) for walk in walks]

    def _fitted(self, walk: GaitSequence) -> BodyMotion:
        def make() -> BodyMotion:
            (motion,) = self._estimator.fit([walk])
            return motion

        def read(found: Arrays) -> BodyMotion | None:
            values: dict[str, Any] = {field: found[field] for field in _FIELDS}
            motion = BodyMotion(**{**values, "fps": float(values["fps"])})
            return motion if np.array_equal(motion.frame_indices, walk.frame_indices) else None

        assert walk.keypoints is not None
        shaping = {
            "model": [self.card.name, self.card.sha256, self.card.runtime, type(self._estimator).__qualname__],
            "steps": self._steps,
        }
        name = _digest(walk, shaping, ("types.py", "body", "body/body.npz"), walk.keypoints)
        return self._once(
            name, make, lambda motion: {field: getattr(motion, field) for field in _FIELDS}, read,
            _HEAD + _FRAME * len(walk),
        )  # fmt: skip


class KeptEmbeddings(Kept, GaitModel):
    """A gait model that keeps its embeddings, for networks that look at pictures for a minute."""

    def __init__(self, model: GaitModel, settings: GaitSettings) -> None:
        super().__init__()
        self._model, self._max_frames = model, settings.max_frames
        self.card = model.card

    def embed(self, walks: Sequence[GaitSequence]) -> list[Embedding]:
        """Return the embedding of each walk; errors as of the model.

        Raises:
            OutputError: an embedding cannot be written into the cache.
        """
        return [self._embedded(walk) for walk in walks]

    def _embedded(self, walk: GaitSequence) -> Embedding:
        def make() -> Embedding:
            (embedding,) = self._model.embed([walk])
            return embedding

        def arrays(embedding: Embedding) -> Arrays:
            pieces = {} if embedding.pieces is None else {"pieces": embedding.pieces}
            return {"parts": embedding.parts, "frames": np.int64(embedding.frames), **pieces}

        def read(found: Arrays) -> Embedding:
            return Embedding(found["parts"], self.card.model_id, int(found["frames"]), found.get("pieces"))

        shaping = {"model": [self.card.model_id, self.card.sha256, self.card.runtime], "frames": self._max_frames}
        beside = [each for each in (walk.keypoints, walk.parts, walk.pictures, walk.ratios) if each is not None]
        name = _digest(walk, shaping, ("types.py", "gait"), walk.silhouettes, *beside)
        return self._once(name, make, arrays, read, _EMBEDDING)


def _digest(walk: GaitSequence, shaping: Mapping[str, Any], code: tuple[str, ...], *arrays: np.ndarray) -> str:
    """Return the name of what is made from `arrays` of a walk."""
    about = {**shaping, "fps": walk.fps, "code": code_digest(code), "libraries": library_versions()}
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for array in (walk.frame_indices, *arrays):
        digest.update(array.tobytes())
    return digest.hexdigest()[:32]


def _read(path: Path, read: Callable[[Arrays], Result | None], largest: int) -> Result | None:
    """Return what a file holds; None if there is none, or it is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > largest:
                return None
        with READING_ARRAYS, np.load(path, allow_pickle=False) as arrays:
            return read(arrays)
    except Exception:  # a damaged file can fail in many ways
        return None
