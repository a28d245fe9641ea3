"""ONNX networks that look at one person's crop: what segmenters and pose estimators share.

The graph tells how the picture must look:

- Layout: the dimension of size 3 of the input is the colour, so NHWC and NCHW both work. Colours are RGB.
- Normalisation: 0..1 for NHWC (as in MediaPipe); mean 0.5 and standard deviation 0.5 for NCHW (as in PaddleSeg).

A file can say otherwise in its metadata properties (`onnx.helper.set_model_props`). All are optional: ``mean`` and
``std`` as ``0.5,0.5,0.5`` for colours in 0..1, ``margin`` and ``aspect`` as in `app.crops.windows.CropShape`,
``licence`` and ``note``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from app.crops.windows import CropShape, crop_of, crop_windows
from app.errors import CheckpointError
from app.settings import Device, Precision, cores
from app.types import Floats, Frame, Image, Ints, ModelCard
from app.weights.checkpoints import CheckpointFile
from app.weights.networks import open_network
from app.weights.sessions import graph_of, onnx_card, open_session

T = TypeVar("T")

_OPEN_SIZE = 192
"""Height and width in px of the input, if the graph leaves them open."""
_LARGEST_WINDOW = 10.0
"""The largest margin and aspect of a window that make any sense."""


def looks_at_crops(path: Path) -> Any | None:
    """Return a session for reading the graph of an ONNX network that takes one picture; None for any other file."""
    session = graph_of(path)
    if session is None:
        return None
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or not outputs or outputs[0].type != "tensor(float)":
        return None
    into = inputs[0]
    if into.type != "tensor(float)" or len(into.shape) != 4 or 3 not in (into.shape[1], into.shape[3]):
        return None
    one_at_a_time = into.shape[0] == 1 or not isinstance(into.shape[0], int)
    return session if one_at_a_time else None


class CropNetwork:
    """A network that answers one crop at a time.

    Each crop runs on one thread, and several crops run side by side. For networks this small, that is 1.4 to 2.2 times
    as fast on two cores as one crop after the other on both (`tests/benchmarks/segmenters.py`), and fastest when
    nothing else runs. Published files fix their batch at 1 anyway. The answers do not depend on the number of threads.

    Args:
        checkpoint: a file that `looks_at_crops` accepts.
        device: where it runs; see `app.weights.networks.open_network`.
        precision: what it computes in.
        threads: how many crops run side by side; 0 for one on each core.
        output: which of the network's outputs is wanted; None for the first.

    Raises:
        CheckpointError: the metadata cannot be understood.
    """

    def __init__(
        self,
        checkpoint: CheckpointFile,
        device: Device = "auto",
        precision: Precision = "auto",
        threads: int = 0,
        output: str | None = None,
    ) -> None:
        path = self._path = checkpoint.path
        names = [one.name for one in open_session(path, optimise=False).get_outputs()]
        alone = (output or names[0]) if len(names) > 1 else None
        self._session = open_network(checkpoint, device, precision, output=alone)
        self._threads = threads or cores()
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="crops")
        self.properties: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map
        (wanted,) = self._session.get_outputs()
        self._output: str = wanted.name
        self.output_shape: list[int | str | None] = wanted.shape
        (into,) = self._session.get_inputs()
        self._name = into.name
        self._colour_last = into.shape[3] == 3
        self._takes_many = not isinstance(into.shape[0], int)
        size = into.shape[1:3] if self._colour_last else into.shape[2:]
        height, width = (value if isinstance(value, int) and value > 0 else _OPEN_SIZE for value in size)
        default = (0.0, 1.0) if self._colour_last else (0.5, 0.5)
        try:
            mean, std = (_colours(self.properties.get(key), default[i]) for i, key in enumerate(("mean", "std")))
        except ValueError as error:
            raise CheckpointError(f"{path}: its metadata 'mean' and 'std' must be three numbers: {error}") from error
        if not np.isfinite(mean).all() or not ((std > 1e-6) & (std < 1e6)).all():
            raise CheckpointError(f"{path}: its metadata 'mean' must be finite, and 'std' above 0.")
        stated = [key for key in ("margin", "aspect") if key in self.properties]
        self.shape = CropShape(height, width, **{key: self.number(key, path, _LARGEST_WINDOW) for key in stated})
        across = (3,) if self._colour_last else (3, 1, 1)
        self._scale, self._shift = (1 / (255 * std)).reshape(across), (-mean / std).reshape(across)

    def number(self, name: str, path: Path, most: float) -> float:
        """Return a property of the file `path` that is a number from 0 to `most`.

        Raises:
            CheckpointError: it is not.
        """
        try:
            value = float(self.properties[name])
        except ValueError:
            value = float("nan")
        if not 0 <= value <= most:
            raise CheckpointError(
                f"{path}: its property '{name}' must be a number from 0 to {most:g}, not {self.properties[name]}."
            )
        return value

    def run(self, crop: Image) -> Floats:
        """Return the network's output for a crop, uint8 BGR (height, width, 3), without the batch dimension."""
        answer: Floats = self._run(self._pixels(crop)[None])[0]
        return answer

    def each(
        self,
        frames: Sequence[Frame],
        boxes: Sequence[Floats],
        answer: Callable[[list[Floats], Ints], T],
        *,
        mirror: bool = False,
    ) -> list[list[T]]:
        """Call ``answer(outputs, window)`` for each box ((N, 4) px) of each frame, several at once; keep the order.

        The outputs are the network's for the crop and, with `mirror`, for its mirror image. The window is the crop's
        left, top, right and bottom px in the frame. The CPU gets one crop at a time, another device many.
        """

        def cut(place: tuple[Image, Ints]) -> list[Floats]:
            crop = crop_of(*place, self.shape)
            return [self._pixels(view)[None] for view in ([crop, crop[:, ::-1]] if mirror else [crop])]

        def cut_and_answer(place: tuple[Image, Ints]) -> T:
            return answer([self._run(view)[0] for view in cut(place)], place[1])

        places = []
        for frame, of_frame in zip(frames, boxes, strict=True):
            rows, columns = frame.image.shape[:2]
            places.append([(frame.image, window) for window in crop_windows(of_frame, columns, rows, self.shape)])
        everywhere = [place for of_frame in places for place in of_frame]
        if self._takes_many and self._session.batch > 1:
            found = self._in_batches(self._pool.map(cut, everywhere))
            answers = self._pool.map(lambda outputs, place: answer(outputs, place[1]), found, everywhere)
        else:
            # A few at a time, because handing over each by itself takes a tenth of the work.
            size = max(1, len(everywhere) // (4 * self._threads))
            pieces = [everywhere[start : start + size] for start in range(0, len(everywhere), size)]
            answers = chain.from_iterable(self._pool.map(lambda piece: list(map(cut_and_answer, piece)), pieces))
        return [list(islice(answers, len(of_frame))) for of_frame in places]

    def _in_batches(self, crops: Iterable[Sequence[Floats]]) -> Iterator[list[Floats]]:
        """Yield the outputs for the views of each crop; as many crops run at once as the device takes."""
        crops = iter(crops)
        while some := list(islice(crops, self._session.batch)):
            outputs = iter(self._run(np.concatenate([view for views in some for view in views])))
            yield from (list(islice(outputs, len(views))) for views in some)

    def _run(self, pixels: Floats) -> Floats:
        output: Floats = self._session.run([self._output], {self._name: pixels})[0]
        if not np.isfinite(output).all():
            raise CheckpointError(
                f"{self._path} gives numbers that are not finite for some pictures: its training has failed, or the "
                "file is damaged. Use another file."
            )
        return output

    def _pixels(self, crop: Image) -> Floats:
        """Return a crop as the network takes it, without the batch dimension."""
        rgb = crop[..., ::-1]
        rgb = np.ascontiguousarray(rgb if self._colour_last else rgb.transpose(2, 0, 1))
        pixels = np.asarray(rgb * self._scale, np.float32)
        pixels += self._shift
        return pixels

    def noise(self) -> Image:
        """Return a crop of noise, the same each time. The answer to it shows what kind of network this is."""
        return np.random.default_rng(0).integers(0, 256, (self.shape.height, self.shape.width, 3), np.uint8)

    def card(self, stage: str, checkpoint: CheckpointFile) -> ModelCard:
        """Return the card of a stage that runs this network."""
        return onnx_card(stage, checkpoint, self._session, self._session.runtime)


def _colours(text: str | None, default: float) -> Floats:
    if text is None:
        return np.full(3, default, np.float32)
    return np.array([float(part) for part in text.split(",")], np.float32).reshape(3)
