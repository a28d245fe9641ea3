"""The distance between two walks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from app.errors import IncompatibleEmbeddingsError
from app.types import Doubles, Embedding, Floats

Metric: TypeAlias = Literal["euclidean", "cosine"]
Distances: TypeAlias = NDArray[np.float64]

_SAME_WALK = 1e-4
"""Two walks whose distance is below this, relative to the size of the embedding, are one and the same recording."""
_BLOCK = 1 << 22  # elements of a block of the result: 32 MiB


def part_distances(a: Floats, b: Floats, metric: Metric = "euclidean") -> Distances:
    """Return the distances (n, m), float64, of a (n, P, C) and b (m, P, C) that are usual in gait recognition.

    Each is the mean over parts of Euclidean distances or 1 - cosine, where a part that consists of zeros has the cosine
    0 with any other. It is not the distance of the concatenated vectors. It is computed in float64, because the
    differences of large sums lose digits, and in blocks of bounded memory.

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
    """Return the distances between walks, float64 (len(a), len(b)).

    Walks that were seen as a whole have the distance of their parts (`part_distances`). Others have several `views`,
    and people who turn should be compared where they are seen from the same side. So each view of a walk chooses the
    nearest view of the other walk, and the distance is that between the mean of its views and the mean of the chosen
    ones; then the other walk chooses, and the mean of both counts.

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
    if all(e.pieces is None or len(e.pieces) == 1 for e in (*a, *b)):
        return part_distances(np.stack([e.parts for e in a]), np.stack([e.parts for e in b]), metric)
    columns = _Views.of(b)
    rows = max(1, _BLOCK // max(1, columns.vectors[..., 0].size))
    blocks = [_Views.of(a[start : start + rows]) for start in range(0, len(a), rows)]
    return np.concatenate([_between_views(block, columns, metric) for block in blocks])


@dataclass(frozen=True, eq=False)
class _Views:
    """The views of n walks: `vectors` float32 (n, V, P, C), of which those with a `share` (n, V) above 0 exist.

    `share` is 1 / the number of the walk's views.
    """

    vectors: Floats
    share: Doubles

    @classmethod
    def of(cls, walks: Sequence[Embedding]) -> _Views:
        views = [walk.views for walk in walks]
        most = max(map(len, views))
        vectors = np.stack([each[np.arange(most) % len(each)] for each in views])
        counts = np.array([len(each) for each in views])
        return cls(vectors, np.where(np.arange(most) < counts[:, None], 1 / counts[:, None], 0.0))


def _between_views(a: _Views, b: _Views, metric: Metric) -> Distances:
    (n, v), (m, w) = a.share.shape, b.share.shape
    flat = [one.vectors.reshape(-1, *one.vectors.shape[2:]) for one in (a, b)]
    near = part_distances(flat[0], flat[1], metric).reshape(n, v, m, w)
    chosen_b = _chosen(near, a.share, b.share)  # (n, m, W): how often the views of `a` choose each view of `b`
    chosen_a = _chosen(near.transpose(2, 3, 0, 1), b.share, a.share)  # (m, n, V)
    there = _to_chosen(a, b, chosen_b, metric)
    back = _to_chosen(b, a, chosen_a, metric)
    return (there + back.T) / 2


def _chosen(near: Doubles, share: Doubles, other: Doubles) -> Doubles:
    """Return how often the views of n walks choose each view of m others, (n, m, W); `near` is (n, V, m, W)."""
    nearest = np.where(other > 0, near, np.inf).argmin(axis=3)  # (n, V, m)
    return np.stack(
        [np.einsum("nv,nvm->nm", share, (nearest == view).astype(np.float64)) for view in range(other.shape[1])], axis=2
    )


def _to_chosen(a: _Views, b: _Views, chosen: Doubles, metric: Metric) -> Distances:
    """Return the distances (n, m) between the mean views of `a` and the means of `b`'s `chosen` views (n, m, W)."""
    size_a, size_b = (
        np.einsum("nv,nvp->np", one.share, np.linalg.norm(one.vectors.astype(np.float64), axis=3)) for one in (a, b)
    )
    mean = np.einsum("nv,nvpc->npc", a.share, a.vectors)
    mean *= (size_a / np.maximum(np.linalg.norm(mean, axis=2), 1e-12))[..., None]
    pairs = (chosen[..., None] * chosen[..., None, :]).reshape(*chosen.shape[:2], -1)  # of views of `b`
    distances: Distances = np.zeros(chosen.shape[:2])
    for part in range(mean.shape[1]):
        views = b.vectors[:, :, part].astype(np.float64)  # (m, W, C)
        along = (mean[:, part] @ views.reshape(-1, views.shape[2]).T).reshape(len(mean), *views.shape[:2])
        product = np.einsum("nmw,nmw->nm", chosen, along)
        squares = (views @ views.transpose(0, 2, 1)).reshape(len(views), -1)  # (m, W * W)
        length = np.sqrt(np.maximum(np.einsum("nmk,mk->nm", pairs, squares), 1e-24))
        if metric == "cosine":
            distances += 1 - product / (length * np.maximum(size_a[:, part, None], 1e-12))
        else:
            square = size_a[:, part, None] ** 2 + size_b[:, part] ** 2 - 2 * size_b[:, part] * product / length
            distances += np.sqrt(np.maximum(square, 0))
    distances /= mean.shape[1]
    return distances


def is_same_recording(distance: float, embedding: Embedding, metric: Metric) -> bool:
    """Return whether a walk at `distance` from `embedding` can only be the same recording, and no second walk."""
    size = float(np.linalg.norm(embedding.parts, axis=1).mean()) if metric == "euclidean" else 1.0
    return distance <= _SAME_WALK * size
