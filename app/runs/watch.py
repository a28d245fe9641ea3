"""Watching several cameras in one process: models are loaded once, and one camera never disturbs another."""

from __future__ import annotations

import logging
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import count, repeat
from pathlib import Path
from threading import Event as Flag
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field

from app.errors import GaitprintError, SettingsError, VideoError
from app.gallery.service import GalleryService
from app.gallery.store import JSON
from app.recognise.strangers import StrangerJudge, StrangerOptions
from app.runs.delivery import Event, InMemory, Journal, Waiting
from app.runs.events import VERSION, Broker, Mqtt, Sink, Webhook, appending
from app.runs.live import LiveOptions, Watcher, WatchSummary
from app.settings import Settings, cores
from app.stages import Stages
from app.types import Frame
from app.video.areas import Areas
from app.video.live import LiveSource, Outage, Pause
from app.video.paint import Label
from app.video.sources import find_video, is_file, public_name
from app.yaml_files import read_yaml, validated

logger = logging.getLogger(__name__)

_IDLE = 0.02  # s to wait where no camera has a picture
_RELOAD = 2.0  # s between two looks at the configuration's file
_PAUSES = (1.0, 2.0, 5.0, 10.0, 30.0)  # s before a camera that broke is opened again
_REMEMBERED = 10_000  # people whose last camera is remembered; each stranger is one, and over months they are many

_STRICT = {"extra": "forbid"}

Share = Annotated[float, Field(ge=0, le=1)]
Keep = Annotated[float, Field(gt=0, le=87_600)]  # ten years
Polygon = Annotated[tuple[tuple[Share, Share], ...], Field(min_length=3)]


def _hours(text: str) -> str:
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d", text):
        raise ValueError("write two times of day, for example 06:00-22:00")
    return text


Hours = Annotated[str, AfterValidator(_hours)]


@dataclass(frozen=True)
class CameraConfig:
    """One camera. `address` is a number, an address or a file; `rate` the most looks a second; `hours` when it is
    watched, in local time. Areas and lines are as in `app.video.areas`."""

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    address: str | int
    rate: Annotated[float, Field(gt=0, le=1000)] | None = None
    hours: Hours | None = None
    ignore: tuple[Polygon, ...] = ()
    interest: tuple[Polygon, ...] = ()
    lines: Mapping[str, tuple[tuple[Share, Share], tuple[Share, Share]]] = field(default_factory=dict)
    loop: bool = False

    def is_open(self, now: datetime) -> bool:
        """Whether the camera is watched at this time of day."""
        if self.hours is None:
            return True
        begin, _, end = self.hours.partition("-")
        clock = f"{now:%H:%M}"
        return begin <= clock < end if begin < end else clock >= begin or clock < end


@dataclass(frozen=True)
class WayConfig:
    """How long people take from one camera to a neighbour, in s."""

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    between: tuple[str, str]
    seconds: tuple[float, float]


@dataclass(frozen=True)
class WebhookConfig:
    """An address for events; the secret that signs them is in the environment variable `secret_variable`. An event is
    tried until it is `keep_hours` old."""

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    url: Annotated[str, Field(pattern=r"^https?://")]
    secret_variable: str = "GAITPRINT_WEBHOOK_SECRET"
    keep_hours: Keep = 24.0

    def secret(self) -> str:
        """Return the secret; `SettingsError` where its variable is not set."""
        if not (secret := os.environ.get(self.secret_variable)):
            raise SettingsError(f"The webhook needs a secret: set the environment variable {self.secret_variable}.")
        return secret


@dataclass(frozen=True)
class MqttConfig:
    """An MQTT broker; its password is in the environment variable `password_variable`. An event waits for the broker
    until it is `keep_hours` old."""

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    host: str
    port: Annotated[int, Field(ge=1, le=65535)] = 1883
    topic: Annotated[str, Field(pattern=r"^[^+#]+$")] = "gaitprint"
    discovery: str | None = "homeassistant"
    user: str | None = None
    password_variable: str = "GAITPRINT_MQTT_PASSWORD"
    tls: bool = False
    keep_hours: Keep = 24.0

    def broker(self) -> Broker:
        """Return the broker, with its password."""
        password = os.environ.get(self.password_variable)
        return Broker(self.host, self.port, self.topic, self.discovery, self.user, password, self.tls)


