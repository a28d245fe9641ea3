"""The figures of the trainings, against slow twins and cases worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from app.lab.evaluation.metrics import Matches, Scored, keypoint_hits, mask_ious, match, matched, pck
from app.types import Floats
from tests.benchmarks.bootstrap import bootstrap

NOBODY = np.zeros((0, 4), np.float32)


def joined(detections: list[Scored], truth: list[Floats], ignore: list[Floats]) -> Matches:
    return Matches.joined(matched(detections, truth, ignore))


def boxes(*rows: tuple[float, ...]) -> Floats:
    return np.array(rows, np.float32).reshape(-1, 4)


def scores(*values: float) -> Floats:
    return np.array(values, np.float32)


A, B, C = (0, 0, 10, 20), (30, 0, 40, 20), (60, 0, 70, 20)
AWAY = (200, 200, 210, 220)


# Detection


def test_each_person_is_found_once_by_the_best_detection() -> None:
    found = match((boxes(A, A, B), scores(0.5, 0.9, 0.3)), boxes(A, B), NOBODY)
    assert found.scores.tolist() == scores(0.9, 0.5, 0.3).tolist()
    assert found.hits.tolist() == [True, False, True]
    assert found.people == 2


def test_a_second_detection_may_have_the_neighbour() -> None:
    truth = boxes((0, 0, 10, 20), (2, 0, 12, 20))
    found = match((boxes((0, 0, 10, 20), (1, 0, 11, 20)), scores(0.9, 0.8)), truth, NOBODY)
    assert found.hits.tolist() == [True, True]


def test_the_overlap_decides() -> None:
    shifted = boxes((0, 5, 10, 25))  # 150 of 250: 0.6
    assert match((shifted, scores(1)), boxes(A), NOBODY, 0.6).hits.all()
    assert not match((shifted, scores(1)), boxes(A), NOBODY, 0.61).hits.any()


def test_only_what_is_nobodys_and_mostly_in_an_ignored_region_does_not_count() -> None:
    region = boxes((100, 0, 200, 100))
    detections = boxes((94, 10, 106, 30), (95, 40, 107, 60), (150, 50, 160, 70))  # half, more than half, inside
    assert match((detections, scores(0.9, 0.8, 0.7)), boxes(A), region).scores.tolist() == scores(0.9).tolist()
    inside = boxes((150, 50, 160, 70))
    assert match((inside, scores(0.7)), inside, region).hits.tolist() == [True]


def test_recall_at_precision_by_hand() -> None:
    # By falling score: hit, miss, hit, hit, hit, miss: precision 1, 1/2, 2/3, 3/4, 4/5, 4/6.
    first = (boxes(A, AWAY, B, C), scores(0.9, 0.8, 0.7, 0.6))
    second = (boxes(A, AWAY), scores(0.5, 0.4))
    truth = [boxes(A, B, C), boxes(A, B)]
    recall, threshold = joined([first, second], truth, [NOBODY, NOBODY]).best_recall()
    assert (recall, threshold) == (pytest.approx(4 / 5), pytest.approx(0.5))
    recall, threshold = joined([first, second], truth, [NOBODY, NOBODY]).best_recall(precision=0.9)
    assert (recall, threshold) == (pytest.approx(1 / 5), pytest.approx(0.9))


def test_detections_of_one_score_come_together() -> None:
    found = (boxes(A, AWAY), scores(0.5, 0.5))
    assert joined([found], [boxes(A)], [NOBODY]).best_recall() == (0.0, math.inf)
    assert joined([found], [boxes(A)], [NOBODY]).best_recall(precision=0.5) == (1.0, 0.5)


def test_no_detections_and_nobody() -> None:
    nothing = (NOBODY, scores())
    assert joined([nothing], [boxes(A)], [NOBODY]).best_recall() == (0.0, math.inf)
    assert joined([nothing], [boxes(A)], [NOBODY]).average_precision() == 0.0
    with pytest.raises(ValueError, match="nobody"):
        joined([(boxes(A), scores(1))], [NOBODY], [NOBODY]).best_recall()


def test_average_precision_by_hand() -> None:
    found = (boxes(A, AWAY, B), scores(0.9, 0.8, 0.7))  # precision 1 to recall 1/2, then 2/3 to 1
    assert joined([found], [boxes(A, B)], [NOBODY]).average_precision() == pytest.approx(0.5 + 0.5 * 2 / 3)


def test_precision_and_recall_at_a_score() -> None:
    found = match((boxes(A, AWAY, B), scores(0.9, 0.8, 0.5)), boxes(A, B, C), NOBODY)
    assert found.at(0.5) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert found.at(0.85) == (1.0, pytest.approx(1 / 3))
    precision, recall = found.at(0.95)
    assert math.isnan(precision)
    assert recall == 0.0


def slow_recall(pictures: list[tuple[Floats, Floats, Floats, Floats]], precision: float) -> tuple[float, float]:
    """The definition: each score is tried as the threshold, with loops and plain numbers."""
    best = (0.0, math.inf)
    for threshold in sorted({float(s) for _, given, _, _ in pictures for s in given}, reverse=True):
        hits = counted = people = 0
        for found, given, truth, ignore in pictures:
            free = [tuple(map(float, person)) for person in truth]
            people += len(free)
            for row in sorted(range(len(given)), key=lambda i, given=given: -given[i]):
                if given[row] < threshold:
                    continue
                box = tuple(map(float, found[row]))
                near = [person for person in free if shared(box, person)[1] >= 0.5]
                if near:
                    free.remove(max(near, key=lambda person, box=box: shared(box, person)[1]))
                    hits += 1
                elif any(shared(box, tuple(map(float, region)))[0] > 0.5 for region in ignore):
                    continue
                counted += 1
        if counted and hits / counted >= precision and hits / people >= best[0]:
            best = (hits / people, threshold)
    return best


def shared(box: tuple[float, ...], other: tuple[float, ...]) -> tuple[float, float]:
    """The common area as a share of the first box and of the union."""
    width = max(0.0, min(box[2], other[2]) - max(box[0], other[0]))
    height = max(0.0, min(box[3], other[3]) - max(box[1], other[1]))
    first, second = ((b[2] - b[0]) * (b[3] - b[1]) for b in (box, other))
    return width * height / first, width * height / (first + second - width * height)


@pytest.mark.parametrize("seed", range(6))
def test_recall_is_that_of_its_slow_twin(seed: int) -> None:
    rng = np.random.default_rng(seed)

    def some(count: int) -> Floats:
        corners = rng.integers(0, 60, (count, 2))
        return np.hstack([corners, corners + rng.integers(8, 30, (count, 2))]).astype(np.float32)

    pictures = []
    for _ in range(8):
        truth = some(4)
        near = truth + rng.integers(-2, 3, (4, 4))
        found = np.concatenate([near, some(3)]).astype(np.float32)
        given = np.round(np.concatenate([rng.uniform(0.3, 1, 4), rng.uniform(0, 0.8, 3)]), 1).astype(np.float32)
        pictures.append((found, given, truth, some(1)))
    columns = [list(column) for column in zip(*pictures, strict=True)]
    for precision in (0.6, 0.8, 0.95):
        matches = joined(list(zip(columns[0], columns[1], strict=True)), columns[2], columns[3])
        assert matches.best_recall(precision) == pytest.approx(slow_recall(pictures, precision))


# Masks


def test_masks_by_hand() -> None:
    left, all_ = np.zeros((4, 4), np.bool_), np.ones((4, 4), np.bool_)
    left[:, :2] = True
    none = np.zeros((4, 4), np.bool_)
    assert mask_ious([left, left, none, none], [all_, ~left, left, none]).tolist() == [0.5, 0.0, 0.0, 1.0]


# Keypoints


def test_pck_by_hand() -> None:
    truth = np.zeros((2, 17, 3), np.float32)
    truth[0, :, 2] = 2
    truth[1, 15:, 2] = 1
    predicted = truth[..., :2].copy()
    predicted[0, 0] = (6, 8)  # 10 px, just a tenth of 100
    predicted[0, 1] = (0, 10.5)
    predicted[1, 15] = (0, 21)
    predicted[1, 0] = (1000, 0)  # not labelled
    heights = np.array([100, 200], np.float32)
    assert pck(predicted, truth, heights) == pytest.approx((17 / 19, 0.75))
    assert keypoint_hits(predicted, truth, heights)[0, :2].tolist() == [1.0, 0.0]


def test_pck_of_what_nobody_has_is_nan() -> None:
    truth = np.zeros((1, 17, 3), np.float32)
    truth[0, 5, 2] = 2
    found = pck(truth[..., :2], truth, np.array([50], np.float32))
    assert found.overall == 1.0
    assert math.isnan(found.ankles)
    assert math.isnan(pck(truth[:0, :, :2], truth[:0], np.zeros(0, np.float32)).overall)


def test_hits_are_those_of_their_slow_twin() -> None:
    rng = np.random.default_rng(0)
    truth = rng.uniform(0, 100, (20, 17, 3)).astype(np.float32)
    truth[..., 2] = rng.integers(0, 3, (20, 17))
    predicted = (truth[..., :2] + rng.normal(0, 5, (20, 17, 2))).astype(np.float32)
    heights = rng.uniform(40, 90, 20).astype(np.float32)
    hits = keypoint_hits(predicted, truth, heights, share=0.08)
    for person in range(20):
        for point in range(17):
            x, y, seen = truth[person, point].tolist()
            off = math.hypot(predicted[person, point, 0] - x, predicted[person, point, 1] - y)
            assert (
                math.isnan(hits[person, point]) if seen == 0 else hits[person, point] == (off <= 0.08 * heights[person])
            )


# Bootstrap


def test_the_interval_of_a_mean_is_the_textbooks() -> None:
    values = np.random.default_rng(3).normal(5, 2, 400).tolist()
    low, high = bootstrap(values, lambda sample: float(np.mean(sample)), times=2000)
    half = 1.96 * np.std(values) / math.sqrt(400)
    assert low == pytest.approx(np.mean(values) - half, abs=0.03)
    assert high == pytest.approx(np.mean(values) + half, abs=0.03)


def test_the_draws_are_those_of_the_seed_and_whole_units() -> None:
    units = [(1, 1), (2, 2), (9, 9)]

    def total(sample: list[tuple[int, int]]) -> float:
        assert all(unit in units for unit in sample)
        assert len(sample) == 3
        return float(sum(first for first, _ in sample))

    assert bootstrap(units, total, seed=1) == bootstrap(units, total, seed=1)
    assert bootstrap([4, 4], lambda sample: float(np.mean(sample))) == (4.0, 4.0)
    wide, narrow = (bootstrap(units, total, level=level) for level in (0.99, 0.5))
    assert wide[1] - wide[0] > narrow[1] - narrow[0]


def test_nothing_has_no_interval() -> None:
    with pytest.raises(ValueError, match="at least one"):
        bootstrap([], lambda sample: 0.0)
