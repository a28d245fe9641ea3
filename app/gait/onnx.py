"""Gait networks exported to ONNX, through ONNX Runtime: the embedded one, and any other with the same ports.

Understood are graphs with one input, silhouettes float32 (n, T, 64, columns) in 0..1 with T left open, and one output,
the embedding (n, C, P); n is open or 1. What else is to be known stands in the metadata properties, all optional:

``licence``, ``note``
    as shown to the user;
``flip``
    ``true``: the embedding is the mean of those of the walk and of its mirror image, as a gait is alike on both sides;
``keep``
    the share of a walk's silhouettes that the network sees, the most `ordinary` ones; 1 where it is left out;
``piece``
    how many silhouettes the network sees at once, for one that was trained on short walks and whose parts have unit
    length: a longer walk is embedded in pieces of so many, and its parts are the mean of theirs, of unit length again.
    All at once where it is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from app.errors import CheckpointError
from app.gait.embedder import thin
from app.settings import GaitSettings, cores
from app.types import Bytes, Embedding, Floats, GaitSequence, Ints, ModelCard
from app.weights.checkpoints import CheckpointFile
from app.weights.registry import gait_models
from app.weights.sessions import open_session

_ROWS = 64
_TRUNK = 40
"""Rows of head and trunk, which a stride hardly changes: where they differ, the silhouette is bad."""


def cut(frames: int, size: int) -> Ints:
    """Cut a walk into the fewest pieces that cover it.

    Args:
        frames: of the walk, at least one.
        size: of each piece; a shorter walk is one piece.

    Returns:
        int64 (K, size) indices: pieces evenly spread from the first frame to the last, neighbours overlapping where
        they must.
    """
    size = min(size, frames)
    starts = np.linspace(0, frames - size, -(-frames // size)).round().astype(np.int64)
    return starts[:, None] + np.arange(size)


def ordinary(silhouettes: Bytes, share: float) -> Ints:
    """Choose the most ordinary silhouettes of a walk, in their order: those whose head and trunk are most alike the
    median of all.

    Args:
        silhouettes: uint8 (T, 64, columns).
        share: of the frames that are chosen, above 0 to 1; at least one is.

    Returns:
        int64 indices, rising.
    """
    count = max(1, round(share * len(silhouettes)))
    if count == len(silhouettes):
        return np.arange(count)
    trunks = silhouettes[:, :_TRUNK].astype(np.float32)
    off = np.abs(trunks - np.median(trunks, axis=0)).sum(axis=(1, 2))
    return np.sort(np.argsort(off, kind="stable")[:count])


def accepts(path: Path) -> bool:
    """Whether `path` is an ONNX graph with the ports of a gait network."""
    if path.suffix.lower() != ".onnx" or not path.is_file():
        return False
    try:
        session = open_session(path, optimise=False)
    except CheckpointError:
        return False
    inputs, outputs = session.get_inputs(), session.get_outputs()
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
    """Embeds walks with an ONNX network, one walk after the other, in float32 on the CPU.

    Args:
        checkpoint: the ``.onnx`` file.
        settings: `max_frames` bounds the length of a walk.

    Raises:
        CheckpointError: not such a network, or its metadata make no sense.
    """

    def __init__(self, checkpoint: CheckpointFile | None, settings: GaitSettings) -> None:
        if checkpoint is None or not accepts(checkpoint.path):
            name = checkpoint.path if checkpoint else "nothing"
            raise CheckpointError(
                f"The gait model 'onnx-gait' needs an ONNX network with one input (n, T, 64, 44), T left open, and one "
                f"output (n, C, P), not {name}."
            )
        import onnxruntime

        path = checkpoint.path
        self._session = open_session(path, cores())
        self._name = self._session.get_inputs()[0].name
        self._margin = (_ROWS - self._session.get_inputs()[0].shape[3]) // 2
        self._one_by_one = self._session.get_inputs()[0].shape[0] == 1
        self._max_frames = settings.max_frames
        properties = self._session.get_modelmeta().custom_metadata_map
        self._flip = properties.get("flip", "false").lower() == "true"
        self._keep = _number(properties, "keep", 1.0)
        if not 0 < self._keep <= 1:
            raise CheckpointError(
                f"{path}: its property 'keep' must be a share above 0 to 1, not {properties['keep']}."
            )
        piece = _number(properties, "piece", 0.0)
        if "piece" in properties and not (piece >= 1 and piece.is_integer()):
            raise CheckpointError(
                f"{path}: its property 'piece' must be a whole number of silhouettes, not {properties['piece']}."
            )
        self._piece = int(piece)
        self.card = ModelCard(
            stage="gait",
            name=path.stem,
            origin=checkpoint.origin,
            licence=properties.get("licence", "that of the file"),
            file=path,
            sha256=checkpoint.sha256(),
            runtime=f"onnxruntime {onnxruntime.__version__}",
            note=properties.get("note", ""),
        )

    def embed(self, walks: Sequence[GaitSequence]) -> list[Embedding]:
        """Return one embedding per walk, its parts float32 (P, C); with `pieces` if the file states ``piece``.

        `Embedding.frames` counts the silhouettes before the most ordinary ones were chosen.
        """
        return [self._embed(walk.silhouettes[thin(len(walk), self._max_frames)]) for walk in walks]

    def _embed(self, silhouettes: Bytes) -> Embedding:
        seen = silhouettes[ordinary(silhouettes, self._keep)]
        if not self._piece:
            return Embedding(self._run(seen[None])[0], self.card.model_id, len(silhouettes))
        frames = cut(len(seen), self._piece)
        features = self._run(seen[frames])
        mean = features.mean(axis=0)
        parts = mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), np.finfo(np.float32).tiny)
        return Embedding(parts, self.card.model_id, len(silhouettes), features)

    def _run(self, walks: Bytes) -> Floats:
        """From uint8 (n, T, 64, 64) to float32 (n, P, C)."""
        views = walks[..., self._margin : walks.shape[3] - self._margin] / np.float32(255)
        if self._flip:
            views = np.concatenate([views, views[..., ::-1]])
        if self._one_by_one:
            answers = [self._session.run(None, {self._name: view[None]})[0] for view in views]
        else:
            answers = self._session.run(None, {self._name: views})
        parts = np.concatenate(answers).reshape(-1, len(walks), *answers[0].shape[1:])
        return np.ascontiguousarray(parts.mean(axis=0).transpose(0, 2, 1))


def _number(properties: Mapping[str, str], name: str, default: float) -> float:
    """A property as a number; NaN for what is none."""
    try:
        return float(properties.get(name, default))
    except ValueError:
        return float("nan")
