"""Detectors side by side: ``python -m tests.benchmarks.detectors [nano] [small] [large] [boxes]``.

`nano`: the embedded detector, in float32 and in 8 bits, beside a YOLOX-nano at random weights, all at 640x384 in ONNX
Runtime. `small`: YOLOX-S at 640x640, torch and ONNX Runtime, batches, threads. `large`: YOLOX-X in ByteTrack's 800x1440
on an upright 480x854 frame, from the earlier demo's way to ours. Both at random weights. `boxes`: what bfloat16 and the
padding do to the boxes of a real network on real clips (needs ../shared). All variants of a table take turns, round by
round, so that the ratios hold on a busy machine; the medians are printed. Needs the package `onnx`.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import av
import numpy as np
import onnx
import onnxruntime
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from app.detect.letterbox import Letterboxed, letterbox, normalised, people
from app.detect.yolox import CSPBlock, DecoupledHead, Yolox, YoloxLayout
from app.types import Detections, Floats, Image
from app.weights.checkpoints import HOME
from app.weights.quantised import quantised_path, unpacked

SHARED = Path(__file__).resolve().parents[3] / "shared"
CLIPS = ("aio_gallery.mp4", "vtest.avi", "intel_one-by-one.mp4")


def network(layout: YoloxLayout, images: Tensor) -> Yolox:
    """Random weights, with batch norms fitted to `images` so that values neither fade nor explode."""
    model = Yolox(layout).train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        model(images)
    # As in a trained network, nearly all cells see nobody: thousands of boxes would measure the NMS.
    for objectness in model.head.obj_preds:
        assert isinstance(objectness, nn.Conv2d)
        assert objectness.bias is not None
        nn.init.zeros_(objectness.weight)
        nn.init.constant_(objectness.bias, -8.0)
    return model.eval()


def onnx_runner(model: Yolox, shape: tuple[int, ...], threads: int) -> Callable[[Tensor], object]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "yolox.onnx"
        torch.onnx.export(
            model, (torch.rand(shape),), str(file), dynamo=False, input_names=["x"], dynamic_axes={"x": {0: "n"}}
        )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"x": x.numpy()})


def torch_runner(model: Yolox, layout: bool) -> Callable[[Tensor], object]:
    dtype = next(model.parameters()).dtype
    form = torch.channels_last if layout else torch.contiguous_format
    return lambda x: model(x.to(dtype=dtype, memory_format=form))


def race(
    variants: Mapping[str, Callable[[], object]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Median seconds of each variant, all run in turn; each warms up anew, as the others took the caches."""
    times: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, run in variants.items():
            run()
            start = clock()
            run()
            times[name].append(clock() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def table(title: str, seconds: Mapping[str, float]) -> None:
    base = next(iter(seconds.values()))
    print(f"\n{title}")
    for name, value in seconds.items():
        print(f"  {name:44} {value * 1e3:8.1f} ms/frame  {base / value:5.2f}x")


def nano(rounds: int) -> None:
    """Processor time of the whole process, because each network decides how many threads it can use."""
    plain = network(YoloxLayout(16, 1, 80, True), torch.rand(2, 3, 160, 160) * 255)
    embedded = HOME / "embedded" / "detector" / "gaitprint-detector.onnx"
    x = np.random.default_rng(0).random((1, 3, 384, 640), np.float32) * 255
    for threads in (1, 2):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        runners: dict[str, Callable[[], object]] = {}
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "nano.onnx"
            torch.onnx.export(plain, (torch.from_numpy(x),), str(file), dynamo=False, input_names=["x"])
            for name, content in (
                ("YOLOX-nano, float32", file.read_bytes()),
                ("embedded detector, float32", embedded.read_bytes()),
                ("embedded detector, 8 bits", unpacked(quantised_path(embedded))),
            ):
                session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
                runners[name] = partial(session.run, None, {session.get_inputs()[0].name: x})
        table(
            f"640x384, {threads} threads, one frame at a time, processor time", race(runners, rounds, time.process_time)
        )


def small(rounds: int) -> None:
    plain = network(YoloxLayout(32, 1, 80, False), torch.rand(2, 3, 160, 160) * 255)
    fused, half = copy.deepcopy(plain).for_inference(), copy.deepcopy(plain).for_inference(torch.bfloat16)
    for threads in (1, 2):
        torch.set_num_threads(threads)
        exported = onnx_runner(plain, (1, 3, 640, 640), threads)
        for batch in (1, 4, 8):
            x = torch.rand(batch, 3, 640, 640) * 255
            runners = {
                "torch, as trained": torch_runner(plain, False),
                "torch, fused, channels last": torch_runner(fused, True),
                "torch, fused, channels last, bfloat16": torch_runner(half, True),
                "ONNX Runtime": exported,
            }
            with torch.inference_mode():
                seconds = race({name: _bind(run, x) for name, run in runners.items()}, rounds)
            title = f"YOLOX-S, 640x640, {threads} threads, batch {batch}"
            table(title, {name: value / batch for name, value in seconds.items()})


LARGE = {
    "full padding, as trained": ("plain", 1, True),
    "stride padding, as trained": ("plain", 1, False),
    "stride padding, fused, channels last": ("fused", 1, False),
    "the same, batch 4": ("fused", 4, False),
    "bfloat16": ("bfloat16", 1, False),
    "bfloat16, batch 4": ("bfloat16", 4, False),
    "ONNX Runtime, stride padding": ("onnx", 1, False),
}


def large(rounds: int) -> None:
    """Run each variant in a process of its own, in turn, so that none finds memory the others have split up."""
    times: dict[str, list[float]] = {name: [] for name in LARGE}
    for _ in range(rounds):
        for name in LARGE:
            command = [sys.executable, "-W", "ignore", "-m", "tests.benchmarks.detectors", "--variant", name]
            times[name].append(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    table(
        "YOLOX-X, 800x1440, an upright 480x854 frame, 2 threads, from pixels to boxes",
        {name: statistics.median(values) for name, values in times.items()},
    )


def one_of_large(name: str) -> None:
    """Print the seconds a frame of one variant: the median of three batches after one to warm up."""
    kind, count, full = LARGE[name]
    torch.set_num_threads(2)
    plain = network(YoloxLayout(80, 4, 1, False), torch.rand(2, 3, 160, 160) * 4 - 2)
    if kind == "onnx":
        exported = onnx_runner(plain, (1, 3, 800, 480), 2)
        run: Callable[[Tensor], object] = lambda x: exported(x.contiguous())  # noqa: E731
    elif kind == "plain":
        run = torch_runner(plain, False)
    else:
        run = torch_runner(plain.for_inference(torch.bfloat16 if kind == "bfloat16" else torch.float32), True)
    frame = np.random.default_rng(0).integers(0, 256, (854, 480, 3), dtype=np.uint8)

    def once() -> object:
        boxed = letterbox([frame] * count, (800, 1440), full=full)
        images = torch.from_numpy(normalised(boxed.pixels, "imagenet")).contiguous(memory_format=torch.channels_last)
        found = run(images)
        outputs: Floats = found.numpy() if isinstance(found, Tensor) else np.asarray(found)[0]
        return people(outputs, boxed, decoded=False, score=0.3, nms_iou=0.7)

    with torch.inference_mode():
        once()
        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            once()
            seconds.append((time.perf_counter() - start) / count)
    print(statistics.median(seconds))


def boxes() -> None:
    torch.set_num_threads(2)
    exact = transplanted(SHARED / "models" / "yolox_nano.onnx")
    rough = copy.deepcopy(exact).for_inference(torch.bfloat16)
    print("\nBoxes of YOLOX-nano (416) scoring at least 0.3 against those of float32 with stride padding, frame px")
    for clip in CLIPS:
        images = list(every_twelfth(SHARED / "videos" / clip, 40))
        near, far = letterbox(images, (416, 416)), letterbox(images, (416, 416), full=True)
        wanted = found_in(exact, near)
        for name, found in (("bfloat16", found_in(rough, near)), ("full padding", found_in(exact, far))):
            compare(f"{clip}: {name}", wanted, found)


def compare(title: str, wanted: list[Detections], found: list[Detections]) -> None:
    shifts: list[float] = []
    scores: list[float] = []
    lost = 0
    for ours, theirs in zip(wanted, found, strict=True):
        for box, score in zip(ours.boxes, ours.scores, strict=True):
            if score < 0.3:
                continue
            shift = np.abs(theirs.boxes - box).max(axis=1, initial=0.0)
            nearest = int(shift.argmin()) if len(shift) else -1
            if nearest < 0 or shift[nearest] > 0.5 * (box[3] - box[1]):
                lost += 1
                continue
            shifts.append(float(shift[nearest]))
            scores.append(float(abs(theirs.scores[nearest] - score)))
    print(
        f"  {title:36} {len(shifts) + lost} boxes, {lost} lost; edge shift median {np.median(shifts):.2f}, "
        f"95 % {np.quantile(shifts, 0.95):.2f}, largest {max(shifts):.2f} px; "
        f"score median {np.median(scores):.4f}, largest {max(scores):.3f}"
    )


def found_in(model: Yolox, boxed: Letterboxed) -> list[Detections]:
    dtype = model.backbone.lateral_conv0.conv.weight.dtype
    with torch.inference_mode():
        outputs = model(torch.from_numpy(boxed.pixels).permute(0, 3, 1, 2).to(dtype)).numpy()
    return people(outputs, boxed, decoded=False, score=0.1, nms_iou=0.7)


def every_twelfth(path: Path, count: int) -> Iterator[Image]:
    with av.open(str(path)) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index >= 12 * count:
                return
            if index % 12 == 0:
                yield frame.to_ndarray(format="bgr24").astype(np.uint8)


def transplanted(path: Path) -> Yolox:
    """The real YOLOX-nano in torch: the weights of its ONNX export, whose batch norms are folded already."""
    graph = onnx.load(str(path)).graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    model = Yolox(YoloxLayout(16, 1, 80, True)).for_inference()
    nodes = [node for node in graph.node if node.op_type == "Conv"]
    for layer, node in zip(in_order(model), nodes, strict=True):
        layer.load_state_dict({
            "weight": torch.from_numpy(arrays[node.input[1]].copy()),
            "bias": torch.from_numpy(arrays[node.input[2]].copy()),
        })  # fmt: skip
    return model


def in_order(module: nn.Module) -> Iterator[nn.Conv2d]:
    """The convolutions in the order of the official graphs' nodes."""
    parts: list[nn.Module]
    if isinstance(module, nn.Conv2d):
        yield module
        return
    if isinstance(module, CSPBlock):
        parts = [module.conv1, module.conv2, module.m, module.conv3]
    elif isinstance(module, DecoupledHead):
        head = (module.stems, module.cls_convs, module.cls_preds, module.reg_convs, module.reg_preds, module.obj_preds)
        parts = [branch[level] for level in range(3) for branch in head]
    else:
        parts = list(module.children())
    for part in parts:
        yield from in_order(part)


def _bind(run: Callable[[Tensor], object], x: Tensor) -> Callable[[], object]:
    return lambda: run(x)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variant", choices=list(LARGE), help="one row of `large`, used by itself")
    parser.add_argument("parts", nargs="*", default=["nano", "small", "large", "boxes"])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.manual_seed(0)
    if options.variant:
        one_of_large(options.variant)
        return
    if "nano" in options.parts:
        nano(options.rounds)
    if "small" in options.parts:
        small(options.rounds)
    if "large" in options.parts:
        large(options.rounds)
    if "boxes" in options.parts and SHARED.is_dir():
        boxes()


if __name__ == "__main__":
    main()
