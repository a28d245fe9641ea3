"""OpenGait's networks as a gait model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from app.errors import CheckpointError, SettingsError
from app.gait.heatmaps import heatmaps
from app.settings import GaitSettings
from app.types import Bytes, Embedding, Floats, GaitSequence, Ints, ModelCard
from app.weights.checkpoints import CheckpointFile, load_pickle_safely, metadata_of
from app.weights.registry import gait_models

if TYPE_CHECKING:
    import torch

    from app.gait.base import EmbeddingNetwork, FramewiseNetwork

LICENCE = "academic use only (OpenGait weights)"
# Bounds the memory to about 0.1 GB. Smaller chunks are no faster, and slower on a busy machine
# (tests/benchmarks/gait.py).
CHUNK = 32
_ROWS = 64

Maps: TypeAlias = NDArray[Any]
"""A walk as a network sees it, frames first: pictures uint8 (T, ..., 64, 64), or keypoints float32 (T, 17, 3)."""
Look: TypeAlias = Callable[[GaitSequence], Maps]


def _keypoints(walk: GaitSequence) -> Floats:
    if walk.keypoints is None:
        raise SettingsError(
            "The gait network looks at skeletons, and a walk has no keypoints: set pose.when to 'auto' or 'always'."
        )
    return walk.keypoints


def _skeleton(walk: GaitSequence) -> Bytes:
    return heatmaps(_keypoints(walk))


INPUTS: dict[tuple[str, ...], Look] = {
    ("silhouettes",): lambda walk: walk.silhouettes,
    ("heatmaps",): _skeleton,
    ("heatmaps with silhouettes",): lambda walk: np.concatenate([_skeleton(walk), walk.silhouettes[:, None]], 1),
}
"""What networks that see pictures may take, made from a walk: uint8 (T, 64, 64), or (T, channels, 64, 64)."""


def accepts(path: Path) -> bool:
    """Whether `path` is a checkpoint of a supported gait network, with all of its keys.

    Raises:
        CheckpointError: a torch file that is not, or is not whole; the message says what it seems to be, or which keys
            are missing.
    """
    if path.is_dir() or path.suffix.lower() not in {".pt", ".pth", ".ckpt", ".tar"}:
        return False
    from app.gait.opengait import architecture_of

    _maps_for(architecture_of(path).network, path)
    return True


def _maps_for(network: type[EmbeddingNetwork], path: Path) -> Look:
    """How what a network sees is made from a walk.

    Raises:
        CheckpointError: a walk cannot give it; `path` is the network's file, for the message.
    """
    from app.gait.base import JointNetwork

    if issubclass(network, JointNetwork):
        return _keypoints
    advice = "it can be judged on data sets (python -m app evaluate), or used through app.gait.load_network."
    if network.inputs not in INPUTS:
        known = ", ".join(" and ".join(inputs) for inputs in [*INPUTS, ("keypoints",)])
        raise CheckpointError(
            f"{path} is a {network.family} network, which takes {' and '.join(network.inputs)}; walks in videos give "
            f"{known}: {advice}"
        )
    rows, columns = signature(network).parameters["input_size"].default
    if rows != _ROWS:
        raise CheckpointError(
            f"{path} is a {network.family} network, which takes silhouettes of {rows} rows and {columns} columns; "
            f"walks in videos give {_ROWS} rows: {advice}"
        )
    return INPUTS[network.inputs]


def thin(frames: int, most: int) -> Ints:
    """Indices of at most `most` of `frames` frames, evenly spread, the first and the last among them."""
    if frames <= most:
        return np.arange(frames)
    return np.linspace(0, frames - 1, most).round().astype(np.int64)


@gait_models.register(
    "opengait",
    licence=LICENCE,
    about="checkpoints of OpenGait (.pt), family and widths read from the file",
    accepts=accepts,
)
class NetworkEmbedder:
    """Embeds walks with the network of an OpenGait checkpoint, in float32 on the CPU.

    Args:
        checkpoint: the file; the architecture is recognised from its keys.
        settings: `max_frames` bounds the length of a walk.

    Raises:
        CheckpointError: see `app.gait.opengait.load_network`.
    """

    def __init__(self, checkpoint: CheckpointFile | None, settings: GaitSettings) -> None:
        if checkpoint is None:
            raise CheckpointError("The gait model 'opengait' needs a checkpoint: give --gait-checkpoint FILE.")
        from app.gait.layers import prepare_for_inference
        from app.gait.opengait import load_network

        self._network = load_network(checkpoint.path)
        stated = metadata_of(load_pickle_safely(checkpoint.path, mapped=True))
        self._maps = _maps_for(type(self._network), checkpoint.path)
        prepare_for_inference(self._network)
        self._max_frames = settings.max_frames
        self.card = ModelCard(
            stage="gait",
            name=self._network.family,
            origin=checkpoint.origin,
            licence=stated.get("licence", LICENCE),
            file=checkpoint.path,
            sha256=checkpoint.sha256(),
            runtime="torch",
            note=stated.get("note", "the weights are for academic use only"),
            keypoints=self._maps is not INPUTS["silhouettes",],
        )

    def embed(self, walks: Sequence[GaitSequence]) -> list[Embedding]:
        """Return one embedding per walk, its parts float32 (P, C). Memory does not grow with the walks' length.

        Of a long walk, networks that see joints take the frames of its middle, all others take frames evenly spread.

        Raises:
            SettingsError: the network looks at skeletons and a walk has no keypoints.
        """
        import torch

        from app.gait.base import FramewiseNetwork

        if not walks:
            return []
        seen = [self._taken(self._maps(walk)) for walk in walks]
        with torch.inference_mode():
            if isinstance(self._network, FramewiseNetwork):
                parts = self._packed(self._network, seen)
            else:  # layers over time would mix walks that are packed, and see the padding of those that are padded
                parts = torch.cat([self._network.embed(self._input(walk)) for walk in seen])
        features: Floats = parts.mT.contiguous().numpy()
        return [Embedding(feature, self.card.model_id, len(walk)) for feature, walk in zip(features, seen, strict=True)]

    def _taken(self, walk: Maps) -> Maps:
        """The frames that the network sees."""
        from app.gait.base import JointNetwork

        if isinstance(self._network, JointNetwork):  # it looks at how joints move from frame to frame
            start = max(0, (len(walk) - self._network.frames) // 2)
            return walk[start : start + self._network.frames]
        return walk[thin(len(walk), self._max_frames)]

    def _packed(self, network: FramewiseNetwork, silhouettes: Sequence[Maps]) -> torch.Tensor:
        """Run the frames of all walks in chunks of one size, keeping only each walk's maximum so far."""
        import torch

        frames = np.concatenate(silhouettes)
        owner = np.repeat(np.arange(len(silhouettes)), [len(walk) for walk in silhouettes])
        pooled: dict[int, torch.Tensor] = {}
        for start in range(0, len(frames), CHUNK):
            maps = network.frame_features(self._input(frames[start : start + CHUNK])[0, :, None])
            walks, counts = np.unique(owner[start : start + CHUNK], return_counts=True)
            for walk, part in zip(walks.tolist(), torch.split(maps, counts.tolist()), strict=True):
                peak = part.amax(0)
                pooled[walk] = torch.maximum(pooled[walk], peak) if walk in pooled else peak
        return network.head(torch.stack(list(pooled.values())))

    def _input(self, walk: Maps) -> torch.Tensor:
        """What the network takes, of one walk: pictures are cut to its columns and scaled to 0..1."""
        import torch

        from app.gait.base import JointNetwork, PictureNetwork

        network = self._network
        if isinstance(network, JointNetwork):
            return network.seen(torch.tensor(walk[None]))
        assert isinstance(network, PictureNetwork)
        margin = (walk.shape[-1] - network.input_size[1]) // 2
        cut = torch.from_numpy(walk[None, ..., margin : walk.shape[-1] - margin] / np.float32(255))
        network.check(cut)
        return cut
