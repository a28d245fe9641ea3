"""OpenGait's checkpoints: the only module that knows their key names.

A family is a row in `FAMILIES`: how it is recognised, its table of names, and how its widths are read off the
shapes. Adding one is a file in `app.gait.models` and a row here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from app.checkpoints import load_pickle_safely, load_strictly, state_dict_of
from app.errors import CheckpointError, SettingsError, nearest
from app.gait.base import GaitNetwork
from app.gait.models.gaitbase import GaitBase

Weights = Mapping[str, Tensor]
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class KeyTable:
    """A two-way table of module names: rows of (theirs, ours), ``*`` standing for the same number in both."""

    rows: tuple[tuple[str, str], ...]

    def to_ours(self, key: str) -> str:
        """Our name of OpenGait's `key`; a key the table does not know stays as it is."""
        return self._rename(key, self.rows)

    def to_theirs(self, key: str) -> str:
        """OpenGait's name of our `key`."""
        return self._rename(key, tuple((ours, theirs) for theirs, ours in self.rows))

    @staticmethod
    def _rename(key: str, rows: tuple[tuple[str, str], ...]) -> str:
        for source, target in rows:
            # A row names a module, or one parameter: what follows it is kept.
            if found := re.fullmatch(re.escape(source).replace(r"\*", r"(\d+)") + r"(|\..+)", key):
                *numbers, rest = found.groups()
                for number in numbers:
                    target = target.replace("*", number, 1)
                return target + rest
        return key


@dataclass(frozen=True)
class Architecture:
    """How a family's checkpoint becomes a network.

    `read` returns what the shapes, by our names, tell of the constructor's arguments.
    """

    network: type[GaitNetwork]
    table: KeyTable
    read: Callable[[Shapes], dict[str, Any]]


@dataclass(frozen=True)
class Family:
    """Networks with the same keys: `marks` are beginnings of OpenGait's keys that tell it from those after it.

    `architecture` is None where it is known but not supported.
    """

    title: str
    marks: tuple[str, ...]
    architecture: Architecture | None = None


def _read_gaitbase(shapes: Shapes) -> dict[str, Any]:
    depths: list[int] = []
    while f"stages.{len(depths)}.0.conv1.conv.weight" in shapes:
        depth = 1
        while f"stages.{len(depths)}.{depth}.conv1.conv.weight" in shapes:
            depth += 1
        depths.append(depth)
    parts, _, channels = shapes["linear.weight"]
    return {
        "widths": [shapes[f"stages.{stage}.0.conv1.conv.weight"][0] for stage in range(len(depths))],
        "depths": depths,
        "parts": parts,
        "channels": channels,
        "classes": shapes["classifier.weight"][2] if "classifier.weight" in shapes else None,
    }


_GAITBASE = KeyTable(
    (
        ("Backbone.forward_block.conv1.conv", "stem.conv"),
        ("Backbone.forward_block.bn1", "stem.norm"),
        *(
            (f"Backbone.forward_block.layer{stage + 1}.*.{theirs}", f"stages.{stage}.*.{ours}")
            for stage in range(4)
            for theirs, ours in (
                ("conv1", "conv1.conv"),
                ("bn1", "conv1.norm"),
                ("conv2", "conv2.conv"),
                ("bn2", "conv2.norm"),
                ("downsample.0", "shortcut.conv"),
                ("downsample.1", "shortcut.norm"),
            )
        ),
        ("FCs.fc_bin", "linear.weight"),
        ("BNNecks.fc_bin", "classifier.weight"),
        ("BNNecks.bn1d", "classifier.norm"),
    )
)

