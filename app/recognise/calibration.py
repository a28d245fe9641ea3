"""The threshold where neither the user nor calibrated scores give one: it is learnt from the videos of this run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from app.errors import counted
from app.gallery.distances import Distances
from app.recognise.covisible import covisible
from app.types import Ints

FALSE_ACCEPTS = 0.1
"""The share of comparisons of two different people that may pass the threshold (false accept rate)."""
ENOUGH = 3
"""The smallest number of pairs whose spread is measured."""
SPREAD = 0.2
"""The spread of distances, relative to their median, that is assumed where there are too few pairs to measure it."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """The largest distance that counts as the same person, where it comes from, and a warning to the user."""

    value: float
    source: str
    warning: str | None = None


def impostor_distances(distances: Distances, frames: Sequence[Ints]) -> Distances:
    """Return the distances between walks of one video that share a frame, and so are of different people: (pairs,),
    each once.

    `distances` (n, n) are between the walks, and `frames` the frame indices of each walk's track.
    """
    impostors: Distances = distances[np.triu(covisible(frames), 1)]
    return impostors


def derive_threshold(impostors: Distances, genuine: Distances | None = None) -> Threshold:
    """Derive a threshold for this run, this model and this metric; 0, so that nobody is named, where there are no
    distances at all.

    The false accept rate is fixed beforehand, as is usual in verification: the threshold is the distance below which
    one comparison in ten of two different people would fall if their distances were normally distributed. Only
    different people count, because walks of one person in one video say little about that person on another day.

    A stranger is compared with everybody in the gallery. So where the gallery is large or the model is weak, more than
    one stranger in ten may be named. The figures that were measured are in the design notes.

    Args:
        impostors: distances between walks that are certainly of different people, in the gallery and in the probes.
        genuine: distances between walks that are certainly of the same person, such as the halves of one walk. They
            are used where there are no impostors, and to warn where the model does not tell people apart.
    """
    same = np.asarray(genuine if genuine is not None else [], np.float64)
    if len(impostors) == 0:
        if len(same) == 0:
            return Threshold(
                0.0,
                "there is nothing to derive it from",
                "No threshold could be derived, so nobody is named. It needs two people in the gallery, or two people "
                "who are in view at the same time. Enrol a second person, or give --threshold VALUE.",
            )
        return Threshold(
            float(same.mean()),
            f"the mean distance within {counted(len(same), 'walk')}, as no two people are in view at the same time",
            "The threshold is a guess from walks of the same people alone, so strangers may be named. Give a threshold "
            "with --threshold VALUE, or a gallery video in which several people are in view at the same time.",
        )
    # The median and the spread below it are used because one bad walk is far from everybody and would enlarge the
    # spread above the median, which would lower the threshold.
    centre = float(np.median(impostors))
    if len(impostors) >= ENOUGH:
        below = impostors[impostors <= centre]
        spread, warning = float(np.sqrt(np.mean((below - centre) ** 2))), None
    else:
        spread = SPREAD * centre
        warning = (
            f"The threshold comes from only {counted(len(impostors), 'pair')} of different people, so it is uncertain."
        )
    value = max(centre + NormalDist().inv_cdf(FALSE_ACCEPTS) * spread, 0.0)
    if len(same) and same.mean() > value:
        poor = (
            f"Walks of one person are {same.mean():#.3g} apart on average, more than the threshold {value:#.3g}. "
            "This gait model tells these people apart poorly, so known people may stay unnamed."
        )
        warning = f"{warning} {poor}" if warning else poor
    source = f"{counted(len(impostors), 'pair')} of different people, {100 * FALSE_ACCEPTS:.0f} % false accepts"
    return Threshold(value, source, warning)
