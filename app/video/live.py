"""Live sources: a camera, an address on the network, or a file that is played at its own speed."""

from __future__ import annotations

import errno
import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

from app.errors import VideoError
from app.files import expanded
from app.types import Frame, Image, Reading, VideoInfo
from app.video.looks import Looks
from app.video.reader import VideoReader
from app.video.sources import is_file, public_name

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

logger = logging.getLogger(__name__)

_PATIENCE = 10.0
"""Seconds to wait for an answer from a camera or an address."""
_PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Seconds to wait before each attempt to open a source again; the last value also holds for all later attempts."""
_LONGEST_FAREWELL = 1.0
"""Seconds to wait at the end for the thread, which may itself be waiting for the network."""
_FALLBACK_RATE = Fraction(25)
_SLOWEST_RATE, _FASTEST_RATE = 1, 240
"""Frame rates in 1/s that are believed if a source claims them."""
_WAIT = 0.2
"""Seconds that `take` waits for the next frame."""
_OBSERVED, _LEAST_IDLE, _CAUGHT_UP = 1.0, 0.1, 0.005
"""How a backlog of pictures is noticed and removed.

A reader that keeps up spends time waiting for the network. If it has waited for less than a tenth of the last second,
it is too slow and pictures pile up on the way. They are then thrown away without decoding them, until a key picture
comes for which the reader had to wait 5 ms: the backlog is gone.
"""
_BETWEEN_STILLS = 0.1
"""Seconds from one request to the next at a camera that gives one picture for each."""
_DEVICES = Path("/dev")

_OPTIONS = {
    "protocol_whitelist": "rtsp,rtsps,rtp,srtp,udp,tcp,tls,http,https,httpproxy,hls,crypto,data,rtmp,rtmps,srt",
    "rtsp_flags": "prefer_tcp",  # TCP loses nothing on the way; UDP is used if the camera offers nothing else
    "allowed_media_types": "video",
}
"""FFmpeg's options for addresses. What comes from the network must not open files of this machine, as playlists can."""
_BACKENDS = {"linux": cv2.CAP_V4L2, "darwin": cv2.CAP_AVFOUNDATION, "win32": cv2.CAP_DSHOW}
"""How OpenCV reaches the cameras of each system. Without a choice it tries others too, which complain in the log."""
_ENDED = "the other side ended it"
_SPELLING = "@ as %40, : as %3A, / as %2F, ? as %3F, # as %23 and % as %25"
_ADVICE: tuple[tuple[type[Exception], str], ...] = (
    (
        av.HTTPUnauthorizedError,
        f"it asks for another user name or password. Write scheme://NAME:PASSWORD@..., and in both of them {_SPELLING}",
    ),
    (av.ArgumentError, f"the address is not spelt correctly. In names and passwords write {_SPELLING}"),
    (av.HTTPForbiddenError, "this user may not see it"),
    (av.HTTPNotFoundError, "it answers, but there is nothing at this path"),
    (ConnectionRefusedError, "nothing listens at this port. Check that the camera is on and that the port is right"),
    (av.ProtocolNotFoundError, "this kind of address is not known. Common ones are rtsp:// and http://"),
    (av.InvalidDataError, "what it sends is no video"),
    (av.ExitError, f"there was no answer for {_PATIENCE:.0f} s"),
)

_Pictures: TypeAlias = Generator[tuple[float | None, Image | None], None, None]
"""Pairs of a time and a picture. The time is in s from the first picture, and None for a picture that is shown at once.
The picture is None if it was skipped."""


@dataclass(frozen=True)
class Outage:
    """The source broke off, for a `reason`. It is opened again as soon as possible; its next frame says it is back."""

    reason: str


@dataclass(frozen=True)
class Pause:
    """In a recording, pictures are missing before the next frame: nothing was filmed for so many `frames`."""

    frames: int


class Source(Protocol):
    """Gives frames as they come, whether or not somebody takes them."""

    name: str
    """The name for logs, as `public_name` gives it."""
    info: VideoInfo
    is_file: bool
    dropped: int
    """How many frames came that nobody took."""

    @property
    def ended(self) -> bool:
        """Whether no more frames will come."""

    def take(self) -> Frame | Outage | Pause | None:
        """Return what comes next, or None if nothing came for a while or nothing more will come."""


