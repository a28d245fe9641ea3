"""PP-HumanSeg and other PaddleSeg networks in their deployment form, through ``paddle.inference``.

A deployment folder holds ``deploy.yaml`` (how the picture is prepared, and what the network gives), the network
(``model.pdmodel``, or ``model.json`` since Paddle 3) and its weights (``model.pdiparams``).

Source: Chu et al., PP-HumanSeg (WACV workshops 2022); PaddleSeg's deployment documentation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from app.crops.windows import CropShape, crop_of, crop_windows, matte_of
from app.errors import CheckpointError, needing
from app.settings import SegmenterSettings, cores
from app.stages import Segmenter
from app.types import Floats, Frame, Image, Matte
from app.weights.checkpoints import CheckpointFile
from app.weights.registry import segmenters
from app.yaml_files import read_yaml

# Crops that run at once. More is not faster (measured: 4 is as fast as 1, 8 and 16 are slower), and this bounds the
# memory.
_BATCH = 4


@segmenters.register(
    "pp-humanseg",
    licence="Apache-2.0",
    about="a PaddleSeg deployment folder (deploy.yaml, model.pdmodel or model.json, model.pdiparams)",
    accepts=lambda path: (path / "deploy.yaml").is_file(),
    extra="paddle",
)
class HumanSeg(Segmenter):
    """Cuts people out with a PaddleSeg network of two classes, of which the second is the body."""

    threshold = 0.31
    """The value the earlier demos of gait recognition with PP-HumanSeg cut at."""

    def __init__(self, checkpoint: CheckpointFile | None, settings: SegmenterSettings) -> None:
        """Build the predictor once for all crops: building it takes as long as several crops.

        Of the settings, `threads` are used here; the caller applies the threshold.

        Raises:
            CheckpointError: a file is missing or damaged, or asks for something that is not known here.
            MissingExtraError: paddlepaddle is not installed.
        """
        if checkpoint is None:
            raise CheckpointError("The segmenter 'pp-humanseg' needs a deployment folder with deploy.yaml.")
        self._deployment = Deployment.read(checkpoint.path)
        with needing(
            f"{checkpoint.path} is a PaddleSeg network and needs PaddlePaddle: "
            'pip install -e ".[paddle]" (870 MB), or give an ONNX export of it.'
        ):
            import paddle
            from paddle import inference
        self._predictor = _predictor(inference, self._deployment, settings.threads or cores())
        self._input = self._predictor.get_input_handle(self._predictor.get_input_names()[0])
        self._output = self._predictor.get_output_handle(self._predictor.get_output_names()[0])
        self.card = checkpoint.card(
            "segmenter", f"pp-humanseg/{checkpoint.path.name}", "Apache-2.0", f"paddle {paddle.__version__}"
        )

    def segment(self, frames: Sequence[Frame], boxes: Sequence[Floats]) -> list[list[Matte]]:
        shape = self._deployment.shape
        windows = [
            crop_windows(frame_boxes, frame.image.shape[1], frame.image.shape[0], shape)
            for frame, frame_boxes in zip(frames, boxes, strict=True)
        ]
        crops = [
            crop_of(frame.image, window, shape)
            for frame, of_frame in zip(frames, windows, strict=True)
            for window in of_frame
        ]
        bodies = iter(
            [body for first in range(0, len(crops), _BATCH) for body in self._run(crops[first : first + _BATCH])]
        )
        return [[matte_of(next(bodies), window) for window in of_frame] for of_frame in windows]

    def _run(self, crops: list[Image]) -> npt.NDArray[np.float32]:
        """Return how probable the body is at each pixel, float32 (N, h, w), in uint8 BGR crops (height, width, 3)."""
        self._input.copy_from_cpu(self._deployment.prepare(crops))
        self._predictor.run()
        return self._deployment.probabilities(self._output.copy_to_cpu())


class Deployment:
    """What a ``deploy.yaml`` says."""

    def __init__(self, network: Path, weights: Path, shape: CropShape, mean: Floats, std: Floats, output: str) -> None:
        self.network = network
        self.weights = weights
        self.shape = shape
        self._scale = (1 / (255 * std)).astype(np.float32)
        self._shift = (-mean / std).astype(np.float32)
        self._output = output

    @classmethod
    def read(cls, folder: Path) -> Deployment:
        """Read the folder's ``deploy.yaml`` and look for the files it names.

        Raises:
            CheckpointError: a file is missing, or the description asks for something that is not known here.
        """
        path = folder / "deploy.yaml"
        if not path.exists():
            raise CheckpointError(f"{folder} is not a PaddleSeg deployment folder: deploy.yaml is missing.")
        content = read_yaml(path, CheckpointError)
        try:
            deploy = content["Deploy"]
            transforms = {step["type"]: step for step in deploy.get("transforms") or []}
        except (KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{path} is not a PaddleSeg deployment description: {error!r}.") from error
        unknown = set(transforms) - {"Resize", "Normalize"}
        if unknown:
            raise CheckpointError(
                f"{path}: only Resize and Normalize are understood, not {', '.join(sorted(unknown))}."
            )
        output = deploy.get("output_op") or "none"
        if output not in ("softmax", "argmax", "none"):
            raise CheckpointError(f"{path}: output_op must be softmax, argmax or none, not {output}.")
        network, weights = (folder / str(deploy.get(key) or name) for key, name in _FILES.items())
        if not network.is_file() and network.with_suffix(".json").is_file():  # exported anew by Paddle 3
            network = network.with_suffix(".json")
        missing = [file.name for file in (network, weights) if not file.is_file()]
        if missing:
            raise CheckpointError(f"{folder} lacks {' and '.join(missing)}, which its deploy.yaml names.")
        try:
            shape = _shape(transforms.get("Resize", {}), deploy.get("input_shape"))
            normalize = transforms.get("Normalize", {})
            mean, std = (
                np.broadcast_to(np.array(normalize.get(key, 0.5), np.float32), (3,)) for key in ("mean", "std")
            )
        except (TypeError, ValueError) as error:
            raise CheckpointError(f"{path}: {error}") from error
        return cls(network, weights, shape, mean, std, output)

    def prepare(self, crops: list[Image]) -> npt.NDArray[np.float32]:
        """Turn N uint8 BGR crops (height, width, 3) into the network's input, float32 RGB (N, 3, height, width)."""
        pixels = np.empty((len(crops), *crops[0].shape), np.float32)
        for into, crop in zip(pixels, crops, strict=True):
            np.multiply(cv2.cvtColor(crop, cv2.COLOR_BGR2RGB), self._scale, out=into)
        pixels += self._shift
        return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))

    def probabilities(self, answer: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Turn the network's answer, (N, 2, h, w) or (N, h, w) of classes, into the body's probability (N, h, w)."""
        if self._output == "argmax" or answer.ndim == 3:
            classes = answer.reshape(len(answer), *answer.shape[-2:])
            return np.asarray(classes == 1, np.float32)
        if self._output == "softmax":
            return np.ascontiguousarray(answer[:, 1], np.float32)
        # The second of two softmax probabilities is the sigmoid of the difference of the logits.
        return np.asarray(0.5 + 0.5 * np.tanh(0.5 * (answer[:, 1] - answer[:, 0])), np.float32)


_FILES = {"model": "model.pdmodel", "params": "model.pdiparams"}


def _shape(resize: Mapping[str, Any], input_shape: Sequence[int] | None) -> CropShape:
    width, height = resize.get("target_size") or (input_shape or (1, 3, 192, 192))[:1:-1]
    if int(width) < 1 or int(height) < 1:
        raise ValueError("neither Resize.target_size nor input_shape says how large the input is")
    return CropShape(int(height), int(width))


def _predictor(inference: Any, deployment: Deployment, threads: int) -> Any:
    config = inference.Config(str(deployment.network), str(deployment.weights))
    config.disable_gpu()
    config.disable_glog_info()
    config.set_cpu_math_library_num_threads(threads)
    if deployment.network.suffix == ".pdmodel":
        config.enable_mkldnn()  # oneDNN: fastest for the legacy format
    else:
        config.disable_mkldnn()  # on by default, and not ready for the newer format
    try:
        return inference.create_predictor(config)
    except Exception as error:  # Paddle raises plain RuntimeError, ValueError, OSError and its own classes
        first = (str(error).strip() or type(error).__name__).splitlines()[-1]
        raise CheckpointError(f"{deployment.network} cannot be opened by PaddlePaddle: {first}") from error
