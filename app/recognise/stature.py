"""How tall people are beside each other, which silhouettes do not show, because each is scaled to the same height.

One camera cannot tell somebody tall from somebody near. But people who walk on the same ground can be compared: at the
same place, the taller person is higher in the picture. How the height in the picture changes with the place is seen in
each single track, because nobody grows while they walk (as in Hoiem, Efros and Hebert, Putting Objects in Perspective,
IJCV 2008, with the slope of the ground's image learnt from tracks). What is left is the height of a person beside the
others of the video, with an error; it says nothing where only one person is seen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.gallery.distances import Distances
from app.recognise.adaptation import people_in
from app.recognise.covisible import covisible, overlapping, own_frames
from app.types import Bools, Doubles, Embedding, Floats, Ints, Measure, Track, VideoInfo
from app.walks.analysed import AnalysedVideo

STATURE = "height beside others"
"""The measure of a walk (`app.types.Measure`) that holds a stature, in %."""
_PEOPLE = 0.045**2
"""Variance of the logarithm of the height over adults."""
_VISIT = 0.018**2
"""Variance of what shoes, bags, stance and the detector's boxes add to it for a whole walk, as measured on film."""
_NOISE = 0.035
"""Standard deviation of the logarithm of a box's height in one look, at least."""
_TOGETHER = 0.7
"""Seconds in which the errors of boxes are much the same: about a step."""
_SLOPE, _SLOPE_SPREAD = math.log(0.4), 0.8
"""How the height in the picture grows towards the lower edge: the logarithm of the ratio of a person's height to that
of the camera above the ground, and how much it usually varies. The middle is a camera 4 m above the ground."""
_ROLL_SPREAD = 0.03
"""How much the height in the picture usually changes towards the side, because cameras hang askew by a few degrees."""
_TOUCHING = 0.02
"""Boxes that overlap more than this (intersection over union) may be cut where the other person is."""
_WRONG = 0.05
"""Share of comparisons in which something is wrong altogether: somebody stoops or stands on a stair."""
_MOST_SPREAD = 0.12
"""Where people's heights seem to differ by more than this (standard deviation of logarithms), they are not seen on one
ground by one camera: the film was cut, or the camera has zoomed."""
_FEWEST = 8
"""So many looks must show somebody whole."""
_STEPS, _CONVERGED = 30, 1e-4
_NEAR_HORIZON = 0.05
"""People are not taken to be smaller than this share of the usual height, which would be beyond the horizon."""
_MOST_PEOPLE = 400
"""In videos of more walks, each counts as a person of its own."""


@dataclass(frozen=True, slots=True)
class Stature:
    """The logarithm of somebody's height, 0 for an average adult, and the `variance` of that estimate.

    `others` are the other people it was compared with.
    """

    height: float
    variance: float
    others: int

    @property
    def percent(self) -> float:
        """By how many percent the person is taller than an average adult."""
        return 100 * math.expm1(self.height)

    @property
    def error(self) -> float:
        """The standard error of `percent`."""
        return 100 * math.exp(self.height) * math.sqrt(self.variance)

    def measure(self) -> Measure:
        """Return it as it is kept with a walk of the gallery."""
        return stature_measure(self.percent, self.error, self.others)

    @classmethod
    def of(cls, measures: Sequence[Measure]) -> Stature | None:
        """Return the stature among what was measured of a walk; None where there is none that says anything."""
        for one in measures:
            if one.name == STATURE and one.uncertainty and one.value > -100:
                height = math.log1p(one.value / 100)
                variance = (one.uncertainty / 100 / math.exp(height)) ** 2
                return cls(height, variance, one.count) if variance < _PEOPLE else None
        return None


def stature_measure(percent: float, error: float, others: int) -> Measure:
    """Return a stature (`Stature.percent`, `Stature.error`, `Stature.others`) as it is kept with a walk."""
    return Measure(STATURE, "%", percent, error, others)


