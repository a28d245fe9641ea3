"""A gallery in an SQL database, whichever it is: the statements are the same for SQLite and PostgreSQL.

What differs between the two stands behind `Database` and `Connection`: `app.gallery.sqlite` and `app.gallery.postgres`.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache
from itertools import product
from typing import TypeVar
from uuid import uuid4

from app.errors import GaitprintError, GalleryError, nearest
from app.files import as_text
from app.gait.embeddings import embed
from app.gallery import tables
from app.gallery.candidates import Candidates
from app.gallery.database import Connection, Database, MalformedError
from app.gallery.distances import Metric
from app.gallery.redaction import Redaction
from app.gallery.store import (
    JSON,
    LONGEST_RETENTION,
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
    kept_until,
)
from app.progress import Progress, Silent
from app.stages import GaitModel
from app.types import Embedding, GaitSequence, Measure

Self = TypeVar("Self", bound="GalleryStore")

_LARGEST_ID = 63  # bits; SQLite has no larger numbers
_BATCH = 16  # walks that `re_embed` embeds in one transaction
_logger = logging.getLogger(__name__)


@cache
def _warn_once(message: str) -> None:
    """Warn once in this process, which may open the gallery anew for each video."""
    _logger.warning("%s", message)


class GalleryStore:
    """Where a gallery is kept. It is a context manager, and several threads may share it.

    Every write is one transaction: all of it or nothing, and durable when the call returns. Every method raises
    `GalleryError` for a name or walk that does not exist (the message gives the most similar name) and for a store that
    cannot be used. `path` is the file, and what belongs to the gallery as a whole, such as scores learnt from it, lies
    beside it. `path` is None for a gallery without a file: one in memory, which ends with the run, or one on a server.
    `read_only` is whether its file may only be read, so that whatever changes it is a `GalleryError`.

    `app.gallery.service.GalleryService` adds the consequences that enrolling and forgetting have outside the store.
    """

    def __init__(self, database: Database) -> None:
        self.path = database.path
        self.read_only = database.read_only
        self._file = database
        self._name = database.path.name if database.path is not None else "the gallery"
        self._candidates = Candidates(database, self._name)
        try:
            self._candidates.remove_gone()
        except GaitprintError as error:  # e.g. no right to write; the next program tries again
            _logger.warning("%s", error)

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the store; it cannot be used afterwards."""
        self._candidates.close()
        self._file.close()

    def take_over(self, other: GalleryStore) -> None:
        """Go on with what `other` has in memory for searching, which may be closed: it was of this very gallery."""
        self._candidates.take_over(other._candidates)

    def size(self) -> int:
        """Return how much the gallery takes on the disk (or in memory), in bytes."""
        return self._file.size()

    # People and walks

    def people(self) -> list[Person]:
        """Return everybody, in the order of their names."""
        with self._file.reading() as db:
            return [tables.person(row) for row in db.execute(f"{tables.PEOPLE} ORDER BY {tables.BY_NAME}")]

    def person(self, name: str) -> Person:
        """Return the person of that name."""
        with self._file.reading() as db:
            return self._person(db, name)

    def former_names(self, name: str) -> list[str]:
        """Return what a person was called before, and whoever was merged into them."""
        with self._file.reading() as db:
            return self._former_names(db, self._person(db, name).person_id)

    def owner(self, walk_id: int) -> Person:
        """Return the person whose walk this is."""
        with self._file.reading() as db:
            return self._person(db, self._owner(db, walk_id))

    def walks(self, name: str | None = None) -> list[EnrolledWalk]:
        """Return the walks of one person, or of everybody, in the order in which they were added."""
        with self._file.reading() as db:
            if name is None:
                rows = db.execute(f"{tables.WALKS} ORDER BY walk_id")
            else:
                person = self._person(db, name)
                rows = db.execute(f"{tables.WALKS} WHERE person_id = ? ORDER BY walk_id", (person.person_id,))
            return [tables.walk(row) for row in rows]

    def walk(self, walk_id: int) -> NewWalk:
        """Return one walk with all that is stored of it."""
        with self._file.reading() as db:
            self._owner(db, walk_id)
            return self._new_walk(
                db, tables.walk(db.execute(f"{tables.WALKS} WHERE walk_id = ?", (walk_id,)).fetchone())
            )

    def walks_of(self, person_ids: Iterable[int], model_id: str) -> list[EnrolledWalk]:
        """Return the walks of these people that a model embedded, in the order in which they were added."""
        with self._file.reading() as db:
            found = [
                tables.walk(row) for row in tables.rows_of(db, f"{tables.WALKS} WHERE person_id IN", list(person_ids))
            ]
        return sorted((walk for walk in found if walk.model_id == model_id), key=lambda walk: walk.walk_id)

    def newest_walks(self, model_id: str, most: int, sources: Iterable[str] | None = None) -> list[EnrolledWalk]:
        """Return the `most` walks that a model embedded last, in the order in which they were added.

        With `sources`, only walks of these are returned.
        """
        only = list(sources) if sources is not None else None
        if only == []:
            return []
        chosen = f"AND source IN ({', '.join('?' * len(only))})" if only is not None else ""
        query = f"{tables.WALKS} WHERE model_id = ? {chosen} ORDER BY embedding_id DESC LIMIT {int(most)}"
        with self._file.reading() as db:
            found = [tables.walk(row) for row in db.execute(query, (model_id, *(only or ())))]
        return sorted(found, key=lambda walk: walk.walk_id)

    def names_of(self, person_ids: Iterable[int]) -> dict[int, str]:
        """Return the names of these people by their ids, without those who are gone."""
        with self._file.reading() as db:
            rows = tables.rows_of(db, "SELECT person_id, name FROM person WHERE person_id IN", list(person_ids))
            return dict(map(tables.named, rows))

    def most_walks(self, count: int) -> list[int]:
        """Return how many walks the `count` people with the most walks have, the most first."""
        query = f"SELECT count(*) FROM walk GROUP BY person_id ORDER BY count(*) DESC LIMIT {int(count)}"
        with self._file.reading() as db:
            return [int(row[0]) for row in db.execute(query)]

    def people_with(self, model_id: str) -> int:
        """Return how many people have walks that a model embedded."""
        query = "SELECT count(DISTINCT person_id) FROM walk JOIN embedding USING (walk_id) WHERE model_id = ?"
        with self._file.reading() as db:
            return int(db.execute(query, (model_id,)).fetchone()[0])

    def embeddings(self, walk_ids: Sequence[int]) -> list[Embedding]:
        """Return the embeddings of these walks, in this order, exactly as they were enrolled."""
        query = f"SELECT walk_id, {tables.EMBEDDING} FROM embedding WHERE walk_id IN"
        possible = [walk_id for walk_id in walk_ids if walk_id.bit_length() <= _LARGEST_ID]
        with self._file.reading() as db:
            stored = {row[0]: tables.embedding(row[1:]) for row in tables.rows_of(db, query, possible)}
        missing = [walk_id for walk_id in walk_ids if walk_id not in stored]
        if missing:
            raise _no_walk(missing[0])
        return [stored[walk_id] for walk_id in walk_ids]

    def enrol(self, name: str, walks: Sequence[NewWalk], *, consent: str, retain_days: int | None = None) -> Person:
        """Add walks, at least one, to a person, who is made where there is none of that name.

        The note on consent replaces what an earlier enrolment said. `expire` forgets the person after `retain_days`;
        None: no limit, or the earlier one stays.

        Raises:
            GalleryError: there is no walk or no consent, the name or the number of days cannot be used, or the
                embeddings have another shape than those that the gallery has of this model.
        """
        name, now = clean_name(name), tables.now()
        if not walks:
            raise GalleryError(f"There is no walk to enrol {name} with.")
        consent = as_text(consent.strip())
        if not consent:
            raise GalleryError(f"What has {name} agreed to? Give a note on their consent.")
        until = kept_until(retain_days, now)
        expires = tables.end_text(until)
        with self._file.writing() as db:
            known = tables.find_person(db, name)
            if known is None:
                self._insert_person(db, name, consent, now, until)
            else:
                db.execute(
                    "UPDATE person SET consent = ?, expires = coalesce(?, expires) WHERE person_id = ?",
                    (consent, expires, known.person_id),
                )
            person = self._person(db, name)
            ids = [self._insert_walk(db, person.person_id, walk, now) for walk in walks]
            tables.log(db, "enrol", name=person.name, walks=len(ids), walk_ids=ids, expires=expires)
            return self._person(db, name)

    def enrol_stranger(self, walks: Sequence[NewWalk], *, retain_days: int) -> Person:
        """Add somebody whose name nobody knows; they are called by a number that was never given before."""
        now = tables.now()
        expires = now + timedelta(days=retain_days)
        with self._file.writing() as db:
            made_up = uuid4().hex  # the number is known only when there is a row
            person_id = self._insert_person(db, made_up, "none: a stranger, whom a camera has seen", now, expires)
            name = STRANGER.format(person_id)
            db.execute("UPDATE person SET name = ? WHERE person_id = ?", (name, person_id))
            ids = [self._insert_walk(db, person_id, walk, now) for walk in walks]
            tables.log(db, "enrol", name=name, walks=len(ids), walk_ids=ids, expires=tables.time_text(expires))
            return self._person(db, name)

    def keep(self, name: str, walks: Sequence[NewWalk], *, retain_days: int) -> None:
        """Note that a stranger was seen again: add walks, if there are any, and count the days from now on."""
        now = tables.now()
        with self._file.writing() as db:
            person = self._person(db, name)
            expires = tables.time_text(now + timedelta(days=retain_days))
            db.execute("UPDATE person SET expires = ? WHERE person_id = ?", (expires, person.person_id))
            for walk in walks:
                self._insert_walk(db, person.person_id, walk, now)

    def add_former_names(self, name: str, former: Iterable[str]) -> None:
        """Note what a person was called before, e.g. as a stranger, so that `forget` finds these names too."""
        with self._file.writing() as db:
            person = self._person(db, name)
            for other in former:
                self._note_former_name(db, person.person_id, other)

    def redact(self, names: Iterable[str]) -> None:
        """Write ``(forgotten)`` for names in the log and in all texts, as `forget` does."""
        with self._file.writing() as db:
            self._redact(db, Redaction(names))
        self._leave_nothing()

    def rename(self, name: str, new: str) -> None:
        """Give a person another name, which must be free."""
        new = clean_name(new)
        with self._file.writing() as db:
            person = self._person(db, name)
            if person.name == new:
                return
            other = tables.find_person(db, new)
            if other is not None and other.person_id != person.person_id:
                raise GalleryError(f"Somebody is called '{other.name}' already. If they are one person, merge them.")
            db.execute("UPDATE person SET name = ? WHERE person_id = ?", (new, person.person_id))
            self._note_former_name(db, person.person_id, person.name)
            tables.log(db, "rename", name=person.name, new=new)

    def set_consent(self, name: str, consent: str, expires: datetime | None) -> None:
        """Note what a person agrees to from now on, and until when they are kept; None for no limit.

        Raises:
            GalleryError: the note is empty, or the time is over or further away than anybody is kept.
        """
        consent, now = as_text(consent.strip()), tables.now()
        with self._file.writing() as db:
            person = self._person(db, name)
            if not consent:
                raise GalleryError(f"What has {person.name} agreed to? Give a note on their consent.")
            if expires is not None and not now < expires <= now + timedelta(days=LONGEST_RETENTION):
                raise GalleryError(
                    f"{person.name} cannot be kept until {expires:%Y-%m-%d}: give a time from now on, and at most "
                    f"{LONGEST_RETENTION} days away."
                )
            until = tables.end_text(expires)
            db.execute(
                "UPDATE person SET consent = ?, expires = ? WHERE person_id = ?", (consent, until, person.person_id)
            )
            tables.log(db, "consent", name=person.name, expires=until)

    def merge(self, name: str, into: str) -> Merge:
        """Give all walks of `name` to `into`, as both are the same person; the earlier of their expiries holds."""
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
            self._note_former_name(db, kept_id, person.name)
            self._unite(db, other, person)
            db.execute("DELETE FROM person WHERE person_id = ?", (moved_id,))
            tables.log(db, "merge", name=person.name, into=other.name, walks=person.walks)
            return merge

    def undo_merge(self, merge: Merge) -> None:
        """Make two people of one again. Walks that came to them or went since stay as they are.

        Raises:
            GalleryError: the person who was kept is gone, or somebody else has the name now.
        """
        merged, kept_id = merge.merged, merge.kept.person_id
        with self._file.writing() as db:
            row = db.execute(f"{tables.PEOPLE} WHERE person_id = ?", (kept_id,)).fetchone()
            if row is None:
                raise GalleryError(f"{merge.kept.name} is not in {self._name} any more, so the merge cannot be undone.")
            kept, taken = tables.person(row), tables.find_person(db, merged.name)
            if taken is not None:
                raise GalleryError(f"Somebody is called '{taken.name}' again. Rename that person first.")
            self._insert_person(
                db, merged.name, merged.consent, merged.enrolled, merged.expires, person_id=merged.person_id
            )
            for former in merge.merged_names:
                self._note_former_name(db, merged.person_id, former)
            for former in {merged.name, *merge.merged_names} - set(merge.kept_names):
                db.execute("DELETE FROM former_name WHERE person_id = ? AND name = ?", (kept_id, former))
            for table, ids in (("walk", merge.walk_ids), ("denial", merge.denial_ids)):
                give = f"UPDATE {table} SET person_id = ? WHERE person_id = ? AND {table}_id = ?"
                db.executemany(give, [(merged.person_id, kept_id, number) for number in ids])
            ends = merge.kept.expires if kept.expires == _earlier(merge.kept.expires, merged.expires) else kept.expires
            self._set_times(db, kept_id, merge.kept.enrolled, ends)
            tables.log(db, "undo merge", name=merged.name, into=kept.name)

    def move_walk(self, walk_id: int, name: str) -> None:
        """Give a walk to `name`, because it is theirs."""
        with self._file.writing() as db:
            person = self._person(db, name)
            owner = self._owner(db, walk_id)
            db.execute("UPDATE walk SET person_id = ? WHERE walk_id = ?", (person.person_id, walk_id))
            tables.log(db, "move", walk_id=walk_id, name=owner, to=person.name)

    def set_measures(self, walk_id: int, measures: Sequence[Measure]) -> None:
        """Note what was measured of a walk; what was noted before goes."""
        with self._file.writing() as db:
            owner = self._owner(db, walk_id)
            db.execute("UPDATE walk SET measures = ? WHERE walk_id = ?", (tables.measured(measures), walk_id))
            tables.log(db, "measure", name=owner, walk_id=walk_id)

    def deny(self, walk: NewWalk, name: str) -> int:
        """Remember that a walk, which need not be in the gallery, is not a person's; return the number of the denial.

        Of the walk, the embedding, the source and the track are kept until the denial is taken back, the person is
        forgotten, or a person or walk is forgotten whose recording it is.
        """
        with self._file.writing() as db:
            person = self._person(db, name)
            for known, denial_id in self._denied(db, [walk.embedding])[0].items():
                if known == person.name:
                    return denial_id
            tables.log(db, "deny", name=person.name, source=walk.source, track_id=walk.track_id)
            return self._insert_denial(db, person.person_id, replace(walk, added=None))

    def allow(self, denial_id: int) -> None:
        """Take a denial back."""
        with self._file.writing() as db:
            query = "SELECT name, source, track_id FROM denial JOIN person USING (person_id) WHERE denial_id = ?"
            row = db.execute(query, (denial_id,)).fetchone() if denial_id.bit_length() <= _LARGEST_ID else None
            if row is None:
                raise GalleryError("There is no such correction, or it was taken back already.")
            db.execute("DELETE FROM denial WHERE denial_id = ?", (denial_id,))
            tables.log(db, "allow", name=row[0], source=row[1], track_id=row[2])

    def denials(self, name: str) -> list[Denial]:
        """Return the denials about a person, in the order in which they were added."""
        with self._file.reading() as db:
            return self._denials(db, self._person(db, name).person_id)

    def denied(self, walks: Sequence[Embedding]) -> list[dict[str, int]]:
        """Return for each walk whose it is not: the names of these people, each with the number of the denial.

        A denial is about one recording, however often it is analysed (`app.gallery.distances.is_same_recording`).
        """
        with self._file.reading() as db:
            return self._denied(db, walks)

    def forget(self, name: str) -> int:
        """Remove a person and all that is derived from them: embeddings, silhouettes, thumbnails, the name in the log.

        When the call returns, no byte of it is left in the store's files. Returns how many walks were removed.
        """
        with self._file.writing() as db:
            walks = self._forget(db, self._person(db, name))
        self._leave_nothing()
        return walks

    def forget_walk(self, walk_id: int) -> None:
        """Remove one walk, as `forget` does."""
        with self._file.writing() as db:
            owner = self._owner(db, walk_id)
            self._forget_denials(db, [walk_id])
            self._note_removal(db, "walk_id = ?", walk_id)
            db.execute("DELETE FROM walk WHERE walk_id = ?", (walk_id,))
            db.execute("INSERT INTO purge VALUES (1) ON CONFLICT DO NOTHING")
            tables.log(db, "forget walk", name=owner, walk_id=walk_id)
        self._leave_nothing()

    def expire(self, now: datetime | None = None) -> list[str]:
        """Forget everybody whose time is over, and return their names."""
        moment = tables.time_text(now if now is not None else tables.now())
        with self._file.reading() as db:  # usually nobody's time is over; then no lock for writing is needed
            if not db.execute("SELECT 1 FROM person WHERE expires <= ?", (moment,)).fetchone():
                return []
        with self._file.writing() as db:
            rows = db.execute(f"{tables.PEOPLE} WHERE expires <= ? ORDER BY {tables.BY_NAME}", (moment,))
            expired = [tables.person(row) for row in rows]
            for person in expired:
                self._forget(db, person, "expire")
        self._leave_nothing()
        return [person.name for person in expired]

    def silhouettes(self, walk_id: int) -> GaitSequence | None:
        """Return the silhouettes of a walk, exactly as they were enrolled; None if they were not stored."""
        with self._file.reading() as db:
            self._owner(db, walk_id)
            return self._silhouettes(db, walk_id)

    def thumbnail(self, name: str) -> bytes | None:
        """Return the newest picture of a person, a JPEG; None if there is none."""
        with self._file.reading() as db:
            row = db.execute(
                "SELECT jpeg FROM thumbnail JOIN walk USING (walk_id) WHERE person_id = ? "
                "ORDER BY added DESC, walk_id DESC LIMIT 1",
                (self._person(db, name).person_id,),
            ).fetchone()
            return tables.picture(row) if row else None

    def pictured(self) -> set[int]:
        """Return the ids of everybody of whom there is a picture."""
        with self._file.reading() as db:
            return {row[0] for row in db.execute("SELECT DISTINCT person_id FROM thumbnail JOIN walk USING (walk_id)")}

    # Embeddings

    def re_embed(self, model: GaitModel, progress: Progress | None = None) -> tuple[int, list[int]]:
        """Embed with `model` the walks that another model embedded, from their silhouettes.

        Walks are saved in between: if it is stopped, call it again.

        Returns:
            How many walks were embedded, and the ids of those that stay as they are because their silhouettes, or the
            keypoints that the model needs, are missing.
        """
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

    def model_ids(self) -> dict[str, int]:
        """Return how many walks there are of each model."""
        with self._file.reading() as db:
            return tables.model_ids(db)

    def search(self, queries: Sequence[Embedding], k: int, metric: Metric = "euclidean") -> list[list[Neighbour]]:
        """Return the `k` nearest walks of each query, the nearest first; fewer where there are fewer.

        Only walks of the queries' model are compared. Distances are exact. In a gallery of fewer than
        `app.gallery.codes.LARGE` walks the nearest are exactly these; in a larger one the search may rarely miss one.

        Raises:
            GalleryError: there are walks, but none of that model.
            IncompatibleEmbeddingsError: the queries come from several models, or have another shape than the walks.
        """
        return self._candidates.search(queries, k, metric)

    def index_place(self) -> str | None:
        """Return the address of the Milvus that has the index of candidates; None: walks are searched in memory."""
        return self._candidates.place()

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
        self._candidates.move(address, lost=lost)

    def _leave_nothing(self) -> None:
        """Leave nothing of what was removed, neither in the database nor in the index."""
        try:
            self._file.purge()
        finally:
            self._candidates.remove_gone()

    def need_writable(self) -> None:
        """Check, before the long work, that this program may write; `GalleryError` says why it may not."""
        with self._file.writing():
            pass

    # The audit log

    def need_log(self) -> None:
        """Check, before the long work, that its end can be written into the audit log.

        The log of a gallery that may only be read does not say what was done with it. That is said once.
        """
        if not self.read_only:
            self.need_writable()
        else:
            _warn_once(f"{self._file.name} may only be read, so its log does not say what is done with it now.")

    def record(self, event: str, **details: JSON) -> None:
        """Add an entry to the audit log, unless the gallery may only be read (`need_log`). Enrolments, corrections and
        deletions add their own."""
        if self.read_only:
            self.need_log()
            return
        with self._file.writing() as db:
            tables.log(db, event, **details)

    def log(self, limit: int | None = 100, events: Sequence[str] = ()) -> list[Event]:
        """Return at most `limit` entries of the audit log, the newest first; only those about `events`, if there are
        any.
        """
        only = f"WHERE event IN ({', '.join('?' * len(events))})" if events else ""
        with self._file.reading() as db:
            query = f"SELECT * FROM event {only} ORDER BY event_id DESC"
            most = f" LIMIT {min(limit, 2**_LARGEST_ID - 1)}" if limit is not None else ""
            return [tables.event(row) for row in db.execute(query + most, events)]

    def first_use(self) -> datetime | None:
        """Return the time of the first entry of the log, which tells galleries apart; None for an unused one."""
        with self._file.reading() as db:
            row = db.execute("SELECT * FROM event ORDER BY event_id LIMIT 1").fetchone()
            return tables.event(row).time if row else None

    def time_of(self, event_id: int) -> datetime | None:
        """Return the time of an entry of the log, which stays the same for ever; None where there is none."""
        with self._file.reading() as db:
            row = db.execute("SELECT * FROM event WHERE event_id = ?", (event_id,)).fetchone()
            return tables.event(row).time if row else None

    # To and from other galleries

    def records(self, name: str | None = None) -> Iterator[Record]:
        """Yield one person, or everybody, with all that is stored of them, as of one moment."""
        with self._file.snapshot() as db:
            if name is None:
                people = [tables.person(row) for row in db.execute(f"{tables.PEOPLE} ORDER BY {tables.BY_NAME}")]
            else:
                people = [self._person(db, name)]
            for person in people:
                rows = db.execute(
                    f"{tables.WALKS} WHERE person_id = ? ORDER BY walk_id", (person.person_id,)
                ).fetchall()
                walks = [self._new_walk(db, tables.walk(walk)) for walk in rows]
                yield Record(person, walks, self._denied_walks(db, person.person_id))

    def restore(self, records: Iterable[Record], *, merge: bool = False) -> tuple[int, int]:
        """Add people from another gallery, from its `records`, with their consents and times, all or none; they get new
        ids.

        Returns how many people were added or got walks, and how many walks were added.

        Args:
            merge: whether people whose names exist here already are the same people: then their new walks and denials
                are added, but no denial of a walk that they have here, and the earlier expiry holds. Otherwise such a
                name is an error.
        """
        changed: list[str] = []
        added = 0
        with self._file.writing() as db:
            for person, walks, denials in records:
                name = clean_name(person.name)
                known = tables.find_person(db, name)
                if known and not merge:
                    raise GalleryError(
                        f"Somebody is called '{known.name}' already. With --merge, people of one name are one person; "
                        "otherwise rename one of them first."
                    )
                if known:
                    person_id = known.person_id
                    self._unite(db, known, person)
                else:
                    person_id = self._insert_person(db, name, person.consent, person.enrolled, person.expires)
                had, denied = self._vectors_had(db, person_id) if known else (set(), set())
                new = [walk for walk in walks if tables.key(walk.embedding) not in had]
                for walk in new:
                    self._insert_walk(db, person_id, walk, tables.now())
                said = [walk for walk in denials if tables.key(walk.embedding) not in had | denied]
                for walk in said:
                    self._insert_denial(db, person_id, walk)
                added += len(new)
                if new or said or not known:
                    changed.append(name)
            tables.log(db, "import", people=len(changed), walks=added, names=changed)
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
        person = tables.find_person(db, name)
        if person is not None:
            return person
        wanted, names = composed(name), [tables.person(row).name for row in db.execute(tables.PEOPLE)]
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
        self._set_times(db, kept.person_id, min(kept.enrolled, other.enrolled), expires)

    def _set_times(self, db: Connection, person_id: int, enrolled: datetime, expires: datetime | None) -> None:
        db.execute(
            "UPDATE person SET enrolled = ?, expires = ? WHERE person_id = ?",
            (tables.time_text(enrolled), tables.end_text(expires), person_id),
        )

    def _insert_person(
        self, db: Connection, name: str, consent: str, enrolled: datetime, expires: datetime | None, **number: int
    ) -> int:
        times = {"enrolled": tables.time_text(enrolled), "expires": tables.end_text(expires)}
        return db.insert("person", name=name, consent=consent, **times, **number)

    def _note_former_name(self, db: Connection, person_id: int, name: str) -> None:
        db.execute("INSERT INTO former_name VALUES (?, ?) ON CONFLICT DO NOTHING", (person_id, name))

    def _insert_walk(self, db: Connection, person_id: int, walk: NewWalk, now: datetime) -> int:
        walk_id = db.insert(
            "walk",
            person_id=person_id,
            source=as_text(walk.source),
            track_id=walk.track_id,
            view=as_text(walk.view),
            seconds=walk.seconds,
            added=tables.time_text(walk.added or now),
            measures=tables.measured(walk.measures),
        )
        self._insert_embedding(db, walk_id, walk.embedding)
        if walk.silhouettes is not None:
            sequence = walk.silhouettes
            keypoints = tables.packed(sequence.keypoints, "<f4") if sequence.keypoints is not None else None
            indices, pictures = tables.packed(sequence.frame_indices, "<i8"), tables.packed(sequence.silhouettes, "u1")
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
            vector=tables.numbers(embedding),
            pieces=tables.views(embedding),
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
            vector=tables.numbers(walk.embedding),
            source=as_text(walk.source),
            track_id=walk.track_id,
            added=tables.time_text(walk.added or tables.now()),
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
            indices = tables.unpacked(row[1], "<i8", (), None)
            return GaitSequence(
                indices,
                tables.unpacked(row[2], "u1", (64, 64), len(indices)),
                float(row[0]),
                tables.unpacked(row[3], "<f4", (17, 3), len(indices)) if row[3] is not None else None,
            )
        except (zlib.error, ValueError, TypeError) as error:
            raise GalleryError(
                f"The silhouettes of walk {walk_id} in {self._file.name} are damaged: {error}. Forget this walk "
                f"(`python -m app gallery forget-walk {walk_id}`), or move the file away and import your last export."
            ) from error

    def _new_walk(self, db: Connection, walk: EnrolledWalk) -> NewWalk:
        row = db.execute(f"SELECT {tables.EMBEDDING} FROM embedding WHERE walk_id = ?", (walk.walk_id,)).fetchone()
        picture = db.execute("SELECT jpeg FROM thumbnail WHERE walk_id = ?", (walk.walk_id,)).fetchone()
        return NewWalk(
            tables.embedding(row),
            walk.source,
            walk.track_id,
            walk.view,
            walk.seconds,
            self._silhouettes(db, walk.walk_id),
            tables.picture(picture) if picture else None,
            walk.added,
            walk.measures,
        )

    def _former_names(self, db: Connection, person_id: int) -> list[str]:
        rows = db.execute("SELECT name FROM former_name WHERE person_id = ?", (person_id,))
        return [tables.former_name(row) for row in rows]

    def _denials(self, db: Connection, person_id: int) -> list[Denial]:
        rows = db.execute(
            "SELECT denial_id, person_id, model_id, source, track_id, added FROM denial WHERE person_id = ? "
            "ORDER BY denial_id",
            (person_id,),
        )
        return [tables.denial(row) for row in rows]

    def _denied_walks(self, db: Connection, person_id: int) -> list[NewWalk]:
        query = "SELECT model_id, frames, parts, channels, vector FROM denial WHERE denial_id = ?"
        return [
            NewWalk(
                tables.embedding(db.execute(query, (denial.denial_id,)).fetchone()),
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
                if tables.is_recording(walks[place], tables.vectors(row[:4])):
                    found[place][str(row[4])] = int(row[0])
        return found

    def _forget_denials(self, db: Connection, walk_ids: Sequence[int]) -> None:
        """Remove the denials of the very recordings that these walks are, because they hold them too."""
        models = {row[0] for row in db.execute("SELECT DISTINCT model_id FROM denial")}
        if not models:
            return
        query = "SELECT model_id, frames, parts, channels, vector FROM embedding WHERE walk_id IN"
        walks = [walk for walk in map(tables.embedding, tables.rows_of(db, query, walk_ids)) if walk.model_id in models]
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
        tables.log(db, event, person_id=person.person_id, walks=person.walks)
        return person.walks

    def _redact(self, db: Connection, names: Redaction) -> None:
        """Take names out of the log and of all texts."""
        for entry in [tables.event(row) for row in db.execute("SELECT * FROM event").fetchall()]:
            redacted = names.details(entry.details)
            if redacted != entry.details:
                db.execute(
                    "UPDATE event SET details = ? WHERE event_id = ?", (tables.as_json(redacted), entry.event_id)
                )
        for table, column in (("walk", "source"), ("walk", "view"), ("person", "consent"), ("denial", "source")):
            key = f"{table}_id"
            for number, text in db.execute(f"SELECT {key}, {column} FROM {table}").fetchall():
                if not isinstance(text, str):
                    raise MalformedError(f"malformed {table} {number}: {text!r} is no text")
                if (redacted_text := names.text(text)) != text:
                    db.execute(f"UPDATE {table} SET {column} = ? WHERE {key} = ?", (redacted_text, number))
        db.execute("INSERT INTO purge VALUES (1) ON CONFLICT DO NOTHING")


def _no_walk(walk_id: int) -> GalleryError:
    return GalleryError(f"There is no walk {walk_id}. `python -m app gallery show NAME` lists a person's walks.")


def _earlier(one: datetime | None, other: datetime | None) -> datetime | None:
    """Return the earlier of two times; None, which stands for no limit, is the latest."""
    return min((end for end in (one, other) if end is not None), default=None)
