"""A gallery in an SQL database, whichever it is: the statements are the same for SQLite and PostgreSQL.

What differs between the two stands behind `Database` and `Connection`: `app.gallery.sqlite` and `app.gallery.postgres`.
"""

from __future__ import annotations

import json
import logging
import math
import reprlib
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta, timezone
from functools import partial, wraps
from itertools import islice, product, repeat
from pathlib import Path
from threading import Lock
from typing import Any, Protocol, TypeVar
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from app.errors import GaitprintError, GalleryError, IncompatibleEmbeddingsError, nearest
from app.files import as_text
from app.gait.embeddings import embed
from app.gallery.codes import AXES, KEPT, LARGE, Axes, CodeIndex
from app.gallery.distances import Distances, Metric, is_same_recording, part_distances
from app.gallery.milvus import Followed, Milvus, MilvusIndex, checked
from app.gallery.redaction import Redaction
from app.gallery.search import ROWS, WalkIndex
from app.gallery.store import (
    JSON,
    STRANGER,
    Denial,
    EnrolledWalk,
    Event,
    Merge,
    Neighbour,
    NewWalk,
    Person,
    Record,
    clean_name,
    composed,
    name_key,
)
from app.progress import Progress, Silent
from app.stages import GaitModel
from app.types import LARGEST, Embedding, Floats, GaitSequence, Ints, Measure

LONGEST_RETENTION = 36525
"""The most days that somebody can be kept: a century."""

T = TypeVar("T")
Self = TypeVar("Self", bound="SqlGallery")

_LARGEST_ID = 63  # bits; SQLite has no larger numbers
_MOST_FRAMES = 250_000
"""More than any walk has: two hours. Its silhouettes would take a gigabyte."""
_BATCH = 16  # walks that `re_embed` embeds in one transaction
_CODES = 1 << 16  # codes that are read at once
_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Searched:
    """The walks of one model in memory: those up to the embedding id `newest`, without those removed by `removals`.

    Many walks are kept as codes along the axes `axes_id`, few as they are.
    """

    index: WalkIndex | CodeIndex
    axes_id: int | None = None
    newest: int = 0
    removals: int = 0


@dataclass(frozen=True, slots=True)
class _StoredAxes:
    """Axes of the database; walks up to the embedding id `newest` have codes along them."""

    axes_id: int
    newest: int
    axes: Axes


class MalformedError(Exception):
    """A row of the database holds what no gallery writes."""


class Cursor(Protocol):
    """What a statement answers, as DB-API 2.0 (PEP 249) defines it."""

    @property
    def rowcount(self) -> int: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...
    def __iter__(self) -> Iterator[Any]: ...


class Connection(Protocol):
    """A connection inside a transaction. Values take the places of question marks."""

    def execute(self, statement: str, values: Sequence[Any] = (), /) -> Cursor: ...

    def executemany(self, statement: str, rows: Iterable[Sequence[Any]], /) -> object: ...

    def insert(self, table: str, **values: Any) -> int:
        """Add a row to a table whose first column numbers its rows, and return the number."""
        ...


class Database(Protocol):
    """A database with the tables of `app.gallery.schema`, which several threads and programs may use.

    `path` is its file, None where it has none. `name` is what messages call it. `lasting` is whether it is still there
    when it was closed. Every method raises `GalleryError` where the database cannot be used, also for a
    `MalformedError` in a transaction.
    """

    path: Path | None
    name: str
    lasting: bool

    def close(self) -> None: ...

    def reading(self) -> AbstractContextManager[Connection]:
        """Read the database as it is at one moment."""
        ...

    def writing(self) -> AbstractContextManager[Connection]:
        """Change the database: all of the block is kept when it ends, and nothing of it if it raises.

        Only one program writes at a time. So numbers of rows rise in the order in which others see the rows.
        """
        ...

    def snapshot(self) -> AbstractContextManager[Connection]:
        """Read the database as it is at one moment, for longer: others may write meanwhile."""
        ...

    def purge(self) -> None:
        """Leave nothing of what was removed, after a transaction that put a row into the table ``purge``.

        Raises:
            GalleryError: another program uses the database; it is done when the gallery is next opened.
        """

    def size(self) -> int:
        """Return how much the database takes on the disk, in bytes."""
        ...


