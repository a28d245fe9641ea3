"""Who is who: the best assignment of probe walks to gallery identities that the video allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.gallery.distances import Distances
from app.recognise.covisible import covisible, visibility
from app.track.assignment import assign
from app.types import Bools, Candidate, Ints, Match

_NOBODY = -1


@dataclass(frozen=True, slots=True)
class Agreement:
    """How many of a walk's `pieces` are by themselves nearest to the person that the decision is about."""

    agreeing: int
    pieces: int

    @property
    def divided(self) -> bool:
        """Whether at most two thirds of the pieces agree.

        In a gallery of 10 virtual walkers, 45 % of the walks that were named although their pieces were divided were
        named correctly. Where all pieces agreed it was 85 %.
        """
        return 3 * self.agreeing <= 2 * self.pieces


def identity_distances(distances: Distances, identities: Sequence[str], neighbours: int = 1) -> Distances:
    """Return the distance of each walk to each person: the mean over that person's `neighbours` nearest gallery walks.

    Args:
        distances: (T, G), probe walks to gallery walks.
        identities: the identity of each gallery walk (G,).
        neighbours: how many gallery walks of one identity count. All of them do where there are fewer.

    Returns:
        (T, I), the identities in order of their first appearance in `identities`.
    """
    names = np.array(identities)
    columns = [np.sort(distances[:, names == name], axis=1)[:, :neighbours] for name in dict.fromkeys(identities)]
    return np.stack([column.mean(1) for column in columns], 1) if columns else np.zeros((len(distances), 0))


def match(
    distances: Distances,
    frames: Sequence[Ints],
    identities: Sequence[str],
    threshold: float | None,
    track_ids: Sequence[int] | None = None,
    neighbours: int = 1,
) -> list[Match]:
    """Name the walks of one video.

    Two walks that share a frame never receive the same identity. Walks that share no frame may. Among the assignments
    that obey this rule and accept no distance above the threshold, the one with the smallest sum of
    (distance - threshold) is taken. It is the best one overall, so the order of the tracks does not matter.

    Without a threshold the set of people is closed: everybody in the video is in the gallery. Then as many walks as
    possible are named by this rule, and among those assignments the one with the smallest sum of distances is taken.
    If walks are left over, more of them are seen together than the gallery has people, so that somebody is followed by
    two tracks. Each of them receives the name of the nearest person.

    Args:
        distances: (T, G), probe walks to gallery walks.
        frames: the frame indices of each probe walk's track (T).
        identities: the identity of each gallery walk (G,).
        threshold: the largest distance that still counts as the same person; None for a closed set.
        track_ids: the numbers of the tracks, which the reasons mention; 1, 2, ... when left out.
        neighbours: see `identity_distances`.

    Returns:
        One match for each probe walk, in order. Every identity is among its candidates.

    Raises:
        ValueError: shapes that do not fit, or distances that are not finite.
    """
    if distances.shape != (len(frames), len(identities)) or not np.isfinite(distances).all():
        raise ValueError(f"distances must be finite, one row per track ({len(frames)}) and one column per gallery walk")
    names = list(dict.fromkeys(identities))
    table = identity_distances(distances, identities, neighbours)
    columns = _assign(table, visibility(frames), threshold)
    if threshold is None and table.size:
        columns = np.where(columns == _NOBODY, table.argmin(axis=1), columns)
    numbers = list(track_ids) if track_ids is not None else list(range(1, len(frames) + 1))
    together = covisible(frames)
    matches = []
    for row, column in enumerate(columns):
        order = np.argsort(table[row], kind="stable")
        is_named = column != _NOBODY
        matches.append(
            Match(
                candidates=tuple(Candidate(names[i], float(table[row, i])) for i in order),
                identity=names[column] if is_named else None,
                distance=float(table[row, column]) if is_named else None,
                threshold=None if threshold is None else float(threshold),
                reason=None if is_named else _reason(row, table, columns, together[row], names, numbers, threshold),
            )
        )
    return matches


def agreement(match: Match, pieces: Distances, identities: Sequence[str], neighbours: int = 1) -> Agreement | None:
    """Count how many pieces of a walk agree with the decision about the whole walk.

    Args:
        match: the decision about the whole walk. The pieces of an unknown walk are compared with its nearest candidate.
        pieces: (K, G), distances of the pieces to gallery walks.
        identities: the identity of each gallery walk (G,).
        neighbours: see `identity_distances`.

    Returns:
        None where there is only one piece or one candidate, as pieces then say nothing.
    """
    names = list(dict.fromkeys(identities))
    if len(pieces) < 2 or len(names) < 2:
        return None
    person = names.index(match.identity or match.candidates[0].identity)
    nearest = identity_distances(pieces, identities, neighbours).argmin(axis=1)
    return Agreement(int((nearest == person).sum()), len(pieces))


