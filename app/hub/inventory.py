"""What models there are: those in the folder of checkpoints, those that need no weights, those published elsewhere.

The published ones are data (`published.json`); `app.hub.fetch` downloads them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from app.errors import CheckpointError, GaitprintError, SettingsError, nearest
from app.settings import Settings
from app.types import ModelCard, Origin
from app.weights import registry
from app.weights.checkpoints import CheckpointFile, checkpoint_roots, find_checkpoints, load_pickle_safely, metadata_of
from app.weights.registry import Entry, Registry
from app.weights.sessions import open_session


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
        return checkpoints / registry_of(self.stage).folders[0] / self.name

    def figures_line(self) -> str:
        """The published figures in one line."""
        return ", ".join(f"{data} {figure}" for data, figure in self.figures.items())


@dataclass(frozen=True)
class GaitFamily:
    """A family of gait networks.

    `network` is its name here, None where it is not supported; `figures` rank-1 in per cent by data set, as published;
    `parameters` those of the published size, without the classifier; `inputs` what it sees; `published` the
    checkpoints that can be fetched and read, with their `licence`.
    """

    name: str
    network: str | None
    paper: str
    figures: dict[str, str]
    parameters: int | None = None
    inputs: str = ""
    published: tuple[str, ...] = ()
    licence: str = ""


@dataclass(frozen=True)
class Model:
    """One model that is there.

    `reader` is the implementation's name, as ``--set detector.name=`` takes it; `card` the page about it, beside the
    file; `published` the name it was fetched by; `used` tells what a run takes by default; `problem` says why the file
    cannot be used, and is empty for all others.
    """

    stage: str
    reader: str
    name: str
    origin: Origin
    licence: str
    file: Path | None = None
    bytes: int | None = None
    card: Path | None = None
    published: str = ""
    figures: str = ""
    note: str = ""
    problem: str = ""
    used: bool = False


def registries() -> list[Registry[Any, Any]]:
    """The registries of all stages, in the order of a run."""
    return [value for value in vars(registry).values() if isinstance(value, Registry)]


def registry_of(stage: str) -> Registry[Any, Any]:
    """The registry of a stage by its name."""
    return next(found for found in registries() if found.stage == stage)


@cache
def _content() -> Any:
    return json.loads(Path(__file__).with_name("published.json").read_text(encoding="utf-8"))


@cache
def published() -> dict[str, Published]:
    """Every published checkpoint, by name."""
    content = _content()
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
    """The published checkpoint called `name`; `SettingsError` names the nearest."""
    known = published()
    if name not in known:
        raise SettingsError(
            f"No published checkpoint is called '{name}'.{nearest(name, known)} `python -m app fetch --list` shows all."
        )
    return known[name]


def gait_families() -> list[GaitFamily]:
    """Every family of gait networks, the oldest first."""
    import torch

    from app.gait.models import networks

    classes = networks()
    families = []
    for family in (GaitFamily(**entry) for entry in _content()["families"]):
        if family.network is not None:
            network = classes[family.network]
            with torch.device("meta"):  # sizes without numbers
                parameters = sum(parameter.numel() for parameter in network().parameters())
            weights = [model for model in published().values() if model.family == family.name and model.supported]
            family = replace(
                family,
                parameters=parameters,
                inputs=" and ".join(what.partition(" (")[0] for what in network.inputs),
                published=tuple(model.name for model in weights),
                licence=", ".join(dict.fromkeys(model.licence.short for model in weights)),
            )
        families.append(family)
    return families


def models_of(stage: Registry[Any, Any], checkpoints: Path) -> Iterator[Model]:
    """Yield the models of a stage: what was found, in order of precedence, then what needs no weights.

    Each is built as a run would build it, so that a file that cannot be used says why.
    """
    sources = {model.folder(checkpoints): model for model in published().values() if model.stage == stage.stage}
    chosen = False
    refused: list[Model] = []

    def refuse(file: CheckpointFile, error: CheckpointError) -> None:
        refused.append(_unusable(stage, file.path.name, file, error))

    for file in find_checkpoints(checkpoint_roots(checkpoints), stage.folders, refuse):
        yield from refused
        refused.clear()
        try:
            entry = stage.recognise(file.path)
        except CheckpointError as error:  # as in a run, the next file is tried
            yield _unusable(stage, file.path.name, file, error)
            continue
        source = next((sources[place] for place in (file.path, *file.path.parents) if place in sources), None)
        yield _built(stage, entry, file, source, used=not chosen)
        chosen = True
    yield from refused
    for entry in stage.entries():
        if entry.accepts is None:
            yield _built(stage, entry, None, None, used=not chosen and entry.name == stage.fallback)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _built(
    stage: Registry[Any, Any],
    entry: Entry[Any, Any],
    file: CheckpointFile | None,
    source: Published | None,
    *,
    used: bool,
) -> Model:
    try:
        card: ModelCard = entry.build(file, getattr(Settings(), stage.stage)).card
    except GaitprintError as error:
        name = file.path.name if file else entry.name
        return replace(_unusable(stage, name, file, error), reader=entry.name, licence=entry.licence, used=used)
    stated = _metadata(file.path) if file else {}
    page = file.path.with_suffix(".md") if file else None
    return Model(
        stage=stage.stage,
        reader=entry.name,
        name=card.name,
        origin=card.origin,
        licence=stated.get("licence", card.licence),
        file=card.file,
        bytes=size_of(card.file) if card.file else None,
        card=page if page and page.is_file() else None,
        published=source.name if source else "",
        figures=stated.get("figures") or (source.figures_line() if source else ""),
        note=stated.get("note", card.note),
        used=used,
    )


def _unusable(stage: Registry[Any, Any], name: str, file: CheckpointFile | None, error: GaitprintError) -> Model:
    model = Model(stage.stage, "", name, "weight-free", "", problem=str(error))
    return replace(model, origin=file.origin, file=file.path, bytes=size_of(file.path)) if file else model


def _metadata(path: Path) -> dict[str, str]:
    """What a file that a run can open says of itself."""
    if path.suffix.lower() == ".onnx":
        return dict(open_session(path, optimise=False).get_modelmeta().custom_metadata_map)
    try:
        return metadata_of(load_pickle_safely(path)) if path.is_file() else {}
    except CheckpointError:  # ultralytics' are whole objects, which only its own reader opens
        return {}
