"""A gallery that is kept: the people who agreed to be recognised, their walks, and a log of what was done."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple, Protocol, TypeAlias, TypeVar, runtime_checkable

from app.body.view import seen_from
from app.errors import GalleryError
from app.gallery.distances import Metric
from app.progress import Progress
from app.stages import GaitModel
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


Store = TypeVar("Store", bound="GalleryStore")


@runtime_checkable
class GalleryStore(Protocol):
    """Where a gallery is kept. It is a context manager, and several threads may share it.

    Every write is one transaction: all of it or nothing, and durable when the call returns. Every method raises
    `GalleryError` for a name or walk that does not exist (the message gives the most similar name) and for a store that
    cannot be used. `path` is the file, and what belongs to the gallery as a whole, such as scores learnt from it, lies
    beside it. `path` is None for a gallery without a file: one in memory, which ends with the run, or one on a server.

    `app.gallery.service.GalleryService` adds the consequences that enrolling and forgetting have outside the store.
    """

    path: Path | None

    def __enter__(self: Store) -> Store: ...

    def __exit__(self, *_: object) -> None: ...

    def close(self) -> None:
        """Close the store; it cannot be used afterwards."""

    def size(self) -> int:
        """Return how much the gallery takes on the disk (or in memory), in bytes."""
        ...

    def people(self) -> list[Person]:
        """Return everybody, in the order of their names."""
        ...

    def person(self, name: str) -> Person:
        """Return the person of that name."""
        ...

    def former_names(self, name: str) -> list[str]:
        """Return what a person was called before, and whoever was merged into them."""
        ...

    def owner(self, walk_id: int) -> Person:
        """Return the person whose walk this is."""
        ...

    def walks(self, name: str | None = None) -> list[EnrolledWalk]:
        """Return the walks of one person, or of everybody, in the order in which they were added."""
        ...

    def walk(self, walk_id: int) -> NewWalk:
        """Return one walk with all that is stored of it."""
        ...

    def walks_of(self, person_ids: Iterable[int], model_id: str) -> list[EnrolledWalk]:
        """Return the walks of these people that a model embedded, in the order in which they were added."""
        ...

    def newest_walks(self, model_id: str, most: int, sources: Iterable[str] | None = None) -> list[EnrolledWalk]:
        """Return the `most` walks that a model embedded last, in the order in which they were added.

        With `sources`, only walks of these are returned.
        """
        ...

    def names_of(self, person_ids: Iterable[int]) -> dict[int, str]:
        """Return the names of these people by their ids, without those who are gone."""
        ...

    def most_walks(self, count: int) -> list[int]:
        """Return how many walks the `count` people with the most walks have, the most first."""
        ...

    def people_with(self, model_id: str) -> int:
        """Return how many people have walks that a model embedded."""
        ...

    def embeddings(self, walk_ids: Sequence[int]) -> list[Embedding]:
        """Return the embeddings of these walks, in this order, exactly as they were enrolled."""
        ...

    def enrol(self, name: str, walks: Sequence[NewWalk], *, consent: str, retain_days: int | None = None) -> Person:
        """Add walks to a person, who is made where there is none of that name.

        Args:
            name: the name of the person.
            walks: at least one.
            consent: what the person agreed to, and how. It replaces what an earlier enrolment said.
            retain_days: days from now after which `expire` forgets the person; None: no limit, or the earlier one
                stays.

        Raises:
            GalleryError: there is no walk or no consent, the name or the number of days cannot be used, or the
                embeddings have another shape than those that the gallery has of this model.
        """
        ...

    def enrol_stranger(self, walks: Sequence[NewWalk], *, retain_days: int) -> Person:
        """Add somebody whose name nobody knows; they are called by a number that was never given before."""
        ...

    def keep(self, name: str, walks: Sequence[NewWalk], *, retain_days: int) -> None:
        """Note that a stranger was seen again: add walks, if there are any, and count the days from now on."""

    def add_former_names(self, name: str, former: Iterable[str]) -> None:
        """Note what a person was called before, e.g. as a stranger, so that `forget` finds these names too."""

    def redact(self, names: Iterable[str]) -> None:
        """Write ``(forgotten)`` for names in the log and in all texts, as `forget` does."""

    def rename(self, name: str, new: str) -> None:
        """Give a person another name, which must be free."""

    def set_consent(self, name: str, consent: str, expires: datetime | None) -> None:
        """Note what a person agrees to from now on, and until when they are kept; None for no limit.

        Raises:
            GalleryError: the note is empty, or the time is over or further away than anybody is kept.
        """

    def merge(self, name: str, into: str) -> Merge:
        """Give all walks of `name` to `into`, as both are the same person; the earlier of their expiries holds."""
        ...

    def undo_merge(self, merge: Merge) -> None:
        """Make two people of one again. Walks that came to them or went since stay as they are.

        Raises:
            GalleryError: the person who was kept is gone, or somebody else has the name now.
        """

    def move_walk(self, walk_id: int, name: str) -> None:
        """Give a walk to `name`, because it is theirs."""

    def set_measures(self, walk_id: int, measures: Sequence[Measure]) -> None:
        """Note what was measured of a walk; what was noted before goes."""

    def deny(self, walk: NewWalk, name: str) -> int:
        """Remember that a walk, which need not be in the gallery, is not a person's; return the number of the denial.

        Of the walk, the embedding, the source and the track are kept until the denial is taken back, the person is
        forgotten, or a person or walk is forgotten whose recording it is.
        """
        ...

    def allow(self, denial_id: int) -> None:
        """Take a denial back."""

    def denials(self, name: str) -> list[Denial]:
        """Return the denials about a person, in the order in which they were added."""
        ...

    def denied(self, walks: Sequence[Embedding]) -> list[dict[str, int]]:
        """Return for each walk whose it is not: the names of these people, each with the number of the denial.

        A denial is about one recording, however often it is analysed (`app.gallery.distances.is_same_recording`).
        """
        ...

    def forget(self, name: str) -> int:
        """Remove a person and all that is derived from them: embeddings, silhouettes, thumbnails, the name in the log.

        When the call returns, no byte of it is left in the store's files.

        Returns:
            How many walks were removed.
        """
        ...

    def forget_walk(self, walk_id: int) -> None:
        """Remove one walk, as `forget` does."""

    def expire(self, now: datetime | None = None) -> list[str]:
        """Forget everybody whose time is over, and return their names."""
        ...

    def silhouettes(self, walk_id: int) -> GaitSequence | None:
        """Return the silhouettes of a walk, exactly as they were enrolled; None if they were not stored."""
        ...

    def thumbnail(self, name: str) -> bytes | None:
        """Return the newest picture of a person, a JPEG; None if there is none."""
        ...

    def pictured(self) -> set[int]:
        """Return the ids of everybody of whom there is a picture."""
        ...

    def re_embed(self, model: GaitModel, progress: Progress | None = None) -> tuple[int, list[int]]:
        """Embed with `model` the walks that another model embedded, from their silhouettes.

        Walks are saved in between: if it is stopped, call it again.

        Returns:
            How many walks were embedded, and the ids of those that stay as they are because their silhouettes, or the
            keypoints that the model needs, are missing.
        """
        ...

    def search(self, queries: Sequence[Embedding], k: int, metric: Metric = "euclidean") -> list[list[Neighbour]]:
        """Return the `k` nearest walks of each query, the nearest first; fewer where there are fewer.

        Only walks of the queries' model are compared. Distances are exact. In a gallery of fewer than
        `app.gallery.codes.LARGE` walks the nearest are exactly these; in a larger one the search may rarely miss one.

        Raises:
            GalleryError: there are walks, but none of that model.
            IncompatibleEmbeddingsError: the queries come from several models, or have another shape than the walks.
        """
        ...

    def model_ids(self) -> dict[str, int]:
        """Return how many walks there are of each model."""
        ...

    def index_place(self) -> str | None:
        """Return the address of the Milvus that has the index of candidates; None: walks are searched in memory."""
        ...

    def place_index(self, address: str | None, *, lost: bool = False) -> None:
        """Keep the index of candidates of this gallery, once it is large, in the Milvus at `address` from now on.

        The former index is removed, and the new one is filled as far as the gallery is large.

        Args:
            address: ``http://host:19530``, or the path of a file for milvus-lite; None: without Milvus.
            lost: whether the Milvus of the former index is gone for good, so that nothing is removed there.

        Raises:
            GalleryError: Milvus cannot be used, the former one cannot be reached, or `address` is a file and the
                gallery is not.
            MissingExtraError: pymilvus is not installed.
        """

    def record(self, event: str, **details: JSON) -> None:
        """Add an entry to the audit log. Enrolments, corrections and deletions add their own."""

    def log(self, limit: int | None = 100, events: Sequence[str] = ()) -> list[Event]:
        """Return the newest entries of the audit log, the newest first.

        Args:
            limit: at most how many; None: all.
            events: only entries about these; empty: all.
        """
        ...

    def first_use(self) -> datetime | None:
        """Return the time of the first entry of the log, which tells galleries apart; None for an unused one."""
        ...

    def records(self, name: str | None = None) -> Iterator[Record]:
        """Yield one person, or everybody, with all that is stored of them, as of one moment."""
        ...

    def restore(self, records: Iterable[Record], *, merge: bool = False) -> tuple[int, int]:
        """Add people from another gallery with their consents and times, all or none.

        Args:
            records: what `records` of that gallery yields. People and walks get new ids.
            merge: whether people whose names exist here already are the same people: then their new walks and denials
                are added, but no denial of a walk that they have here, and the earlier expiry holds. Otherwise such a
                name is an error.

        Returns:
            How many people were added or got walks, and how many walks were added.
        """
        ...


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
