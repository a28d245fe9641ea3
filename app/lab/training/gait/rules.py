"""Reading the sections of OpenGait's YAML by rules: every key must be known, and its value must have the right type."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from app.errors import SettingsError, nearest
from app.yaml_files import validated

Rule: TypeAlias = str | Callable[[Any], Mapping[str, Any]] | None
"""What becomes of a key: an argument of some name, several arguments, or nothing, because others imply the value."""
Rules: TypeAlias = Mapping[str, Rule]
"""Rules by the path of a key in its section, such as ``sampler.batch_size``."""

logger = logging.getLogger(__name__)


def no_effect(value: Any) -> Mapping[str, Any]:
    """The rule for a key that means something to OpenGait and nothing here. It is logged."""
    return {}


def only(wanted: Any) -> Rule:
    """Return the rule for a key that can have one value only."""

    def rule(value: Any) -> Mapping[str, Any]:
        if value != wanted:
            raise ValueError(f"it must be {wanted} here")
        return {}

    return rule


def section(value: object, place: str) -> dict[str, Any]:
    """Return a section's keys with their values; `SettingsError` if it is something else. `place` is its name."""
    if not isinstance(value, Mapping):
        raise SettingsError(f"{place} must hold keys with values, not {value!r}.")
    return {str(key): inner for key, inner in value.items()}


def sections(value: object, place: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the sections of a list, each with its place. A single section may stand without a list around it."""
    for number, inner in enumerate(value if isinstance(value, list) else [value]):
        yield section(inner, f"{place}[{number}]"), f"{place}[{number}]"


def leaves(content: Mapping[str, Any], place: str = "") -> dict[str, Any]:
    """Return the values of a section and of the sections inside by their paths."""
    values: dict[str, Any] = {}
    for key, value in content.items():
        values |= leaves(value, f"{place}{key}.") if isinstance(value, Mapping) else {f"{place}{key}": value}
    return values


def read(content: Mapping[str, Any], place: str, rules: Rules, types: Mapping[str, Any]) -> dict[str, Any]:
    """Read a section by rules for all keys that are known, and return the arguments, whose `types` are given.

    `place` is the file and the name of the section, for messages. What the sections inside say is more specific, and
    replaces what the section itself says.

    Raises:
        SettingsError: a key is unknown, or a value cannot be used.
    """
    values, idle = leaves(content), []
    arguments: dict[str, Any] = {}
    for path in sorted(values, key=lambda path: "." in path):
        value = values[path]
        need_known(path, rules, place)
        rule = rules[path]
        if rule is no_effect:
            idle.append(path)
        if rule is None or value is None:
            continue
        try:
            given = {rule: value} if isinstance(rule, str) else rule(value)
        except (TypeError, ValueError, IndexError) as error:
            raise SettingsError(f"{place}.{path}: {value!r} cannot be used: {error}.") from error
        for name, argument in given.items():
            arguments[name] = validated(types.get(name, Any), argument, f"{place}.{path}: {value!r}", SettingsError)
    if idle:
        logger.info("%s: these keys have no effect here: %s", place, ", ".join(idle))
    return arguments


def need_known(key: str, known: Iterable[str], place: str) -> None:
    """Raise `SettingsError` if a key is unknown; the message names the most similar one."""
    if key not in (known := list(known)):
        hint = nearest(key, known) or f" The keys here are: {', '.join(known)}."
        raise SettingsError(f"{place}{'.' if ': ' in place else ': '}{key} is unknown.{hint}")


def one_of(word: Any, known: Iterable[str], place: str) -> str:
    """Return a word that must be one of `known`; otherwise `SettingsError` names the most similar one."""
    if word not in (known := list(known)):
        hint = nearest(str(word), known) or f" It can be {', '.join(known)}."
        raise SettingsError(f"{place}: '{word}' is not known here.{hint}")
    return str(word)


def take(values: dict[str, Any], key: str, place: str) -> Any:
    """Remove a key that must be there, and return its value."""
    if key not in values:
        raise SettingsError(f"{place}{'.' if ': ' in place else ': '}{key} is missing.")
    return values.pop(key)
