"""Pieces of surface that move with the bones, and what can be done with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from app.types import Floats, Ints

Field: TypeAlias = "Callable[[Mesh], Floats]"
"""A value (N,) for every vertex of a mesh, along which it can be cut."""


@dataclass(frozen=True, eq=False)
class Mesh:
    """A piece of surface in the rest pose.

    `vertices` (N, 3) m; `weights` (N, BONES), the share of every bone; `uv` (N, 2), m along the cloth; all float32.
    `faces` int64 (F, 3).
    """

    vertices: Floats
    weights: Floats
    uv: Floats
    faces: Ints

    def keep(self, faces: NDArray[np.bool_]) -> Mesh:
        """Return only these faces, and the vertices they use."""
        used, inverse = np.unique(self.faces[faces], return_inverse=True)
        return Mesh(self.vertices[used], self.weights[used], self.uv[used], inverse.reshape(-1, 3))

    def below(self, field: Field, limit: float) -> Mesh:
        """Return the part where `field` is at most `limit`; faces that cross are cut along the line."""
        return self._clipped(field(self) - limit)

    def above(self, field: Field, limit: float) -> Mesh:
        """Return the part where `field` is at least `limit`."""
        return self._clipped(limit - field(self))

    def _clipped(self, signed: Floats) -> Mesh:
        """Return the part where `signed` (N,) is not positive."""
        inside = signed <= 0
        count = inside[self.faces].sum(axis=1)
        table = np.hstack([self.vertices, self.weights, self.uv])
        tables, faces, total = [table], [self.faces[count == 3]], len(table)
        for corners in (1, 2):
            crossing = self.faces[count == corners]
            # Turn every face so that the vertex which is alone on its side comes first.
            alone = np.argmax(inside[crossing] == (corners == 1), axis=1)
            a, b, c = (crossing[np.arange(len(crossing)), (alone + k) % 3] for k in range(3))
            for other in (b, c):
                share = (signed[a] / (signed[a] - signed[other]))[:, None]
                tables.append(table[a] * (1 - share) + table[other] * share)
            ab = total + np.arange(len(a))
            ac = ab + len(a)
            total += 2 * len(a)
            new = [(a, ab, ac)] if corners == 1 else [(ab, b, c), (ab, c, ac)]
            faces += [np.stack(triangle, 1) for triangle in new]
        columns = (3, 3 + self.weights.shape[1])
        vertices, weights, uv = np.split(np.concatenate(tables).astype(np.float32), columns, axis=1)
        joined = Mesh(vertices, weights, uv, np.concatenate(faces))
        return joined.keep(np.ones(len(joined.faces), bool))

    def normals(self) -> Floats:
        """Return unit vertex normals (N, 3), weighted by the faces' areas. Coinciding vertices share one."""
        a, b, c = (self.vertices[self.faces[:, k]] for k in range(3))
        cross = np.cross(b - a, c - a)
        _, place = np.unique(np.round(self.vertices, 4), axis=0, return_inverse=True)
        place = place.reshape(-1)
        total = np.zeros((place.max(initial=0) + 1, 3))
        for k in range(3):
            np.add.at(total, place[self.faces[:, k]], cross)
        total = total[place]
        length = np.linalg.norm(total, axis=1, keepdims=True)
        return np.asarray(total / np.maximum(length, 1e-12), np.float32)

    def inflated(self, distance: float | Floats) -> Mesh:
        """Return the surface pushed out along the normals by `distance` m (one, or one for each vertex)."""
        amount = np.broadcast_to(np.asarray(distance, np.float32), len(self.vertices))
        return replace(self, vertices=self.vertices + amount[:, None] * self.normals())

    def smoothed(self, rounds: int) -> Mesh:
        """Return the surface with every vertex moved towards its neighbours' middle, `rounds` times; edges stay."""
        edges = np.concatenate([self.faces[:, [0, 1]], self.faces[:, [1, 2]], self.faces[:, [2, 0]]])
        key, uses = np.unique(np.sort(edges, axis=1), axis=0, return_counts=True)
        border = np.zeros((len(self.vertices), 1), bool)
        border[key[uses == 1].ravel()] = True
        neighbours = _graph(np.concatenate([key, key[:, ::-1]]), len(self.vertices)).tocsr()
        degree = np.bincount(key.ravel(), minlength=len(self.vertices))[:, None]
        vertices = self.vertices.astype(np.float64)
        for _ in range(rounds):
            middle = (neighbours @ vertices) / np.maximum(degree, 1)
            vertices = np.where(border, vertices, 0.4 * vertices + 0.6 * middle)
        return replace(self, vertices=vertices.astype(np.float32))

    def shells(self) -> list[Mesh]:
        """Return the connected pieces."""
        edges = np.concatenate([self.faces[:, [0, 1]], self.faces[:, [1, 2]]])
        shell = connected_components(_graph(edges, len(self.vertices)), directed=False)[1][self.faces[:, 0]]
        return [self.keep(shell == number) for number in np.unique(shell)]


def _graph(edges: Ints, count: int) -> Any:
    """Return the sparse matrix (count, count) with a 1 for each of the `edges` (E, 2)."""
    return coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(count, count))


def cloth_uv(points: Floats) -> Floats:
    """Return coordinates (N, 2) on a cloth that lies round the body, m."""
    return np.stack([points[:, 1] + 0.45 * points[:, 0], points[:, 2]], 1)


def rigid(points: NDArray[np.floating], faces: NDArray[np.integer], weights: Floats) -> Mesh:
    """Return a surface that moves as one with the bones of `weights` (BONES,)."""
    points = np.asarray(points, np.float32)
    return Mesh(points, np.tile(weights, (len(points), 1)), cloth_uv(points), faces.astype(np.int64))


def strip(first: NDArray[np.floating], second: NDArray[np.floating], weights: Floats) -> Mesh:
    """Return the rigid band between two lines of as many points, (n, 3) each."""
    count = len(first)
    i = np.arange(count - 1)
    faces = np.concatenate([np.stack([i, i + count, i + 1], 1), np.stack([i + 1, i + count, i + count + 1], 1)])
    return rigid(np.concatenate([first, second]), faces, weights)


def ellipsoid(
    middle: NDArray[np.floating], radii: tuple[float, float, float], weights: Floats, power: float = 2.0
) -> Mesh:
    """Return a rigid (super)ellipsoid; a `power` above 2 makes a box with rounded edges."""
    rows, columns = 12, 20
    v, u = np.meshgrid(
        np.linspace(-np.pi / 2, np.pi / 2, rows), np.linspace(-np.pi, np.pi, columns + 1)[:-1], indexing="ij"
    )
    sines = [np.sign(value) * np.abs(value) ** (2.0 / power) for value in (np.cos(v), np.sin(v), np.cos(u), np.sin(u))]
    ball = np.stack([sines[0] * sines[2], sines[0] * sines[3], sines[1]], -1)
    i, j = np.meshgrid(np.arange(rows - 1), np.arange(columns), indexing="ij")
    a, b = i * columns + j, i * columns + (j + 1) % columns
    c, d = a + columns, b + columns
    faces = np.concatenate([np.stack([a, b, d], -1).reshape(-1, 3), np.stack([a, d, c], -1).reshape(-1, 3)])
    return rigid(ball.reshape(-1, 3) * np.array(radii) + middle, faces, weights)
