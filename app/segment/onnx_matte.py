"""ONNX networks that answer a picture of a person with a matte, through ONNX Runtime.

What the file does not say is read off its graph:

- Layout: the dimension of size 3 of the input is the colour, so NHWC and NCHW both work. Colours are RGB.
- Normalisation: 0..1 for NHWC (MediaPipe), mean 0.5 and standard deviation 0.5 for NCHW (PaddleSeg).
- Output: (N, H, W, C) or (N, C, H, W). One channel is the body; of two the second is. Logits are recognised by the
  network's answer to noise, and a sigmoid or softmax is added.

A file can say it in its metadata properties (`onnx.helper.set_model_props`), all optional: ``mean`` and ``std`` as
``0.5,0.5,0.5`` for colours in 0..1, ``threshold``, ``licence``, ``note``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from app.checkpoints import CheckpointFile
from app.errors import CheckpointError
from app.registry import segmenters
from app.segment.crops import CropShape, crop_of, crop_windows, matte_of
from app.settings import SegmenterSettings, cores
from app.types import Floats, Frame, Image, Ints, Matte, ModelCard, VideoInfo

# Where the input's height and width are left open.
_OPEN_SIZE = 192


def _is_matte_network(path: Path) -> bool:
    if path.suffix.lower() != ".onnx" or not path.is_file():
        return False
    try:
        session = _session(path, optimise=False)
    except CheckpointError:
        return False
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or not outputs:
        return False
    into, out = inputs[0], outputs[0]
    if not (into.type == out.type == "tensor(float)" and len(into.shape) == len(out.shape) == 4):
        return False
    one_at_a_time = into.shape[0] == 1 or not isinstance(into.shape[0], int)
    return one_at_a_time and 3 in (into.shape[1], into.shape[3]) and bool({1, 2} & {out.shape[1], out.shape[3]})


def _session(path: Path, *, optimise: bool = True) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1  # crops run side by side instead: see `OnnxMatte`
    options.log_severity_level = 3
    if not optimise:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own classes, of which only Exception is a documented base
        raise CheckpointError(f"{path} cannot be read as an ONNX network: {str(error).splitlines()[0]}") from error


@segmenters.register(
    "onnx-matte",
    licence="that of the file",
    about="an ONNX network from a picture (NHWC or NCHW) to a matte of one or two channels",
    accepts=_is_matte_network,
)
class OnnxMatte:
    """Cuts people out with an ONNX matting or segmentation network.

    Each crop is one single-threaded run, and as many run side by side as there are cores. For networks this small
    that is 1.4 to 2.2 times as fast on two cores, the most when nothing else runs, as one crop after the other on
    both (`tests/benchmarks/segmenters.py`); published files fix their batch at 1 anyway. Answers do not depend on
    the number of threads.
    """

    def __init__(self, checkpoint: CheckpointFile | None, settings: SegmenterSettings) -> None:
        """Load the network.

        Args:
            checkpoint: the ``.onnx`` file.
            settings: `threads`, crops run side by side; the threshold is applied by the caller.

        Raises:
            CheckpointError: not such a network.
        """
        import onnxruntime

        if checkpoint is None or not _is_matte_network(checkpoint.path):
            name = checkpoint.path if checkpoint else "nothing"
            raise CheckpointError(f"The segmenter 'onnx-matte' needs an ONNX network with a matte, not {name}.")
        self._network = _Network(_session(checkpoint.path), checkpoint.path)
        properties = self._network.properties
        self.threshold = float(properties.get("threshold", 0.31 if self._network.channels == 2 else 0.4))
        self.card = ModelCard(
            stage="segmenter",
            name=checkpoint.path.stem,
            origin=checkpoint.origin,
            licence=properties.get("licence", "that of the file"),
            file=checkpoint.path,
            sha256=checkpoint.sha256(),
            runtime=f"onnxruntime {onnxruntime.__version__}",
            note=properties.get("note", ""),
        )
        self._pool = ThreadPoolExecutor(settings.threads or cores(), thread_name_prefix="matte")

    def start(self, video: VideoInfo) -> None:
        """Do nothing: the network does not learn from the video."""

    def segment(self, frames: Sequence[Frame], boxes: Sequence[Floats]) -> list[list[Matte]]:
        """Return one matte for each of a frame's `boxes`, for each frame; see `app.stages.Segmenter`."""
        futures = []
        for frame, frame_boxes in zip(frames, boxes, strict=True):
            rows, columns = frame.image.shape[:2]
            windows = crop_windows(frame_boxes, columns, rows, self._network.shape)
            futures.append([self._pool.submit(self._network.matte, frame.image, window) for window in windows])
        return [[future.result() for future in of_frame] for of_frame in futures]


class _Network:
    """One crop in, one matte out; may be called from several threads."""

    def __init__(self, session: Any, path: Path) -> None:
        self._session = session
        self.properties: Mapping[str, str] = session.get_modelmeta().custom_metadata_map
        (into,), out = session.get_inputs(), session.get_outputs()[0]
        self._name = into.name
        self._colour_last = into.shape[3] == 3
        size = into.shape[1:3] if self._colour_last else into.shape[2:]
        height, width = (value if isinstance(value, int) and value > 0 else _OPEN_SIZE for value in size)
        self.shape = CropShape(height, width)
        self._channel_last = out.shape[3] in (1, 2) and out.shape[1] not in (1, 2)
        self.channels = int(out.shape[3] if self._channel_last else out.shape[1])
        default = (0.0, 1.0) if self._colour_last else (0.5, 0.5)
        try:
            mean, std = (_colours(self.properties.get(key), default[i]) for i, key in enumerate(("mean", "std")))
        except ValueError as error:
            raise CheckpointError(f"{path}: its metadata 'mean' and 'std' must be three numbers: {error}") from error
        self._scale, self._shift = 1 / (255 * std), -mean / std
        noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
        answer = self._run(noise)
        total = answer.sum(axis=-1) if self.channels == 2 else np.ones(1)
        self._logits = bool(answer.min() < -1e-3 or answer.max() > 1.001 or np.abs(total - 1).max() > 1e-2)

    def matte(self, image: Image, window: Ints) -> Matte:
        """Return the matte of `window` of a frame (H, W, 3)."""
        answer = self._run(crop_of(image, window, self.shape))
        if self.channels == 2:
            body = answer[..., 1] if not self._logits else _sigmoid(answer[..., 1] - answer[..., 0])
        else:
            body = answer[..., 0] if not self._logits else _sigmoid(answer[..., 0])
        return matte_of(body, window)

    def _run(self, crop: Image) -> npt.NDArray[np.float32]:
        """Answer a crop, uint8 BGR (height, width, 3), with float32 (h, w, channels)."""
        pixels = cv2.cvtColor(crop, cv2.COLOR_BGR2RGB) * self._scale + self._shift
        pixels = pixels if self._colour_last else np.ascontiguousarray(pixels.transpose(2, 0, 1))
        answer: npt.NDArray[np.float32] = self._session.run(None, {self._name: pixels[None]})[0][0]
        return answer if self._channel_last else answer.transpose(1, 2, 0)


def _sigmoid(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    # The second of two softmax probabilities is the sigmoid of the difference of the logits.
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * logits), np.float32)


def _colours(text: str | None, default: float) -> Floats:
    if text is None:
        return np.full(3, default, np.float32)
    return np.array([float(part) for part in text.split(",")], np.float32).reshape(3)
