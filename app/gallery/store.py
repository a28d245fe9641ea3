"""A gallery that remembers: the people who agreed to be known, their walks, and what was done with them."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Protocol, TypeAlias, TypeVar, runtime_checkable

from app.errors import GalleryError
from app.gallery.distances import Metric
from app.progress import Progress
from app.stages import GaitModel
from app.types import Embedding, GaitSequence

JSON: TypeAlias = "str | int | float | bool | Sequence[JSON] | Mapping[str, JSON] | None"
LONGEST_NAME = 100
"""Characters of a person's name."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody in the gallery.

    `name` is unique, whatever its case; `consent` says what they agreed to, and how; `enrolled` and `expires` (None:
    kept until forgotten) are in UTC; `walks` counts their walks.
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

    `model_id` embedded it; `source` is the video's name; `track_id` its track there; `view` is free text, "" where it
    is unknown; `frames` and `seconds` say how much was seen; `added` is in UTC.
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


@dataclass(frozen=True, slots=True, eq=False)
class NewWalk:
    """A walk to be enrolled. `silhouettes` and `thumbnail` (a JPEG) are stored only when they are given.

    `added` is None for now; an imported walk brings its own time.
    """

    embedding: Embedding
    source: str
    track_id: int | None = None
    view: str = ""
    seconds: float = 0.0
    silhouettes: GaitSequence | None = None
    thumbnail: bytes | None = None
    added: datetime | None = None


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A gallery walk near a probe walk, and how far it is (`app.gallery.distances`)."""

    walk_id: int
    person_id: int
    distance: float


@dataclass(frozen=True, slots=True)
class Event:
    """A line of the audit log: what happened, when (UTC), and its details."""

    event_id: int
    time: datetime
    event: str
    details: Mapping[str, JSON]


Store = TypeVar("Store", bound="GalleryStore")


@runtime_checkable
class GalleryStore(Protocol):
    """Where a gallery is kept. A context manager; several threads may share one.

    Every write is one transaction, all or nothing, and durable when the call returns. Every method raises
    `GalleryError` for a name or walk that is not there (it says the nearest name) and for a store that cannot be used.
    `path` is its file; what belongs to the gallery as a whole, such as scores learnt from it, lies beside that. It is
    None for a gallery in memory, which ends with the run.
    """

    path: Path | None

    def __enter__(self: Store) -> Store: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def close(self) -> None:
        """Let go of the store; it cannot be used afterwards."""

    def people(self) -> list[Person]:
        """Everybody, by name."""
        ...

    def person(self, name: str) -> Person:
        """The person of that name."""
        ...

    def owner(self, walk_id: int) -> Person:
        """The person whose walk this is."""
        ...

    def walks(self, name: str | None = None) -> list[EnrolledWalk]:
        """The walks of one person, or all, in the order in which they came."""
        ...

    def embeddings(self, walk_ids: Sequence[int]) -> list[Embedding]:
        """The embeddings of these walks, in this order, exactly as they were enrolled."""
        ...

    def enrol(self, name: str, walks: Sequence[NewWalk], *, consent: str, retain_days: int | None = None) -> Person:
        """Add walks to a person, who is made where there is none of that name.

        Args:
            name: what the person shall be called.
            walks: at least one.
            consent: what the person agreed to, and how. It replaces what an earlier enrolment said.
            retain_days: days from now after which `expire` forgets the person; None for no limit, or the earlier one.

        Raises:
            GalleryError: no walk, no consent, a name or a number of days that cannot be used, or embeddings of another
                shape than the gallery has of this model.
        """
        ...

    def rename(self, name: str, new: str) -> None:
        """Give a person another name, which must be free."""

    def merge(self, name: str, into: str) -> None:
        """Two names were one person: all walks go to `into`, who keeps the earlier of the two expiries."""

    def move_walk(self, walk_id: int, name: str) -> None:
        """A walk was somebody else's: it goes to `name`."""

    def forget(self, name: str) -> int:
        """Remove a person and everything derived from them: embeddings, silhouettes, thumbnails, their name in the log.

        No byte of it is left in the store's files when the call returns.

        Returns:
            How many walks were removed.
        """
        ...

    def forget_walk(self, walk_id: int) -> None:
        """Remove one walk as `forget` does."""

    def expire(self, now: datetime | None = None) -> list[str]:
        """Forget everybody whose time is over, and return their names."""
        ...

    def silhouettes(self, walk_id: int) -> GaitSequence | None:
        """The silhouettes of a walk, exactly as they were enrolled; None where they were not."""
        ...

    def thumbnail(self, name: str) -> bytes | None:
        """The newest picture of a person, a JPEG; None where there is none."""
        ...

    def re_embed(self, model: GaitModel, progress: Progress | None = None) -> tuple[int, list[int]]:
        """Embed with `model` the walks that another model embedded, from their silhouettes.

        It saves as it goes on: when stopped, call it again.

        Returns:
            How many walks were embedded, and the ids of those that lack silhouettes (or the keypoints that the model
            needs) and stay as they are.
        """
        ...

    def search(self, queries: Sequence[Embedding], k: int, metric: Metric = "euclidean") -> list[list[Neighbour]]:
        """The `k` nearest walks of each query by rising distance, fewer where there are fewer; exact.

        Only walks of the queries' model are compared.

        Raises:
            GalleryError: there are walks, but none of that model.
            IncompatibleEmbeddingsError: the queries are of several models, or of another shape than the walks.
        """
        ...

    def model_ids(self) -> dict[str, int]:
        """How many walks there are of each model."""
        ...

    def record(self, event: str, **details: JSON) -> None:
        """Write a line into the audit log. Enrolments, renames, merges and deletions write their own."""

    def log(self, limit: int = 100) -> list[Event]:
        """The newest lines of the audit log, the newest first."""
        ...

    def records(self) -> Iterator[tuple[Person, list[NewWalk]]]:
        """Everybody with their walks and all that is stored of them, as the gallery is at one moment."""
        ...

    def restore(self, records: Iterable[tuple[Person, Sequence[NewWalk]]], *, merge: bool = False) -> tuple[int, int]:
        """Add people from another gallery (`records`) with their consents and times, all or none.

        Args:
            records: their ids are made anew.
            merge: whether people whose names are here already are taken for the same: their new walks are added and
                the earlier expiry counts. Otherwise such a name is an error.

        Returns:
            How many people came in or got walks, and how many walks were added.
        """
        ...


def clean_name(name: str) -> str:
    """The name without needless blanks, in Unicode's composed form.

    Raises:
        GalleryError: it is empty, too long, holds characters that cannot be printed, or stands for nobody.
    """
    cleaned = composed(name)
    if cleaned.casefold() == "unknown":
        raise GalleryError(
            f"Nobody can be called '{cleaned}': so results call whom the gallery lacks. Give another name."
        )
    if not cleaned or len(cleaned) > LONGEST_NAME or not cleaned.isprintable():
        raise GalleryError(f"{name[:LONGEST_NAME]!r} cannot be a name: give 1 to {LONGEST_NAME} printable characters.")
    return cleaned


def name_key(name: str) -> str:
    """What is the same of two names that differ only in case, blanks, or Unicode's form."""
    return unicodedata.normalize("NFC", composed(name).casefold())


def composed(name: str) -> str:
    """Return the name with single blanks, in Unicode's composed form."""
    return unicodedata.normalize("NFC", " ".join(name.split()))
