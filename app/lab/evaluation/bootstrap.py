"""Bootstrap intervals: how much a figure would vary with other people, pictures or pieces of a video.

The intervals are percentile intervals (Efron & Tibshirani 1993, chapter 13). What is drawn with replacement must be
independent: people with all of their walks, for example, because the walks of one person are too much alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

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

    There are `times` samples, and each holds as many as there are `units`.

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
