"""Definitions kept as YAML files: the layouts of raw data sets, the protocols of evaluations, and users' own."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from app.errors import SettingsError, nearest
from app.yaml_files import read_yaml, validated

Value = TypeVar("Value")


def known_names(folder: Path) -> list[str]:
    """Return the names of the definitions in `folder`."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def read_definition(name: str, folder: Path, kind: type[Value], what: str) -> Value:
    """Read a definition that comes with the project in `folder`, by its name, or a user's own YAML file, by its path.

    It is checked against the dataclass `kind`; `what` is what messages call it.

    Raises:
        SettingsError: there is no definition of that name, or the file does not hold one.
    """
    own = name.endswith((".yaml", ".yml"))
    known = known_names(folder)
    if not own and name not in known:
        hint = nearest(name.lower(), known) or f" Known: {', '.join(known)}. Or give a .yaml file of your own."
        raise SettingsError(f"There is no {what} '{name}'.{hint}")
    path = Path(name) if own else folder / f"{name}.yaml"
    return validated(kind, read_yaml(path, SettingsError), f"The {what} {path}", SettingsError)