def evidence(some: Sequence[Stature | None], others: Sequence[Stature | None]) -> Distances:
    """Return how much more often two walks are so tall if they are one person's: logarithms of ratios (n, m).

    0 where nothing is known of one of them. Heights are taken to be normally distributed, and so are errors, but one
    comparison in twenty is taken to say nothing at all, so no height can outweigh everything else.
    """
    (a, a_variance), (b, b_variance) = _columns(some), _columns(others)
    a, a_variance = a[:, None], a_variance[:, None]
    precision = 1 / a_variance + 1 / b_variance - 1 / _PEOPLE
    middle = (a / a_variance + b / b_variance) / precision
    spread = math.log(_PEOPLE) - np.log(a_variance) - np.log(b_variance) - np.log(precision)
    ratio = (spread + precision * middle**2 - a**2 / a_variance - b**2 / b_variance) / 2
    found: Distances = np.logaddexp(math.log1p(-_WRONG) + ratio, math.log(_WRONG))
    return found


def with_statures(
    distances: Distances, some: Sequence[Stature | None], others: Sequence[Stature | None], slope: float
) -> Distances:
    """Return distances (n, m) with what the statures of n and of m walks say, as much as it is worth in distance.

    `slope` is how much the logarithm of the likelihood ratio falls with the distance
    (`app.recognise.scores.ScoreModel.evidence`): another distance that would say the same takes the place of each.
    """
    found: Distances = np.maximum(distances + evidence(some, others) / slope, 0.0)
    return found


def _columns(statures: Sequence[Stature | None]) -> tuple[Doubles, Doubles]:
    """Return heights and variances (n,). Of whom nothing is known is as tall as anybody."""
    rows = [(0.0, _PEOPLE) if one is None else (one.height, one.variance) for one in statures]
    heights, variances = np.array(rows, np.float64).reshape(-1, 2).T
    return heights, variances


def statures_of(video: AnalysedVideo) -> dict[int, Stature]:
    """Return how tall the people of a video are, by the number of the track; those whom nothing tells are left out."""
    walks = video.usable()
    tracks = [walk.track for walk in walks]
    embeddings = [walk.embedding for walk in walks if walk.embedding is not None]
    return statures(tracks, embeddings, own_frames(tracks), video.info, [walk.track for walk in video.walks])


