"""Any detector of the optional package `ultralytics` (YOLOv5u to YOLO26), from its ``.pt`` files.

The package and its weights are AGPL-3.0, which demands the source of whatever is built with them, even behind a web
page. So the package is only imported if such a file is used, and a warning says so.

The files are whole pickled models, and opening one runs what it names. Before the package sees a file, its pickle is
read with harmless stand-ins for everything that it names. It is refused if it names anything but layers, losses and
tensors, or if it calls a layer's constructor, which may evaluate text (`ultralytics.nn.tasks` does).

Tried with ultralytics 8.4.190, torch 2.15.0, torchvision 0.29.2 (YOLOv5n, 8n, 10n, 11n, 12n, 26n at random weights).
"""

from __future__ import annotations

import io
import logging
import os
import pickle
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.detect.letterbox import choose_person, clipped
from app.errors import CheckpointError, needing, reason_of
from app.settings import DetectorSettings
from app.stages import Detector
from app.types import Detections, Frame
from app.weights.checkpoints import CheckpointFile, need_whole
from app.weights.devices import torch_device
from app.weights.pickles import need_modest
from app.weights.registry import detectors

# What may be restored from its state (`cls.__new__`), never constructed.
_RESTORED = re.compile(
    r"(torch\.nn\.modules\.\w+"
    r"|ultralytics(\.yolo)?\.nn\.(tasks|modules|modules\.\w+)"
    r"|ultralytics(\.yolo)?\.utils\.(loss|tal)) (v\d+)?[A-Z]\w*"
)
# What may be called. Of ultralytics.utils nothing else is allowed, because its settings classes write files.
_CALLED = re.compile(
    r"ultralytics(\.yolo)?\.utils IterableSimpleNamespace|collections OrderedDict"
    r"|(builtins|__builtin__) (set|slice|complex|bytearray)"
    r"|torch (Size|device|\w+Storage|b?float(16|32|64)|u?int(8|16|32|64)|bool)"
    r"|torch\._utils (_rebuild_tensor_v2|_rebuild_parameter)|torch\.storage (UntypedStorage|TypedStorage)"
    r"|numpy dtype|numpy\._?core\.multiarray (scalar|_reconstruct)|numpy ndarray|_codecs encode"
    r"|pathlib(\._local)? \w*Path|datetime (datetime|date|timedelta)"
)


class _Called(type):
    """The type of stand-ins for what may be called; every call gives an empty stand-in."""

    def __call__(cls, *_args: object, **_keywords: object) -> Any:
        return _StandIn()


class _Restored(type):
    """The type of stand-ins for what may not be called."""

    def __call__(cls, *_args: object, **_keywords: object) -> Any:
        raise pickle.UnpicklingError(f"a call of {cls.__name__}")


class _StandIn:
    """Accepts whatever a pickle does to an object, and does nothing."""

    def __new__(cls, *_args: object) -> _StandIn:
        return object.__new__(cls)

    def __setstate__(self, state: object) -> None: ...

    def __setitem__(self, key: object, value: object) -> None: ...

    def append(self, value: object) -> None: ...

    def extend(self, values: object) -> None: ...

    def add(self, value: object) -> None: ...


