"""A gallery as one file that another machine or another program can read.

The file is a gzip of JSON lines: a ``header``, then each ``person`` followed by their ``walk`` lines and by a
``denial`` for each walk of which somebody said that it is not theirs, then an ``end`` with the counts, which shows that
the file is whole. Version 1 had no denials, version 2 no measures of walks, version 3 no views of walks. Arrays are
little-endian and in base64. Nothing in the file is code.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import logging
import os
import sqlite3
import uuid
import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from glob import escape
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    TypeAdapter,
)
from pydantic import ValidationError as Invalid

from app.errors import GalleryError, OutputError, reason_of
from app.files import explained, need_file, written_whole
from app.gallery import tables
from app.gallery.sql import GalleryStore
from app.gallery.store import NewWalk, Person, Record, name_key
from app.progress import Progress, Silent
from app.types import Embedding, Floats, GaitSequence, Measure

logger = logging.getLogger(__name__)

VERSION = 4
_NOTE = ".export"  # the end of the name of a note that an export goes on
_LONGEST_LINE = 1 << 28  # bytes; a walk of 1000 frames takes 6 million bytes


def _decoded(value: object) -> object:
    return b64decode(value, validate=True) if isinstance(value, str) else value


Binary: TypeAlias = Annotated[
    bytes, BeforeValidator(_decoded), PlainSerializer(lambda value: b64encode(value).decode(), when_used="json")
]


def _usual(moment: datetime) -> datetime:
    """Return a time in UTC; a time near the first or the last year has none in some zones."""
    if not 1971 <= moment.year <= 9998:
        raise ValueError(f"the year {moment.year} is out of range")
    return moment.astimezone(timezone.utc)


Moment: TypeAlias = Annotated[AwareDatetime, AfterValidator(_usual)]
Whole: TypeAlias = Annotated[int, Field(ge=0, lt=1 << 63)]  # what SQLite can store
Count: TypeAlias = Annotated[int, Field(ge=1, lt=1 << 63)]
Amount: TypeAlias = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class _Header(_Line):
    kind: Literal["header"] = "header"
    format: Literal["gaitprint gallery"] = "gaitprint gallery"
    version: Count = VERSION
    made: Moment


class _Person(_Line):
    kind: Literal["person"] = "person"
    name: str
    consent: str
    enrolled: Moment
    expires: Moment | None


class _Silhouettes(_Line):
    fps: Amount
    frame_indices: list[Whole]
    pictures: Binary
    keypoints: Binary | None

    @classmethod
    def of(cls, walk: GaitSequence) -> _Silhouettes:
        keypoints = walk.keypoints.astype("<f4").tobytes() if walk.keypoints is not None else None
        return cls(
            fps=walk.fps,
            frame_indices=walk.frame_indices.tolist(),
            pictures=walk.silhouettes.tobytes(),
            keypoints=keypoints,
        )

    def sequence(self) -> GaitSequence:
        pictures = np.frombuffer(self.pictures, np.uint8).reshape(-1, 64, 64)
        keypoints = _floats(self.keypoints, (-1, 17, 3)) if self.keypoints is not None else None
        if keypoints is not None and not np.isfinite(keypoints).all():
            raise ValueError("keypoints are not finite")
        return GaitSequence(np.array(self.frame_indices, np.int64), pictures, self.fps, keypoints)


class _Embedded(_Line):
    """A walk by its embedding."""

    model_id: str
    frames: Count
    shape: tuple[Count, Count]
    embedding: Binary
    source: str
    track_id: Whole | None

    @staticmethod
    def facts(walk: NewWalk) -> dict[str, Any]:
        parts, channels = walk.embedding.parts.shape
        return {
            "model_id": walk.embedding.model_id,
            "frames": walk.embedding.frames,
            "shape": (parts, channels),
            "embedding": walk.embedding.parts.astype("<f4").tobytes(),
            "source": walk.source,
            "track_id": walk.track_id,
            "added": walk.added,
        }

    def vectors(self) -> Embedding:
        return Embedding(_floats(self.embedding, self.shape), self.model_id, self.frames)


class _Denial(_Embedded):
    kind: Literal["denial"] = "denial"
    added: Moment

    @classmethod
    def of(cls, walk: NewWalk) -> _Denial:
        return cls(**cls.facts(walk))

    def new_walk(self) -> NewWalk:
        return NewWalk(self.vectors(), self.source, self.track_id, added=self.added)


class _Walk(_Embedded):
    kind: Literal["walk"] = "walk"
    view: str
    seconds: Amount
    added: Moment | None
    silhouettes: _Silhouettes | None
    thumbnail: Binary | None
    measures: tuple[Measure, ...] = ()
    views: Binary | None = None

    @classmethod
    def of(cls, walk: NewWalk) -> _Walk:
        return cls(
            **cls.facts(walk),
            views=tables.views(walk.embedding),
            view=walk.view,
            seconds=walk.seconds,
            silhouettes=_Silhouettes.of(walk.silhouettes) if walk.silhouettes is not None else None,
            thumbnail=walk.thumbnail,
            measures=walk.measures,
        )

    def new_walk(self) -> NewWalk:
        if self.thumbnail is not None and not self.thumbnail.startswith(b"\xff\xd8\xff"):
            raise ValueError("the thumbnail is not a JPEG")
        pieces = None if self.views is None else _floats(self.views, (-1, *self.shape))
        return NewWalk(
            replace(self.vectors(), pieces=pieces),
            self.source,
            self.track_id,
            self.view,
            self.seconds,
            self.silhouettes.sequence() if self.silhouettes is not None else None,
            self.thumbnail,
            self.added,
            self.measures,
        )


class _End(_Line):
    kind: Literal["end"] = "end"
    people: Whole
    walks: Whole
    denials: Whole = 0


_Any: TypeAlias = "_Header | _Person | _Walk | _Denial | _End"
_ANY: TypeAdapter[_Any] = TypeAdapter(
    Annotated[_Header | _Person | _Walk | _Denial | _End, Field(discriminator="kind")]
)


def write_gallery(gallery: GalleryStore, path: Path, progress: Progress | None = None) -> tuple[int, int]:
    """Write a gallery to `path`, whole or not at all, readable by its owner alone; return how many people and walks it
    has.

    The audit log is not written.

    Raises:
        OutputError: there is no permission or no space.
    """
    people = walks = denials = 0
    everybody = len(gallery.people())
    with _noting(None if gallery.read_only else gallery.path) as note, written_whole(path) as temporary:
        note(temporary)
        temporary.touch(mode=0o600)
        stage = (progress or Silent()).stage("Exporting people", everybody)
        with stage as advance, gzip.open(temporary, "wb") as stream:

            def write(line: _Line) -> None:
                stream.write(line.model_dump_json().encode() + b"\n")

            write(_Header(made=datetime.now(timezone.utc)))
            for person, their_walks, denied in gallery.records():
                write(_Person(**{name: getattr(person, name) for name in ("name", "consent", "enrolled", "expires")}))
                for walk in their_walks:
                    write(_Walk.of(walk))
                for walk in denied:
                    write(_Denial.of(walk))
                people, walks, denials = people + 1, walks + len(their_walks), denials + len(denied)
                advance(1)
            write(_End(people=people, walks=walks, denials=denials))
    return people, walks


def copy_gallery(
    source: GalleryStore, target: GalleryStore, *, merge: bool = False, progress: Progress | None = None
) -> tuple[int, int]:
    """Add everybody of one gallery to another one, all or none, and compare what is stored then.

    The audit log of `source` is not copied. Where people of one name are not the same person, as `merge` says, such a
    name is an error. Returns how many people and walks were added.

    Raises:
        GalleryError: a name exists in both and `merge` is false, or the copy differs.
    """
    everybody, watched = len(source.people()), progress or Silent()
    with watched.stage("Copying people", everybody) as advance:

        def records() -> Iterator[Record]:
            for record in source.records():
                yield record
                advance(1)

        added = target.restore(records(), merge=merge)
    with watched.stage("Checking the copy", everybody) as advance:
        missing = {name_key(record.person.name): _digests(record) for record in source.records()}
        for record in target.records():
            if (wanted := missing.get(name_key(record.person.name))) is not None:
                wanted.difference_update(_digests(record))
                advance(1)
    lost = sum(map(len, missing.values()))
    # A merge passes over walks whose embedding the person has already; what else is stored of these may differ.
    if lost and not merge:
        raise GalleryError(
            f"In the copy, {lost} of the walks differ. Forget the copied people there, and copy them again."
        )
    return added


def _digests(record: Record) -> set[bytes]:
    """Return what is the same for two people of whom the same walks and denials are stored."""
    lines = [*map(_Walk.of, record.walks), *map(_Denial.of, record.denials)]
    return {hashlib.sha256(line.model_dump_json().encode()).digest() for line in lines}


def remove_killed_exports(gallery: Path) -> None:
    """Remove what exports of the gallery in the file `gallery` left behind when they were killed.

    Such a file lies beside the one that was to be written, is hidden, and would let anybody recognise these people.
    """
    for note in gallery.parent.glob(f".{escape(gallery.name)}.*{_NOTE}"):
        left: list[Path] = []
        try:
            with closing(sqlite3.connect(note, timeout=0, isolation_level=None)) as db:
                db.execute("BEGIN EXCLUSIVE")  # refused while the export goes on
                if db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                    left = [Path(os.fsdecode(row[0])) for row in db.execute("SELECT path FROM export")]
        except sqlite3.OperationalError:
            continue
        except sqlite3.DatabaseError:  # it was killed while it wrote the note, before it wrote anything else
            pass
        try:
            for path in left:
                path.unlink(missing_ok=True)
            if all(path.parent.is_dir() for path in left):  # otherwise on a disk that is not connected now
                note.unlink(missing_ok=True)
        except OSError as error:
            logger.warning("%s holds people of the gallery and cannot be removed: %s", error.filename, error.strerror)


@contextmanager
def _noting(gallery: Path | None) -> Iterator[Callable[[Path], None]]:
    """Yield a function that notes beside the gallery which file is being written, for `remove_killed_exports`.

    SQLite provides a lock on the note, which ends with a killed program on every system.
    """
    with ExitStack() as stack:

        def note(temporary: Path) -> None:
            if gallery is None:
                return
            place = gallery.with_name(f".{gallery.name}.{uuid.uuid4().hex[:8]}{_NOTE}")
            with explained(place):
                place.touch(mode=0o600)
                stack.callback(place.unlink, missing_ok=True)
                db = sqlite3.connect(place, isolation_level=None)
                stack.callback(db.close)
                try:
                    db.execute("PRAGMA journal_mode = MEMORY")  # there is no second file that could be left
                    db.execute("CREATE TABLE export (path BLOB NOT NULL)")
                    db.execute(
                        "INSERT INTO export VALUES (?)", (os.fsencode(temporary.absolute()),)
                    )  # it may be no text
                    db.execute("BEGIN EXCLUSIVE")
                except sqlite3.OperationalError as error:  # SQLite has its own errors for what the system refuses
                    if "full" in str(error):
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(place)) from error
                    raise OutputError(f"{place} cannot be written: {error}.") from error
            if not place.exists():  # another program took it for one that was left
                note(temporary)

        yield note


def read_gallery(path: Path) -> Iterator[Record]:
    """Yield the people of a file that `write_gallery` wrote, for `GalleryStore.restore`.

    Raises:
        GalleryError: the file cannot be read, is something else, was cut off, is damaged, or a newer program made it.
            It may be raised only when the end of the file is reached.
    """
    lines = _lines(path)
    first = next(lines, None)
    if not isinstance(first, _Header):
        raise _foreign(path)
    if first.version > VERSION:
        raise GalleryError(f"{path} was exported by a newer Gaitprint. Update the program.")
    people = walks = denials = 0
    person: _Person | None = None
    their_walks: list[NewWalk] = []
    denied: list[NewWalk] = []
    for number, line in enumerate(lines, 2):
        if isinstance(line, (_Walk, _Denial)) and person is not None:
            try:
                (their_walks if isinstance(line, _Walk) else denied).append(line.new_walk())
            except ValueError as error:
                raise _damaged(path, f"line {number}: {error}") from error
            walks, denials = walks + isinstance(line, _Walk), denials + isinstance(line, _Denial)
            continue
        if person is not None:
            known = Person(0, person.name, person.consent, person.enrolled, person.expires, len(their_walks))
            yield Record(known, their_walks, denied)
        person, their_walks, denied = None, [], []
        if isinstance(line, _Person):
            person = line
            people += 1
        elif isinstance(line, _End) and (line.people, line.walks, line.denials) == (people, walks, denials):
            if next(lines, None) is not None:
                raise _damaged(path, "there is something after its end")
            return
        else:
            raise _damaged(path, f"line {number} is out of place")
    raise _damaged(path, "its end is missing")


def _lines(path: Path) -> Iterator[_Any]:
    number = 0
    try:
        need_file(path, GalleryError)
        with gzip.open(path, "rb") as stream:
            while line := stream.readline(_LONGEST_LINE):
                number += 1
                yield _ANY.validate_json(line)
    except gzip.BadGzipFile as error:
        if number == 0:
            raise _foreign(path) from error
        raise _damaged(path, str(error)) from error
    except Invalid as error:
        if number == 1:
            raise _foreign(path) from error
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise _damaged(path, f"line {number}, {place}: {first['msg']}") from error
    except (EOFError, zlib.error) as error:
        raise _damaged(path, str(error)) from error
    except OSError as error:
        raise GalleryError(f"{path} cannot be read: {reason_of(error)}.") from error


def _foreign(path: Path) -> GalleryError:
    return GalleryError(f"{path} is not an exported gallery. `python -m app gallery export FILE` writes one.")


def _damaged(path: Path, what: str) -> GalleryError:
    return GalleryError(f"{path} is damaged, so nothing was imported: {what.rstrip('.')}. Export it again.")


def _floats(content: bytes, shape: tuple[int, ...]) -> Floats:
    array: np.ndarray[Any, Any] = np.frombuffer(content, "<f4").astype(np.float32, copy=False)
    return array.reshape(shape)
