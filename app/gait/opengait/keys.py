"""What is known of each family: how its checkpoints are recognised, its table of names, and how it is built."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count, takewhile
from pathlib import Path
from typing import Any, TypeAlias

from torch import Tensor

from app.gait.base import EmbeddingNetwork

Weights: TypeAlias = Mapping[str, Tensor]
Shapes: TypeAlias = Mapping[str, tuple[int, ...]]
Rows: TypeAlias = tuple[tuple[str, str], ...]
"""Pairs of names, OpenGait's and ours."""

HEAD: Rows = (
    ("FCs.fc_bin", "linear.weight"),
    ("BNNecks.fc_bin", "classifier.weight"),
    ("BNNecks.bn1d", "classifier.norm"),
)
"""The end of most networks: a linear layer for each part, and the classifier."""


def within(theirs: str, ours: str, rows: Rows) -> Rows:
    """Return `rows` of names inside of a module, which is called `theirs` there and `ours` here."""
    return tuple((f"{theirs}.{their}", f"{ours}.{our}") for their, our in rows)


def numbered(shapes: Shapes, name: str) -> list[str]:
    """Return the keys of the layers ``name.format(0)``, ``name.format(1)`` and so on, as many as there are."""
    return list(takewhile(lambda key: key in shapes, map(name.format, count())))


def widths(shapes: Shapes, name: str) -> list[int]:
    """Return how many channels each of the `numbered` layers gives."""
    return [shapes[key][0] for key in numbered(shapes, name)]


def classes(shapes: Shapes, key: str = "classifier.weight") -> int | None:
    """Return how many people the classifier knows; None if there is none."""
    if key not in shapes:
        return None
    # A classifier for each part is (parts, inputs, classes); an ordinary linear layer is (classes, inputs).
    return shapes[key][2] if len(shapes[key]) == 3 else shapes[key][0]


def head(shapes: Shapes, linear: str = "linear.weight", classifier: str = "classifier.weight") -> dict[str, Any]:
    """Return the `parts`, `channels` and `classes` that the linear layers of the parts and the classifier tell."""
    parts, _, channels = shapes[linear]
    return {"parts": parts, "channels": channels, "classes": classes(shapes, classifier)}


def pyramid(parts: int) -> list[int]:
    """Return the scales of a pyramid of so many parts: halved from scale to scale down to 1, or one scale."""
    bins = [2**scale for scale in reversed(range(parts.bit_length()))]
    return bins if sum(bins) == parts else [parts]


@dataclass(frozen=True)
class KeyTable:
    """A two-way table of the names of modules; a ``*`` stands for the same number in both names."""

    rows: Rows = ()

    def to_ours(self, key: str) -> str:
        """Our name of OpenGait's `key`; a key that the table does not know stays as it is."""
        return _renamed(key, self._to_ours)

    def to_theirs(self, key: str) -> str:
        """OpenGait's name of our `key`."""
        return _renamed(key, self._to_theirs)

    @cached_property
    def _to_ours(self) -> list[tuple[re.Pattern[str], str]]:
        return [(_named(theirs), ours) for theirs, ours in self.rows]

    @cached_property
    def _to_theirs(self) -> list[tuple[re.Pattern[str], str]]:
        return [(_named(ours), theirs) for theirs, ours in self.rows]


def _named(name: str) -> re.Pattern[str]:
    """Match a module of that name, or one parameter: what follows the name is kept."""
    return re.compile(re.escape(name).replace(r"\*", r"(\d+)") + r"(|\..+)")


def _renamed(key: str, names: Sequence[tuple[re.Pattern[str], str]]) -> str:
    for source, target in names:
        if found := source.fullmatch(key):
            *numbers, rest = found.groups()
            for number in numbers:
                target = target.replace("*", number, 1)
            return target + rest
    return key


