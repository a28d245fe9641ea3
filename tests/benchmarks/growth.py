"""Where it breaks as it grows: ``OMP_NUM_THREADS=1 python -m tests.benchmarks.growth``.

Made-up tracks and distances, each case in a process of its own: the processor's time and the peak of memory, with what
the process had before. `crowd` names tracks of a video in which so many people are in view at once. The distances are
those of a good network (`fair`) or pure chance (`chance`); the set is open, with the 5 % nearest pairs accepted, loose,
with all of them accepted, or closed. `ten hours` finds who is in view together in a video of 25 frames a second.
`ten thousand enrolled` opens a gallery file of so many people and names five walks.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from app.gallery.sqlite import SqliteGallery
from app.gallery.store import NewWalk
from app.recognise.assignment import NOBODY, assign
from app.recognise.covisible import covisible, visibility
from app.recognise.judge import Judge
from app.settings import MatchSettings
from app.types import Embedding, Ints, ModelCard, Track

CASES = (
    # tracks, people, in view at once, distances, set
    (300, 100, 40, "chance", "open"),
    (1000, 1000, 40, "fair", "loose"),
    (5000, 1000, 40, "fair", "open"),
    (5000, 1000, 40, "fair", "loose"),
    (5000, 1000, 40, "fair", "closed"),
    (5000, 1000, 40, "chance", "loose"),
    (5000, 1000, 200, "fair", "open"),
    (300, 100, 90, "chance", "loose"),
    (300, 30, 40, "chance", "loose"),
    # as many in view at once as there are people
    (300, 300, 300, "fair", "open"),
    (300, 300, 300, "chance", "loose"),
    (1000, 1000, 1000, "fair", "open"),
    (1000, 1000, 1000, "fair", "loose"),
)


def drawn(tracks: int, at_once: int, length: int, random: np.random.Generator) -> list[Ints]:
    """Tracks of about `length` frames, of which a tenth is missing; about `at_once` are in view at a time."""
    starts = np.sort(random.integers(0, max(1, tracks * length // at_once), tracks))
    lengths = random.integers(length // 2, length * 3 // 2, tracks)
    return [
        start + np.flatnonzero(np.append(True, random.random(size) > 0.1))
        for start, size in zip(starts, lengths, strict=True)
    ]


def fair(frames: list[Ints], people: int, random: np.random.Generator) -> np.ndarray:
    """Distances of tracks to people, as a good network gives them; nobody is in two places."""
    table = np.abs(random.normal(1.3, 0.12, (len(frames), people)))
    busy = np.zeros(people, np.int64)
    for row, indices in enumerate(frames):
        free = np.flatnonzero(busy <= indices[0])
        if len(free):
            person = random.choice(free)
            busy[person] = indices[-1] + 1
            table[row, person] = abs(random.normal(0.75, 0.2))
    return table


def crowd(tracks: int, people: int, at_once: int, distances: str, kind: str) -> str:
    random = np.random.default_rng(0)
    frames = drawn(tracks, at_once, 100, random)
    table = fair(frames, people, random) if distances == "fair" else random.random((tracks, people))
    threshold = None if kind == "closed" else float(np.quantile(table, 0.05 if kind == "open" else 1))
    before, started = peak(), time.process_time()
    found = assign(table, visibility(frames), threshold)
    seconds = time.process_time() - started
    named = int((found.columns != NOBODY).sum())
    return f"{seconds:6.2f} s, {peak():4.0f} MB ({before:.0f} before), {named} named, not proven {found.shortfall:.2%}"


def ten_hours() -> str:
    random = np.random.default_rng(0)
    frames = drawn(5000, 20, 3600, random)
    before, started = peak(), time.process_time()
    pairs = int(covisible(frames).sum()) // 2
    seconds = time.process_time() - started
    boxes = sum(map(len, frames))
    return f"{seconds:6.2f} s, {peak():4.0f} MB ({before:.0f} before), {boxes:,} boxes, {pairs:,} pairs seen together"


def enrolled() -> str:
    random = np.random.default_rng(0)

    def embedding() -> Embedding:
        parts = random.normal(0, 1, (16, 128)).astype(np.float32)
        return Embedding(parts / np.linalg.norm(parts, axis=1, keepdims=True), "drawn", 30)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "gallery.db"
        with SqliteGallery(path) as gallery:
            for number in range(10_000):
                gallery.enrol(f"person {number}", [NewWalk(embedding(), "drawn")], consent="drawn")
        before, started = peak(), time.process_time()
        with SqliteGallery(path) as gallery:
            judge = Judge.of(gallery, ModelCard("gait", "drawn", "weight-free", "Apache-2.0"), MatchSettings())
            opened = time.process_time() - started
            tracks = [
                Track(i, np.arange(50), np.ones((50, 4), np.float32), np.ones(50, np.float32)) for i in range(1, 6)
            ]
            judge.decide([embedding() for _ in tracks], tracks)
        seconds = time.process_time() - started
    return f"{seconds:6.2f} s, {peak():4.0f} MB ({before:.0f} before), {opened:.2f} s of it to open"


def peak() -> float:
    """Megabytes that this process had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


OTHERS: tuple[tuple[str, Callable[[], str]], ...] = (("ten hours", ten_hours), ("ten thousand enrolled", enrolled))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", type=int, help="only this case, in this process")
    case = parser.parse_args().case
    if case is not None:
        print(crowd(*CASES[case]) if case < len(CASES) else OTHERS[case - len(CASES)][1]())
        return
    for number in range(len(CASES) + len(OTHERS)):
        command = [sys.executable, "-m", "tests.benchmarks.growth", "--case", str(number)]
        if number >= len(CASES):
            name = OTHERS[number - len(CASES)][0]
        else:
            name = "{:,} tracks, {:,} people, {} at once, {}, {}".format(*CASES[number])
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        print(f"{name:55}{printed.strip()}", flush=True)


if __name__ == "__main__":
    main()
