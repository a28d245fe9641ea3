"""The networks that can be trained, and ``model_cfg`` of OpenGait's YAML, which describes one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import signature
from typing import Any, NamedTuple, TypeAlias, get_type_hints

from torch import nn

from app.errors import SettingsError, reason_of
from app.gait.base import EmbeddingNetwork, JointNetwork
from app.gait.models.cstl import CSTL
from app.gait.models.deepgaitv2 import DeepGaitV2, DeepGaitV2Frames
from app.gait.models.foundationgait import FoundationGait
from app.gait.models.gaitbase import GaitBase
from app.gait.models.gaitgl import GaitGL
from app.gait.models.gaitgraph import GaitGraph1, GaitGraph2
from app.gait.models.gaitpart import GaitPart
from app.gait.models.gaitset import GaitSet
from app.gait.models.gaitssb import GaitSSB, SelfSupervised
from app.gait.models.gaitstrips import GaitStrips
from app.gait.models.gaittr import GaitTR
from app.gait.models.geinet import GEINet
from app.gait.models.gln import GLN
from app.gait.models.mtsgait import MTSGait
from app.gait.models.multigait import MultiGait
from app.gait.models.parsinggait import ParsingGait
from app.gait.models.posegait import PoseGait
from app.gait.models.skeletongait import SkeletonGait, SkeletonGaitPlus
from app.gait.models.smplgait import SMPLGait
from app.gait.models.swingait import SwinGait
from app.gait.models.xgait import XGait
from app.lab.training.gait.rules import Rule, leaves, no_effect, one_of, only, read, take
from app.lab.training.gait.walks import SHAPES, Form, form_for

Leaves: TypeAlias = Mapping[str, Any]
"""The values of ``model_cfg`` by their path, such as ``backbone_cfg.channels``."""

_SIZES = {(64, 44): "", (128, 88): " of 128 rows"}
"""What `app.lab.training.gait.walks` adds to the name of a form for pictures of these sizes."""


@dataclass(frozen=True)
class NetworkPlan:
    """A network and the arguments of its constructor. `classes` is the size of its classifier, if the file says it.

    `centred` says whether a network of joints sees missing ones in the middle of the pose.
    """

    network: type[EmbeddingNetwork]
    arguments: Mapping[str, Any]
    classes: int | None = None
    centred: bool = False

    @property
    def form(self) -> Form:
        """The form in which the network takes walks; `SettingsError` where data sets cannot be read in this form."""
        form = form_for(self.network)
        size = tuple(self.arguments.get("input_size", (64, 44)))
        for known in SHAPES:
            if size in _SIZES and known == form + _SIZES[size]:
                return known
        raise SettingsError(
            f"model_cfg.input_size: data sets cannot be read as {form} of {size[0]} rows and {size[1]} columns. "
            "Silhouettes have 64 rows and 44 columns, or 128 rows and 88 columns."
        )

    def build(self, people: int, classifier: bool) -> EmbeddingNetwork:
        """Build the untrained network for so many people in the training set.

        The layers of the field's networks are initialised as in He et al. (ICCV 2015, section 2.2), which keeps the
        size of signals. With PyTorch's own initialisation, the plain networks without normalisation embed all walks in
        nearly one point, where the triplet loss has no gradient. `classifier` is whether a loss needs a classifier of
        these people.

        Raises:
            SettingsError: a classifier is needed and the network has none, it has fewer classes than people, or PyTorch
                cannot build it.
        """
        family, can_classify = self.network.family, "classes" in signature(self.network).parameters
        if classifier and not can_classify:
            raise SettingsError(f"{family} has no classifier, so loss_cfg cannot have a CrossEntropyLoss.")
        if can_classify and self.classes is not None and self.classes < people:
            raise SettingsError(
                f"class_num is {self.classes}, and there are {people} people in the training set. Raise it, or leave "
                "it out."
            )
        classes = self.classes or (people if classifier else None)
        try:
            network = self.network(**self.arguments, **({"classes": classes} if can_classify and classes else {}))
        except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
            shown = ", ".join(f"{name} {value}" for name, value in self.arguments.items())
            raise SettingsError(
                f"model_cfg: no {family} network can be built with {shown} ({reason_of(error)}). Every stage needs its "
                "channels, layers and strides, and sizes must be positive."
            ) from error
        if isinstance(network, JointNetwork):
            network.centred = self.centred
        if isinstance(network, GaitStrips):
            return network
        network = _initialised(network)
        if isinstance(network, SelfSupervised):
            network.begin()
        return network


def _initialised(network: EmbeddingNetwork) -> EmbeddingNetwork:
    for module in network.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network


class Variant(NamedTuple):
    """A network, what becomes of the keys of ``model_cfg``, and arguments that are the same in every case."""

    network: type[EmbeddingNetwork]
    rules: Mapping[str, Rule] = {}
    constants: Mapping[str, Any] = {}


def read_network(model: dict[str, Any], place: str) -> NetworkPlan:
    """Read ``model_cfg``, which has OpenGait's keys or the names of the constructor's arguments.

    `place` is the file and the name of the section, for messages.

    Raises:
        SettingsError: the network or a key is unknown, or a value is unusable.
    """
    variant = MODELS[one_of(take(model, "model", place), MODELS, f"{place}.model")]
    try:
        network, rules, constants = variant if isinstance(variant, Variant) else variant(leaves(model))
    except ValueError as error:
        raise SettingsError(f"{place}.model: {error}.") from error
    parameters = signature(network).parameters
    own: dict[str, Rule] = {name: name for name in parameters}
    types = {**get_type_hints(network.__init__), "classes": int, "parts": int}
    arguments = {**constants, **read(model, place, {**own, "class_num": "classes", **rules}, types)}
    if "parts" in arguments and "parts" not in parameters:  # they follow from the bins
        parts, bins = arguments.pop("parts"), arguments.get("bins")
        if bins and parts not in (sum(bins), 2 * sum(bins)):
            raise SettingsError(f"{place}.SeparateFCs.parts_num: {parts} parts do not go with the bins {bins}.")
    if "input_size" in parameters:
        arguments["input_size"] = tuple(arguments.get("input_size", parameters["input_size"].default))
    return NetworkPlan(network, arguments, arguments.pop("classes", None))


def _without_first(name: str) -> Rule:
    """Leave out the channels of the input, which OpenGait lists before those of the layers."""
    return lambda channels: {name: channels[1:]}


def _plain(*names: str) -> Mapping[str, Rule]:
    """The plain backbone, as arguments for the widths and the strips of its pairs of layers."""

    def rule(layers: list[str]) -> Mapping[str, Any]:
        """Read ``BC-32``, ``FC-64-2`` (2 ** 2 strips) and ``M``."""
        pairs = [layer.split("-") for layer in layers if layer != "M"]
        try:
            widths = [int(width) for _, width, *_ in pairs]
            strips = [2 ** int(numbers[1]) if kind == "FC" else 1 for kind, *numbers in pairs]
        except (ValueError, IndexError):
            raise ValueError("write layers as BC-32, FC-64-2 and M") from None
        if widths[::2] != widths[1::2] or layers.count("M") != 2:
            raise ValueError("this backbone has pairs of layers of equal width, with M after the first two pairs")
        return dict(zip(names, (widths[::2], strips[::2]), strict=False))

    return {"backbone_cfg.layers_cfg": rule, "backbone_cfg.in_channels": None, "backbone_cfg.type": None}


_HEAD: Mapping[str, Rule] = {
    "SeparateFCs.out_channels": "channels",
    "SeparateFCs.parts_num": "parts",
    "SeparateBNNecks.class_num": "classes",
    **dict.fromkeys(("SeparateFCs.in_channels", "SeparateBNNecks.in_channels", "SeparateBNNecks.parts_num")),
    **dict.fromkeys(("SeparateBNNecks.norm", "SeparateBNNecks.parallel_BN1d"), no_effect),
}
_PYRAMID: Mapping[str, Rule] = {**_HEAD, "bin_num": "bins"}
_SKELETON: Mapping[str, Rule] = {
    "joint_format": only("coco"),
    "block": no_effect,
    "tta": no_effect,
    "input_branch": lambda widths: {"inputs": widths[0], "branch_widths": widths[1:]},
    "main_stream": _without_first("widths"),
    "num_class": "channels",
}


def _residual(section: str) -> Mapping[str, Rule]:
    names = {"channels": "widths", "layers": "depths", "strides": "strides"}
    return {f"{section}.{theirs}": ours for theirs, ours in names.items()}


_RESNET: Mapping[str, Rule] = {
    **_residual("backbone_cfg"),
    **dict.fromkeys(("backbone_cfg.in_channels", "backbone_cfg.type")),
    "backbone_cfg.block": only("BasicBlock"),
    "backbone_cfg.maxpool": only(False),
}


def _one_scale(bins: list[int]) -> Mapping[str, Any]:
    if len(bins) != 1:
        raise ValueError("GaitBase has strips of one scale, such as [16]")
    return {"parts": bins[0]}


def _gln(values: Leaves) -> Variant:
    """In the first phase (``Lateral_pretraining``) there is no compact block, whatever ``class_num`` says."""
    names = {"lateral_dim": "lateral", "hidden_dim": "channels", "reduce_dim": "compact", "Lateral_pretraining": None}
    rules = {**_PYRAMID, **names, "in_channels": _without_first("widths")}
    return Variant(GLN, {**rules, "class_num": None} if values.get("Lateral_pretraining") else rules)


def _gaitgl_channels(channels: list[int]) -> Mapping[str, Any]:
    """Three numbers mean the network for CASIA-B, four the deeper one for OU-MVLP and GREW."""
    if len(channels) == 4:
        return {"widths": channels, "channels": channels[-1], "depth": 2, "strips": 2, "neck": True}
    if len(channels) == 3:
        return {"widths": [*channels, channels[-1]], "channels": 128}
    raise ValueError("give three or four numbers")


def _baseline(values: Leaves) -> Variant:
    """A residual backbone means GaitBase; a plain one the older baseline, which is MTSGait without its hops."""
    kind = values.get("backbone_cfg.type", "ResNet9")
    if kind == "Plain":
        return Variant(MTSGait, {**_PYRAMID, **_plain("widths")}, {"hops": ()})
    if kind != "ResNet9":
        raise ValueError(f"there is no backbone '{kind}' here, only ResNet9 and Plain")
    return Variant(GaitBase, {**_HEAD, **_RESNET, "bin_num": _one_scale})


def _deep(inputs: int) -> Callable[[Leaves], Variant]:
    """DeepGaitV2, SkeletonGait and SkeletonGait++ differ in the number of maps the backbone takes: 1, 2 or 3."""

    def variant(values: Leaves) -> Variant:
        maps, mode = values.get("Backbone.in_channels", inputs), values.get("Backbone.mode", "p3d")
        networks: dict[tuple[int, str], type[EmbeddingNetwork]] = {
            (1, "2d"): DeepGaitV2Frames,
            (1, "3d"): DeepGaitV2,
            (1, "p3d"): DeepGaitV2,
            (2, "p3d"): SkeletonGait,
            (3, "p3d"): SkeletonGaitPlus,
        }
        if (maps, mode) not in networks:
            raise ValueError(f"there is no network for {maps} maps in mode {mode}")
        rules = {**_HEAD, **_residual("Backbone"), "Backbone.in_channels": None, "Backbone.mode": None}
        if mode == "2d":
            return Variant(networks[maps, mode], {**rules, "use_emb2": only(False)})
        return Variant(networks[maps, mode], rules, {"use_emb2": False} | ({"block": "3d"} if mode == "3d" else {}))

    return variant


def _foundation(values: Leaves) -> Variant:
    """Without a linear layer for each part it learns without names, from a student."""
    tuned = "channels" in values or "SeparateFCs.out_channels" in values
    rules = {**_HEAD, "SeparateFCs.parts_num": None, **_residual("Backbone"), "Backbone.in_channels": None}
    return Variant(FoundationGait, {**rules, "bin_num": "bins"}, {} if tuned else {"student": True})


def _swin(values: Leaves) -> Variant:
    """OpenGait lists the channels and blocks of all four stages together."""

    def channels(widths: list[int]) -> Mapping[str, Any]:
        if len(widths) != 4:
            raise ValueError("give the channels of four stages")
        return {"widths": widths[:2], "tokens": widths[2:]}

    rules = {**_HEAD, "SeparateFCs.parts_num": None, "Backbone.channels": channels, "Backbone.layers": "depths"}
    kept = dict.fromkeys(("Backbone.in_channels", "Backbone.mode", "Backbone.strides"))
    return Variant(SwinGait, {**rules, **kept})


MODELS: Mapping[str, Variant | Callable[[Leaves], Variant]] = {
    "GaitStrips": Variant(GaitStrips),
    "GEINet": Variant(GEINet),
    "GaitSet": Variant(GaitSet, {**_PYRAMID, "in_channels": _without_first("widths")}),
    "GaitPart": Variant(GaitPart, {**_HEAD, **_plain("widths", "strips"), "bin_num": None}),
    "GLN": _gln,
    "GaitGL": Variant(GaitGL, {**_HEAD, "SeparateFCs.parts_num": None, "channels": _gaitgl_channels}),
    "CSTL": Variant(CSTL),
    "PoseGait": Variant(PoseGait),
    "Baseline": _baseline,
    "GaitBase": _baseline,
    "SMPLGait": Variant(SMPLGait, {**_PYRAMID, **_plain("widths")}),
    "MTSGait": Variant(MTSGait, {**_PYRAMID, **_plain("widths")}),
    "DeepGaitV2": _deep(1),
    "SkeletonGait": _deep(2),
    "SkeletonGaitPP": _deep(3),
    "SwinGait": _swin,
    "ParsingGait": Variant(ParsingGait, {**_HEAD, **_RESNET, "SeparateFCs.parts_num": None, "bin_num": _one_scale}),
    "XGait": Variant(XGait, {**_HEAD, **_RESNET, "SeparateFCs.parts_num": None, "bin_num": _one_scale}),
    "MultiGaitPP": Variant(MultiGait, {**_HEAD, **_residual("Backbone"), "Backbone.in_channels": None}),
    "GaitSSB": Variant(GaitSSB, {**_RESNET, "bin_num": "bins"}),
    "FoundationGait": _foundation,
    "GaitGraph1": Variant(GaitGraph1, {**_SKELETON, "input_num": None}),
    "GaitGraph2": Variant(GaitGraph2, {**_SKELETON, "input_num": "branches"}),
    "GaitTR": Variant(GaitTR, {"in_channels": _without_first("widths"), "n_heads": "heads", "num_class": "channels"}),
}
"""Networks by the names that ``model_cfg.model`` may have. Some depend on the rest of the section."""
