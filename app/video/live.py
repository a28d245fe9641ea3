"""Pictures as they come: from a camera, from the network, or from a file played at its own speed."""

from __future__ import annotations

import errno
import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, repeat
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, TypeAlias

import av
import cv2
import numpy as np

from app.errors import VideoError
from app.types import Frame, Image, VideoInfo
from app.video.reader import VideoReader

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

logger = logging.getLogger(__name__)

_PATIENCE = 10.0
"""Seconds to wait for a camera or the network."""
_PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Seconds before each attempt to find a source again; the last is that of all further ones."""
_FAREWELL = 1.0
"""Seconds to wait at the end for who is still waiting for the network."""
_FALLBACK_RATE = Fraction(25)
_BELIEVABLE = (1, 240)
"""Frame rates, 1/s, that a source may claim."""
_WAIT = 0.2
_BUSY, _LEAST_IDLE, _WAITED = 1.0, 0.1, 0.005
"""Who did not wait for the network for a tenth of the last second is too slow for it, and pictures pile up on the way.
They are thrown away undecoded, up to the first key picture that had to be waited for, for 5 ms."""
_DEVICES = Path("/dev")

_OPTIONS = {
    "protocol_whitelist": "rtsp,rtsps,rtp,srtp,udp,tcp,tls,http,https,httpproxy,hls,crypto,data,rtmp,rtmps,srt",
    "rtsp_flags": "prefer_tcp",  # nothing is lost on the way; UDP where the camera has nothing else
    "allowed_media_types": "video",
}
"""FFmpeg's, for addresses. What comes from the network may not open files of this machine, as playlists could."""
_BACKENDS = {"linux": cv2.CAP_V4L2, "darwin": cv2.CAP_AVFOUNDATION, "win32": cv2.CAP_DSHOW}
"""OpenCV's way to the cameras of each system. Left to itself it tries others too, which complain in the log."""
_ENDED = "it was ended there"
_SPELT = "@ as %40, : as %3A, / as %2F, ? as %3F, # as %23 and % as %25"
_ADVICE: tuple[tuple[type[Exception], str], ...] = (
    (
        av.HTTPUnauthorizedError,
        f"it asks for another user name or password. Write scheme://NAME:PASSWORD@..., and in both of them {_SPELT}",
    ),
    (av.ArgumentError, f"the address is not spelt well. In names and passwords write {_SPELT}"),
    (av.HTTPForbiddenError, "this user may not see it"),
    (av.HTTPNotFoundError, "it answers, but has nothing at this path"),
    (ConnectionRefusedError, "nothing listens at this port. See whether the camera is on and the port right"),
    (av.ProtocolNotFoundError, "this kind of address is not known. Common are rtsp:// and http://"),
    (av.InvalidDataError, "what comes from there is no video"),
    (av.ExitError, f"there was no answer for {_PATIENCE:.0f} s"),
)

_Pictures: TypeAlias = Generator[tuple[float | None, Image | None], None, None]
"""Pictures, None for one that was skipped, with the time, in s from the first, at which to show them; None: at once."""


def is_file(name: str) -> bool:
    """Whether the name of a source is that of a file: no camera's number, no address."""
    return not (name.isdigit() or "://" in name)


def said(name: str) -> str:
    """Say the name of a source so that it may stand in a log: no password of an address, no folders of a file."""
    if is_file(name):
        return Path(name).name
    if name.isdigit():
        return f"camera {name}"
    # Not by the rules of addresses: a password that breaks them must not be said either.
    scheme, _, rest = name.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0].partition('#')[0]}"


@dataclass(frozen=True)
class Outage:
    """The source broke off, for a `reason`; it is tried again and again, and its next frame says that it is back."""

    reason: str


class Source(Protocol):
    """Where frames come from that do not wait."""

    name: str
    """For logs: without a password, or the place of a file."""
    info: VideoInfo
    is_file: bool
    dropped: int
    """Frames that came and were not kept."""

    @property
    def ended(self) -> bool:
        """Whether no frame will come any more."""
        ...

    def take(self) -> Frame | Outage | None:
        """Return what comes next; None where nothing came for a while, or nothing will come."""
        ...