def statures(
    tracks: Sequence[Track],
    embeddings: Sequence[Embedding],
    frames: Sequence[Ints],
    info: VideoInfo,
    everybody: Sequence[Track],
) -> dict[int, Stature]:
    """Return how tall the people of one camera are, by the number of the track.

    Args:
        tracks: where each walk was seen.
        embeddings: of the walks. Those that may be of one person count as one person's (`people_in`).
        frames: in which each walk certainly has a body of its own. Walks that share a frame differ.
        info: of the video; only its size and its frame rate count.
        everybody: all tracks, also those that are no walks: they stand in front of others, too.
    """
    if len(tracks) < 2:
        return {}
    if len(tracks) > _MOST_PEOPLE:
        people = np.arange(len(tracks))
    else:
        people = people_in(np.stack([embedding.parts for embedding in embeddings]), covisible(frames))
    looks = dict(zip((track.track_id for track in everybody), _whole(everybody, info), strict=True))
    kept = [place for place, track in enumerate(tracks) if looks[track.track_id].sum() >= _FEWEST]
    if len(np.unique(people[kept])) < 2:
        return {}
    of_kept = [(tracks[place], looks[tracks[place].track_id]) for place in kept]
    step = max(1, round(_TOGETHER * float(info.fps)))
    independent = np.array([len(np.unique(track.frame_indices[seen] // step)) for track, seen in of_kept])
    found = _Ground.under([track.boxes[seen] for track, seen in of_kept], independent).statures(people[kept])
    return {track.track_id: stature for (track, _), stature in zip(of_kept, found, strict=bool(found))}


def _whole(tracks: Sequence[Track], info: VideoInfo) -> list[Bools]:
    """Return which boxes of each track show somebody whole, clear of everybody else and of the borders."""
    frames = np.concatenate([track.frame_indices for track in tracks])
    boxes = np.concatenate([track.boxes for track in tracks])
    order = np.argsort(frames, kind="stable")
    size = np.array([info.width, info.height])
    inside = np.asarray((boxes[:, :2] >= 1).all(axis=1) & (boxes[:, 2:] <= size - 1).all(axis=1), np.bool_)
    inside &= boxes[:, 3] - boxes[:, 1] >= 1
    inside[order[np.concatenate(overlapping(frames[order], boxes[order], _TOUCHING))]] = False
    return np.split(inside, np.cumsum([len(track.frame_indices) for track in tracks])[:-1])


@dataclass(frozen=True, eq=False)
class _Ground:
    """How the height in the picture changes with the place of the feet, and what is left of it for each track.

    `heights` (n,) are the logarithms of the tracks' heights at one and the same place, but for a common constant, and
    `variances` (n,) those of what is measured of a track by itself. `leverage` (n, 2) says how they depend on the two
    numbers of the ground, whose `covariance` is (2, 2).
    """

    heights: Doubles
    variances: Doubles
    leverage: Doubles
    covariance: Doubles

    @classmethod
    def under(cls, boxes: Sequence[Floats], independent: Ints) -> _Ground:
        """Fit the ground to tracks, each with a height of its own (Gauss-Newton, Huber's weights).

        Args:
            boxes: of each track, (T, 4) px.
            independent: how many of a track's boxes count, because the errors of the others are the same (n,).
        """
        lengths = np.array([len(each) for each in boxes])
        track, every = np.repeat(np.arange(len(boxes)), lengths), np.concatenate(boxes).astype(np.float64)
        tall = every[:, 3] - every[:, 1]
        usual = float(np.median(tall))
        logs = np.log(tall / usual)
        right = ((every[:, 0] + every[:, 2]) / 2 - np.median(every[:, 0])) / usual
        down = (every[:, 3] - np.median(every[:, 3])) / usual
        count = (independent / lengths)[track]

        def centred(values: Doubles, weights: Doubles) -> Doubles:
            total = np.bincount(track, weights * values) / np.bincount(track, weights)
            rest: Doubles = values - total[track]
            return rest

        prior = np.array([_SLOPE, 0.0])
        information = np.diag([_SLOPE_SPREAD**-2, _ROLL_SPREAD**-2])
        ground, noise, covariance = prior, _NOISE, np.linalg.inv(information)
        left, slopes = logs, np.zeros((len(logs), 2))
        for _ in range(_STEPS):
            grown = np.maximum(1 + np.exp(ground[0]) * down + ground[1] * right, _NEAR_HORIZON)
            left = logs - np.log(grown)
            slopes = np.stack([np.exp(ground[0]) * down, right], axis=1) / grown[:, None]
            errors = centred(left, np.ones(len(left)))
            noise = max(_NOISE, 1.4826 * float(np.median(np.abs(errors))))
            weights = count * np.minimum(1, 2 * noise / np.maximum(np.abs(errors), 1e-9))
            errors = centred(left, weights)
            own = np.stack([centred(slopes[:, column], weights) for column in range(2)], axis=1)
            precision = information + (own * weights[:, None]).T @ own / noise**2
            pull = information @ (prior - ground) + (own * weights[:, None]).T @ errors / noise**2
            covariance = np.linalg.inv(precision)
            change = np.clip(covariance @ pull, -0.5, 0.5)
            ground = ground + change
            if np.abs(change).max() < _CONVERGED:
                break
        ends = np.cumsum(lengths)[:-1]
        heights = np.array([np.median(one) for one in np.split(left, ends)])
        leverage = np.array([one.mean(axis=0) for one in np.split(slopes, ends)])
        return cls(heights, _VISIT + noise**2 / independent, leverage, covariance)

    def statures(self, people: Ints) -> list[Stature]:
        """Return the stature of each track; `people` (n,) says whose each is.

        A track is held against everybody else, each person once, so one who is followed in many pieces is never held
        against themselves. There are none where the heights are no people's.
        """
        _, person, tracks = np.unique(people, return_inverse=True, return_counts=True)

        def mean(values: Doubles) -> Doubles:
            return np.asarray(np.bincount(person, values) / tracks, np.float64)

        weights = 1 / (_PEOPLE + mean(self.variances))
        heights = mean(self.heights)
        leverage = np.stack([mean(self.leverage[:, column]) for column in range(2)], axis=1)
        if heights.std(ddof=1) > _MOST_SPREAD:
            return []
        found = []
        for height, variance, lever, own in zip(self.heights, self.variances, self.leverage, person, strict=True):
            others = np.delete(weights, own)
            middle = np.delete(heights, own) @ others / others.sum()
            apart = lever - others @ np.delete(leverage, own, axis=0) / others.sum()
            error = variance + 1 / others.sum() + apart @ self.covariance @ apart
            trust = _PEOPLE / (_PEOPLE + error)
            found.append(Stature(float(trust * (height - middle)), float(trust * error), len(others)))
        return found
