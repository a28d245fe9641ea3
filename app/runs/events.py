"""Where the events of a watch go: lines of JSON, a webhook, an MQTT broker.

A place that is slow or gone never holds up the watch: each has a thread and a queue of its own. What finds no room in
the queue, or is refused again and again, is counted as dropped.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import queue
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TextIO

from app.errors import MissingExtraError
from app.files import explained
from app.gallery.store import JSON

logger = logging.getLogger(__name__)

VERSION = 1
"""Of the events; it rises when a field changes its meaning or goes."""
_ROOM = 1000  # events that wait for one place
_ATTEMPTS = 8
_PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)  # s before each further attempt; the last also holds for all later ones
_TIMEOUT = 10.0  # s
_FAREWELL = 5.0  # s that are given to what waits when the watch ends

Event = Mapping[str, JSON]


class Sink(Protocol):
    """A place for events."""

    dropped: int

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


class Webhook:
    """Posts each event to an address, one after the other, and tries again where that fails.

    The header ``X-Gaitprint-Signature`` signs ``X-Gaitprint-Time`` and the body (`signature`).
    """

    def __init__(self, url: str, secret: str, pauses: Sequence[float] = _PAUSES, room: int = _ROOM) -> None:
        self._url, self._secret, self._pauses = url, secret, pauses
        self._waiting: queue.Queue[Event | None] = queue.Queue(room)
        self._closed = threading.Event()
        self.dropped = 0
        self._thread = threading.Thread(target=self._work, name="webhook", daemon=True)
        self._thread.start()

    def send(self, event: Event) -> None:
        try:
            self._waiting.put_nowait(event)
        except queue.Full:
            self.dropped += 1

    def close(self) -> None:
        self._closed.set()
        while True:  # where there is no room for the end, the oldest event makes room
            with suppress(queue.Full):
                self._waiting.put_nowait(None)
                break
            with suppress(queue.Empty):
                self._waiting.get_nowait()
                self.dropped += 1
        self._thread.join(_FAREWELL)

    def _work(self) -> None:
        while (event := self._waiting.get()) is not None:
            if not self._delivered(json.dumps(event, default=str).encode()):
                self.dropped += 1

    def _delivered(self, body: bytes) -> bool:
        for attempt in range(_ATTEMPTS):
            if attempt:
                pause = self._pauses[min(attempt, len(self._pauses)) - 1]
                if self._closed.wait(pause):
                    return False
            moment = str(int(time.time()))
            headers = {
                "Content-Type": "application/json",
                "X-Gaitprint-Time": moment,
                "X-Gaitprint-Signature": signature(self._secret, moment, body),
            }
            try:
                request = urllib.request.Request(self._url, body, headers, method="POST")
                with urllib.request.urlopen(request, timeout=_TIMEOUT):
                    return True
            except (OSError, ValueError) as error:
                if isinstance(error, urllib.error.HTTPError) and 400 <= error.code < 500 and error.code != 429:
                    logger.warning("The webhook refuses an event with status %d, so it is not sent again.", error.code)
                    return False
                logger.info("The webhook cannot be reached: %s.", error)
        logger.warning("The webhook did not take an event in %d attempts.", _ATTEMPTS)
        return False


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


class Mqtt:
    """Publishes events at an MQTT broker, and tells Home Assistant about the cameras.

    ``TOPIC/CAMERA/last`` keeps who was seen last, and ``TOPIC/status`` says ``online`` or ``offline``. The client
    connects again by itself.

    Raises:
        MissingExtraError: paho-mqtt is not installed.
    """

    def __init__(self, broker: Broker, cameras: Sequence[str]) -> None:
        try:
            from paho.mqtt.client import Client
            from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
        except ModuleNotFoundError as error:
            raise MissingExtraError('MQTT needs paho-mqtt: pip install -e ".[cameras]"') from error
        self._broker, self._cameras, self._full = broker, cameras, MQTTErrorCode.MQTT_ERR_QUEUE_SIZE
        self.dropped = 0
        self._introduced = threading.Event()
        self._client = client = Client(CallbackAPIVersion.VERSION2)
        client.max_queued_messages_set(_ROOM)
        client.will_set(f"{broker.topic}/status", "offline", qos=1, retain=True)
        if broker.user is not None:
            client.username_pw_set(broker.user, broker.password)
        if broker.tls:
            client.tls_set()
        client.on_connect = self._introduce
        client.connect_async(broker.host, broker.port)
        client.loop_start()

    def send(self, event: Event) -> None:
        topic, text = f"{self._broker.topic}/{_plain(str(event['source']))}", json.dumps(event, default=str)
        self._publish(f"{topic}/event", text)
        if event.get("name") or event.get("stranger"):
            self._publish(f"{topic}/last", text, retain=True)

    def close(self) -> None:
        self._introduced.wait(_FAREWELL)
        sent = self._client.publish(f"{self._broker.topic}/status", "offline", qos=1, retain=True)
        with suppress(RuntimeError, ValueError):  # not connected, or no room in the queue
            sent.wait_for_publish(_FAREWELL)
        self._client.disconnect()
        self._client.loop_stop()

    def _publish(self, topic: str, text: str, *, retain: bool = False) -> None:
        if self._client.publish(topic, text, qos=1, retain=retain).rc == self._full:
            self.dropped += 1

    def _introduce(self, *_: Any) -> None:
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
