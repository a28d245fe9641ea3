"""The assignment of boxes to tracks, beside SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from app.track.assignment import assign


@pytest.mark.parametrize("seed", range(60))
def test_the_sum_is_the_largest(seed: int) -> None:
    rng = np.random.default_rng(seed)
    worth = rng.random(rng.integers(1, 12, 2)) * (rng.random() < 0.5 or rng.random(1) < 0.5)
    worth[rng.random(worth.shape) < rng.choice([0.0, 0.5, 0.8])] = 0.0
    if seed % 3 == 0:
        worth = worth.round(1)  # with ties
    pairs = assign(worth)
    best = worth[linear_sum_assignment(worth, maximize=True)].sum()
    assert sum(worth[pair] for pair in pairs) == pytest.approx(best, abs=1e-12)
    assert pairs == sorted(pairs)
    for side in (0, 1):
        assert len({pair[side] for pair in pairs}) == len(pairs)
    assert all(worth[pair] > 0 for pair in pairs)


def test_a_crowd() -> None:
    worth = np.random.default_rng(1).random((120, 90))
    best = worth[linear_sum_assignment(worth, maximize=True)].sum()
    assert sum(worth[pair] for pair in assign(worth)) == pytest.approx(best)


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (2, 0)])
def test_nobody(shape: tuple[int, int]) -> None:
    assert assign(np.zeros(shape)) == []
