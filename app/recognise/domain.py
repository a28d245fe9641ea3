"""Whether scores measured elsewhere hold for the videos at hand.

Distances depend on the silhouettes, and so on camera, light, detector and segmenter: a distance that is short in one
place is long in another. But every run compares people who certainly differ (those seen together, and those in the
gallery), and their distances say how the place differs. As in the normalisation of scores in speaker verification
(Auckenthaler et al., Digital Signal Processing 2000: Z-norm, T-norm), distances are divided by what the run's impostors
say. But they are divided by one scale only, because a few pairs say nothing about the spread, and by no more of it than
the pairs can prove.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from app.errors import counted
from app.gallery.distances import Distances
from app.recognise.scores import ScoreModel

PLACES = 0.2
"""The standard deviation of the logarithm of the scale between places."""
ENOUGH = 3
"""The smallest number of pairs of different people that tell a scale. One pair may be alike by chance."""
PRIOR_PAIRS = 20
"""How many pairs of different people what is known from training is worth, where walks are compared by the directions
in which they leave the middle of their video. There, places differ little."""
FARTHEST = 1.5
"""The largest scale, or one over it, at which scores are used. The rule was not tried beyond it."""


@dataclass(frozen=True)
class Domain:
    """What a run's impostors say about scores measured elsewhere.

    `scores` hold for the run; None where no scores do. `scale` is how many times larger distances are in the run than
    where the scores were measured. `note` says it to the user.
    """

    scores: ScoreModel | None
    scale: float
    note: str


def adapt(scores: ScoreModel, impostors: Distances, walks: int) -> Domain:
    """Adapt scores to a run.

    `impostors` (n,) are distances between `walks` walks of the run, of people who are certainly different. The scale is
    the ratio of the median impostor distances, shrunk towards 1 as far as it may be the chance of so few walks (the
    mean of its posterior, where all distributions are log-normal).
    """
    person, pair = scores.spread
    known, places, enough = scores.threshold(0.5), PLACES, ENOUGH
    if scores.together is not None:
        known, places, enough = scores.together, pair / math.sqrt(PRIOR_PAIRS), 0
    if len(impostors) < enough:
        return Domain(
            None,
            1.0,
            f"not calibrated for this video: {counted(len(impostors), 'pair')} of people who certainly differ are not "
            "enough",
        )
    if not len(impostors):
        return Domain(scores, 1.0, f"no two people here certainly differ, so distances count as those of {scores.data}")
    measured = math.log(float(np.median(impostors)) / known)
    chance = 4 * person**2 / walks + pair**2 / len(impostors)
    scale = math.exp(measured * places**2 / (places**2 + chance))
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
        f"distances here count as {scale:.2f} times those of {scores.data}, judged by "
        f"{counted(len(impostors), 'pair')} of different people",
    )
