"""GaitBase at full size and random weights on one walk of 30 frames, 64x44: ``python -m tests.benchmarks.gait``.

Every variant runs in turn, round by round, so that the ratios hold on a busy machine; the medians are printed.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor

from app.gait.layers import ConvNorm, prepare_for_inference
from app.gait.models.gaitbase import GaitBase


def randomise(network: GaitBase) -> GaitBase:
    """Random batch-norm statistics, so that folding them has something to do."""
    generator = torch.Generator().manual_seed(0)
    for name, value in network.state_dict().items():
        if name.endswith("running_mean"):
            value.normal_(0, 0.1, generator=generator)
        elif name.endswith("running_var"):
            value.uniform_(0.5, 1.5, generator=generator)
    return network.eval()


def onnx_runner(network: GaitBase, walk: Tensor, threads: int) -> Callable[[Tensor], Tensor]:
    class Export(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, frames: Tensor) -> Tensor:
            embedding: Tensor = self.network.head(self.network.frame_features(frames).amax(0, keepdim=True))
            return embedding

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "gaitbase.onnx"
        torch.onnx.export(
            Export().eval(),
            (walk[0, :, None],),
            str(file),
            dynamo=False,
            input_names=["x"],
            dynamic_axes={"x": {0: "t"}},
        )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    return lambda x: torch.from_numpy(session.run(None, {"x": x[0, :, None].numpy()})[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--frames", type=int, default=30)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    plain = randomise(GaitBase())
    walk = torch.from_numpy((np.random.default_rng(0).random((1, options.frames, 64, 44)) > 0.5).astype(np.float32))
    last = copy.deepcopy(plain)
    for parameter in last.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    fused = copy.deepcopy(plain)
    for module in fused.modules():
        if isinstance(module, ConvNorm):
            module.fuse()
    both = copy.deepcopy(plain)
    prepare_for_inference(both)

    def chunked(network: GaitBase, frames: int) -> Callable[[Tensor], Tensor]:
        def run(x: Tensor) -> Tensor:
            parts = [network.frame_features(part).amax(0) for part in torch.split(x[0, :, None], frames)]
            return network.head(torch.stack(parts).amax(0, keepdim=True))

        return run

    def bf16(x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            embedding: Tensor = both.embed(x).float()
            return embedding

    variants: dict[str, Callable[[Tensor], Tensor]] = {
        "torch": plain.embed,
        "torch, channels last": last.embed,
        "torch, fused": fused.embed,
        "torch, fused, channels last": both.embed,
        "the same in chunks of 16": chunked(both, 16),
        "the same in chunks of 8": chunked(both, 8),
        "torch, fused, channels last, bfloat16": bf16,
        "ONNX Runtime": onnx_runner(plain, walk, options.threads),
    }
    times: dict[str, list[float]] = {name: [] for name in variants}
    with torch.inference_mode():
        expected = plain.embed(walk)
        error = {
            name: float((run(walk) - expected).abs().max() / expected.abs().max()) for name, run in variants.items()
        }
        for _ in range(options.rounds):
            for name, run in variants.items():
                start = time.perf_counter()
                run(walk)
                times[name].append(time.perf_counter() - start)
    base = statistics.median(times["torch"])
    for name, seconds in times.items():
        median = statistics.median(seconds)
        print(f"{name:40} {1e3 * median:7.1f} ms  {base / median:5.2f} times as fast, error {error[name]:.1e}")


if __name__ == "__main__":
    main()
