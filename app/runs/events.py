"""Where the events of a watch go: lines of JSON, a webhook, an MQTT broker.

A place that is slow or gone never holds up the watch: each has a thread of its own, and events wait for it
(`app.runs.delivery`). What finds no room, is refused or becomes too old is counted as dropped.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from http.client import HTTPException
from itertools import count
from pathlib import Path
from queue import Empty, Queue
from typing import Any, Protocol, TextIO

from app.errors import OutputError, needing, reason_of
from app.files import explained
from app.runs.delivery import FAREWELL, ROOM, Courier, Event, InMemory, Waiting, older

logger = logging.getLogger(__name__)

VERSION = 1
"""Of the events; it rises when a field changes its meaning or goes."""
KEEP = timedelta(hours=24)
"""For so long an event is tried."""
_PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)  # s before each further attempt; the last also holds for all later ones
_LATER = (408, 429)  # statuses that ask to come again, though they tell of a mistake of ours
_TIMEOUT = 10.0  # s
_UNREACHABLE = "cannot be reached. Check mqtt.host and mqtt.port, and that it runs"
_LOOK = 0.5  # s between two looks at whether the watch ends


class Sink(Protocol):
    """A place for events."""

    @property
    def dropped(self) -> int:
        """How many events it did not get, and never will."""

    def send(self, event: Event) -> None:
        """Take an event; this never waits for the network."""

    def close(self) -> None:
        """Send what still waits, for a short while."""


def appending(path: Path) -> TextIO:
    """Open a file of lines to add more; its folder is made where it is missing.

    A line that broke off, because the program was killed, is ended first, so that it spoils no other.

    Raises:
        OutputError: the file cannot be written.
    """
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file() and path.stat().st_size:
            with path.open("rb+") as stream:
                stream.seek(-1, os.SEEK_END)
                if stream.read(1) != b"\n":
                    stream.write(b"\n")
        return path.open("a", encoding="utf-8", errors="backslashreplace")


class Lines:
    """Writes each event as one line of JSON, which is in the file when `send` returns."""

    def __init__(self, out: TextIO, write: Callable[[Event, TextIO], None]) -> None:
        self._out, self._write = out, write
        self.dropped = 0

    def send(self, event: Event) -> None:
        self._write(event, self._out)
        self._out.flush()

    def close(self) -> None:
        self._out.flush()


def signature(secret: str, moment: str, body: bytes) -> str:
    """Return what signs a request: HMAC-SHA256 (RFC 2104) of the time, a full stop, and the body."""
    return "sha256=" + hmac.new(secret.encode(), moment.encode() + b"." + body, hashlib.sha256).hexdigest()


class _NoDetours(urllib.request.HTTPRedirectHandler):
    """Lets an answer that points elsewhere be an error: followed, a POST would become a GET without its event."""

    def redirect_request(self, *_: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoDetours)


def _moved(error: urllib.error.HTTPError) -> str | None:
    """Return what to do where a webhook points to another address; None where it does not."""
    if not 300 <= error.code < 400:
        return None
    place = error.headers.get("Location")
    where = f" to {place}" if place else ""
    return f"The webhook redirects{where} (status {error.code}). Give that address as webhook.url."


def ask_webhook(url: str) -> str:
    """Ask a webhook, without an event, whether it is there (the method OPTIONS, RFC 9110); return what it says.

    Raises:
        OutputError: it cannot be reached, or points elsewhere, or nothing is at its path.
    """
    try:
        with _OPENER.open(urllib.request.Request(url, method="OPTIONS"), timeout=_TIMEOUT) as answer:
            status, allowed = int(answer.status), str(answer.headers.get("Allow") or "POST")
    except urllib.error.HTTPError as error:
        if moved := _moved(error):
            raise OutputError(moved) from error
        status, allowed = error.code, str(error.headers.get("Allow") or "POST")
    except (OSError, ValueError, HTTPException) as error:
        raise OutputError(f"The webhook cannot be reached: {reason_of(error)}. Check webhook.url.") from error
    if status in (404, 410):
        raise OutputError(f"A server answers, but says that nothing is there (status {status}). Check webhook.url.")
    if "POST" not in allowed.upper():
        raise OutputError(f"It takes no events: it allows {allowed}, and not POST. Check webhook.url.")
    if status >= 500 and status != 501:  # 501: it does not know the method
        raise OutputError(f"It answers, but with a fault (status {status}). Events wait until it accepts them.")
    return f"It answers (status {status} to a question without an event)."


class Webhook(Courier):
    """Posts each event to an address, one after the other, and tries again where that fails, for as long as `keep`.

    The header ``X-Gaitprint-Signature`` signs ``X-Gaitprint-Time`` and the body with the secret (`signature`). Events
    wait in memory, if not in `waiting`. `pauses` are s before each further attempt; the last also holds for all later
    ones.
    """

    def __init__(
        self,
        url: str,
        secret: str,
        waiting: Waiting | None = None,
        keep: timedelta = KEEP,
        pauses: Sequence[float] = _PAUSES,
    ) -> None:
        self._url, self._secret, self._keep, self._pauses = url, secret, keep, pauses
        super().__init__("webhook", waiting or InMemory(), self._delivered)

    def _delivered(self, event: Event, closed: threading.Event) -> bool | None:
        body = json.dumps(event, default=str).encode()
        for attempt in count():
            if attempt:
                pause = self._pauses[min(attempt, len(self._pauses)) - 1]
                if closed.wait(pause):
                    return None
            if older(event, self._keep):
                logger.warning("The webhook did not take an event of %s in time.", event.get("time"))
                return False
            moment = str(int(time.time()))
            headers = {
                "Content-Type": "application/json",
                "X-Gaitprint-Time": moment,
                "X-Gaitprint-Signature": signature(self._secret, moment, body),
            }
            try:
                request = urllib.request.Request(self._url, body, headers, method="POST")
                with _OPENER.open(request, timeout=_TIMEOUT):
                    return True
            except (OSError, ValueError, HTTPException) as error:
                if isinstance(error, urllib.error.HTTPError) and (moved := _moved(error)):
                    if not attempt:
                        logger.warning("%s Events wait.", moved)
                    continue
                if isinstance(error, urllib.error.HTTPError) and 400 <= error.code < 500 and error.code not in _LATER:
                    logger.warning("The webhook refuses an event with status %d, so it is not sent again.", error.code)
                    return False
                logger.info("The webhook cannot be reached: %s.", reason_of(error))
        raise AssertionError("attempts never end")


@dataclass(frozen=True)
class Broker:
    """An MQTT broker. Events of a camera go to ``TOPIC/CAMERA/event``; `discovery` is the prefix of Home Assistant."""

    host: str
    port: int = 1883
    topic: str = "gaitprint"
    discovery: str | None = "homeassistant"
    user: str | None = None
    password: str | None = None
    tls: bool = False


def _client_of(broker: Broker) -> Any:
    """Return a client that knows how to sign in at a broker; `MissingExtraError` where paho-mqtt is not installed."""
    with needing('MQTT needs paho-mqtt: pip install -e ".[cameras]"'):
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion
    client = Client(CallbackAPIVersion.VERSION2)
    if broker.user is not None:
        client.username_pw_set(broker.user, broker.password)
    if broker.tls:
        client.tls_set()
    return client


def _refused(code: Any) -> str:
    """Return why a broker refuses a connection, and what to do."""
    return f"refuses the connection ({code}). Check mqtt.user, and the password in its variable"


def ask_broker(broker: Broker) -> str:
    """Connect to a broker and leave it again, without publishing anything; return what came of it.

    Raises:
        MissingExtraError: paho-mqtt is not installed.
        OutputError: it cannot be reached, or refuses the connection.
    """
    client, place = _client_of(broker), f"The broker {broker.host}, port {broker.port},"
    client.connect_timeout = _TIMEOUT
    answers: Queue[Any] = Queue()
    client.on_connect = lambda _client, _data, _flags, code, *_: answers.put(code)
    try:
        client.connect(broker.host, broker.port)
    except (OSError, ValueError) as error:
        raise OutputError(f"{place} {_UNREACHABLE} ({reason_of(error)}).") from error
    client.loop_start()
    try:
        code = answers.get(timeout=_TIMEOUT)
    except Empty:
        raise OutputError(f"{place} has not answered within {_TIMEOUT:.0f} s. Is it an MQTT broker?") from None
    finally:
        client.disconnect()
        client.loop_stop()
    if code.is_failure:
        raise OutputError(f"{place} {_refused(code)}.")
    return f"The broker {broker.host} takes the connection."


class Mqtt(Courier):
    """Publishes events that are not older than `keep` at an MQTT broker, and tells Home Assistant about the cameras.

    ``TOPIC/CAMERA/last`` keeps who was seen last, and ``TOPIC/status`` says ``online`` or ``offline``. The client
    connects again by itself. Events wait in memory, if not in `waiting`.

    Raises:
        MissingExtraError: paho-mqtt is not installed.
    """

    def __init__(
        self, broker: Broker, cameras: Sequence[str], waiting: Waiting | None = None, keep: timedelta = KEEP
    ) -> None:
        self._broker, self._cameras, self._keep = broker, cameras, keep
        self._introduced = threading.Event()
        self._taken, self._acknowledged = threading.Condition(), set[int]()
        self._client = client = _client_of(broker)
        client.max_queued_messages_set(ROOM)
        client.will_set(f"{broker.topic}/status", "offline", qos=1, retain=True)
        self._is_away = False
        client.on_connect, client.on_connect_fail = self._connected, self._unreachable
        client.on_publish = self._acknowledge
        client.connect_async(broker.host, broker.port)
        client.loop_start()
        super().__init__("broker", waiting or InMemory(), self._delivered)

    def close(self) -> None:
        self._introduced.wait(FAREWELL)
        super().close()
        sent = self._client.publish(f"{self._broker.topic}/status", "offline", qos=1, retain=True)
        with suppress(RuntimeError, ValueError):  # not connected, or no room in the queue
            sent.wait_for_publish(FAREWELL)
        self._client.disconnect()
        self._client.loop_stop()

    def _delivered(self, event: Event, closed: threading.Event) -> bool | None:
        """Publish an event once; the client sends it until the broker says that it has it."""
        if older(event, self._keep):
            logger.warning("The broker did not take an event of %s in time.", event.get("time"))
            return False
        topic, text = f"{self._broker.topic}/{_plain(str(event['source']))}", json.dumps(event, default=str)
        sent = {self._publish(f"{topic}/event", text)}
        if event.get("name") or event.get("stranger"):
            sent.add(self._publish(f"{topic}/last", text, retain=True))
        with self._taken:
            while not sent <= self._acknowledged:
                if closed.is_set() and not self._client.is_connected():
                    return None
                self._taken.wait(_LOOK)
            self._acknowledged.clear()
        return True

    def _publish(self, topic: str, text: str, *, retain: bool = False) -> int:
        return int(self._client.publish(topic, text, qos=1, retain=retain).mid)

    def _acknowledge(self, _client: Any, _data: Any, number: int, *_: Any) -> None:
        with self._taken:
            self._acknowledged.add(number)
            self._taken.notify_all()

    def _connected(self, _client: Any, _data: Any, _flags: Any, code: Any, *_: Any) -> None:
        if code.is_failure:
            self._away(_refused(code))
            return
        if self._is_away:
            self._is_away = False
            logger.info("The broker %s takes events again.", self._broker.host)
        self._introduce()

    def _unreachable(self, *_: Any) -> None:
        self._away(_UNREACHABLE)

    def _away(self, why: str) -> None:
        """Say once that the broker is away; the client tries again by itself."""
        if not self._is_away:
            self._is_away = True
            logger.warning("The broker %s, port %d, %s. Events wait.", self._broker.host, self._broker.port, why)

    def _introduce(self) -> None:
        """Say after each connection that the watch is here; Home Assistant then makes a sensor for each camera."""
        broker = self._broker
        self._publish(f"{broker.topic}/status", "online", retain=True)
        for camera in self._cameras if broker.discovery else ():
            plain = _plain(camera)
            sensor = {
                "name": "Last seen",
                "unique_id": f"{broker.topic}_{plain}_last",
                "state_topic": f"{broker.topic}/{plain}/last",
                "value_template": "{{ value_json.name or value_json.stranger }}",
                "json_attributes_topic": f"{broker.topic}/{plain}/last",
                "availability_topic": f"{broker.topic}/status",
                "device": {
                    "identifiers": [f"{broker.topic}_{plain}"],
                    "name": f"Gaitprint {camera}",
                    "manufacturer": "Gaitprint",
                },
            }
            self._publish(f"{broker.discovery}/sensor/{broker.topic}_{plain}/config", json.dumps(sensor), retain=True)
        self._introduced.set()


def _plain(name: str) -> str:
    """Return a name as a part of a topic, where +, # and / mean something."""
    return re.sub(r"[^\w-]+", "_", name)
