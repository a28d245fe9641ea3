"""The errors a user can meet. Each message says what was wrong, where, and what to do."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

_ALIKE = 0.5


class GaitprintError(Exception):
    """Base of every error that the input causes; the command line prints it and exits with 2."""


class SettingsError(GaitprintError):
    """A setting is unknown or has a value that cannot be used."""


class VideoError(GaitprintError):
    """A video is missing, unreadable, empty, or cannot be written."""


class CheckpointError(GaitprintError):
    """A model file is missing, unsafe, of the wrong kind, or lacks keys."""


class MissingExtraError(GaitprintError):
    """An optional package is needed: the message names the extra to install."""


class NobodyFoundError(GaitprintError):
    """A video shows nobody who walks, or a gallery has no usable walk."""


class OutputError(GaitprintError):
    """A result cannot be written: no permission, no space."""


class IncompatibleEmbeddingsError(GaitprintError):
    """Embeddings of two different models cannot be compared."""


class GalleryError(GaitprintError):
    """The gallery does not hold what was asked for, or its file cannot be read or written."""


@contextmanager
def needing(message: str) -> Iterator[None]:
    """Raise `MissingExtraError` with this message if a package that is imported inside is not installed."""
    try:
        yield
    except ImportError as error:
        raise MissingExtraError(message) from error


def reason_of(error: Exception) -> str:
    """Return in one line what an error says; of a file, what the system says, without Python's number and path."""
    if isinstance(inner := getattr(error, "reason", None), OSError):  # urllib's errors stand around that of the system
        error = inner
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(words).partition("\n")[0].rstrip(".")


def counted(number: int, noun: str) -> str:
    """Return ``1 walk`` or ``2 walks``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` for the name in `known` that is most like `word`, or an empty string.

    An extension that both have, such as ``.pt``, does not count as a likeness. The word itself is never suggested, and
    a name that looks the same, because its letters are composed otherwise, is shown with escapes.
    """
    stem, dot, extension = word.rpartition(".")
    likeness = {}
    for name in known:
        if name == word:
            continue
        shares_extension = bool(stem) and name.endswith(dot + extension)
        pair = (stem, name.removesuffix(dot + extension)) if shares_extension else (word, name)
        likeness[name] = difflib.SequenceMatcher(None, *pair).ratio()
    best = max(likeness, key=likeness.__getitem__, default="")
    if not best or likeness[best] < _ALIKE:
        return ""
    if _look(best) == _look(word):
        return f" Did you mean {best!a}? It looks the same, but is written with other characters."
    return f" Did you mean '{best}'?"


def _look(name: str) -> str:
    """Return a name in the form that all names share which look alike."""
    return "".join(unicodedata.normalize("NFC", name).split())
