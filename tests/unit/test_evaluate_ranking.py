"""Rankings against slow twins that follow the formulas word for word."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from app.lab.evaluation.bootstrap import Doubles
from app.lab.evaluation.ranking import cells, cmc, mean_with_interval, means_of, reranked, row_means, search
from app.types import Bools, Ints
from tests.benchmarks.bootstrap import bootstrap


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

    figure = mean_with_interval(sums, counts, times=60)
    assert figure.value == pytest.approx(mean(range(8)))
    assert (figure.low, figure.high) == pytest.approx(bootstrap(range(8), mean, times=60))


def test_many_people_are_drawn_in_blocks() -> None:
    people = 20_000
    sums = (np.arange(people) % 5 == 0).astype(np.float64)[:, None, None]
    figure = mean_with_interval(sums, np.ones((people, 1, 1)), times=120)
    deviation = np.sqrt(0.2 * 0.8 / people)
    assert figure.value == 0.2
    assert (figure.low, figure.high) == pytest.approx(
        (0.2 - 1.96 * deviation, 0.2 + 1.96 * deviation), abs=0.7 * deviation
    )
