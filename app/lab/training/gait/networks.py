"""The networks that can be trained, and ``model_cfg`` of OpenGait's YAML, which describes one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import signature
from typing import Any

from torch import nn

from app.errors import SettingsError
from app.gait.base import EmbeddingNetwork
from app.gait.models.cstl import CSTL
from app.gait.models.deepgaitv2 import DeepGaitV2, DeepGaitV2Frames
from app.gait.models.gaitbase import GaitBase
from app.gait.models.gaitgl import GaitGL
from app.gait.models.gaitgraph import GaitGraph1, GaitGraph2
from app.gait.models.gaitpart import GaitPart
from app.gait.models.gaitset import GaitSet
from app.gait.models.gaitstrips import GaitStrips
from app.gait.models.gaittr import GaitTR
from app.gait.models.geinet import GEINet
from app.gait.models.gln import GLN
from app.gait.models.mtsgait import MTSGait
from app.gait.models.posegait import PoseGait
from app.gait.models.skeletongait import SkeletonGait, SkeletonGaitPlus
from app.gait.models.smplgait import SMPLGait
from app.lab.training.gait.sections import Section
from app.lab.training.gait.walks import SHAPES, Form, form_for

Ints = list[int]
Arguments = dict[str, Any]

_SIZES = {(64, 44): "", (128, 88): " of 128 rows"}
"""What `app.lab.training.gait.walks` adds to the name of a form for pictures of these sizes."""


@dataclass(frozen=True)
class NetworkPlan:
    """A network and the arguments of its constructor. `classes` is the size of its classifier, if the file says it."""

    network: type[EmbeddingNetwork]
    arguments: Mapping[str, Any]
    classes: int | None = None

    @property
    def form(self) -> Form:
        """The form in which the network takes walks.

        Raises:
            SettingsError: data sets cannot be read in this form.
        """
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
        """Build the untrained network.

        The layers of the field's networks are initialised as in He et al. (ICCV 2015, section 2.2), which keeps the
        size of signals. With PyTorch's own initialisation, the plain networks without normalisation embed all walks in
        nearly one point, where the triplet loss has no gradient.

        Args:
            people: number of people in the training set.
            classifier: whether a loss needs a classifier of these people.

        Raises:
            SettingsError: a classifier is needed and the network has none, or it has fewer classes than people.
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
        network = self.network(**self.arguments, **({"classes": classes} if can_classify and classes else {}))
        return network if isinstance(network, GaitStrips) else _initialised(network)


def _initialised(network: EmbeddingNetwork) -> EmbeddingNetwork:
    for module in network.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network


def read_network(model: Section) -> NetworkPlan:
    """Read ``model_cfg``, which has OpenGait's keys or the names of the constructor's arguments.

    Raises:
        SettingsError: the network or a key is unknown, or a value is unusable.
    """
    name = model.one_of("model", tuple(_READERS))
    network, arguments = _READERS[name](model)
    own = [key for key in signature(network).parameters if key not in ("classes", *arguments)]
    for key in own:
        if (value := model.take(key, Any, None)) is not None:
            arguments[key] = value
    if "input_size" in signature(network).parameters:
        usual = signature(network).parameters["input_size"].default
        arguments["input_size"] = tuple(arguments.get("input_size", usual))
    classes = arguments.pop("class_num", None) or model.take("class_num", int | None, None)
    model.close()
    return NetworkPlan(network, arguments, classes)


Reader = Callable[[Section], tuple[type[EmbeddingNetwork], Arguments]]


def _by_constructor(network: type[EmbeddingNetwork]) -> Reader:
    return lambda model: (network, {})


def _given(**arguments: Any) -> Arguments:
    """Return the arguments that the file gives. The constructor has defaults for the others."""
    return {key: value for key, value in arguments.items() if value is not None}


def _head(model: Section, parts: int | None = None) -> Arguments:
    """Read ``SeparateFCs`` and ``SeparateBNNecks``, the last layers of most networks."""
    arguments: Arguments = {}
    with model.within("SeparateFCs", {}) as head:
        arguments["channels"] = head.take("out_channels", int | None, None)
        arguments["parts"] = head.take("parts_num", int | None, parts)
        head.implied("in_channels")
    with model.within("SeparateBNNecks", {}) as neck:
        arguments["class_num"] = neck.take("class_num", int | None, None)
        neck.implied("in_channels", "parts_num")
        neck.without_effect("norm", "parallel_BN1d")
    return _given(**arguments)


