"""The whole job, timed: frames/s, the share of the time outside the models, and memory against length.

    python -m tests.benchmarks.pipeline speed [--shared ../shared] [--rounds 3]
    python -m tests.benchmarks.pipeline memory

`speed` runs the gallery and the probe clip of ``--shared`` with its detector and segmenter and with GaitBase at random
weights and full width; without ``--shared``, drawn clips and no networks but GaitBase. `memory` follows four drawn
people for 300 and for 3,000 frames, each in a process of its own, and prints the ratio of the peaks.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

MODELS = ("detect", "segment", "embed")


def gaitbase(path: Path) -> Path:
    """Save GaitBase at its published widths with random weights, under OpenGait's names, and return `path`."""
    import torch

    from app.gait.models.gaitbase import GaitBase
    from app.gait.opengait import FAMILIES, to_theirs

    torch.manual_seed(0)
    architecture = FAMILIES[0].architecture
    assert architecture is not None
    torch.save({"model": to_theirs(GaitBase(), architecture.table), "iteration": 0}, path)
    return path


def speed(shared: Path, rounds: int) -> None:
    """Print the seconds of each step, the median over `rounds` runs."""
    from app.runs.build import begin
    from app.runs.compare import compare
    from app.settings import Settings

    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        named = {"gait.checkpoint": gaitbase(home / "GaitBase.pt"), "output.folder": home / "out"}
        videos = (shared / "videos/aio_gallery.mp4", shared / "videos/aio_probe3.mp4")
        if videos[0].exists():
            named |= {
                "detector.checkpoint": shared / "models/yolox_nano.onnx",
                "segmenter.checkpoint": shared / "models/selfie_segmentation.onnx",
            }
        else:
            from tests.clips import write_demo

            write_demo(home)
            videos = (home / "gallery.mp4", home / "probe1.mp4")
        settings = Settings.load(named=named)
        reports = []
        for _ in range(rounds):
            result = compare(videos[0], [videos[1]], begin(settings), fresh=True)
            result.write()
            reports.append(result.report())
    frames = reports[0].gallery.frame_count + reports[0].probes[0].frame_count
    steps = {step: statistics.median(r.timings[step] for r in reports) for step in reports[0].timings}
    print(f"{frames} frames, median of {rounds} runs, ms a frame:")
    for step, seconds in sorted(steps.items(), key=lambda item: -item[1]):
        print(f"  {step:12s} {1000 * seconds / frames:7.2f}")
    work = steps["total"] - steps["load"]
    models = sum(steps[step] for step in MODELS)
    print(f"frames/s, models included, loading not: {frames / work:.1f}")
    outside, without_gif = 1 - models / work, 1 - models / (work - steps["summary"])
    print(f"outside the models: {outside:.0%}, without summary.gif {without_gif:.0%}")


def peak(frames: int) -> float:
    """Return the peak memory, in MiB, of a process that follows four drawn people for `frames` frames."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tests.benchmarks.pipeline", "one", "--frames", str(frames), "--home", folder]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(printed.split()[-1])


def one(frames: int, home: Path) -> None:
    """Run the job on one drawn clip of `frames` frames, twice given, and print the peak memory of this process."""
    from app.runs.build import begin
    from app.runs.compare import compare
    from app.settings import Settings

    for name in ("gallery", "probe"):
        # Written by a process of its own, so that drawing does not count.
        code = (
            "import sys; from tests.benchmarks.pipeline import draw; from pathlib import Path; "
            f"draw(Path({str(home / name)!r} + '.mp4'), {frames}, 25)"
        )
        subprocess.run([sys.executable, "-c", code], check=True)
    named = {"gait.checkpoint": gaitbase(home / "GaitBase.pt"), "output.folder": home / "out"}
    started = time.perf_counter()
    compare(home / "gallery.mp4", [home / "probe.mp4"], begin(Settings.load(named=named))).write()
    seconds = time.perf_counter() - started
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{frames} frames: {2 * frames / seconds:.1f} frames/s, peak MiB {megabytes:.0f}")


def draw(path: Path, frames: int, fps: int) -> None:
    """Write a clip in which somebody new enters every two seconds."""
    from tests.clips import Walker, crossing, write_clip

    walkers = [Walker(seed) for seed in range(max(4, frames // (2 * fps)))]
    scene = crossing(
        walkers, gap=2.0, first=-4.0, seconds=frames / fps, fps=Fraction(fps), width=640, height=360, seed=1
    )
    write_clip(path, scene)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "memory", "one"])
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--home", type=Path)
    arguments = parser.parse_args()
    if arguments.what == "speed":
        speed(arguments.shared, arguments.rounds)
    elif arguments.what == "one":
        one(arguments.frames, arguments.home)
    else:
        short, long = peak(300), peak(3000)
        print(f"peak memory: 300 frames {short:.0f} MiB, 3000 frames {long:.0f} MiB, ratio {long / short:.3f}")
