"""Error rates against cases worked out by hand, and against all thresholds tried one by one."""

from __future__ import annotations

import numpy as np
import pytest

from app.lab.evaluation.bootstrap import Doubles
from app.lab.evaluation.rates import DistanceCounts, false_negative_identification_rate


def fnir(own: Doubles, other: Doubles, rate: float) -> float:
    """Every search counts as mated where there is a right walk, and as non-mated without it."""
    mated = np.where(own < other, own, np.inf)[np.isfinite(own)]
    return false_negative_identification_rate(mated, other, rate)


class TestIdentification:
    def test_threshold_lets_through_what_the_rate_allows(self) -> None:
        own = np.array([1.0, 2.0, 3.0, 4.0, np.inf, 0.5, 6.0, 7.0, 8.0, 9.0])
        other = np.array([5.0, 5.0, 2.5, 5.0, 0.1, 5.0, 7.0, 6.5, 9.0, 9.5])
        # One alarm in ten: 0.1. The next stranger is at 2.5, so what is below that is accepted: 1, 2 and 0.5.
        assert fnir(own, other, 0.1) == pytest.approx(6 / 9)
        # None: nothing below 0.1 is accepted.
        assert fnir(own, other, 0.0) == 1.0

    @pytest.mark.parametrize("rate", [0.01, 0.1, 0.5])
    def test_is_the_best_of_all_thresholds(self, rate: float) -> None:
        rng = np.random.default_rng(3)
        own, other = rng.normal(1, 0.3, 300), rng.normal(2, 0.4, 300)
        best = 1.0
        for threshold in np.concatenate([own, other]) + 1e-12:
            if np.mean(other <= threshold) <= rate:
                best = min(best, 1 - np.mean((own < other) & (own <= threshold)))
        assert fnir(own, other, rate) == pytest.approx(best)

    def test_searches_that_count_twice_are_as_if_they_were_there_twice(self) -> None:
        rng = np.random.default_rng(4)
        mated, non_mated = rng.normal(1, 0.3, 40), rng.normal(1.5, 0.4, 30)
        times = rng.integers(0, 3, 40), rng.integers(0, 3, 30)
        repeated = (np.repeat(values, count) for values, count in zip((mated, non_mated), times, strict=True))
        weights = (count.astype(np.float64) for count in times)
        assert false_negative_identification_rate(mated, non_mated, 0.1, *weights) == pytest.approx(
            false_negative_identification_rate(*repeated, 0.1)
        )


class TestVerification:
    def test_equal_error_rate_of_two_normals(self) -> None:
        rng = np.random.default_rng(0)
        own, other = rng.normal(1, 0.2, 4000), rng.normal(2, 0.3, 9000)
        counts = DistanceCounts(5.0)
        for start in range(0, 13000, 1000):  # in blocks, as it is used
            block = slice(start, start + 1000)
            counts.add(np.concatenate([own, other])[block], (np.arange(13000) < 4000)[block])
        thresholds = np.sort(np.concatenate([own, other]))
        refused = 1 - np.searchsorted(np.sort(own), thresholds, "right") / 4000
        accepted = np.searchsorted(np.sort(other), thresholds, "right") / 9000
        place = np.argmin(np.abs(refused - accepted))
        assert counts.equal_error_rate() == pytest.approx((refused[place] + accepted[place]) / 2, abs=5e-4)
        assert counts.equal_error_rate() == pytest.approx(0.02275, abs=4e-3)  # Phi(-2): both are 2 deviations off 1.4
        middles, mine, others = counts.shares(40)
        assert mine.sum() == pytest.approx(1)
        assert others.sum() == pytest.approx(1)
        assert middles[0] < own.min() + 0.1
        assert middles[mine.argmax()] == pytest.approx(1, abs=0.2)

    def test_has_no_equal_error_rate_without_pairs(self) -> None:
        assert np.isnan(DistanceCounts(1.0).equal_error_rate())
