"""Who is who: the best assignment of probe walks to gallery identities that the video allows."""

from __future__ import annotations

import logging
from collections.abc import Sequence, Set
from dataclasses import dataclass

import numpy as np

from app.gallery.distances import Distances
from app.recognise.assignment import NOBODY, Assignment, assign
from app.recognise.covisible import covisible, visibility
from app.types import Bools, Candidate, Ints, Match

logger = logging.getLogger(__name__)

MOST_CANDIDATES = 100
"""How many of the nearest people are the candidates of a walk, besides the one it is named after."""


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


_DENIED = 1e9
"""The distance to somebody who a walk is certainly not."""


def identity_distances(distances: Distances, identities: Sequence[str], neighbours: int = 1) -> Distances:
    """Return the distance of each walk to each person: the mean over that person's `neighbours` nearest gallery walks.

    `distances` (T, G) are between probe and gallery walks, and `identities` (G,) those of the gallery walks; the result
    (T, I) has them in the order of their first appearance. All walks of an identity count where there are fewer.
    """
    number = {name: column for column, name in enumerate(dict.fromkeys(identities))}
    owner = np.array([number[name] for name in identities], np.int64)
    order = np.argsort(owner, kind="stable")
    walks = np.split(order, np.searchsorted(owner[order], np.arange(1, len(number))))
    table = np.zeros((len(distances), len(number)))
    for column in number.values():
        table[:, column] = np.sort(distances[:, walks[column]], axis=1)[:, :neighbours].mean(axis=1)
    return table


def match(
    distances: Distances,
    frames: Sequence[Ints],
    identities: Sequence[str],
    threshold: float | None,
    track_ids: Sequence[int] | None = None,
    neighbours: int = 1,
    denied: Sequence[Set[str]] = (),
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
        denied: for each probe walk, who it is certainly not; empty where nobody has said so of any walk.

    Returns:
        One match for each probe walk, in order. Its candidates are the `MOST_CANDIDATES` nearest people and the one it
        is named after.

    Raises:
        ValueError: shapes that do not fit, or distances that are not finite.
    """
    if distances.shape != (len(frames), len(identities)) or not np.isfinite(distances).all():
        raise ValueError(f"distances must be finite, one row per track ({len(frames)}) and one column per gallery walk")
    names = list(dict.fromkeys(identities))
    table = identity_distances(distances, identities, neighbours)
    for row, others in enumerate(denied):
        if others:
            table[row, [name in others for name in names]] = _DENIED
    moments = visibility(frames)
    assignment = assign(table, moments, threshold)
    columns = assignment.columns
    doubt = unproven(assignment) if assignment.shortfall else None
    if doubt is not None:
        logger.warning("%s", doubt)
    if threshold is None and table.size:
        columns = np.where(columns == NOBODY, table.argmin(axis=1), columns)
        columns = np.where(table[np.arange(len(table)), columns] == _DENIED, NOBODY, columns)
    numbers = list(track_ids) if track_ids is not None else list(range(1, len(frames) + 1))
    together = covisible(frames)
    matches = []
    for row, column in enumerate(columns):
        order = np.argsort(table[row], kind="stable")
        order = order[table[row, order] != _DENIED]
        is_named = column != NOBODY
        if len(order) > MOST_CANDIDATES:
            is_candidate = order == column
            is_candidate[:MOST_CANDIDATES] = True
            order = order[is_candidate]
        matches.append(
            Match(
                candidates=tuple(Candidate(names[i], float(table[row, i])) for i in order),
                identity=names[column] if is_named else None,
                distance=float(table[row, column]) if is_named else None,
                threshold=None if threshold is None else float(threshold),
                reason=None if is_named else _reason(row, table, columns, together[row], names, numbers, threshold),
                unproven=doubt,
            )
        )
    return matches


def unproven(assignment: Assignment) -> str:
    """Say how good an assignment is that was not proven to be the best."""
    distance = (
        f"it is at most {assignment.shortfall:.1%} better"
        if assignment.shortfall < 1
        else "how much better is not known"
    )
    return f"So many people are in view together that there may be a better way to give them names: {distance}."


def agreement(match: Match, table: Distances, names: Sequence[str]) -> Agreement | None:
    """Count how many pieces of a walk agree with the decision about the whole walk, `match`.

    `table` (K, I) has the distances of the pieces to people (`identity_distances`), who are called `names` (I,). The
    pieces of an unknown walk are compared with its nearest candidate. None is returned where there is only one piece or
    one person, or no candidate, as pieces then say nothing.
    """
    if len(table) < 2 or len(names) < 2 or not match.candidates:
        return None
    person = names.index(match.identity or match.candidates[0].identity)
    return Agreement(int((table.argmin(axis=1) == person).sum()), len(table))


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
    if table[row, nearest] == _DENIED:
        return "somebody has said that it is none of the people who could be compared"
    name, distance = names[nearest], table[row, nearest]
    if threshold is not None and distance > threshold:
        return f"the nearest person, {name}, is at distance {distance:#.3g}, beyond the threshold {threshold:#.3g}"
    rivals = np.flatnonzero(together & (assigned == nearest))
    rival = int(rivals[table[rivals, nearest].argmin()])
    why = "is nearer" if table[rival, nearest] <= distance else "fits the name better when all walks are considered"
    return f"{name} was given to track {numbers[rival]}, which is in view at the same time and {why}"
