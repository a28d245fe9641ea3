"""The best assignment of tracks to people in which nobody has two tracks in one frame.

Each accepted pair of a track and a person costs (distance - limit), which is at most 0, and the sum is to be as small
as possible. With whole numbers this is hard (interval scheduling with a weight for each machine), and an integer
program over all pairs explodes. Its linear relaxation, in which a track may be half of one person and half of another,
is easy, and nearly always its answer is whole: then it is the best one. So it goes like this:

1. Where everybody can have their nearest person there is nothing to solve. Where all tracks are in view at once it is
   the classic assignment problem.
2. The relaxation begins with the few nearest people of each track. Its dual prices say what it costs to be a person at
   a moment, so they show which other pairs would pay. Those are added until none would (column generation; Dantzig and
   Wolfe, Operations Research 1960).
3. Pairs of which more than a half is chosen are decided; there can never be two in conflict. The tracks that are left
   are relaxed again with the people who are still free, until nobody is left.
4. The prices also bound from below what any assignment costs (Lagrangian bound). A pair that costs more than the
   distance between bound and answer, even at these prices, is in no better answer. If few pairs remain, an integer
   program over them is solved.
5. What is not proven to be the best by then is said (`Assignment.shortfall`).

Too large a relaxation is solved in halves by time: who was named in the first half is known in the second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from app.gallery.distances import Distances
from app.track.assignment import assign as assign_once
from app.types import Bools, Ints

if TYPE_CHECKING:
    from scipy.sparse import csr_array

NOBODY = -1
_NEAREST = 8
"""How many people of each track the relaxation begins with."""
_MORE = 5
"""How many people of a track are added at once."""
_ROUNDS = 12
"""How often pairs are added to a relaxation."""
_LARGEST = 200_000
"""The most numbers of a relaxation. Crowds that never thin out come to so many."""
_WORK = 600_000
"""When all relaxations together have had so many numbers, about 5 s of work, the tracks that are left get the nearest
person who is still free."""
_EXACT = 3_000
"""The most pairs of an integer program."""
_NODES = 100
"""After so many nodes an integer program is given up."""
_SHARE = 5
"""Of the tracks that a relaxation cuts in pieces, one in so many is named before the others are relaxed again."""
_PRECISION = 1e-7
"""What is not worth further work, for each track, in units of the range of accepted distances."""
_BLOCK = 256
"""Tracks whose prices are in memory at once."""


@dataclass(frozen=True, slots=True, eq=False)
class Assignment:
    """The column of each track (T,), or `NOBODY`, and what was not proven.

    `shortfall` is 0 where no assignment is better. Otherwise it is by how much the best one can be better at most, as a
    share of the sum of (threshold - distance), in a closed set of the sum of distances.
    """

    columns: Ints
    shortfall: float = 0.0


def assign(table: Distances, moments: Sequence[Ints], threshold: float | None) -> Assignment:
    """Give each track at most one person, so that the sum of (distance - threshold) is as small as possible.

    `table` (T, I) has the distance of each track to each person, and `moments` the tracks of each moment, of which no
    two may be one person (`app.recognise.covisible.visibility`). Without a threshold as many tracks as possible are
    named, and then the sum of distances is as small as possible.
    """
    columns = np.full(len(table), NOBODY, np.int64)
    if table.size == 0:
        return Assignment(columns)
    # In a closed set one more named track is worth more than any distances can cost.
    limit = (len(table) + 1) * (float(table.max()) + 1) if threshold is None else threshold
    nearest = table.argmin(axis=1)
    columns = np.where(table.min(axis=1) <= limit, nearest, NOBODY)
    if not _has_conflict(columns, moments):  # everybody can have their nearest person, so nothing can be better
        return Assignment(columns)
    # A pair exactly at the threshold is accepted, so it must be worth a little more than no pair.
    cost = np.where(table <= limit, table - limit - 1e-9 * max(1.0, abs(limit)), np.inf)
    if len(moments) == 1:
        columns = np.full(len(table), NOBODY, np.int64)
        for row, column in assign_once(np.where(np.isfinite(cost), -cost, 0.0)):
            columns[row] = column
        return Assignment(columns)
    search = _Search(cost, moments)
    search.solve(search.in_order())
    missing = search.prove()
    named = np.flatnonzero(search.columns != NOBODY)
    chosen = table[named, search.columns[named]]
    worth = float(chosen.sum() if threshold is None else (limit - chosen).sum())
    return Assignment(search.columns, missing / max(worth, np.finfo(np.float64).tiny))


def _has_conflict(columns: Ints, moments: Sequence[Ints]) -> bool:
    """Return whether two tracks that are in view together have the same person."""
    for moment in moments:
        found = columns[moment]
        found = found[found != NOBODY]
        if len(set(found.tolist())) < len(found):
            return True
    return False


@dataclass(frozen=True, slots=True, eq=False)
class _Relaxed:
    """The answer of a relaxation: how much of each pair (`rows`, `columns`) is chosen, and the dual prices.

    `prices` (moments, people) are at most 0.
    """

    rows: Ints
    columns: Ints
    chosen: Distances
    prices: csr_array


class _TooLargeError(Exception):
    """A relaxation has more than `_LARGEST` numbers."""


@dataclass(eq=False)
class _Search:
    """The search for the best assignment, given the cost of each pair (T, I), infinite where it is not accepted."""

    cost: Distances
    moments: Sequence[Ints]
    columns: Ints = field(init=False)
    free: Bools = field(init=False)
    """Which pairs are accepted and not in conflict with the names that are given."""
    work: int = 0
    """The numbers of all relaxations so far."""
    incidence: csr_array = field(init=False)
    """Which track is in view at which moment (moments, T)."""
    prices: csr_array = field(init=False)
    """(moments, I)."""
    precision: float = field(init=False)
    unit: float = field(init=False)
    """The range of accepted distances. Costs are divided by it, because solvers have absolute tolerances."""

    def __post_init__(self) -> None:
        from scipy.sparse import csr_array

        tracks, people = self.cost.shape
        sizes = [len(moment) for moment in self.moments]
        pointers = np.concatenate([[0], np.cumsum(sizes)])
        ones = np.ones(pointers[-1], np.int32)
        shape = (len(sizes), tracks)
        self.incidence = csr_array((ones, np.concatenate(list(self.moments)), pointers), shape=shape)
        self.columns = np.full(tracks, NOBODY, np.int64)
        self.free = np.isfinite(self.cost)
        self.prices = csr_array((len(sizes), people))
        accepted = self.cost[self.free]
        self.unit = float(np.ptp(accepted)) or 1.0
        self.precision = _PRECISION * tracks * self.unit

    def in_order(self) -> Ints:
        """Return the tracks that anybody is near enough to, in the order in which they appear."""
        first = np.full(len(self.cost), len(self.moments))
        for number, moment in enumerate(self.moments):
            first[moment] = np.minimum(first[moment], number)
        tracks = np.flatnonzero(self.free.any(axis=1))
        return tracks[np.argsort(first[tracks], kind="stable")]

    def solve(self, tracks: Ints) -> None:
        """Name some tracks, given in the order of time, as well as those named before allow."""
        tracks = tracks[self.free[tracks].any(axis=1)]
        if not len(tracks):
            return
        try:
            relaxed = self._relax(tracks, _ROUNDS)
        except _TooLargeError:
            for half in np.array_split(tracks, 2):
                self.solve(half)
            return
        self.prices = self.prices + relaxed.prices
        self._name(relaxed)
        # Tracks that were cut in pieces by the relaxation are relaxed again with the people who are still free.
        while len(left := tracks[self.free[tracks].any(axis=1)]):
            if self.work > _WORK:
                for track in left:
                    if self.free[track].any():
                        cheapest = np.where(self.free[track], self.cost[track], np.inf).argmin()
                        self._give(np.array([track]), np.array([cheapest]))
                return
            if not self._name(self._relax(left, 1)):
                return

    def prove(self) -> float:
        """Improve the answer until no other can be better, and return by how much another can still be better."""
        bound, _ = self._bound(-np.inf)
        missing = self._value() - bound
        if missing > self.precision:
            _, within = self._bound(missing)
            if len(within[0]) <= _EXACT:
                missing = self._exact(*within, bound)
        return missing if missing > self.precision else 0.0

    def _value(self) -> float:
        named = np.flatnonzero(self.columns != NOBODY)
        return float(self.cost[named, self.columns[named]].sum())

    def _name(self, relaxed: _Relaxed) -> bool:
        """Give the names of which the relaxation chose most, and return whether there are any."""
        clear = relaxed.chosen > 1 - 1e-6
        self._give(relaxed.rows[clear], relaxed.columns[clear])
        rest = np.flatnonzero(~clear & (relaxed.chosen > 1e-6))
        most = -(-len(np.unique(relaxed.rows[rest])) // _SHARE)
        for pair in rest[np.argsort(-relaxed.chosen[rest], kind="stable")]:
            if most and self.free[relaxed.rows[pair], relaxed.columns[pair]]:
                self._give(relaxed.rows[[pair]], relaxed.columns[[pair]])
                most -= 1
        return bool(clear.any()) or len(rest) > 0

    def _give(self, tracks: Ints, columns: Ints) -> None:
        """Give tracks their names, which are then no longer free for those who are in view at the same time."""
        from scipy.sparse import csr_array

        self.columns[tracks] = columns
        given = csr_array((np.ones(len(tracks), np.int32), (tracks, columns)), shape=self.cost.shape)
        self.free[(self.incidence.T @ (self.incidence @ given)).nonzero()] = False
        self.free[tracks] = False

    def _relax(self, tracks: Ints, rounds: int) -> _Relaxed:
        """Solve the relaxation for some tracks, and add pairs to it up to so many times."""
        from scipy.optimize import linprog
        from scipy.sparse import csr_array, vstack

        cost, incidence = np.where(self.free[tracks], self.cost[tracks], np.inf), self.incidence[:, tracks]
        cost /= self.unit
        active = _smallest(cost, _NEAREST) & np.isfinite(cost)
        for number in range(rounds):
            columns, rows = np.nonzero(active.T)
            together, keys = _conflicts(incidence, rows, columns)
            if number == 0 and rounds > 1 and together.nnz > _LARGEST and len(tracks) > 1:
                raise _TooLargeError
            self.work += together.nnz
            once = csr_array((np.ones(len(rows)), (rows, np.arange(len(rows)))), shape=(len(tracks), len(rows)))
            matrix = vstack([once, together]).tocsr()
            options = {"presolve": False}
            solved = linprog(cost[rows, columns], matrix, np.ones(matrix.shape[0]), method="highs-ipm", options=options)  # type: ignore[call-overload]
            if solved.x is None:
                raise RuntimeError(f"the assignment of {len(tracks)} tracks was not solved: {solved.message}")
            duals = np.minimum(solved.ineqlin.marginals, 0)
            places = (keys % incidence.shape[0], keys // incidence.shape[0])
            prices = csr_array((duals[len(tracks) :], places), shape=(incidence.shape[0], cost.shape[1]))
            paying, gain = _paying(cost, incidence, prices, duals[: len(tracks)], active)
            if gain <= _PRECISION * len(tracks) or self.work > _WORK:
                break
            active |= paying
        return _Relaxed(tracks[rows], columns, solved.x, prices * self.unit)

    def _bound(self, within: float) -> tuple[float, tuple[Ints, Ints]]:
        """Return the least that any assignment can cost, and the pairs that can be in one that costs `within` more."""
        total, rows, columns = float(self.prices.sum()), [], []
        for start in range(0, len(self.cost), _BLOCK):
            block = slice(start, start + _BLOCK)
            reduced = self.cost[block] - (self.incidence[:, block].T @ self.prices).toarray()
            least = np.minimum(reduced.min(axis=1), 0)
            total += float(least.sum())
            some = np.nonzero(reduced - least[:, None] <= within)
            rows.append(some[0] + start)
            columns.append(some[1])
        return total, (np.concatenate(rows), np.concatenate(columns))

    def _exact(self, rows: Ints, columns: Ints, bound: float) -> float:
        """Solve the integer program over some pairs, and return what is not proven."""
        from scipy.optimize import Bounds, LinearConstraint, milp
        from scipy.sparse import csr_array, vstack

        order = np.lexsort((rows, columns))
        rows, columns = rows[order], columns[order]
        once = csr_array((np.ones(len(rows)), (rows, np.arange(len(rows)))), shape=(len(self.cost), len(rows)))
        matrix = vstack([once, _conflicts(self.incidence, rows, columns)[0]]).tocsr()
        # Old versions of SciPy take no places of 64 bits here.
        matrix.indices, matrix.indptr = matrix.indices.astype(np.int32), matrix.indptr.astype(np.int32)
        solved = milp(
            self.cost[rows, columns] / self.unit,
            integrality=np.ones(len(rows), np.uint8),
            bounds=Bounds(0, 1),
            constraints=LinearConstraint(matrix, ub=1),
            options={"mip_rel_gap": 0.0, "node_limit": _NODES},
        )
        if solved.x is not None and solved.fun * self.unit < self._value():
            chosen = solved.x > 0.5
            self.columns[:] = NOBODY
            self.columns[rows[chosen]] = columns[chosen]
        if solved.status == 0:
            return 0.0
        if solved.mip_dual_bound is not None:
            bound = max(bound, solved.mip_dual_bound * self.unit)
        return self._value() - bound


def _smallest(values: Distances, count: int) -> Bools:
    """Return where the `count` smallest of each row are."""
    found = np.zeros(values.shape, np.bool_)
    if count >= values.shape[1]:
        found[:] = True
    else:
        np.put_along_axis(found, np.argpartition(values, count - 1, axis=1)[:, :count], True, axis=1)
    return found


def _paying(
    cost: Distances, incidence: csr_array, prices: csr_array, tracks: Distances, active: Bools
) -> tuple[Bools, float]:
    """Return the pairs that would pay most at these prices, and how much all of them could gain at most."""
    paying, gain = np.zeros(cost.shape, np.bool_), 0.0
    for start in range(0, len(cost), _BLOCK):
        block = slice(start, start + _BLOCK)
        reduced = cost[block] - tracks[block, None] - (incidence[:, block].T @ prices).toarray()
        reduced[active[block]] = 0
        gain -= float(np.minimum(reduced.min(axis=1), 0).sum())
        paying[block] = _smallest(reduced, _MORE) & (reduced < -_PRECISION)
    return paying, gain


def _conflicts(incidence: csr_array, rows: Ints, columns: Ints) -> tuple[csr_array, Ints]:
    """Return which pairs exclude each other, as a matrix (limits, pairs), and for each row the number person * moments
    + moment.

    At a moment, in which the tracks of `incidence` are in view, one of the pairs of a person may be chosen. Only
    moments at which the most pairs are in view count. `rows` is the track of each pair, and `columns`, which rise, its
    person.
    """
    from scipy.sparse import csr_array

    moments = incidence.shape[0]
    seen = incidence[:, rows].tocsc()
    seen.sort_indices()
    pairs = np.repeat(np.arange(len(rows)), np.diff(seen.indptr))
    keys = columns[pairs].astype(np.int64) * moments + seen.indices
    # Where none of a person's tracks begins, all that are in view were so a moment before.
    begins = np.ones(len(keys), np.bool_)
    begins[1:] = (np.diff(pairs) > 0) | (np.diff(seen.indices) > 1)
    starts = np.unique(keys[begins])
    limits = np.minimum(np.searchsorted(starts, keys), max(len(starts) - 1, 0))
    known = starts[limits] == keys
    matrix = csr_array((np.ones(int(known.sum()), np.int32), (limits[known], pairs[known])), (len(starts), len(rows)))
    while matrix.shape[0]:
        size = np.diff(matrix.indptr)
        common = np.zeros(len(size), np.int64)  # with the limit before
        common[1:] = matrix[1:].multiply(matrix[:-1]).sum(axis=1)
        needless = (size < 2) | (common == size)
        needless[:-1] |= (common[1:] == size[:-1]) & (size[1:] > size[:-1])
        if not needless.any():
            break
        matrix, starts = matrix[np.flatnonzero(~needless)], starts[~needless]
    return matrix, starts
