"""Whether scores measured elsewhere hold for the videos at hand.

Distances depend on the silhouettes, so on camera, light, detector and segmenter: what is near in one place is far in
another. But every run brings comparisons of people who surely differ, those seen together and those in the gallery, and
their distances say how the place differs. As in the normalisation of scores in speaker verification (Auckenthaler et
al., Digital Signal Processing 2000: Z-norm, T-norm), distances are divided by what the run's impostors say; but by one
scale alone, as a few pairs tell no spread, and no more of it than they can prove.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from app.gallery.distances import Distances
from app.recognise.scores import ScoreModel

PLACES = 0.2
"""Deviation of the logarithm of the scale between places, before anything of a place is known."""
ENOUGH = 3
"""Pairs of different people from which a scale is told: two people alone may be alike by chance."""
FARTHEST = 1.5
"""Scale, or one over it, beyond which scores are not used: farther than where the rule was tried."""


@dataclass(frozen=True)
class Domain:
    """What a run's impostors say about scores measured elsewhere.

    `scores` are those that hold for the run, None where none do; `scale` is how much larger its distances are than
    those measured; `note` says it to the user.
    """

    scores: ScoreModel | None
    scale: float
    note: str


def adapt(scores: ScoreModel, impostors: Distances, walks: int) -> Domain:
    """Fit scores to a run.

    The scale is the ratio of the median impostor distances, shrunk towards 1 as far as so few walks may differ by
    chance (the mean of its posterior, all being log-normal).

    Args:
        scores: of the run's gait model and metric.
        impostors: distances between walks of the run that surely are of different people (n,).
        walks: how many walks took part in them.
    """
    if len(impostors) < ENOUGH:
        return Domain(
            None,
            1.0,
            f"not calibrated for this video: {len(impostors)} pair(s) of people who surely differ are too few",
        )
    measured = math.log(float(np.median(impostors)) / scores.threshold(0.5))
    person, pair = scores.spread
    chance = 4 * person**2 / walks + pair**2 / len(impostors)
    scale = math.exp(measured * PLACES**2 / (PLACES**2 + chance))
    if max(scale, 1 / scale) > FARTHEST:
        return Domain(
            None,
            scale,
            f"not calibrated for this video: different people are {math.exp(measured):.2f} times as far apart as in "
            f"{scores.data}",
        )
    return Domain(
        scores.scaled(scale),
        scale,
        f"distances taken as {scale:.2f} times those in {scores.data}, as {len(impostors)} "
        "pair(s) of different people say",
    )
