"""OpenGait's networks as a gait model; `app.gait.checkpoints` recognises their files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.errors import CheckpointError, SettingsError, reason_of
from app.gait import LICENCE
from app.gait.base import EmbeddingNetwork, FramewiseNetwork, JointNetwork, PictureNetwork
from app.gait.embeddings import embedding
from app.gait.frames import thin
from app.gait.heatmaps import heatmaps
from app.gait.layers import prepare_for_inference
from app.gait.opengait import need_recognition, read_network
from app.settings import GaitSettings
from app.stages import BodyEstimator
from app.types import PICTURE, Bytes, Embedding, Floats, GaitSequence
from app.weights.checkpoints import CheckpointFile, load_pickle_safely, metadata_of
from app.weights.devices import runtime_of, torch_device

# Bounds the memory to about 0.1 GB. Smaller chunks are no faster, and slower on a busy machine
# (tests/benchmarks/gait.py).
CHUNK = 32
_CHUNK_IN_COLOUR = 4
_ROWS = 64
_SIDE = 128
"""Rows and columns of a whole box in colour, whatever its shape."""

Maps: TypeAlias = NDArray[Any]
"""A walk as a network sees it, frames first: pictures uint8 (T, ..., 64, 64), or keypoints float32 (T, 17, 3)."""
MakeInput: TypeAlias = Callable[[GaitSequence], tuple[Maps, ...]]
"""Makes what a network takes from a walk: one array, or two of the same frames."""


def _keypoints(walk: GaitSequence) -> Floats:
    if walk.keypoints is None:
        raise SettingsError(
            "The gait network looks at skeletons, but a walk has no keypoints: set pose.when to 'auto' or 'always'."
        )
    return walk.keypoints


def _skeleton(walk: GaitSequence) -> Bytes:
    return heatmaps(_keypoints(walk))


def _parts(walk: GaitSequence) -> Bytes:
    if walk.parts is None:
        raise SettingsError(
            "The gait network looks at maps of body parts, but a walk has none: run the video again with --set "
            "parser.when=always."
        )
    return walk.parts


def _pictures(walk: GaitSequence) -> tuple[Bytes, Floats]:
    if walk.pictures is None or walk.ratios is None:
        raise SettingsError(
            "The gait network looks at people in colour, but a walk has no pictures. Walks in videos have them; those "
            "of data sets and the silhouettes that a gallery keeps do not."
        )
    return walk.pictures, walk.ratios


def _in_colour(walk: GaitSequence) -> Bytes:
    return np.ascontiguousarray(_pictures(walk)[0][..., :3].transpose(0, 3, 1, 2))


def _boxes_in_colour(walk: GaitSequence) -> tuple[Maps, ...]:
    """Return the shapes of the boxes, (T,), and the boxes alone, (T, 3, 128, 128) and (T, 128, 128)."""
    pictures, ratios = _pictures(walk)
    boxes = np.empty((len(pictures), _SIDE, _SIDE, 4), np.uint8)
    for index, (picture, ratio) in enumerate(zip(pictures, ratios.tolist(), strict=True)):
        rows, columns = PICTURE
        width = min(max(1, round(rows * ratio)), columns)
        left = (columns - width) // 2
        boxes[index] = cv2.resize(picture[:, left : left + width], (_SIDE, _SIDE), interpolation=cv2.INTER_LINEAR)
    seen = boxes.transpose(0, 3, 1, 2)
    return ratios, np.ascontiguousarray(seen[:, :3]), np.ascontiguousarray(seen[:, 3])


INPUTS: dict[tuple[str, ...], MakeInput] = {
    ("silhouettes",): lambda walk: (walk.silhouettes,),
    ("heatmaps",): lambda walk: (_skeleton(walk),),
    ("heatmaps with silhouettes",): lambda walk: (np.concatenate([_skeleton(walk), walk.silhouettes[:, None]], 1),),
    ("parsing",): lambda walk: (_parts(walk),),
    ("parsing", "silhouettes"): lambda walk: (_parts(walk), walk.silhouettes),
    ("silhouettes with parsing",): lambda walk: (np.stack([walk.silhouettes, _parts(walk)], 1),),
    ("silhouettes", "smpl"): lambda walk: (walk.silhouettes,),
    ("parsing", "smpl"): lambda walk: (_parts(walk),),
    ("pictures",): lambda walk: (_in_colour(walk),),
    ("box ratios", "pictures", "silhouettes of whole boxes"): _boxes_in_colour,
}
"""How the pictures that networks take are made from a walk: uint8 (T, 64, 64), or (T, channels, 64, 64).

