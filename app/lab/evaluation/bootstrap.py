"""Bootstrap intervals: how much a figure would vary with other people, pictures or pieces of a video.

The intervals are percentile intervals (Efron & Tibshirani 1993, chapter 13). What is drawn with replacement must be
independent: people with all of their walks, for example, because the walks of one person are too much alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Unit = TypeVar("Unit")
Doubles = NDArray[np.float64]

_BLOCK = 1 << 20  # counts at once: 8 MiB


@dataclass(frozen=True)
class Figure:
    """A figure, 0 to 1, with its 95 % interval. All three are None where there is nothing to average."""

    value: float | None
    low: float | None
    high: float | None


def resampled_counts(units: int, times: int, seed: int = 0) -> Iterator[Doubles]:
    """Draw samples with replacement; yield blocks (samples, units) of how often each sample holds each unit.

    Args:
        units: how many units there are. Every sample holds as many.
        times: the number of samples.
        seed: of the random draws.

    Raises:
        ValueError: there are no units.
    """
    if not units:
        raise ValueError("a bootstrap needs at least one unit")
    draws = np.random.default_rng(seed).integers(0, units, (times, units))
    for block in np.array_split(draws, max(1, draws.size // _BLOCK)):
        places = block + units * np.arange(len(block))[:, None]
        yield np.bincount(places.ravel(), minlength=block.size).reshape(block.shape).astype(np.float64)


def percentile_interval(values: Any, level: float = 0.95) -> Doubles:
    """Return the lower and the upper end (2, ...) of the interval that holds a share `level` of `values` (n, ...)."""
    ends: Doubles = np.quantile(values, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return ends


def bootstrap(
    units: Sequence[Unit],
    statistic: Callable[[Sequence[Unit]], float],
    seed: int = 0,
    times: int = 1000,
    level: float = 0.95,
) -> tuple[float, float]:
    """Return the bootstrap interval of any statistic.

    Args:
        units: what was measured independently: people, pictures, or pieces of a video (single frames are too alike).
        statistic: computes the figure of a sample, which has as many units. Their order must not matter.
        seed: of the random draws.
        times: the number of samples.
        level: the share of the samples' figures that lie in the interval.

    Raises:
        ValueError: there are no units.
    """
    values = [
        statistic([units[place] for place in np.repeat(np.arange(len(units)), count.astype(np.int64)).tolist()])
        for counts in resampled_counts(len(units), times, seed)
        for count in counts
    ]
    low, high = percentile_interval(values, level).tolist()
    return low, high
