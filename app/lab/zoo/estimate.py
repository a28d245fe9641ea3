"""The errors of a pose estimator, added to exact keypoints.

They were measured with the embedded pose network on 51 rendered walkers that it had not been trained on, with 15
frames of each at 25 frames/s, 98 to 217 px high, and exact boxes. The errors have three parts: one is constant over a
walk, one changes slowly, and for some frames a joint, mostly an ankle, is confused with that of the other side. Scores
were hardly ever below 0.3, so no joint is missing. On photographs the network makes larger errors (see its card).

The constant part is drawn for each walk independently, so a network can average it out over the walks of a person. The
real estimator is worse: it mostly pulls poses towards average proportions. It lost 81 to 98 % of the differences
between people in the height of shoulders, elbows, hips and knees (11 walkers, 3 walks of each, 4 views).
"""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

from app.types import MIRRORED_KEYPOINTS, Floats

_PAIRS = np.array([0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8])
"""The row of each keypoint in the tables below."""
_LASTING = np.array(  # nose, eyes, ears, shoulders, elbows, wrists, hips, knees, ankles
    [(8, 13), (7, 9), (7, 8), (7, 9), (7, 19), (5, 14), (9, 17), (6, 15), (9, 24)]
)[_PAIRS]
"""Deviation (1.48 times the median one) in x and y of the constant part, in 1/1000 of a body's height."""
_CHANGING = np.array([(4, 2), (3, 2), (3, 2), (3, 3), (3, 5), (5, 7), (5, 6), (6, 9), (8, 18)])[_PAIRS]
"""The same of the part that changes from frame to frame."""
_ALIKE = 0.75
"""Correlation of the changing part with that of the previous frame."""
_WRONG = np.array([0, 0, 0, 0, 0.005, 0.022, 0, 0.048, 0.131])[_PAIRS]
"""Share of frames in which a keypoint is confused with that of the other side."""
_FRAMES_WRONG = 3.8
"""How many frames a confusion lasts, on average."""
_SCORE, _WRONG_SCORE = 0.84, 0.63
"""Mean score of keypoints, and of confused ones."""
_EXTENT = 0.853
"""Distance from the highest to the lowest keypoint, as a share of the body's height."""


def with_errors(name: str, keypoints: Floats) -> Floats:
    """Return the keypoints of a walk, float32 (T, 17, 3), exact x px, y px and 1, with the errors of an estimator.

    The same name of a walk always gives the same errors. Scores are 0.84, or 0.63 where left and right are confused.
    """
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    frames = len(keypoints)
    height = float(np.ptp(keypoints[..., 1], axis=1).mean()) / _EXTENT
    wrong = _confused(rng, frames)
    result = np.where(wrong[..., None], keypoints[:, list(MIRRORED_KEYPOINTS)], keypoints).astype(np.float64)
    lasting = _LASTING * rng.standard_normal(_LASTING.shape)
    result[..., :2] += height / 1000 * (lasting + _CHANGING * _slow_noise(rng, (frames, *_CHANGING.shape)))
    result[..., 2] = np.where(wrong, _WRONG_SCORE, _SCORE)
    return result.astype(np.float32)


def _slow_noise(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return noise of standard deviation 1 in which each frame resembles the previous one."""
    noise = rng.standard_normal(shape)
    for frame in range(1, len(noise)):
        noise[frame] = _ALIKE * noise[frame - 1] + np.sqrt(1 - _ALIKE**2) * noise[frame]
    return noise


def _confused(rng: np.random.Generator, frames: int) -> NDArray[np.bool_]:
    """Return which keypoints are confused, (T, 17): a Markov chain with the measured share and duration."""
    draws = rng.random((frames, len(_WRONG)))
    wrong = np.empty(draws.shape, bool)
    wrong[0] = draws[0] < _WRONG
    begins = _WRONG / (1 - _WRONG) / _FRAMES_WRONG
    for frame in range(1, frames):
        wrong[frame] = np.where(wrong[frame - 1], draws[frame] > 1 / _FRAMES_WRONG, draws[frame] < begins)
    return wrong
