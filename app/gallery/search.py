"""Exact search for the nearest walks of a large gallery, in bounded memory.

Walks are kept as 16-bit fixed point numbers, which take half the memory of float32. Matrix products over them, in
float32, give a lower bound of each distance: the largest possible rounding error is subtracted (bounds for dot
products: Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1). Only walks that these bounds
cannot rule out are compared in float64. The result is therefore the same as that of `app.gallery.distances` over all
walks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from app.gallery.distances import Distances, Metric
from app.types import Floats, Ints

Exact: TypeAlias = Callable[[Ints], Floats]
"""Takes ids (n,) and returns the parts (n, P, C) of these walks, in this order, as they were added."""

ROWS = 4096
"""The most walks of a block. Adding walks to a block copies it."""
_STRIP = 1024  # walks of a matrix product, so few that its result stays in the processor's cache
_BOUNDS = 1 << 26  # lower bounds in memory at once: 256 MiB
_QUERIES = 128  # queries of a matrix product
_LARGEST = 32767
_ROUNDING = 2.0**-24  # of float32


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Walks as fixed point numbers: part p of walk i is about ``codes[p, i] * scale[i]``.

    `ids` is int64 (n,), `codes` int16 (P, n, C), and `scale` float32 (n,). `square` is the squared length of each
    rounded part, and `error` its distance from the part before rounding, both float32 (P, n).
    """

    ids: Ints
    codes: NDArray[np.int16]
    scale: Floats
    square: Floats
    error: Floats

    @classmethod
    def of(cls, ids: Ints, walks: Floats) -> Block:
        """Round `walks`, float32 (n, P, C)."""
        n, parts, channels = walks.shape
        block = cls(
            ids,
            np.empty((parts, n, channels), np.int16),
            np.empty(n, np.float32),
            np.empty((parts, n), np.float32),
            np.empty((parts, n), np.float32),
        )
        for start in range(0, n, _STRIP // 4):
            rows = slice(start, start + _STRIP // 4)
            exact = walks[rows].transpose(1, 0, 2).astype(np.float64)
            largest = np.abs(exact).max((0, 2), initial=0.0)
            scale = np.maximum(largest / _LARGEST, np.finfo(np.float32).tiny).astype(np.float32)
            block.scale[rows] = scale
            rounded = np.rint(exact / scale[:, None]).clip(-_LARGEST, _LARGEST)
            block.codes[:, rows] = rounded
            rounded *= scale[:, None]
            block.square[:, rows] = np.einsum("pnc,pnc->pn", rounded, rounded)
            rounded -= exact
            block.error[:, rows] = np.sqrt(np.einsum("pnc,pnc->pn", rounded, rounded)) * (1 + 4 * _ROUNDING)
        return block

    def __len__(self) -> int:
        return len(self.ids)

    def and_also(self, other: Block) -> Block:
        """Return a block with this one's walks, followed by the other's."""
        return Block(
            np.concatenate([self.ids, other.ids]),
            np.concatenate([self.codes, other.codes], 1),
            np.concatenate([self.scale, other.scale]),
            np.concatenate([self.square, other.square], 1),
            np.concatenate([self.error, other.error], 1),
        )

    def only(self, mask: NDArray[np.bool_]) -> Block:
        """Return a block with the walks for which `mask` (n,) is true."""
        return Block(self.ids[mask], self.codes[:, mask], self.scale[mask], self.square[:, mask], self.error[:, mask])


class WalkIndex:
    """Walks of one gait model, ready to be searched. Only one thread may use it at a time."""

    def __init__(self, parts: int, channels: int) -> None:
        self.shape = (parts, channels)
        self.blocks: list[Block] = []
        """All but the last one are full. They may be assigned, e.g. as views of a file."""

    def __len__(self) -> int:
        return sum(map(len, self.blocks))

    @property
    def ids(self) -> Ints:
        """The ids of all walks (N,), in the order in which they were added."""
        return np.concatenate([block.ids for block in self.blocks]) if self.blocks else np.zeros(0, np.int64)

    def add(self, ids: Ints, walks: Floats) -> None:
        """Add walks, float32 (n, P, C), with new ids (n,)."""
        if walks.shape != (len(ids), *self.shape):
            raise ValueError(f"there must be {len(ids)} walks of shape {self.shape}, not {walks.shape}")
        while len(ids):
            last = self.blocks[-1] if self.blocks and len(self.blocks[-1]) < ROWS else None
            room = ROWS - len(last) if last is not None else ROWS
            block = Block.of(ids[:room], walks[:room])
            if last is not None:
                self.blocks[-1] = last.and_also(block)
            else:
                self.blocks.append(block)
            ids, walks = ids[room:], walks[room:]

    def remove(self, ids: Ints) -> None:
        """Remove walks; ids that it does not have are passed over."""
        for number, block in enumerate(self.blocks):
            is_removed = np.isin(block.ids, ids)
            if is_removed.any():
                self.blocks[number] = block.only(~is_removed)
        self.blocks = [block for block in self.blocks if len(block)]

    def search(self, queries: Floats, k: int, metric: Metric, exact: Exact) -> list[tuple[Ints, Distances]]:
        """Find the `k` nearest walks of each query, float32 (n, P, C); `exact` returns walks as they were added.

        Returns for each query the ids of its min(k, N) nearest walks and their distances, the nearest first. Of two
        walks at the same distance, the one with the smaller id comes first.
        """
        if queries.ndim != 3 or queries.shape[1:] != self.shape:
            raise ValueError(f"queries must have the shape {self.shape}, not {queries.shape[1:]}")
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}")
        ids = self.ids
        nearest = []
        batch = max(1, min(_QUERIES, _BOUNDS // max(1, len(ids))))
        for start in range(0, len(queries), batch):
            some = queries[start : start + batch]
            bounds = self._bounds(some, metric)
            nearest += [
                _nearest(query, bound, ids, k, metric, exact) for query, bound in zip(some, bounds, strict=True)
            ]
        return nearest

    def _bounds(self, queries: Floats, metric: Metric) -> Floats:
        """Return lower bounds of the distances, float32 (n, N)."""
        n, parts, channels = queries.shape
        bounds = np.zeros((n, len(self)), np.float32)
        by_part = queries.transpose(1, 0, 2).copy()
        square = np.einsum("pnc,pnc->pn", by_part, by_part, dtype=np.float64)
        if metric == "cosine":
            by_part /= np.maximum(np.sqrt(square), 1e-12)[:, :, None]
        square = square.astype(np.float32)[:, :, None]
        rounding = np.float32((channels + 16) * _ROUNDING)
        numbers, products = np.empty((_STRIP, channels), np.float32), np.empty(n * _STRIP, np.float32)
        done = 0
        for block in self.blocks:
            for start in range(0, len(block), _STRIP):
                rows = slice(start, min(start + _STRIP, len(block)))
                size = rows.stop - rows.start
                strip = bounds[:, done : done + size]
                product, scale = products[: n * size].reshape(n, size), block.scale[rows]
                for part in range(parts):
                    numbers[:size] = block.codes[part, rows]
                    np.matmul(by_part[part], numbers[:size].T, out=product)
                    if metric == "cosine":
                        length = np.sqrt(block.square[part, rows])
                        product *= np.divide(scale, length, out=np.zeros_like(length), where=length > 0)
                        strip -= product
                    else:  # |a|^2 + |b|^2 - 2ab, minus what rounding may have added
                        product *= -2 * scale
                        product += (1 - rounding) * block.square[part, rows]
                        product += (1 - rounding) * square[part]
                        np.maximum(product, 0, out=product)
                        np.sqrt(product, out=product)
                        strip += product
                if metric == "cosine":
                    length, error = np.sqrt(block.square[:, rows]), block.error[:, rows]
                    # Rounding turns a part by at most 2 error / length (Dunkl and Williams 1964).
                    turned = np.divide(
                        2 * error, length, out=np.where(error > 0, 2, 0).astype(np.float32), where=length > 0
                    )
                    strip += (parts - parts * 2 * rounding) - turned.sum(0)
                else:
                    strip *= 1 - (parts + 16) * _ROUNDING
                    strip -= block.error[:, rows].sum(0) * (1 + parts * _ROUNDING)
                done += size
        bounds /= parts
        return bounds


def _nearest(query: Floats, bounds: Floats, ids: Ints, k: int, metric: Metric, exact: Exact) -> tuple[Ints, Distances]:
    """Return the nearest walks of one query, (P, C), given lower bounds (N,) of its distances."""
    first = np.argpartition(bounds, k - 1)[:k] if k < len(ids) else np.arange(len(ids))
    distances = exact_distances(query, ids[first], metric, exact)
    possible = bounds <= distances.max(initial=0)
    possible[first] = False
    rest = np.flatnonzero(possible)
    first = np.concatenate([first, rest])
    distances = np.concatenate([distances, exact_distances(query, ids[rest], metric, exact)])
    order = np.lexsort((ids[first], distances))[:k]
    return ids[first[order]], distances[order]


def exact_distances(query: Floats, ids: Ints, metric: Metric, exact: Exact) -> Distances:
    """Return the distances (n,) of walks from a query, (P, C), as `part_distances` defines them.

    It computes differences instead of matrix products. This is slower, but a walk has the distance 0 from itself, and
    equal walks have equal distances to the last bit.
    """
    x = query.astype(np.float64)
    distances = [np.zeros(0)]
    for start in range(0, len(ids), _STRIP):
        y = exact(ids[start : start + _STRIP]).astype(np.float64)
        if metric == "cosine":
            dot = (x * y).sum(2)
            lengths = np.maximum(np.linalg.norm(x, axis=1), 1e-12) * np.maximum(np.linalg.norm(y, axis=2), 1e-12)
            distances.append((1 - dot / lengths).mean(1))
        else:
            y -= x
            distances.append(np.linalg.norm(y, axis=2).mean(1))
    return np.concatenate(distances)