class _DryRun(pickle.Unpickler):
    """Reads a pickle without importing, calling or building anything that it names."""

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module} {name}"
        if _RESTORED.fullmatch(full):
            return _Restored(full, (_StandIn,), {})
        if _CALLED.fullmatch(full):
            return _Called(full, (_StandIn,), {})
        raise pickle.UnpicklingError(f"the name {module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        return _StandIn()


def _records(path: Path) -> Any:
    import torch  # slow, so only where such a file is met

    # This is torch's own reader, because a crafted file could show another zip reader another pickle.
    return torch._C.PyTorchFileReader(str(path))


def holds_ultralytics(path: Path) -> bool:
    """Whether `path` is a torch file whose pickle names ultralytics' networks. Nothing is executed."""
    if path.suffix.lower() != ".pt" or not path.is_file():
        return False
    try:
        need_whole(path)
        return b"ultralytics." in _records(path).get_record("data.pkl")
    except Exception:  # not a torch file
        return False


def need_harmless(path: Path) -> None:
    """Make sure that opening the ultralytics file `path` only restores layers and tensors.

    Raises:
        CheckpointError: the file would run something else, or it cannot be read; the message says what.
    """
    try:
        need_whole(path)
        content = _records(path).get_record("data.pkl")
        need_modest(content)
        _DryRun(io.BytesIO(content)).load()
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} is refused: it holds more than a network, {error}, which would run code when opened. "
            "Get the file from its official source."
        ) from error
    except CheckpointError:
        raise
    except Exception as error:  # a damaged pickle can fail in any way
        raise CheckpointError(f"{path} is damaged: {reason_of(error)}.") from error


@detectors.register(
    "ultralytics",
    licence="AGPL-3.0",
    about="any ultralytics .pt (YOLOv5u to YOLO26); AGPL-3.0, with the extra 'ultralytics'",
    accepts=holds_ultralytics,
    extra="ultralytics",
)
class UltralyticsDetector(Detector):
    """Finds people with an ultralytics network.

    Raises:
        CheckpointError: there is no checkpoint, the file would run code, or the network does not detect people.
        MissingExtraError: the package is not installed.
    """

    def __init__(self, checkpoint: CheckpointFile | None, settings: DetectorSettings) -> None:
        if checkpoint is None:
            raise CheckpointError("The detector 'ultralytics' needs a checkpoint: give --detector-checkpoint FILE.")
        path = checkpoint.path
        need_harmless(path)
        # The package reads these when it is imported; without them it would install packages and call home.
        os.environ.setdefault("YOLO_AUTOINSTALL", "false")
        os.environ.setdefault("YOLO_OFFLINE", "true")
        with needing(f'{path} needs the package ultralytics (AGPL-3.0): pip install -e ".[ultralytics]".'):
            from ultralytics import YOLO
        log = logging.getLogger(__name__)
        log.warning("The detector %s runs with ultralytics. The package and its weights are AGPL-3.0.", path.name)
        if settings.precision not in ("auto", "float32"):
            log.warning("detector.precision=%s has no effect on ultralytics' networks.", settings.precision)
        try:
            self._model = YOLO(str(path), task="detect")
            names: dict[int, str] = self._model.names
        except Exception as error:  # the package raises errors of any class
            raise CheckpointError(f"{path} cannot be opened by ultralytics: {reason_of(error)}.") from error
        persons = [index for index, name in names.items() if name == "person"]
        if settings.person_class is not None:
            persons = [choose_person(settings, len(names), path)]
        if not persons and len(names) > 1:
            raise CheckpointError(
                f"{path} detects {', '.join(list(names.values())[:5])} ..., but no 'person'. Give a network that does, "
                "or the number of the class that is the person: --set detector.person_class=1"
            )
        self._options: dict[str, Any] = {
            "conf": settings.score,
            "iou": settings.nms_iou,
            "classes": persons or [0],
            "device": str(torch_device(settings.device)),
            "verbose": False,
        }
        if settings.input_size is not None:
            self._options["imgsz"] = list(settings.input_size)
        self.card = checkpoint.card(
            "detector",
            f"ultralytics-{path.stem}",
            "AGPL-3.0",
            "ultralytics torch float32",
            "AGPL-3.0: what is built with it must be published under the same licence",
        )

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """Return the people of each frame; all frames run as one batch."""
        if not frames:
            return []
        results = self._model.predict([frame.image for frame in frames], **self._options)
        detections = []
        for frame, result in zip(frames, results, strict=True):
            boxes = result.boxes.xyxy.cpu().numpy().astype("float32")
            scores = result.boxes.conf.cpu().numpy().astype("float32")
            order = (-scores).argsort(kind="stable")
            detections.append(clipped(boxes[order], scores[order], *frame.image.shape[:2]))
        return detections
