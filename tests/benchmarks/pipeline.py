"""The whole job: what each setting of speed gains, where the time goes, how much memory is needed, and what it costs.

    python -m tests.benchmarks.pipeline speed [--rounds 2] [--to SECONDS] [--shared ../shared]
    python -m tests.benchmarks.pipeline share [--rounds 2]
    python -m tests.benchmarks.pipeline memory [--frames 10000]
    python -m tests.benchmarks.pipeline growth
    python -m tests.benchmarks.pipeline batches [--rounds 20]

`speed` runs the first command of the README once for each step from ``accurate`` to ``fast``, each run in a process of
its own. The ways take turns, so on a busy machine their ratios still hold. It prints, from the round with the least CPU
time:

- `CPU s`: seconds of all processors, of the system too, and how many times fewer that is than in the first row;
- `in kernels`: the share of it in compiled code that works through pixels (`tests.benchmarks.kernels`), `in networks`:
  inside of ONNX Runtime, and `frames/s a core`: frames by CPU seconds;
- `cores busy`: CPU seconds by seconds on the clock, which a busy machine makes smaller;
- `MiB`: the largest memory of the process;
- names of the probe that are right, wrong and missing, and IDF1 and MOTA on the real clips of ``--shared``.

`share` runs that command as it is, and prints where its CPU time goes, from the round with the least of it.

`memory` follows drawn people for 300 frames and for ``--frames``, and prints the largest memory of each process.

`growth` runs jobs of drawn people that grow in other ways: pictures in 4K, forty people in view at once, a hundred
probes. It prints the CPU time of a frame and the largest memory of each process.

`batches` runs the embedded networks on pictures of two, four and eight cameras: one after the other, side by side as a
watch does, and as one batch. The ways take turns. It prints the least milliseconds a picture of all rounds, by the
clock and of processor time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.benchmarks.kernels import NETWORKS, Meter

if TYPE_CHECKING:
    from app.weights.networks import Network

ROOT = Path(__file__).resolve().parents[2]
CLIPS = ROOT / "input_videos"
ONE_THREAD = {f"{stage}.threads": 1 for stage in ("detector", "segmenter", "pose")}
STEPS: Mapping[str, Mapping[str, Any]] = {
    "accurate": {"speed": "accurate"},
    "without the mirror image": {"speed": "accurate", "segmenter.mirror": False},
    "12.5 looks a second": {"speed": "accurate", "segmenter.mirror": False, "video.looks": 12.5},
    "8 bits where they gain (balanced)": {"speed": "balanced"},
    "balanced, on one thread": {"speed": "balanced", **ONE_THREAD},
    "fast": {"speed": "fast"},
}


@dataclass(frozen=True)
class Cost:
    """What a run has cost: CPU and clock seconds, the CPU seconds in each kind of kernel, the largest memory in MiB."""

    cpu: float
    clock: float
    kernels: Mapping[str, float]
    memory: float

    def share(self, *kinds: str) -> float:
        """Return the share of the CPU time that kernels of some kinds take, by default of all."""
        return sum(self.kernels[kind] for kind in kinds or self.kernels) / self.cpu


def child(settings: Mapping[str, Any], home: Path, videos: Sequence[Path]) -> Cost:
    """Run `videos`, of which the first is the gallery, in a process of its own. The results are below `home`."""
    command = [sys.executable, "-m", "tests.benchmarks.pipeline", "one", *map(str, videos), "--home", str(home)]
    started = time.perf_counter()
    process = subprocess.Popen(
        [*command, "--settings", json.dumps(settings)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process.stdout:
        printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"A run with {settings} has failed.")
    clock = time.perf_counter() - started
    kernels = json.loads(printed.splitlines()[-1])
    return Cost(usage.ru_utime + usage.ru_stime, clock, kernels, usage.ru_maxrss / 1024)


def one(settings: Mapping[str, Any], home: Path, videos: Sequence[Path]) -> None:
    """Run the command of the README on some videos and print the CPU seconds in each kind of kernel."""
    meter = Meter()
    from app.__main__ import run

    changes = [part for name, value in settings.items() for part in ("--set", f"{name}={json.dumps(value)}")]
    gallery, *probes = map(str, videos)
    code = run(["demo", "--gallery", gallery, "--output", str(home), "--fresh", *changes, "--probe", *probes])
    if code:
        raise SystemExit(code)
    print(json.dumps(meter.shares()))


def names(home: Path) -> str:
    """Return how many tracks of known people in the probe are right, wrong and without a name."""
    from app.results.report import Report
    from tests.truth import boxes_of, person_of

    (file,) = home.glob("OutputVideos/*/results.json")
    report = Report.model_validate_json(file.read_text(encoding="utf-8"))
    assert report.gallery is not None
    truth = boxes_of(CLIPS / "gallery.gt.txt")
    people = {track.identity: person_of(track, truth) for track in report.gallery.tracks if track.identity}
    right = wrong = missing = 0
    for probe in report.probes:
        truth = boxes_of(CLIPS / f"{probe.name}.gt.txt")
        for track in probe.tracks:
            person = person_of(track, truth)
            if track.identity:
                right += people[track.identity] == person
                wrong += people[track.identity] != person
            elif track.status == "unknown" and person in people.values():
                missing += 1
    return f"{right} right, {wrong} wrong, {missing} missing"


def speed(shared: Path, rounds: int, to: float | None) -> None:
    """Print what each of `STEPS` costs, and what the looks of each speed cost in tracking."""
    videos = [CLIPS / "gallery.mp4", CLIPS / "probe1.mp4"]
    part = {"video.end": to} if to is not None else {}
    costs: dict[str, list[Cost]] = {name: [] for name in STEPS}
    found: dict[str, str] = {}
    for _ in range(rounds):
        for name, settings in STEPS.items():
            with tempfile.TemporaryDirectory() as folder:
                costs[name].append(child({**settings, **part}, Path(folder), videos))
                found[name] = names(Path(folder))
    frames = 2 * round(25 * min(9.0, to or 9.0))
    best = {name: min(of, key=lambda cost: cost.cpu) for name, of in costs.items()}
    first = next(iter(best.values())).cpu
    print(f"{frames} frames of 854x480, best of {rounds} rounds")
    titles = f"{'in kernels':>12}{'in networks':>13}{'frames/s a core':>17}{'cores busy':>12}{'MiB':>6}"
    print(f"{'':32}{'CPU s':>7}{'gain':>6}{titles}")
    for name, cost in best.items():
        print(
            f"{name:32}{cost.cpu:7.1f}{first / cost.cpu:6.2f}{cost.share():12.0%}{cost.share(NETWORKS):13.0%}"
            f"{frames / cost.cpu:17.1f}{cost.cpu / cost.clock:12.2f}{cost.memory:6.0f}   {found[name]}"
        )
    tracking(shared)


def share(rounds: int) -> None:
    """Print where the CPU time of the README's first command goes."""
    costs = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            costs.append(child({}, Path(folder), [CLIPS / "gallery.mp4", CLIPS / "probe1.mp4"]))
    cost = min(costs, key=lambda cost: cost.cpu)
    for kind, seconds in sorted(cost.kernels.items(), key=lambda item: -item[1]):
        print(f"{kind:36}{seconds:7.2f} s{cost.share(kind):7.1%}")
    print(f"{'around the kernels':36}{cost.cpu - sum(cost.kernels.values()):7.2f} s{1 - cost.share():7.1%}")
    shares = sorted(each.share() for each in costs)
    print(f"In kernels {cost.share():.1%} of {cost.cpu:.1f} s; of all rounds {shares[0]:.1%} to {shares[-1]:.1%}")
    print(f"{cost.cpu / cost.clock:.2f} cores busy, {cost.memory:.0f} MiB, load {os.getloadavg()[0]:.1f}")


