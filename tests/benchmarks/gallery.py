"""Searching large galleries, against FAISS (extra benchmark): ``OMP_NUM_THREADS=1 python -m tests.benchmarks.gallery``.

In memory (--walks), walks are 16 parts of 256 numbers: people as random points, ten walks around each. Three ways
answer the same queries:

- ours: the mean over parts of the parts' distances, exact, from 16-bit numbers;
- FAISS IndexFlatL2 on the 4096 numbers of a walk side by side: ONE Euclidean distance, another ranking;
- FAISS by part: flat distances (`faiss.pairwise_distances`) of each part, their square roots summed. The field's
  distance, as ours, but from float32 products.

Every round runs each of them once; medians of the processor's time are printed, so that the ratios hold on a busy
machine. Both libraries take their threads from OMP_NUM_THREADS.

Galleries that are kept (--stored in files, --postgres) have walks that differ as those of the embedded network do. They
are searched by codes, and the recall against all walks compared exactly is printed. With --milvus galleries in files
are searched again with their index in Milvus, a server of its own, whose processor time is not in ours: Milvus itself
(`pip install milvus`) or milvus-lite. Then even a gallery of fewer walks than `app.gallery.codes.LARGE` is searched by
codes. Forgetting rewrites the whole database either way; --forget-once measures it with Milvus alone.
"""

from __future__ import annotations

import argparse
import math
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import faiss
import numpy as np

import app.gallery.candidates
from app.gallery.codes import LARGE
from app.gallery.distances import part_distances
from app.gallery.opening import open_store
from app.gallery.search import ROWS, WalkIndex
from app.gallery.store import NewWalk, Person, Record
from app.types import Embedding, Floats, Ints

if TYPE_CHECKING:
    from tests.milvus_servers import Server

PARTS, CHANNELS, K = 16, 256, 5


