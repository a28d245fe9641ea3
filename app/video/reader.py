"""Reading video with PyAV (FFmpeg): upright BGR pictures with their presentation times."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from heapq import heappop, heappush
from pathlib import Path
from typing import TYPE_CHECKING

import av
from av.filter import Graph

from app.errors import VideoError, reason_of
from app.types import Frame, Image, Reading, VideoInfo
from app.video.looks import Looks
from app.video.opening import demuxed_packets, opened, seconds
from app.video.upright import Upright, is_high_range

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

_RESTART = 1.0
"""A clock that goes back by more than this, in s, was set anew. By less, pictures are only in disorder."""
_LONGEST_PAUSE, _AFTER_JUMP = 600.0, 5.0
"""A longer pause, in s, is a jump of the clock, and is shortened to the second value."""
_PAUSE = 1.0
"""Pauses from here on, in s, are told to the user."""
_AHEAD = 0.5
"""Where more pictures come than the rate says, so many seconds of them may be ahead before some are left out."""
_DISORDER = 5
"""Times of so many pictures that follow each other may be in disorder. As many pictures are held in memory."""
_EXACT = 1e-6
_SEEK = 10.0
"""A start that is later than this, in s, is sought; an earlier one is reached by decoding."""


class VideoReader:
    """A video as an iterable of `Frame`; a context manager, iterable once.

    Times are the presentation times, counted from the first picture, and always rise; a picture without a time comes
    one frame duration after the one before. A clock that starts anew or jumps far ahead goes on where it was. Frames
    are numbered by their times, so that numbers are missing where nothing was recorded.

    Pictures are turned and mirrored as the file says. Pixels that are not square are made square by scaling the width.
    Pictures of another shape are scaled to fit into that of the first one. Interlaced pictures are deinterlaced, and
    HLG and PQ are brought to the ordinary range. Damaged packets are skipped, and a video that breaks off is read up to
    there. `warnings` tells of all this after the last frame.

    Args:
        path: a file in any format and codec that FFmpeg knows.
        reading: which part is read; times count from its start.
        looks: how many frames a second are wanted (`app.video.looks.Looks`); None for all. The others are not made into
            images.

    Raises:
        VideoError: the file is missing, unreadable or no video, it holds only sound or not a single picture, or
            `reading` leaves nothing of it.
    """

    def __init__(self, path: Path, reading: Reading | None = None, looks: float | None = None) -> None:
        self.path = path
        self.reading = reading = reading or Reading()
        self.length = 0
        """The length of what was read so far, in frames of the video's rate."""
        self._damaged = 0
        self._changed = self._interlaced = False
        self._broke_off: str | None = None
        self._last_stamp = 0.0
        if reading.end is not None and reading.end <= reading.start:
            raise VideoError(
                f"Reading cannot start at {reading.start:g} s and end at {reading.end:g} s: the end must be later."
            )
        rate = Fraction(reading.fps).limit_denominator(1001) if reading.fps is not None else None
        self._opened = opened(path, rate, reading.device)
        self._container, self._stream = self._opened.container, self._opened.stream
        self.warnings: list[str] = list(self._opened.remarks)
        try:
            self._stream.thread_type = "AUTO"
            self._pictures = self._deinterlaced(self._decode(self._opened.packets))
            first = next(self._pictures, None)
            if first is None:
                cause = f" ({self._broke_off})" if self._broke_off else ""
                raise VideoError(f"{path} holds no picture that can be decoded{cause}.")
            self._first: VideoFrame | None = first
            self._upright = Upright(first, self._stream.sample_aspect_ratio)
            if is_high_range(first):
                self.warnings.append(f"{path} has a high dynamic range (HDR), and is converted to the ordinary range.")
            self.info = VideoInfo(
                path, self._upright.width, self._upright.height, self._opened.rate, self._count(), reading
            )
            self._looks = Looks(float(self.info.fps), looks or math.inf)
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
        first, self._first = self._first, None
        if first is None:
            raise RuntimeError("a VideoReader can be iterated once; open the video again")
        fps, start, end = float(self.info.fps), self.reading.start, self.reading.end
        index, notes = -1, list[str]()
        for time, picture in self._timed(first, notes):
            if time < start - _EXACT:
                continue
            if end is not None and time >= end - _EXACT:
                break
            due = round((time - start) * fps)
            if index + 1 - due > _AHEAD * fps:
                continue
            index = max(index + 1, due)
            self.length = index + 1
            if self._looks.due(index):
                yield Frame(index, time - start, self._image(picture, time, notes))
        else:
            self._report(index + 1, notes)
        if index < 0:
            raise VideoError(f"{self.path} has no picture from {start:g} s on, where reading was to start.")
        self.warnings += notes

    def key_pictures(self, count: int) -> Iterator[Image]:
        """Yield up to `count` pictures, spread over the part that is read, by seeking. Iterate nothing else afterwards.

        They are the nearest that need no others to be decoded, so they are cheap and may be few. There is none where a
        file cannot be sought.
        """
        first, start, end = self._first, self.reading.start, self.reading.end
        span = (end if end is not None else self._promised()) - start
        if first is None or span <= 0 or not self._opened.timed:
            return
        seen = set[int]()
        for step in range(count):
            picture = self._sought((_seconds(first) or 0.0) + start + span * step / count)
            if picture is not None and picture.pts is not None and picture.pts not in seen:
                seen.add(picture.pts)
                yield self._upright.image(picture)

    def _timed(self, first: VideoFrame, notes: list[str]) -> Iterator[tuple[float, VideoFrame]]:
        """Yield the pictures with their times in s, which rise. Add to `notes` what the clock does."""
        step, timed = 1 / float(self.info.fps), self._opened.timed
        offset, time = -(_seconds(first) or 0.0), -step
        picture: VideoFrame | None = first
        if timed and self.reading.start > _SEEK:
            picture = self._sought(self.reading.start - _SEEK / 2 - offset)
            time = -_LONGEST_PAUSE  # the first time is not compared with one before
        pause, at, pauses = 0.0, 0.0, 0
        pictures = self._in_order(picture) if timed else ((None, one) for one in self._rest(picture))
        for stamp, shown in pictures:
            now = time + step if stamp is None else stamp + offset
            if now <= time:
                if now < time - _RESTART:
                    notes.append(f"The clock of {self.path} starts anew after {time:.1f} s; time goes on from there.")
                    offset += time + step - now
                now = time + step
            elif now - time > _LONGEST_PAUSE and time >= 0:
                notes.append(
                    f"The clock of {self.path} jumps ahead by {now - time:.0f} s after {time:.1f} s. This is shortened "
                    f"to {_AFTER_JUMP:.0f} s."
                )
                offset -= now - time - _AFTER_JUMP
                now = time + _AFTER_JUMP
            elif now - time > step + _PAUSE and time >= 0:
                pauses += 1
                pause, at = max((pause, at), (now - time, time))
            time = now
            yield time, shown
        if pauses:
            which = "a pause" if pauses == 1 else f"{pauses} pauses, the longest one"
            notes.append(f"{self.path} has {which} of {pause:.1f} s after {at:.1f} s, in which nothing was recorded.")

    def _rest(self, picture: VideoFrame | None) -> Iterator[VideoFrame]:
        """Yield `picture` and all that follow it."""
        if picture is not None:
            yield picture
        yield from self._pictures

    def _in_order(self, picture: VideoFrame | None) -> Iterator[tuple[float | None, VideoFrame]]:
        """Yield `picture` and all that follow it, with the times of the file's own clock in s.

        Decoders give pictures in the order in which they are shown. Some files (H.264 in AVI) have times in the order
        in which they are stored, so the times of pictures that come together are sorted.
        """
        waiting, stamps, latest = deque["VideoFrame"](), list[float](), 0.0
        for one in self._rest(picture):
            stamp = _seconds(one)
            while waiting and (stamp is None or abs(stamp - latest) > _RESTART or len(waiting) >= _DISORDER):
                yield heappop(stamps), waiting.popleft()
            if stamp is None:
                yield None, one
                continue
            latest = stamp
            waiting.append(one)
            heappush(stamps, stamp)
        while waiting:
            yield heappop(stamps), waiting.popleft()

    def _sought(self, stamp: float) -> VideoFrame | None:
        """Return the key picture before `stamp`, in s of the file's own clock."""
        with suppress(av.FFmpegError, OSError):
            self._container.seek(round(stamp * av.time_base))
            self._pictures = self._deinterlaced(self._decode(demuxed_packets(self._container, [self._stream])))
        return next(self._pictures, None)

    def _decode(self, packets: Iterator[Packet[VideoStream]]) -> Iterator[VideoFrame]:
        """Yield what can be decoded. Damage in a packet loses that packet; damage in the container loses the rest.

        Before the first key picture nothing can be decoded: a recording that was cut out of a stream is not damaged.
        """
        began = False
        while True:
            try:
                packet = next(packets, None)
            except (av.FFmpegError, OSError) as error:
                self._broke_off = reason_of(error)
                with suppress(av.FFmpegError, ValueError):
                    yield from self._stream.decode(None)  # what the decoder still holds
                return
            if packet is None:
                return
            began = began or packet.is_keyframe
            self._last_stamp = max(self._last_stamp, seconds(packet) or 0.0)
            if packet.is_corrupt:
                self._damaged += began
            try:
                pictures = packet.decode()
            except (av.FFmpegError, ValueError) as error:
                if packet.dts is None and isinstance(error, av.error.EOFError):
                    return
                self._damaged += began and not packet.is_corrupt
                continue
            for picture in pictures:
                self._damaged += began and picture.is_corrupt and not packet.is_corrupt
                yield picture

    def _deinterlaced(self, pictures: Iterator[VideoFrame]) -> Iterator[VideoFrame]:
        """Give the pictures through FFmpeg's deinterlacer, from the first interlaced one on."""
        graph: Graph | None = None
        shape: tuple[int, int, str] | None = None
        for picture in pictures:
            if graph is None and not picture.interlaced_frame:
                yield picture
                continue
            if graph is None and not self._interlaced:
                self._interlaced = True
                self.warnings.append(f"{self.path} is interlaced, and is deinterlaced.")
            if shape != (picture.width, picture.height, picture.format.name):
                if graph is not None:
                    yield from _flushed(graph)
                graph, shape = _deinterlacer(picture), (picture.width, picture.height, picture.format.name)
            assert graph is not None  # it was made together with `shape`
            try:
                graph.vpush(picture)
            except (av.FFmpegError, OSError, ValueError):  # FFmpeg cannot deinterlace pictures of this kind
                yield picture
                continue
            yield from _pulled(graph)
        if graph is not None:
            yield from _flushed(graph)

    def _image(self, picture: VideoFrame, time: float, notes: list[str]) -> Image:
        if not self._changed and not self._upright.fits(picture):
            self._changed = True
            notes.append(
                f"The pictures of {self.path} change to {picture.width}x{picture.height} px at {time:.1f} s. They are "
                f"scaled to fit into {self.info.width}x{self.info.height} px."
            )
        try:
            return self._upright.image(picture)
        except (av.FFmpegError, OSError, ValueError) as error:
            raise VideoError(
                f"{self.path}: the picture at {time:.1f} s cannot be shown ({reason_of(error)})."
            ) from error

    def _report(self, count: int, notes: list[str]) -> None:
        """Tell about damage, once, at the end of the video."""
        parts = []
        if self._damaged:
            pieces = "piece was" if self._damaged == 1 else "pieces were"
            parts.append(f"{self._damaged} damaged {pieces} skipped or patched")
        # A second of tolerance, because headers round, and a variable rate makes the last duration a guess.
        promised = self._promised()
        missing = promised - (self._last_stamp - self._begin())
        if self._broke_off or missing > 1 + promised / 100:
            of = f" of about {self.info.frame_count}" if self.info.frame_count and missing > 0 else ""
            cause = f" ({self._broke_off})" if self._broke_off else ""
            parts.append(f"it breaks off after {count}{of} frames, at {count / float(self.info.fps):.2f} s{cause}")
        if parts:
            notes.append(f"{self.path} is damaged: {'; '.join(parts)}. The readable part is used.")

    def _count(self) -> int | None:
        """Return how many frames are to be expected, None if the header does not say it."""
        rate, reading, timed = self._opened.rate, self.reading, self._opened.timed
        whole = self._stream.frames or (round(self._promised() * rate) if timed else 0)
        if reading.start or reading.end is not None:
            end = float(whole / rate) if reading.end is None else min(float(whole / rate), reading.end)
            whole = max(0, round((end - reading.start) * rate))
        return whole or None

    def _begin(self) -> float:
        """Return from where on the file's clock the promised duration counts, in s."""
        stream = self._stream
        if not stream.duration:  # a container counts from 0
            return 0.0
        return float(stream.start_time * stream.time_base) if stream.start_time and stream.time_base else 0.0

    def _promised(self) -> float:
        """Return the duration that the header gives for the pictures in s, or 0 if it gives none."""
        stream, container = self._stream, self._container
        if stream.duration and stream.time_base:
            return float(stream.duration * stream.time_base)
        if container.duration and len(container.streams) == 1:  # sound may be longer
            return container.duration / av.time_base
        return 0.0


def _deinterlacer(picture: VideoFrame) -> Graph:
    graph = Graph()
    source = graph.add_buffer(
        width=picture.width, height=picture.height, format=picture.format, time_base=picture.time_base
    )
    # One picture for each picture, not for each field: gait networks know ordinary rates.
    graph.link_nodes(source, graph.add("bwdif", "mode=send_frame:deint=interlaced"), graph.add("buffersink"))
    graph.configure()
    return graph


def _pulled(graph: Graph) -> Iterator[VideoFrame]:
    """Yield the pictures that are ready."""
    while True:
        try:
            yield graph.vpull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return


def _flushed(graph: Graph) -> Iterator[VideoFrame]:
    graph.vpush(None)
    return _pulled(graph)


def _seconds(picture: VideoFrame) -> float | None:
    if picture.pts is None or picture.time_base is None:
        return None
    return float(picture.pts * picture.time_base)
