"""What can be taken back for a while: walks that were deleted, and merges of two people.

It is kept in memory alone. So the gallery's files hold nothing of a deleted walk, and a restart empties the bin.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Set
from dataclasses import dataclass

from app.gallery.store import Merge, NewWalk, Person
from app.web.options import NotThereError

KEPT = 600.0
"""Seconds that something stays in the bin."""


@dataclass(frozen=True)
class DeletedWalk:
    """A walk that was deleted, its owner, and the number that it had in the gallery."""

    owner: Person
    walk_id: int
    walk: NewWalk


@dataclass(frozen=True)
class Binned:
    """An entry of the bin: `left` is how many seconds it stays."""

    key: str
    left: float
    content: DeletedWalk | Merge


class Bin:
    """The bin. Its caller sees to it that only one thread at a time uses it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._entries: dict[str, tuple[float, DeletedWalk | Merge]] = {}

    def put(self, content: DeletedWalk | Merge) -> str:
        """Put something into the bin, and return the key of the entry."""
        key = secrets.token_hex(16)
        self._entries[key] = self._clock() + KEPT, content
        return key

    def get(self, key: str) -> DeletedWalk | Merge:
        """Return what an entry holds; `NotThereError` where there is no such entry, or no longer."""
        self._tidy()
        if key not in self._entries:
            raise NotThereError("This cannot be undone any more.")
        return self._entries[key][1]

    def remove(self, key: str) -> None:
        """Remove an entry for good."""
        self._entries.pop(key, None)

    def all(self) -> list[Binned]:
        """Return all entries, the newest first."""
        self._tidy()
        now = self._clock()
        return [Binned(key, end - now, content) for key, (end, content) in reversed(self._entries.items())]

    def keep_only(self, people: Set[int]) -> None:
        """Remove what is about people who are gone from the gallery, which has `people` now, by their ids.

        Who was merged into somebody is gone with that person.
        """
        self._tidy()
        merges = [content for _, content in self._entries.values() if isinstance(content, Merge)]
        into = {merge.merged.person_id: merge.kept.person_id for merge in merges}

        def is_there(person_id: int, seen: frozenset[int] = frozenset()) -> bool:
            if person_id in people:
                return True
            return person_id in into.keys() - seen and is_there(into[person_id], seen | {person_id})

        for key, (_, content) in list(self._entries.items()):
            owner = content.kept if isinstance(content, Merge) else content.owner
            if not is_there(owner.person_id):
                del self._entries[key]

    def _tidy(self) -> None:
        now = self._clock()
        self._entries = {key: entry for key, entry in self._entries.items() if entry[0] > now}
