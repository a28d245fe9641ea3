"""The errors of a pose estimator, put on exact keypoints.

Their sizes were measured with the embedded pose network on 51 rendered walkers whom it had not seen, 15 frames of each
at 25 frames/s, 98 to 217 px high, boxes from the truth. Errors have three parts: one that lasts for the walk; one that
changes slowly; and joints that lie on those of the other side for some frames, mostly ankles. Scores were hardly ever
below 0.3, so no joint is missing. On photographs the network errs more (see its card).

The lasting part is drawn anew for each walk, so that a network can average it away over the walks of a person. The
estimator's is worse: mostly a pull towards average proportions. Of how much higher or lower than others' somebody's
shoulders, elbows, hips and knees lie, it lost 81 to 98 % (11 walkers, 3 walks of each, 4 views).
"""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

from app.gait.models.gaitgraph import MIRRORED
from app.types import Floats

_PAIRS = np.array([0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8])
"""Which row of the tables below is a keypoint's."""
_LASTING = np.array(  # nose, eyes, ears, shoulders, elbows, wrists, hips, knees, ankles
    [(8, 13), (7, 9), (7, 8), (7, 9), (7, 19), (5, 14), (9, 17), (6, 15), (9, 24)]
)[_PAIRS]
"""Deviation (1.48 times the median one) in x and y that stays for a walk, in thousandths of the body's height."""
_CHANGING = np.array([(4, 2), (3, 2), (3, 2), (3, 3), (3, 5), (5, 7), (5, 6), (6, 9), (8, 18)])[_PAIRS]
"""The same of what changes from frame to frame."""
_ALIKE = 0.75
"""Correlation of that with the frame before."""
_WRONG = np.array([0, 0, 0, 0, 0.005, 0.022, 0, 0.048, 0.131])[_PAIRS]
"""Share of frames in which a keypoint lies on its counterpart."""
_FRAMES_WRONG = 3.8
"""How long that lasts, on average."""
_SCORE, _WRONG_SCORE = 0.84, 0.63
"""Mean score of keypoints, and of those far off."""
_EXTENT = 0.853
"""From the highest to the lowest keypoint, in shares of the body's height."""


def estimated(name: str, keypoints: Floats) -> Floats:
    """Return what an estimator might have made of a walk: the same each time.

    Args:
        name: of the walk; another name draws other errors.
        keypoints: float32 (T, 17, 3), COCO-17, exact: x px, y px and 1.

    Returns:
        The same shape; scores are 0.84, or 0.63 where left and right were taken for each other.
    """
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    frames = len(keypoints)
    height = float(np.ptp(keypoints[..., 1], axis=1).mean()) / _EXTENT
    wrong = _spells(rng, frames)
    found = np.where(wrong[..., None], keypoints[:, list(MIRRORED)], keypoints).astype(np.float64)
    lasting = _LASTING * rng.standard_normal(_LASTING.shape)
    found[..., :2] += height / 1000 * (lasting + _CHANGING * _slow_noise(rng, (frames, *_CHANGING.shape)))
    found[..., 2] = np.where(wrong, _WRONG_SCORE, _SCORE)
    return found.astype(np.float32)


def _slow_noise(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Of deviation 1, each frame like the one before."""
    noise = rng.standard_normal(shape)
    for frame in range(1, len(noise)):
        noise[frame] = _ALIKE * noise[frame - 1] + np.sqrt(1 - _ALIKE**2) * noise[frame]
    return noise


def _spells(rng: np.random.Generator, frames: int) -> NDArray[np.bool_]:
    """Which keypoints are wrong, (T, 17): a Markov chain with the measured share and duration."""
    draws = rng.random((frames, len(_WRONG)))
    wrong = np.empty(draws.shape, bool)
    wrong[0] = draws[0] < _WRONG
    begins = _WRONG / (1 - _WRONG) / _FRAMES_WRONG
    for frame in range(1, frames):
        wrong[frame] = np.where(wrong[frame - 1], draws[frame] > 1 / _FRAMES_WRONG, draws[frame] < begins)
    return wrong
