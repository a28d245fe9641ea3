"""Making the 8-bit version of a network: ``python -m app models quantise NETWORK --data FOLDER``.

Weights become 7 bits and activations 8, with nodes that ONNX Runtime fuses to integer kernels ("QDQ", static
quantisation: Jacob et al. 2018, arXiv 1712.05877). Each output channel of a convolution has a scale of its own. The
scales of activations are learnt from pictures as the network sees them in videos. What follows the last convolutions,
and these themselves, stay in float32, because they give boxes and probabilities. Processors without instructions for 8
bits (VNNI) add products of bytes in 16 bits, which weights of 7 bits cannot overflow.
"""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from app.errors import CheckpointError, VideoError, needing
from app.files import write_text, written_whole
from app.progress import Progress, Silent
from app.settings import DetectorSettings, PoseSettings, SegmenterSettings
from app.stages import Detector, PoseEstimator, Segmenter
from app.types import Detections, Floats, Frame, Matte, VideoInfo
from app.video.reader import VideoReader
from app.video.sources import videos_in
from app.weights.checkpoints import HOME, CheckpointFile
from app.weights.devices import CPU
from app.weights.networks import Way, measured, processor, watched
from app.weights.quantised import SOURCE, quantised_path
from app.weights.registry import Registry, detectors, pose_models, segmenters

_SURE = 0.5
"""Boxes of at least this score are cut out and compared."""
_LEAST = 0.85
"""The least agreement with the float network of an 8-bit version that is worth having."""


@dataclass(frozen=True)
class Quantised:
    """An 8-bit version that was made, of so many bytes, and the page about it.

    `figures` say how its answers compare with the float network's on videos that it was not calibrated with, and
    `milliseconds` are the CPU time for a picture on one thread, of the float network and of this one.
    """

    path: Path
    page: Path
    figures: str
    milliseconds: tuple[float, float]
    size: int


@dataclass(frozen=True)
class _Clip:
    """A few frames of one video, and where its people are: (N, 4) px of each frame."""

    info: VideoInfo
    frames: list[Frame]
    boxes: list[Floats]


def quantise(path: Path, data: Path, frames: int = 24, progress: Progress | None = None) -> Quantised:
    """Write the 8-bit version of a network beside it, and a page about it.

    The network is the ``.onnx`` file of a detector, a segmenter or a pose network. `data` is a folder with at least two
    videos of people, of each of which `frames` are looked at, evenly spread. Every fourth video, at least the last one,
    is kept to compare the two; all others calibrate.

    Raises:
        CheckpointError: the file is no such network, or its 8-bit version would answer too differently.
        VideoError: the folder has too few videos, or nobody is in them.
        MissingExtraError: the package `onnx` is not installed.
        OutputError: the file cannot be written.
    """
    with needing('Quantising a network needs onnx: pip install -e ".[train]"'):
        import onnx  # noqa: F401
    file = CheckpointFile.given(path)
    videos = videos_in(data)
    if len(videos) < 2:
        raise VideoError(f"{data} has {len(videos)} videos. Calibrating and comparing needs at least two.")
    clips = _clips(videos, frames, progress or Silent())
    compared = clips[3::4] or clips[-1:]
    calibrating = [clip for clip in clips if clip not in compared]
    pictures: list[dict[str, Any]] = []
    with watched(pictures.append):
        stage = _stage(file, "float32")
        pictures.clear()  # of what the stage tries when it is loaded
        for clip in calibrating:
            _answers(stage, clip)
    if not pictures:
        raise VideoError(f"Nobody was found in the videos of {data}, so there is nothing to calibrate with.")
    small = quantised_path(file.path)
    with tempfile.TemporaryDirectory() as folder:
        content = _converted(file, pictures, Path(folder))
        trial = Path(folder) / file.path.name
        trial.write_bytes(file.path.read_bytes())
        quantised_path(trial).write_bytes(content)
        floats = [_answers(stage, clip) for clip in compared]
        integers = _stage(CheckpointFile(trial, "given"), "int8")
        likeness, figures = _compared(floats, [_answers(integers, clip) for clip in compared])
        seconds = measured([Way(trial, CPU, "float32"), Way(quantised_path(trial), CPU, "int8")])
    names = ", ".join(clip.info.path.name for clip in compared)
    if likeness < _LEAST:
        raise CheckpointError(
            f"The 8-bit version of {file.path.name} was not written, because it answers too differently on {names}: "
            f"{figures}. Give --data more videos that look like those it will see."
        )
    with written_whole(small) as temporary:
        temporary.write_bytes(content)
    page = small.with_name(small.name.removesuffix(".onnx.gz") + ".md")
    times = tuple(1000 * taken for taken in seconds.values())
    milliseconds = (times[0], times[-1])
    calibrated_on = [clip.info.path.name for clip in calibrating]
    count = sum(len(next(iter(picture.values()))) for picture in pictures)
    write_text(page, _page(file, figures, names, calibrated_on, count, milliseconds))
    return Quantised(small, page, figures, milliseconds, len(content))