@dataclass(frozen=True)
class Traces:
    """What a checkpoint file tells of its training.

    Args:
        shapes: of all weights, by our names.
        iteration: how long it was trained; None where the file does not say.
        milestones: the iterations at which the learning rate fell.
        steps: how many steps the schedule of the learning rate has; None where the file does not say.
        name: the file's path, and of OpenGait's YAML the data set.
        stated: whether there is such a YAML, or the user said how the network was made.
        model: the name of the network in that YAML; empty where there is none.
        ours: whether this program trained it.
    """

    shapes: Shapes
    iteration: int | None = None
    milestones: tuple[int, ...] = ()
    steps: int | None = None
    name: Path = Path()
    stated: bool = False
    model: str = ""
    ours: bool = False

    @classmethod
    def of(cls, content: Mapping[str, Any], shapes: Shapes, name: Path, stated: bool, model: str = "") -> Traces:
        """Read them from the `content` of a checkpoint; whatever is not there, or odd, is not known."""
        stored = content.get("scheduler")
        scheduler = stored if isinstance(stored, Mapping) else {}
        iteration, milestones, steps = (
            content.get("iteration"),
            scheduler.get("milestones"),
            scheduler.get("total_steps"),
        )
        return cls(
            shapes,
            iteration if isinstance(iteration, int) else None,
            tuple(milestones) if isinstance(milestones, Mapping | list | tuple) else (),
            steps if isinstance(steps, int) else None,
            name,
            stated,
            model,
            "metadata" in content,
        )

    def named(self, pattern: str) -> bool:
        """Whether the name of the file has the pattern, whatever its case."""
        return re.search(pattern, self.name.name, re.IGNORECASE) is not None

    @property
    def of_parts(self) -> bool:
        """Whether the name, or that of a folder, says that the pictures are maps of body parts."""
        return self.named("parsing") or any(
            re.fullmatch(r"gait3d.?parsing|[a-z]+-parsing", part, re.IGNORECASE) for part in self.name.parts[-6:-1]
        )


@dataclass(frozen=True)
class Settled:
    """How what was open was settled.

    Args:
        arguments: for the network's constructor, beyond what the shapes tell.
        frames: how many frames of a walk a network of joints sees; None for the class's own.
        centred: whether a network of joints puts missing ones into the middle; None for the class's own.
        is_cosine: whether its authors compare its embeddings by the cosine distance, and not by the Euclidean.
        assumed: what was assumed for want of a sign, each a clause.
        refused: why people cannot be recognised with it, a clause; None where they can.
        network: what it is instead of its architecture's network, with the same weights; None where it is that.
        inputs: what it takes instead of what its network usually takes; None where it is that.
    """

    arguments: Mapping[str, Any] = field(default_factory=dict)
    frames: int | None = None
    centred: bool | None = None
    is_cosine: bool = False
    assumed: tuple[str, ...] = ()
    refused: str | None = None
    network: type[EmbeddingNetwork] | None = None
    inputs: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Architecture:
    """How a family's checkpoint becomes a network.

    `read` takes the shapes of the weights, by our names, and returns what they tell of the constructor's arguments.
    `configure` takes the ``model_cfg`` of OpenGait's YAML and returns what it tells beyond. `settle` finds out, without
    a YAML, what the shapes leave open. Keys that begin (by our
    names) with one of `training` are left out unless the network needs them: embedding needs no classifier.
    """

    network: type[EmbeddingNetwork]
    table: KeyTable
    read: Callable[[Shapes], dict[str, Any]]
    configure: Callable[[Mapping[str, Any]], dict[str, Any]] = lambda model_cfg: {}
    training: tuple[str, ...] = ("classifier.",)
    settle: Callable[[Traces], Settled] = lambda traces: Settled()


@dataclass(frozen=True)
class Family:
    """Networks that share their keys.

    A checkpoint belongs to the family if, for each of `marks`, one of its keys (OpenGait's) begins with it, and `fits`
    says so too where another family has the same keys. `architecture` is None if the family is not supported;
    `reason` says why, a clause.
    """

    title: str
    marks: tuple[str, ...]
    architecture: Architecture | None = None
    fits: Callable[[Weights], bool] = lambda weights: True
    reason: str = ""

    def has(self, weights: Weights) -> bool:
        """Whether weights by OpenGait's names belong to this family."""
        return all(any(key.startswith(mark) for key in weights) for mark in self.marks) and self.fits(weights)
