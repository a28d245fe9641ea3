"""Milliseconds for a frame's skeleton maps: ``python -m tests.benchmarks.heatmaps``.

The drawing alone, and `prepare heatmaps` on a data set of made-up walks with reading and writing. Times of the
processor are shown too: on a busy machine only they can be compared. SkeletonGait's own script was measured at 12 to
21 ms a frame elsewhere.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from app.gait.heatmaps import heatmaps
from app.lab.data.opengait import write_array
from app.lab.data.skeleton_maps import prepare_heatmaps
from app.types import Floats
from tests.contract.samples import STANDING


def walk(frames: int, seed: int) -> Floats:
    """Keypoints of somebody whose joints tremble, a few of them missing."""
    rng = np.random.default_rng(seed)
    pose = np.concatenate([np.asarray(STANDING, np.float32)[:, :2], np.full((17, 1), 0.9, np.float32)], axis=1)
    poses: Floats = np.repeat(pose[None], frames, axis=0)
    poses[:, :, :2] += rng.normal(0, 3, (frames, 17, 2)).astype(np.float32)
    poses[rng.random((frames, 17)) < 0.03] = 0
    return poses


def processors() -> float:
    """Seconds that this process and those it has started and waited for have computed."""
    spent = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in spent)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=60, help="of a walk")
    parser.add_argument("--walks", type=int, default=40)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    cv2.setNumThreads(1)
    walls, cpus = [], []
    for seed in range(7):
        poses = walk(given.frames, seed)
        wall, cpu = time.perf_counter(), time.process_time()
        heatmaps(poses)
        walls.append(1000 * (time.perf_counter() - wall) / given.frames)
        cpus.append(1000 * (time.process_time() - cpu) / given.frames)
    for name, figures in (("wall", walls), ("processor", cpus)):
        told = f"median {statistics.median(figures):.2f}, {min(figures):.2f} to {max(figures):.2f}"
        print(f"drawing, ms a frame ({name}, 7 walks of {given.frames} frames): {told}")
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(given.walks):
            view = Path(scratch) / "poses" / f"{number:03d}" / "nm-01" / "000"
            view.mkdir(parents=True)
            write_array(walk(given.frames, number), view / "pose.pkl")
        for workers in dict.fromkeys((1, given.workers)):
            wall, cpu = time.perf_counter(), processors()
            report = prepare_heatmaps(Path(scratch) / "poses", Path(scratch) / f"maps-{workers}", workers=workers)
            wall, cpu = time.perf_counter() - wall, processors() - cpu
            print(
                f"prepare heatmaps, {report.frames} frames, {workers} processes: "
                f"{1000 * wall / report.frames:.2f} ms a frame (processors {1000 * cpu / report.frames:.2f})"
            )


if __name__ == "__main__":
    main()
