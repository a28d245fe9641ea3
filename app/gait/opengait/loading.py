"""From a checkpoint file of OpenGait to a network."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from app.errors import CheckpointError, GaitprintError, SettingsError, nearest
from app.gait.base import EmbeddingNetwork, JointNetwork
from app.gait.opengait import disentangled, parsing, pictures, plain, residual, selfsupervised, skeletons, swingait
from app.gait.opengait.keys import Architecture, Family, KeyTable, Settled, Shapes, Traces, Weights
from app.weights.checkpoints import load_pickle_safely, need_finite, need_weights, state_dict_of
from app.yaml_files import read_yaml

logger = logging.getLogger(__name__)

_TELL = (
    "If that is wrong, put OpenGait's YAML of its training beside the file, under the same name, or give it as "
    "--gait-config (gait.config in the settings)."
)

# The first that fits is taken, so a family whose keys are all its own comes before one that shares its keys.
FAMILIES = (
    residual.GAITBASE,
    pictures.BIGGERGAIT,
    pictures.GAITEDGE,
    parsing.XGAIT,
    parsing.MULTIGAIT,
    parsing.PARSINGGAIT_COARSE,
    parsing.PARSINGGAIT_FINE,
    selfsupervised.GAITSSB,
    selfsupervised.GRADER,
    selfsupervised.FOUNDATIONGAIT,
    residual.LIDARGAIT,
    residual.SKELETONGAIT_PLUS,
    swingait.SWINGAIT,
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
    supported = ", ".join(dict.fromkeys(family.title for family in FAMILIES if family.architecture))
    family = next((family for family in FAMILIES if family.has(weights)), None)
    if family is None:
        other = next((other for other in _OTHERS if other.has(weights)), None)
        what = f"it seems to be {other.title}" if other else f"its keys are {', '.join(list(weights)[:3])} ..."
        raise CheckpointError(f"{path} is not a gait network of OpenGait: {what}. Supported: {supported}.")
    if family.architecture is None:
        raise CheckpointError(
            f"{path} seems to be a {family.title} gait network, which is not supported, because {family.reason}. "
            f"Supported: {supported}; or use --set gait.name=gei, which needs no checkpoint."
        )
    return family.architecture


def to_theirs(network: nn.Module, table: KeyTable) -> dict[str, Tensor]:
    """Return the weights of `network` under OpenGait's key names."""
    return {table.to_theirs(key): value for key, value in network.state_dict().items()}


def beside(path: Path) -> Path | None:
    """Return OpenGait's YAML that lies beside a checkpoint under the same name; None where there is none."""
    return next((file for file in map(path.with_suffix, (".yaml", ".yml")) if file.is_file()), None)


class _Stated(NamedTuple):
    """What OpenGait's YAML or the user says.

    These are the constructor's arguments, what is set afterwards, and the names of the data set (a path; without a
    YAML, the file's) and of the network.
    """

    arguments: Mapping[str, Any]
    joints: Mapping[str, Any]
    name: Path
    model: str = ""


def _stated(config: Path, architecture: Architecture, error: type[GaitprintError]) -> _Stated:
    """Return what OpenGait's YAML says."""
    content = read_yaml(config, error)
    family, model = architecture.network.family, {}
    try:
        model, data = content["model_cfg"], content.get("data_cfg") or {}
        return _Stated(
            architecture.configure(model),
            _of_joints(content) if issubclass(architecture.network, JointNetwork) else {},
            Path(str(data.get("dataset_root", "")), str(data.get("dataset_name", ""))),
            str(model.get("model", "")),
        )
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as problem:
        named = f"; its model_cfg.model is {model['model']}" if isinstance(model, Mapping) and "model" in model else ""
        why = "its sections have other kinds of values"
        if isinstance(problem, KeyError | ValueError):
            why = f"it has no key {problem}" if isinstance(problem, KeyError) else str(problem)
        raise error(
            f"{config} is not OpenGait's configuration of a {family} network: {why}{named}. Give the YAML with which "
            "this checkpoint was trained, or none."
        ) from problem


