"""From a checkpoint file of OpenGait to a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from app.errors import CheckpointError, SettingsError, nearest
from app.gait.base import EmbeddingNetwork
from app.gait.opengait import disentangled, plain, residual, skeletons
from app.gait.opengait.keys import Architecture, Family, KeyTable, Shapes, Weights
from app.weights.checkpoints import load_pickle_safely, need_weights, state_dict_of

# The first that fits is taken, so a family whose keys are all its own comes before one that shares its keys.
FAMILIES = (
    residual.GAITBASE,
    residual.SKELETONGAIT_PLUS,
    Family("SwinGait", ("transformer.patch_embed.", "layer0.forward_block.")),
    residual.SKELETONGAIT,
    residual.DEEPGAITV2_2D,
    residual.DEEPGAITV2_3D,
    residual.DEEPGAITV2_P3D,
    plain.GAITPART,
    plain.SMPLGAIT,
    plain.MTSGAIT,
    plain.GAITSET,
    plain.GLN_FAMILY,
    plain.GAITGL_DEEP,
    plain.GAITGL,
    plain.GEINET,
    plain.CSTL_FAMILY,
    skeletons.GAITGRAPH2,
    skeletons.GAITGRAPH1,
    skeletons.GAITTR,
    disentangled.DISENTANGLED,
    skeletons.POSEGAIT,
)

# Files people mix up with gait checkpoints.
_OTHERS = (
    Family("a YOLOX detector", ("backbone.backbone.stem.", "head.")),
    Family("an ultralytics detector", ("model.0.conv.",)),
    Family("an image classifier", ("conv1.weight", "fc.weight")),
)


def recognise(weights: Weights, path: Path) -> Architecture:
    """Return the architecture whose keys `weights` have.

    Raises:
        CheckpointError: the family is not supported yet, or this is no gait network; the message says what it seems
            to be.
    """
    supported = ", ".join(family.title for family in FAMILIES if family.architecture)
    family = next((family for family in FAMILIES if family.has(weights)), None)
    if family is None:
        other = next((other for other in _OTHERS if other.has(weights)), None)
        what = f"it seems to be {other.title}" if other else f"its keys are {', '.join(list(weights)[:3])} ..."
        raise CheckpointError(f"{path} is not a gait network of OpenGait: {what}. Supported: {supported}.")
    if family.architecture is None:
        raise CheckpointError(
            f"{path} seems to be a {family.title} gait network, which is not supported yet. "
            f"Supported: {supported}; or use --set gait.name=gei, which needs no checkpoint."
        )
    return family.architecture


def to_theirs(network: nn.Module, table: KeyTable) -> dict[str, Tensor]:
    """Return the weights of `network` under OpenGait's key names."""
    return {table.to_theirs(key): value for key, value in network.state_dict().items()}


def _arguments(config: Mapping[str, Any] | Path, architecture: Architecture) -> dict[str, Any]:
    """Return the constructor's arguments that the user gives, directly or as OpenGait's YAML file."""
    family = architecture.network.family
    if isinstance(config, Path):
        try:
            return architecture.configure(yaml.safe_load(config.read_text(encoding="utf-8"))["model_cfg"])
        except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
            raise SettingsError(
                f"{config} is not OpenGait's configuration of a {family} network: {type(error).__name__}: {error}."
            ) from error
    known = signature(architecture.network).parameters
    for key in config:
        if key not in known:
            raise SettingsError(f"A {family} network has no '{key}'.{nearest(key, known) or f' Known: {list(known)}.'}")
    return dict(config)


