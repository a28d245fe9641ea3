"""Seconds and peak memory of an evaluation of many embeddings: ``python -m tests.benchmarks.evaluation``.

Random embeddings of 16 parts of 256 numbers. Two protocols: one gallery of all walks (as GREW's), and one view at a
time (as CASIA-B's).
"""

from __future__ import annotations

import argparse
import resource
import time
from typing import Literal

import numpy as np

from app.lab.evaluation.protocol import Group, Protocol
from app.lab.evaluation.scores import score
from app.types import Floats


def embeddings(walks: int, people: int, parts: int, channels: int) -> Floats:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((walks, parts, channels), np.float32)
    features += 0.3 * rng.standard_normal((people, parts, channels), np.float32)[np.arange(walks) % people]
    return features


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # KiB on Linux


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--walks", type=int, default=6000)
    parser.add_argument("--people", type=int, default=1000)
    parser.add_argument("--rerank", action="store_true", help="with re-ranking, for the gallery of all walks")
    given = parser.parse_args()
    features = embeddings(given.walks, given.people, 16, 256)
    print(f"{given.walks} walks of {given.people} people, {features.nbytes / 2**20:.0f} MiB; start: {peak():.0f} MiB")
    people = np.array([f"{number:05d}" for number in np.arange(given.walks) % given.people])
    views = np.array([f"{45 * number:03d}" for number in np.arange(given.walks) // given.people % 3])
    half = np.arange(given.walks) // given.people % 6 < 3
    group = Group("All", np.flatnonzero(half), np.flatnonzero(~half))
    compared: tuple[Literal["all", "each"], ...] = ("all", "each")
    for gallery_views in compared:
        rerank = given.rerank and gallery_views == "all"
        protocol = Protocol(
            source="",
            probes={"All": ("*",)},
            gallery=("*",),
            gallery_views=gallery_views,
            exclude="nothing" if gallery_views == "all" else "same view",
            metrics=("Rank-1", "Rank-5", "Rank-10", "Rank-20", "mAP", "mINP"),
        )
        wall, cpu = time.perf_counter(), time.process_time()
        (found,) = score(features, people, views, [group], protocol, rerank=rerank)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        how = f"{gallery_views}, re-ranked" if rerank else gallery_views
        print(
            f"gallery views {how}: {wall:.1f} s ({cpu:.1f} s of processors), "
            f"peak {peak():.0f} MiB; Rank-1 {found.metrics['Rank-1'].value:.3f}, EER {found.eer:.3f}"
        )


if __name__ == "__main__":
    main()
