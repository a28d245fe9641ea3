"""Pictures as they come: from a camera, from the network, or from a file played at its own speed."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Protocol
from urllib.parse import urlsplit, urlunsplit

import cv2
import numpy as np

from app.errors import VideoError
from app.types import Frame, Image, VideoInfo
from app.video.reader import VideoReader

_PATIENCE = 10.0
"""Seconds to wait for a camera or the network."""
_FALLBACK_RATE = 25.0
_BELIEVABLE = (1.0, 240.0)
"""Frame rates, 1/s, that a camera may claim."""
_WAIT = 0.2


def is_file(name: str) -> bool:
    """Whether the name of a source is that of a file: no camera's number, no address."""
    return not (name.isdigit() or "://" in name)


def said(name: str) -> str:
    """Say the name of a source so that it may stand in a log: no password of an address, no folders of a file."""
    if is_file(name):
        return Path(name).name
    if name.isdigit():
        return f"camera {name}"
    address = urlsplit(name)
    return urlunsplit(address._replace(netloc=address.netloc.rpartition("@")[2], query=""))


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

    def take(self) -> Frame | None:
        """Return the next frame; None where none came for a while, or none will come."""
        ...


class LiveSource:
    """A source whose frames do not wait: those for which there is no room are dropped and counted.

    Frames are numbered as they come, the dropped ones too, so a frame's index is its place in time. A context manager.

    Args:
        name: the number of a camera, an address (``rtsp://``, ``http://`` ...), or a file, which is played at its
            own speed.
        depth: frames that may wait. When so many do, new ones are dropped: what comes through is then evenly spaced, as
            one is let in for each that is taken, and not old.
        loop: whether a file begins anew when it ends.

    Raises:
        VideoError: it cannot be opened.
    """

    def __init__(self, name: str, *, depth: int = 4, loop: bool = False) -> None:
        self.name, self.is_file, self._loop = said(name), is_file(name), loop
        self._capture: cv2.VideoCapture | None = None
        if self.is_file:
            with VideoReader(Path(name).expanduser()) as reader:
                self.info = reader.info
        else:
            self._capture = _opened(name)
            self.info = self._ask(self._capture)
        self._depth = depth
        self._waiting: deque[Frame] = deque()
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
        self._thread.join(_PATIENCE)

    def take(self) -> Frame | None:
        """Return the next frame; None where none came within 0.2 s, or none will come (`ended`).

        Raises:
            VideoError: the source broke off.
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
        """Whether no frame will come any more."""
        with self._changed:
            return self._ended and not self._waiting

    def offer(self, frame: Frame) -> None:
        """Let a frame wait, or drop it."""
        with self._changed:
            if len(self._waiting) < self._depth:
                self._waiting.append(frame)
            else:
                self.dropped += 1
            self._changed.notify()

    def _work(self) -> None:
        error: BaseException | None = None
        try:
            for frame in self._played() if self.is_file else self._captured():
                self.offer(frame)
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

    def _captured(self) -> Iterator[Frame]:
        assert self._capture is not None
        begun, index = time.monotonic(), 0
        size = self.info.height, self.info.width, 3
        try:
            while not self._closed.is_set():
                good, image = self._capture.read()
                if self._closed.is_set():
                    return
                now = time.monotonic() - begun
                if not good or image is None or image.shape != size:
                    raise VideoError(f"'{self.name}' broke off after {now:.1f} s. Start again when it is back.")
                yield Frame(index, now, np.asarray(image, np.uint8))
                index += 1
        finally:
            self._capture.release()

    def _ask(self, capture: cv2.VideoCapture) -> VideoInfo:
        """Learn size and rate; the first picture says the size that the others will have."""
        good, image = capture.read()
        if not good or image is None:
            capture.release()
            raise VideoError(f"'{self.name}' was opened but gives no picture.")
        first: Image = np.asarray(image, np.uint8)
        claimed = float(capture.get(cv2.CAP_PROP_FPS))
        rate = claimed if _BELIEVABLE[0] <= claimed <= _BELIEVABLE[1] else _FALLBACK_RATE
        return VideoInfo(Path(self.name), first.shape[1], first.shape[0], Fraction(rate).limit_denominator(1001))


def _opened(name: str) -> cv2.VideoCapture:
    if name.isdigit():
        capture = cv2.VideoCapture(int(name))
        advice = "Is it there, and is nobody else using it?"
    else:
        patience = round(1000 * _PATIENCE)
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, patience, cv2.CAP_PROP_READ_TIMEOUT_MSEC, patience]
        capture = cv2.VideoCapture(name, cv2.CAP_FFMPEG, limits)
        advice = "Is the address right, and does the camera answer?"
    if not capture.isOpened():
        capture.release()
        raise VideoError(f"'{said(name)}' cannot be opened. {advice}")
    return capture
