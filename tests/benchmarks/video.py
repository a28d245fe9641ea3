"""Decode, paint and encode in ms a frame, and what the prefetch thread is worth: `python -m tests.benchmarks.video`."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from app.types import Frame
from app.video.paint import Label, Painter
from app.video.prefetch import prefetched
from app.video.reader import VideoReader
from app.video.writer import VideoWriter
from tests.clips import Walker, crossing, write_clip


def consume(frames: Iterable[Frame], work: Callable[[Frame], None]) -> tuple[int, float]:
    start, count = time.perf_counter(), 0
    for frame in frames:
        work(frame)
        count += 1
    return count, time.perf_counter() - start


def busy(seconds: float) -> Callable[[Frame], None]:
    """Work of `seconds` in NumPy, on one core, mostly without the interpreter lock, as a network would."""
    square = np.random.default_rng(0).normal(size=(200_000,))
    start = time.perf_counter()
    for _ in range(20):
        np.sin(square)
    rounds = max(1, round(seconds / ((time.perf_counter() - start) / 20)))

    def work(frame: Frame) -> None:
        for _ in range(rounds):
            np.sin(square)

    return work


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clip", nargs="?", type=Path, help="a video; without it one is drawn")
    clip: Path | None = parser.parse_args().clip
    with tempfile.TemporaryDirectory() as folder:
        if clip is None:
            clip = Path(folder) / "clip.mp4"
            write_clip(clip, crossing([Walker(s) for s in range(4)], gap=0.8, width=854, height=480, seconds=6))
        with VideoReader(clip) as reader:
            info = reader.info
            count, decode = consume(reader, lambda frame: None)
        print(f"{clip.name}: {info.width}x{info.height}, {count} frames")
        print(f"decode            {1e3 * decode / count:6.2f} ms/frame")
        work = busy(max(0.004, decode / count))
        with VideoReader(clip) as reader:
            alone = consume(reader, work)[1]
        with VideoReader(clip) as reader, prefetched(reader, 8) as frames:
            ahead = consume(frames, work)[1]
        print(f"decode then work  {1e3 * alone / count:6.2f} ms/frame")
        print(f"with prefetch     {1e3 * ahead / count:6.2f} ms/frame, {alone / ahead:.2f} times as fast")

        names = [f"gallery-{place:03d}" for place in range(1, 9)]
        painter = Painter(names, info.width, info.height)
        wide, tall = info.width / 6, info.height / 2
        spent = {"paint": 0.0, "encode": 0.0}
        with VideoReader(clip) as reader, VideoWriter(Path(folder) / "o.mp4", info.width, info.height, info.fps) as out:
            for frame in reader:
                lefts = [(place * wide * 1.4 + 2 * frame.index) % (info.width - wide) for place in range(4)]
                boxes = [np.array([x, tall * 0.6, x + wide, tall * 1.6], np.float32) for x in lefts]
                start = time.perf_counter()
                painter.paint(frame.image, [Label(box, names[place], "90 %") for place, box in enumerate(boxes)])
                middle = time.perf_counter()
                out.write(frame.image, frame.time)
                spent["paint"] += middle - start
                spent["encode"] += time.perf_counter() - middle
        for what, seconds in spent.items():
            print(f"{what:17s} {1e3 * seconds / count:6.2f} ms/frame")


if __name__ == "__main__":
    main()