class LiveSource:
    """A source whose frames do not wait: those for which there is no room are dropped and counted.

    A camera or an address that breaks off is opened again, as often as it takes. Frames are numbered by their time, at
    the rate that the source claims, dropped ones too; numbers rise. All have the size of the first one; where the
    source changes it they are scaled. Files, those at an address too, are played at their own speed. A context manager.

    Args:
        name: the number of a camera, an address (``rtsp://``, ``http://`` ...), or a file.
        depth: frames that may wait. When so many do, new ones are dropped: what comes through is then evenly spaced, as
            one is let in for each that is taken, and not old.
        loop: whether a file begins anew when it ends.

    Raises:
        VideoError: it cannot be opened, or gives no picture.
    """

    def __init__(self, name: str, *, depth: int = 4, loop: bool = False) -> None:
        self.name, self.is_file, self._loop = said(name), is_file(name), loop
        self._address = name
        self._feed: _Feed | None = None
        if self.is_file:
            with VideoReader(Path(name).expanduser()) as reader:
                self.info = reader.info
        else:
            self._feed = _opened(name)
            height, width = self._feed.first.shape[:2]
            self.info = VideoInfo(Path(self.name), width, height, self._feed.rate)
        self._size: tuple[int, int] | None = None
        self._depth = depth
        self._waiting: deque[Frame | Outage] = deque()
        self._changed = threading.Condition()
        self._closed = threading.Event()
        self._ended = False
        self._error: BaseException | None = None
        self.dropped = 0
        self._thread = threading.Thread(target=self._work, name="live source", daemon=True)

    def __enter__(self) -> LiveSource:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()
        self._thread.join(_FAREWELL)

    def take(self) -> Frame | Outage | None:
        """Return what comes next; None where nothing came within 0.2 s, or nothing will come (`ended`).

        Raises:
            VideoError: a file broke off.
        """
        with self._changed:
            if not self._waiting and not self._ended:
                self._changed.wait(_WAIT)
            if self._waiting:
                return self._waiting.popleft()
        if self._error is not None:
            raise self._error
        return None

    @property
    def ended(self) -> bool:
        """Whether nothing will come any more, an error neither."""
        with self._changed:
            return self._ended and not self._waiting and self._error is None

    def offer(self, one: Frame | Outage) -> None:
        """Let a frame wait, or drop it. An outage is never dropped."""
        with self._changed:
            if len(self._waiting) < self._depth or isinstance(one, Outage):
                self._waiting.append(one)
            else:
                self.dropped += 1
            self._changed.notify()

    def _work(self) -> None:
        error: BaseException | None = None
        try:
            for one in self._played() if self._feed is None else self._captured(self._feed):
                self.offer(one)
        except Exception as caught:  # it belongs to whoever takes the frames
            error = caught
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify()

    def _played(self) -> Iterator[Frame]:
        """The frames of the file, each when its time has come."""
        begun, index, offset = time.monotonic(), 0, 0.0
        while True:
            shown = 0.0
            with VideoReader(self.info.path) as reader:
                for frame in reader:
                    shown = offset + frame.time
                    if self._closed.wait(max(0.0, begun + shown - time.monotonic())):
                        return
                    yield Frame(index, shown, frame.image)
                    index += 1
            if not self._loop:
                return
            offset = shown + float(1 / self.info.fps)

    def _captured(self, feed: _Feed) -> Iterator[Frame | Outage]:
        """The frames as they arrive, and where they stop doing so."""
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
            logger.warning("'%s' broke off: %s. It is tried again until it is back.", self.name, reason)
            yield Outage(reason)
            lost = time.monotonic()
            again = self._found_again()
            if again is None:
                return
            logger.info("'%s' is back after %.0f s.", self.name, time.monotonic() - lost)
            feed = again

    def _found_again(self) -> _Feed | None:
        """Open the source as soon as that is possible; None when it is to be closed."""
        for pause in chain(_PAUSES, repeat(_PAUSES[-1])):
            if self._closed.wait(pause):
                break
            try:
                return _opened(self._address)
            except VideoError as error:
                logger.debug("%s", error)
        return None

    def _sized(self, picture: Image) -> Image:
        """The picture in the size of the first one."""
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


@dataclass(frozen=True)
class _Feed:
    """A camera or an address that is open: its `first` picture, the `rest`, which is to be closed, and its `rate`.

    `recorded` says that it is a file, which has an end.
    """

    first: Image
    rest: _Pictures
    rate: Fraction
    recorded: bool