def _of_joints(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the transforms of OpenGait's YAML, if it has any, say of the joints that a network sees."""
    for part in ("evaluator_cfg", "trainer_cfg"):
        transforms = list(each_transform((content.get(part) or {}).get("transform", [])))
        if transforms:
            lengths = (transform.get("sequence_length") for transform in transforms)
            frames = next((int(length) for length in lengths if length is not None), None)
            centred = any(transform.get("type") == "NormalizeEmpty" for transform in transforms)
            if frames is not None and frames < 1:
                raise ValueError(f"sequence_length is {frames}")
            return {"centred": centred, **({} if frames is None else {"frames": frames})}
    return {}


def each_transform(transforms: object) -> Iterator[Mapping[str, Any]]:
    """Yield the transforms of OpenGait's YAML, also those in others such as ``Compose``."""
    for transform in transforms if isinstance(transforms, list) else [transforms]:
        if isinstance(transform, Mapping):
            yield transform
            yield from each_transform(transform.get("trf_cfg", []))


def _known(arguments: Mapping[str, Any], architecture: Architecture) -> dict[str, Any]:
    """Return the constructor's arguments that the user gives."""
    family, known = architecture.network.family, signature(architecture.network).parameters
    for key in arguments:
        if key not in known:
            raise SettingsError(f"A {family} network has no '{key}'.{nearest(key, known) or f' Known: {list(known)}.'}")
    return dict(arguments)


@dataclass(frozen=True)
class _Content:
    """What a checkpoint holds: `weights` and `shapes`, by our names.

    `shapes` leaves out what only training needs, unless the classifier is wanted. `given` are arguments of the
    constructor that the user or OpenGait's YAML gives, and `joints` what the YAML says of a network of joints.
    """

    path: Path
    architecture: Architecture
    weights: Weights
    shapes: Shapes
    given: Mapping[str, Any]
    joints: Mapping[str, Any]
    traces: Traces
    classifier: bool

    @classmethod
    def of(cls, path: Path, config: Mapping[str, Any] | Path | None = None, classifier: bool = False) -> _Content:
        content = load_pickle_safely(path)
        theirs = state_dict_of(content, path)
        architecture = recognise(theirs, path)
        weights = {architecture.table.to_ours(key): value for key, value in theirs.items()}
        found = beside(path) if config is None else config
        if isinstance(found, Path):
            stated = _stated(found, architecture, SettingsError if found is config else CheckpointError)
        else:
            stated = _Stated(_known(found or {}, architecture), {}, path.absolute())
        every = {key: tuple(value.shape) for key, value in weights.items()}
        return cls(
            path,
            architecture,
            weights,
            {key: s for key, s in every.items() if classifier or not key.startswith(architecture.training)},
            stated.arguments,
            stated.joints,
            Traces.of(content, every, stated.name, bool(found), stated.model),
            classifier,
        )

    @cached_property
    def settled(self) -> Settled:
        """How what the shapes leave open was settled."""
        return self.architecture.settle(self.traces)

    @property
    def extra(self) -> dict[str, Any]:
        """The constructor's arguments that the shapes do not tell."""
        return {**self.settled.arguments, **self.given}

    def network(self) -> EmbeddingNetwork:
        """Build the network, still without these weights.

        Raises:
            CheckpointError: keys are missing without which it is not known how to build it.
        """
        architecture = self.architecture
        try:
            # With its classifier a network comes as it was trained, whatever the classes mean.
            kind = architecture.network if self.classifier else self.settled.network or architecture.network
            network = kind(**{**architecture.read(self.shapes), **self.extra})
            network.refused, network.assumed = self.settled.refused, self.settled.assumed
            if self.settled.inputs is not None:
                network.inputs = self.settled.inputs
            if isinstance(network, JointNetwork):
                network.frames = self.joints.get("frames") or self.settled.frames or network.frames
                network.centred = self.joints.get("centred", self.settled.centred) or False
            return network
        except KeyError as error:
            missing = [str(error.args[0])]
            cause: Exception = error
        except (IndexError, ValueError) as error:  # whole stages or blocks may be missing
            with torch.device("meta"):
                usual = architecture.network().state_dict()
            missing, cause = [key for key in usual if key not in self.weights], error
            if not missing:
                how = "".join(f", {name} {value}" for name, value in self.given.items())
                raise CheckpointError(f"{self.path} cannot be read as {self.what}{how}: {error}.") from error
        named = ", ".join(architecture.table.to_theirs(key) for key in missing[:6])
        raise CheckpointError(
            f"{self.path} is not a whole {architecture.network.family} network: {len(missing)} missing: {named}"
            f"{' and others' if len(missing) > 6 else ''}."
        ) from cause

    def outline(self) -> EmbeddingNetwork:
        """Build the network without numbers, because a file may claim layers that do not fit into the memory.

        Raises:
            CheckpointError: the weights are not exactly those of the network.
        """
        with torch.device("meta"):
            network = self.network()
        need_weights(network, self.weights_for(network), self.path, self.what, self.architecture.table.to_theirs)
        return network

    @property
    def what(self) -> str:
        return f"a {self.architecture.network.family} network"

    def weights_for(self, network: nn.Module) -> dict[str, Tensor]:
        """Return the weights, without those for training that `network` does not have."""
        own = network.state_dict()
        return {key: value for key, value in self.weights.items() if key in self.shapes or key in own}


def outline_of(path: Path) -> EmbeddingNetwork:
    """Return the network of a checkpoint whose keys are all there, without its numbers.

    Raises:
        CheckpointError: see `load_network`; or it does not tell who walks.
    """
    content = _Content.of(path)
    network = content.outline()
    need_recognition(network, path)
    return network


def need_recognition(network: EmbeddingNetwork, path: Path) -> None:
    """Raise CheckpointError if people cannot be recognised with a network; `path` is its file, for the message."""
    if network.refused is not None:
        raise CheckpointError(
            f"{path} is a {network.family} network, but {network.refused}. If that is wrong, put OpenGait's "
            "YAML of its training beside the file, under the same name."
        )


def load_network(
    path: Path, config: Mapping[str, Any] | Path | None = None, classifier: bool = False
) -> EmbeddingNetwork:
    """Load a gait network from OpenGait's checkpoint, unchanged; family and widths are read from the file.

    Args:
        path: the ``.pt`` file (a dictionary with ``model``, or a bare state dict).
        config: what the file does not tell, such as strides and `input_size`, because the weights look the same
            whatever they are. Give the arguments of the network's constructor by name, or OpenGait's YAML file, whose
            ``model_cfg`` is read. None takes a YAML of the same name beside the file; without one, known publications
            are told apart, and for others the usual values are taken, with a warning. So the plain baseline, whose
            file looks like MTSGait's, may need ``{"hops": ()}``.
        classifier: whether to keep the classifier of the training set's people, which embedding does not need.

    Returns:
        The network, in eval mode, on the CPU.

    Raises:
        CheckpointError: the file is unreadable, unsafe or of another kind, keys are missing or left over (named as
            OpenGait does), or numbers are not finite.
        SettingsError: `config` has a key the network does not know, or is not OpenGait's YAML of this family.
    """
    return read_network(path, config, classifier)[0]


def read_network(
    path: Path, config: Mapping[str, Any] | Path | None = None, classifier: bool = False
) -> tuple[EmbeddingNetwork, dict[str, Any]]:
    """Load a gait network as `load_network` does, and return it with what its file does not tell.

    That is the constructor's arguments that are not from the shapes of the weights: with others, the same file gives
    other embeddings.
    """
    content = _Content.of(path, config, classifier)
    content.outline()
    network = content.network()
    weights, to_theirs = content.weights_for(network), content.architecture.table.to_theirs
    _need_known_places(network, weights, path)
    network.load_state_dict(weights, strict=False)
    need_finite({to_theirs(key): value for key, value in weights.items()}, path)
    if content.settled.is_cosine:
        logger.info(
            "%s: its authors compare its embeddings by the cosine distance. Do so with match.metric=cosine "
            "(evaluate --metric cosine).", path
        )  # fmt: skip
    if content.settled.assumed:
        logger.warning(
            "%s does not tell how its %s network was made. What is assumed: %s. %s",
            path, network.family, "; ".join(content.settled.assumed), _TELL
        )  # fmt: skip
    return network.eval(), {**content.extra, **_set_afterwards(network)}


def _set_afterwards(network: EmbeddingNetwork) -> dict[str, Any]:
    """Return what a network of joints has that its class does not have."""
    if not isinstance(network, JointNetwork):
        return {}
    own = {"frames": network.frames, "centred": network.centred}
    return {key: value for key, value in own.items() if value != getattr(type(network), key)}


def _need_known_places(network: nn.Module, weights: Weights, path: Path) -> None:
    """Refuse whole numbers that would point outside of a table of the network (SwinGait's relative positions)."""
    for key, own in network.named_buffers():
        if own.is_floating_point() or key not in weights or key.endswith("num_batches_tracked"):
            continue
        if bool((weights[key] < own.amin()).any() or (weights[key] > own.amax()).any()):
            raise CheckpointError(f"{path} is damaged: its '{key}' has indices that are out of range.")
