"""A day of watching, at speed: ``nice -n 10 python -m tests.benchmarks.soak [--hours 24]``.

A watch of two cameras, as `python -m app watch` runs it: queues, lasting strangers, a file of events, a webhook, ways
and lines. Time runs as fast as pictures are taken: each is a quarter of a second later than the one before. They are
320x180 px and mostly grey, with some noise; now and then people of a built-in clip walk by. Two of them are known. One
camera breaks off now and then, the other meets a fault of the program, and the configuration changes six times.

For each 24th of the time it prints what the process has: memory (RSS), open files, threads; and what was written:
events, events that reached the webhook, strangers and their walks. It fails if the memory of the last quarter is more
than 3 % above that of the second.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from unittest.mock import patch

import cv2
import numpy as np
import yaml

import app.video.live as sources
from app.cli.terminal import write_json
from app.errors import VideoError
from app.gallery.opening import open_store, open_strangers
from app.gallery.service import GalleryService
from app.progress import Silent
from app.runs.build import build
from app.runs.enrol import enrol_walks
from app.runs.events import Lines, appending
from app.runs.live import LiveOptions
from app.runs.watch import Camera, Look, Watch, WatchConfig
from app.settings import Settings
from app.stages import Run
from app.types import Frame, Image
from app.video.looks import Looks
from app.video.reader import VideoReader
from app.walks.analyse import analyse

VIDEOS = Path("input_videos")
FILES = Path("/proc/self/fd")
SIZE = 320, 180  # px
RATE = 4  # pictures a second
SAMPLES = 24
FLAT = 1.03
"""So much memory of the second quarter the last quarter may have."""
CLIPS = {"http://soak/north": "probe2", "http://soak/south": "probe4"}
KNOWN = 2  # of the people of the clips


class Clock:
    """The time, in s, in place of the module `time`. In the thread of a camera it is that of its last picture."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._own = threading.local()

    def reach(self, seconds: float) -> None:
        """Set the time of this thread's camera, and everybody's where that is later."""
        self._own.seconds = seconds
        self.seconds = max(self.seconds, seconds)

    def monotonic(self) -> float:
        return getattr(self._own, "seconds", self.seconds)


class Street:
    """What a camera shows all day: nothing but noise, and `passages` times an hour the people of a clip.

    Every two hours or so it breaks off, or shows a fault of the program if it is `faulty`.
    """

    def __init__(self, clip: Path, clock: Clock, passages: int, seed: int, *, faulty: bool) -> None:
        with VideoReader(clip) as reader:
            looks = Looks(float(reader.info.fps), RATE)
            self._people = [
                np.asarray(cv2.resize(frame.image, SIZE, interpolation=cv2.INTER_AREA))
                for frame in reader
                if looks.due(frame.index)
            ]
        random = np.random.default_rng(seed)
        rows = np.mean(np.stack(self._people), axis=(0, 2), keepdims=True)[0]  # no ghosts of people are in it
        empty = np.broadcast_to(rows, self._people[0].shape)
        self._empty = [np.clip(empty + random.normal(0, 2, empty.shape), 0, 255).astype(np.uint8) for _ in range(8)]
        self._clock, self._passages, self._random, self._faulty = clock, passages, random, faulty

    def feed(self) -> sources._Feed:
        """Open the camera."""
        pictures = self._pictures()
        _, first = next(pictures)
        return sources._Feed(first, pictures, Fraction(RATE), recorded=False)

    def _pictures(self) -> Iterator[tuple[None, Image]]:
        opened, number = self._clock.seconds, 0
        until_break = int(self._random.exponential(2.0) * 3600 * RATE) + RATE
        while True:
            quiet = int(self._random.exponential(1 / self._passages) * 3600 * RATE) + 3 * RATE
            for step in range(quiet + len(self._people)):
                picture = self._empty[step % 8] if step < quiet else self._people[step - quiet]
                number += 1
                if number > until_break:
                    raise ZeroDivisionError("made for this measurement") if self._faulty else VideoError("no signal")
                self._clock.reach(opened + number / RATE)
                yield None, picture.copy()


class Patient(sources.LiveSource):
    """A camera whose pictures wait for room in the queue: at this speed hardly any would find some."""

    def offer(self, event: Frame | sources.Outage | sources.Pause) -> None:
        with self._changed:
            while len(self._waiting) >= self._depth and not self._closed.is_set():
                self._changed.wait(0.1)
        super().offer(event)

    def take(self, wait: float = 0.2) -> Frame | sources.Outage | sources.Pause | None:
        news = super().take(0.2)  # real seconds, in which the next picture is surely made
        with self._changed:
            self._changed.notify()
        return news


class Receiver(BaseHTTPRequestHandler):
    """Takes what the webhook posts."""

    received = 0

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        type(self).received += 1
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


def memory() -> float:
    """Return the memory of this process (RSS) in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def rows(database: Path, table: str) -> int:
    """Return how many rows a table of a gallery has."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
    finally:
        connection.close()


