"""Events on their way to a receiver that may be slow or gone: one after the other, until each is taken or too old.

They wait in the file of events, so that neither an outage nor the end of the program loses one, or in memory where
there is no such file.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import NamedTuple, Protocol

from app.errors import OutputError
from app.files import explained, write_text
from app.gallery.store import JSON

logger = logging.getLogger(__name__)

ROOM = 1000
"""Events that wait in memory for one receiver."""
FAREWELL = 5.0
"""s that are given to what waits when the watch ends."""

Event = Mapping[str, JSON]


class Waiting(Protocol):
    """Events that wait for a receiver."""

    def put(self, event: Event) -> bool:
        """Take an event that comes after all others, and return whether there was room."""

    def first(self) -> Event | None:
        """Return the event that has waited longest; None where there is none."""

    def done(self) -> None:
        """Go on to the event after the first."""

    def close(self) -> int:
        """Let go of what waits, and return how many events are lost by that."""


class InMemory:
    """Events that wait in memory, `room` at most. At the end of the program they are lost."""

    def __init__(self, room: int = ROOM) -> None:
        self._room, self._events, self._lock = room, deque[Event](), threading.Lock()

    def put(self, event: Event) -> bool:
        with self._lock:
            if len(self._events) == self._room:
                return False
            self._events.append(event)
        return True

    def first(self) -> Event | None:
        with self._lock:
            return self._events[0] if self._events else None

    def done(self) -> None:
        with self._lock:
            self._events.popleft()

    def close(self) -> int:
        with self._lock:
            return len(self._events)


class _Place(NamedTuple):
    """A line of the file of events: where it begins and ends, and the id of its event; none for a place between."""

    line: int
    end: int
    id: str


class Journal:
    """Events that wait in the file of events `path`, from the place on up to which the receiver has taken them.

    Somebody else adds lines to the file. The place is kept beside it, in `FILE.RECEIVER`, and written whole after each
    event. It counts only where the file still has the same event there. Otherwise the file was changed or replaced, and
    what is in it and not older than `keep` is sent again. Where no place is kept, nothing of what is in the file by now
    is sent.

    Raises:
        OutputError: the file cannot be read, or the place not be kept.
    """

    def __init__(self, path: Path, receiver: str, keep: timedelta) -> None:
        self._path, self._receiver = path, receiver
        self._beside = path.with_name(f"{path.name}.{receiver}")
        self._lock = threading.Lock()
        with explained(path):
            self._stream = path.open("rb")
        self._read, self._first, self._at = self._size(), dict[str, JSON](), _Place(0, 0, "")
        taken = _Place(self._read, self._read, "")
        if self._beside.exists():
            kept = self._kept()
            if kept is None:
                logger.warning(
                    "%s was changed: all events in it for the %s that are not too old are sent again.", path, receiver
                )
            taken, self._read = kept or _Place(0, 0, ""), kept.end if kept is not None else 0
            while kept is None and self.first() is not None and older(self._first, keep):
                taken, self._first = self._at, {}
        self._keep(taken)

    def put(self, event: Event) -> bool:
        return True  # it is in the file

    def first(self) -> Event | None:
        with self._lock:
            if not self._first and self._size() < self._read:
                self._read = 0  # somebody has emptied the file
            while not self._first:
                self._stream.seek(self._read)
                line = self._stream.readline()
                if not line.endswith(b"\n"):
                    return None
                begin, self._read = self._read, self._read + len(line)
                if event := _event(line):  # no line that was cut off when the program was killed
                    self._first, self._at = event, _Place(begin, self._read, str(event["id"]))
            return self._first

    def done(self) -> None:
        with self._lock:
            self._first = {}
            try:
                self._keep(self._at)
            except (OutputError, OSError) as error:
                logger.warning("The next watch will send events again that the %s has taken: %s", self._receiver, error)

    def close(self) -> int:
        if self.first() is not None:
            logger.warning(
                "The %s has not taken all events of %s yet: the next watch sends them.", self._receiver, self._path
            )
        return 0

    def _size(self) -> int:
        return os.fstat(self._stream.fileno()).st_size

    def _keep(self, place: _Place) -> None:
        write_text(self._beside, json.dumps(place._asdict()))

    def _kept(self) -> _Place | None:
        """Return the place that is kept; None where the file does not have the same event there."""
        try:
            kept = json.loads(self._beside.read_text())
            place = _Place(int(kept["line"]), int(kept["end"]), str(kept["id"]))
            if place.id == "":
                return place if 0 <= place.end <= self._size() else None
            self._stream.seek(place.line)
            event = _event(self._stream.read(place.end - place.line))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return place if event is not None and event["id"] == place.id else None


class Courier:
    """Brings events from where they wait to a receiver, in a thread of its own and in their order.

    `deliver` takes an event and a flag that is set when the watch ends. It brings the event, and returns whether it was
    taken; None if the watch ended before.
    """

    def __init__(
        self, receiver: str, waiting: Waiting, deliver: Callable[[Event, threading.Event], bool | None]
    ) -> None:
        self.dropped = 0
        self._receiver, self._waiting, self._deliver = receiver, waiting, deliver
        self._closed = threading.Event()
        self._news, self._end = threading.Event(), float("inf")
        self._thread = threading.Thread(target=self._work, name=receiver, daemon=True)
        self._thread.start()

    def send(self, event: Event) -> None:
        """Take an event; this never waits for the receiver."""
        if not self._waiting.put(event):
            self.dropped += 1
        self._news.set()

    def close(self) -> None:
        """Send what still waits, for a short while."""
        self._end = time.monotonic() + FAREWELL
        self._closed.set()
        self._news.set()
        self._thread.join(FAREWELL)
        self.dropped += self._waiting.close()

    def _work(self) -> None:
        while time.monotonic() < self._end:
            event = self._waiting.first()
            if event is None:
                if self._closed.is_set():
                    return
                self._news.wait()
                self._news.clear()
                continue
            try:
                taken = self._deliver(event, self._closed)
            except Exception:  # those after it are still brought
                logger.exception(
                    "An event is not brought to the %s, because of a fault of this program.", self._receiver
                )
                taken = False
            if taken is None:
                return
            self.dropped += not taken
            self._waiting.done()


def older(event: Event, keep: timedelta) -> bool:
    """Whether an event is older than `keep`. One that does not say when it was is not."""
    try:
        return datetime.now(timezone.utc) - datetime.fromisoformat(str(event["time"])) > keep
    except (KeyError, ValueError, TypeError):
        return False


def _event(line: bytes) -> dict[str, JSON] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and isinstance(event.get("id"), str) else None