class SqlGallery:
    """A `GalleryStore` in an SQL database.

    Walks that are searched are also kept in memory: few of them with 2 bytes for each number, many (`LARGE`) as codes,
    which the database keeps too. This copy follows what this and other programs write to the database.
    """

    def __init__(self, database: Database) -> None:
        self.path = database.path
        self._file = database
        self._name = database.path.name if database.path is not None else "the gallery"
        self._searched: dict[tuple[str, Metric], _Searched] = {}
        self._known_axes: dict[int, Axes] = {}
        self._without_codes: set[tuple[str, Metric]] = set()
        self._search_lock = Lock()
        self._warned: set[str] = set()
        self._milvus: Milvus | None = None
        try:
            self._remove_from_index()
        except GaitprintError as error:  # e.g. no right to write; the next program tries again
            _logger.warning("%s", error)

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._milvus is not None:
            self._milvus.close()
        self._file.close()

    def take_over(self, other: SqlGallery) -> None:
        """Go on with what `other` has in memory for searching, which may be closed: it was of this very gallery."""
        self._searched, self._search_lock = other._searched, other._search_lock
        self._known_axes, self._without_codes = other._known_axes, other._without_codes

    def size(self) -> int:
        return self._file.size()

    # People and walks

    def people(self) -> list[Person]:
        with self._file.reading() as db:
            return [_person(row) for row in db.execute(f"{_PEOPLE} ORDER BY {_BY_NAME}")]

    def person(self, name: str) -> Person:
        with self._file.reading() as db:
            return self._person(db, name)

    def former_names(self, name: str) -> list[str]:
        with self._file.reading() as db:
            return self._former_names(db, self._person(db, name).person_id)

    def owner(self, walk_id: int) -> Person:
        with self._file.reading() as db:
            return self._person(db, self._owner(db, walk_id))

    def walks(self, name: str | None = None) -> list[EnrolledWalk]:
        with self._file.reading() as db:
            if name is None:
                rows = db.execute(f"{_WALKS} ORDER BY walk_id")
            else:
                person = self._person(db, name)
                rows = db.execute(f"{_WALKS} WHERE person_id = ? ORDER BY walk_id", (person.person_id,))
            return [_walk(row) for row in rows]

    def walk(self, walk_id: int) -> NewWalk:
        with self._file.reading() as db:
            self._owner(db, walk_id)
            return self._new_walk(db, _walk(db.execute(f"{_WALKS} WHERE walk_id = ?", (walk_id,)).fetchone()))

    def walks_of(self, person_ids: Iterable[int], model_id: str) -> list[EnrolledWalk]:
        with self._file.reading() as db:
            found = [_walk(row) for row in _rows_of(db, f"{_WALKS} WHERE person_id IN", list(person_ids))]
        return sorted((walk for walk in found if walk.model_id == model_id), key=lambda walk: walk.walk_id)

    def newest_walks(self, model_id: str, most: int, sources: Iterable[str] | None = None) -> list[EnrolledWalk]:
        only = list(sources) if sources is not None else None
        if only == []:
            return []
        chosen = f"AND source IN ({', '.join('?' * len(only))})" if only is not None else ""
        query = f"{_WALKS} WHERE model_id = ? {chosen} ORDER BY embedding_id DESC LIMIT {int(most)}"
        with self._file.reading() as db:
            found = [_walk(row) for row in db.execute(query, (model_id, *(only or ())))]
        return sorted(found, key=lambda walk: walk.walk_id)

    def names_of(self, person_ids: Iterable[int]) -> dict[int, str]:
        with self._file.reading() as db:
            rows = _rows_of(db, "SELECT person_id, name FROM person WHERE person_id IN", list(person_ids))
            return dict(map(_named, rows))

    def most_walks(self, count: int) -> list[int]:
        query = f"SELECT count(*) FROM walk GROUP BY person_id ORDER BY count(*) DESC LIMIT {int(count)}"
        with self._file.reading() as db:
            return [int(row[0]) for row in db.execute(query)]

    def people_with(self, model_id: str) -> int:
        query = "SELECT count(DISTINCT person_id) FROM walk JOIN embedding USING (walk_id) WHERE model_id = ?"
        with self._file.reading() as db:
            return int(db.execute(query, (model_id,)).fetchone()[0])

    def embeddings(self, walk_ids: Sequence[int]) -> list[Embedding]:
        query = "SELECT walk_id, model_id, frames, parts, channels, vector FROM embedding WHERE walk_id IN"
        possible = [walk_id for walk_id in walk_ids if walk_id.bit_length() <= _LARGEST_ID]
        with self._file.reading() as db:
            stored = {row[0]: _embedding(row[1:]) for row in _rows_of(db, query, possible)}
        missing = [walk_id for walk_id in walk_ids if walk_id not in stored]
        if missing:
            raise _no_walk(missing[0])
        return [stored[walk_id] for walk_id in walk_ids]

    def enrol(self, name: str, walks: Sequence[NewWalk], *, consent: str, retain_days: int | None = None) -> Person:
        name, now = clean_name(name), _now()
        if not walks:
            raise GalleryError(f"There is no walk to enrol {name} with.")
        consent = as_text(consent.strip())
        if not consent:
            raise GalleryError(f"What has {name} agreed to? Give a note on their consent.")
        if retain_days is not None and not 1 <= retain_days <= LONGEST_RETENTION:
            raise GalleryError(f"Nobody can be kept for {retain_days} days: give 1 to {LONGEST_RETENTION} days.")
        expires = _text(now + timedelta(days=retain_days)) if retain_days is not None else None
        with self._file.writing() as db:
            known = _find_person(db, name)
            if known is None:
                db.insert("person", name=name, consent=consent, enrolled=_text(now), expires=expires)
            else:
                db.execute(
                    "UPDATE person SET consent = ?, expires = coalesce(?, expires) WHERE person_id = ?",
                    (consent, expires, known.person_id),
                )
            person = self._person(db, name)
            ids = [self._insert_walk(db, person.person_id, walk, now) for walk in walks]
            self._log(db, "enrol", name=person.name, walks=len(ids), walk_ids=ids, expires=expires)
            return self._person(db, name)

    def enrol_stranger(self, walks: Sequence[NewWalk], *, retain_days: int) -> Person:
        now = _now()
        expires = _text(now + timedelta(days=retain_days))
        with self._file.writing() as db:
            made_up = uuid4().hex  # the number is known only when there is a row
            consent = "none: a stranger, whom a camera has seen"
            person_id = db.insert("person", name=made_up, consent=consent, enrolled=_text(now), expires=expires)
            name = STRANGER.format(person_id)
            db.execute("UPDATE person SET name = ? WHERE person_id = ?", (name, person_id))
            ids = [self._insert_walk(db, person_id, walk, now) for walk in walks]
            self._log(db, "enrol", name=name, walks=len(ids), walk_ids=ids, expires=expires)
            return self._person(db, name)

    def keep(self, name: str, walks: Sequence[NewWalk], *, retain_days: int) -> None:
        now = _now()
        with self._file.writing() as db:
            person = self._person(db, name)
            expires = _text(now + timedelta(days=retain_days))
            db.execute("UPDATE person SET expires = ? WHERE person_id = ?", (expires, person.person_id))
            for walk in walks:
                self._insert_walk(db, person.person_id, walk, now)

    def add_former_names(self, name: str, former: Iterable[str]) -> None:
        with self._file.writing() as db:
            person = self._person(db, name)
            for other in former:
                db.execute("INSERT INTO former_name VALUES (?, ?) ON CONFLICT DO NOTHING", (person.person_id, other))

    def redact(self, names: Iterable[str]) -> None:
        with self._file.writing() as db:
            self._redact(db, Redaction(names))
        self._leave_nothing()

    def rename(self, name: str, new: str) -> None:
        new = clean_name(new)
        with self._file.writing() as db:
            person = self._person(db, name)
            if person.name == new:
                return
            other = _find_person(db, new)
            if other is not None and other.person_id != person.person_id:
                raise GalleryError(f"There is a '{other.name}' already. If they are one person, merge them.")
            db.execute("UPDATE person SET name = ? WHERE person_id = ?", (new, person.person_id))
            db.execute("INSERT INTO former_name VALUES (?, ?) ON CONFLICT DO NOTHING", (person.person_id, person.name))
            self._log(db, "rename", name=person.name, new=new)

    def set_consent(self, name: str, consent: str, expires: datetime | None) -> None:
        consent, now = as_text(consent.strip()), _now()
        with self._file.writing() as db:
            person = self._person(db, name)
            if not consent:
                raise GalleryError(f"What has {person.name} agreed to? Give a note on their consent.")
            if expires is not None and not now < expires <= now + timedelta(days=LONGEST_RETENTION):
                raise GalleryError(
                    f"{person.name} cannot be kept until {expires:%Y-%m-%d}: give a time from now on, and at most "
                    f"{LONGEST_RETENTION} days away."
                )
            until = _text(expires) if expires is not None else None
            db.execute(
                "UPDATE person SET consent = ?, expires = ? WHERE person_id = ?", (consent, until, person.person_id)
            )
            self._log(db, "consent", name=person.name, expires=until)

    def merge(self, name: str, into: str) -> Merge:
        with self._file.writing() as db:
            person, other = self._person(db, name), self._person(db, into)
            if person.person_id == other.person_id:
                raise GalleryError(f"'{other.name}' cannot be merged into '{other.name}'.")
            moved_id, kept_id = person.person_id, other.person_id
            walks = db.execute("SELECT walk_id FROM walk WHERE person_id = ? ORDER BY walk_id", (moved_id,)).fetchall()
            merge = Merge(
                person,
                other,
                tuple(self._former_names(db, moved_id)),
                tuple(self._former_names(db, kept_id)),
                tuple(row[0] for row in walks),
                tuple(denial.denial_id for denial in self._denials(db, moved_id)),
            )
            db.execute("UPDATE denial SET person_id = ? WHERE person_id = ?", (kept_id, moved_id))
            db.execute("UPDATE walk SET person_id = ? WHERE person_id = ?", (kept_id, moved_id))
            db.execute(
                "INSERT INTO former_name SELECT ?, name FROM former_name WHERE person_id = ? ON CONFLICT DO NOTHING",
                (kept_id, moved_id),
            )
            db.execute("INSERT INTO former_name VALUES (?, ?) ON CONFLICT DO NOTHING", (kept_id, person.name))
            self._unite(db, other, person)
            db.execute("DELETE FROM person WHERE person_id = ?", (moved_id,))
            self._log(db, "merge", name=person.name, into=other.name, walks=person.walks)
            return merge

    def undo_merge(self, merge: Merge) -> None:
        merged, kept_id = merge.merged, merge.kept.person_id
        with self._file.writing() as db:
            row = db.execute(f"{_PEOPLE} WHERE person_id = ?", (kept_id,)).fetchone()
            if row is None:
                raise GalleryError(f"{merge.kept.name} is not in {self._name} any more, so nobody can be taken apart.")
            kept, taken = _person(row), _find_person(db, merged.name)
            if taken is not None:
                raise GalleryError(f"There is a '{taken.name}' again. Rename that person first.")
            expires = _text(merged.expires) if merged.expires is not None else None
            db.insert(
                "person",
                person_id=merged.person_id,
                name=merged.name,
                consent=merged.consent,
                enrolled=_text(merged.enrolled),
                expires=expires,
            )
            for former in merge.merged_names:
                db.execute("INSERT INTO former_name VALUES (?, ?)", (merged.person_id, former))
            for former in {merged.name, *merge.merged_names} - set(merge.kept_names):
                db.execute("DELETE FROM former_name WHERE person_id = ? AND name = ?", (kept_id, former))
            for table, ids in (("walk", merge.walk_ids), ("denial", merge.denial_ids)):
                give = f"UPDATE {table} SET person_id = ? WHERE person_id = ? AND {table}_id = ?"
                db.executemany(give, [(merged.person_id, kept_id, number) for number in ids])
            ends = merge.kept.expires if kept.expires == _earlier(merge.kept.expires, merged.expires) else kept.expires
            db.execute(
                "UPDATE person SET enrolled = ?, expires = ? WHERE person_id = ?",
                (_text(merge.kept.enrolled), _text(ends) if ends is not None else None, kept_id),
            )
            self._log(db, "undo merge", name=merged.name, into=kept.name)

    def move_walk(self, walk_id: int, name: str) -> None:
        with self._file.writing() as db:
            person = self._person(db, name)
            owner = self._owner(db, walk_id)
            db.execute("UPDATE walk SET person_id = ? WHERE walk_id = ?", (person.person_id, walk_id))
            self._log(db, "move", walk_id=walk_id, name=owner, to=person.name)

    def set_measures(self, walk_id: int, measures: Sequence[Measure]) -> None:
        with self._file.writing() as db:
            owner = self._owner(db, walk_id)
            db.execute("UPDATE walk SET measures = ? WHERE walk_id = ?", (_measured(measures), walk_id))
            self._log(db, "measure", name=owner, walk_id=walk_id)

    def deny(self, walk: NewWalk, name: str) -> int:
        with self._file.writing() as db:
            person = self._person(db, name)
            for known, denial_id in self._denied(db, [walk.embedding])[0].items():
                if known == person.name:
                    return denial_id
            self._log(db, "deny", name=person.name, source=walk.source, track_id=walk.track_id)
            return self._insert_denial(db, person.person_id, replace(walk, added=None))

    def allow(self, denial_id: int) -> None:
        with self._file.writing() as db:
            query = "SELECT name, source, track_id FROM denial JOIN person USING (person_id) WHERE denial_id = ?"
            row = db.execute(query, (denial_id,)).fetchone() if denial_id.bit_length() <= _LARGEST_ID else None
            if row is None:
                raise GalleryError("Nobody has said this, or it was taken back already.")
            db.execute("DELETE FROM denial WHERE denial_id = ?", (denial_id,))
            self._log(db, "allow", name=row[0], source=row[1], track_id=row[2])

    def denials(self, name: str) -> list[Denial]:
        with self._file.reading() as db:
            return self._denials(db, self._person(db, name).person_id)

    def denied(self, walks: Sequence[Embedding]) -> list[dict[str, int]]:
        with self._file.reading() as db:
            return self._denied(db, walks)

    def forget(self, name: str) -> int:
        with self._file.writing() as db:
            walks = self._forget(db, self._person(db, name))
        self._leave_nothing()
        return walks

    def forget_walk(self, walk_id: int) -> None:
        with self._file.writing() as db:
            owner = self._owner(db, walk_id)
            self._forget_denials(db, [walk_id])
            self._note_removal(db, "walk_id = ?", walk_id)
            db.execute("DELETE FROM walk WHERE walk_id = ?", (walk_id,))
            db.execute("INSERT INTO purge VALUES (1) ON CONFLICT DO NOTHING")
            self._log(db, "forget walk", name=owner, walk_id=walk_id)
        self._leave_nothing()

    def expire(self, now: datetime | None = None) -> list[str]:
        moment = _text(now if now is not None else _now())
        with self._file.reading() as db:  # usually nobody's time is over; then no lock for writing is needed
            if not db.execute("SELECT 1 FROM person WHERE expires <= ?", (moment,)).fetchone():
                return []
        with self._file.writing() as db:
            rows = db.execute(f"{_PEOPLE} WHERE expires <= ? ORDER BY {_BY_NAME}", (moment,))
            expired = [_person(row) for row in rows]
            for person in expired:
                self._forget(db, person, "expire")
        self._leave_nothing()
        return [person.name for person in expired]

    def silhouettes(self, walk_id: int) -> GaitSequence | None:
        with self._file.reading() as db:
            self._owner(db, walk_id)
            return self._silhouettes(db, walk_id)

    def thumbnail(self, name: str) -> bytes | None:
        with self._file.reading() as db:
            row = db.execute(
                "SELECT jpeg FROM thumbnail JOIN walk USING (walk_id) WHERE person_id = ? "
                "ORDER BY added DESC, walk_id DESC LIMIT 1",
                (self._person(db, name).person_id,),
            ).fetchone()
            return _jpeg(row) if row else None

    def pictured(self) -> set[int]:
        with self._file.reading() as db:
            return {row[0] for row in db.execute("SELECT DISTINCT person_id FROM thumbnail JOIN walk USING (walk_id)")}

    # Embeddings

    def re_embed(self, model: GaitModel, progress: Progress | None = None) -> tuple[int, list[int]]:
        model_id = model.card.model_id
        with self._file.reading() as db:
            rows = db.execute(
                "SELECT walk_id, fps IS NOT NULL AND (keypoints IS NOT NULL OR NOT ?) FROM embedding "
                "LEFT JOIN silhouettes USING (walk_id) WHERE model_id <> ? ORDER BY walk_id",
                (model.card.keypoints, model_id),
            ).fetchall()
        todo, lacking = [row[0] for row in rows if row[1]], [row[0] for row in rows if not row[1]]
        done = 0
        try:
            with (progress or Silent()).stage("Embedding walks", len(todo)) as advance:
                for start in range(0, len(todo), _BATCH):
                    batch = todo[start : start + _BATCH]
                    done += self._re_embed(batch, model)
                    advance(len(batch))
        finally:
            if done:
                self.record("re-embed", model_id=model_id, walks=done)
        return done, lacking

    def search(self, queries: Sequence[Embedding], k: int, metric: Metric = "euclidean") -> list[list[Neighbour]]:
        if not queries:
            return []
        kinds = sorted({(query.model_id, query.parts.shape) for query in queries})
        model_id = queries[0].model_id
        if len(kinds) > 1:
            raise IncompatibleEmbeddingsError(f"Queries of several models cannot be searched together: {kinds}.")
        with self._search_lock:
            self._keep_codes(model_id, metric)
            self._follow_in_index(model_id, metric)
            with self._file.reading() as db:
                return self._found(db, queries, k, metric)

    def _found(self, db: Connection, queries: Sequence[Embedding], k: int, metric: Metric) -> list[list[Neighbour]]:
        model_id, shape = queries[0].model_id, queries[0].parts.shape
        index = self._synchronised(db, model_id, metric)
        others: dict[str, int] = {}
        if model_id not in self._warned and self._several_models(db, model_id):
            others = {name: walks for name, walks in self._model_ids(db).items() if name != model_id}
        if index is None:
            if others:
                raise GalleryError(
                    f"The walks in {self._name} were embedded with {', '.join(others)}, not with {model_id}, and "
                    "walks of different models cannot be compared. Use that model, or embed the walks again: "
                    "python -m app gallery re-embed."
                )
            return [[] for _ in queries]
        if index.shape != shape:
            raise IncompatibleEmbeddingsError(
                f"'{model_id}' gives embeddings of shape {shape}, but those in {self._name} have {index.shape}."
            )
        if others:
            self._warned.add(model_id)
            _logger.warning(
                "%d walk(s) in %s were embedded with another model than %s and are not compared. To change that: "
                "python -m app gallery re-embed", sum(others.values()), self._name, model_id
            )  # fmt: skip
        stack = np.stack([query.parts for query in queries])
        exact = partial(self._vectors, db)
        if isinstance(index, MilvusIndex):
            nearest_ids = index.search(stack, k, exact, partial(self._present, db, model_id))
        elif isinstance(index, CodeIndex):
            nearest_ids = index.search(stack, k, exact)
        else:
            nearest_ids = index.search(stack, k, metric, exact)
        return self._neighbours(db, nearest_ids)

    def model_ids(self) -> dict[str, int]:
        with self._file.reading() as db:
            return self._model_ids(db)

    # An index of candidates in Milvus

    def index_place(self) -> str | None:
        with self._file.reading() as db:
            row = db.execute("SELECT address FROM candidates").fetchone()
        return str(row[0]) if row else None

    def place_index(self, address: str | None, *, lost: bool = False) -> None:
        address = checked(address) if address is not None else None
        if address is not None and (not self._file.lasting or (self.path is None and "://" not in address)):
            raise GalleryError(
                "Programs on other machines must reach the index of this gallery. Give http://HOST:PORT."
            )
        with self._search_lock:
            if address is not None:
                with Milvus(address).client() as client:
                    client.list_collections()
            with self._file.writing() as db:
                row = db.execute("SELECT address, name FROM candidates").fetchone()
                if row and not lost:
                    self._milvus_at(row[0]).drop(row[1])
                db.execute("DELETE FROM candidates")
                if address is not None:
                    db.insert(
                        "candidates", address=address, name=f"gaitprint_{uuid4().hex}", removals=self._removals(db)
                    )
                self._log(db, "index", address=address)
                kinds = db.execute("SELECT model_id, metric FROM axes").fetchall() if address is not None else []
            for model_id, metric in kinds:
                self._follow_in_index(model_id, metric)

    def _milvus_at(self, address: str) -> Milvus:
        if self._milvus is None or self._milvus.address != address:
            self._milvus = Milvus(address)
        return self._milvus

    def _index(self, db: Connection, model_id: str, metric: Metric) -> MilvusIndex | None:
        """Return the index of a model's walks in Milvus; None where they are searched without it."""
        row = db.execute("SELECT address, name FROM candidates").fetchone()
        axes = self._axes(db, model_id, metric) if row else None
        shape = db.execute("SELECT parts, channels FROM embedding WHERE model_id = ? LIMIT 1", (model_id,)).fetchone()
        if axes is None:
            return None
        size = _shape(shape) if shape else (0, 0)
        return MilvusIndex(self._milvus_at(row[0]), f"{row[1]}_{axes.axes_id}", size, axes.axes, metric)

    def _follow_in_index(self, model_id: str, metric: Metric) -> None:
        """Bring the index in Milvus up to date with the gallery.

        Whoever adds to it holds the gallery's lock for writing. So nobody brings back what another program removes.
        """
        with self._file.reading() as db:
            index = self._index(db, model_id, metric)
            followed = index.followed() if index is not None else None
            if index is None or (followed and not self._behind(db, followed)):
                return
        rounds, more = 0, True
        while more:
            rounds += 1
            with self._file.writing() as db:
                index = self._index(db, model_id, metric)
                more = index is not None and self._follow(db, index, model_id, metric)
        if index is not None and rounds > 1:
            index.settle()

    def _behind(self, db: Connection, followed: Followed) -> bool:
        newest = db.execute("SELECT max(embedding_id) FROM embedding").fetchone()[0] or 0
        return newest > followed.newest or self._removals(db) != followed.removals or self._ahead(db, followed)

    def _ahead(self, db: Connection, followed: Followed) -> bool:
        """Whether the index knows of what this gallery never had: an older copy of the gallery is in its place."""
        newest = db.execute("SELECT max(embedding_id) FROM embedding").fetchone()[0] or 0
        if newest < followed.newest:
            newest = db.execute("SELECT max(embedding_id) FROM removed_embedding").fetchone()[0] or 0
        return newest < followed.newest or self._removals(db) < followed.removals

    def _removals(self, db: Connection) -> int:
        return int(db.execute("SELECT max(removal_id) FROM removed_embedding").fetchone()[0] or 0)

    def _follow(self, db: Connection, index: MilvusIndex, model_id: str, metric: Metric) -> bool:
        """Let the index follow the gallery by up to `ROWS` walks, and return whether there may be more."""
        axes, followed = self._axes(db, model_id, metric), index.followed()
        assert axes is not None
        newest = db.execute("SELECT max(embedding_id) FROM embedding").fetchone()[0] or 0
        if followed is None or self._ahead(db, followed):
            _logger.info("The index of the walks of %s in Milvus is made.", model_id)
            index.begin()
            followed = Followed(0, self._removals(db))  # what is gone is not added
        self._remove_since(db, index, followed)
        reached = max(followed.newest, newest)
        stored = next(self._codes(db, axes.axes_id, followed.newest, ROWS), None)
        if stored is not None:
            index.add(*stored)
            reached = int(stored[0][-1])
        else:
            after = max(followed.newest, axes.newest)
            new = next(self._newer(db, model_id, index.shape, after, newest), None)
            if new is not None:
                index.add(new[0], axes.axes.codes(new[1], metric))
                reached = int(new[0][-1]) if len(new[0]) == ROWS else reached
        index.note(Followed(reached, self._removals(db)))
        return reached < newest

    def _remove_since(self, db: Connection, index: MilvusIndex, followed: Followed) -> None:
        gone = db.execute("SELECT embedding_id FROM removed_embedding WHERE removal_id > ?", (followed.removals,))
        index.remove(np.array([row[0] for row in gone], np.int64))

    def _remove_from_index(self) -> None:
        """Remove from the index in Milvus what was removed from the gallery since this was last done."""
        with self._file.reading() as db:
            due = "SELECT 1 FROM candidates WHERE removals < (SELECT max(removal_id) FROM removed_embedding)"
            if not db.execute(due).fetchone():
                return
        try:
            with self._file.writing() as db:
                for model_id, metric in db.execute("SELECT model_id, metric FROM axes").fetchall():
                    index = self._index(db, model_id, metric)
                    followed = index.followed() if index is not None else None
                    if index is not None and followed is not None and not self._ahead(db, followed):
                        self._remove_since(db, index, followed)
                        index.note(Followed(followed.newest, self._removals(db)))
                db.execute("UPDATE candidates SET removals = ?", (self._removals(db),))
        except GaitprintError as error:
            raise GalleryError(
                f"What was removed from {self._file.name} may still be in its index. {error} The next command that "
                "opens the gallery tries again."
            ) from error

    def _leave_nothing(self) -> None:
        """Leave nothing of what was removed, neither in the database nor in the index."""
        try:
            self._file.purge()
        finally:
            self._remove_from_index()

    def _present(self, db: Connection, model_id: str, embedding_ids: Ints) -> Ints:
        query = "SELECT embedding_id, model_id FROM embedding WHERE embedding_id IN"
        return np.array([row[0] for row in _rows_of(db, query, embedding_ids.tolist()) if row[1] == model_id], np.int64)

    # The audit log

    def record(self, event: str, **details: JSON) -> None:
        with self._file.writing() as db:
            self._log(db, event, **details)

    def log(self, limit: int | None = 100, events: Sequence[str] = ()) -> list[Event]:
        only = f"WHERE event IN ({', '.join('?' * len(events))})" if events else ""
        with self._file.reading() as db:
            query = f"SELECT * FROM event {only} ORDER BY event_id DESC"
            most = f" LIMIT {int(limit)}" if limit is not None else ""
            return [_event(row) for row in db.execute(query + most, events)]

    def first_use(self) -> datetime | None:
        with self._file.reading() as db:
            row = db.execute("SELECT * FROM event ORDER BY event_id LIMIT 1").fetchone()
            return _event(row).time if row else None

    def time_of(self, event_id: int) -> datetime | None:
        """Return the time of an entry of the log, which stays the same for ever; None where there is none."""
        with self._file.reading() as db:
            row = db.execute("SELECT * FROM event WHERE event_id = ?", (event_id,)).fetchone()
            return _event(row).time if row else None

    # To and from other galleries

    def records(self, name: str | None = None) -> Iterator[Record]:
        with self._file.snapshot() as db:
            if name is None:
                people = [_person(row) for row in db.execute(f"{_PEOPLE} ORDER BY {_BY_NAME}")]
            else:
                people = [self._person(db, name)]
            for person in people:
                rows = db.execute(f"{_WALKS} WHERE person_id = ? ORDER BY walk_id", (person.person_id,)).fetchall()
                walks = [self._new_walk(db, _walk(walk)) for walk in rows]
                yield Record(person, walks, self._denied_walks(db, person.person_id))

    def restore(self, records: Iterable[Record], *, merge: bool = False) -> tuple[int, int]:
        changed: list[str] = []
        added = 0
        with self._file.writing() as db:
            for person, walks, denials in records:
                name = clean_name(person.name)
                known = _find_person(db, name)
                if known and not merge:
                    raise GalleryError(
                        f"There is a '{known.name}' already. With --merge, people of one name are the same person; "
                        "otherwise rename one of them first."
                    )
                if known:
                    person_id = known.person_id
                    self._unite(db, known, person)
                else:
                    expires = _text(person.expires) if person.expires is not None else None
                    person_id = db.insert(
                        "person", name=name, consent=person.consent, enrolled=_text(person.enrolled), expires=expires
                    )
                had, denied = self._vectors_had(db, person_id) if known else (set(), set())
                new = [walk for walk in walks if _key(walk.embedding) not in had]
                for walk in new:
                    self._insert_walk(db, person_id, walk, _now())
                said = [walk for walk in denials if _key(walk.embedding) not in had | denied]
                for walk in said:
                    self._insert_denial(db, person_id, walk)
                added += len(new)
                if new or said or not known:
                    changed.append(name)
            self._log(db, "import", people=len(changed), walks=added, names=changed)
        return len(changed), added

    def _re_embed(self, walk_ids: Sequence[int], model: GaitModel) -> int:
        """Embed some walks from their silhouettes, and return how many."""
        with self._file.reading() as db:
            stored = [(walk_id, self._silhouettes(db, walk_id)) for walk_id in walk_ids]
        ready = [(walk_id, sequence) for walk_id, sequence in stored if sequence is not None]
        embeddings = embed(model, [sequence for _, sequence in ready])
        done = 0
        with self._file.writing() as db:
            for (walk_id, _), embedding in zip(ready, embeddings, strict=True):
                # Another program may have removed the walk meanwhile.
                self._note_removal(db, "walk_id = ?", walk_id)
                if db.execute("DELETE FROM embedding WHERE walk_id = ?", (walk_id,)).rowcount:
                    self._insert_embedding(db, walk_id, embedding)
                    done += 1
        return done

    # Inside a transaction

    def _person(self, db: Connection, name: str) -> Person:
        person = _find_person(db, name)
        if person is not None:
            return person
        wanted, names = composed(name), [_person(row).name for row in db.execute(_PEOPLE)]
        hint = nearest(wanted, names) or (f" There are {len(names)} people." if names else " It is empty.")
        where = " `python -m app gallery list` shows everybody." if self._file.lasting else ""
        raise GalleryError(f"There is no '{wanted}' in {self._name}.{hint}{where}")

    def _owner(self, db: Connection, walk_id: int) -> str:
        if walk_id.bit_length() > _LARGEST_ID:
            raise _no_walk(walk_id)
        row = db.execute("SELECT name FROM walk JOIN person USING (person_id) WHERE walk_id = ?", (walk_id,)).fetchone()
        if not row:
            raise _no_walk(walk_id)
        return str(row[0])

    def _unite(self, db: Connection, kept: Person, other: Person) -> None:
        """Let a person keep the earlier enrolment and the earlier expiry of the two."""
        expires = _earlier(kept.expires, other.expires)
        db.execute(
            "UPDATE person SET enrolled = ?, expires = ? WHERE person_id = ?",
            (
                _text(min(kept.enrolled, other.enrolled)),
                _text(expires) if expires is not None else None,
                kept.person_id,
            ),
        )

    def _insert_walk(self, db: Connection, person_id: int, walk: NewWalk, now: datetime) -> int:
        walk_id = db.insert(
            "walk",
            person_id=person_id,
            source=as_text(walk.source),
            track_id=walk.track_id,
            view=as_text(walk.view),
            seconds=walk.seconds,
            added=_text(walk.added or now),
            measures=_measured(walk.measures),
        )
        self._insert_embedding(db, walk_id, walk.embedding)
        if walk.silhouettes is not None:
            sequence = walk.silhouettes
            keypoints = _packed(sequence.keypoints, "<f4") if sequence.keypoints is not None else None
            indices, pictures = _packed(sequence.frame_indices, "<i8"), _packed(sequence.silhouettes, "u1")
            values = (walk_id, sequence.fps, indices, pictures, keypoints)
            db.execute("INSERT INTO silhouettes VALUES (?, ?, ?, ?, ?)", values)
        if walk.thumbnail is not None:
            db.execute("INSERT INTO thumbnail VALUES (?, ?)", (walk_id, walk.thumbnail))
        return walk_id

    def _insert_embedding(self, db: Connection, walk_id: int, embedding: Embedding) -> None:
        parts, channels = embedding.parts.shape
        row = db.execute(
            "SELECT parts, channels FROM embedding WHERE model_id = ? LIMIT 1", (embedding.model_id,)
        ).fetchone()
        if row and row != (parts, channels):
            raise GalleryError(
                f"'{embedding.model_id}' gave an embedding of shape {embedding.parts.shape}, but those in "
                f"{self._name} have {row}: it is not the same model."
            )
        db.insert(
            "embedding",
            walk_id=walk_id,
            model_id=embedding.model_id,
            frames=embedding.frames,
            parts=parts,
            channels=channels,
            vector=_bytes(embedding),
        )

    def _insert_denial(self, db: Connection, person_id: int, walk: NewWalk) -> int:
        parts, channels = walk.embedding.parts.shape
        return db.insert(
            "denial",
            person_id=person_id,
            model_id=walk.embedding.model_id,
            frames=walk.embedding.frames,
            parts=parts,
            channels=channels,
            vector=_bytes(walk.embedding),
            source=as_text(walk.source),
            track_id=walk.track_id,
            added=_text(walk.added or _now()),
        )

    def _vectors_had(self, db: Connection, person_id: int) -> tuple[set[tuple[str, bytes]], set[tuple[str, bytes]]]:
        """Return the model and the numbers of each walk of a person, and of each that is not theirs."""
        walks = "SELECT model_id, vector FROM walk JOIN embedding USING (walk_id) WHERE person_id = ?"
        denials = "SELECT model_id, vector FROM denial WHERE person_id = ?"
        had, denied = (set(db.execute(query, (person_id,)).fetchall()) for query in (walks, denials))
        return had, denied

    def _silhouettes(self, db: Connection, walk_id: int) -> GaitSequence | None:
        row = db.execute(
            "SELECT fps, frame_indices, pictures, keypoints FROM silhouettes WHERE walk_id = ?", (walk_id,)
        ).fetchone()
        if row is None:
            return None
        try:
            indices = _unpacked(row[1], "<i8", (), None)
            return GaitSequence(
                indices,
                _unpacked(row[2], "u1", (64, 64), len(indices)),
                float(row[0]),
                _unpacked(row[3], "<f4", (17, 3), len(indices)) if row[3] is not None else None,
            )
        except (zlib.error, ValueError, TypeError) as error:
            raise GalleryError(
                f"The silhouettes of walk {walk_id} in {self._file.name} are damaged: {error}. Forget this walk "
                f"(`python -m app gallery forget-walk {walk_id}`), or move the file away and import your last export."
            ) from error

    def _new_walk(self, db: Connection, walk: EnrolledWalk) -> NewWalk:
        row = db.execute(
            "SELECT model_id, frames, parts, channels, vector FROM embedding WHERE walk_id = ?", (walk.walk_id,)
        ).fetchone()
        picture = db.execute("SELECT jpeg FROM thumbnail WHERE walk_id = ?", (walk.walk_id,)).fetchone()
        return NewWalk(
            _embedding(row),
            walk.source,
            walk.track_id,
            walk.view,
            walk.seconds,
            self._silhouettes(db, walk.walk_id),
            _jpeg(picture) if picture else None,
            walk.added,
            walk.measures,
        )

    def _former_names(self, db: Connection, person_id: int) -> list[str]:
        rows = db.execute("SELECT name FROM former_name WHERE person_id = ?", (person_id,))
        return [_former_name(row) for row in rows]

    def _denials(self, db: Connection, person_id: int) -> list[Denial]:
        rows = db.execute(
            "SELECT denial_id, person_id, model_id, source, track_id, added FROM denial WHERE person_id = ? "
            "ORDER BY denial_id",
            (person_id,),
        )
        return [_denial(row) for row in rows]

    def _denied_walks(self, db: Connection, person_id: int) -> list[NewWalk]:
        query = "SELECT model_id, frames, parts, channels, vector FROM denial WHERE denial_id = ?"
        return [
            NewWalk(
                _embedding(db.execute(query, (denial.denial_id,)).fetchone()),
                denial.source,
                denial.track_id,
                added=denial.added,
            )
            for denial in self._denials(db, person_id)
        ]

    def _denied(self, db: Connection, walks: Sequence[Embedding]) -> list[dict[str, int]]:
        found: list[dict[str, int]] = [{} for _ in walks]
        query = (
            "SELECT denial_id, parts, channels, vector, name FROM denial JOIN person USING (person_id) "
            "WHERE model_id = ? ORDER BY denial_id"
        )
        for model_id in {walk.model_id for walk in walks}:
            rows = db.execute(query, (model_id,)).fetchall()
            places = [place for place, walk in enumerate(walks) if walk.model_id == model_id]
            for place, row in product(places, rows):
                if _is_recording(walks[place], _vectors_of(row[:4])):
                    found[place][str(row[4])] = int(row[0])
        return found

    def _forget_denials(self, db: Connection, walk_ids: Sequence[int]) -> None:
        """Remove the denials of the very recordings that these walks are, because they hold them too."""
        models = {row[0] for row in db.execute("SELECT DISTINCT model_id FROM denial")}
        if not models:
            return
        query = "SELECT model_id, frames, parts, channels, vector FROM embedding WHERE walk_id IN"
        walks = [walk for walk in map(_embedding, _rows_of(db, query, walk_ids)) if walk.model_id in models]
        for denials in self._denied(db, walks):
            db.executemany("DELETE FROM denial WHERE denial_id = ?", [(number,) for number in denials.values()])

    def _note_removal(self, db: Connection, which: str, value: int) -> None:
        """Let every program that keeps walks in memory know that these embeddings go."""
        db.execute(
            "INSERT INTO removed_embedding (embedding_id) SELECT embedding_id FROM embedding JOIN walk USING (walk_id) "
            f"WHERE {which}",
            (value,),
        )

    def _forget(self, db: Connection, person: Person, event: str = "forget") -> int:
        names = Redaction([person.name, *self._former_names(db, person.person_id)])
        walks = db.execute("SELECT walk_id FROM walk WHERE person_id = ?", (person.person_id,))
        self._forget_denials(db, [row[0] for row in walks])
        self._note_removal(db, "person_id = ?", person.person_id)
        db.execute("DELETE FROM person WHERE person_id = ?", (person.person_id,))
        self._redact(db, names)
        self._log(db, event, person_id=person.person_id, walks=person.walks)
        return person.walks

    def _redact(self, db: Connection, names: Redaction) -> None:
        """Take names out of the log and of all texts."""
        for entry in [_event(row) for row in db.execute("SELECT * FROM event").fetchall()]:
            redacted = names.details(entry.details)
            if redacted != entry.details:
                db.execute("UPDATE event SET details = ? WHERE event_id = ?", (_json(redacted), entry.event_id))
        for table, column in (("walk", "source"), ("walk", "view"), ("person", "consent"), ("denial", "source")):
            key = f"{table}_id"
            for number, text in db.execute(f"SELECT {key}, {column} FROM {table}").fetchall():
                if not isinstance(text, str):
                    raise MalformedError(f"malformed {table} {number}: {text!r} is no text")
                if (redacted_text := names.text(text)) != text:
                    db.execute(f"UPDATE {table} SET {column} = ? WHERE {key} = ?", (redacted_text, number))
        db.execute("INSERT INTO purge VALUES (1) ON CONFLICT DO NOTHING")

    def _log(self, db: Connection, event: str, **details: JSON) -> None:
        db.insert("event", time=_text(_now()), event=event, details=_json(details))

    def _model_ids(self, db: Connection) -> dict[str, int]:
        rows = db.execute("SELECT model_id, count(*) FROM embedding GROUP BY model_id ORDER BY model_id")
        return {_name_of_model(row): row[1] for row in rows}

    def _several_models(self, db: Connection, model_id: str) -> bool:
        """Whether there are walks of another model; counting them all would take longer."""
        names = db.execute("SELECT (SELECT min(model_id) FROM embedding), (SELECT max(model_id) FROM embedding)")
        return set(names.fetchone()) - {model_id, None} != set()

    # Searching

    def _synchronised(
        self, db: Connection, model_id: str, metric: Metric
    ) -> WalkIndex | CodeIndex | MilvusIndex | None:
        """Bring the copy of a model's walks in memory up to date with this transaction; None where there are none.

        Where Milvus has the index, there is no copy.
        """
        shape = db.execute("SELECT parts, channels FROM embedding WHERE model_id = ? LIMIT 1", (model_id,)).fetchone()
        axes = self._axes(db, model_id, metric)
        # The copy is taken out while it changes, so that one whose update was interrupted is loaded again.
        known = self._searched.pop((model_id, metric), None)
        if shape is None:
            return None
        if (index := self._index(db, model_id, metric)) is not None:
            return index
        if known is None or known.index.shape != shape or known.axes_id != (axes.axes_id if axes else None):
            known = _Searched(WalkIndex(*_shape(shape)))
            if axes is not None:
                known = _Searched(CodeIndex(_shape(shape), axes.axes, metric), axes.axes_id)
        newest = db.execute("SELECT max(embedding_id) FROM embedding").fetchone()[0]
        removals = db.execute("SELECT max(removal_id) FROM removed_embedding").fetchone()[0] or 0
        if known.removals != removals:
            gone = db.execute("SELECT embedding_id FROM removed_embedding WHERE removal_id > ?", (known.removals,))
            known.index.remove(np.array([row[0] for row in gone], np.int64))
            known.removals = removals
        # An id always stands for the same embedding, and ids only grow: larger ids are new.
        if axes is not None and isinstance(known.index, CodeIndex):
            for ids, codes in self._codes(db, axes.axes_id, known.newest):
                known.index.add(ids, codes)
            known.newest = max(known.newest, axes.newest)
        for ids, vectors in self._newer(db, model_id, shape, known.newest, newest):
            if axes is not None and isinstance(known.index, CodeIndex):
                known.index.add(ids, axes.axes.codes(vectors, metric))
            elif isinstance(known.index, WalkIndex):
                known.index.add(ids, vectors)
        known.newest = max(known.newest, newest)
        self._searched[model_id, metric] = known
        return known.index

    def _newer(
        self, db: Connection, model_id: str, shape: tuple[int, int], after: int, newest: int
    ) -> Iterator[tuple[Ints, Floats]]:
        """Yield the embeddings of a model with ids above `after`, in the order of their ids, float32 (n, P, C)."""
        newer = (
            "SELECT embedding_id, vector FROM embedding WHERE model_id = ? AND embedding_id > ? ORDER BY embedding_id"
        )
        while after < newest:
            rows = db.execute(f"{newer} LIMIT {ROWS}", (model_id, after)).fetchall()
            if rows:
                yield (
                    np.array([row[0] for row in rows], np.int64),
                    np.stack([_vectors_of((row[0], *shape, row[1])) for row in rows]),
                )
            after = rows[-1][0] if len(rows) == ROWS else newest

    def _codes(
        self, db: Connection, axes_id: int, after: int, at_once: int = _CODES
    ) -> Iterator[tuple[Ints, NDArray[np.int8]]]:
        """Yield the ids and the codes of embeddings with ids above `after`."""
        newer = "SELECT embedding_id, code FROM code WHERE axes_id = ? AND embedding_id > ? ORDER BY embedding_id"
        rows: list[Any] = [(after,)]
        while rows:
            rows = db.execute(f"{newer} LIMIT {at_once}", (axes_id, rows[-1][0])).fetchall()
            if rows:
                yield np.array([row[0] for row in rows], np.int64), _code_rows(rows)

    def _axes(self, db: Connection, model_id: str, metric: Metric) -> _StoredAxes | None:
        """Return the axes of the codes of a model's walks; None where there are none."""
        row = db.execute(
            "SELECT axes_id, newest FROM axes WHERE model_id = ? AND metric = ?", (model_id, metric)
        ).fetchone()
        if row is None:
            return None
        axes_id, newest = row
        if axes_id not in self._known_axes:  # they never change
            query = "SELECT axes_id, middle, directions, scale FROM axes WHERE axes_id = ?"
            self._known_axes[axes_id] = _axes(db.execute(query, (axes_id,)).fetchone())
        return _StoredAxes(axes_id, newest, self._known_axes[axes_id])

    def _keep_codes(self, model_id: str, metric: Metric) -> None:
        """Store the codes of a large gallery's walks, so that the next program need not make them."""
        if (model_id, metric) in self._without_codes:
            return
        with self._file.reading() as db:
            axes = self._axes(db, model_id, metric)
            query = (
                "SELECT count(*) FROM (SELECT 1 FROM embedding WHERE model_id = ? AND embedding_id > ? LIMIT ?) AS few"
            )
            enough = LARGE if axes is None else ROWS
            if db.execute(query, (model_id, axes.newest if axes else 0, enough)).fetchone()[0] < enough:
                return
        try:
            while self._add_codes(model_id, metric):
                pass
        except GalleryError as error:  # e.g. no right to write: then codes are made in memory each time
            _logger.info("The codes of walks are not stored: %s", error)

    def _add_codes(self, model_id: str, metric: Metric) -> bool:
        """Store the codes of up to `ROWS` walks, and return whether there may be more to store."""
        with self._file.writing() as db:
            shape = db.execute(
                "SELECT parts, channels FROM embedding WHERE model_id = ? LIMIT 1", (model_id,)
            ).fetchone()
            newest = db.execute("SELECT max(embedding_id) FROM embedding").fetchone()[0]
            if shape is None:
                return False
            axes = self._axes(db, model_id, metric)
            if axes is None:
                _logger.info("Short codes of the walks of %s are made once, because there are many.", model_id)
                some = islice(self._newer(db, model_id, _shape(shape), 0, newest), LARGE // ROWS)
                made = Axes.of(np.concatenate([vectors for _, vectors in some]), metric)
                if made.kept < KEPT:
                    _logger.info("They would tell too little: the axes keep %.2f of the variance.", made.kept)
                    self._without_codes.add((model_id, metric))
                    return False
                db.insert(
                    "axes",
                    model_id=model_id,
                    metric=metric,
                    middle=made.middle.astype("<f4").tobytes(),
                    directions=made.directions.astype("<f4").tobytes(),
                    scale=made.scale,
                    newest=0,
                )
                return True
            ids, vectors = next(
                self._newer(db, model_id, _shape(shape), axes.newest, newest), (np.zeros(0, np.int64), None)
            )
            if vectors is None:
                return False
            codes = axes.axes.codes(vectors, metric)
            rows = zip(ids.tolist(), repeat(axes.axes_id), map(bytes, codes), strict=False)
            db.executemany("INSERT INTO code (embedding_id, axes_id, code) VALUES (?, ?, ?)", rows)
            db.execute("UPDATE axes SET newest = ? WHERE axes_id = ?", (int(ids[-1]), axes.axes_id))
            return len(ids) == ROWS

    def _vectors(self, db: Connection, embedding_ids: Ints) -> Floats:
        query = "SELECT embedding_id, parts, channels, vector FROM embedding WHERE embedding_id IN"
        ids = embedding_ids.tolist()
        vectors = {row[0]: _vectors_of(row) for row in _rows_of(db, query, ids)}
        return np.stack([vectors[embedding_id] for embedding_id in ids])

    def _neighbours(self, db: Connection, found: Sequence[tuple[Ints, Distances]]) -> list[list[Neighbour]]:
        """Return whose walks these embeddings are, given their ids and distances for each query."""
        query = "SELECT embedding_id, walk_id, person_id FROM embedding JOIN walk USING (walk_id) WHERE embedding_id IN"
        every = sorted({embedding_id for ids, _ in found for embedding_id in ids.tolist()})
        owners = {row[0]: (row[1], row[2]) for row in _rows_of(db, query, every)}
        lost = [embedding_id for embedding_id in every if embedding_id not in owners]
        if lost:  # foreign keys prevent this in a file that is not damaged
            raise MalformedError(f"malformed embedding {lost[0]}: it has no walk")
        return [
            [Neighbour(*owners[one], distance) for one, distance in zip(ids.tolist(), distances.tolist(), strict=True)]
            for ids, distances in found
        ]


_PEOPLE = (
    "SELECT person_id, name, consent, enrolled, expires, "
    "(SELECT count(*) FROM walk WHERE walk.person_id = person.person_id) FROM person"
)
_BY_NAME = "lower(name), name"
_WALKS = (
    "SELECT walk_id, person_id, model_id, source, track_id, view, frames, seconds, added, "
    "EXISTS (SELECT 1 FROM silhouettes WHERE silhouettes.walk_id = walk.walk_id), measures "
    "FROM walk JOIN embedding USING (walk_id)"
)


def _sound(read: Callable[[Sequence[Any]], T]) -> Callable[[Sequence[Any]], T]:
    """Make a function that reads a row raise the error of a damaged file where the row cannot be read."""
    what = read.__name__.strip("_")

    @wraps(read)
    def reader(row: Sequence[Any]) -> T:
        try:
            return read(row)
        except (TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
            raise MalformedError(f"malformed {what} {str(row[0])[:40]}: {error}") from error

    return reader


def _typed(value: Any, kind: type[T]) -> T:
    """Return a value of a row, which SQLite does not hold to the type of its column."""
    if not isinstance(value, kind):
        raise TypeError(f"{reprlib.repr(value)} is no {kind.__name__}")
    return value


def _count(value: Any, least: int) -> int:
    if _typed(value, int) < least:
        raise ValueError(f"{value} is less than {least}")
    return int(value)


def _moment(text: Any) -> datetime:
    moment = datetime.fromisoformat(_typed(text, str))
    if moment.tzinfo is None or not 1970 < moment.year < 9999:
        raise ValueError(f"{text} is no time in UTC")
    return moment


def _find_person(db: Connection, name: str) -> Person | None:
    """Return the person of that name, whatever its case.

    Older programs allowed two names that differ in case alone; then it is the one that is written exactly so.
    """
    key = name_key(name)
    ids = [
        (known != composed(name), person_id)
        for person_id, known in db.execute("SELECT person_id, name FROM person")
        if isinstance(known, str) and name_key(known) == key
    ]
    return _person(db.execute(f"{_PEOPLE} WHERE person_id = ?", (min(ids)[1],)).fetchone()) if ids else None


@_sound
def _person(row: Sequence[Any]) -> Person:
    person_id, name, consent, enrolled, expires, walks = row
    ends = _moment(expires) if expires is not None else None
    return Person(person_id, _typed(name, str), _typed(consent, str), _moment(enrolled), ends, walks)


@_sound
def _named(row: Sequence[Any]) -> tuple[int, str]:
    person_id, name = row
    return person_id, _typed(name, str)


@_sound
def _walk(row: Sequence[Any]) -> EnrolledWalk:
    walk_id, person_id, model_id, source, track_id, view, frames, seconds, added, has, measured = row
    model_id, source, view = (_typed(text, str) for text in (model_id, source, view))
    if not 0 <= _typed(seconds, float) < math.inf:
        raise ValueError(f"{seconds} s is no length")
    track_id, frames = None if track_id is None else _count(track_id, 0), _count(frames, 1)
    measures = tuple(Measure(**_typed(one, dict)) for one in _typed(json.loads(_typed(measured, str)), list))
    return EnrolledWalk(
        walk_id, person_id, model_id, source, track_id, view, frames, seconds, _moment(added), bool(has), measures
    )


@_sound
def _denial(row: Sequence[Any]) -> Denial:
    denial_id, person_id, model_id, source, track_id, added = row
    model_id, source = (_typed(text, str) for text in (model_id, source))
    return Denial(
        denial_id, person_id, model_id, source, None if track_id is None else _count(track_id, 0), _moment(added)
    )


@_sound
def _event(row: Sequence[Any]) -> Event:
    event_id, time, event, details = row
    return Event(event_id, _moment(time), _typed(event, str), _flat(_typed(json.loads(details), dict)))


def _flat(details: T, most: int = 20) -> T:
    """Return details of an event in which no more than `most` lists and objects lie inside of each other."""
    if most == 0:
        raise ValueError("its details are too deep")
    inside = details.values() if isinstance(details, dict) else details if isinstance(details, list) else ()
    for value in inside:
        _flat(value, most - 1)
    return details


@_sound
def _embedding(row: Sequence[Any]) -> Embedding:
    model_id, frames, parts, channels, vector = row
    return Embedding(_vector(vector, (parts, channels)), _typed(model_id, str), _count(frames, 1))


def _is_recording(walk: Embedding, other: Floats) -> bool:
    """Whether `walk` and the parts `other` are one recording. The Euclidean distance tells that for every metric."""
    if walk.parts.shape != other.shape:
        return False
    distance = float(part_distances(walk.parts[None], other[None])[0, 0])
    return is_same_recording(distance, walk, "euclidean")


def _bytes(embedding: Embedding) -> bytes:
    return embedding.parts.astype("<f4").tobytes()


def _key(embedding: Embedding) -> tuple[str, bytes]:
    """Return what is the same for two copies of one embedding."""
    return embedding.model_id, _bytes(embedding)


def _vector(content: Any, shape: tuple[int, int]) -> Floats:
    parts, channels = (_count(size, 1) for size in shape)
    vector: Floats = np.frombuffer(_typed(content, bytes), "<f4").astype(np.float32, copy=False)
    if not np.abs(vector).max(initial=0) < LARGEST:  # nor is NaN
        raise ValueError("its numbers are not finite, or cannot be compared")
    return vector.reshape(parts, channels)


@_sound
def _vectors_of(row: Sequence[Any]) -> Floats:
    _, parts, channels, vector = row
    return _vector(vector, (parts, channels))


@_sound
def _shape(row: Sequence[Any]) -> tuple[int, int]:
    parts, channels = row
    return _count(parts, 1), _count(channels, 1)


@_sound
def _axes(row: Sequence[Any]) -> Axes:
    _, middle, directions, scale = row
    flat: Floats = np.frombuffer(_typed(middle, bytes), "<f4").astype(np.float32)
    turned: Floats = np.frombuffer(_typed(directions, bytes), "<f4").astype(np.float32).reshape(AXES, len(flat))
    return Axes(flat, turned, _typed(scale, float))


@_sound
def _code_rows(rows: Sequence[Any]) -> NDArray[np.int8]:
    return np.frombuffer(b"".join(row[1] for row in rows), np.int8).reshape(len(rows), AXES)


@_sound
def _former_name(row: Sequence[Any]) -> str:
    return _typed(row[0], str)


@_sound
def _name_of_model(row: Sequence[Any]) -> str:
    return _typed(row[0], str)


@_sound
def _jpeg(row: Sequence[Any]) -> bytes:
    return _typed(row[0], bytes)


def _packed(array: np.ndarray, dtype: str) -> bytes:
    # In 100 walks of virtual walkers a silhouette takes 299 bytes this way and 579 as PNG; lzma takes 235 bytes, but 25
    # times as long.
    return zlib.compress(np.ascontiguousarray(array, dtype).tobytes())


def _unpacked(content: bytes, dtype: str, shape: tuple[int, ...], frames: int | None) -> Any:
    """Unpack what belongs to each frame, of which there are `frames`, or up to `_MOST_FRAMES` where that is not known.

    A megabyte of packed zeros is a gigabyte, so no more is unpacked than there should be.
    """
    unpacker, size = zlib.decompressobj(), np.dtype(dtype).itemsize * math.prod(shape)
    unpacked = unpacker.decompress(content, (_MOST_FRAMES if frames is None else frames) * size + 1)
    if not unpacker.eof or (frames is not None and len(unpacked) != frames * size):
        raise ValueError("there are more or fewer frames than expected")
    array = np.frombuffer(bytearray(unpacked), dtype)
    return array.astype(array.dtype.newbyteorder("="), copy=False).reshape(-1, *shape)


def _measured(measures: Sequence[Measure]) -> str:
    return json.dumps([asdict(measure) for measure in measures], allow_nan=False)


def _json(details: JSON) -> str:
    return json.dumps(details, ensure_ascii=False, allow_nan=False)


def _rows_of(db: Connection, query: str, ids: Sequence[int], at_once: int = 500) -> Iterator[Any]:
    """Yield the rows of a query that ends with ``IN``, for any number of ids."""
    for start in range(0, len(ids), at_once):
        some = list(ids[start : start + at_once])
        yield from db.execute(f"{query} ({', '.join('?' * len(some))})", some)


def _no_walk(walk_id: int) -> GalleryError:
    return GalleryError(f"There is no walk {walk_id}. `python -m app gallery show NAME` lists a person's walks.")


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _earlier(one: datetime | None, other: datetime | None) -> datetime | None:
    """Return the earlier of two times; None, which stands for no limit, is the latest."""
    return min((end for end in (one, other) if end is not None), default=None)


def _text(moment: datetime) -> str:
    """Return a time as text; the order of such texts is the order of the times."""
    return moment.astimezone(timezone.utc).isoformat(timespec="microseconds")
