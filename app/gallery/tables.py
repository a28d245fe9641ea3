"""The rows of a gallery's tables: read with a look at every value, and written.

A row that holds what no gallery writes raises `MalformedError`.
"""

from __future__ import annotations

import json
import math
import reprlib
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from functools import wraps
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from app.gallery.codes import AXES, Axes
from app.gallery.database import Connection, MalformedError
from app.gallery.distances import is_same_recording, part_distances
from app.gallery.store import JSON, Denial, EnrolledWalk, Event, Person, composed, name_key
from app.types import LARGEST, Embedding, Floats, Measure

T = TypeVar("T")

PEOPLE = (
    "SELECT person_id, name, consent, enrolled, expires, "
    "(SELECT count(*) FROM walk WHERE walk.person_id = person.person_id) FROM person"
)
BY_NAME = "lower(name), name"
WALKS = (
    "SELECT walk_id, person_id, model_id, source, track_id, view, frames, seconds, added, "
    "EXISTS (SELECT 1 FROM silhouettes WHERE silhouettes.walk_id = walk.walk_id), measures "
    "FROM walk JOIN embedding USING (walk_id)"
)

EMBEDDING = "model_id, frames, parts, channels, vector, pieces"
"""The columns of an embedding."""

_MOST_FRAMES = 250_000
"""More than any walk has: two hours. Its silhouettes would take a gigabyte."""


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


def find_person(db: Connection, name: str) -> Person | None:
    """Return the person of that name, whatever its case.

    Older programs allowed two names that differ in case alone; then it is the one that is written exactly so.
    """
    key = name_key(name)
    ids = [
        (known != composed(name), person_id)
        for person_id, known in db.execute("SELECT person_id, name FROM person")
        if isinstance(known, str) and name_key(known) == key
    ]
    return person(db.execute(f"{PEOPLE} WHERE person_id = ?", (min(ids)[1],)).fetchone()) if ids else None


@_sound
def person(row: Sequence[Any]) -> Person:
    """Read a person of `PEOPLE`."""
    person_id, name, consent, enrolled, expires, walks = row
    ends = _moment(expires) if expires is not None else None
    return Person(person_id, _typed(name, str), _typed(consent, str), _moment(enrolled), ends, walks)


@_sound
def named(row: Sequence[Any]) -> tuple[int, str]:
    """Read the number and the name of a person."""
    person_id, name = row
    return person_id, _typed(name, str)


@_sound
def walk(row: Sequence[Any]) -> EnrolledWalk:
    """Read a walk of `WALKS`."""
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
def denial(row: Sequence[Any]) -> Denial:
    """Read a walk that is not somebody's."""
    denial_id, person_id, model_id, source, track_id, added = row
    model_id, source = (_typed(text, str) for text in (model_id, source))
    return Denial(
        denial_id, person_id, model_id, source, None if track_id is None else _count(track_id, 0), _moment(added)
    )


@_sound
def event(row: Sequence[Any]) -> Event:
    """Read an entry of the audit log."""
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
def embedding(row: Sequence[Any]) -> Embedding:
    """Read the embedding of a walk, with its views if `EMBEDDING` names the columns."""
    model_id, frames, parts, channels, vector, *views = row
    pieces = None
    if views and views[0] is not None:
        pieces = _vector(views[0], (-1, parts, channels))
        _count(len(pieces), 2)
    return Embedding(_vector(vector, (parts, channels)), _typed(model_id, str), _count(frames, 1), pieces)


def is_recording(walk: Embedding, other: Floats) -> bool:
    """Whether `walk` and the parts `other` are one recording. The Euclidean distance tells that for every metric."""
    if walk.parts.shape != other.shape:
        return False
    distance = float(part_distances(walk.parts[None], other[None])[0, 0])
    return is_same_recording(distance, walk, "euclidean")


def numbers(embedding: Embedding) -> bytes:
    """Return the numbers of an embedding as they are stored."""
    return embedding.parts.astype("<f4").tobytes()


def views(embedding: Embedding) -> bytes | None:
    """Return the views of a walk as they are stored; None where it has only one, which is the embedding itself."""
    several = embedding.views
    return several.astype("<f4").tobytes() if len(several) > 1 else None


def key(embedding: Embedding) -> tuple[str, bytes]:
    """Return what is the same for two copies of one embedding."""
    return embedding.model_id, numbers(embedding)


