"""Gait networks that see how the joints of a walk move, exported to ONNX: the one that comes with Gaitprint.

A graph has one input, ``features`` float32 (n, T, 56) as `app.body.observed.features` makes them from keypoints at
`app.body.mannequin.RATE` a second, and one output, the embedding (n, C, P), whose parts have unit length. n and T are
open. The metadata property ``kind=joints`` tells it from other graphs; ``licence`` and ``note`` are shown to the user.
``piece`` says how many frames the network sees at once: a longer walk is embedded in pieces of this size, as in
`app.gait.onnx`. The embedding is the mean of those of the walk and of its mirror image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from app.body.mannequin import FEATURES, RATE
from app.errors import CheckpointError, SettingsError
from app.gait.embeddings import embedding, mean_of_pieces
from app.gait.frames import cut, piece_of
from app.settings import GaitSettings
from app.types import Embedding, Floats, GaitSequence
from app.weights.checkpoints import CheckpointFile
from app.weights.networks import open_network
from app.weights.registry import gait_models
from app.weights.sessions import graph_of, onnx_card

KIND = "joints"


def accepts(path: Path) -> bool:
    """Whether `path` is an ONNX graph of this kind."""
    session = graph_of(path)
    if session is None or session.get_modelmeta().custom_metadata_map.get("kind") != KIND:
        return False
    inputs, outputs = session.get_inputs(), session.get_outputs()
    return (
        len(inputs) == len(outputs) == 1
        and inputs[0].type == outputs[0].type == "tensor(float)"
        and len(inputs[0].shape) == len(outputs[0].shape) == 3
        and inputs[0].shape[2] == FEATURES
    )


@gait_models.register(
    "onnx-joints",
    licence="that of the file",
    about=f"an ONNX network, metadata kind={KIND}, from keypoints at {RATE:g} a second to parts (n, C, P)",
    accepts=accepts,
)
class OnnxJoints:
    """Embeds the joints of walks with an ONNX network, in float32. Of the settings, only `device` matters.

    Raises:
        CheckpointError: the file is no such network, or its metadata make no sense.
    """

    def __init__(self, checkpoint: CheckpointFile | None, settings: GaitSettings) -> None:
        if checkpoint is None or not accepts(checkpoint.path):
            raise CheckpointError(
                f"The gait model 'onnx-joints' needs an ONNX network with kind={KIND} and one input (n, T, {FEATURES}),"
                f" not {checkpoint.path if checkpoint else 'nothing'}."
            )
        self._session = open_network(checkpoint, settings.device, "float32")
        self._name = self._session.get_inputs()[0].name
        properties = self._session.get_modelmeta().custom_metadata_map
        self._piece = piece_of(properties, checkpoint.path, "frames")
        card = onnx_card("gait", checkpoint, self._session, self._session.runtime)
        self.card = replace(card, keypoints=True)

    def embed(self, walks: Sequence[GaitSequence]) -> list[Embedding]:
        """Return one embedding per walk, its parts float32 (P, C); with `pieces` if the file states ``piece``.

        Raises:
            SettingsError: a walk has no keypoints.
        """
        return [self._embed(walk) for walk in walks]

    def _embed(self, walk: GaitSequence) -> Embedding:
        from app.body.observed import features, mirrored, resampled  # SciPy is slow to import

        if walk.keypoints is None:
            raise SettingsError(
                f"The gait model '{self.card.name}' looks at joints, but a walk has no keypoints: set pose.when to "
                "'auto' or 'always'."
            )
        seen = features(resampled(walk)[0])
        pieces = seen[cut(len(seen), self._piece or len(seen))]
        answer = self._session.run(None, {self._name: np.concatenate([pieces, mirrored(pieces)])})[0]
        if answer.ndim != 3 or len(answer) != 2 * len(pieces):
            raise CheckpointError(
                f"{self.card.file} gives numbers of the shape {answer.shape} for {2 * len(pieces)} walks, not (n, C, "
                "P). Export the network again."
            )
        found: Floats = np.ascontiguousarray(
            answer.reshape(2, len(pieces), *answer.shape[1:]).mean(axis=0).transpose(0, 2, 1)
        )
        if not self._piece:
            return embedding(found[0], self.card, len(walk))
        return embedding(mean_of_pieces(found), self.card, len(walk), found)
