"""The sections of OpenGait's YAML: every key of theirs must be known, and has a type."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar, overload

from app.errors import SettingsError, nearest

Value = TypeVar("Value")

_NEEDED: Any = object()

logger = logging.getLogger(__name__)


class Section:
    """A section that is read key by key; what nobody asked for is unknown.

    Args:
        values: what the YAML holds there.
        place: where it stands, such as ``trainer_cfg.sampler``.
        file: of the YAML, for messages.

    Raises:
        SettingsError: `values` is no mapping.
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
        """The file, and the whole name of a key in it."""
        return f"{self.file}: {self.place}.{key}" if self.place else f"{self.file}: {key}"

    @overload
    def take(self, key: str, kind: type[Value], default: Any = ...) -> Value: ...
    @overload
    def take(self, key: str, kind: Any, default: Any = ...) -> Any: ...
    def take(self, key: str, kind: Any, default: Any = _NEEDED) -> Any:
        """Return a value as `kind`, anything that pydantic understands.

        Raises:
            SettingsError: it is missing and has no `default`, or is not of this kind.
        """
        from pydantic import TypeAdapter, ValidationError

        self._known.append(key)
        if key not in self._left:
            if default is _NEEDED:
                raise SettingsError(f"{self.where(key)} is missing.")
            return default
        value = self._left.pop(key)
        try:
            return TypeAdapter(kind).validate_python(value)
        except ValidationError as error:
            raise SettingsError(f"{self.where(key)}: {value!r} cannot be used: {error.errors()[0]['msg']}.") from error

    def one_of(self, key: str, known: tuple[str, ...], default: Any = _NEEDED) -> str:
        """Return a word out of `known`; `SettingsError` names the nearest."""
        word = self.take(key, str, default)
        if word not in known:
            hint = nearest(word, known) or f" Known: {', '.join(known)}."
            raise SettingsError(f"{self.where(key)}: there is no '{word}' here.{hint}")
        return word

    @contextmanager
    def within(self, key: str, default: Any = _NEEDED) -> Iterator[Section]:
        """A section in this one; at the end all of its keys must have been asked for."""
        inner = Section(self.take(key, Any, default), f"{self.place}.{key}" if self.place else key, self.file)
        yield inner
        inner.close()

    def each(self, key: str, default: Any = _NEEDED) -> Iterator[Section]:
        """The sections of a list; one alone may stand without it."""
        values = self.take(key, Any, default)
        for number, value in enumerate(values if isinstance(values, list) else [values]):
            inner = Section(value, f"{self.place}.{key}[{number}]" if self.place else f"{key}[{number}]", self.file)
            yield inner
            inner.close()

    def rest(self) -> dict[str, Any]:
        """Everything that is left."""
        found, self._left = self._left, {}
        return found

    def implied(self, *keys: str) -> None:
        """Allow keys whose values follow from others."""
        self._known.extend(keys)
        for key in keys:
            self._left.pop(key, None)

    def without_effect(self, *keys: str) -> None:
        """Allow keys that mean something to OpenGait and nothing here, and tell."""
        self._known.extend(keys)
        idle = [key for key in keys if key in self._left]
        for key in idle:
            del self._left[key]
        if idle:
            logger.info("%s: without effect here: %s", self.file, ", ".join(f"{self.place}.{key}" for key in idle))

    def close(self) -> None:
        """Raise `SettingsError` for a key that nobody has asked for."""
        for key in self._left:
            hint = nearest(key, self._known) or f" Known: {', '.join(dict.fromkeys(self._known))}."
            raise SettingsError(f"{self.where(key)} is unknown.{hint}")
