"""Cameras in a separate process: ``python -m app.web.live_worker``.

A `LiveTask` is the first line of standard input; the end of standard input means that the server is gone. To standard
output go messages: a line of JSON, then as many bytes as its ``size`` says.

``picture``: a JPEG of a ``camera``, with ``labels`` (each with ``box`` in shares of width and height, ``name`` and
``note``) and ``latency`` in s. ``state``: the ``cameras`` by name. ``event``: an event of a watch.

With ``--test ADDRESS`` it writes one JPEG of a camera to standard output, or says on standard error what is wrong.
"""

from __future__ import annotations

import json
import logging
import math
import os
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from pydantic import BaseModel

from app.errors import GaitprintError
from app.settings import Settings

if TYPE_CHECKING:
    from app.runs.delivery import Event
    from app.runs.watch import Camera, Look

_EVERY = 0.2  # s between two pictures of a camera
_STATES = 1.0  # s between two messages about states
_WIDTH = 960  # px of a picture at most
_PATIENCE = 15.0  # s for the test picture
_FOR_EVER = math.inf


class LiveTask(BaseModel):
    """Which cameras are watched, by name, and with what. Files, which are played again and again, are `files`.

    `strangers` is whether who is unknown gets a lasting number.
    """

    cameras: dict[str, str]
    files: list[str]
    strangers: bool
    database: str | Path
    config: Path | None
    assignments: list[str]
    work: Path


class _Messages:
    """Writes messages, from several threads."""

    def __init__(self, out: BinaryIO) -> None:
        self._out, self._lock = out, threading.Lock()
        self.dropped = 0

    def write(self, message: dict[str, Any], content: bytes = b"") -> None:
        line = json.dumps({**message, "size": len(content)}, default=str).encode()
        with self._lock:
            self._out.write(line + b"\n" + content)
            self._out.flush()

    def send(self, event: Event) -> None:
        self.write({"kind": "event", "event": dict(event)})

    def close(self) -> None:
        """Nothing waits."""


class _Pictures:
    """Sends some pictures of each camera."""

    def __init__(self, messages: _Messages, settings: Settings) -> None:
        self._messages, self._blur = messages, settings.output.blur
        self._last: dict[str, float] = {}
        self._least: dict[str, float] = {}
        self.latency: dict[str, float] = {}

    def show(self, camera: Camera, look: Look) -> None:
        import cv2
        import numpy as np

        from app.results.render import region_to_blur
        from app.video.blur import blur

        now, name = time.monotonic(), camera.name
        # How much later than the quickest picture so far: what waited before that is not known.
        least = self._least[name] = min(self._least.get(name, math.inf), look.taken - look.frame.time)
        self.latency[name] = round(now - look.frame.time - least, 3)
        if now - self._last.get(name, -math.inf) < _EVERY:
            return
        self._last[name] = now
        image = look.frame.image.copy()
        regions = (region_to_blur(label.box, label.identity, self._blur) for label in look.labels)
        blur(image, [region for region in regions if region is not None])
        height, width = image.shape[:2]
        if width > _WIDTH:
            image = np.asarray(
                cv2.resize(image, (_WIDTH, round(height * _WIDTH / width)), interpolation=cv2.INTER_AREA)
            )
        labels = [
            {
                "box": [round(float(side), 4) for side in label.box / (width, height, width, height)],
                "name": label.identity,
                "note": label.note,
                "doubtful": label.doubtful,
            }
            for label in look.labels
        ]
        jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 75])[1].tobytes()
        about = {"kind": "picture", "camera": name, "labels": labels, "latency": self.latency[name]}
        self._messages.write(about, jpeg)


def watch(task: LiveTask, messages: _Messages, stop: threading.Event) -> None:
    """Watch until `stop` is set."""
    from app.gallery.opening import open_store, open_strangers
    from app.gallery.service import GalleryService
    from app.recognise.strangers import StrangerOptions
    from app.runs.build import build
    from app.runs.live import LiveOptions
    from app.runs.watch import CameraConfig, Watch, WatchConfig
    from app.weights.gathering import gathered

    settings = Settings.load(task.config, task.assignments)
    cameras = {name: CameraConfig(address, loop=name in task.files) for name, address in task.cameras.items()}
    with open_store(task.database) as store:
        strangers = open_strangers(task.database, create=task.strangers)
        gallery = GalleryService(store, [task.work], settings.match.metric, strangers=strangers)
        pictures = _Pictures(messages, settings)
        # The server forgets people, with all that it keeps of them.
        live = LiveOptions(expire_every=_FOR_EVER, may_be_empty=True)
        config = WatchConfig(cameras, str(task.database), StrangerOptions() if task.strangers else None)
        with gathered():
            stages = build(settings)
        running = Watch(config, gallery, stages, [messages], live, pictures.show)

        def tell() -> None:
            while not stop.wait(_STATES):
                states = {
                    name: {
                        "state": camera.state,
                        "problem": camera.problem,
                        "frames": camera.frames,
                        "dropped": camera.dropped,
                        "latency": pictures.latency.get(name),
                    }
                    for name, camera in running.cameras.items()
                }
                messages.write({"kind": "state", "cameras": states})

        threading.Thread(target=tell, name="states", daemon=True).start()
        running.run(stop)


def test(address: str) -> bytes:
    """Return one picture of a camera as a JPEG; `VideoError` where it cannot be opened, or shows nothing."""
    import cv2

    from app.errors import VideoError
    from app.types import Frame
    from app.video.live import LiveSource

    with LiveSource(address) as source:
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end and not source.ended:
            news = source.take()
            if isinstance(news, Frame):
                return cv2.imencode(".jpg", news.image)[1].tobytes()
    raise VideoError(f"{source.name} has shown no picture for {_PATIENCE:.0f} s.")


def main() -> None:
    """Do what the server asks for."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever else prints must not disturb the messages
    try:
        if sys.argv[1:2] == ["--test"]:
            out.write(test(sys.argv[2]))
            out.flush()
            return
        task, stop = LiveTask.model_validate_json(sys.stdin.readline()), threading.Event()

        def wait_for_end() -> None:
            sys.stdin.read()
            stop.set()

        threading.Thread(target=wait_for_end, name="end", daemon=True).start()
        watch(task, _Messages(out), stop)
    except GaitprintError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # the server is gone
        os._exit(1)


if __name__ == "__main__":
    main()