@dataclass(frozen=True)
class _Content:
    """What a checkpoint holds: `weights` and `shapes`, by our names.

    `shapes` leaves out what only training needs, unless the classifier is wanted.
    """

    path: Path
    architecture: Architecture
    weights: Weights
    shapes: Shapes

    @classmethod
    def of(cls, path: Path, classifier: bool = False) -> _Content:
        theirs = state_dict_of(load_pickle_safely(path), path)
        architecture = recognise(theirs, path)
        weights = {architecture.table.to_ours(key): value for key, value in theirs.items()}
        training = () if classifier else architecture.training
        return cls(
            path, architecture, weights, {k: tuple(v.shape) for k, v in weights.items() if not k.startswith(training)}
        )

    def network(self, **given: Any) -> EmbeddingNetwork:
        """Build the network from the shapes and the user's `given` arguments, still without these weights.

        Raises:
            CheckpointError: keys are missing without which it is not known how to build it.
        """
        architecture = self.architecture
        try:
            return architecture.network(**{**architecture.read(self.shapes), **given})
        except KeyError as error:
            missing = [str(error.args[0])]
            cause: Exception = error
        except (IndexError, ValueError) as error:  # whole stages or blocks may be missing
            with torch.device("meta"):
                usual = architecture.network().state_dict()
            missing, cause = [key for key in usual if key not in self.weights], error
            if not missing:
                raise
        named = ", ".join(architecture.table.to_theirs(key) for key in missing[:6])
        raise CheckpointError(
            f"{self.path} is not a whole {architecture.network.family} network: {len(missing)} missing: {named}"
            f"{' and others' if len(missing) > 6 else ''}."
        ) from cause

    def need_fitting(self, **given: Any) -> None:
        """Make sure that the weights are exactly those of the network.

        It is built without numbers, because a file may claim layers that do not fit into the memory.
        """
        with torch.device("meta"):
            network = self.network(**given)
        need_weights(network, self.weights_for(network), self.path, self.what, self.architecture.table.to_theirs)

    @property
    def what(self) -> str:
        return f"a {self.architecture.network.family} network"

    def weights_for(self, network: nn.Module) -> dict[str, Tensor]:
        """Return the weights, without those for training that `network` does not have."""
        own = network.state_dict()
        return {key: value for key, value in self.weights.items() if key in self.shapes or key in own}


def architecture_of(path: Path) -> Architecture:
    """Return the architecture of a checkpoint whose keys are all there, without loading the weights.

    Raises:
        CheckpointError: see `load_network`.
    """
    content = _Content.of(path)
    content.need_fitting()
    return content.architecture


def load_network(
    path: Path, config: Mapping[str, Any] | Path | None = None, classifier: bool = False
) -> EmbeddingNetwork:
    """Load a gait network from OpenGait's checkpoint, unchanged; family and widths are read from the file.

    Args:
        path: the ``.pt`` file (a dictionary with ``model``, or a bare state dict).
        config: what the file does not tell, such as strides and `input_size`, because the weights look the same
            whatever they are. Give the arguments of the network's constructor by name, or OpenGait's YAML file, whose
            ``model_cfg`` is read; without either, the published values are taken. So the plain baseline, whose file
            looks like MTSGait's, needs ``{"hops": ()}``, and a network that embeds after its neck needs
            ``{"use_emb2": True}``.
        classifier: whether to keep the classifier of the training set's people, which embedding does not need.

    Returns:
        The network, in eval mode, on the CPU.

    Raises:
        CheckpointError: the file is unreadable, unsafe or of another kind, keys are missing or left over (named as
            OpenGait does), or numbers are not finite.
        SettingsError: `config` has a key the network does not know, or is not OpenGait's YAML of this family.
    """
    content = _Content.of(path, classifier)
    given = _arguments(config or {}, content.architecture)
    content.need_fitting(**given)
    network = content.network(**given)
    weights, to_theirs = content.weights_for(network), content.architecture.table.to_theirs
    network.load_state_dict(weights, strict=False)
    _need_finite({to_theirs(key): value for key, value in weights.items()}, path)
    return network.eval()


def _need_finite(weights: Weights, path: Path) -> None:
    broken = [key for key, value in weights.items() if not bool(torch.isfinite(value).all())]
    if broken:
        others = f" and {len(broken) - 1} more" if len(broken) > 1 else ""
        raise CheckpointError(
            f"{path} holds numbers that are not finite (NaN or infinite) in '{broken[0]}'{others}: its training has "
            "failed, or the file is damaged. Take an earlier checkpoint."
        )