@dataclass(frozen=True)
class WatchConfig:
    """What is watched. `strangers` left out: who is unknown gets no number."""

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    cameras: Annotated[Mapping[str, CameraConfig], Field(min_length=1)]
    gallery: str = "output/gallery.db"
    strangers: StrangerOptions | None = None
    ways: tuple[WayConfig, ...] = ()
    events: Path | None = None
    webhook: WebhookConfig | None = None
    mqtt: MqttConfig | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> WatchConfig:
        """Read a configuration from a YAML file; `SettingsError` where it cannot be read, or says something unknown."""
        config = validated(cls, read_yaml(path, SettingsError), str(path), SettingsError)
        named = {name for way in config.ways for name in way.between}
        if missing := sorted(named - set(config.cameras)):
            raise SettingsError(f"{path}: 'ways' names cameras that do not exist: {', '.join(missing)}.")
        Settings().changed(config.settings)
        return config

    def sinks(self) -> list[Sink]:
        """Return the places for events besides the lines of JSON.

        Raises:
            SettingsError: the secret of the webhook is not set.
            MissingExtraError: MQTT needs a package.
            OutputError: the file of events cannot be read, or nothing be written beside it.
        """
        found: list[Sink] = []
        if self.webhook is not None:
            keep = timedelta(hours=self.webhook.keep_hours)
            found.append(Webhook(self.webhook.url, self.webhook.secret(), self._waiting("webhook", keep), keep))
        if self.mqtt is not None:
            keep = timedelta(hours=self.mqtt.keep_hours)
            found.append(Mqtt(self.mqtt.broker(), list(self.cameras), self._waiting("mqtt", keep), keep))
        return found

    def _waiting(self, receiver: str, keep: timedelta) -> Waiting:
        """Where events wait for a receiver: in the file of events, if there is one that can be read again."""
        if self.events is None:
            return InMemory()
        appending(self.events).close()
        return Journal(self.events, receiver, keep) if self.events.is_file() else InMemory()


@dataclass(frozen=True)
class _Sighting:
    camera: str
    time: float


class Journeys:
    """Notices when somebody goes from one camera to another: one event for each time."""

    def __init__(self, ways: Sequence[WayConfig]) -> None:
        self._ways = {frozenset(way.between): way.seconds for way in ways}
        self._last: dict[str, _Sighting] = {}

    def follow(self, event: Event, now: float) -> Event | None:
        """Take an event of a camera, and return one about the way that somebody has come, if they have."""
        who, camera = event.get("name") or event.get("stranger"), str(event["source"])
        if not isinstance(who, str) or event["event"] not in ("named", "renamed", "left"):
            return None
        before = self._last.pop(who, None)
        self._last[who] = _Sighting(camera, now)
        if len(self._last) > _REMEMBERED:  # those who came first are forgotten first
            del self._last[next(iter(self._last))]
        if before is None or before.camera == camera:
            return None
        in_view = event.get("in_view")
        took = max(0.0, now - before.time - (float(in_view) if isinstance(in_view, (int, float)) else 0.0))
        moved: dict[str, JSON] = {"event": "moved", "time": event["time"], "source": camera, "from": before.camera}
        moved |= {key: event[key] for key in ("name", "stranger", "probability") if event.get(key) is not None}
        moved["took"] = round(took, 1)
        if self._ways:
            low, high = self._ways.get(frozenset((camera, before.camera)), (1.0, 0.0))
            moved["expected"] = low <= took <= high
        return moved


@dataclass(frozen=True)
class Look:
    """What a camera has shown: the frame, who is in it, and when it was taken up, in s of `time.monotonic`."""

    frame: Frame
    labels: Sequence[Label]
    taken: float


