"""YOLOX's official ``.pth`` files and ByteTrack's ``.pth.tar``, run with torch.

Torch is slow to import, so it is imported only where such a file is met.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from app.detect.letterbox import choose_normalise, choose_person, letterbox, network_size, normalised, people
from app.errors import CheckpointError
from app.settings import DetectorSettings
from app.stages import Detector
from app.types import Detections, Frame
from app.weights.checkpoints import CheckpointFile, load_pickle_safely, load_strictly, state_dict_of
from app.weights.devices import runtime_of, torch_device, torch_type
from app.weights.registry import detectors

# The width of the stem of YOLOX-S; nano and tiny are narrower and were made for smaller pictures.
_SMALL = 32


def holds_yolox(path: Path) -> bool:
    """Whether `path` is a torch checkpoint with YOLOX's keys. Weights are mapped, not read; nothing is executed.

    Raises:
        CheckpointError: it has keys that only YOLOX has, but some are missing or left over; the message names them.
    """
    if path.suffix.lower() not in {".pth", ".pt", ".tar"} or not path.is_file():
        return False
    try:
        weights = state_dict_of(load_pickle_safely(path, mapped=True), path)
    except CheckpointError:
        return False
    from app.detect.yolox import layout_of

    return layout_of(weights, path) is not None


@detectors.register(
    "yolox",
    licence="Apache-2.0",
    about="YOLOX nano to x and ByteTrack's detectors, official .pth, .pt or .pth.tar",
    accepts=holds_yolox,
)
class YoloxDetector(Detector):
    """Finds people with a YOLOX checkpoint.

    A network of one class whose file lacks ``best_ap`` is taken for one of ByteTrack's, because YOLOX's trainer writes
    that key and ByteTrack's does not. It gets ImageNet-normalised input within 800x1440 px (608x1088 for nano and
    tiny). All others get raw pixels within 640x640 px (416x416). A file may state its input under the key
    ``normalise``. `DetectorSettings.normalise` and `input_size` override all of this.

    Raises:
        CheckpointError: there is no checkpoint, it is no YOLOX file, keys are missing or left over, or it is a pickle
            that would run code.
    """

    def __init__(self, checkpoint: CheckpointFile | None, settings: DetectorSettings) -> None:
        if checkpoint is None:
            raise CheckpointError("The detector 'yolox' needs a checkpoint: give --detector-checkpoint FILE.")
        import torch

        from app.detect.yolox import Yolox, layout_of

        if settings.threads:  # torch itself takes all cores, or as many as OMP_NUM_THREADS says
            torch.set_num_threads(settings.threads)
        path = checkpoint.path
        content = load_pickle_safely(path)
        weights = state_dict_of(content, path)
        layout = layout_of(weights, path)
        if layout is None:
            raise CheckpointError(f"{path} is not a YOLOX checkpoint: it lacks the stem or the class predictors.")
        self.network = Yolox(layout)
        load_strictly(self.network, weights, path, f"YOLOX-{layout.name}")
        self._device = torch_device(settings.device)
        small = layout.channels < _SMALL
        self._dtype = torch_type(settings.precision, self._device, large=not small)
        self.network.for_inference(self._dtype).to(self._device)

        likely_bytetrack = layout.classes == 1 and "best_ap" not in content
        self.normalise = choose_normalise(settings, content.get("normalise"), likely_bytetrack, path)
        bytetrack = layout.classes == 1 and self.normalise == "imagenet"
        own_size = ((608, 1088) if small else (800, 1440)) if bytetrack else ((416, 416) if small else (640, 640))
        self.input_size = network_size(settings, own_size)
        self._score, self._nms_iou = settings.score, settings.nms_iou
        self._person = choose_person(settings, layout.classes, path)
        self.card = checkpoint.card(
            "detector",
            f"{'bytetrack' if bytetrack else 'yolox'}-{layout.name}",
            "MIT" if bytetrack else "Apache-2.0",
            runtime_of(self._device, self._dtype),
            f"within {self.input_size[0]}x{self.input_size[1]} px, {self.normalise} input",
        )

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """Return the people of each frame; all frames run as one batch."""
        if not frames:
            return []
        import torch

        boxed = letterbox([frame.image for frame in frames], self.input_size)
        # Raw pixels stay bytes until they are in torch, where the channels are last without a copy.
        raw = self.normalise == "raw"
        pixels = boxed.pixels.transpose(0, 3, 1, 2) if raw else normalised(boxed.pixels, self.normalise)
        with torch.inference_mode():
            inputs = torch.from_numpy(pixels).to(self._device, self._dtype, memory_format=torch.channels_last)
            outputs = self.network(inputs).cpu().numpy()
        return people(outputs, boxed, person=self._person, decoded=False, score=self._score, nms_iou=self._nms_iou)