class LiveSource:
    """A camera, an address or a file, read in a thread; a context manager.

    Frames do not wait for the reader: a frame that finds no room is dropped and counted. A camera or an address that
    breaks off is opened again, as often as it takes. A file, also one at an address, is played at its own speed.

    Frames are numbered by their time at the rate that the source claims, also those that are dropped, and the numbers
    rise. All frames have the size of the first one: if the source changes its size, they are scaled.

    Args:
        name: the number of a camera, an address (``rtsp://``, ``http://`` ...), or a file.
        depth: how many frames may wait. When that many wait, new ones are dropped. One frame is then let in for each
            frame that is taken, so the frames that come through are evenly spaced and recent.
        loop: whether a file starts again when it ends.
        reading: which part of a file is played, and how fast.
        looks: only frames of so many looks a second wait, evenly spread, and others are not counted; None for all.

    Raises:
        VideoError: the source cannot be opened, or gives no picture.
    """

    def __init__(
        self,
        name: str,
        *,
        depth: int = 4,
        loop: bool = False,
        reading: Reading | None = None,
        looks: float | None = None,
    ) -> None:
        self.name, self.is_file, self._loop = public_name(name), is_file(name), loop
        self._address = name
        self._feed: _Feed | None = None
        if self.is_file:
            with VideoReader(expanded(name, VideoError), reading) as reader:
                self.info = reader.info
        else:
            self._feed = _opened(name)
            height, width = self._feed.first.shape[:2]
            self.info = VideoInfo(Path(self.name), width, height, self._feed.rate)
        self._looks = None if looks is None else Looks(float(self.info.fps), looks)
        self._size: tuple[int, int] | None = None
        self._depth = depth
        self._waiting: deque[Frame | Outage | Pause] = deque()
        self._changed = threading.Condition()
        self._closed = threading.Event()
        self._ended = False
        self._error: BaseException | None = None
        self.dropped = 0
        self._thread = threading.Thread(target=self._work, name="live source", daemon=True)

    def __enter__(self) -> LiveSource:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._closed.set()
        self._thread.join(_LONGEST_FAREWELL)

    def take(self, wait: float = _WAIT) -> Frame | Outage | Pause | None:
        """Return what comes next, or None if nothing came within `wait` seconds or nothing more will come (`ended`).

        Raises:
            VideoError: the file broke off.
        """
        with self._changed:
            if not self._waiting and not self._ended:
                self._changed.wait(wait)
            if self._waiting:
                return self._waiting.popleft()
        if self._error is not None:
            raise self._error
        return None

    @property
    def ended(self) -> bool:
        """Whether nothing more will come, not even an error."""
        with self._changed:
            return self._ended and not self._waiting and self._error is None

    def offer(self, event: Frame | Outage | Pause) -> None:
        """Let a frame wait, or drop it. Outages and pauses are never dropped; of pauses together the longest counts."""
        with self._changed:
            last = self._waiting[-1] if self._waiting else None
            if isinstance(event, Pause) and isinstance(last, Pause):
                self._waiting[-1] = max(event, last, key=lambda pause: pause.frames)
            elif len(self._waiting) < self._depth or not isinstance(event, Frame):
                self._waiting.append(event)
            else:
                self.dropped += 1
            self._changed.notify()

    def _work(self) -> None:
        error: BaseException | None = None
        try:
            events = self._played() if self._feed is None else self._captured(self._feed)
            for event in _with_pauses(events) if self._feed is None or self._feed.recorded else events:
                # A frame that nobody would look at takes no room from one that is looked at.
                if self._looks is None or not isinstance(event, Frame) or self._looks.due(event.index):
                    self.offer(event)
        except Exception as caught:  # raised again where the frames are taken
            error = caught
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify()

    def _played(self) -> Iterator[Frame]:
        """Yield the frames of the file, each at its time."""
        begun, offset, first = time.monotonic(), 0.0, 0
        while True:
            now, index = 0.0, first
            with VideoReader(self.info.path, self.info.reading) as reader:
                for frame in reader:
                    now, index = offset + frame.time, first + frame.index
                    if self._closed.wait(max(0.0, begun + now - time.monotonic())):
                        return
                    yield Frame(index, now, frame.image)
            if not self._loop:
                return
            offset, first = now + float(1 / self.info.fps), index + 1

    def _captured(self, feed: _Feed) -> Iterator[Frame | Outage]:
        """Yield the frames as they arrive, and an outage each time the source breaks off."""
        begun, index, rate = time.monotonic(), -1, float(self.info.fps)
        while True:
            reason = _ENDED
            try:
                for stamp, picture in chain([(0.0 if feed.recorded else None, feed.first)], feed.rest):
                    wait = 0.0 if stamp is None else max(0.0, begun + stamp - time.monotonic())
                    if self._closed.wait(wait):
                        return
                    if picture is None:
                        self.dropped += 1
                        continue
                    now = time.monotonic() - begun if stamp is None else stamp
                    index = max(index + 1, round(now * rate))
                    yield Frame(index, now, self._sized(picture))
            except VideoError as error:
                if feed.recorded:
                    raise VideoError(f"'{self.name}' broke off after {now:.1f} s: {error}.") from None
                reason = str(error)
            finally:
                feed.rest.close()
            if feed.recorded:
                return
            logger.warning("'%s' broke off: %s. Gaitprint keeps trying to open it again.", self.name, reason)
            yield Outage(reason)
            lost = time.monotonic()
            reopened = self._reopened()
            if reopened is None:
                return
            logger.info("'%s' is back after %.0f s.", self.name, time.monotonic() - lost)
            feed = reopened

    def _reopened(self) -> _Feed | None:
        """Open the source as soon as that is possible; return None if the source is being closed."""
        for pause in chain(_PAUSES, repeat(_PAUSES[-1])):
            if self._closed.wait(pause):
                break
            try:
                return _opened(self._address)
            except VideoError as error:
                logger.debug("%s", error)
        return None

    def _sized(self, picture: Image) -> Image:
        """Return the picture in the size of the first one."""
        height, width = size = picture.shape[:2]
        if size == (self.info.height, self.info.width):
            return picture
        if size != self._size:
            self._size = size
            logger.warning(
                "'%s' now gives %dx%d px, which is scaled to %dx%d.",
                *(self.name, width, height, self.info.width, self.info.height),
            )
        return np.asarray(cv2.resize(picture, (self.info.width, self.info.height), interpolation=cv2.INTER_AREA))


