"""The one way to read the configuration of a gait training: a settings file of ours, or OpenGait's YAML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

from app.errors import SettingsError, nearest
from app.lab.training.gait.opengait import settings_from
from app.lab.training.gait.settings import EmbeddedGaitSettings, GaitTrainSettings
from app.lab.training.settings import read_config, shipped
from app.yaml_files import parse_yaml, read_yaml

_SHIPPED = "configs/families.yaml"


def read_gait_config(config: Path | None = None, assignments: Sequence[str] = ()) -> GaitTrainSettings:
    """Read a configuration.

    Args:
        config: a file of ours (as ``configs/gait.yaml``), a file of OpenGait, or the name of a configuration in
            ``configs/families.yaml``. None takes the configuration of the embedded network.
        assignments: as given to ``--set``: ``key=value``, or ``section.key=value`` for OpenGait's YAML.

    Raises:
        SettingsError: the file is unreadable, or a key is unknown or missing, or has an unusable value. The message
            says which and where.
    """
    if config is None:
        return read_config(None, EmbeddedGaitSettings, assignments, "gait").trainer_settings()
    if not config.exists() and config.suffix not in (".yaml", ".yml"):
        return read_shipped(str(config), assignments)
    content = read_yaml(config, SettingsError)
    if isinstance(content, Mapping) and not {"model_cfg", "trainer_cfg"}.isdisjoint(content):
        return settings_from(content, str(config), assignments)
    return read_config(config, EmbeddedGaitSettings, assignments).trainer_settings()


def families() -> list[str]:
    """Return the families of `python -m app benchmark walkers`: the configurations that come with the project."""
    return sorted(name for name, content in _configurations().items() if not content.get("extra", False))


def read_shipped(name: str, assignments: Sequence[str] = ()) -> GaitTrainSettings:
    """Read a configuration that comes with the project.

    Raises:
        SettingsError: there is none of this name, or see `read_gait_config`.
    """
    known, name = _configurations(), name.lower()
    if name not in known:
        hint = nearest(name, known) or f" There are {', '.join(known)}."
        raise SettingsError(f"There is no configuration '{name}', and no file of that name.{hint}")
    content: dict[str, Any] = {}
    chain = [known[name]]
    while "like" in chain[-1]:
        chain.append(_content()["templates"][chain[-1]["like"]])
    for part in reversed(chain):
        _merge(content, {key: value for key, value in part.items() if key not in ("like", "extra")})
    return settings_from(content, f"{_SHIPPED}: {name}", assignments)


@cache
def _content() -> Any:
    return parse_yaml(shipped(_SHIPPED), _SHIPPED, SettingsError)


def _configurations() -> dict[str, Any]:
    return dict(_content()["families"])


def _merge(content: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Put `changes` into `content`, section by section."""
    for key, value in changes.items():
        if isinstance(value, Mapping) and isinstance(content.get(key), dict):
            _merge(content[key], value)
        else:
            content[key] = deepcopy(value)
