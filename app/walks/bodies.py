"""Bodies that are fitted once for each walk, and kept on disk beside the archives of pass 1.

The name of a file is a digest of everything that determines the body, so it can never be stale. A walk that is the same
in several places of a run, or in several runs, has its body from there; so has whatever a run had fitted before it was
interrupted.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from app.files import written_whole
from app.settings import BodySettings
from app.stages import BodyEstimator
from app.types import BodyMotion, GaitSequence
from app.walks.archive import code_digest, library_versions

_FIELDS = tuple(BodyMotion.__dataclass_fields__)
_CODE = ("types.py", "body", "body/body.npz")
_FRAME, _HEAD = 1200, 20_000
"""A body takes at most so many bytes a frame, and so many besides. A larger file is damaged."""


class KeptBodies(BodyEstimator):
    """A body estimator that keeps what it has fitted, from the moment it is told where."""

    def __init__(self, estimator: BodyEstimator, settings: BodySettings) -> None:
        self._estimator, self._steps = estimator, settings.steps
        self._folder: Path | None = None
        self._fresh = False
        self._made: set[Path] = set()
        self.card = estimator.card

    def keep(self, folder: Path, *, fresh: bool) -> None:
        """Keep bodies in the cache `folder` from now on; with `fresh`, ignore those that earlier runs have left."""
        self._folder, self._fresh = folder, self._fresh or fresh

    def fit(self, walks: Sequence[GaitSequence]) -> list[BodyMotion]:
        """Return the body of each walk.

        Raises:
            OutputError: a body cannot be written into the cache.
        """
        if self._folder is None:
            return self._estimator.fit(walks)
        return [self._fitted(walk, self._folder / f"{self._digest(walk)}.npz") for walk in walks]

    def _fitted(self, walk: GaitSequence, path: Path) -> BodyMotion:
        known = None if self._fresh and path not in self._made else _read(path, walk)
        if known is not None:
            return known
        (motion,) = self._estimator.fit([walk])
        with written_whole(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **{name: getattr(motion, name) for name in _FIELDS})
        self._made.add(path)
        return motion

    def _digest(self, walk: GaitSequence) -> str:
        assert walk.keypoints is not None
        shaping = {
            "model": [self.card.name, self.card.sha256, self.card.runtime, type(self._estimator).__qualname__],
            "steps": self._steps,
            "fps": walk.fps,
            "code": code_digest(_CODE),
            "libraries": library_versions(),
        }
        digest = hashlib.sha256(json.dumps(shaping, sort_keys=True).encode())
        digest.update(walk.frame_indices.tobytes())
        digest.update(walk.keypoints.tobytes())
        return digest.hexdigest()[:32]


def _read(path: Path, walk: GaitSequence) -> BodyMotion | None:
    """Return the body of a walk from a file; None if there is none, or it is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > _HEAD + _FRAME * len(walk):
                return None
        with np.load(path, allow_pickle=False) as arrays:
            found: dict[str, Any] = {name: arrays[name] for name in _FIELDS}
            motion = BodyMotion(**{**found, "fps": float(found["fps"])})
        return motion if np.array_equal(motion.frame_indices, walk.frame_indices) else None
    except Exception:  # a damaged file can fail in many ways
        return None