def first_look(name: str) -> VideoInfo:
    """Open a source until it has shown its first picture, and return what it is; `VideoError` as `LiveSource`."""
    source = LiveSource(name)
    if source._feed is not None:
        source._feed.rest.close()
    return source.info


def _with_pauses(events: Iterable[Frame | Outage]) -> Iterator[Frame | Outage | Pause]:
    """Yield what happens in a recording, and its pauses."""
    due = 0
    for event in events:
        if isinstance(event, Frame):
            if event.index > due:
                yield Pause(event.index - due)
            due = event.index + 1
        yield event


@dataclass(frozen=True)
class _Feed:
    """An open camera or address: its `first` picture, the `rest`, which must be closed, and the frame `rate` in 1/s.

    `recorded` says whether it is a file on a server, which has an end.
    """

    first: Image
    rest: _Pictures
    rate: Fraction
    recorded: bool


def _opened(name: str) -> _Feed:
    """Open a camera or an address; `VideoError` where it is not there, or it gives no picture."""
    recorded, rate, pictures = _camera(int(name)) if name.isdigit() else _address(name)
    try:
        first = next(pictures, None)
    except VideoError as error:
        raise VideoError(f"'{public_name(name)}' was opened but gives no picture: {error}.") from None
    if first is None or first[1] is None:
        raise VideoError(f"'{public_name(name)}' was opened but gives no picture.")
    if rate is None or not _SLOWEST_RATE <= rate <= _FASTEST_RATE:
        rate = _FALLBACK_RATE
    return _Feed(first[1], pictures, rate, recorded)


def _camera(number: int) -> tuple[bool, Fraction, _Pictures]:
    """Open a camera of this machine with OpenCV, which numbers cameras on every system."""
    if sys.platform == "linux" and not (_DEVICES / f"video{number}").exists():
        others = ", ".join(sorted(path.name.removeprefix("video") for path in _DEVICES.glob("video*")))
        known = f"There are: {others}." if others else "This machine has none (/dev/video*)."
        raise VideoError(f"There is no camera {number}. {known}")
    capture = cv2.VideoCapture(number, _BACKENDS.get(sys.platform, cv2.CAP_ANY))
    if not capture.isOpened():
        capture.release()
        raise VideoError(
            f"Camera {number} cannot be opened. Check that it is there, that you may use it, and that no other program "
            "uses it."
        )

    def pictures() -> _Pictures:
        try:
            while True:
                good, picture = capture.read()
                if not good or picture is None:
                    raise VideoError("it stopped giving pictures")
                yield None, np.asarray(picture, np.uint8)
        finally:
            capture.release()

    return False, Fraction(capture.get(cv2.CAP_PROP_FPS)).limit_denominator(1001), pictures()


