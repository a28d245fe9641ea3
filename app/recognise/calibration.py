"""The threshold when the user gives none: learnt from what the videos of this run say for certain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from app.gallery.distances import Distances
from app.recognise.covisible import covisible
from app.types import Ints

FALSE_ACCEPTS = 0.1
"""Share of comparisons of two different people of one video that may pass the threshold."""
ENOUGH = 3
"""Pairs from which a spread can be told."""
SPREAD = 0.2
"""Spread of different people's distances, relative to their mean, where there are too few pairs to tell."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """The largest distance that is still the same person, where it comes from, and what to beware of."""

    value: float
    source: str
    warning: str | None = None


def impostor_distances(distances: Distances, frames: Sequence[Ints]) -> Distances:
    """Distances between walks of one video that are surely of different people, as they share a frame.

    Args:
        distances: (n, n) among the walks of one video.
        frames: the frame indices of each walk's track.

    Returns:
        (pairs,), each pair once.
    """
    found: Distances = distances[np.triu(covisible(frames), 1)]
    return found


def derive_threshold(impostors: Distances, genuine: Distances | None = None) -> Threshold:
    """Derive a threshold for this run, this model and this metric.

    The distance below which one comparison in ten of two different people of one video would fall, were these
    distances normally distributed: a false accept rate fixed beforehand, as usual in verification. It looks at
    different people only, because walks of one person in one video say little about that person on another day.
    A stranger is compared with everybody in the gallery, so more than one in ten may be named where the gallery is
    large or the model weak; the figures measured stand in the design notes.

    Args:
        impostors: distances between walks that surely are different people (`impostor_distances`, of the gallery
            and of the probes).
        genuine: distances between walks that surely are the same person, such as the halves of one walk. Used where
            there are no impostors, and to warn where the model does not tell people apart.

    Returns:
        The threshold; 0, which names nobody, where there is nothing to learn from.
    """
    same = np.asarray(genuine if genuine is not None else [], np.float64)
    if len(impostors) == 0:
        if len(same) == 0:
            return Threshold(
                0.0,
                "nothing to derive it from",
                "No threshold could be derived, so nobody is named: no two people were seen at the same time so far, "
                "nor are two in the gallery. Enrol a second person, or give --threshold VALUE.",
            )
        return Threshold(
            float(same.mean()),
            f"mean distance within {len(same)} walk(s); no two people are seen at the same time",
            "The threshold is a guess from walks of the same people alone, so strangers may pass it. "
            "Give one with --set match.threshold=VALUE, or a gallery with more people at once.",
        )
    # The median, and the spread below it: one bad walk is far from everybody, and must not drag the threshold down.
    centre = float(np.median(impostors))
    if len(impostors) >= ENOUGH:
        below = impostors[impostors <= centre]
        spread, warning = float(np.sqrt(np.mean((below - centre) ** 2))), None
    else:
        spread = SPREAD * centre
        warning = f"The threshold rests on only {len(impostors)} pair(s) of people seen at the same time."
    value = max(centre + NormalDist().inv_cdf(FALSE_ACCEPTS) * spread, 0.0)
    if len(same) and same.mean() > value:
        warning = " ".join(
            [
                *([warning] if warning else []),
                f"Halves of one walk are {same.mean():.3g} apart, more than the threshold {value:.3g}: this gait model "
                "tells these people apart poorly, so known people may stay unnamed.",
            ]
        )
    source = f"{len(impostors)} pair(s) of people seen at the same time, {FALSE_ACCEPTS:.0%} false accepts"
    return Threshold(value, source, warning)
