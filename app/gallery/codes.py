"""Search of a large gallery: few candidates from short codes, which are then compared exactly.

The numbers of a walk's parts, side by side, are seen along the axes on which walks differ most (principal components:
Jolliffe, Principal Component Analysis, 2002), and each of the first `AXES` of these is rounded to 8 bits. All codes are
compared by a first look at the `FIRST` most telling numbers, the best of those by all numbers, and the best of these by
`app.gallery.distances` over what is stored of the walks. So the distances are exact, and a walk of the true nearest is
rarely missed: `tests/benchmarks/gallery.py` measures how rarely.

With the cosine distance parts are brought to length 1 first, because then it is half of the squared Euclidean distance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.gallery.distances import Distances, Metric
from app.gallery.search import Exact, exact_distances
from app.types import Floats, Ints

LARGE = 16384
"""From so many walks of a model on its gallery is searched by codes. The axes are found from the first so many."""
AXES = 128
FIRST = 32
CANDIDATES = 128
"""The fewest walks that are compared exactly for a query."""
KEPT = 0.95
"""Walks that keep less of their variance along the axes are all compared exactly, as codes would miss too many."""
_DEPTH = 16  # walks that the first look leaves for each candidate
_ROWS = 1 << 16  # codes of a block
_QUERIES = 16  # queries whose looks at all walks are in memory at once
_SAMPLE = 64  # of so many walks, one tells how near the nearest are


@dataclass(frozen=True, slots=True, eq=False)
class Axes:
    """Where the walks of one model differ most.

    `middle` is float32 (D,), `directions` float32 (AXES, D), where D is the number of parts times channels. A code's
    number is the length along a direction divided by `scale`. `kept` is the share of the walks' variance that lies
    along the axes.
    """

    middle: Floats
    directions: Floats
    scale: float
    kept: float = 1.0

    @classmethod
    def of(cls, walks: Floats, metric: Metric) -> Axes:
        """Find the axes of `walks`, float32 (n, P, C) with n > AXES, by subspace iteration (Halko et al. 2011)."""
        flat = _flat(walks, metric)
        middle = flat.mean(0, dtype=np.float64).astype(np.float32)
        flat = flat - middle
        size = min(AXES, flat.shape[1])
        basis = np.random.default_rng(0).standard_normal((flat.shape[1], min(size + 16, flat.shape[1])), np.float32)
        for _ in range(4):
            basis = np.linalg.qr(flat.T @ (flat @ basis))[0]
        _, _, turn = np.linalg.svd(flat @ basis, full_matrices=False)
        directions = np.zeros((AXES, flat.shape[1]), np.float32)
        directions[:size] = (basis @ turn.T).T[:size]
        along = flat @ directions.T
        scale = max(np.abs(along).max(initial=0) / 127, np.finfo(np.float32).tiny)
        kept = np.square(along).sum(dtype=np.float64) / max(np.square(flat).sum(dtype=np.float64), 1e-300)
        return cls(middle, directions, float(scale), float(kept))

    def numbers(self, walks: Floats, metric: Metric) -> Floats:
        """Return what the codes of `walks` (n, P, C) would be without rounding, float32 (n, AXES)."""
        return np.asarray((_flat(walks, metric) - self.middle) @ self.directions.T / np.float32(self.scale), np.float32)

    def codes(self, walks: Floats, metric: Metric) -> NDArray[np.int8]:
        """Return the codes (n, AXES) of walks (n, P, C)."""
        return np.rint(self.numbers(walks, metric)).clip(-127, 127).astype(np.int8)


@dataclass(slots=True, eq=False)
class _Block:
    """Codes int8 (n, AXES) of walks; `first` (n, FIRST + 1) are their first numbers and the squared length of these."""

    ids: Ints
    codes: NDArray[np.int8]
    first: Floats

    @classmethod
    def of(cls, ids: Ints, codes: NDArray[np.int8]) -> _Block:
        first = np.empty((len(ids), FIRST + 1), np.float32)
        first[:, :FIRST] = codes[:, :FIRST]
        first[:, FIRST] = np.einsum("nc,nc->n", first[:, :FIRST], first[:, :FIRST])
        return cls(ids, codes, first)


class CodeIndex:
    """Walks of one gait model and metric as codes. Only one thread may use it at a time."""

    def __init__(self, shape: tuple[int, int], axes: Axes, metric: Metric) -> None:
        self.shape = shape
        self._axes, self._metric = axes, metric
        self._blocks: list[_Block] = []

    def __len__(self) -> int:
        return sum(len(block.ids) for block in self._blocks)

    def add(self, ids: Ints, codes: NDArray[np.int8]) -> None:
        """Add walks by their codes (n, AXES), with new ids (n,)."""
        while len(ids):
            last = self._blocks.pop() if self._blocks and len(self._blocks[-1].ids) < _ROWS else None
            room = _ROWS - len(last.ids) if last is not None else _ROWS
            block = _Block.of(ids[:room], codes[:room])
            if last is not None:
                block = _Block(
                    np.concatenate([last.ids, block.ids]),
                    np.concatenate([last.codes, block.codes]),
                    np.concatenate([last.first, block.first]),
                )
            self._blocks.append(block)
            ids, codes = ids[room:], codes[room:]

    def remove(self, ids: Ints) -> None:
        """Remove walks; ids that it does not have are passed over."""
        for number, block in enumerate(self._blocks):
            stays = ~np.isin(block.ids, ids)
            if not stays.all():
                self._blocks[number] = _Block(block.ids[stays], block.codes[stays], block.first[stays])
        self._blocks = [block for block in self._blocks if len(block.ids)]

    def search(self, queries: Floats, k: int, exact: Exact) -> list[tuple[Ints, Distances]]:
        """Find about the `k` nearest walks of each query, float32 (n, P, C); `exact` returns walks as they are stored.

        Returns for each query the ids of min(k, N) walks and their exact distances, the nearest first. Of two walks at
        the same distance, the one with the smaller id comes first.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}")
        every = np.concatenate([block.ids for block in self._blocks]) if self._blocks else np.zeros(0, np.int64)
        numbers = self._axes.numbers(queries, self._metric)
        found: list[tuple[Ints, Distances]] = []
        for start in range(0, len(queries), _QUERIES):
            rows = slice(start, start + _QUERIES)
            looks = self._first_look(numbers[rows])
            for query, number, look in zip(queries[rows], numbers[rows], looks, strict=True):
                ids = every[self._candidates(number, look, max(CANDIDATES, 4 * k))]
                distances = exact_distances(query, ids, self._metric, exact)
                order = np.lexsort((ids, distances))[:k]
                found.append((ids[order], distances[order]))
        return found

    def _first_look(self, numbers: Floats) -> Floats:
        """Return the squared distances (n, N) in the first numbers, less what is the same for all walks of a query."""
        factors = np.concatenate([-2 * numbers[:, :FIRST], np.ones((len(numbers), 1), np.float32)], 1)
        looks = np.empty((len(numbers), len(self)), np.float32)
        done = 0
        for block in self._blocks:
            np.matmul(factors, block.first.T, out=looks[:, done : done + len(block.ids)])
            done += len(block.ids)
        return looks

    def _candidates(self, number: Floats, look: Floats, most: int) -> Ints:
        """Return the places of the walks to compare exactly."""
        wanted = _DEPTH * most
        if wanted >= len(look):
            return self._nearest_codes(number, np.arange(len(look)), most)
        sample = look[::_SAMPLE]
        rank = min(len(sample) - 1, wanted // _SAMPLE + 8)
        places = np.flatnonzero(look <= np.partition(sample, rank)[rank])
        if len(places) < most:  # the sample was unlucky
            places = np.sort(np.argpartition(look, wanted)[:wanted])
        return self._nearest_codes(number, places, most)

    def _nearest_codes(self, number: Floats, places: Ints, most: int) -> Ints:
        if len(places) <= most:
            return places
        starts = np.cumsum([0, *(len(block.ids) for block in self._blocks)])
        cuts: Sequence[int] = np.searchsorted(places, starts).tolist()
        codes = np.concatenate(
            [
                block.codes[places[low:high] - start]
                for block, start, low, high in zip(self._blocks, starts[:-1], cuts, cuts[1:], strict=False)
            ]
        )
        apart = codes - number
        return np.sort(places[np.argpartition(np.einsum("nc,nc->n", apart, apart), most)[:most]])


def _flat(walks: Floats, metric: Metric) -> Floats:
    if metric == "cosine":
        walks = walks / np.maximum(np.linalg.norm(walks, axis=2, keepdims=True), 1e-12)
    return walks.reshape(len(walks), -1)
