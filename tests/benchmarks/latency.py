"""From appearance to name: ``python -m tests.benchmarks.latency [VIDEO...]``.

Files (default: the built-in probes) are cameras of one `watch`, each played once. The people of the built-in gallery
are known. For everybody who gets a name while in view, the time from the event `appeared` to the first event `named` is
taken: half of them got it within p50, 19 of 20 within p95.

As it stands, every frame that is due is looked at, however long that takes, and times are those of the video. So they
are what a machine gives that keeps up, whatever else runs here, without the time that the last look takes, which is
printed too, as processor time. With --cameras, so many cameras play at the files' own speed for --seconds, over and
over; times are then by the clock, and frames that the machine was too slow for are dropped.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import threading
import time
from itertools import cycle, islice
from pathlib import Path

import numpy as np

import app.runs.watch
from app.gallery.service import GalleryService
from app.gallery.sqlite import SqliteGallery
from app.progress import Silent
from app.runs.build import build
from app.runs.delivery import Event
from app.runs.enrol import enrol_walks
from app.runs.live import LiveOptions
from app.runs.watch import CameraConfig, Watch, WatchConfig
from app.settings import Settings
from app.stages import Run
from app.types import Frame
from app.video.live import LiveSource
from app.video.reader import VideoReader
from app.walks.analyse import analyse

VIDEOS = Path("input_videos")


class Clock:
    """Takes the time of each event."""

    def __init__(self, by_clock: bool) -> None:
        self._by_clock = by_clock
        self.appeared: dict[tuple[object, object], float] = {}
        self.named: dict[tuple[object, object], float] = {}
        self.dropped, self.events, self.bytes = 0, 0, 0
        self._lock = threading.Lock()

    def send(self, event: Event) -> None:
        """Take an event."""
        who = event["source"], event.get("track_id")
        now = time.monotonic() if self._by_clock else float(str(event.get("seconds", 0)))
        with self._lock:
            if event["event"] == "appeared":
                self.appeared[who] = now
            elif event["event"] == "named" and who not in self.named:
                self.named[who] = now
            self.events += 1
            self.bytes += len(json.dumps(event, default=str)) + 1

    def close(self) -> None:
        """Nothing waits."""


class AllFrames(LiveSource):
    """A file whose frames come as fast as they are taken."""

    def __enter__(self) -> AllFrames:
        self._frames = iter(VideoReader(self.info.path))
        self._next = next(self._frames, None)
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def take(self, wait: float = 0.2) -> Frame | None:
        frame, self._next = self._next, next(self._frames, None)
        return frame

    @property
    def ended(self) -> bool:
        return self._next is None


def measure(watch: Watch, clock: Clock) -> None:
    """Run a watch and print what came of it."""
    stop, before = threading.Event(), time.process_time()
    watch.run(stop)
    spent = time.process_time() - before
    took = np.array([clock.named[who] - clock.appeared[who] for who in clock.named])
    half, most = np.quantile(took, [0.5, 0.95]) if len(took) else (np.nan, np.nan)
    frames = sum(camera.frames for camera in watch.cameras.values())
    dropped = sum(camera.dropped for camera in watch.cameras.values())
    print(
        f"{len(watch.cameras)} cameras: {len(clock.appeared)} appeared, {len(took)} named; p50 {half:.2f} s, "
        f"p95 {most:.2f} s; {dropped} of {frames + dropped} frames dropped\n"
        f"  load {os.getloadavg()[0]:.1f}; {1000 * spent / max(1, frames):.0f} ms of processor time a frame; "
        f"{clock.events} events of {clock.bytes / max(1, clock.events):.0f} bytes; "
        f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB at most so far",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="*", type=Path, default=sorted(VIDEOS.glob("probe*.mp4")))
    parser.add_argument("--cameras", type=int, nargs="*", default=[], help="so many at their own speed")
    parser.add_argument("--rate", type=float, default=10.0, help="looks a second")
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stages = build(Settings.load(named={"output.folder": folder}))
        video = analyse(VIDEOS / "gallery.mp4", "gallery", Run(stages, Silent()))
        with GalleryService(SqliteGallery(folder / "gallery.db")) as gallery:
            for number, walk in enumerate(video.usable()):
                walks = enrol_walks(video, [walk.track.track_id], thumbnails=False)
                gallery.store.enrol(f"Person {number}", walks, consent="for a measurement")
            for count in options.cameras or [0]:
                paths = islice(cycle(options.videos), count) if count else options.videos
                cameras = {
                    f"camera {number}": CameraConfig(str(path.absolute()), rate=options.rate, loop=bool(count))
                    for number, path in enumerate(paths, 1)
                }
                if not count:
                    app.runs.watch.LiveSource = AllFrames  # type: ignore[misc]
                live = LiveOptions(seconds=options.seconds if count else None)
                clock = Clock(by_clock=bool(count))
                measure(Watch(WatchConfig(cameras), gallery, stages, [clock], live), clock)


if __name__ == "__main__":
    main()