def _stage(file: CheckpointFile, precision: Any) -> Detector | Segmenter | PoseEstimator:
    """Load the stage that reads a file, on the CPU."""
    readers: list[tuple[Registry[Any, Any], Any]] = [
        (detectors, DetectorSettings(device="cpu", precision=precision)),
        (segmenters, SegmenterSettings(device="cpu", precision=precision)),
        (pose_models, PoseSettings(device="cpu", precision=precision)),
    ]
    for registry, settings in readers:
        for entry in registry.entries():
            if file.path.suffix == ".onnx" and entry.accepts is not None and entry.accepts(file.path):
                stage: Detector | Segmenter | PoseEstimator = entry.build(file, settings)
                return stage
    raise CheckpointError(
        f"{file.path} cannot be quantised. Only ONNX files of detectors, segmenters and pose networks can."
    )


def _clips(videos: Sequence[Path], frames: int, progress: Progress) -> list[_Clip]:
    """Read a few frames of each video, and find the people in them with the detector that runs use by default."""
    detector = detectors.build(DetectorSettings(device="cpu", precision="float32"), (HOME,))
    clips = []
    with progress.stage("Videos", len(videos)) as done:
        for video in videos:
            with VideoReader(video) as reader:
                every = max(1, (reader.info.frame_count or frames) // frames)
                kept = [frame for frame in reader if frame.index % every == every // 2]
                detector.start(reader.info)
                boxes = [found.boxes[found.scores >= _SURE] for found in detector.detect(kept)]
                clips.append(_Clip(reader.info, kept, boxes))
            done(1)
    return clips


def _answers(stage: Detector | Segmenter | PoseEstimator, clip: _Clip) -> list[Any]:
    """Return what a stage says of each frame: `Detections`, mattes or keypoints."""
    stage.start(clip.info)
    if isinstance(stage, Detector):
        return list(stage.detect(clip.frames))
    if isinstance(stage, Segmenter):
        return list(stage.segment(clip.frames, clip.boxes))
    return list(stage.estimate(clip.frames, clip.boxes))


def _compared(floats: Sequence[Sequence[Any]], integers: Sequence[Sequence[Any]]) -> tuple[float, str]:
    """Return how alike two stages' answers are, 0..1, and the figures in words."""
    pairs = [pair for one, other in zip(floats, integers, strict=True) for pair in zip(one, other, strict=True)]
    if isinstance(pairs[0][0], Detections):
        return _compared_boxes(pairs)
    people = [pair for one, other in pairs for pair in zip(one, other, strict=True)]
    if not people:
        raise VideoError("Nobody was found in the videos that are kept to compare. Give --data other videos.")
    if isinstance(people[0][0], Matte):
        masks = [(one.alpha >= 128, other.alpha >= 128) for one, other in people]
        shares = [float((one & other).sum() / max(1, (one | other).sum())) for one, other in masks]
        mean = float(np.mean(shares))
        return mean, f"mean IoU of {len(shares)} silhouettes with the float network's {mean:.3f}"
    joints = [(one[:, :2] - other[:, :2], max(np.ptp(one[:, 1]), 1.0)) for one, other in people]
    moved = np.concatenate([np.linalg.norm(change, axis=1) / height for change, height in joints])
    return float((moved < 0.1).mean()), (
        f"{len(people)} people's keypoints move by {100 * np.median(moved):.1f} % of the height from head to feet "
        f"(median), {100 * np.quantile(moved, 0.95):.1f} % (95 of 100)"
    )


def _compared_boxes(pairs: Sequence[tuple[Detections, Detections]]) -> tuple[float, str]:
    from app.track.assignment import assign
    from app.track.bytetrack import iou

    shared, ious, changes, count = 0, [], [], 0
    for one, other in pairs:
        sure, also = one.scores >= _SURE, other.scores >= _SURE
        overlaps = iou(one.boxes[sure], other.boxes)
        found = [(row, column) for row, column in assign(overlaps) if overlaps[row, column] >= 0.5]
        ious += [float(overlaps[pair]) for pair in found]
        changes += [float(abs(one.scores[sure][row] - other.scores[column])) for row, column in found]
        both = assign(np.where(iou(one.boxes[sure], other.boxes[also]) >= 0.5, 1.0, 0.0))
        shared, count = shared + 2 * len(both), count + int(sure.sum() + also.sum())
    if not ious:
        raise VideoError("Nobody was found in the videos that are kept to compare. Give --data other videos.")
    likeness = shared / count
    return likeness, (
        f"{100 * likeness:.1f} % of the boxes with a score of {_SURE} are those of the float network (IoU 0.5); "
        f"IoU with them {np.median(ious):.3f} (median), scores differ by {np.median(changes):.3f} (median), "
        f"{len(pairs)} frames"
    )


def _converted(file: CheckpointFile, pictures: Sequence[dict[str, Any]], folder: Path) -> bytes:
    """Return the compressed 8-bit version of a network. `folder` is for files between."""
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Pictures(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left = iter(pictures)

        def get_next(self) -> dict[str, Any] | None:
            return next(self._left, None)

    prepared, made = folder / "prepared.onnx", folder / "made.onnx"
    quant_pre_process(str(file.path), str(prepared), skip_symbolic_shape=True)
    quantize_static(
        str(prepared),
        str(made),
        Pictures(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        reduce_range=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=_last(onnx.load(str(prepared)).graph),
    )
    model = onnx.load(str(made))
    stated = {stated.key: stated.value for stated in onnx.load(str(file.path)).metadata_props}
    onnx.helper.set_model_props(model, {**stated, SOURCE: file.sha256()})
    return gzip.compress(model.SerializeToString(), mtime=0)


def _last(graph: Any) -> list[str]:
    """Return the names of the nodes after which no convolution comes: the last convolutions, and all that follows."""
    users: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    before_convolutions: set[str] = set()
    last = []
    for node in reversed(graph.node):  # a graph lists its nodes in the order in which they run
        after = [user for name in node.output for user in users.get(name, [])]
        if any(user.op_type == "Conv" or user.name in before_convolutions for user in after):
            before_convolutions.add(node.name)
        else:
            last.append(node.name)
    return last


def _page(
    file: CheckpointFile,
    figures: str,
    compared: str,
    calibrating: Sequence[str],
    pictures: int,
    milliseconds: tuple[float, float],
) -> str:
    import onnxruntime

    name = file.path.name
    return (
        f"# The 8-bit version of {name}\n\n"
        f"Made from `{name}` (sha256 `{file.sha256()[:8]}`) with ONNX Runtime {onnxruntime.__version__} by "
        f"`python -m app models quantise`. Weights have 7 bits and a scale for each channel, activations 8; the last "
        f"convolutions and what follows are in float32. It has the licence of `{name}`, whose page says what it was "
        f"trained on.\n\n"
        f"- Calibrated with {pictures} pictures from {', '.join(calibrating)}.\n"
        f"- Compared with the float network on {compared}: {figures}.\n"
        f"- CPU time for a picture on one thread of {processor()}: {milliseconds[0]:.1f} ms in float32, "
        f"{milliseconds[1]:.1f} ms in 8 bits.\n\n"
        "Runs use it where it is faster (`precision: auto`); `--precision float32` leaves it out.\n"
    )