SMPL parameters are those of a body that is fitted to the walk, see `NetworkEmbedder`.
"""


_FITTED = (
    "its SMPL parameters are those of a body that is fitted here to keypoints, with SMPL's mean shape, not those of "
    "the estimator it was trained with"
)


def input_of(network: EmbeddingNetwork, path: Path) -> MakeInput:
    """Return how the network's input is made from a walk.

    Raises:
        CheckpointError: a walk cannot give that input. `path` is the network's file, for the message.
    """
    if isinstance(network, JointNetwork):
        return lambda walk: (_keypoints(walk),)
    assert isinstance(network, PictureNetwork)
    advice = "Judge it on data sets (python -m app evaluate), or use it through app.gait.load_network."
    need_recognition(network, path)
    if network.inputs not in INPUTS:
        known = ", ".join(" and ".join(inputs) for inputs in [*INPUTS, ("keypoints",)])
        taken = " and ".join(network.inputs)
        raise CheckpointError(
            f"{path} is a {network.family} network, which takes {taken}, but walks in videos give only {known}. "
            f"{advice}"
        )
    rows, columns = network.input_size
    if rows != _ROWS and "pictures" not in network.inputs:
        raise CheckpointError(
            f"{path} is a {network.family} network, which takes silhouettes of {rows} rows and {columns} columns, "
            f"but walks in videos give {_ROWS} rows. {advice}"
        )
    return INPUTS[network.inputs]


def name_of(network: EmbeddingNetwork, extra: Mapping[str, Any]) -> str:
    """Return the name of a model: that of the network's family, with the arguments that its file does not tell.

    They belong to the name because embeddings of one file with different arguments cannot be compared.
    """

    def written(value: Any) -> str:
        return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value).lower()

    return "+".join([network.family, *(f"{key}={written(value)}" for key, value in sorted(extra.items()))])


def note_of(network: EmbeddingNetwork, note: str) -> str:
    """Return what a user should know of a network: its `note`, and what was assumed of it."""
    if not network.assumed:
        return note
    return f"{note}; assumed {' and '.join(network.assumed)}: OpenGait's YAML settles it (--gait-config FILE)"


class NetworkEmbedder:
    """Embeds walks with the network of an OpenGait checkpoint, whose keys tell the architecture, in
    `settings.precision`.

    At most `settings.max_frames` frames of a walk are used; `settings.config` is OpenGait's YAML. A network that takes
    SMPL parameters needs `body`, which fits bodies to the keypoints of walks.

    Raises:
        CheckpointError: see `app.gait.opengait.load_network`.
        SettingsError: `config` is not OpenGait's YAML of this family.
    """

    def __init__(self, checkpoint: CheckpointFile | None, settings: GaitSettings) -> None:
        if checkpoint is None:
            raise CheckpointError("The gait model 'opengait' needs a checkpoint: give --gait-checkpoint FILE.")
        self._network, extra = read_network(checkpoint.path, settings.config)
        stated = metadata_of(load_pickle_safely(checkpoint.path, mapped=True))
        self._sees = " ".join(getattr(self._network, "inputs", ()))
        self.body: BodyEstimator | None = None
        self._input = input_of(self._network, checkpoint.path)
        prepare_for_inference(self._network)
        self._device = torch_device(settings.device)
        self._type = torch.bfloat16 if settings.precision == "bfloat16" else torch.float32
        self._network.to(self._device, self._type)
        self._max_frames = settings.max_frames
        fitted = [_FITTED] if "smpl" in self._sees else []
        self.card = checkpoint.card(
            "gait",
            name_of(self._network, extra),
            stated.get("licence", LICENCE),
            runtime_of(self._device, self._type),
            "; ".join([note_of(self._network, stated.get("note", "the weights are for academic use only")), *fitted]),
            keypoints=isinstance(self._network, JointNetwork) or "heatmaps" in self._sees or "smpl" in self._sees,
            parts="parsing" in self._sees,
            body="smpl" in self._sees,
            pictures="pictures" in self._sees,
        )

    def embed(self, walks: Sequence[GaitSequence]) -> list[Embedding]:
        """Return one embedding per walk, its parts float32 (P, C). Memory does not grow with the walks' length.

        Of a long walk, networks that see joints take the frames in the middle; all others take frames evenly spread.

        Raises:
            CheckpointError: the network cannot work as it was said to be made.
            SettingsError: the network looks at skeletons or bodies, but a walk has no keypoints.
        """
        if not walks:
            return []
        inputs = [tuple(map(self._shortened, (*self._input(walk), *self._parameters(walk)))) for walk in walks]
        try:
            with torch.inference_mode():
                if isinstance(self._network, FramewiseNetwork):
                    parts = self._embed_packed(self._network, [maps for (maps,) in inputs])
                else:  # layers over time would mix walks that are packed, and would see padding
                    parts = torch.cat([self._network.embed(*map(self._tensor, walk)) for walk in inputs])
        except RuntimeError as error:  # impossible strides, too little memory
            raise CheckpointError(
                f"The gait network '{self.card.name}' cannot work at a walk of {len(inputs[0][0])} frames "
                f"({reason_of(error)}). If an OpenGait's YAML was given for it or lies beside it, check that it is the "
                "one of its training."
            ) from error
        features: Floats = parts.mT.float().contiguous().cpu().numpy()
        return [embedding(feature, self.card, len(walk[0])) for feature, walk in zip(features, inputs, strict=True)]

    def _parameters(self, walk: GaitSequence) -> tuple[Floats, ...]:
        """Fit a body to the walk, for a network that takes SMPL parameters."""
        if "smpl" not in self._sees:
            return ()
        from app.body.mannequin import Mannequin
        from app.body.smpl import parameters_of  # SciPy is slow to import

        _keypoints(walk)
        if self.body is None:
            raise SettingsError(
                f"'{self.card.name}' takes SMPL parameters, which need a fitted body. Set `body` of this model to what "
                "app.body.load_body_estimator() gives."
            )
        (motion,) = self.body.fit([walk])
        return (parameters_of(motion, Mannequin.load()),)

    def _shortened(self, walk: Maps) -> Maps:
        """Choose the frames that the network sees."""
        if isinstance(self._network, JointNetwork):  # it looks at how joints move from frame to frame
            start = max(0, (len(walk) - self._network.frames) // 2)
            return walk[start : start + self._network.frames]
        return walk[thin(len(walk), self._max_frames)]

    def _embed_packed(self, network: FramewiseNetwork, silhouettes: Sequence[Maps]) -> Tensor:
        """Run the frames of all walks in chunks of one size, and keep only each walk's maximum so far."""
        frames = np.concatenate(silhouettes)
        owner = np.repeat(np.arange(len(silhouettes)), [len(walk) for walk in silhouettes])
        pooled: dict[int, Tensor] = {}
        chunk = _CHUNK_IN_COLOUR if self.card.pictures else CHUNK
        for start in range(0, len(frames), chunk):
            maps = network.frame_features(self._tensor(frames[start : start + chunk])[0, :, None])
            walks, counts = np.unique(owner[start : start + chunk], return_counts=True)
            for walk, part in zip(walks.tolist(), torch.split(maps, counts.tolist()), strict=True):
                peak = part.amax(0)
                pooled[walk] = torch.maximum(pooled[walk], peak) if walk in pooled else peak
        return network.head(torch.stack(list(pooled.values())))

    def _tensor(self, walk: Maps) -> Tensor:
        """Return one walk as the network takes it: pictures are cut to its columns and scaled to 0..1."""
        network = self._network
        if isinstance(network, JointNetwork):
            return network.prepared(torch.tensor(walk[None])).to(self._device, self._type)
        assert isinstance(network, PictureNetwork)
        if walk.ndim == 1:  # the shapes of boxes, of which every digit counts
            return torch.from_numpy(walk[None]).to(self._device)
        if walk.ndim == 2:  # SMPL parameters
            return torch.from_numpy(walk[None]).to(self._device, self._type)
        margin = (walk.shape[-1] - network.input_size[1]) // 2
        cut = network.input_of(torch.from_numpy(walk[None, ..., margin : walk.shape[-1] - margin]))
        if not self.card.pictures:
            network.check(cut)
        return cut.to(self._device, self._type)
