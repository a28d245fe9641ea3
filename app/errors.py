"""The errors a user can meet. Each message says what was wrong, where, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_ALIKE = 0.5


class GaitprintError(Exception):
    """Base of every error that is the input's fault; the command line prints it and exits with 2."""


class SettingsError(GaitprintError):
    """A setting is unknown or has a value that cannot be used."""


class VideoError(GaitprintError):
    """A video is missing, unreadable, empty, or cannot be written."""


class CheckpointError(GaitprintError):
    """A model file is missing, unsafe, of the wrong kind, or lacks keys."""


class MissingExtraError(GaitprintError):
    """An optional package is needed: the message names the extra to install."""


class NobodyFoundError(GaitprintError):
    """A video shows no pedestrian, or a gallery has no walk that can be used."""


class OutputError(GaitprintError):
    """A result cannot be written: no permission, no space."""


class IncompatibleEmbeddingsError(GaitprintError):
    """Embeddings of two different models were to be compared."""


class GalleryError(GaitprintError):
    """The gallery lacks what was asked for, or its file cannot be read or written."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` for the closest of `known`, or an empty string; a common extension says nothing."""
    stem, dot, extension = word.rpartition(".")
    likeness = {}
    for name in known:
        alike = bool(stem) and name.endswith(dot + extension)
        pair = (stem, name[: -len(dot + extension)]) if alike else (word, name)
        likeness[name] = difflib.SequenceMatcher(None, *pair).ratio()
    found = max(likeness, key=likeness.__getitem__, default="")
    return f" Did you mean '{found}'?" if found and likeness[found] >= _ALIKE else ""
