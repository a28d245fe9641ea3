"""Rankings against slow twins that follow the formulas word for word."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from app.lab.evaluation.metrics import bootstrap
from app.lab.evaluation.ranking import (
    DistanceCounts,
    Doubles,
    cells,
    cmc,
    false_negatives,
    mean_with_interval,
    means_of,
    reranked,
    row_means,
    search,
)
from app.types import Bools, Ints


def problem(seed: int, probes: int = 30, gallery: int = 50) -> tuple[Doubles, Ints, Ints, Bools]:
    rng = np.random.default_rng(seed)
    distances = rng.integers(0, 40, (probes, gallery)) / 7  # with many ties
    return distances, rng.integers(0, 12, probes), rng.integers(0, 9, gallery), rng.random((probes, gallery)) < 0.2


class TestSearch:
    @pytest.mark.parametrize("drops", [False, True])
    @pytest.mark.parametrize("seed", range(4))
    def test_is_what_one_finds_walk_by_walk(self, seed: int, drops: bool) -> None:
        distances, probes, gallery, dropped = problem(seed)
        found = search(distances, probes, gallery, dropped if drops else None)
        lacking = 0
        for row, probe in enumerate(probes):
            kept = [column for column in range(len(gallery)) if not (drops and dropped[row, column])]
            kept.sort(key=lambda column, row=row: (distances[row, column], column))
            right = [place for place, column in enumerate(kept) if gallery[column] == probe]
            wrong = [column for column in kept if gallery[column] != probe]
            assert found.other[row] == distances[row, wrong[0]]
            if not right:
                lacking += 1
                assert found.first[row] == -1
                assert np.isnan([found.precision[row], found.inverse[row]]).all()
                assert found.own[row] == np.inf
                continue
            assert found.first[row] == right[0]
            assert found.own[row] == distances[row, kept[right[0]]]
            precisions = [number / (place + 1) for number, place in enumerate(right, 1)]
            assert found.precision[row] == pytest.approx(np.mean(precisions))
            assert found.inverse[row] == pytest.approx(precisions[-1])
        assert 0 < lacking < len(probes)

    def test_a_perfect_gallery_is_perfect(self) -> None:
        people = np.arange(6)
        found = search(1.0 - np.eye(6), people, people)
        assert (found.first == 0).all()
        assert (found.precision == 1).all()
        assert (found.inverse == 1).all()


def test_cumulative_matches_count_those_who_are_lacking_as_failed() -> None:
    np.testing.assert_allclose(cmc(np.array([0, 2, -1, 0, 7]), 4), [0.4, 0.4, 0.6, 0.6])


class TestOpenSet:
    def test_threshold_lets_through_what_the_rate_allows(self) -> None:
        own = np.array([1.0, 2.0, 3.0, 4.0, np.inf, 0.5, 6.0, 7.0, 8.0, 9.0])
        other = np.array([5.0, 5.0, 2.5, 5.0, 0.1, 5.0, 7.0, 6.5, 9.0, 9.5])
        # One alarm in ten: 0.1. The next stranger is at 2.5, so what is below that is accepted: 1, 2 and 0.5.
        assert false_negatives(own, other, 0.1) == pytest.approx(6 / 9)
        # None: nothing below 0.1 is accepted.
        assert false_negatives(own, other, 0.0) == 1.0

    @pytest.mark.parametrize("rate", [0.01, 0.1, 0.5])
    def test_is_the_best_of_all_thresholds(self, rate: float) -> None:
        rng = np.random.default_rng(3)
        own, other = rng.normal(1, 0.3, 300), rng.normal(2, 0.4, 300)
        best = 1.0
        for threshold in np.concatenate([own, other]) + 1e-12:
            if np.mean(other <= threshold) <= rate:
                best = min(best, 1 - np.mean((own < other) & (own <= threshold)))
        assert false_negatives(own, other, rate) == pytest.approx(best)

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


class TestReranked:
    @staticmethod
    def twin(distances: Doubles, probes: int, k1: int, k2: int, weight: float) -> Doubles:
        scaled = distances / distances.max(axis=1, keepdims=True)
        order = np.argsort(scaled, axis=1, kind="stable")

        def mutual(i: int, k: int) -> set[int]:
            return {j for j in order[i, : k + 1].tolist() if i in order[j, : k + 1]}

        encoding = np.zeros_like(scaled)
        for i in range(len(scaled)):
            base = mutual(i, k1)
            members = set(base)
            for q in base:
                others = mutual(q, int(np.around(k1 / 2)))
                if len(others & base) > 2 / 3 * len(others):
                    members |= others
            chosen = sorted(members)
            encoding[i, chosen] = np.exp(-scaled[i, chosen]) / np.exp(-scaled[i, chosen]).sum()
        encoding = np.stack([encoding[row[:k2]].mean(axis=0) for row in order])
        least = np.minimum(encoding[:probes, None], encoding[None, probes:]).sum(axis=2)
        jaccard = 1 - least / np.maximum(encoding[:probes, None], encoding[None, probes:]).sum(axis=2)
        result: Doubles = (1 - weight) * jaccard + weight * scaled[:probes, probes:]
        return result

    @pytest.mark.parametrize(("k1", "k2", "weight"), [(6, 6, 0.3), (20, 6, 0.3), (5, 1, 0.0), (60, 3, 0.9)])
    def test_follows_the_paper(self, k1: int, k2: int, weight: float) -> None:
        rng = np.random.default_rng(5)
        points = rng.normal(size=(45, 4)) + np.repeat(rng.normal(size=(9, 4)), 5, axis=0)
        distances = np.linalg.norm(points[:, None] - points, axis=2)
        found = reranked(distances, 12, k1, k2, weight)
        np.testing.assert_allclose(found, self.twin(distances, 12, k1, k2, weight), atol=1e-12)


def test_cells_are_averaged_over_the_gallery_first() -> None:
    table = np.array([[1.0, np.nan, 0.5], [0.0, np.nan, np.nan], [np.nan, np.nan, np.nan]])
    np.testing.assert_allclose(row_means(table), [0.75, 0.0, np.nan])
    assert means_of(table) == pytest.approx(0.375)
    assert np.isnan(means_of(table[2:]))
    np.testing.assert_allclose(means_of(np.stack([table, table + 1])), [0.375, 1.375])
    np.testing.assert_allclose(cells(np.array([3.0, 0.0]), np.array([4.0, 0.0])), [0.75, np.nan])


def test_people_are_drawn_with_all_their_walks() -> None:
    rng = np.random.default_rng(2)
    counts = rng.integers(0, 3, (8, 3, 4)).astype(np.float64)
    sums = counts * rng.random((8, 3, 4))

    def mean(chosen: Sequence[int]) -> float:
        table = [[np.nan] * 4 for _ in range(3)]
        for i in range(3):
            for j in range(4):
                if number := sum(counts[person, i, j] for person in chosen):
                    table[i][j] = sum(sums[person, i, j] for person in chosen) / number
        return float(np.nanmean([np.nanmean(row) for row in table]))

    value, low, high = mean_with_interval(sums, counts, times=60)
    assert value == pytest.approx(mean(range(8)))
    assert (low, high) == pytest.approx(bootstrap(range(8), mean, times=60))


def test_many_people_are_drawn_in_blocks() -> None:
    people = 20_000
    sums = (np.arange(people) % 5 == 0).astype(np.float64)[:, None, None]
    value, low, high = mean_with_interval(sums, np.ones((people, 1, 1)), times=120)
    deviation = np.sqrt(0.2 * 0.8 / people)
    assert value == 0.2
    assert (low, high) == pytest.approx((0.2 - 1.96 * deviation, 0.2 + 1.96 * deviation), abs=0.7 * deviation)
