"""Searching large galleries, against FAISS (extra benchmark): ``OMP_NUM_THREADS=1 python -m tests.benchmarks.gallery``.

Walks are 16 parts of 256 numbers: people as random points, ten walks around each. Three ways answer the same queries:

- ours: the mean over parts of the parts' distances, exact, from 16-bit numbers;
- FAISS IndexFlatL2 on the 4096 numbers of a walk side by side: ONE Euclidean distance, another ranking;
- FAISS by part: flat distances (`faiss.pairwise_distances`) of each part, their square roots summed. The field's
  distance, as ours, but from float32 products.

Every round runs each of them once; medians of the processor's time are printed, so that the ratios hold on a busy
machine. Both libraries take their threads from OMP_NUM_THREADS. A million walks do not fit as float32 here: ours reads
one file of 8 GB, mapped into memory (--folder), FAISS searches a tenth of the walks, and ten times its time is given.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from app.gallery.distances import part_distances
from app.gallery.search import ROWS, Block, WalkIndex
from app.gallery.sqlite import SqliteGallery
from app.gallery.store import NewWalk
from app.types import Embedding, Floats, Ints

PARTS, CHANNELS, K = 16, 256, 5
SHARD = 100_000


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


def on_disk(walks: int, folder: Path) -> None:
    """A gallery that does not fit as float32: ours from one file, FAISS on a part of it."""
    base = people(SHARD)
    small = Ours(base).index.blocks
    shards = walks // SHARD
    index, file = (
        WalkIndex(PARTS, CHANNELS),
        np.lib.format.open_memmap(folder / "codes.npy", "w+", np.int16, (shards * len(small), PARTS, ROWS, CHANNELS)),
    )
    for number in range(shards):  # the same walks with their numbers in another order are other walks, cheaply made
        for block in small:
            codes = file[len(index.blocks), :, : len(block)]
            codes[:] = np.roll(block.codes, 7 * number, axis=2)
            index.blocks.append(Block(block.ids + number * SHARD, codes, block.scale, block.square, block.error))
    file.flush()
    print(f"{len(index):>9,} walks prepared", flush=True)

    def exact(ids: Ints) -> Floats:
        return np.stack([np.roll(base[one % SHARD], 7 * (one // SHARD), axis=1) for one in ids.tolist()])

    queries = {count: probes(base, count) for count in (1, 64)}
    times: dict[int, dict[str, float]] = {count: {} for count in queries}
    for count, some in queries.items():
        cold = seconds(partial(ask, index, some, exact))
        started = time.perf_counter()
        times[count]["ours"] = seconds(partial(ask, index, some, exact), time.process_time)
        warm = time.perf_counter() - started
        print(
            f"{walks:>9,} walks, {count:3} at once: {cold:.1f} s by the clock the first time, {warm:.1f} s the second"
        )
    for name, way in (("FAISS side by side", SideBySide), ("FAISS by part", ByPart)):
        built: SideBySide | ByPart = way(base)
        for count, some in queries.items():
            times[count][name] = shards * seconds(partial(built.search, some), time.process_time)
        del built
    sizes = {"ours": file.nbytes, "FAISS side by side": 2 * file.nbytes, "FAISS by part": 2 * file.nbytes}
    for count in queries:
        report(f"{walks:,}", count, times[count], sizes)
    turned = np.concatenate([np.roll(queries[1], -7 * number, axis=2) for number in range(shards)])
    nearest = part_distances(turned, base).ravel().argsort()[:K]
    same = ask(index, queries[1], exact)[0].tolist() == nearest.tolist()
    print(f"{walks:>9,} walks: ours finds what float64 finds: {same}")


def ask(index: WalkIndex, queries: Floats, exact: Callable[[Ints], Floats]) -> list[Ints]:
    return [ids for ids, _ in index.search(queries, K, "euclidean", exact)]


def stored(walks: int, folder: Path) -> None:
    """A gallery file: enrolling, the first search (which reads it all), the next one, forgetting (by the clock)."""
    data = people(walks)
    queries = [Embedding(one, "model", 30) for one in probes(data, 64)]
    path = folder / f"{walks}.db"

    def enrol(gallery: SqliteGallery) -> None:
        for start in range(0, walks, 10):
            given = [NewWalk(Embedding(one, "model", 30), "video.mp4") for one in data[start : start + 10]]
            gallery.enrol(f"Person {start // 10}", given, consent="none: made up")

    with SqliteGallery(path) as gallery:
        print(f"{walks:>9,} walks: enrolling {walks / 10 / seconds(lambda: enrol(gallery)):.0f} people/s of 10 walks")
    before = resident()
    with SqliteGallery(path) as gallery:
        first, second = (seconds(lambda: gallery.search(queries, K), time.process_time) for _ in range(2))
        one = statistics.median(seconds(lambda: gallery.search(queries[:1], K), time.process_time) for _ in range(5))
        print(
            f"{walks:>9,} walks: file {path.stat().st_size / 1e6:.0f} MB; 64 queries {first:.2f} s of the processor "
            f"the first time, {second:.2f} s the next, one alone {1e3 * one:.0f} ms; "
            f"{(resident() - before) / 1e6:.0f} MB more memory"
        )
        print(
            f"{walks:>9,} walks: forgetting one person {seconds(lambda: gallery.forget('Person 7')):.2f} s", flush=True
        )
    path.unlink()


def resident() -> int:
    """Bytes of memory this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--walks", type=int, nargs="*", default=[1_000, 100_000], help="sizes held in memory")
    parser.add_argument("--stored", type=int, nargs="*", default=[1_000], help="sizes of gallery files")
    parser.add_argument("--on-disk", type=int, default=0, help="size of a gallery read from disk, e.g. 1000000")
    parser.add_argument("--folder", type=Path, help="where its file is made, and removed again")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    print(f"FAISS {faiss.__version__}, OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'not set')}, k = {K}")
    for walks in options.walks:
        in_memory(walks, options.rounds)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for walks in options.stored:
            stored(walks, Path(folder))
        if options.on_disk:
            on_disk(options.on_disk, Path(folder))


if __name__ == "__main__":
    main()
