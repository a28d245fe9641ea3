"""The settings that all trainings share, and how they are read from a YAML file and the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal, TypeAlias, TypeVar

from pydantic import Field

from app.errors import SettingsError, nearest
from app.settings import Amount, Share, Threads
from app.workers import need_few
from app.yaml_files import parse_yaml, read_yaml, validated

Count: TypeAlias = Annotated[int, Field(ge=1, le=10**9)]
Natural: TypeAlias = Annotated[int, Field(ge=0, le=10**9)]
Width: TypeAlias = Annotated[int, Field(ge=1, le=8192)]
"""Of a layer, such as its channels."""
Depth: TypeAlias = Annotated[int, Field(ge=1, le=256)]
Few: TypeAlias = Annotated[int, Field(ge=1, le=4096)]
"""Of what comes into a batch: a thousand times as much would not fit into memory."""
Positive: TypeAlias = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class TrainSettings:
    """What the engine needs. The settings of each network inherit these and add their own."""

    out: Path
    """Folder of checkpoints and logs. A training that was stopped continues from there."""
    steps: Count
    batch: Few
    rate: Amount
    """Highest learning rate. It rises linearly, then falls along a cosine to a hundredth of this value."""
    warmup: Natural = 200
    """Steps until the learning rate is at its highest."""
    weight_decay: Amount = 0.02
    ema: Share = 0.998
    """Decay of the moving average of the weights. The averaged weights are the ones that are kept. 0 turns it off."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "bf16-mixed"
    seed: Natural = 1
    workers: Annotated[int, Field(ge=0, le=256)] = 1
    """Processes that prepare batches, 4 for each core at most. With 0 the training process does it itself."""
    threads: Threads = 0
    """Threads that the network uses on a CPU. 0 means one for each core."""
    save_every: Count = 250
    """Steps between checkpoints."""
    check_every: Count = 1000
    """Steps between evaluations on the validation data."""
    devices: int | str = "auto"
    """Devices for Lightning: the GPUs where there are any, otherwise one process on the CPU."""
    nodes: Few = 1
    """Machines that train together."""
    accumulate: Count = 1
    """Batches whose gradients are added up for one step, where a larger batch does not fit into memory."""
    sync_norms: bool = False
    """Whether batch normalisation uses the statistics of all devices together."""

    def __post_init__(self) -> None:
        need_few(self.workers, "The setting workers:")


PHOTOS = "a folder of labelled pictures of people, laid out as app/lab/synthesis/photos.py describes it"
"""What the setting `photos` is, for the message that it is missing."""

Settings = TypeVar("Settings", bound=TrainSettings)


def read_config(path: Path | None, kind: type[Settings], assignments: Sequence[str] = (), name: str = "") -> Settings:
    """Build settings from a YAML file and ``key=value`` assignments of YAML values; the last value of a key wins.

    Without a file, it is the one that the project has for the network `name`.

    Raises:
        SettingsError: the file is unreadable, or a key is unknown, missing or has an unusable value. The message names
            it.
    """
    where = str(path) if path is not None else f"configs/{name}.yaml"
    values = parse_yaml(shipped(where), where, SettingsError) if path is None else read_yaml(path, SettingsError)
    if not isinstance(values, dict):
        raise SettingsError(f"The settings file {where} must hold lines such as 'steps: 10000'.")
    given: dict[str, str] = {}
    for assignment in assignments:
        key, value = split_assignment(assignment, "steps=500")
        given[key] = f"--set {assignment}"
        values[key] = parse_yaml(value, given[key], SettingsError)
    known = {field.name: field for field in fields(kind)}
    for key in values:
        if key not in known:
            hint = nearest(str(key), known) or f" The settings are: {', '.join(known)}."
            raise SettingsError(f"{given.get(key, where)}: there is no setting '{key}' for this training.{hint}")
    for key, field in known.items():
        if key not in values and field.default is field.default_factory is MISSING:
            about = field.metadata.get("about", "")
            raise SettingsError(
                f"The setting '{key}' is missing{f': {about}' if about else ''}. "
                f"Give it as --set {key}=VALUE, or in the file of --config."
            )
    return validated(kind, values, where, SettingsError, given)


def shipped(name: str) -> str:
    """Return the text of a configuration file that comes with the project, such as ``configs/gait.yaml``."""
    return resources.files("app.lab.training").joinpath(name).read_text(encoding="utf-8")


def split_assignment(assignment: str, example: str) -> tuple[str, str]:
    """Split ``key=value``, as given to ``--set``; `SettingsError` shows the `example` where there is no ``=``."""
    key, equals, value = assignment.partition("=")
    if not equals:
        raise SettingsError(f"--set {assignment}: write it with an equals sign, for example {example}.")
    return key.strip(), value