def _opened(name: str) -> _Feed:
    """Open a camera or an address.

    Raises:
        VideoError: it is not there, or gives no picture.
    """
    recorded, rate, pictures = _camera(int(name)) if name.isdigit() else _address(name)
    try:
        first = next(pictures, None)
    except VideoError as error:
        raise VideoError(f"'{said(name)}' was opened but gives no picture: {error}.") from None
    if first is None or first[1] is None:
        raise VideoError(f"'{said(name)}' was opened but gives no picture.")
    believable = rate is not None and _BELIEVABLE[0] <= rate <= _BELIEVABLE[1]
    return _Feed(first[1], pictures, rate if rate is not None and believable else _FALLBACK_RATE, recorded)


def _camera(number: int) -> tuple[bool, Fraction, _Pictures]:
    """Open a camera of this machine, with OpenCV, which knows them by number on every system."""
    if sys.platform == "linux" and not (_DEVICES / f"video{number}").exists():
        others = ", ".join(sorted(path.name.removeprefix("video") for path in _DEVICES.glob("video*")))
        here = f"There are: {others}." if others else "There is none at all (/dev/video*)."
        raise VideoError(f"There is no camera {number}. {here}")
    capture = cv2.VideoCapture(number, _BACKENDS.get(sys.platform, cv2.CAP_ANY))
    if not capture.isOpened():
        capture.release()
        raise VideoError(f"Camera {number} cannot be opened. Is it there, may you use it, and is nobody else using it?")

    def pictures() -> _Pictures:
        try:
            while True:
                good, picture = capture.read()
                if not good or picture is None:
                    raise VideoError("it gives no picture any more")
                yield None, np.asarray(picture, np.uint8)
        finally:
            capture.release()

    return False, Fraction(capture.get(cv2.CAP_PROP_FPS)).limit_denominator(1001), pictures()


def _address(address: str) -> tuple[bool, Fraction | None, _Pictures]:
    """Open an address, with PyAV."""
    try:
        container = av.open(address, options=dict(_OPTIONS), timeout=_PATIENCE, metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:  # its text holds the address, password and all
        reason = _reason(error, "there is no machine of this name, or it ended the connection")
        raise VideoError(f"'{said(address)}' cannot be opened: {reason}.") from None
    if not container.streams.video:
        container.close()
        raise VideoError(f"'{said(address)}' has no picture, only sound.")
    stream = container.streams.video[0]
    stream.thread_type = "SLICE"  # threads for whole pictures would hold some of them back
    recorded = bool(container.duration)
    return recorded, stream.average_rate or stream.guessed_rate, _decoded(container, stream, recorded)


def _decoded(container: InputContainer, stream: VideoStream, recorded: bool) -> _Pictures:
    start: float | None = None
    packets = container.demux()
    heard = last = time.monotonic()
    idle, skipping = 1.0, False
    try:
        while True:
            asked = time.monotonic()
            packet = next(packets, None)
            if packet is None:
                return
            now = time.monotonic()
            if now - heard > _PATIENCE:  # sound alone, or nothing that can be decoded
                raise VideoError(f"there was no picture for {_PATIENCE:.0f} s")
            if packet.stream is not stream:
                continue
            if not recorded:
                waited, passed = now - asked, max(now - last, 1e-6)
                idle += min(1.0, passed / _BUSY) * (waited / passed - idle)
                last = now
                if idle < _LEAST_IDLE:
                    skipping = True
                elif skipping and packet.is_keyframe and waited > _WAITED:
                    skipping, idle = False, 3 * _LEAST_IDLE  # soon again where it is no better
            if skipping:
                heard = now
                yield None, None
                continue
            try:
                pictures = stream.decode(packet)
            except (av.FFmpegError, ValueError):  # a damaged packet costs that packet
                continue
            for picture in pictures:
                stamp: float | None = None
                if recorded and picture.time is not None:
                    start = picture.time if start is None else start
                    stamp = picture.time - start
                yield stamp, _square(picture, stream)
            if pictures:
                heard = time.monotonic()
    except (av.FFmpegError, OSError) as error:
        raise VideoError(_reason(error, _ENDED)) from None
    finally:
        container.close()


def _square(picture: VideoFrame, stream: VideoStream) -> Image:
    width = round(picture.width * (stream.sample_aspect_ratio or 1))  # pixels need not be square
    return np.asarray(picture.to_ndarray(format="bgr24", width=width, height=picture.height), np.uint8)


def _reason(error: Exception, input_output: str) -> str:
    """Why, without the address that FFmpeg's errors repeat; `input_output` is what its error of that name means."""
    for kind, advice in _ADVICE:
        if isinstance(error, kind):
            return advice
    if getattr(error, "errno", None) == errno.EIO:
        return input_output
    return getattr(error, "strerror", None) or type(error).__name__
