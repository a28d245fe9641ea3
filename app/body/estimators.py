"""The two body estimators that come with the program. What computes is imported when one is built."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from app.body.mannequin import FEATURES, RATE, Mannequin
from app.errors import CheckpointError
from app.settings import BodySettings
from app.stages import BodyEstimator
from app.types import BodyMotion, GaitSequence
from app.weights.checkpoints import CheckpointFile
from app.weights.registry import body_models
from app.weights.sessions import graph_of


def is_lifting_network(path: Path) -> bool:
    """Whether `path` is an ONNX network that lifts keypoints."""
    session = graph_of(path)
    if session is None or session.get_modelmeta().custom_metadata_map.get("kind") != "lift26":
        return False
    inputs, outputs = session.get_inputs(), session.get_outputs()
    return (
        len(inputs) == len(outputs) == 1
        and len(inputs[0].shape) == len(outputs[0].shape) == 3
        and (inputs[0].type, inputs[0].shape[2]) == ("tensor(float)", FEATURES)
    )


@body_models.register(
    "lift",
    licence="that of the file",
    about=f"an ONNX network, metadata kind=lift26, from keypoints at {RATE:g} a second to a body in space",
    accepts=is_lifting_network,
)
class Lift(BodyEstimator):
    """Bodies as the network sees them."""

    def __init__(self, checkpoint: CheckpointFile | None, settings: BodySettings) -> None:
        """Load the network; `CheckpointError` where the file is no lifting network."""
        from app.body.lift import LiftingNetwork

        if checkpoint is None or not is_lifting_network(checkpoint.path):
            name = checkpoint.path if checkpoint else "nothing"
            raise CheckpointError(f"A body estimator needs an ONNX network with kind=lift26, not {name}.")
        self._network = LiftingNetwork(checkpoint)
        self._mannequin = Mannequin.load()
        self._steps = settings.steps
        self.card = self._network.card

    def fit(self, walks: Sequence[GaitSequence]) -> list[BodyMotion]:
        return [self._network.fit(walk, self._mannequin) for walk in walks]


@body_models.register(
    "fit",
    licence="that of the file",
    about="the network of lift, and an optimisation after it: keypoints, constant bones, feet that do not slip",
    accepts=is_lifting_network,
)
class Fit(Lift):
    """Bodies fitted by optimisation."""

    def fit(self, walks: Sequence[GaitSequence]) -> list[BodyMotion]:
        from app.body.fit import fitted

        return [fitted(self._network, walk, self._mannequin, self._steps) for walk in walks]
