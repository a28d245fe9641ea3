"""Writing video with PyAV (FFmpeg): H.264 that every browser plays. A file is written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, VideoReformatter

from app.errors import OutputError, reason_of
from app.files import explained, written_whole
from app.settings import OutputSettings
from app.types import Image

_BT709 = 1  # the number of BT.709 in ISO/IEC 23091-2, for matrix, primaries and transfer alike
_LIMITED_RANGE = 1


class VideoWriter:
    """Writes BGR pictures as H.264, yuv420p, BT.709, without sound, with the index in front; a context manager.

    Each picture keeps its time, so a variable frame rate and the duration survive; the last one is shown as `fps` says.
    The file appears under its name, in place of an older one, only if the block ends without an error; otherwise, also
    after Ctrl-C, nothing is left behind. A missing folder is made. An odd width or height is padded by one pixel, a
    copy of the edge, because yuv420p needs even ones.

    Raises:
        OutputError: there is no permission or no space, or no picture was written.
    """

    def __init__(
        self, path: Path, width: int, height: int, fps: Fraction, settings: OutputSettings | None = None
    ) -> None:
        settings = settings or OutputSettings()
        self._options = {"preset": settings.preset, "crf": str(settings.crf)}
        self.path = path
        self.width, self.height = width, height
        # Fine enough for any variable frame rate, while pictures of a constant rate fall on whole ticks.
        ticks = fps.numerator * -(-90_000 // fps.numerator)
        self._time_base = Fraction(1, ticks if ticks <= 1_000_000 else 90_000)
        self._last_duration = max(1, round(1 / fps / self._time_base))
        self._last_pts = -1
        self._held: Packet[Any] | None = None  # the newest packet waits, because the last one needs a duration
        self._first_dts: int | None = None
        self._reformatter = VideoReformatter()
        with ExitStack() as stack:
            self._temporary = stack.enter_context(written_whole(path))
            with _explained(path):
                self._open(fps)
            stack.callback(self._close)
            self._stack = stack.pop_all()

    def _open(self, fps: Fraction) -> None:
        # Opened here first, because FFmpeg would report a missing permission only with the first bytes.
        self._temporary.open("xb").close()
        # The whole video counts time as finely as its pictures. The default, milliseconds, would cut the last one
        # short.
        options = {"movflags": "+faststart", "movie_timescale": str(self._time_base.denominator)}
        self._container = av.open(f"file:{self._temporary}", "w", format="mp4", options=options)
        self._stream = self._container.add_stream("libx264", rate=fps, options=self._options)
        self._stream.width, self._stream.height = self.width + self.width % 2, self.height + self.height % 2
        self._stream.pix_fmt = "yuv420p"
        self._stream.time_base = self._time_base
        context = self._stream.codec_context
        context.time_base = self._time_base
        context.thread_type = "AUTO"
        context.color_range = _LIMITED_RANGE
        context.colorspace = context.color_primaries = context.color_trc = _BT709

    def __enter__(self) -> VideoWriter:
        return self

    def write(self, image: Image, time: float) -> None:
        """Append `image`, uint8 (height, width, 3) BGR, to be shown at `time` s.

        A time that is not after that of the picture before is moved behind it by the smallest possible step.
        """
        if image.shape != (self.height, self.width, 3):
            raise ValueError(f"the picture must have shape {(self.height, self.width, 3)}, not {image.shape}")
        if self.width % 2 or self.height % 2:
            right, bottom = self.width % 2, self.height % 2
            image = np.asarray(cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_REPLICATE), np.uint8)
        bgr = VideoFrame.from_numpy_buffer(np.ascontiguousarray(image), format="bgr24")
        picture = self._reformatter.reformat(bgr, format="yuv420p", dst_colorspace=Colorspace.ITU709, threads=1)
        self._last_pts = max(round(time / self._time_base), self._last_pts + 1)
        picture.pts, picture.time_base = self._last_pts, self._time_base
        self._encode(picture)

    def _encode(self, picture: VideoFrame | None) -> None:
        with _explained(self.path):
            for packet in self._stream.encode(picture):
                if self._held is not None:
                    self._container.mux(self._held)
                self._held = packet
                if self._first_dts is None:
                    self._first_dts = packet.dts

    def _finish(self) -> None:
        """Encode what the encoder still holds, and set how long the last picture is shown."""
        self._encode(None)
        if self._held is None:
            raise OutputError(f"{self.path} was not written: there was no picture to write.")
        with _explained(self.path):
            if self._held.dts is not None and self._first_dts is not None:
                # MP4 counts decoding times, and the last picture to be decoded need not be the last one shown.
                decoded = self._held.dts - self._first_dts
                self._held.duration = max(1, self._last_pts + self._last_duration - decoded)
            self._container.mux(self._held)
            self._container.close()

    def _close(self) -> None:
        with suppress(av.FFmpegError, OSError):  # already closed, or failing for the reason that was already raised
            self._container.close()

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        with self._stack:  # closes the file, then renames or removes it
            if error is not None:
                raise error
            self._finish()


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        with explained(path):
            yield
    except (av.FFmpegError, OSError) as error:
        raise OutputError(f"{path} cannot be written: {reason_of(error)}.") from error