def tracking(shared: Path) -> None:
    """Print IDF1 and MOTA at the looks of each speed; the detector has seen every frame."""
    try:
        import motmetrics  # noqa: F401
    except ImportError:
        print('Tracking needs motmetrics: pip install -e ".[benchmark]"')
        return
    from app.settings import PROFILES, DetectorSettings, TrackSettings
    from app.weights.checkpoints import checkpoint_roots
    from app.weights.registry import detectors
    from tests.benchmarks.tracking import CLIPS as REAL
    from tests.benchmarks.tracking import detected, followed, scores

    for clip, file in REAL.items():
        path = shared / "videos" / file
        if not path.exists():
            print(f"{clip}: {path} is not there")
            continue
        detector = detectors.build(DetectorSettings(), checkpoint_roots(ROOT / "checkpoints"))
        people, fps, _ = detected(detector, path)
        truth = np.loadtxt(path.with_name(f"{clip}.gt.txt"), delimiter=",", usecols=range(6), dtype=np.float32)
        for name, profile in PROFILES.items():
            settings = TrackSettings(new_score=detector.card.sure)
            measured = scores(truth, followed(people, fps, profile["video.looks"], settings))
            print(f"{clip:16}{name:10} IDF1 {measured['idf1']:.3f}  MOTA {measured['mota']:.3f}")