def people(walks: int, seed: int = 0) -> Floats:
    """Ten walks around each person."""
    random = np.random.default_rng(seed)
    found = random.standard_normal((walks, PARTS, CHANNELS), np.float32)
    found *= 0.7
    found += np.repeat(random.standard_normal((-(-walks // 10), PARTS, CHANNELS), np.float32), 10, axis=0)[:walks]
    return found


def probes(walks: Floats, count: int) -> Floats:
    """Further walks of some of these people."""
    random = np.random.default_rng(1)
    noise = random.standard_normal((count, PARTS, CHANNELS), np.float32)
    return np.asarray(walks[random.integers(0, len(walks), count)] + 0.5 * noise, np.float32)


class Ours:
    """The index, over walks that `exact` can give."""

    def __init__(self, walks: Floats) -> None:
        self.walks, self.index = walks, WalkIndex(PARTS, CHANNELS)
        self.index.add(np.arange(len(walks)), walks)

    def search(self, queries: Floats) -> Ints:
        return np.stack([ids for ids, _ in self.index.search(queries, K, "euclidean", lambda ids: self.walks[ids])])

    @property
    def bytes(self) -> int:
        blocks = self.index.blocks
        return sum(array.nbytes for block in blocks for array in (block.codes, block.square, block.error, block.scale))


class SideBySide:
    """FAISS on whole walks."""

    def __init__(self, walks: Floats) -> None:
        self.index: Any = faiss.IndexFlatL2(PARTS * CHANNELS)
        self.index.add(walks.reshape(len(walks), -1))
        self.bytes = walks.nbytes

    def search(self, queries: Floats) -> Ints:
        return np.asarray(self.index.search(queries.reshape(len(queries), -1), K)[1], np.int64)


class ByPart:
    """FAISS on each part."""

    def __init__(self, walks: Floats) -> None:
        self.parts = np.ascontiguousarray(walks.transpose(1, 0, 2))
        self.bytes = self.parts.nbytes

    def search(self, queries: Floats) -> Ints:
        total = np.zeros((len(queries), self.parts.shape[1]), np.float32)
        for part, x in zip(self.parts, queries.transpose(1, 0, 2), strict=True):
            square = faiss.pairwise_distances(np.ascontiguousarray(x), part)
            total += np.sqrt(np.maximum(square, 0, out=square), out=square)
        nearest = np.argpartition(total, K - 1)[:, :K]
        order = np.take_along_axis(total, nearest, 1).argsort(1)
        return np.asarray(np.take_along_axis(nearest, order, 1), np.int64)


def seconds(act: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    start = clock()
    act()
    return clock() - start


def report(name: str, queries: int, times: dict[str, float], sizes: dict[str, int]) -> None:
    ours = times["ours"]
    for way, took in times.items():
        size = f"{sizes[way] / 1e6:9.1f} MB" if way in sizes else 12 * " "
        print(
            f"{name:>9} walks, {queries:3} at once  {way:18} {queries / took:10.1f} queries/s"
            f"  {took / ours:5.2f} x our time  {size}",
            flush=True,
        )


def in_memory(walks: int, rounds: int) -> None:
    """All three, with everything in memory."""
    data = people(walks)
    ways: dict[str, Ours | SideBySide | ByPart] = {
        "ours": Ours(data),
        "FAISS side by side": SideBySide(data),
        "FAISS by part": ByPart(data),
    }
    sizes = {name: way.bytes for name, way in ways.items()}
    for count in (1, 64):
        queries = probes(data, count)
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, way in ways.items():
                times[name].append(seconds(partial(way.search, queries), time.process_time))
        report(f"{walks:,}", count, {name: statistics.median(each) for name, each in times.items()}, sizes)
    some = probes(data, 8)
    truth = part_distances(some, data).argsort(1, kind="stable")[:, :K]
    for name, way in ways.items():
        same = (way.search(some) == truth).mean()
        print(f"{walks:>9,} walks: {name} finds {same:.1%} of the nearest {K} that float64 finds, in their order")


class Recorded:
    """Walks that differ as those of the embedded gait network do: 16 parts of 128 numbers, 100 walks of each person.

    The variance along the j-th principal component falls as (j + 8) ** -2.8, and a quarter of it lies within people. So
    it was measured on 800 walks of 50 virtual walkers.
    """

    shape, own = (16, 128), 0.26

    def __init__(self) -> None:
        size = math.prod(self.shape)
        spread = (np.arange(1, size + 1) + 8.0) ** -1.4
        turned = np.linalg.qr(np.random.default_rng(0).standard_normal((size, size), np.float32))[0]
        self.turned = (turned * spread[:, None]).astype(np.float32)

    def people(self, first: int, count: int) -> Iterator[Floats]:
        """Yield the walks of each person, float32 (100, 16, 128)."""
        for number in range(first, first + count):
            random = np.random.default_rng([1, number])
            middle = random.standard_normal(len(self.turned), np.float32) * math.sqrt(1 - self.own)
            yield self._walks(middle + math.sqrt(self.own) * random.standard_normal((100, len(middle)), np.float32))

    def probes(self, people: int, count: int) -> Floats:
        """Return further walks of some of these people, float32 (n, 16, 128)."""
        chosen = np.random.default_rng(2).integers(0, people, count)
        found = []
        for number in chosen.tolist():
            middle = np.random.default_rng([1, number]).standard_normal(len(self.turned), np.float32)
            own = np.random.default_rng([3, number]).standard_normal(len(self.turned), np.float32)
            found.append(middle * math.sqrt(1 - self.own) + math.sqrt(self.own) * own)
        return self._walks(np.stack(found))

    def _walks(self, numbers: Floats) -> Floats:
        return np.asarray(numbers @ self.turned, np.float32).reshape(-1, *self.shape)


def stored(walks: int, place: str | Path, milvus: Server | None = None, *, forget_once: bool = False) -> None:
    """A gallery that is kept: filling it, the first search ever, the first of a process, the next ones, forgetting.

    With `milvus`, a server that is not yet started, all but the filling is done again with the index there.
    """
    recorded, people = Recorded(), walks // 100
    probes = recorded.probes(people, 50)
    queries = [Embedding(one, "model", 30) for one in probes]
    truth = [(np.zeros(0, np.int64), np.zeros(0))] * len(queries)  # of walks, and their distances

    def batch(first: int) -> Iterator[Record]:
        for number, found in enumerate(recorded.people(first, min(100, people - first)), first):
            for place, row in enumerate(part_distances(probes, found)):
                every = np.append(truth[place][0], np.arange(len(row)) + 100 * number), np.append(truth[place][1], row)
                order = np.argsort(every[1], kind="stable")[:K]
                truth[place] = every[0][order], every[1][order]
            given = [NewWalk(Embedding(one, "model", 30), "video.mp4") for one in found]
            person = Person(0, f"Person {number}", "none: made up", datetime.now(timezone.utc), None, 100)
            yield Record(person, given)

    in_index: list[float] = []
    remove_gone = app.gallery.candidates.Candidates.remove_gone

    def timed(self: app.gallery.candidates.Candidates) -> None:
        in_index.append(seconds(partial(remove_gone, self)))

    app.gallery.candidates.Candidates.remove_gone = timed  # type: ignore[method-assign]

    def say(what: str) -> None:
        print(f"{walks:>9,} walks, {type(gallery).__name__}: {what}", flush=True)

    with open_store(place) as gallery:
        spent = 0.0
        for first in range(0, people, 100):
            ready = list(batch(first))
            spent += seconds(partial(gallery.restore, ready))
            del ready
        say(f"filled with {walks / spent:.0f} walks/s; {gallery.size() / 1e6:.0f} MB")
        say(f"the first search ever {seconds(partial(gallery.search, queries[:1], K)):.1f} s")

    def search(name: str | None) -> None:
        found = [[one.walk_id - 1 for one in gallery.search([query], K)[0]] for query in queries]
        shared = sum(len({*ours} & {*ids.tolist()}) for ours, (ids, _) in zip(found, truth, strict=True))
        say(f"recall of the nearest {K} against all walks compared exactly: {shared / K / len(queries):.4f}")
        for at_once in (1, 50):
            clock, own = time.perf_counter(), time.process_time()
            for start in range(0, len(queries), at_once):
                gallery.search(queries[start : start + at_once], K)
            clock, own = time.perf_counter() - clock, time.process_time() - own
            rates = (
                f"{len(queries) / clock:.1f} queries/s by the clock, {len(queries) / own:.1f} of the processor's time"
            )
            say(f"{at_once} at once: {rates}")
        if name is not None:
            in_index.clear()
            took = seconds(partial(gallery.forget, name))
            say(f"forgetting one person {took:.1f} s, of which {sum(in_index):.2f} s in Milvus")

    before = resident()
    with open_store(place) as gallery:
        first_clock = seconds(partial(gallery.search, queries[:1], K))
        say(f"the first search of a process {first_clock:.2f} s, {(resident() - before) / 1e6:.0f} MB more memory")
        near = {number // 100 for ids, _ in truth for number in ids.tolist()}
        nobody = f"Person {next(number for number in range(people) if number not in near)}"
        search(None if milvus is not None and forget_once else nobody)
    if milvus is None:
        return
    milvus.start()
    try:
        with open_store(place) as gallery:
            empty, served = resident(milvus.process), processor_time(milvus.process)
            took = seconds(partial(gallery.place_index, milvus.address))
            grown, served = (resident(milvus.process) - empty) / 1e6, processor_time(milvus.process) - served
            say(
                f"the index in Milvus is made in {took:.1f} s, {walks / took:.0f} walks/s; {served:.0f} s of its "
                "processor time"
            )
            on_disk = sum(file.stat().st_size for file in milvus.folder.rglob("*") if file.is_file()) / 1e6
            say(f"its server has {empty / 1e6:.0f} MB of memory, then {grown:.0f} MB more; {on_disk:.0f} MB on disk")
            more = [NewWalk(Embedding(one, "model", 30), "video.mp4") for one in next(recorded.people(people, 1))]
            gallery.enrol("New", more, consent="none: made up")
            say(f"the first search after 100 further walks {seconds(partial(gallery.search, queries[:1], K)):.2f} s")
        before = resident()
        with open_store(place) as gallery:
            first_clock = seconds(partial(gallery.search, queries[:1], K))
            say(f"the first search of a process {first_clock:.2f} s, {(resident() - before) / 1e6:.0f} MB more memory")
            served = processor_time(milvus.process)
            search("New")
            say(f"its server took {processor_time(milvus.process) - served:.1f} s of processor time for all this")
            say(f"its server has {(resident(milvus.process) - empty) / 1e6:.0f} MB more memory than at first")
    finally:
        milvus.stop()


def processor_time(process: int) -> float:
    """Seconds of the processor that a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(process: int | str = "self") -> int:
    """Bytes of memory that a process holds."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * resource.getpagesize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--walks", type=int, nargs="*", default=[1_000, 100_000], help="sizes held in memory")
    parser.add_argument("--stored", type=int, nargs="*", default=[100_000], help="sizes of gallery files")
    parser.add_argument("--postgres", type=int, nargs="*", default=[], help="sizes of galleries in PostgreSQL")
    parser.add_argument("--milvus", choices=["server", "lite"], help="also with the index of the files in a Milvus")
    parser.add_argument("--forget-once", action="store_true", help="with --milvus, forget nobody without it")
    parser.add_argument("--folder", type=Path, help="where their files are made, and removed again")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    print(f"FAISS {faiss.__version__}, OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'not set')}, k = {K}")
    for walks in options.walks:
        in_memory(walks, options.rounds)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for walks in options.stored:
            if options.milvus:
                app.gallery.candidates.LARGE = min(LARGE, walks // ROWS * ROWS)
            server = None
            if options.milvus:
                from tests.milvus_servers import Server, WholeServer

                kind = WholeServer if options.milvus == "server" else Server
                server = kind(Path(folder) / f"{walks}.milvus")
            stored(walks, Path(folder) / f"{walks}.db", server, forget_once=options.forget_once)
    if options.postgres:
        from tests.postgres import running

        with running(options.folder) as server:
            for walks in options.postgres:
                stored(walks, server.new_database())


if __name__ == "__main__":
    main()