def _pyramid(model: Section) -> Arguments:
    """Read a head whose number of parts is the sum of ``bin_num``."""
    bins = model.take("bin_num", Ints | None, None)
    head = _head(model)
    parts = head.pop("parts", None)
    if bins and parts is not None and parts not in (sum(bins), 2 * sum(bins)):
        raise SettingsError(f"{model.where('SeparateFCs.parts_num')}: {parts} parts do not go with the bins {bins}.")
    return _given(bins=bins, **head)


def _plain(backbone: Section) -> tuple[list[int] | None, list[int] | None]:
    """Read widths and strips of pairs of convolutions from ``BC-32``, ``FC-64-2`` (2 ** 2 strips) and ``M``."""
    backbone.implied("in_channels", "type")
    layers = backbone.take("layers_cfg", list[str] | None, None)
    if layers is None:
        return None, None
    pairs = [layer.split("-") for layer in layers if layer != "M"]
    try:
        widths = [int(width) for _, width, *_ in pairs]
        strips = [2 ** int(numbers[1]) if kind == "FC" else 1 for kind, *numbers in pairs]
    except (ValueError, IndexError) as error:
        raise SettingsError(f"{backbone.where('layers_cfg')}: write layers as BC-32, FC-64-2 and M.") from error
    if widths[::2] != widths[1::2] or [layer for layer in layers if layer == "M"] != ["M", "M"]:
        raise SettingsError(
            f"{backbone.where('layers_cfg')}: this backbone has pairs of layers of equal width, and M after the first "
            "and the second pair."
        )
    return widths[::2], strips[::2]


def _gaitset(model: Section) -> tuple[type[EmbeddingNetwork], Arguments]:
    channels = model.take("in_channels", Ints | None, None)
    return GaitSet, _given(widths=channels and channels[1:], **_pyramid(model))


def _gaitpart(model: Section) -> tuple[type[EmbeddingNetwork], Arguments]:
    with model.within("backbone_cfg", {}) as backbone:
        widths, strips = _plain(backbone)
    model.implied("bin_num")
    return GaitPart, _given(widths=widths, strips=strips, **_head(model))


def _gln(model: Section) -> tuple[type[EmbeddingNetwork], Arguments]:
    """In the first phase (``Lateral_pretraining``) there is no compact block, whatever ``class_num`` says."""
    channels = model.take("in_channels", Ints | None, None)
    lateral, hidden, compact = (
        model.take(key, int | None, None) for key in ("lateral_dim", "hidden_dim", "reduce_dim")
    )
    own = _given(lateral=lateral, compact=compact, dropout=model.take("dropout", float | None, None))
    if model.take("Lateral_pretraining", bool, False):
        model.implied("class_num")
    return GLN, {**own, **_given(widths=channels and channels[1:], **{"channels": hidden, **_pyramid(model)})}


def _gaitgl(model: Section) -> tuple[type[EmbeddingNetwork], Arguments]:
    """Three ``channels`` mean the network for CASIA-B, four the deeper one for OU-MVLP and GREW."""
    channels = model.take("channels", Ints, [32, 64, 128])
    head = _head(model)
    head.pop("parts", None)
    if len(channels) == 4:
        own = {"widths": channels, "depth": 2, "strips": 2, "neck": True}
    elif len(channels) == 3:
        own = {"widths": [*channels, channels[-1]]}
    else:
        raise SettingsError(f"{model.where('channels')}: give three or four numbers, not {channels}.")
    return GaitGL, {"channels": 128 if len(channels) == 3 else channels[-1], **own, **head}