def _vector(content: Any, shape: tuple[int, ...]) -> Floats:
    for size in shape[-2:]:
        _count(size, 1)
    vector: Floats = np.frombuffer(_typed(content, bytes), "<f4").astype(np.float32, copy=False)
    if not np.abs(vector).max(initial=0) < LARGEST:  # nor is NaN
        raise ValueError("its numbers are not finite, or cannot be compared")
    return vector.reshape(shape)


@_sound
def vectors(row: Sequence[Any]) -> Floats:
    """Read the parts of an embedding, float32 (P, C)."""
    _, parts, channels, vector = row
    return _vector(vector, (parts, channels))


@_sound
def shape(row: Sequence[Any]) -> tuple[int, int]:
    """Read how many parts and channels embeddings have."""
    parts, channels = row
    return _count(parts, 1), _count(channels, 1)


@_sound
def axes(row: Sequence[Any]) -> Axes:
    """Read the axes along which walks have codes."""
    _, middle, directions, scale = row
    flat: Floats = np.frombuffer(_typed(middle, bytes), "<f4").astype(np.float32)
    turned: Floats = np.frombuffer(_typed(directions, bytes), "<f4").astype(np.float32).reshape(AXES, len(flat))
    return Axes(flat, turned, _typed(scale, float))


@_sound
def codes(rows: Sequence[Any]) -> NDArray[np.int8]:
    """Read the codes of N walks, int8 (N, `AXES`)."""
    return np.frombuffer(b"".join(row[1] for row in rows), np.int8).reshape(len(rows), AXES)


@_sound
def former_name(row: Sequence[Any]) -> str:
    """Read a name that a person had."""
    return _typed(row[0], str)


@_sound
def model_name(row: Sequence[Any]) -> str:
    """Read the name of a gait model."""
    return _typed(row[0], str)


@_sound
def picture(row: Sequence[Any]) -> bytes:
    """Read a picture of a person, a JPEG."""
    return _typed(row[0], bytes)


def packed(array: np.ndarray, dtype: str) -> bytes:
    """Pack an array of numbers."""
    # In 100 walks of virtual walkers a silhouette takes 299 bytes this way and 579 as PNG; lzma takes 235 bytes, but 25
    # times as long.
    return zlib.compress(np.ascontiguousarray(array, dtype).tobytes())


def unpacked(content: bytes, dtype: str, shape: tuple[int, ...], frames: int | None) -> Any:
    """Unpack what belongs to each frame, of which there are `frames`, or up to `_MOST_FRAMES` where that is not known.

    A megabyte of packed zeros is a gigabyte, so no more is unpacked than there should be.
    """
    unpacker, size = zlib.decompressobj(), np.dtype(dtype).itemsize * math.prod(shape)
    unpacked = unpacker.decompress(content, (_MOST_FRAMES if frames is None else frames) * size + 1)
    if not unpacker.eof or (frames is not None and len(unpacked) != frames * size):
        raise ValueError("there are more or fewer frames than expected")
    array = np.frombuffer(bytearray(unpacked), dtype)
    return array.astype(array.dtype.newbyteorder("="), copy=False).reshape(-1, *shape)


def measured(measures: Sequence[Measure]) -> str:
    """Return the measures of a walk as text."""
    return json.dumps([asdict(measure) for measure in measures], allow_nan=False)


def as_json(details: JSON) -> str:
    """Return the details of an event as text."""
    return json.dumps(details, ensure_ascii=False, allow_nan=False)


def rows_of(db: Connection, query: str, ids: Sequence[int]) -> Iterator[Any]:
    """Yield the rows of a query that ends with ``IN``, for any number of ids."""
    for start in range(0, len(ids), 500):
        some = list(ids[start : start + 500])
        yield from db.execute(f"{query} ({', '.join('?' * len(some))})", some)


def now() -> datetime:
    """Return the time, in UTC."""
    return datetime.now(timezone.utc)


def time_text(moment: datetime) -> str:
    """Return a time as text; the order of such texts is the order of the times."""
    return moment.astimezone(timezone.utc).isoformat(timespec="microseconds")


def end_text(moment: datetime | None) -> str | None:
    """Return the time at which somebody is forgotten as text; None for no limit."""
    return None if moment is None else time_text(moment)


def log(db: Connection, event: str, **details: JSON) -> None:
    """Add an entry to the audit log."""
    db.insert("event", time=time_text(now()), event=event, details=as_json(details))


def model_ids(db: Connection) -> dict[str, int]:
    """Return how many walks there are of each model."""
    rows = db.execute("SELECT model_id, count(*) FROM embedding GROUP BY model_id ORDER BY model_id")
    return {model_name(row): row[1] for row in rows}
