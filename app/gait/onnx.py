"""Gait networks exported to ONNX: the one that comes with Gaitprint, and any other with the same input and output.

A graph has one input, silhouettes float32 (n, T, 64, columns) in 0..1, and one output, the embedding (n, C, P). T is
open; n is open or 1. The rest stands in the file's metadata properties, which are all optional:

``licence``, ``note``
    What is shown to the user.
``flip``
    With ``true``, the embedding is the mean of those of the walk and of its mirror image, because a gait is alike on
    both sides.
``keep``
    The share of a walk's silhouettes that the network sees, the most `ordinary` ones; by default 1, all of them.
``rate``
    How many silhouettes a second the network was trained on, for a network that compares each silhouette with its
    neighbours. Of a walk that has more, every second one is used, or every third, so that about as many are left. By
    default, all are used.
``piece``
    How many silhouettes the network sees at once, for a network that was trained on short walks and whose parts have
    unit length. A longer walk is embedded in pieces of this size; its parts are the mean of theirs, brought to unit
    length again. By default, the network sees the whole walk at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from app.errors import CheckpointError
from app.gait.embeddings import embedding, mean_of_pieces
from app.gait.frames import cut, piece_of, thin
from app.settings import GaitSettings, cores
from app.types import Bytes, Embedding, Floats, GaitSequence, Ints
from app.weights.checkpoints import CheckpointFile
from app.weights.networks import open_network
from app.weights.registry import gait_models
from app.weights.sessions import graph_of, number_of, onnx_card

_ROWS = 64
_TRUNK = 40
"""Rows of head and trunk. A stride hardly changes them, so a silhouette that differs there is a bad one."""


def steps(walk: GaitSequence, rate: float) -> int:
    """Return n where every n-th silhouette of `walk` gives about `rate` silhouettes a second."""
    gap = float(np.median(np.diff(walk.frame_indices))) if len(walk) > 1 else 1.0
    return max(1, round(walk.fps / gap / rate))


def ordinary(silhouettes: Bytes, share: float) -> Ints:
    """Choose the silhouettes of a walk, uint8 (T, 64, columns), whose head and trunk are most like the median of all.

    Returns rising indices, int64: `share` of the frames, above 0 to 1, but at least one.
    """
    count = max(1, round(share * len(silhouettes)))
    if count == len(silhouettes):
        return np.arange(count)
    trunks = silhouettes[:, :_TRUNK].astype(np.float32)
    difference = np.abs(trunks - np.median(trunks, axis=0)).sum(axis=(1, 2))
    return np.sort(np.argsort(difference, kind="stable")[:count])


def accepts(path: Path) -> bool:
    """Whether `path` is an ONNX graph with the input and output of a gait network."""
    session = graph_of(path)
    if session is None:
        return False
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if session.get_modelmeta().custom_metadata_map.get("inputs", "silhouettes") != "silhouettes":
        return False  # maps of body parts have the same shape
    if len(inputs) != 1 or len(outputs) != 1 or not inputs[0].type == outputs[0].type == "tensor(float)":
        return False
    if len(inputs[0].shape) != 4 or len(outputs[0].shape) != 3:
        return False
    walks, frames, rows, columns = inputs[0].shape
    return (
        (walks == 1 or not isinstance(walks, int))
        and not isinstance(frames, int)
        and rows == _ROWS
        and isinstance(columns, int)
        and columns <= _ROWS
    )


@gait_models.register(
    "onnx-gait",
    licence="that of the file",
    about="an ONNX network from silhouettes (n, T, 64, 44) to parts (n, C, P)",
    accepts=accepts,
)
class OnnxGait:
    """Embeds walks with an ONNX network, one after the other, in float32; at most `settings.max_frames` frames of each.

    Raises:
        CheckpointError: the file is no such network, or its metadata make no sense.
    """

    def __init__(self, checkpoint: CheckpointFile | None, settings: GaitSettings) -> None:
        if checkpoint is None or not accepts(checkpoint.path):
            raise CheckpointError(
                f"The gait model 'onnx-gait' needs an ONNX network with one input (n, T, 64, 44), T left open, and one "
                f"output (n, C, P), not {checkpoint.path if checkpoint else 'nothing'}."
            )
        path = checkpoint.path
        self._session = open_network(checkpoint, settings.device, "float32")
        self._pool = ThreadPoolExecutor(cores(), thread_name_prefix="gait")
        self._name = self._session.get_inputs()[0].name
        self._margin = (_ROWS - self._session.get_inputs()[0].shape[3]) // 2
        self._one_by_one = self._session.get_inputs()[0].shape[0] == 1
        self._max_frames = settings.max_frames
        self._shape: tuple[int, ...] | None = None  # (C, P) of the walks so far
        properties = self._session.get_modelmeta().custom_metadata_map
        self._flip = properties.get("flip", "false").lower() == "true"
        self._keep = number_of(properties, "keep", 1.0)
        if not 0 < self._keep <= 1:
            raise CheckpointError(
                f"{path}: its property 'keep' must be a share above 0 to 1, not {properties['keep']}."
            )
        self._piece = piece_of(properties, path, "silhouettes")
        self._rate = number_of(properties, "rate", float("inf"))
        if not self._rate > 0:
            raise CheckpointError(
                f"{path}: its property 'rate' must be silhouettes a second, above 0, not {properties['rate']}."
            )
        self.card = onnx_card("gait", checkpoint, self._session, self._session.runtime)

    def embed(self, walks: Sequence[GaitSequence]) -> list[Embedding]:
        """Return one embedding per walk, its parts float32 (P, C); with `pieces` if the file states ``piece``.

        Walks are embedded side by side, each on one thread. `Embedding.frames` counts the silhouettes before the most
        ordinary ones were chosen.
        """
        chosen = (walk.silhouettes[:: steps(walk, self._rate)] for walk in walks)
        limited = (silhouettes[thin(len(silhouettes), self._max_frames)] for silhouettes in chosen)
        return list(self._pool.map(self._embed, limited))

    def _embed(self, silhouettes: Bytes) -> Embedding:
        chosen = silhouettes[ordinary(silhouettes, self._keep)]
        if not self._piece:
            return embedding(self._run(chosen[None])[0], self.card, len(silhouettes))
        frames = cut(len(chosen), self._piece)
        features = self._run(chosen[frames])
        return embedding(mean_of_pieces(features), self.card, len(silhouettes), features)

    def _run(self, walks: Bytes) -> Floats:
        """Run the network: from uint8 (n, T, 64, 64) to float32 (n, P, C).

        The CPU gets one walk at a time, which is faster and needs less memory; another device gets many.
        """
        views = walks[..., self._margin : walks.shape[3] - self._margin] / np.float32(255)
        if self._flip:
            views = np.concatenate([views, views[..., ::-1]])
        size = 1 if self._one_by_one else self._session.batch
        groups = (views[start : start + size] for start in range(0, len(views), size))
        answers = [self._session.run(None, {self._name: group})[0] for group in groups]
        shapes = {answer.shape[1:] for answer in answers} | ({self._shape} if self._shape is not None else set())
        if len(shapes) > 1 or answers[0].ndim != 3 or sum(map(len, answers)) != len(views):
            raise CheckpointError(
                f"{self.card.file} does not give numbers of one shape (C, P) for each walk, so walks cannot be "
                "compared. Export the network again."
            )
        (self._shape,) = shapes
        parts = np.concatenate(answers).reshape(-1, len(walks), *answers[0].shape[1:])
        return np.ascontiguousarray(parts.mean(axis=0).transpose(0, 2, 1))
