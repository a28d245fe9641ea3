"""Published networks at full size in the whole job: ``python -m tests.benchmarks.published [--to 4]``.

YOLOX-X in ByteTrack's 800x1440, a matte network of others and GaitBase, on two upright clips of four people. YOLOX-X
and GaitBase have random weights and the files' published keys. YOLOX-X looks at each frame in full, but as it sees
nobody with such weights, the people of the clips' ground truth are taken for what it has seen. Each way of working runs
in a process of its own and comes to its turn `--rounds` times; the fastest counts. Printed are seconds by the clock, by
frame of video, everything from loading the networks to the written report included, and what two looks of YOLOX-X cost
in the earlier research demo's way, which detects twice, fully padded, in float32, before anything is cut out.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

CLIPS = ("aio_gallery", "aio_probe3")
WAYS: Mapping[str, Mapping[str, Any]] = {
    "every frame, float32": {"speed": "accurate", "video.looks": 60.0, "detector.precision": "float32"},
    "12.5 looks a second, float32": {"detector.precision": "float32"},
    "12.5 looks a second, bfloat16": {"detector.precision": "bfloat16", "gait.precision": "bfloat16"},
}


def make(folder: Path) -> tuple[Path, Path]:
    """Write checkpoints of YOLOX-X and GaitBase with random weights, and return where they are."""
    import torch

    from app.detect.yolox import YoloxLayout
    from app.gait.models.gaitbase import GaitBase
    from app.gait.opengait.saving import save_network
    from tests.benchmarks.detectors import network
    from tests.benchmarks.gait import randomise

    torch.manual_seed(0)
    detector, gait = folder / "yolox_x.pth", folder / "GaitBase-60000.pt"
    torch.save(
        {"model": network(YoloxLayout(80, 4, 1, False), torch.rand(2, 3, 160, 160) * 4 - 2).state_dict()}, detector
    )
    save_network(randomise(GaitBase()), gait, iteration=60_000)
    return detector, gait


def one(way: str, detector: Path, gait: Path, shared: Path, to: float, home: Path) -> None:
    """Run the whole job in one way, and print the seconds and the frames of video."""
    started = time.perf_counter()
    from app.detect.yolox_torch import YoloxDetector
    from app.runs.build import begin
    from app.runs.compare import compare
    from app.settings import Settings
    from app.types import Detections, Frame, VideoInfo

    class Told(YoloxDetector):
        """Looks at every frame that is asked for, and is told who is in it."""

        def start(self, video: VideoInfo) -> None:
            self.truth = np.loadtxt(video.path.with_suffix(".gt.txt"), delimiter=",", usecols=range(6), ndmin=2)

        def detect(self, frames: Sequence[Frame]) -> list[Detections]:
            super().detect(frames)
            return [self._told(frame.index + 1) for frame in frames]

        def _told(self, number: int) -> Detections:
            rows = self.truth[self.truth[:, 0] == number]
            boxes = np.concatenate([rows[:, 2:4], rows[:, 2:4] + rows[:, 4:6]], axis=1).astype(np.float32)
            return Detections(boxes, np.full(len(boxes), 0.9, np.float32))

    run = begin(
        Settings.load(
            named={
                "detector.checkpoint": detector,
                "segmenter.checkpoint": shared / "models" / "selfie_segmentation.onnx",
                "gait.checkpoint": gait,
                "video.end": to,
                "output.folder": home,
                **WAYS[way],
            }
        )
    )
    told = run.stages.detector
    assert isinstance(told, YoloxDetector)
    told.__class__ = Told
    gallery, probe = (shared / "videos" / f"{name}.mp4" for name in CLIPS)
    result = compare(gallery, [probe], run, fresh=True)
    result.write()
    report = result.report()
    assert report.gallery is not None
    frames = report.gallery.frame_count + sum(video.frame_count for video in report.probes)
    print(time.perf_counter() - started, frames)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--to", type=float, default=4.0, help="seconds of each clip")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--way", choices=list(WAYS), help=argparse.SUPPRESS)
    parser.add_argument("--networks", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way is not None:
        detector, gait = (options.networks / name for name in ("yolox_x.pth", "GaitBase-60000.pt"))
        with tempfile.TemporaryDirectory() as home:
            one(options.way, detector, gait, options.shared, options.to, Path(home))
        return
    spent: dict[str, list[float]] = {name: [] for name in [*WAYS, "earlier"]}
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder))
        for _ in range(options.rounds):
            for name in WAYS:
                words = ["--way", name, "--networks", folder, "--shared", str(options.shared), "--to", str(options.to)]
                seconds, frames = _printed("tests.benchmarks.published", *words)
                spent[name].append(seconds / frames)
            (look,) = _printed("tests.benchmarks.detectors", "--variant", "full padding, as trained")
            spent["earlier"].append(2 * look)
    earlier = min(spent.pop("earlier"))
    print(f"{'two fully padded looks in float32':34}{earlier:6.2f} s a frame")
    for name, values in spent.items():
        print(f"{name:34}{min(values):6.2f} s a frame of video, {earlier / min(values):5.1f} times as fast")


def _printed(module: str, *words: str) -> list[float]:
    command = [sys.executable, "-W", "ignore", "-m", module, *words]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return [float(word) for word in printed.split()[-2:]]


if __name__ == "__main__":
    main()