def _address(address: str) -> tuple[bool, Fraction | None, _Pictures]:
    """Open an address with PyAV."""
    container, stream = _connected(address)
    # Cameras that answer each request with one picture say so by their format, but some send a stream in it.
    if container.format.name == "image2" or container.format.name.endswith("_pipe"):
        return False, None, _stills(address, container, stream)
    recorded = bool(container.duration)
    return recorded, stream.average_rate or stream.guessed_rate, _decoded(container, stream, recorded)


def _connected(address: str) -> tuple[InputContainer, VideoStream]:
    try:
        container = av.open(address, options=dict(_OPTIONS), timeout=_PATIENCE, metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:  # its text contains the address with the password
        reason = _reason(error, "there is no machine of this name, or it closed the connection")
        raise VideoError(f"'{public_name(address)}' cannot be opened: {reason}.") from None
    if not container.streams.video:
        container.close()
        raise VideoError(f"'{public_name(address)}' has no picture, only sound.")
    stream = container.streams.video[0]
    stream.thread_type = "SLICE"  # threads for whole pictures would delay some of them
    return container, stream


def _stills(address: str, container: InputContainer, stream: VideoStream) -> _Pictures:
    """Ask for one picture after the other. Several in one answer are a stream, which is not asked for again."""
    before: Image | None = None
    while True:
        asked, count = time.monotonic(), 0
        try:
            for stamp, picture in _decoded(container, stream, recorded=False):
                count += 1
                if picture is None or before is None or not np.array_equal(picture, before):
                    yield stamp, picture  # a camera that is asked too often gives the same picture again
                before = picture
        except VideoError:  # cameras that do not say how long a picture is just end the connection behind it
            if count != 1:
                raise
        if count != 1:
            return
        # Such a camera tells nobody when it has a new picture, so it is asked again, but not more often than this.
        time.sleep(max(0.0, asked + _BETWEEN_STILLS - time.monotonic()))
        container, stream = _connected(address)


def _decoded(container: InputContainer, stream: VideoStream, recorded: bool) -> _Pictures:
    """Decode the pictures of an address; of a live stream, skip those that pile up (see `_OBSERVED`)."""
    start: float | None = None
    packets, reformatter = container.demux(), VideoReformatter()
    last_picture = last_packet = time.monotonic()
    idle, skipping = 1.0, False  # `idle` is the share of the last second that was spent waiting
    try:
        while True:
            asked = time.monotonic()
            packet = next(packets, None)
            if packet is None:
                return
            now = time.monotonic()
            if now - last_picture > _PATIENCE:  # only sound, or nothing that can be decoded
                raise VideoError(f"there was no picture for {_PATIENCE:.0f} s")
            if packet.stream is not stream:
                continue
            if not recorded:
                waited, passed = now - asked, max(now - last_packet, 1e-6)
                idle += min(1.0, passed / _OBSERVED) * (waited / passed - idle)
                last_packet = now
                if idle < _LEAST_IDLE:
                    skipping = True
                elif skipping and packet.is_keyframe and waited > _CAUGHT_UP:
                    skipping, idle = False, 3 * _LEAST_IDLE  # low, so that skipping soon starts again if need be
            if skipping:
                last_picture = now
                yield None, None
                continue
            try:
                pictures = stream.decode(packet)
            except (av.FFmpegError, ValueError):  # only the damaged packet is lost
                continue
            for picture in pictures:
                stamp: float | None = None
                if recorded and picture.time is not None:
                    start = picture.time if start is None else start
                    stamp = picture.time - start
                yield stamp, _square(picture, stream, reformatter)
            if pictures:
                last_picture = time.monotonic()
    except (av.FFmpegError, OSError) as error:
        raise VideoError(_reason(error, _ENDED)) from None
    finally:
        container.close()


def _square(picture: VideoFrame, stream: VideoStream, reformatter: VideoReformatter) -> Image:
    width = round(picture.width * (stream.sample_aspect_ratio or 1))  # pixels may not be square
    bgr = reformatter.reformat(picture, width, picture.height, "bgr24", threads=1)
    return np.asarray(bgr.to_ndarray(), np.uint8)


def _reason(error: Exception, input_output: str) -> str:
    """Say what is wrong without the address, which FFmpeg's errors repeat.

    `input_output` says what FFmpeg's "Input/output error" means here.
    """
    for kind, advice in _ADVICE:
        if isinstance(error, kind):
            return advice
    if getattr(error, "errno", None) == errno.EIO:
        return input_output
    return getattr(error, "strerror", None) or type(error).__name__
