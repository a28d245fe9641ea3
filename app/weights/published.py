"""The checkpoints that their authors publish, as data (`published.json`).

The order of that file is the order in which runs prefer them; the file says how it was made.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from app.errors import SettingsError, nearest


@dataclass(frozen=True)
class Licence:
    """What may be done with weights: its `short` name, where it is written, and a `notice` to show."""

    short: str
    url: str
    notice: str


@dataclass(frozen=True)
class Address:
    """Where a published file lies. `url` is one a person may open; `bytes` and `sha256` are None where unknown."""

    url: str
    file: str
    bytes: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Published:
    """A checkpoint its authors publish.

    `addresses` come best first; `figures` are the authors' by data set; `reader` is the implementation that reads
    the file, None where there is none yet.
    """

    name: str
    stage: str
    family: str
    reader: str | None
    licence: Licence
    addresses: tuple[Address, ...]
    figures: dict[str, str] = field(default_factory=dict)
    note: str = ""

    @property
    def supported(self) -> bool:
        return self.reader is not None

    def folder(self, checkpoints: Path) -> Path:
        """Where it lies once it is fetched; the folder is there whole or not at all."""
        return checkpoints / self.stage / self.name

    def figures_line(self) -> str:
        """The published figures in one line."""
        return ", ".join(f"{data} {figure}" for data, figure in self.figures.items())


@cache
def published_data() -> Any:
    """The content of `published.json`: ``licences``, ``models`` and ``families``."""
    return json.loads(Path(__file__).with_name("published.json").read_text(encoding="utf-8"))


@cache
def published() -> dict[str, Published]:
    """Every published checkpoint by name; those of one stage in the order in which a run prefers them."""
    content = published_data()
    licences = {key: Licence(**value) for key, value in content["licences"].items()}
    models = [
        Published(
            **{
                **entry,
                "licence": licences[entry["licence"]],
                "addresses": tuple(Address(**address) for address in entry["addresses"]),
            }
        )
        for entry in content["models"]
    ]
    return {model.name: model for model in models}


def published_as(name: str) -> Published:
    """Return the published checkpoint called `name`.

    Raises:
        SettingsError: there is none; the message suggests the nearest name.
    """
    known = published()
    if name not in known:
        raise SettingsError(
            f"No published checkpoint is called '{name}'.{nearest(name, known)} `python -m app fetch --list` shows all."
        )
    return known[name]


def published_rank(path: Path, stage: str) -> tuple[int, Published | None]:
    """Return the place of a file among the published checkpoints of a stage, from 1 on, and which one it is.

    It is one of them if it lies in a folder as `app.hub.fetch` makes them, or has the published name and size. Any
    other file, a user's own for example, has the place 0.
    """
    models = [model for model in published().values() if model.stage == stage]
    folders = set(zip(path.parts, path.parts[1:], strict=False))
    for place, model in enumerate(models, 1):
        if (stage, model.name) in folders:
            return place, model
    for place, model in enumerate(models, 1):
        for address in model.addresses:
            if address.file == path.name and path.is_file() and address.bytes in (None, path.stat().st_size):
                return place, model
    return 0, None
