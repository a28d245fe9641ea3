"""YAML files, and what they hold, checked against a type: the one place that reads YAML.

YAML and pydantic are imported when they are first needed, because importing both takes a noticeable part of a second.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from app.errors import GaitprintError

Value = TypeVar("Value")


def read_yaml(path: Path, error: type[GaitprintError]) -> Any:
    """Read a YAML file.

    Args:
        path: the file, in UTF-8.
        error: the kind of error to raise.

    Raises:
        GaitprintError: of the kind `error`; the file is missing, unreadable or not YAML. The message says which, and
            in which line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as problem:
        raise error(f"{path} cannot be read: {problem.strerror or problem}.") from problem
    except UnicodeDecodeError as problem:
        raise error(f"{path} is not a text file in UTF-8: {problem.reason}.") from problem
    return parse_yaml(text, str(path), error)


def parse_yaml(text: str, where: str, error: type[GaitprintError]) -> Any:
    """Parse YAML that does not come from a file of its own, such as the value of an option.

    Args:
        text: the YAML.
        where: where it stands, for the message.
        error: the kind of error to raise.

    Raises:
        GaitprintError: of the kind `error`; it is not YAML.
    """
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as problem:
        mark = getattr(problem, "problem_mark", None)
        line = f" (line {mark.line + 1})" if mark is not None else ""
        reason = getattr(problem, "problem", None) or str(problem).partition("\n")[0]
        raise error(f"{where} is not YAML{line}: {reason}.") from problem


def validated(kind: type[Value], content: Any, where: str, error: type[GaitprintError]) -> Value:
    """Return `content` as `kind`, a dataclass for example, with the conversions that pydantic knows.

    Args:
        kind: anything pydantic understands.
        content: what a YAML file holds.
        where: where it stands, for the message.
        error: the kind of error to raise.

    Raises:
        GaitprintError: of the kind `error`; a key is missing or unknown, or a value cannot be used. The message names
            the first such key.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(kind).validate_python(content)
    except ValidationError as problem:
        first = problem.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        if first["type"] == "missing":
            raise error(f"{where}: '{place}' is missing.") from problem
        raise error(f"{where}: {f'{place!r} cannot be used: ' if place else ''}{first['msg']}.") from problem
