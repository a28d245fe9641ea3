"""An archive by several processes: ``python -m tests.benchmarks.batch [VIDEO...] --copies 4 --workers 1 2``.

Each video (default: the built-in probes) is there `copies` times, and nothing of it is known beforehand. In each round
all ways follow one another: each video for itself with models that are loaded (`alone`), and `batch` with so many
workers, which are started and load their models too. Printed are medians over the rounds: seconds by the clock and of
processor time a video, how many times faster by the clock than one worker, and what a video costs more processor time
than alone. By the clock, a figure says as much about what else runs on the machine.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from app.gallery.opening import open_store
from app.gallery.sqlite import SqliteGallery
from app.progress import Silent
from app.runs.batch import name_batch
from app.runs.build import build
from app.runs.enrol import enrol_walks
from app.runs.identify import identify
from app.settings import Settings
from app.stages import Run
from app.walks.analyse import analyse

VIDEOS = Path("input_videos")


def spent() -> float:
    """Seconds of processor time of this process and of those that it has waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def measured(act: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds by the clock and of processor time that `act` takes."""
    clock, processor = time.perf_counter(), spent()
    act()
    return time.perf_counter() - clock, spent() - processor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="*", type=Path, default=sorted(VIDEOS.glob("probe*.mp4")))
    parser.add_argument("--copies", type=int, default=2)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--cluster", help="also on this cluster of Ray, such as auto")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        archive = [
            Path(shutil.copy(video, folder / f"{copy}-{video.name}"))
            for copy in range(options.copies)
            for video in options.videos
        ]
        database, settings = folder / "gallery.db", Settings.load(named={"output.folder": folder / "own"})
        stages = build(settings)
        video = analyse(VIDEOS / "gallery.mp4", "gallery", Run(stages, Silent()))
        with SqliteGallery(database) as gallery:
            for number, walk in enumerate(video.usable()):
                walks = enrol_walks(video, [walk.track.track_id], thumbnails=False)
                gallery.enrol(f"Person {number}", walks, consent="for a measurement")

        def alone() -> None:
            for path in archive:
                with open_store(database) as store:
                    identify([path], store, Run(stages, Silent()), fresh=True).report()

        def batch(number: int, workers: int, cluster: str | None = None) -> None:
            output = Settings.load(named={"output.folder": folder / f"output{number}-{workers}-{cluster}"})
            for outcome in name_batch(archive, database, output, workers=workers, cluster=cluster):
                assert outcome.reason is None, outcome.reason

        times: dict[str, list[tuple[float, float]]] = {}
        for number in range(options.rounds):
            times.setdefault("alone", []).append(measured(alone))
            for workers in options.workers:
                took = measured(lambda number=number, workers=workers: batch(number, workers))
                times.setdefault(f"{workers} workers", []).append(took)
            if options.cluster:
                took = measured(lambda number=number: batch(number, 0, options.cluster))
                times.setdefault("cluster", []).append(took)
    print(f"{len(archive)} videos, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, medians of {options.rounds}")
    clocks = {way: statistics.median(clock for clock, _ in each) / len(archive) for way, each in times.items()}
    works = {way: statistics.median(work for _, work in each) / len(archive) for way, each in times.items()}
    one = clocks.get("1 workers", clocks["alone"])
    for way in times:
        print(
            f"{way:>10}: {clocks[way]:6.2f} s a video by the clock ({one / clocks[way]:.2f} x one worker), "
            f"{works[way]:6.2f} s of processor time ({works[way] - works['alone']:+.2f} s)"
        )


if __name__ == "__main__":
    main()
