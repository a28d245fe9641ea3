"""Finds the names of a person who was forgotten in free text, however they are written there."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from app.gallery.store import JSON

FORGOTTEN = "(forgotten)"

_BETWEEN_WORDS = set("-_.'\u2019\u00b7+")  # besides blanks and all kinds of dashes


class Redaction:
    """Replaces names that stand in a text as whole words.

    Case, Unicode's form, ``ss`` for ``ß``, and what stands between the words of a name make no difference: Zarq Vexley
    is found in "zarq-vexley_2.mp4" and in "myZarqVexley". Anna is not found in "Hannah", nor P 1 in "P 12".
    """

    def __init__(self, names: Iterable[str]) -> None:
        folded = {name: "".join(letter for letter, _ in _folded(name)) for name in names}
        self._plain = [name for name, letters in folded.items() if name and not letters]  # of punctuation alone
        self._names = {letters for letters in folded.values() if letters}

    def text(self, text: str) -> str:
        """Return `text` with ``(forgotten)`` for each name."""
        for name in self._plain:
            text = text.replace(name, FORGOTTEN)
        folded = _folded(text)
        letters = "".join(letter for letter, _ in folded)
        parts, copied = [], 0
        for first, last in _without_overlaps(self._places(text, letters, [place for _, place in folded])):
            parts += [text[copied:first], FORGOTTEN]
            copied = last
        return "".join([*parts, text[copied:]])

    def details(self, details: JSON) -> JSON:
        """Return the details of a log entry with ``(forgotten)`` for each name."""
        if isinstance(details, str):
            return self.text(details)
        if isinstance(details, Mapping):
            return {self.text(key): self.details(value) for key, value in details.items()}
        if isinstance(details, Sequence):
            return [self.details(value) for value in details]
        return details

    def _places(self, text: str, letters: str, places: Sequence[int]) -> Iterable[tuple[int, int]]:
        """Yield where a name begins and ends in `text`, given its folded `letters` and the place of each."""
        for name in self._names:
            for match in re.finditer(f"(?={re.escape(name)})", letters):
                start, end = match.start(), match.start() + len(name)
                # A letter that folds to several, such as ß, is found whole or not at all.
                if start > 0 and places[start - 1] == places[start]:
                    continue
                if end < len(places) and places[end - 1] == places[end]:
                    continue
                first, last = places[start], places[end - 1] + 1
                if _is_boundary(text, first) and _is_boundary(text, last):
                    yield first, last


def _folded(text: str) -> list[tuple[str, int]]:
    """Return the letters that matter in `text`, each with its place: without case, and without what separates words.

    A separator between two digits stays, as 1 2 is not 12.
    """
    folded: list[tuple[str, int]] = []
    separated = None
    for place, character in enumerate(text):
        if _separates(character):
            separated = place
            continue
        if separated is not None and folded and folded[-1][0].isdigit() and character.isdigit():
            folded.append((" ", separated))
        separated = None
        plain = unicodedata.normalize("NFD", unicodedata.normalize("NFD", character).casefold())
        folded += [(letter, place) for letter in plain]
    return folded


def _separates(character: str) -> bool:
    return character.isspace() or character in _BETWEEN_WORDS or unicodedata.category(character) in ("Pd", "Cf")


def _is_boundary(text: str, place: int) -> bool:
    """Whether a word may begin or end at `place`."""
    if not 0 < place < len(text):
        return True
    if unicodedata.combining(text[place]):
        return False
    before = place - 1
    while before > 0 and unicodedata.combining(text[before]):
        before -= 1
    last, after = text[before], text[place]
    if last.isdigit() or after.isdigit():
        return not (last.isdigit() and after.isdigit())
    return not (last.isalpha() and after.isalpha()) or (last.islower() and after.isupper())


def _without_overlaps(places: Iterable[tuple[int, int]]) -> Iterable[tuple[int, int]]:
    """Join places that overlap, in the order of the text."""
    joined: list[tuple[int, int]] = []
    for first, last in sorted(places):
        if joined and first < joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], last))
        else:
            joined.append((first, last))
    return joined
