"""How high people must be in the picture to be named: ``python -m tests.benchmarks.small``.

The real clip `aio_probe3` and the four demo clips are made two to six times smaller, so that people are 20 to 210 px
high. They are named after `aio_gallery` and the demo's gallery, in full size, whoever is too small for a run by default
too. Printed is how their walks end, by their height.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from app.runs.build import build
from app.runs.compare import compare_walks
from app.runs.videos import walks_of
from app.settings import OutputSettings, Settings
from app.stages import Run
from app.types import Floats, Image
from app.video.reader import VideoReader
from app.video.writer import VideoWriter
from tests.benchmarks.accuracy import Followed
from tests.truth import boxes_of

SMALLER = (1, 2, 3, 4, 5, 6)
HEIGHTS = (0, 24, 32, 40, 48, 64, 96)
"""The lowest heights of the rows, px."""
DEMO = Path("input_videos")
Truth = dict[int, dict[int, Floats]]


def truth_of(video: Path) -> Truth:
    """The true boxes of a clip by frame (from 0) and person."""
    drawn = video.with_suffix(".truth.json")
    if not drawn.is_file():
        return boxes_of(video.with_suffix(".gt.txt"))
    frames = json.loads(drawn.read_text())["frames"]
    return {
        frame["frame"]: {one["id"]: np.array(one["box"], np.float32) for one in frame["people"]} for frame in frames
    }


def shrunk(video: Path, times: int, folder: Path) -> Path:
    """Write a clip in which everything is smaller."""
    if times == 1:
        return video
    small = folder / f"{video.stem}_{times}.mp4"
    with VideoReader(video) as reader:
        width, height = reader.info.width // times, reader.info.height // times
        with VideoWriter(small, width, height, reader.info.fps, OutputSettings(crf=18)) as writer:
            for frame in reader:
                image: Image = np.asarray(
                    cv2.resize(frame.image, (width, height), interpolation=cv2.INTER_AREA), np.uint8
                )
                writer.write(image, frame.time)
    return small


def named(gallery: Path, probes: list[Path], settings: dict[str, object], folder: Path) -> dict[int, Counter[str]]:
    """How the walks of the probes end, by the row of their height."""
    stages = build(Settings.load(named=settings))
    run = Run(stages)
    known = walks_of(gallery, "gallery", run)
    ends: dict[int, Counter[str]] = defaultdict(Counter)
    for probe in probes:
        for times in SMALLER:
            small = shrunk(probe, times, folder)
            truth = {
                frame: {who: box / times for who, box in boxes.items()} for frame, boxes in truth_of(probe).items()
            }
            walks = walks_of(small, small.stem, run)
            reports = [each.report for each in compare_walks(known, [walks], run).videos]
            followed = Followed([known, walks], reports, [truth_of(gallery), truth], stages)
            for _, verdict, track in followed.judged(1):
                boxes = np.asarray(track.boxes, np.float32)
                height = float(np.median(boxes[:, 3] - boxes[:, 1]))
                ends[max(row for row in HEIGHTS if row <= height)][verdict] += 1
    return ends


def main() -> None:
    """Print a row for each range of heights."""
    parser = argparse.ArgumentParser(description="How high people must be in the picture to be named.")
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--far", type=float, default=0.05)
    given = parser.parse_args()
    real = given.shared / "videos"
    ends: dict[int, Counter[str]] = defaultdict(Counter)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = {"output.folder": folder / "output", "quality.min_height": 1, "match.far": given.far}
        for gallery, probes in (
            (real / "aio_gallery.mp4", [real / "aio_probe3.mp4"]),
            (DEMO / "gallery.mp4", [DEMO / f"probe{number}.mp4" for number in (1, 2, 3, 4)]),
        ):
            for height, counts in named(gallery, probes, settings, folder).items():
                ends[height] += counts
    verdicts = ("right", "wrong", "unknown", "stranger unknown", "unusable")
    table = Table("height from, px", *verdicts)
    for height in HEIGHTS:
        table.add_row(str(height), *(str(ends[height][verdict]) for verdict in verdicts))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
