"""What every training is told: the settings the networks share, and how a file of them is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from app.errors import SettingsError, nearest


@dataclass(frozen=True)
class TrainSettings:
    """What the engine needs. Each network's settings inherit from it and add their own."""

    out: Path
    """Folder of checkpoints and logs. A run that was stopped goes on from there."""
    steps: int
    batch: int
    rate: float
    """Peak learning rate; it rises linearly, then falls along a cosine to a hundredth."""
    warmup: int = 200
    """Steps until the peak."""
    weight_decay: float = 0.02
    ema: float = 0.998
    """Decay of the moving average of the weights, which is what is kept; 0: none."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "bf16-mixed"
    seed: int = 1
    workers: int = 1
    """Processes that make batches; 0: the training process itself."""
    threads: int = 0
    """Threads of the network on a CPU; 0: one for each core."""
    save_every: int = 250
    check_every: int = 1000
    """Steps between judgements on the validation data."""
    devices: int | str = "auto"
    """Processors for Lightning: GPUs where there are some, else one process on the CPU."""
    nodes: int = 1
    accumulate: int = 1
    """Batches of a step, whose gradients are added: a larger batch than fits into the memory."""
    sync_norms: bool = False
    """Whether batch normalisations see the walks of all processors."""


Settings = TypeVar("Settings", bound=TrainSettings)


def read_config(path: Path | None, kind: type[Settings], assignments: Sequence[str] = (), name: str = "") -> Settings:
    """Build settings from a YAML file and ``key=value`` assignments, the last winning.

    Args:
        path: the file; None takes the one that comes with the project for the network `name`.
        kind: the settings' class.
        assignments: as given to ``--set``; values are YAML.
        name: the network.

    Raises:
        SettingsError: unreadable file, unknown key, missing key or unusable value; the message names it.
    """
    if path is None:
        where = f"configs/{name}.yaml"
        text = resources.files("app.lab.training").joinpath(where).read_text(encoding="utf-8")
    else:
        where = str(path)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"The settings file {path} cannot be read: {error}") from error
    values = _parsed(text, where)
    if not isinstance(values, dict):
        raise SettingsError(f"The settings file {where} must hold lines such as 'steps: 10000'.")
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals:
            raise SettingsError(f"--set {assignment}: write it as key=value, for example steps=500.")
        values[key.strip()] = _parsed(value, f"--set {assignment}")
    known = [field.name for field in fields(kind)]
    for key in values:
        if key not in known:
            hint = nearest(str(key), known) or f" Known: {', '.join(known)}."
            raise SettingsError(f"{where}: there is no setting '{key}' for this training.{hint}")
    return _validated(kind, values, where)


def _parsed(text: str, where: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SettingsError(f"{where} is not YAML: {error}") from error


def _validated(kind: type[Settings], values: dict[str, Any], where: str) -> Settings:
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"{where}: the setting '{name}' cannot be used: {first['msg']}.") from error