def memory(frames: int) -> None:
    """Print the largest memory of processes that follow people for 300 and for `frames` frames, in two videos each."""
    for count in (300, frames):
        with tempfile.TemporaryDirectory() as folder:
            videos = [Path(folder) / f"{name}.mp4" for name in ("gallery", "probe")]
            for video in videos:
                draw(video, count // 2, 25)
            cost = child({}, Path(folder) / "out", videos)
        print(f"{count} frames: {cost.memory:.0f} MiB, {count / cost.cpu:.1f} frames/s a core")


GROWTH: Mapping[str, tuple[int, int, Mapping[str, Any]]] = {
    "two videos of 640x360": (1, 100, {}),
    "the same in 4K": (1, 100, {"width": 3840, "height": 2160}),
    "forty people in view at once, 1920x1080": (1, 50, {"width": 1920, "height": 1080, "people": 40, "gap": 0.1}),
    "a hundred probes of two seconds": (100, 50, {}),
}
"""Numbers of probes and of frames of each video, and how they are drawn."""


def growth() -> None:
    """Print what a frame takes and the largest memory, for jobs that grow in different ways."""
    for name, (probes, frames, drawn) in GROWTH.items():
        with tempfile.TemporaryDirectory() as folder:
            videos = [Path(folder) / f"{number}.mp4" for number in range(1 + probes)]
            for number, video in enumerate(videos):
                draw(video, frames, 25, seed=number, **drawn)
            cost = child({}, Path(folder) / "out", videos)
        pace = 1000 * cost.cpu / (frames * len(videos))
        print(f"{name:42}{pace:7.1f} ms a frame of CPU time, {cost.memory:5.0f} MiB", flush=True)


def batches(rounds: int) -> None:
    """Print what a picture costs alone, side by side with others, and in a batch."""
    from app.settings import cores
    from app.weights.checkpoints import HOME, CheckpointFile
    from app.weights.networks import open_network

    folder, random = HOME / "embedded", np.random.default_rng(0)
    for stage, size in (("detector", (384, 640)), ("segmenter", None)):
        path = CheckpointFile.given(folder / stage / f"gaitprint-{stage}.onnx")
        alone, wide = open_network(path), open_network(path, threads=cores())
        (port,) = alone.get_inputs()
        shape = (3, *size) if size else tuple(port.shape[1:])

        for count in (2, 4, 8):
            together = random.random((count, *shape), np.float32) * (255 if size else 1)
            with ThreadPoolExecutor(cores()) as pool:
                taken = turns(_ways(alone, wide, pool, port.name, together), rounds)
            for name, (clock, processor) in taken.items():
                print(
                    f"{stage} ({alone.runtime}), {count} cameras, {name:28}"
                    f"{clock / count:7.2f} ms, {processor / count:7.2f} ms of processor time"
                )
    print(f"Load {os.getloadavg()[0]:.1f}")


def _ways(
    alone: Network, wide: Network, pool: ThreadPoolExecutor, name: str, together: Any
) -> Mapping[str, Callable[[], object]]:
    """Return the ways in which a network may look at pictures (N, 3, H, W)."""

    def look(picture: Any) -> object:
        return alone.run(None, {name: picture[None]})

    return {
        "one after the other": lambda: [look(picture) for picture in together],
        "side by side": lambda: list(pool.map(look, together)),
        "one batch, one thread": lambda: alone.run(None, {name: together}),
        "one batch, a thread a core": lambda: wide.run(None, {name: together}),
    }


def turns(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, tuple[float, float]]:
    """Let the ways take turns; return for each the least milliseconds by the clock and of processor time."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            clock, processor = time.perf_counter(), time.process_time()
            way()
            if number:  # the first round warms up
                taken[name].append((time.perf_counter() - clock, time.process_time() - processor))
    least = {name: 1000 * np.min(each, axis=0) for name, each in taken.items()}
    return {name: (float(clock), float(processor)) for name, (clock, processor) in least.items()}


def draw(
    path: Path,
    frames: int,
    fps: int,
    *,
    width: int = 640,
    height: int = 360,
    people: int | None = None,
    gap: float = 2.0,
    seed: int = 1,
) -> None:
    """Write a clip in which somebody new enters every `gap` seconds."""
    from tests.clips import Walker, crossing, write_clip

    walkers = [Walker(number) for number in range(people or max(4, frames // (2 * fps)))]
    scene = crossing(
        walkers, gap=gap, first=-2 * max(gap, 1.0), seconds=frames / fps, fps=Fraction(fps), width=width, height=height,
        seed=seed,
    )  # fmt: skip
    write_clip(path, scene)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "share", "memory", "growth", "batches", "one"])
    parser.add_argument("videos", type=Path, nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--to", type=float)
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--settings", type=json.loads, default={}, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.what == "speed":
        speed(arguments.shared, arguments.rounds, arguments.to)
    elif arguments.what == "share":
        share(arguments.rounds)
    elif arguments.what == "one":
        one(arguments.settings, arguments.home, arguments.videos)
    elif arguments.what == "growth":
        growth()
    elif arguments.what == "batches":
        batches(arguments.rounds)
    else:
        memory(arguments.frames)
