"""Tries what a watch needs before it begins: gallery, models, cameras, and where events go. No event is sent."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from app.errors import GaitprintError, GalleryError, OutputError
from app.files import expanded, may_write, need_writable
from app.gallery.opening import exists, is_address, open_store
from app.recognise.judge import check_comparable
from app.runs.build import build
from app.runs.events import ask_broker, ask_webhook
from app.runs.watch import CameraConfig, MqttConfig, WatchConfig, WebhookConfig
from app.settings import Settings
from app.video.live import first_look
from app.video.sources import find_video, is_file

PATIENCE = 20.0
"""s that are given to everything together. A camera has 10 s for its answer and for its first picture."""


@dataclass(frozen=True)
class Finding:
    """What came of one attempt: `what` was tried, whether it `works`, and more about it in a sentence."""

    what: str
    works: bool
    said: str


def check_watch(config: WatchConfig, settings: Settings) -> Iterator[Finding]:
    """Try everything at once, and yield what came of it, in the order of the configuration, within `PATIENCE`.

    `settings` are those of the configuration.
    """
    attempts: dict[str, Callable[[], str]] = {"models and gallery": partial(_known, config, settings)}
    if config.events is not None:
        attempts["events"] = partial(_events, config.events, kept=(config.webhook or config.mqtt) is not None)
    if (webhook := config.webhook) is not None:
        attempts["webhook"] = partial(_webhook, webhook)
    if config.mqtt is not None:
        attempts["broker"] = partial(_broker, config.mqtt)
    for name, camera in config.cameras.items():
        attempts[f"camera {name}"] = partial(_camera, camera)
    found: dict[str, Finding | Exception] = {}

    def attempt(what: str, tried: Callable[[], str]) -> None:
        try:
            found[what] = Finding(what, True, tried())
        except GaitprintError as error:
            found[what] = Finding(what, False, str(error))
        except Exception as error:  # a fault of this program, which ends it
            found[what] = error

    threads = [threading.Thread(target=attempt, args=one, name=one[0], daemon=True) for one in attempts.items()]
    for thread in threads:
        thread.start()
    end = time.monotonic() + PATIENCE
    for what, thread in zip(attempts, threads, strict=True):
        thread.join(max(0.0, end - time.monotonic()))
        came = found.get(what) or Finding(what, False, f"There was no answer within {PATIENCE:.0f} s.")
        if isinstance(came, Exception):
            raise came
        yield came


def _known(config: WatchConfig, settings: Settings) -> str:
    """Load the models, and look into the gallery, which need not be there yet where strangers get numbers."""
    if config.strangers is not None and not exists(config.gallery):
        build(settings)
        if not is_address(config.gallery):
            need_writable(expanded(config.gallery, GalleryError))
        return "The gallery is made when the watch begins."
    with open_store(config.gallery, create=False) as gallery:
        people = len(gallery.people())
        card = build(settings).gait.card
        if people or config.strangers is None:
            check_comparable(gallery, card)
        if config.strangers is not None:
            gallery.need_writable()
    return f"{'1 person is' if people == 1 else f'{people} people are'} known to {card.model_id}."


def _events(file: Path, *, kept: bool) -> str:
    """Look whether lines can be added to the file of events, and where places are `kept` in it, files beside it."""
    if file.exists() and not file.is_dir() and not may_write(file):
        raise OutputError(f"No permission to write {file}. Give another file, or change its permissions.")
    if not file.exists() or file.is_dir() or (kept and file.is_file()):
        need_writable(file)
    return f"{file} can be written."


def _webhook(webhook: WebhookConfig) -> str:
    webhook.secret()
    return ask_webhook(webhook.url)


def _broker(mqtt: MqttConfig) -> str:
    return ask_broker(mqtt.broker())


def _camera(camera: CameraConfig) -> str:
    address = str(camera.address)
    info = first_look(str(find_video(address)) if is_file(address) else address)
    return f"{info.width}x{info.height} px, {float(info.fps):.4g} pictures a second."
