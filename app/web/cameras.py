"""The cameras of the page: which there are, and the process that watches them.

Pictures and events are kept in memory alone: the last picture of each camera, and the last events.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, Field

from app.files import write_text
from app.web.inspection import asked, environment
from app.web.live_worker import LiveTask
from app.web.options import ConflictError, NotThereError, TooLargeError, WebError, WebOptions, read_model
from app.web.videos import VideoLibrary

logger = logging.getLogger(__name__)

_MOST = 16
_MOST_EVENTS = 200
_PAUSE = 5.0  # s before a watch that broke begins again
_PATIENCE = 10.0  # s that a worker has to end by itself
_TEST = 30.0  # s for a test picture
_SCHEMES = ("rtsp", "rtsps", "http", "https", "rtmp", "srt", "udp", "tcp")
_TOLD = ("appeared", "named", "renamed", "left", "crossed", "lost", "back", "moved")
"""Events that the page shows."""


class Camera(BaseModel, frozen=True):
    """A camera: its `address`, or a video that is played again and again in place of one."""

    name: str = Field(min_length=1, max_length=60, pattern=r"^[^/\x00-\x1f]+$")
    address: str | None = Field(default=None, min_length=1, max_length=1000)
    video_id: str | None = None


class Cameras(BaseModel):
    """What is kept of the cameras: whether they are watched now, and whether strangers get a lasting number."""

    watching: bool = True
    strangers: bool = False
    cameras: list[Camera] = []


@dataclass
class Seen:
    """What a camera shows: the newest picture with its number, who is in it, and the state of the camera."""

    number: int = 0
    jpeg: bytes = b""
    about: dict[str, Any] = field(default_factory=dict)
    state: dict[str, Any] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class Live:
    """Watches the cameras in a process of its own. Every method must be called in the thread of the event loop."""

    def __init__(self, options: WebOptions, videos: VideoLibrary) -> None:
        self._options, self._videos = options, videos
        self._file = options.folder / "cameras.json"
        self.known = read_model(Cameras, self._file) if self._file.is_file() else Cameras()
        self.events: deque[dict[str, Any]] = deque(maxlen=_MOST_EVENTS)
        self.problem: str | None = None
        self._number = 0
        self._seen: dict[str, Seen] = {}
        self._again = asyncio.Event()
        self._paused = 0
        self._process: asyncio.subprocess.Process | None = None
        self._resting = asyncio.Event()
        self._resting.set()

    async def run(self) -> None:
        """Watch until cancelled."""
        try:
            while True:
                self._again.clear()
                if not self.known.watching or not self.known.cameras or self._paused:
                    self._seen = {}
                    self._resting.set()
                    await self._again.wait()
                    continue
                self._resting.clear()
                try:
                    await self._supervise()
                except Exception as error:  # whatever it was, the watch must not stand in the way of forgetting
                    logger.exception("The cameras could not be watched.")
                    self.problem = f"The watch ended: {error}"
                if not self._again.is_set():  # it ended by itself
                    with contextlib.suppress(asyncio.TimeoutError):
                        await asyncio.wait_for(self._again.wait(), _PAUSE)
        finally:
            await self._end()

    @contextlib.asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """Watch nothing during the block, and forget all pictures and events: somebody in them is forgotten."""
        self._paused += 1
        try:
            await self._begin_again()
            await self._resting.wait()
            self.events.clear()
            yield
        finally:
            self._paused -= 1
            await self._begin_again()

    async def set_watching(self, watching: bool) -> None:
        """Begin to watch, or stop it."""
        await self._keep(self.known.model_copy(update={"watching": watching}))

    async def set_strangers(self, strangers: bool) -> None:
        """Give numbers to strangers from now on, or no more. The watch begins again."""
        await self._keep(self.known.model_copy(update={"strangers": strangers}))

    async def add(self, camera: Camera) -> None:
        """Add a camera. The watch begins again with it.

        Raises:
            ConflictError: there is one of that name.
            TooLargeError: there are too many.
            WebError: the address cannot be one, or there is no such video.
        """
        if any(one.name == camera.name for one in self.known.cameras):
            raise ConflictError(f"There is a camera '{camera.name}' already. Give another name.")
        if len(self.known.cameras) >= _MOST:
            raise TooLargeError(f"There are {_MOST} cameras already, and no more are watched. Remove one first.")
        self.address_of(camera)
        await self._keep(self.known.model_copy(update={"cameras": [*self.known.cameras, camera]}))

    async def remove(self, name: str) -> None:
        """Remove a camera; `NotThereError` where there is none of that name."""
        left = [camera for camera in self.known.cameras if camera.name != name]
        if len(left) == len(self.known.cameras):
            raise NotThereError("There is no such camera.")
        await self._keep(self.known.model_copy(update={"cameras": left}))

    def address_of(self, camera: Camera) -> str:
        """Return what is opened for a camera: an address, the number of a device, or the path of a video.

        Raises:
            WebError: it is none of these. A path never comes from a client.
        """
        if (camera.address is None) == (camera.video_id is None):
            raise WebError("Give the address of the camera, or a video in its place.")
        if camera.video_id is not None:
            return str(self._videos.path(self._videos.get(camera.video_id)).absolute())
        address = (camera.address or "").strip()
        scheme = address.partition("://")[0].lower() if "://" in address else ""
        if not (address.isdecimal() and len(address) < 3) and scheme not in _SCHEMES:
            raise WebError(
                f"This is no address of a camera. It begins with {', '.join(f'{one}://' for one in _SCHEMES[:-1])} or "
                f"{_SCHEMES[-1]}://, or it is the number of a camera of this machine, such as 0."
            )
        return address

    async def test(self, camera: Camera) -> bytes:
        """Return a picture of a camera, a JPEG.

        Raises:
            WebError: it cannot be opened, or shows nothing; the message says why.
        """
        late = f"The camera has not answered for {_TEST:.0f} s."
        code, jpeg, said = await asked(_TEST, late, "app.web.live_worker", "--test", self.address_of(camera))
        if code or not jpeg:
            raise WebError(said.decode(errors="replace").strip().rpartition("\n")[2] or "The camera shows no picture.")
        return jpeg

    def seen(self, name: str) -> Seen:
        """Return what a camera shows; `NotThereError` where there is none of that name."""
        if all(camera.name != name for camera in self.known.cameras):
            raise NotThereError("There is no such camera.")
        return self._seen.setdefault(name, Seen())

    async def picture(self, name: str, after: int, wait: float) -> Seen:
        """Return what a camera shows, as soon as there is a picture with a higher number than `after`, or after `wait`
        seconds.
        """
        seen = self.seen(name)
        if seen.number <= after:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(seen.changed.wait(), wait)
        return self.seen(name)

    async def _keep(self, cameras: Cameras) -> None:
        write_text(self._file, cameras.model_dump_json(indent=1), private=True)  # addresses may hold passwords
        self.known = cameras
        await self._begin_again()

    async def _begin_again(self) -> None:
        self._again.set()
        await self._end()

    async def _end(self) -> None:
        """Let the process end: it does when its standard input ends."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), _PATIENCE)
        except asyncio.TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()

    def _task(self) -> LiveTask:
        addresses = {}
        for camera in self.known.cameras:
            with contextlib.suppress(NotThereError):  # the video in place of a camera was deleted
                addresses[camera.name] = self.address_of(camera)
        return LiveTask(
            cameras=addresses,
            files=[camera.name for camera in self.known.cameras if camera.video_id is not None],
            strangers=self.known.strangers,
            database=self._options.gallery,
            config=self._options.config,
            assignments=[*self._options.assignments, f"output.blur={self._options.blur}"],
            work=(self._options.folder / "work").absolute(),
        )

    async def _supervise(self) -> None:
        """Run the process, and take what it says, until it ends."""
        task = self._task()
        self._seen = {name: Seen() for name in task.cameras}
        if not task.cameras:
            return
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "app.web.live_worker"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment(),
            limit=1 << 20,
            start_new_session=True,  # Ctrl-C in the terminal must reach the server only, which then ends this
        )
        self._process = process
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        said: deque[bytes] = deque(maxlen=5)
        hearing = asyncio.create_task(_hear(process.stderr, said))
        try:
            with contextlib.suppress(ConnectionError):
                process.stdin.write(task.model_dump_json().encode() + b"\n")
                await process.stdin.drain()
            with contextlib.suppress(asyncio.IncompleteReadError, ValueError):
                while line := await process.stdout.readline():
                    message = json.loads(line)
                    self._take(message, await process.stdout.readexactly(message["size"]))
            code = await process.wait()
            await hearing
            last = said[-1].decode(errors="replace").strip() if said else f"exit code {code}"
            self.problem = None if self._again.is_set() else f"The watch ended: {last}"
        finally:
            hearing.cancel()
            await self._end()
            self._process = None

    def _take(self, message: dict[str, Any], content: bytes) -> None:
        self.problem = None
        if message["kind"] == "state":
            for name, state in message["cameras"].items():
                self._seen.setdefault(name, Seen()).state = state
        elif message["kind"] == "picture":
            seen = self._seen.setdefault(message["camera"], Seen())
            before, seen.changed = seen.changed, asyncio.Event()
            self._number += 1
            seen.number, seen.jpeg, seen.about = self._number, content, message
            before.set()
        elif message["event"]["event"] in _TOLD:
            self._number += 1
            self.events.append({"number": self._number, **message["event"], "received": round(time.time(), 3)})


async def _hear(stream: asyncio.StreamReader, said: deque[bytes]) -> None:
    """Keep the last lines that a process says."""
    with contextlib.suppress(ValueError):
        while line := await stream.readline():
            if line.strip():
                said.append(line)
