"""Reading video with PyAV (FFmpeg): upright BGR pictures with their presentation times."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
import cv2
import numpy as np
from av.stream import Disposition

from app.errors import VideoError
from app.types import Frame, Image, VideoInfo

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream


_FALLBACK_RATE = Fraction(25)
_TURN = {90: cv2.ROTATE_90_COUNTERCLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_CLOCKWISE}


class VideoReader:
    """A video as an iterable of `Frame`; a context manager, iterable once.

    Times are the presentation times, counted from the first picture, and always rise; a picture without a time comes
    one frame duration after the one before. Pictures are turned upright by the rotation that phones record. Pixels that
    are not square are made square by scaling the width. Pictures of another size are scaled to that of the first one.
    Damaged packets are skipped, and a video that breaks off is read up to there; `warnings` tells of both after the
    last frame.

    Args:
        path: a file in any format and codec that FFmpeg knows.

    Raises:
        VideoError: the file is missing, unreadable or no video, or it holds only sound or not a single picture.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.warnings: list[str] = []
        self._damaged = 0
        self._broke_off: str | None = None
        self._container = _open(path)
        try:
            self._stream = _video_stream(self._container, path)
            self._stream.thread_type = "AUTO"
            self._pictures = self._decode()
            first = next(self._pictures, None)
            if first is None:
                cause = f" ({self._broke_off})" if self._broke_off else ""
                raise VideoError(f"{path} holds no picture that can be decoded{cause}.")
            self._first: VideoFrame | None = first
            self._rotation = _rotation(first)
            self._size = _square_pixels(first, self._stream)
            width, height = self._size if self._rotation % 180 == 0 else self._size[::-1]
            fps = self._rate()
            self.info = VideoInfo(
                path, width, height, fps, self._stream.frames or round(self._promised() * fps) or None
            )
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. It may be closed twice."""
        self._container.close()

    def __iter__(self) -> Iterator[Frame]:
        if self._first is None:
            raise RuntimeError("a VideoReader can be iterated once; open the video again")
        duration = float(1 / self.info.fps)
        start = _seconds(self._first) or 0.0
        picture: VideoFrame | None = self._first
        self._first = None
        index, time = 0, 0.0
        while picture is not None:
            if index:
                stamp = _seconds(picture)
                time = stamp - start if stamp is not None and stamp - start > time else time + duration
            yield Frame(index, time, self._upright(picture))
            index += 1
            picture = next(self._pictures, None)
        self._report(index, time + duration)

    def _decode(self) -> Iterator[VideoFrame]:
        """Yield what can be decoded. Damage in a packet loses that packet; damage in the container loses the rest."""
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except (av.FFmpegError, OSError) as error:
                self._broke_off = _reason(error)
                with suppress(av.FFmpegError, ValueError):
                    yield from self._stream.decode(None)  # what the decoder still holds
                return
            if packet is None:
                return
            if packet.is_corrupt:
                self._damaged += 1
            try:
                pictures = packet.decode()
            except (av.FFmpegError, ValueError) as error:
                if packet.dts is None and isinstance(error, av.error.EOFError):
                    return
                self._damaged += not packet.is_corrupt
                continue
            for picture in pictures:
                self._damaged += picture.is_corrupt and not packet.is_corrupt
                yield picture

    def _rate(self) -> Fraction:
        for rate in (self._stream.average_rate, self._stream.guessed_rate):
            if rate is not None and 0 < rate <= 1000:
                return Fraction(rate)
        self._warn(f"{self.path} does not say its frame rate; {_FALLBACK_RATE} frames/s is assumed.")
        return _FALLBACK_RATE

    def _upright(self, picture: VideoFrame) -> Image:
        width, height = self._size
        image = picture.to_ndarray(format="bgr24", width=width, height=height)
        turn = _TURN.get(self._rotation)
        return np.asarray(image if turn is None else cv2.rotate(image, turn), np.uint8)

    def _report(self, count: int, end: float) -> None:
        """Warn about damage, once, at the end of the video."""
        parts = []
        if self._damaged:
            pieces = "piece was" if self._damaged == 1 else "pieces were"
            parts.append(f"{self._damaged} damaged {pieces} skipped or patched")
        expected = self._expected_count(count, end)
        if self._broke_off or count < expected:
            of = f" of about {expected}" if count < expected else ""
            cause = f" ({self._broke_off})" if self._broke_off else ""
            parts.append(f"it breaks off after {count}{of} frames, at {end:.2f} s{cause}")
        if parts:
            self._warn(f"{self.path} is damaged: {'; '.join(parts)}. The readable part is used.")

    def _expected_count(self, count: int, end: float) -> int:
        """Return how many frames the header promises if the video has clearly fewer, else 0."""
        if self._stream.frames:
            return self._stream.frames if count < 0.99 * self._stream.frames - 2 else 0
        # A second of tolerance, because headers round, and a variable rate makes the last duration a guess.
        seconds = self._promised()
        return round(seconds * float(self.info.fps)) if end < 0.99 * seconds - 1 else 0

    def _promised(self) -> float:
        """Return the duration that the header gives for the pictures in s, or 0 if it gives none."""
        stream, container = self._stream, self._container
        if stream.duration and stream.time_base:
            return float(stream.duration * stream.time_base)
        if container.duration and len(container.streams) == 1:  # sound may be longer
            return container.duration / av.time_base
        return 0.0

    def _warn(self, message: str) -> None:
        self.warnings.append(message)


def _open(path: Path) -> InputContainer:
    if path.is_dir():
        raise VideoError(f"{path} is a folder, not a video.")
    if not path.exists():
        raise VideoError(f"There is no video '{path}'.")
    try:
        if path.is_file() and path.stat().st_size == 0:
            raise VideoError(f"{path} is an empty file.")
        # With "file:", a colon in the name is not taken for a protocol, and a playlist cannot reach the network.
        container = av.open(
            f"file:{path}", options={"protocol_whitelist": "file,crypto,data"}, metadata_errors="replace"
        )
    except PermissionError as error:
        raise VideoError(f"{path} may not be read: permission denied.") from error
    except (av.FFmpegError, OSError, ValueError) as error:
        raise VideoError(
            f"{path} is not a video, or is damaged beyond reading ({_reason(error)}). "
            "A recording that was cut off before its index was written cannot be opened."
        ) from error
    if container.format.name == "tty":  # FFmpeg plays any text file as a terminal recording
        container.close()
        raise VideoError(f"{path} is a text file, not a video.")
    if container.format.name.endswith("_pipe") or container.format.name == "image2":
        container.close()
        raise VideoError(f"{path} is a picture, not a video.")
    return container


def _video_stream(container: InputContainer, path: Path) -> VideoStream:
    # An attached picture is the cover of an audio file.
    streams = [stream for stream in container.streams.video if Disposition.attached_pic not in stream.disposition]
    if not streams:
        what = "only sound" if container.streams.audio else "no video stream"
        raise VideoError(f"{path} holds {what}: there is no picture to look at.")
    if getattr(streams[0], "codec_context", None) is None:
        raise VideoError(f"{path} uses a video codec that this FFmpeg does not know. Convert it to H.264.")
    return streams[0]


def _seconds(picture: VideoFrame) -> float | None:
    if picture.pts is None or picture.time_base is None:
        return None
    return float(picture.pts * picture.time_base)


def _rotation(picture: VideoFrame) -> int:
    """Return how far to turn counter-clockwise, in degrees: 0, 90, 180 or 270; slanted angles are rounded."""
    return round(picture.rotation / 90) * 90 % 360


def _square_pixels(picture: VideoFrame, stream: VideoStream) -> tuple[int, int]:
    """Return the width and height in px, before rotation, that show the picture undistorted."""
    ratio = stream.sample_aspect_ratio
    # Less than one percent is a rounding of the container and not worth resampling.
    if not ratio or abs(ratio - 1) < Fraction(1, 100) or not Fraction(1, 4) <= ratio <= 4:
        return picture.width, picture.height
    return round(picture.width * ratio), picture.height


def _reason(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text)
