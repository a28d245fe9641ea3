"""``model_cfg`` of OpenGait's YAML: which network, and how it is built."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
from app.gait.models.gaittr import GaitTR
from app.gait.models.geinet import GEINet
from app.gait.models.gln import GLN
from app.gait.models.mtsgait import MTSGait
from app.gait.models.posegait import PoseGait
from app.gait.models.skeletongait import SkeletonGait, SkeletonGaitPlus
from app.gait.models.smplgait import SMPLGait
from app.lab.zoo.sections import Section
from app.lab.zoo.walks import SHAPES, Sight, sight_of

Ints = list[int]
Arguments = dict[str, Any]

_SIZES = {(64, 44): "", (128, 88): " of 128 rows"}
"""How `app.lab.zoo.walks` names pictures of these sizes."""


@dataclass(frozen=True)
class NetworkPlan:
    """A network and its constructor's arguments; `classes` are those of its classifier, where the file tells them."""

    network: type[EmbeddingNetwork]
    arguments: Mapping[str, Any]
    classes: int | None

    @property
    def classifies(self) -> bool:
        """Whether the network can have a classifier."""
        return "classes" in signature(self.network).parameters

    @property
    def sight(self) -> Sight:
        """What the network sees.

        Raises:
            SettingsError: something that data sets are not read for.
        """
        sight = sight_of(self.network)
        size = tuple(self.arguments.get("input_size", (64, 44)))
        for known in SHAPES:
            if size in _SIZES and known == sight + _SIZES[size]:
                return known
        raise SettingsError(
            f"model_cfg.input_size: {sight} of {size[0]} rows and {size[1]} columns cannot be read of data sets; "
            "silhouettes have 64 and 44, or 128 and 88."
        )

    def built(self, people: int, classifier: bool) -> EmbeddingNetwork:
        """Make the network, untrained, for so many people to be learnt.

        Its layers begin as He et al. (ICCV 2015, section 2.2) say, so that signals keep their size: with PyTorch's own
        beginnings, the plain networks without normalisation embed all walks in nearly one point, where triplets have
        no slope.

        Raises:
            SettingsError: a classifier is needed that the network does not have, or one of fewer classes than people.
        """
        family = self.network.family
        if classifier and not self.classifies:
            raise SettingsError(f"{family} has no classifier, so loss_cfg can have no CrossEntropyLoss.")
        if not classifier and (self.classes is None or not self.classifies):
            return _begun(self.network(**self.arguments))
        if self.classes is not None and self.classes < people:
            raise SettingsError(
                f"class_num is {self.classes}, and there are {people} people to be learnt. Leave it out, or raise it."
            )
        return _begun(self.network(**self.arguments, classes=self.classes or people))


def _begun(network: EmbeddingNetwork) -> EmbeddingNetwork:
    for module in network.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network


def read_network(model: Section) -> NetworkPlan:
    """Read ``model_cfg``: OpenGait's keys, or the arguments of the network's constructor by their names.

    Raises:
        SettingsError: unknown network or key, or an unusable value.
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
    """What the file tells; the constructor's defaults stand for the rest."""
    return {key: value for key, value in arguments.items() if value is not None}


def _head(model: Section, parts: int | None = None) -> Arguments:
    """``SeparateFCs`` and ``SeparateBNNecks``, which are the end of most networks."""
    found: Arguments = {}
    with model.within("SeparateFCs", {}) as head:
        found["channels"] = head.take("out_channels", int | None, None)
        found["parts"] = head.take("parts_num", int | None, parts)
        head.implied("in_channels")
    with model.within("SeparateBNNecks", {}) as neck:
        found["class_num"] = neck.take("class_num", int | None, None)
        neck.implied("in_channels", "parts_num")
        neck.without_effect("norm", "parallel_BN1d")
    return _given(**found)


def _pyramid(model: Section) -> Arguments:
    """A head whose parts are the sum of ``bin_num``."""
    bins = model.take("bin_num", Ints | None, None)
    head = _head(model)
    parts = head.pop("parts", None)
    if bins and parts is not None and parts not in (sum(bins), 2 * sum(bins)):
        raise SettingsError(f"{model.where('SeparateFCs.parts_num')}: {parts} parts do not belong to bins {bins}.")
    return _given(bins=bins, **head)


def _plain(backbone: Section) -> tuple[list[int] | None, list[int] | None]:
    """Widths and strips of pairs of convolutions, from ``BC-32``, ``FC-64-2`` (2 ** 2 strips) and ``M``."""
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
            f"{backbone.where('layers_cfg')}: this backbone has pairs of layers of one width, with M after the first "
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
    """The first phase (``Lateral_pretraining``) has no compact block, whatever ``class_num`` says."""
    channels = model.take("in_channels", Ints | None, None)
    lateral, hidden, compact = (
        model.take(key, int | None, None) for key in ("lateral_dim", "hidden_dim", "reduce_dim")
    )
    own = _given(lateral=lateral, compact=compact, dropout=model.take("dropout", float | None, None))
    if model.take("Lateral_pretraining", bool, False):
        model.implied("class_num")
    return GLN, {**own, **_given(widths=channels and channels[1:], **{"channels": hidden, **_pyramid(model)})}


def _gaitgl(model: Section) -> tuple[type[EmbeddingNetwork], Arguments]:
    """Three ``channels`` are the network of CASIA-B, four the deeper one of OU-MVLP and GREW."""
    channels = model.take("channels", Ints, [32, 64, 128])
    head = _head(model)
    head.pop("parts", None)
    if len(channels) == 4:
        own = {"widths": channels, "depth": 2, "strips": 2, "neck": True}
    elif len(channels) == 3:
        own = {"widths": [*channels, channels[-1]]}
    else:
        raise SettingsError(f"{model.where('channels')}: three or four numbers, not {channels}.")
    return GaitGL, {"channels": 128 if len(channels) == 3 else channels[-1], **own, **head}


def _baseline(model: Section) -> tuple[type[EmbeddingNetwork], Arguments]:
    """A residual backbone is GaitBase's; a plain one that of the older baseline, MTSGait's without its hops."""
    with model.within("backbone_cfg", {}) as backbone:
        kind = backbone.one_of("type", ("ResNet9", "Plain"), "ResNet9")
        if kind == "ResNet9":
            backbone.implied("in_channels")
            backbone.one_of("block", ("BasicBlock",), "BasicBlock")
            if backbone.take("maxpool", bool, False):
                raise SettingsError(f"{backbone.where('maxpool')}: GaitBase has none here.")
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
    """DeepGaitV2 (1 input), SkeletonGait (2) and SkeletonGait++ (3): how many maps the backbone sees tells which."""

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
            raise SettingsError(f"{model.where('Backbone')}: there is no network of {maps} maps in {mode}.")
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

MODELS: Sequence[str] = tuple(_READERS)
"""Names that ``model_cfg.model`` may have."""
