"""Milliseconds for each crop an ONNX matte network cuts, and for the work around it; ratios from one run.

python -m tests.benchmarks.segmenters ../shared/models/selfie_segmentation.onnx
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime as ort

from app.segment.onnx_matte import OnnxMatte
from app.settings import SegmenterSettings
from app.types import Frame, Matte
from app.walks.silhouette import cut, normalise
from app.weights.checkpoints import CheckpointFile

REPEATS = 7
_CALLS = 50


def measure(cases: dict[str, Callable[[], object]], each: int, baseline: str) -> None:
    """Run the cases in turn, several times; print the median ms for each of `each` items and the ratio."""
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for case in cases.values():
        case()
    for _ in range(REPEATS):
        for name, case in cases.items():
            begin = time.perf_counter()
            case()
            seconds[name].append(time.perf_counter() - begin)
    medians = {name: statistics.median(values) * 1000 / each for name, values in seconds.items()}
    for name, value in medians.items():
        print(f"{name:44s} {value:8.3f} ms   {medians[baseline] / value:5.2f} x")


def networks(path: Path, crops: int) -> None:
    """Compare one crop after the other, on one or two threads, and the whole stage with crops side by side."""
    random = np.random.default_rng(0)
    frame = Frame(0, 0.0, random.integers(0, 256, (480, 854, 3), np.uint8))
    corners = random.uniform(0, 300, (crops, 2))
    boxes = np.hstack([corners, corners + np.array([60, 160])]).astype(np.float32)
    checkpoint = CheckpointFile(path, "given")
    cases: dict[str, Callable[[], object]] = {}
    for threads in (2, 1):
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        into = session.get_inputs()[0]
        one = random.random([size if isinstance(size, int) else 1 for size in into.shape], np.float32)
        cases[f"network alone, one by one, {threads} threads"] = lambda session=session, name=into.name, one=one: [
            session.run(None, {name: one}) for _ in range(crops)
        ]
    for workers in (1, 2):
        stage = OnnxMatte(checkpoint, SegmenterSettings(threads=workers))
        cases[f"whole stage, {workers} side by side"] = lambda stage=stage: stage.segment([frame], [boxes])
    measure(cases, crops, "network alone, one by one, 2 threads")


def silhouettes() -> None:
    """Time what follows the network, by the height of the person."""
    for height in (100, 250, 900):
        width = height // 2
        alpha = np.zeros((round(height * 1.2), round(width * 1.4)), np.uint8)
        top, left = round(height * 0.1), round(width * 0.3)
        alpha[top : top + height, left : left + width // 2] = 255
        alpha[top + height // 2 : top + height, left + width // 5 : left + width // 4] = 0
        matte = Matte(100, 100, alpha)
        box = np.array([100 + left, 100 + top, 100 + left + width, 100 + top + height], np.float32)
        nobody, neighbour = np.zeros((0, 4), np.float32), (box + width / 2)[None].astype(np.float32)
        mask = cut(matte, box, nobody, 0.4)
        assert mask is not None
        cases: dict[str, Callable[[], object]] = {
            f"cut, {height} px high": partial(cut, matte, box, nobody, 0.4),
            f"cut beside a neighbour, {height} px high": partial(cut, matte, box, neighbour, 0.4),
            f"normalise, {height} px high": partial(normalise, mask),
        }
        measure({name: partial(_repeat, case) for name, case in cases.items()}, _CALLS, f"cut, {height} px high")


def _repeat(case: Callable[[], object]) -> None:
    for _ in range(_CALLS):
        case()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", type=Path, help="an ONNX matte network")
    parser.add_argument("--crops", type=int, default=32)
    arguments = parser.parse_args()
    networks(arguments.network, arguments.crops)
    silhouettes()
