"""A gallery that is kept: the people who agreed to be recognised, their walks, and a log of what was done."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple, TypeAlias

from app.body.view import seen_from
from app.errors import GalleryError
from app.types import Embedding, GaitSequence, Measure

JSON: TypeAlias = "str | int | float | bool | Sequence[JSON] | Mapping[str, JSON] | None"
STRANGER = "stranger-{:04d}"
"""What a stranger is called who has a number."""
LONGEST_RETENTION = 36525
"""The most days that somebody can be kept: a century."""
LONGEST_NAME = 100
"""Characters of a person's name."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody in the gallery.

    `name` is unique, whatever its case. `consent` says what they agreed to, and how. `enrolled` and `expires` are in
    UTC; `expires` is None for somebody who is kept until forgotten. `walks` is how many walks they have.
    """

    person_id: int
    name: str
    consent: str
    enrolled: datetime
    expires: datetime | None
    walks: int


@dataclass(frozen=True, slots=True)
class EnrolledWalk:
    """A walk in the gallery, without its embedding.

    `model_id` is the model that embedded it, `source` the name of the video, and `track_id` its track there. `view` is
    free text about the camera, "" where it is unknown. `frames` and `seconds` are the length of the walk. `added` is in
    UTC. `measures` are what was measured of the walk when it was enrolled, or later: its height in the picture, and
    where a body was fitted to it, how the person walks and from where the camera saw it
    (`app.body.measures.measures_of`).
    """

    walk_id: int
    person_id: int
    model_id: str
    source: str
    track_id: int | None
    view: str
    frames: int
    seconds: float
    added: datetime
    has_silhouettes: bool
    measures: tuple[Measure, ...] = ()

    @property
    def seen_from(self) -> str | None:
        """From where the camera saw the person, in a word; None where it was not measured."""
        return seen_from(self.measures)


@dataclass(frozen=True, slots=True, eq=False)
class NewWalk:
    """A walk to be enrolled. `silhouettes` and `thumbnail` (a JPEG) are stored only if they are given.

    `added` is None for the present time; an imported walk has its own.
    """

    embedding: Embedding
    source: str
    track_id: int | None = None
    view: str = ""
    seconds: float = 0.0
    silhouettes: GaitSequence | None = None
    thumbnail: bytes | None = None
    added: datetime | None = None
    measures: tuple[Measure, ...] = ()


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A walk of the gallery near a probe walk, and its distance (`app.gallery.distances`)."""

    walk_id: int
    person_id: int
    distance: float


@dataclass(frozen=True, slots=True)
class Denial:
    """That a walk is not a person's, as somebody said. `source`, `track_id` and `model_id` are those of the walk."""

    denial_id: int
    person_id: int
    model_id: str
    source: str
    track_id: int | None
    added: datetime


class Record(NamedTuple):
    """All that is stored of one person, on the way to another gallery.

    `denials` are walks of which somebody said that they are not this person's. Of these, only the embedding, the
    source, the track and the time are known.
    """

    person: Person
    walks: Sequence[NewWalk]
    denials: Sequence[NewWalk] = ()


@dataclass(frozen=True, slots=True)
class Merge:
    """What a merge changed, by which it can be undone.

    `merged` and `kept` are the two people before it, with their former names. `walk_ids` and `denial_ids` are what
    `merged` gave away.
    """

    merged: Person
    kept: Person
    merged_names: tuple[str, ...]
    kept_names: tuple[str, ...]
    walk_ids: tuple[int, ...]
    denial_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Event:
    """An entry of the audit log: what happened, when (UTC), and its details."""

    event_id: int
    time: datetime
    event: str
    details: Mapping[str, JSON]


def kept_until(days: int | None, now: datetime) -> datetime | None:
    """Return when somebody is forgotten who is kept for so many days from `now` on; None for no limit.

    Raises:
        GalleryError: nobody can be kept for so many days.
    """
    if days is None:
        return None
    if not 1 <= days <= LONGEST_RETENTION:
        raise GalleryError(f"Nobody can be kept for {days} days: give 1 to {LONGEST_RETENTION} days.")
    return now + timedelta(days=days)


def clean_name(name: str) -> str:
    """Return the name without needless blanks, in Unicode's composed form.

    Raises:
        GalleryError: it is empty, too long, has characters that cannot be printed, or is what strangers are called.
    """
    cleaned = composed(name)
    if re.fullmatch(r"unknown|stranger-\d+", cleaned.casefold()):
        raise GalleryError(f"Nobody can be called '{cleaned}', because strangers are called that. Give another name.")
    if not cleaned or len(cleaned) > LONGEST_NAME or not cleaned.isprintable():
        raise GalleryError(f"{name[:LONGEST_NAME]!r} cannot be a name: give 1 to {LONGEST_NAME} printable characters.")
    return cleaned


def name_key(name: str) -> str:
    """Return what is the same for two names that differ only in case, blanks, or Unicode's form."""
    return unicodedata.normalize("NFC", composed(name).casefold())


def composed(name: str) -> str:
    """Return the name with single blanks, in Unicode's composed form."""
    return unicodedata.normalize("NFC", " ".join(name.split()))
