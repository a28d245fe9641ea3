"""What is said of each family: its marks, its table of names, and how it is built."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import Tensor

from app.gait.base import EmbeddingNetwork

Weights: TypeAlias = Mapping[str, Tensor]
Shapes: TypeAlias = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class KeyTable:
    """A two-way table of module names: rows of (theirs, ours), ``*`` standing for the same number in both."""

    rows: tuple[tuple[str, str], ...] = ()

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


def _nothing(model_cfg: Mapping[str, Any]) -> dict[str, Any]:
    return {}


def _always(weights: Weights) -> bool:
    return True


@dataclass(frozen=True)
class Architecture:
    """How a family's checkpoint becomes a network.

    `read` returns what the shapes, by our names, tell of the constructor's arguments, and `configure` what the
    ``model_cfg`` of OpenGait's YAML tells beyond. Keys that begin (by our names) with one of `training` are left out
    where the network has no use for them: embedding needs no classifier.
    """

    network: type[EmbeddingNetwork]
    table: KeyTable
    read: Callable[[Shapes], dict[str, Any]]
    configure: Callable[[Mapping[str, Any]], dict[str, Any]] = _nothing
    training: tuple[str, ...] = ("classifier.",)


@dataclass(frozen=True)
class Family:
    """Networks with the same keys: `marks` are beginnings of OpenGait's keys that tell it from those after it.

    `architecture` is None where it is known but not supported. `fits` looks at the weights where the keys are those of
    another family too.
    """

    title: str
    marks: tuple[str, ...]
    architecture: Architecture | None = None
    fits: Callable[[Weights], bool] = _always
