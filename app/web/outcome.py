"""What a worker writes into a result folder beside the run itself, for the web page.

::

    outcome.json               this
    run/                       what `python -m app demo` or `identify` writes: painted videos, results.json, crops ...
    features/<video>/*.npz     the embedding of each track; silhouettes/<video>/<track>/*.png are its silhouettes
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image as Picture
from pydantic import BaseModel

from app.errors import reason_of
from app.files import READING_ARRAYS
from app.types import Embedding, GaitSequence
from app.web.options import damaged, read_model


class SeenVideo(BaseModel, frozen=True):
    """A video that was used: the name its folders have, and its painted copy in ``run/``."""

    video_id: str
    name: str
    painted: str


class KnownIdentity(BaseModel, frozen=True):
    """A name in a result.

    `colour` is its colour in the painted videos (#rrggbb), or None if it is only a candidate. `person_id` and `walks`
    are the person and their walks in the gallery's database at that time, if the name came from there.
    """

    name: str
    colour: str | None
    person_id: int | None = None
    walks: list[int] = []


class Outcome(BaseModel, frozen=True):
    """`videos` are in the order of `results.json`; `failures` say why other videos could not be used."""

    videos: list[SeenVideo]
    identities: list[KnownIdentity]
    failures: list[str] = []

    @classmethod
    def read(cls, result: Path) -> Outcome:
        """Read it from a result folder. It is kept in memory, because it never changes and most requests need many."""
        path = result / "outcome.json"
        try:
            return _read(path, path.stat().st_mtime_ns)
        except OSError as error:
            raise damaged(path, reason_of(error)) from error


@lru_cache(maxsize=10_000)
def _read(path: Path, _changed: int) -> Outcome:
    return read_model(Outcome, path)


@contextmanager
def _sound(path: Path) -> Iterator[None]:
    """Raise the error of a damaged file where what belongs to a track cannot be read."""
    try:
        yield
    except Exception as error:  # a damaged archive can fail in many ways
        raise damaged(path, str(error)) from error


class StoredWalks:
    """The embeddings and silhouettes of a video in a result, by track id."""

    def __init__(self, result: Path, name: str) -> None:
        self._features, self._silhouettes = result / "features" / name, result / "silhouettes" / name

    def embedding(self, track_id: int) -> Embedding | None:
        """Return the embedding of a track; None for a track that could not be used."""
        path = self._file(track_id)
        if not path.is_file():
            return None
        with _sound(path), READING_ARRAYS, np.load(path, allow_pickle=False) as arrays:
            return Embedding(arrays["parts"], str(arrays["model_id"]), int(arrays["frames"]), arrays.get("pieces"))

    def sequence(self, track_id: int, fps: float) -> GaitSequence | None:
        """Return the silhouettes of a track; None where none could be cut out."""
        path, folder = self._file(track_id), self._silhouettes / f"{track_id:03d}"
        with _sound(path):
            with READING_ARRAYS, np.load(path, allow_pickle=False) as arrays:
                indices, keypoints = arrays["frame_indices"], arrays.get("keypoints")
            if not len(indices):
                return None
            pictures = [np.asarray(Picture.open(folder / f"{index:06d}.png"), np.uint8) for index in indices.tolist()]
            return GaitSequence(indices, np.stack(pictures), fps, keypoints)

    def _file(self, track_id: int) -> Path:
        return self._features / f"{track_id:03d}.npz"
