"""Which models there are, found or without weights, and the families of gait networks.

The published checkpoints are in `app.weights.published`; `app.hub.fetch` downloads them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from app.errors import CheckpointError, GaitprintError, SettingsError
from app.settings import Settings
from app.types import ModelCard, Origin
from app.weights import registry
from app.weights.checkpoints import CheckpointFile, checkpoint_roots, load_pickle_safely, metadata_of
from app.weights.published import published, published_data, published_rank
from app.weights.registry import AUTO, Choice, Entry, Registry
from app.weights.sessions import open_session


@dataclass(frozen=True)
class GaitFamily:
    """A family of gait networks.

    `name` is its authors' and `network` ours, None where it is not supported. `figures` are rank-1 in per cent by data
    set, as published, and `parameters` those of the published size, without the classifier. `published` are the names
    of the checkpoints that can be fetched and read, and `licence` their licences. `reason` says why people are not
    recognised with it, as a clause; it is empty where they are.
    """

    name: str
    network: str | None
    paper: str
    figures: dict[str, str]
    parameters: int | None = None
    inputs: str = ""
    published: tuple[str, ...] = ()
    licence: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Model:
    """One model that is there.

    `reader` is the implementation's name, as ``--set detector.name=`` takes it. `file` are the weights, None for a
    model without any, and `card` is the page about it beside the file. `published` is the name it can be fetched by.
    `problem` says why the file cannot be used. `used` is whether a run uses the model by default, and `reason` why, as
    a clause after "because".
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
    reason: str = ""


def registries() -> list[Registry[Any, Any]]:
    """The registries of all stages, in the order of a run."""
    return [value for value in vars(registry).values() if isinstance(value, Registry)]


def registry_of(stage: str) -> Registry[Any, Any]:
    """The registry of a stage by its name."""
    return next(found for found in registries() if found.stage == stage)


def gait_families() -> list[GaitFamily]:
    """Every family of gait networks, the oldest first."""
    families = []
    for family in (GaitFamily(**entry) for entry in published_data()["families"]):
        if family.network is not None:
            weights = [model for model in published().values() if model.family == family.name and model.supported]
            family = replace(
                family,
                published=tuple(model.name for model in weights),
                licence=", ".join(dict.fromkeys(model.licence.short for model in weights)),
            )
        families.append(family)
    return families


def models_of(stage: Registry[Any, Any], checkpoints: Path) -> Iterator[Model]:
    """Yield the models of a stage: what was found, in order of precedence, then what needs no weights.

    Each is built as a run would build it, so that a file that cannot be used says why.
    """
    roots = checkpoint_roots(checkpoints)
    choice: Choice[Any, Any] | None
    try:
        choice = stage.choose(AUTO, None, roots, lambda file, error: None)
    except SettingsError:
        if stage.fallback is not None:
            raise
        choice = None  # nothing is found, and the stage has no model without weights
    refused: list[Model] = []

    def refuse(file: CheckpointFile, error: CheckpointError) -> None:
        refused.append(_unusable(stage, file.path.name, file, error))

    listed = False
    for candidate, entry in stage.candidates(roots, refused=refuse):
        yield from refused
        refused.clear()
        is_used = choice is not None and choice.file is not None and choice.file.path == candidate.file.path
        listed = listed or is_used
        yield _built(stage, entry, candidate.file, choice if is_used else None)
    yield from refused
    if choice is not None and choice.file is not None and not listed:  # a file elsewhere, which default.yaml pins
        yield _built(stage, choice.entry, choice.file, choice)
    for entry in stage.entries():
        if entry.accepts is None:
            is_used = choice is not None and choice.entry == entry
            yield _built(stage, entry, None, choice if is_used else None)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _built(
    stage: Registry[Any, Any], entry: Entry[Any, Any], file: CheckpointFile | None, choice: Choice[Any, Any] | None
) -> Model:
    """Describe a model; `choice` is given for the one that a run uses."""
    used, reason = choice is not None, choice.reason if choice is not None else ""
    try:
        card: ModelCard = entry.build(file, getattr(Settings(), stage.stage)).card
    except GaitprintError as error:
        name = file.path.name if file else entry.name
        unusable = _unusable(stage, name, file, error)
        return replace(unusable, reader=entry.name, licence=entry.licence, used=used, reason=reason)
    source = published_rank(file.path, stage.stage)[1] if file else None
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
        reason=reason,
    )


def _unusable(stage: Registry[Any, Any], name: str, file: CheckpointFile | None, error: GaitprintError) -> Model:
    model = Model(stage.stage, "", name, "weight-free", "", problem=str(error))
    return replace(model, origin=file.origin, file=file.path, bytes=size_of(file.path)) if file else model


def _metadata(path: Path) -> dict[str, str]:
    """Read what a file says about itself."""
    if path.suffix.lower() == ".onnx":
        return dict(open_session(path, optimise=False).get_modelmeta().custom_metadata_map)
    try:
        return metadata_of(load_pickle_safely(path)) if path.is_file() else {}
    except CheckpointError:  # ultralytics' files are whole objects, which only its own reader opens
        return {}
