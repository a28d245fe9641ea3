"""Open-set identification and the reliability of probabilities, on small cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from app.gallery.distances import part_distances
from app.lab.evaluation.calibrate import calibrate
from app.lab.evaluation.pairs import Pairs, fit_scores
from app.lab.evaluation.reliability import Claims, random_searches
from app.types import Floats
from tests.benchmarks.openset import log_loss, nearest_walks, open_set


def people_around_centres(count: int, noise: float, seed: int) -> tuple[Floats, list[str], list[str]]:
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((count, 1, 2, 6))
    features = (centres + noise * rng.standard_normal((count, 6, 2, 6))).reshape(-1, 2, 6).astype(np.float32)
    names = [f"{person:03d}" for person in range(count) for _ in range(6)]
    return features, names, [str(walk) for _ in range(count) for walk in range(6)]


class TestNearest:
    def test_takes_each_persons_nearest_walk(self) -> None:
        table = nearest_walks(np.array([[3.0, 1.0, 2.0], [5.0, 6.0, 0.5]]), np.array([0, 0, 2]), 3)
        assert table.tolist() == [[1.0, np.inf, 2.0], [5.0, np.inf, 0.5]]

    def test_leaves_out_what_is_dropped(self) -> None:
        dropped = np.array([[False, True, False]])
        assert nearest_walks(np.array([[3.0, 1.0, 2.0]]), np.array([0, 0, 1]), 2, dropped).tolist() == [[3.0, 2.0]]


class TestOpenSet:
    def test_people_told_apart_are_all_found(self) -> None:
        people = np.repeat(np.arange(20), 5)
        table = np.where(people[:, None] == np.arange(20), 0.1, 1.0) + 0.001 * np.arange(100)[:, None] / 100
        assert [rate.value for rate in open_set(table, people)] == [0.0, 0.0, 0.0]

    def test_chance_finds_nobody(self) -> None:
        rng = np.random.default_rng(0)
        found = open_set(rng.random((400, 20)), np.repeat(np.arange(20), 20))
        assert found[0].value > 0.95
        assert found[-1].value == pytest.approx(0.5, abs=0.05)

    def test_the_threshold_is_that_of_the_strangers(self) -> None:
        """Everybody's nearest is right. Strangers come as near as 1.0, known people are 0.5 or 1.5 away."""
        people = np.arange(40)
        table = np.full((40, 40), 1.0) + 0.001 * np.arange(40)[:, None]
        table[people, people] = np.where(people % 2, 0.5, 0.9)
        assert open_set(table, people)[0].value == 0.0
        table[people, people] = np.where(people % 2, 0.5, 0.995)
        table -= np.where(np.eye(40, dtype=bool), 0.0, 0.1)  # now strangers come nearer than the even ones
        assert open_set(table, people, draws=200)[0].value == pytest.approx(0.5, abs=0.03)

    def test_repeats_and_interval(self) -> None:
        rng = np.random.default_rng(1)
        people = np.repeat(np.arange(20), 10)
        table = rng.random((200, 20)) + 0.5
        table[np.arange(200), people] -= 0.4
        first, second = open_set(table, people), open_set(table, people)
        assert first == second
        rare, usual, _ = first
        assert usual.low <= usual.value <= usual.high
        assert usual.value <= rare.value


class TestClaims:
    def test_bins_and_error(self) -> None:
        claims = Claims(np.array([0.05, 0.15, 0.15, 1.0]), np.array([False, False, True, True]), np.full(4, 2))
        assert np.array(claims.bins()) == pytest.approx(np.array([[0.05, 0.0, 1], [0.15, 0.5, 2], [1.0, 1.0, 1]]))
        assert claims.error() == pytest.approx((0.05 + 2 * 0.35) / 4)

    def test_log_loss(self) -> None:
        claims = Claims(np.array([0.5, 0.25]), np.array([True, False]), np.full(2, 1))
        assert log_loss(claims) == pytest.approx(-(np.log(0.5) + np.log(0.75)) / 2)

    def test_probabilities_of_strangers_and_known_people_hold(self) -> None:
        """Learnt from some people, said of others, in galleries of 1 to 25."""
        features, names, recordings = people_around_centres(56, 0.9, seed=0)
        found = calibrate(features, names, recordings, model_id="net", metric="euclidean", data="drawn")
        assert found.claims is not None
        assert set(found.claims.size.tolist()) == {1, 4, 10, 25}
        assert found.claims.error() < 0.06
        for stated, true, count in found.claims.bins():
            if count > 200:
                assert true == pytest.approx(stated, abs=0.12)

    def test_scores_of_an_easier_place_are_found_out(self) -> None:
        easy, names, recordings = people_around_centres(40, 0.3, seed=1)
        hard, _, _ = people_around_centres(40, 0.9, seed=2)
        scores = fit_scores(
            Pairs.of(easy, names, recordings, "euclidean"), model_id="net", metric="euclidean", data="easy"
        )
        people = np.array([int(name) for name in names])
        off = [
            random_searches(scores, part_distances(walks, walks), people, recordings, count=300).error()
            for walks in (easy, hard)
        ]
        assert off[0] < 0.05 < 0.1 < off[1]


class TestCalibrate:
    def test_too_few_people_to_check(self) -> None:
        found = calibrate(*people_around_centres(12, 0.5, 0), model_id="net", metric="euclidean", data="few")
        assert found.claims is None
        assert found.scores.people == 12

    def test_of_many_walks_as_many_of_everybody_are_drawn(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("app.lab.evaluation.calibrate.MOST_WALKS", 60)
        found = calibrate(*people_around_centres(12, 0.5, 0), model_id="net", metric="euclidean", data="many")
        assert found.scores.pairs[1] == 12 * 11 // 2 * 5**2