def _baseline(model: Section) -> tuple[type[EmbeddingNetwork], Arguments]:
    """A residual backbone means GaitBase; a plain one the older baseline, which is MTSGait without its hops."""
    with model.within("backbone_cfg", {}) as backbone:
        kind = backbone.one_of("type", ("ResNet9", "Plain"), "ResNet9")
        if kind == "ResNet9":
            backbone.implied("in_channels")
            backbone.one_of("block", ("BasicBlock",), "BasicBlock")
            if backbone.take("maxpool", bool, False):
                raise SettingsError(f"{backbone.where('maxpool')}: GaitBase has no max pooling here. Set it to false.")
            names = {"widths": "channels", "depths": "layers", "strides": "strides"}
            own = _given(**{ours: backbone.take(theirs, Ints | None, None) for ours, theirs in names.items()})
        else:
            own = _given(widths=_plain(backbone)[0], hops=())
    if kind == "Plain":
        return MTSGait, {**own, **_pyramid(model)}
    bins = model.take("bin_num", Ints, [16])
    if len(bins) != 1:
        raise SettingsError(f"{model.where('bin_num')}: GaitBase has strips of one scale, such as [16].")
    return GaitBase, {**own, **_head(model, bins[0])}


def _pairs(network: type[EmbeddingNetwork]) -> Reader:
    def read(model: Section) -> tuple[type[EmbeddingNetwork], Arguments]:
        with model.within("backbone_cfg", {}) as backbone:
            widths, _ = _plain(backbone)
        return network, _given(widths=widths, **_pyramid(model))

    return read


def _deep(inputs: int) -> Reader:
    """DeepGaitV2, SkeletonGait and SkeletonGait++ differ in the number of maps the backbone takes: 1, 2 or 3."""

    def read(model: Section) -> tuple[type[EmbeddingNetwork], Arguments]:
        with model.within("Backbone", {}) as backbone:
            maps = backbone.take("in_channels", int, inputs)
            mode = backbone.one_of("mode", ("2d", "3d", "p3d"), "p3d")
            names = (("widths", "channels"), ("depths", "layers"), ("strides", "strides"))
            own = _given(**{ours: backbone.take(theirs, Ints | None, None) for ours, theirs in names})
        use_emb2 = model.take("use_emb2", bool, False)
        own |= _head(model)
        networks = {1: DeepGaitV2Frames if mode == "2d" else DeepGaitV2, 2: SkeletonGait, 3: SkeletonGaitPlus}
        if maps not in networks or (maps > 1 and mode != "p3d"):
            raise SettingsError(f"{model.where('Backbone')}: there is no network for {maps} maps in mode {mode}.")
        if maps == 1 and mode == "2d":
            if use_emb2:
                raise SettingsError(f"{model.where('use_emb2')}: DeepGaitV2 in 2D has no second embedding here.")
        else:
            own["use_emb2"] = use_emb2
        if maps < 3 and mode == "3d":
            own["block"] = mode
        return networks[maps], own

    return read


def _graph(network: type[EmbeddingNetwork]) -> Reader:
    def read(model: Section) -> tuple[type[EmbeddingNetwork], Arguments]:
        model.one_of("joint_format", ("coco",), "coco")
        model.without_effect("block", "tta")
        first, later = (model.take(key, Ints | None, None) for key in ("input_branch", "main_stream"))
        own = _given(
            inputs=first and first[0],
            branches=model.take("input_num", int | None, None) if network is GaitGraph2 else None,
            branch_widths=first and first[1:],
            widths=later and later[1:],
            channels=model.take("num_class", int | None, None),
        )
        if network is GaitGraph1:
            model.implied("input_num")
        return network, own

    return read


def _gaittr(model: Section) -> tuple[type[EmbeddingNetwork], Arguments]:
    channels = model.take("in_channels", Ints | None, None)
    heads, outputs = model.take("n_heads", int | None, None), model.take("num_class", int | None, None)
    return GaitTR, _given(widths=channels and channels[1:], heads=heads, channels=outputs)


_READERS: Mapping[str, Reader] = {
    "GaitStrips": _by_constructor(GaitStrips),
    "GEINet": _by_constructor(GEINet),
    "GaitSet": _gaitset,
    "GaitPart": _gaitpart,
    "GLN": _gln,
    "GaitGL": _gaitgl,
    "CSTL": _by_constructor(CSTL),
    "PoseGait": _by_constructor(PoseGait),
    "Baseline": _baseline,
    "GaitBase": _baseline,
    "SMPLGait": _pairs(SMPLGait),
    "MTSGait": _pairs(MTSGait),
    "DeepGaitV2": _deep(1),
    "SkeletonGait": _deep(2),
    "SkeletonGaitPP": _deep(3),
    "GaitGraph1": _graph(GaitGraph1),
    "GaitGraph2": _graph(GaitGraph2),
    "GaitTR": _gaittr,
}
