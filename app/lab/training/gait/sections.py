"""Reading the sections of OpenGait's YAML: every key must be known, and its value must have the right type."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar, overload

from app.errors import SettingsError, nearest
from app.yaml_files import validated

Value = TypeVar("Value")

_NEEDED: Any = object()

logger = logging.getLogger(__name__)


class Section:
    """A section that is read key by key. Keys that nobody has read are unknown, and `close` refuses them.

    Args:
        values: the content of the section.
        place: where the section stands, such as ``trainer_cfg.sampler``.
        file: the YAML file, for messages.

    Raises:
        SettingsError: `values` is not a mapping.
    """

    def __init__(self, values: object, place: str, file: str) -> None:
        if not isinstance(values, Mapping):
            raise SettingsError(f"{file}: {place or 'the file'} must hold keys with values, not {values!r}.")
        self.place, self.file = place, file
        self._left = {str(key): value for key, value in values.items()}
        self._known: list[str] = []

    def __contains__(self, key: str) -> bool:
        return key in self._left

    def where(self, key: str) -> str:
        """Return the file and the full name of a key in it, for a message."""
        return f"{self.file}: {self.place}.{key}" if self.place else f"{self.file}: {key}"

    @overload
    def take(self, key: str, kind: type[Value], default: Any = ...) -> Value: ...
    @overload
    def take(self, key: str, kind: Any, default: Any = ...) -> Any: ...
    def take(self, key: str, kind: Any, default: Any = _NEEDED) -> Any:
        """Return the value of a key as `kind`, which is anything that pydantic understands.

        Raises:
            SettingsError: the key is missing and there is no `default`, or the value is not of this kind.
        """
        self._known.append(key)
        if key not in self._left:
            if default is _NEEDED:
                raise SettingsError(f"{self.where(key)} is missing.")
            return default
        value = self._left.pop(key)
        return validated(kind, value, f"{self.where(key)}: {value!r} cannot be used", SettingsError)

    def one_of(self, key: str, known: tuple[str, ...], default: Any = _NEEDED) -> str:
        """Return a word that must be one of `known`; otherwise `SettingsError` names the most similar one."""
        word = self.take(key, str, default)
        if word not in known:
            hint = nearest(word, known) or f" It can be {', '.join(known)}."
            raise SettingsError(f"{self.where(key)}: '{word}' is not known here.{hint}")
        return word

    @contextmanager
    def within(self, key: str, default: Any = _NEEDED) -> Iterator[Section]:
        """Read a section inside this one. When the block ends, all of its keys must have been read."""
        inner = Section(self.take(key, Any, default), f"{self.place}.{key}" if self.place else key, self.file)
        yield inner
        inner.close()

    def each(self, key: str, default: Any = _NEEDED) -> Iterator[Section]:
        """Read the sections of a list. A single section may stand without a list around it."""
        values = self.take(key, Any, default)
        for number, value in enumerate(values if isinstance(values, list) else [values]):
            inner = Section(value, f"{self.place}.{key}[{number}]" if self.place else f"{key}[{number}]", self.file)
            yield inner
            inner.close()

    def rest(self) -> dict[str, Any]:
        """Return everything that has not been read yet."""
        rest, self._left = self._left, {}
        return rest

    def implied(self, *keys: str) -> None:
        """Accept keys whose values follow from those of other keys."""
        self._known.extend(keys)
        for key in keys:
            self._left.pop(key, None)

    def without_effect(self, *keys: str) -> None:
        """Accept keys that mean something to OpenGait and nothing here, and log them."""
        self._known.extend(keys)
        self.log_idle([key for key in keys if self._left.pop(key, None) is not None])

    def log_idle(self, keys: Sequence[str]) -> None:
        """Log keys that have no effect here."""
        if keys:
            names = ", ".join(f"{self.place}.{key}" for key in keys)
            logger.info("%s: these keys have no effect here: %s", self.file, names)

    def close(self) -> None:
        """Raise `SettingsError` for a key that nobody has read."""
        for key in self._left:
            hint = nearest(key, self._known) or f" The keys here are: {', '.join(dict.fromkeys(self._known))}."
            raise SettingsError(f"{self.where(key)} is unknown.{hint}")
