"""Who is who."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.recognise.covisible import covisible
from app.recognise.judge import Decision
from app.recognise.matching import Agreement, agreement, confidence, identity_distances, match
from app.results.report import video_report
from app.types import Candidate, Match, VideoInfo
from app.walks.analysed import AnalysedVideo
from tests.unit.test_assignment import drawn

TOGETHER = np.arange(10)


def best_by_trying_all(table: np.ndarray, frames: list[Any], threshold: float) -> float:
    """The smallest sum of (distance - threshold) over every allowed assignment."""
    together = covisible(frames)
    best = 0.0
    for given in product(range(-1, table.shape[1]), repeat=len(table)):
        named = [row for row, column in enumerate(given) if column >= 0]
        if any(table[row, given[row]] > threshold for row in named):
            continue
        if any(together[a, b] and given[a] == given[b] for a in named for b in named):
            continue
        best = min(best, sum(table[row, given[row]] - threshold for row in named))
    return best


def test_the_assignment_is_the_best_of_all() -> None:
    rng = np.random.default_rng(0)
    for trial in range(60):
        tracks, people = int(rng.integers(2, 6)), int(rng.integers(1, 4))
        table = rng.random((tracks, people)).round(3)
        span = 1 if trial % 3 == 0 else 8  # every third: all seen at once
        frames = [np.sort(rng.choice(span, rng.integers(1, min(span, 4) + 1), replace=False)) for _ in range(tracks)]
        names = [f"g-{i}" for i in range(people)]
        matches = match(table, frames, names, 0.6)
        together = covisible(frames)
        for a, b in product(range(tracks), repeat=2):
            if together[a, b]:
                assert matches[a].identity is None or matches[a].identity != matches[b].identity
        found = sum(m.distance - 0.6 for m in matches if m.distance is not None)
        assert all(m.distance is None or m.distance <= 0.6 for m in matches)
        assert found == pytest.approx(best_by_trying_all(table, frames, 0.6), abs=1e-6)


def test_two_people_in_one_frame_never_share_a_name() -> None:
    table = np.array([[1.0, 2.0], [1.1, 1.2]])
    assert [m.identity for m in match(table, [TOGETHER, TOGETHER], ["a", "b"], 5.0)] == ["a", "b"]


def test_the_sum_decides_and_not_the_order() -> None:
    # Greedy would give 'a' to the first track (1.0) and leave 4.0 to the second: 5.0 instead of 3.3.
    table = np.array([[1.0, 2.2], [1.1, 4.0]])
    assert [m.identity for m in match(table, [TOGETHER, TOGETHER], ["a", "b"], 5.0)] == ["b", "a"]


def test_fragments_share_a_name() -> None:
    table = np.array([[1.0, 9.0], [1.1, 9.0]])
    assert [m.identity for m in match(table, [np.arange(5), np.arange(5, 9)], ["a", "b"], 5.0)] == ["a", "a"]


def test_a_stranger_is_rejected_with_a_reason() -> None:
    found = match(np.array([[12.3, 13.0]]), [TOGETHER], ["g-001", "g-002"], 9.8)[0]
    assert found.identity is None
    assert found.reason == "the nearest person, g-001, is at distance 12.3, beyond the threshold 9.80"
    assert found.candidates == (Candidate("g-001", 12.3), Candidate("g-002", 13.0))
    assert confidence(found) == 0


@pytest.mark.parametrize("threshold", [0.5, None])
def test_who_a_walk_is_not_is_never_its_name(threshold: float | None) -> None:
    table, names = np.array([[0.1, 0.3], [0.2, 0.4]]), ["Ann", "Bob"]
    first, second = match(table, [TOGETHER, TOGETHER + 50], names, threshold, denied=[{"Ann"}, {"Ann", "Bob"}])
    assert (first.identity, [candidate.identity for candidate in first.candidates]) == ("Bob", ["Bob"])
    assert (second.identity, second.candidates) == (None, ())
    assert second.reason == "somebody has said that it is none of the people who could be compared"


def test_who_loses_a_name_is_told_to_whom() -> None:
    table = np.array([[2.0, 9.9], [1.0, 9.9]])
    found = match(table, [TOGETHER, TOGETHER], ["g-001", "g-002"], 5.0, track_ids=[7, 4])
    assert found[1].identity == "g-001"
    assert found[0].reason == "g-001 was given to track 4, which is in view at the same time and is nearer"


def test_the_threshold_itself_is_accepted() -> None:
    assert match(np.array([[5.0]]), [TOGETHER], ["a"], 5.0)[0].identity == "a"
    assert [m.identity for m in match(np.array([[5.0, 9], [5.0, 5]]), [TOGETHER] * 2, ["a", "b"], 5.0)] == ["a", "b"]
    assert match(np.array([[5.0]]), [TOGETHER], ["a"], 0.0)[0].identity is None


def test_an_empty_gallery_or_probe() -> None:
    found = match(np.zeros((1, 0)), [TOGETHER], [], 5.0)[0]
    assert (found.identity, found.reason) == (None, "the gallery is empty")
    assert match(np.zeros((0, 2)), [], ["a", "b"], 5.0) == []


def test_an_identity_has_one_candidate_from_its_nearest_walks() -> None:
    distances = np.array([[3.0, 1.0, 2.0, 9.0]])
    names = ["a", "b", "a", "a"]
    assert identity_distances(distances, names).tolist() == [[2.0, 1.0]]
    assert identity_distances(distances, names, neighbours=2).tolist() == [[2.5, 1.0]]
    found = match(distances, [TOGETHER], names, 5.0)[0]
    assert found.candidates == (Candidate("b", 1.0), Candidate("a", 2.0))


def test_confidence_is_half_on_the_border_and_grows_with_the_margin() -> None:
    def named(distance: float, other: float) -> Match:
        candidates = sorted([Candidate("a", distance), Candidate("b", other)], key=lambda c: c.distance)
        return Match(tuple(candidates), "a", distance, 10.0, None)

    assert confidence(named(10, 20)) == 0.5
    assert confidence(named(5, 20)) == pytest.approx(0.8)
    assert confidence(named(0, 20)) == 1
    assert confidence(named(5, 5)) == 0.5
    assert confidence(named(5, 4)) < 0.5
    assert confidence(named(5, 6)) < confidence(named(5, 7)) < confidence(named(4, 7))


def test_many_tracks_are_matched_quickly() -> None:
    rng = np.random.default_rng(1)
    frames = [np.arange(start, start + 60) for start in rng.integers(0, 800, 120)]
    matches = match(rng.random((120, 20)), frames, [f"g-{i}" for i in range(20)], 0.4)
    together = covisible(frames)
    names = np.array([m.identity or str(i) for i, m in enumerate(matches)])
    assert not (together & (names[:, None] == names)).any()


def test_distances_that_are_not_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        match(np.array([[np.nan]]), [TOGETHER], ["a"], 1.0)


def votes(match: Match, pieces: np.ndarray, identities: list[str], neighbours: int = 1) -> Agreement | None:
    table = identity_distances(pieces, identities, neighbours)
    return agreement(match, table, list(dict.fromkeys(identities)))


def test_pieces_vote_each_by_itself() -> None:
    names = ["Ann", "Bob", "Bob"]
    pieces = np.array([[0.1, 0.5, 0.9], [0.4, 0.9, 0.3], [0.2, 0.9, 0.8], [0.5, 0.6, 0.9]])
    (ann,) = match(np.array([[0.3, 0.7, 0.7]]), [TOGETHER], names, 0.6)
    assert ann.identity == "Ann"
    assert votes(ann, pieces, names) == Agreement(3, 4)
    assert votes(ann, pieces, names, neighbours=2) == Agreement(4, 4), "Bob's two walks count together"
    unknown, bob = match(np.array([[0.7, 0.8, 0.9], [0.7, 0.1, 0.2]]), [TOGETHER, TOGETHER], names, 0.6)
    assert unknown.identity is None
    assert votes(unknown, pieces, names) == Agreement(3, 4), "votes for the nearest"
    assert votes(bob, pieces, names) == Agreement(1, 4)


def test_votes_that_say_nothing_are_none() -> None:
    (alone,) = match(np.array([[0.3]]), [TOGETHER], ["Ann"], 0.6)
    assert votes(alone, np.full((3, 1), 0.2), ["Ann"]) is None
    (nobody,) = match(np.zeros((1, 0)), [TOGETHER], [], 0.6)
    assert votes(nobody, np.zeros((3, 0)), []) is None
    (ann,) = match(np.array([[0.3, 0.4]]), [TOGETHER], ["Ann", "Bob"], 0.6)
    assert votes(ann, np.array([[0.3, 0.4]]), ["Ann", "Bob"]) is None, "one piece is the walk"


@pytest.mark.parametrize(("agreeing", "divided"), [(6, False), (5, False), (4, True), (0, True)])
def test_two_thirds_of_the_pieces_are_too_few(agreeing: int, divided: bool) -> None:
    assert Agreement(agreeing, 6).divided == divided


def test_a_crowd_whose_names_are_not_proven_to_be_the_best_says_so(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    import app.recognise.assignment as module

    monkeypatch.setattr(module, "_WORK", 0)
    monkeypatch.setattr(module, "_EXACT", 0)
    random = np.random.default_rng(2)
    frames = drawn(60, 20, random)
    matches = match(random.random((60, 12)), frames, [f"g-{i}" for i in range(12)], 0.7)
    (said,) = caplog.messages
    assert said.startswith("So many people are in view together that there may be a better way to give them names: ")
    assert {one.unproven for one in matches} == {said}
    info = VideoInfo(Path("yard.mp4"), 320, 240, Fraction(25))
    video = AnalysedVideo("yard", info, 20, ("It breaks off.",), (), Path("yard.zip"))
    report = video_report(video, {number: Decision(one.identity, one) for number, one in enumerate(matches)})
    assert report.warnings == ["It breaks off.", said], "results.json says it, too"