def configure(path: Path, folder: Path, port: int, rate: float) -> None:
    """Write the configuration's file, in which the southern camera has so many looks a second."""
    line = {"middle": [[0.5, 0.0], [0.5, 1.0]]}
    about = {
        "cameras": {
            "north": {"address": "http://soak/north", "rate": RATE, "lines": line},
            "south": {"address": "http://soak/south", "rate": rate, "ignore": [[[0, 0], [0.1, 0], [0.1, 0.1]]]},
        },
        "gallery": str(folder / "gallery.db"),
        "events": str(folder / "events.jsonl"),
        "strangers": {},
        "ways": [{"between": ["north", "south"], "seconds": [5, 600]}],
        "webhook": {"url": f"http://127.0.0.1:{port}/"},
    }
    path.write_text(yaml.safe_dump(about))


def soak(hours: float, passages: int, folder: Path) -> list[float]:
    """Watch for so many hours of the cameras' time, and return the memory at each 24th of it in MB."""
    small = {"detector.input_size": [192, 320], "detector.threads": 1, "segmenter.threads": 1}
    settings = Settings.load(named={"output.folder": folder, **small})
    stages, clock, found = build(settings), Clock(), list[float]()
    database, file = folder / "gallery.db", folder / "watch.yaml"
    shorter = replace(stages, settings=settings.changed({"video.end": 4.0}))
    video = analyse(VIDEOS / "gallery.mp4", "gallery", Run(shorter, Silent()))
    with ExitStack() as stack:
        server = HTTPServer(("127.0.0.1", 0), Receiver)
        stack.callback(server.server_close)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        stack.callback(server.shutdown)
        streets = {
            address: Street(VIDEOS / f"{clip}.mp4", clock, passages, seed, faulty=seed == 0)
            for seed, (address, clip) in enumerate(CLIPS.items())
        }
        strangers = open_strangers(database, create=True)
        gallery = stack.enter_context(GalleryService(open_store(database), strangers=strangers))
        for number, walk in enumerate(video.usable()[:KNOWN]):
            walks = enrol_walks(video, [walk.track.track_id], thumbnails=False)
            gallery.store.enrol(f"Person {number}", walks, consent="for a measurement")
        configure(file, folder, server.server_port, RATE)
        config, events = WatchConfig.read(file), folder / "events.jsonl"
        lines = Lines(stack.enter_context(appending(events)), lambda event, to: write_json(event, to=to))
        one_at_a_time = threading.Lock()

        def show(camera: Camera, look: Look) -> None:
            with one_at_a_time:
                if clock.seconds < (len(found) + 1) * hours * 3600 / SAMPLES or len(found) == SAMPLES:
                    return
                found.append(memory())
                beside = database.with_name("gallery.strangers.db")
                looks = "; ".join(
                    f"{one.name}: {one.frames} looks, {one.dropped} dropped, broken {one.broken} times"
                    for one in [*watch.cameras.values()]
                )
                print(
                    f"{clock.seconds / 3600:6.2f} h {found[-1]:7.1f} MB {len([*FILES.iterdir()]):4} files "
                    f"{threading.active_count():3} threads {events.read_bytes().count(10):6} events "
                    f"{Receiver.received:6} posted {rows(beside, 'person'):4} strangers {rows(beside, 'walk'):4} walks "
                    f"{time.process_time():6.0f} s of processor time; {looks}",
                    flush=True,
                )
                if len(found) % 4 == 0:
                    configure(file, folder, server.server_port, RATE - len(found) // 4 % 2)

        for module in (sources, sys.modules["app.runs.watch"], sys.modules["app.runs.live"]):
            stack.enter_context(patch.object(module, "time", clock))
        stack.enter_context(patch("app.runs.watch.LiveSource", Patient))
        stack.enter_context(patch.object(sources, "_opened", lambda name: streets[name].feed()))
        stack.enter_context(patch.dict(os.environ, GAITPRINT_WEBHOOK_SECRET="a secret"))
        sinks = [lines, *config.sinks()]
        watch = Watch(config, gallery, stages, sinks, LiveOptions(seconds=hours * 3600 + 1), show)
        watch.run(threading.Event(), reload=file)
        if lost := sum(sink.dropped for sink in sinks):
            raise SystemExit(f"{lost} events did not reach the webhook.")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--passages", type=int, default=4, help="how often an hour people pass each camera")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        found = soak(options.hours, options.passages, Path(name))
    quarter = SAMPLES // 4
    before, after = statistics.mean(found[quarter : 2 * quarter]), statistics.mean(found[-quarter:])
    print(
        f"Second quarter {before:.1f} MB, last quarter {after:.1f} MB: {after / before - 1:+.1%}. "
        f"Load {os.getloadavg()[0]:.1f}, {time.process_time():.0f} s of processor time."
    )
    if after > FLAT * before:
        raise SystemExit(f"Memory grows: the last quarter has more than {FLAT - 1:.0%} above the second.")


if __name__ == "__main__":
    main()