def confidence(match: Match) -> float:
    """Return how clear a match is, 0..1: ``b^2 / (b^2 + d^2)`` for the distance d and the nearest border b.

    The border is the threshold or the distance of the nearest other identity, whichever is smaller. Beyond it the
    decision would be a different one. A decision on the border has 0.5, and one at half the distance of the border has
    0.8. Below 0.5 somebody else is nearer, but was in view elsewhere at the same time. A walk without a name has 0. In
    a closed set there is no threshold, so the only person of a gallery has 1. The value orders the matches of one run
    and is NOT a calibrated probability.
    """
    if match.identity is None or match.distance is None:
        return 0.0
    borders = [candidate.distance for candidate in match.candidates if candidate.identity != match.identity]
    if match.threshold is not None:
        borders.append(match.threshold)
    if not borders:
        return 1.0
    border = min(borders)
    return border**2 / (border**2 + match.distance**2) if border > 0 else float(match.distance == 0)


def _assign(table: Distances, visible: Bools, threshold: float | None) -> Ints:
    """Return the column of the identity that each row of `table` receives, or `_NOBODY`."""
    assigned = np.full(len(table), _NOBODY, np.int64)
    if table.size == 0:
        return assigned
    # In a closed set one more named walk is worth more than any distances can cost.
    limit = (len(table) + 1) * (float(table.max()) + 1) if threshold is None else threshold
    # A pair exactly at the threshold is accepted, so it must be worth a little more than no pair.
    cost = table - limit - 1e-9 * max(1.0, abs(limit))
    allowed = table <= limit
    nearest = table.argmin(1)
    near_enough = allowed[np.arange(len(table)), nearest]
    assigned[near_enough] = nearest[near_enough]
    if not _has_conflict(assigned, visible):  # everybody can have their nearest person, so nothing can be better
        return assigned
    assigned[:] = _NOBODY
    if len(visible) == 1:  # all tracks are in view at once: the classic assignment problem
        for row, column in assign(np.where(allowed, -cost, 0.0)):
            assigned[row] = column
        return assigned
    # Slow to import, and seldom needed.
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import coo_array

    rows, columns = np.nonzero(allowed)
    pairs = np.arange(len(rows))
    # One identity for each track, and in each moment one track for each identity.
    moments, at = np.nonzero(visible[:, rows])
    limits = np.concatenate([rows, len(table) + moments * table.shape[1] + columns[at]])
    _, limits = np.unique(limits, return_inverse=True)
    matrix = coo_array((np.ones(len(limits)), (limits, np.concatenate([pairs, at])))).tocsr()
    solution = milp(
        cost[rows, columns],
        integrality=np.ones(len(rows), np.uint8),
        bounds=Bounds(0, 1),
        constraints=LinearConstraint(matrix, ub=1),
        options={"mip_rel_gap": 0.0},
    )
    if solution.x is None:
        raise RuntimeError(f"the assignment of {len(table)} tracks was not solved: {solution.message}")
    chosen = solution.x > 0.5
    assigned[rows[chosen]] = columns[chosen]
    return assigned


def _has_conflict(assigned: Ints, visible: Bools) -> bool:
    """Return whether two tracks that are in view together have the same identity."""
    for moment in visible:
        columns = assigned[moment & (assigned != _NOBODY)]
        if len(np.unique(columns)) < len(columns):
            return True
    return False


def _reason(
    row: int,
    table: Distances,
    assigned: Ints,
    together: Bools,
    names: Sequence[str],
    numbers: Sequence[int],
    threshold: float | None,
) -> str:
    """Return why a walk has no name."""
    if not names:
        return "the gallery is empty"
    nearest = int(table[row].argmin())
    name, distance = names[nearest], table[row, nearest]
    if threshold is not None and distance > threshold:
        return f"the nearest person, {name}, is at distance {distance:.3g}, beyond the threshold {threshold:.3g}"
    rivals = np.flatnonzero(together & (assigned == nearest))
    rival = int(rivals[table[rivals, nearest].argmin()])
    why = "is nearer" if table[rival, nearest] <= distance else "fits the name better when all walks are considered"
    return f"{name} was given to track {numbers[rival]}, which is in view at the same time and {why}"