class Camera:
    """One camera of a watch: it is opened in a thread of its own, and again after it broke.

    `problem` says why it could not be opened or broke, None while it is watched.
    """

    def __init__(
        self,
        name: str,
        config: CameraConfig,
        looks: float,
        make: Callable[[LiveSource, Camera], Watcher],
        show: Callable[[Camera, Look], None] | None = None,
    ) -> None:
        self.name, self.config, self._make, self._show = name, config, make, show
        self.problem: str | None = None
        self.looks = config.rate or looks
        self.done = False
        self.summary, self.broken = WatchSummary(), 0
        self._source: LiveSource | None = None
        self._watcher: Watcher | None = None
        self._opening: threading.Thread | None = None
        self._failure: Exception | None = None
        self._opened: LiveSource | None = None
        self._tries, self._next = 0, 0.0

    @property
    def state(self) -> str:
        """``watching``, ``opening``, ``closed`` (out of its hours) or ``done`` (a file that ended)."""
        if self.done:
            return "done"
        if self._watcher is not None:
            return "watching"
        return "opening" if self.config.is_open(datetime.now()) else "closed"

    @property
    def dropped(self) -> int:
        """How many frames came that nobody took, so far."""
        return self.summary.dropped + (self._source.dropped if self._source is not None else 0)

    @property
    def frames(self) -> int:
        """How many frames were looked at so far."""
        return self.summary.frames + (self._watcher.summary.frames if self._watcher is not None else 0)

    def step(self, now: float) -> bool:
        """Look at the next frame, if there is one; return whether there was."""
        if self.done:
            return False
        try:
            if self._watcher is None or self._source is None:
                return self._open(now)
            if not self.config.is_open(datetime.now()):
                self.close()
                return False
            news = self._source.take(0)
            if isinstance(news, Outage):
                self._watcher.lose(news)
            elif isinstance(news, Pause):
                self._watcher.pause(news)
            elif news is not None:
                tracked = self._watcher.look(news)
                if self._show is not None:
                    self._show(self, Look(news, self._watcher.labels(tracked), now))
            elif self._source.ended:
                self.close()
                self.done = True
            return news is not None
        except Exception as error:  # whatever is wrong with this camera, the others go on
            self._break(error, now)
            return False

    def close(self) -> None:
        """Report that everybody left, and let the source go."""
        source, watcher, self._source, self._watcher = self._source, self._watcher, None, None
        if watcher is not None:
            watcher.end()
            self._count(watcher.summary)
        if source is not None:
            source.__exit__()

    def _open(self, now: float) -> bool:
        if self._opening is None:
            if now >= self._next and self.config.is_open(datetime.now()):
                self._opening = threading.Thread(target=self._connect, name=f"opening {self.name}", daemon=True)
                self._opening.start()
            return False
        if self._opening.is_alive():
            return False
        self._opening = None
        failure, opened, self._failure, self._opened = self._failure, self._opened, None, None
        if failure is not None:
            raise failure
        if opened is not None:
            self._source = opened.__enter__()
            self._watcher, self._tries, self.problem = self._make(opened, self), 0, None
        return opened is not None

    def _connect(self) -> None:
        try:
            address = str(self.config.address)
            if is_file(address):
                address = str(find_video(address))
            self._opened = LiveSource(address, loop=self.config.loop, looks=self.looks)
            self._opened.name = self.name
        except Exception as error:  # raised again by `_open`
            self._failure = error

    def _break(self, error: Exception, now: float) -> None:
        self.problem = str(error) if isinstance(error, GaitprintError) else "a fault of this program"
        if isinstance(error, GaitprintError):
            logger.warning("Camera '%s': %s", self.name, error)
        else:
            logger.exception("Camera '%s' is opened again, because of a fault of this program.", self.name)
        watcher, source, self._watcher, self._source = self._watcher, self._source, None, None
        if watcher is not None:
            self._count(watcher.summary)
        if source is not None:
            self.summary.dropped += source.dropped
            source.__exit__()
        self.broken += 1
        missing = isinstance(error, VideoError) and is_file(str(self.config.address))
        self.done = missing  # a file that cannot be played will not heal
        self._next = now + _PAUSES[min(self._tries, len(_PAUSES) - 1)]
        self._tries += 1

    def _count(self, summary: WatchSummary) -> None:
        self.summary.frames += summary.frames
        self.summary.dropped += summary.dropped
        self.summary.outages += summary.outages