# The first that fits is taken: what has a stem of its own before what shares one.
FAMILIES = (
    Family("GaitBase", ("Backbone.forward_block.layer1.", "FCs."), Architecture(GaitBase, _GAITBASE, _read_gaitbase)),
    Family("SkeletonGait++", ("sil_layer0.", "map_layer0.")),
    Family("SwinGait", ("transformer.patch_embed.", "layer0.forward_block.")),
    Family("DeepGaitV2 or SkeletonGait", ("layer0.forward_block.", "FCs.")),
    Family("GaitPart", ("Backbone.forward_block.feature.", "TFA.")),
    Family("SMPLGait", ("Backbone.forward_block.feature.", "fc1.")),
    Family("MTSGait or Baseline", ("Backbone.forward_block.feature.", "FCs.")),
    Family("GaitSet", ("set_block1.",)),
    Family("GLN", ("sil_stage_0.",)),
    Family("GaitGL", ("GLConvA0.",)),
    Family("GaitGraph", ("ResGCN.",)),
    Family("GaitTR", ("data_bn.", "backbone.0.tcn.")),
)

# Files people mix up with gait checkpoints.
_OTHERS = (
    Family("a YOLOX detector", ("backbone.backbone.stem.", "head.")),
    Family("an ultralytics detector", ("model.0.conv.",)),
    Family("an image classifier", ("conv1.weight", "fc.weight")),
)


def _seems(weights: Weights, families: tuple[Family, ...]) -> Family | None:
    return next((f for f in families if all(any(key.startswith(mark) for key in weights) for mark in f.marks)), None)


def recognise(weights: Weights, path: Path) -> Architecture:
    """Return the architecture whose keys `weights` have.

    Raises:
        CheckpointError: a family that is not supported yet, or no gait network; the message says what it seems to be.
    """
    supported = ", ".join(family.title for family in FAMILIES if family.architecture)
    family = _seems(weights, FAMILIES)
    if family is None:
        other = _seems(weights, _OTHERS)
        what = f"it seems to be {other.title}" if other else f"its keys are {', '.join(list(weights)[:3])} ..."
        raise CheckpointError(f"{path} is not a gait network of OpenGait: {what}. Supported: {supported}.")
    if family.architecture is None:
        raise CheckpointError(
            f"{path} seems to be a {family.title} gait network, which is not supported yet. "
            f"Supported: {supported}; or use --set gait.name=gei, which needs no checkpoint."
        )
    return family.architecture


def to_theirs(network: nn.Module, table: KeyTable) -> dict[str, Tensor]:
    """The weights of `network` under OpenGait's key names."""
    return {table.to_theirs(key): value for key, value in network.state_dict().items()}


def load_network(path: Path, config: Mapping[str, Any] | None = None, classifier: bool = False) -> GaitNetwork:
    """Load a gait network from OpenGait's checkpoint, unchanged; widths are read from the file.

    Args:
        path: the ``.pt`` file (a dictionary with ``model``, or a bare state dict).
        config: what a file does not tell, by the names of the network's constructor: for GaitBase ``strides``
            (the convolutions look the same whatever their stride) and ``input_size``; the published defaults else.
        classifier: keep the classifier of the training set's people, which embedding does not need.

    Returns:
        The network, in eval mode, on the CPU.

    Raises:
        CheckpointError: unreadable, unsafe, another kind of file, or missing and left-over keys (as OpenGait
            names them).
        SettingsError: `config` has a key the network does not know.
    """
    weights = state_dict_of(load_pickle_safely(path), path)
    architecture = recognise(weights, path)
    family, table = architecture.network.family, architecture.table
    known = signature(architecture.network).parameters
    for key in config or {}:
        if key not in known:
            raise SettingsError(f"A {family} network has no '{key}'.{nearest(key, known) or f' Known: {list(known)}.'}")
    if not classifier:
        weights = {key: value for key, value in weights.items() if not key.startswith("BNNecks.")}
    shapes = {table.to_ours(key): tuple(value.shape) for key, value in weights.items()}
    try:
        arguments = architecture.read(shapes)
    except KeyError as error:
        missing = table.to_theirs(str(error.args[0]))
        raise CheckpointError(f"{path} is not a whole {family} network: 1 missing: {missing}.") from error
    network = architecture.network(**{**arguments, **(config or {})})
    ours = {table.to_ours(key): value for key, value in weights.items()}
    load_strictly(network, ours, path, f"a {family} network", foreign_name=table.to_theirs)
    return network.eval()
