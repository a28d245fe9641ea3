"""The linear assignment problem: which rows go with which columns, so that the sum is largest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from app.types import Ints

_FREE = -1


def assign(worth: NDArray[np.floating]) -> list[tuple[int, int]]:
    """Pair rows with columns, each at most once, so that the sum of their `worth` is largest.

    Only what is above 0 is paired. Nearly always no row and no column has more than one such value, and then there is
    nothing to choose. Otherwise each row in turn finds the shortest augmenting path (Jonker & Volgenant 1987, "A
    shortest augmenting path algorithm for dense and sparse linear assignment problems"). SciPy does the same, but
    importing its optimisers takes longer than following all people of a short video.

    Args:
        worth: what each pair is worth, (N, M), finite.

    Returns:
        The pairs (row, column), by rows.
    """
    useful = worth > 0
    pairs_of_use = [(row, column) for row, column in np.argwhere(useful).tolist()]
    if all(len({pair[axis] for pair in pairs_of_use}) == len(pairs_of_use) for axis in (0, 1)):
        return pairs_of_use
    rows, columns = np.flatnonzero(useful.any(axis=1)), np.flatnonzero(useful.any(axis=0))
    costs = -np.clip(worth[np.ix_(rows, columns)].astype(np.float64), 0, None)
    if len(rows) <= len(columns):
        pairs = np.column_stack([np.arange(len(rows)), _cheapest(costs)])
    else:
        pairs = np.column_stack([_cheapest(costs.T), np.arange(len(columns))])
    pairs = pairs[costs[pairs[:, 0], pairs[:, 1]] < 0]
    return sorted(zip(rows[pairs[:, 0]].tolist(), columns[pairs[:, 1]].tolist(), strict=True))


def _cheapest(costs: NDArray[np.float64]) -> Ints:
    """Return the column of each row of `costs` (N, M), N <= M, so that the sum of the costs is smallest."""
    row_prices, prices = (np.zeros(size) for size in costs.shape)
    column_of, row_of = (np.full(size, _FREE) for size in costs.shape)
    for start in range(len(costs)):
        distances = np.full(costs.shape[1], np.inf)
        before = np.full(costs.shape[1], _FREE)  # the row from which each column is reached
        is_open = np.ones(costs.shape[1], np.bool_)
        row, reached = start, 0.0
        while True:
            through = reached + costs[row] - row_prices[row] - prices
            nearer = is_open & (through < distances)
            distances[nearer], before[nearer] = through[nearer], row
            column = int(np.where(is_open, distances, np.inf).argmin())
            reached, is_open[column] = float(distances[column]), False
            if row_of[column] == _FREE:
                break
            row = int(row_of[column])
        closed = np.flatnonzero(~is_open)
        gains = reached - distances[closed]
        visited = row_of[closed]
        row_prices[start] += reached
        row_prices[visited[visited != _FREE]] += gains[visited != _FREE]
        prices[closed] -= gains
        row = _FREE
        while row != start:  # along the path, each row takes the column after it
            row = int(before[column])
            row_of[column], column_of[row], column = row, column, int(column_of[row])
    return column_of