class Watch:
    """Several cameras, one thread for each core: each gives at most one frame before the next round.

    A network looks at one frame on one core, so cameras side by side keep all of them busy.
    """

    def __init__(
        self,
        config: WatchConfig,
        gallery: GalleryService,
        stages: Stages,
        sinks: Sequence[Sink],
        live: LiveOptions | None = None,
        show: Callable[[Camera, Look], None] | None = None,
    ) -> None:
        """Prepare a watch of the cameras of `config`; events go to all `sinks`, and every frame to `show`.

        Several threads may call `show` at once, but only one of them for a camera.
        """
        self._gallery, self._stages, self._sinks = gallery, stages, sinks
        self._live = live or LiveOptions()
        self._strangers: StrangerJudge | None = None
        if config.strangers is not None and gallery.strangers is not None:
            self._strangers = StrangerJudge(
                gallery.strangers.store, stages.gait.card, stages.settings.match, config.strangers
            )
        self._journeys = Journeys(config.ways)
        self._show = show
        self._emitting, self._run, self._sent = threading.Lock(), secrets.token_hex(4), count(1)
        self.cameras = {name: self._camera(name, one) for name, one in config.cameras.items()}

    def run(self, stop: Flag, reload: Path | None = None) -> None:
        """Watch until `stop` is set or all cameras are files that ended.

        Cameras follow the configuration's file `reload` when it changes. A file with a mistake is not followed.
        """
        with ThreadPoolExecutor(cores(), thread_name_prefix="camera") as pool:
            self._rounds(pool, stop, reload)
        for camera in self.cameras.values():
            camera.close()
        for sink in self._sinks:
            sink.close()

    def _rounds(self, pool: ThreadPoolExecutor, stop: Flag, reload: Path | None) -> None:
        begun = last_expiry = last_reload = time.monotonic()
        stamp = _stamp(reload)
        while not stop.is_set() and not all(camera.done for camera in self.cameras.values()):
            now = time.monotonic()
            if self._live.seconds is not None and now - begun >= self._live.seconds:
                break
            if now - last_expiry >= self._live.expire_every:
                last_expiry = now
                try:
                    self._gallery.expire()
                except GaitprintError as error:  # tried again a minute later
                    logger.warning("Nobody could be forgotten: %s", error)
            if reload is not None and now - last_reload >= _RELOAD:
                last_reload = now
                if (new := _stamp(reload)) != stamp:
                    stamp = new
                    self._follow(reload)
            busy = list(pool.map(Camera.step, list(self.cameras.values()), repeat(now)))
            if not any(busy):
                stop.wait(_IDLE)

    def _camera(self, name: str, config: CameraConfig) -> Camera:
        return Camera(name, config, self._stages.settings.video.looks, self._watcher, self._show)

    def _watcher(self, source: LiveSource, camera: Camera) -> Watcher:
        stages, config = self._stages.twin(), camera.config
        stages = replace(stages, settings=stages.settings.changed({"video.looks": camera.looks}))
        areas = Areas(config.ignore, config.interest, config.lines)
        return Watcher(source, self._gallery.store, stages, self._emit, self._live, self._strangers, areas)

    def _emit(self, event: Event) -> None:
        with self._emitting:
            moved = self._journeys.follow(event, time.monotonic())
            for one in (event, moved) if moved is not None else (event,):
                numbered = {"version": VERSION, "id": f"{self._run}-{next(self._sent)}", **one}
                for sink in self._sinks:
                    sink.send(numbered)
        if moved is not None:
            self._gallery.store.record("moved", **{key: value for key, value in moved.items() if key != "event"})

    def _follow(self, path: Path) -> None:
        """Open, close and change cameras as the file says now."""
        try:
            config = WatchConfig.read(path)
        except SettingsError as error:
            logger.warning("The watch goes on as before: %s", error)
            return
        for name, camera in list(self.cameras.items()):
            if config.cameras.get(name) != camera.config:
                camera.close()
                del self.cameras[name]
        for name, one in config.cameras.items():
            if name not in self.cameras:
                logger.info("Camera '%s' is watched from now on: %s.", name, public_name(str(one.address)))
                self.cameras[name] = self._camera(name, one)
        self._journeys = Journeys(config.ways)


def _stamp(path: Path | None) -> object:
    try:
        return (path.stat().st_mtime_ns, path.stat().st_size) if path is not None else None
    except OSError:  # an editor is replacing it
        return None
