"""The distance between two walks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from app.errors import IncompatibleEmbeddingsError
from app.types import Embedding, Floats

Metric: TypeAlias = Literal["euclidean", "cosine"]
Distances: TypeAlias = NDArray[np.float64]

_SAME_WALK = 1e-4
"""Two walks whose distance is below this, relative to the size of the embedding, are one and the same recording."""
_BLOCK = 1 << 22  # elements of a block of the result: 32 MiB


def part_distances(a: Floats, b: Floats, metric: Metric = "euclidean") -> Distances:
    """Return the distance that is usual in gait recognition: the mean over parts of Euclidean distances or 1 - cosine.

    It is not the distance of the concatenated vectors. It is computed in float64, because the differences of large sums
    lose digits, and in blocks of bounded memory.

    Args:
        a: float (n, P, C).
        b: float (m, P, C).
        metric: ``euclidean`` or ``cosine``. A part that consists of zeros has the cosine 0 with any other.

    Returns:
        float64 (n, m).

    Raises:
        ValueError: the shapes do not fit, or there is no such metric.
    """
    if a.ndim != 3 or b.ndim != 3 or a.shape[1:] != b.shape[1:]:
        raise ValueError(f"embeddings must be (n, P, C) and (m, P, C), not {a.shape} and {b.shape}")
    if metric not in ("euclidean", "cosine"):
        raise ValueError(f"the metric is euclidean or cosine, not {metric!r}")
    n, m, parts = len(a), len(b), a.shape[1]
    distances: Distances = np.zeros((n, m))
    rows = max(1, _BLOCK // max(1, m))
    for part in range(parts):
        y = b[:, part].astype(np.float64)
        if metric == "cosine":
            y /= np.maximum(np.linalg.norm(y, axis=1, keepdims=True), 1e-12)
        y_square = np.einsum("mc,mc->m", y, y)
        for start in range(0, n, rows):
            x = a[start : start + rows, part].astype(np.float64)
            block = distances[start : start + rows]
            if metric == "cosine":
                x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
                block += 1 - x @ y.T
            else:
                square = np.einsum("nc,nc->n", x, x)[:, None] + y_square - 2 * (x @ y.T)
                block += np.sqrt(np.maximum(square, 0, out=square), out=square)
    distances /= max(1, parts)
    return distances


def distances_between(a: Sequence[Embedding], b: Sequence[Embedding], metric: Metric = "euclidean") -> Distances:
    """Return `part_distances` of embeddings, float64 (len(a), len(b)).

    Raises:
        IncompatibleEmbeddingsError: they come from different models, or have different shapes.
    """
    if not a or not b:
        return np.zeros((len(a), len(b)))
    kinds = sorted({(e.model_id, e.parts.shape) for e in (*a, *b)})
    if len(kinds) > 1:
        names = " and ".join(f"'{name}' {shape}" for name, shape in kinds)
        raise IncompatibleEmbeddingsError(
            f"Embeddings of different models cannot be compared: {names}. "
            "Embed the gallery and the probes again with one gait model."
        )
    return part_distances(np.stack([e.parts for e in a]), np.stack([e.parts for e in b]), metric)


def is_same_recording(distance: float, embedding: Embedding, metric: Metric) -> bool:
    """Return whether a walk at `distance` from `embedding` can only be the same recording, and no second walk."""
    size = float(np.linalg.norm(embedding.parts, axis=1).mean()) if metric == "euclidean" else 1.0
    return distance <= _SAME_WALK * size
