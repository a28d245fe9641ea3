"""The best assignment: exact on small cases, never two tracks of one person in a frame, and quick on large ones."""

from __future__ import annotations

import subprocess
import sys
from itertools import product

import numpy as np
import pytest

import app.recognise.assignment as module
from app.recognise.assignment import NOBODY, assign
from app.recognise.covisible import covisible, visibility
from app.types import Ints


def drawn(tracks: int, at_once: int, random: np.random.Generator, gaps: float = 0.1) -> list[Ints]:
    """Tracks of about 100 frames, some of them missing, of which about `at_once` are in view at a time."""
    starts = np.sort(random.integers(0, tracks * 100 // at_once, tracks))
    return [
        start + np.flatnonzero(np.append(True, random.random(length) > gaps))
        for start, length in zip(starts, random.integers(50, 150, tracks), strict=True)
    ]


def need_allowed(columns: Ints, frames: list[Ints], table: np.ndarray, threshold: float | None) -> None:
    """Check that nobody has two tracks in one frame, and that no distance is beyond the threshold."""
    for moment in visibility(frames):
        found = columns[moment]
        found = found[found != NOBODY]
        assert len(np.unique(found)) == len(found)
    named = np.flatnonzero(columns != NOBODY)
    if threshold is not None:
        assert (table[named, columns[named]] <= threshold).all()


def value(columns: Ints, table: np.ndarray, threshold: float | None) -> tuple[int, float]:
    """What is to be small: in a closed set the walks without a name come first, then the distances."""
    named = np.flatnonzero(columns != NOBODY)
    chosen = table[named, columns[named]]
    return (0, float((chosen - threshold).sum())) if threshold is not None else (-len(named), float(chosen.sum()))


def best(table: np.ndarray, frames: list[Ints], threshold: float | None) -> tuple[int, float]:
    """The smallest `value`, found by trying everything."""
    together = covisible(frames)
    found = (0, 0.0)
    for given in product(range(-1, table.shape[1]), repeat=len(table)):
        columns = np.array(given)
        same = together & (columns[:, None] == columns) & (columns != NOBODY)
        named = np.flatnonzero(columns != NOBODY)
        if same.any() or (threshold is not None and (table[named, columns[named]] > threshold).any()):
            continue
        found = min(found, value(columns, table, threshold))
    return found


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("how", ["as it is", "in halves", "from the nearest alone", "out of work"])
def test_small_cases_are_solved_as_well_as_trying_everything_does(
    how: str, closed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if how == "in halves":
        monkeypatch.setattr(module, "_LARGEST", 3)
    if how == "from the nearest alone":
        monkeypatch.setattr(module, "_NEAREST", 1)
        monkeypatch.setattr(module, "_MORE", 1)
    if how == "out of work":
        monkeypatch.setattr(module, "_WORK", 0)
    random = np.random.default_rng(0)
    for _ in range(15):
        tracks, people = int(random.integers(2, 6)), int(random.integers(1, 4))
        table = random.random((tracks, people)) * 10.0 ** random.integers(-2, 3)
        frames = [np.sort(random.choice(8, random.integers(1, 5), replace=False)) for _ in range(tracks)]
        threshold = None if closed else 0.6 * float(table.max())
        found = assign(table, visibility(frames), threshold)
        need_allowed(found.columns, frames, table, threshold)
        count, cost = best(table, frames, threshold)
        assert value(found.columns, table, threshold) == (count, pytest.approx(cost, abs=1e-6 * table.max()))
        assert found.shortfall == 0


@pytest.mark.parametrize("closed", [False, True])
def test_a_large_video_is_proven_and_nobody_is_in_two_places(closed: bool) -> None:
    random = np.random.default_rng(1)
    frames = drawn(600, 30, random)
    table = random.random((600, 200))
    found = assign(table, visibility(frames), None if closed else 0.5)
    need_allowed(found.columns, frames, table, None if closed else 0.5)
    assert (found.columns != NOBODY).all()
    assert found.shortfall == 0
    each = table[np.arange(600), found.columns].sum()
    assert table.min(axis=1).sum() <= each <= 2 * table.min(axis=1).sum()


def test_what_could_not_be_proven_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """More people in view than the gallery has, all equally likely: the relaxation cuts tracks in pieces."""
    random = np.random.default_rng(2)
    frames = drawn(60, 20, random)
    table = random.random((60, 12))
    proven = assign(table, visibility(frames), 0.7)
    monkeypatch.setattr(module, "_EXACT", 0)
    monkeypatch.setattr(module, "_WORK", 0)
    found = assign(table, visibility(frames), 0.7)
    need_allowed(found.columns, frames, table, 0.7)
    worst, better = -value(found.columns, table, 0.7)[1], -value(proven.columns, table, 0.7)[1]
    assert 0 < found.shortfall < 1
    assert worst <= better <= worst * (1 + found.shortfall) + 1e-9


def test_nothing_is_loaded_for_a_video_in_which_there_is_nothing_to_solve() -> None:
    code = (
        "import sys, numpy as np\n"
        "from app.recognise.judge import Judge\n"
        "from app.recognise.matching import match\n"
        "frames = [np.arange(5), np.arange(3, 9), np.arange(7, 12)]\n"
        "match(np.array([[1.0, 2], [2, 1], [1, 3]]), frames, ['a', 'b'], 1.5)\n"
        "print([name for name in sys.modules if name.startswith('scipy')])"
    )
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert printed.strip() == "[]"
