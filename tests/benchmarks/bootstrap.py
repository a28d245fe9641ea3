"""Bootstrap intervals of any statistic, for the benchmarks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from app.lab.evaluation.bootstrap import percentile_interval, resampled_counts

Unit = TypeVar("Unit")


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
