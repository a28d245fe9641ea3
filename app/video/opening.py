"""Opening a video file: its container, the stream that is looked at, and how many pictures a second that one has."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, cast

import av
import numpy as np
from av.codec.hwaccel import HWAccel, hwdevices_available
from av.stream import Disposition

from app.errors import VideoError, reason_of
from app.types import Doubles
from app.video.paths import Frames, camera_of, frames_of

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

FALLBACK_RATE = Fraction(25)
_FASTEST_RATE = 300
"""Frame rates in 1/s above this are not believed: recorders that do not know their rate claim 600 or 1000."""
_SLOWEST_RATE = Fraction(1, 100)
"""Frame rates in 1/s below this are not believed either."""
_ALIKE = Fraction(1, 40)
"""A rate in the header that is so close to the measured one is the exact one."""
_PACKETS, _BYTES = 240, 32 << 20
"""So much of a file, whichever comes first, is read to see which streams it has and what their rates are."""
_PROTOCOLS = "file,crypto,data"
"""What files may refer to: nothing on the network."""
_NO_TIMES = 0x0080
"""FFmpeg's flag for formats without times (AVFMT_NOTIMESTAMPS)."""
_NOT_FILMED = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image | Disposition.dependent


@dataclass(frozen=True)
class Opened:
    """A video that is ready to be decoded.

    `packets` are those of `stream`, from the first one. `rate` is in pictures a second. `timed` says whether the times
    in the file can be believed; otherwise pictures come at `rate`. `remarks` is what a user should know.
    """

    container: InputContainer
    stream: VideoStream
    packets: Iterator[Packet[VideoStream]]
    rate: Fraction
    timed: bool
    remarks: tuple[str, ...]


def opened(path: Path, rate: Fraction | None = None, device: str = "cpu") -> Opened:
    """Open a video and choose the stream with the most pictures and pixels; covers and previews are not chosen.

    Args:
        path: the file, or pictures as `app.video.paths.frames_of` takes them.
        rate: pictures a second, if the file is known to be wrong.
        device: what decodes it (`app.types.Reading`). Where that cannot, the processor does, and a remark says so.

    Raises:
        VideoError: the file is missing, unreadable or no video, or it holds only sound.
    """
    frames = frames_of(path)
    if frames is not None:
        known = rate or frames.rate
        return _of_pictures(path, frames, known or FALLBACK_RATE, known is None)
    file, camera = camera_of(path)
    container = _container(file)
    decoder, remarks = (None, []) if device == "cpu" else _decoder(file, device)
    if decoder is not None:
        container.close()
        container = _container(file, decoder)
    try:
        streams = _streams(container, file)
        first, later = _first(demuxed_packets(container, streams))
        stream = max(streams, key=lambda one: _amount(one, first))
        if len(streams) > 1 and camera is None:
            remarks.append(_ignored(path, stream, streams, first))
        if camera is not None:
            cameras = _cameras(streams, first)
            if camera > len(cameras):
                raise VideoError(f"{file} has {len(cameras)} camera{'s' * (len(cameras) > 1)}, and not {camera}.")
            stream = cameras[camera - 1]
        timed = rate is None
        if rate is None:
            times = _times([packet for packet in first if packet.stream is stream])
            rate, doubt = _rate(container, stream, times)
            timed = not doubt
            if doubt:
                remarks.append(_assumed(path, doubt, rate))
    except BaseException:
        container.close()
        raise
    packets = (packet for packet in chain(first, later) if packet.stream is stream)
    return Opened(container, stream, packets, rate, timed, tuple(remarks))


def cameras(path: Path) -> list[Path]:
    """Return the paths of the cameras in a file that films with several; the path itself for every other video.

    Raises:
        VideoError: the file is no video.
    """
    if camera_of(path)[1] is not None or not path.is_file():
        return [path]
    with _container(path) as container:
        if len(container.streams.video) < 2:
            return [path]
        streams = _streams(container, path)
        count = len(_cameras(streams, _first(demuxed_packets(container, streams))[0]))
    return [path.with_name(f"{path.name}#{number + 1}") for number in range(count)] if count > 1 else [path]


def _cameras(streams: Sequence[VideoStream], first: Sequence[Packet[VideoStream]]) -> list[VideoStream]:
    """Return the streams that show about as much as the best one: not covers, previews and smaller copies."""
    amounts = [_amount(stream, first) for stream in streams]
    best = max(amounts)
    return [s for s, amount in zip(streams, amounts, strict=True) if amount[0] == best[0] and 2 * amount[1] > best[1]]


def _of_pictures(path: Path, frames: Frames, rate: Fraction, is_assumed: bool) -> Opened:
    options = {"safe": "0", "protocol_whitelist": _PROTOCOLS}
    try:
        container = av.open(io.BytesIO(frames.playlist(rate)), "r", format="concat", options=options)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise VideoError(f"{path}: the picture {frames.files[0].name} cannot be read ({reason_of(error)}).") from error
    (stream,) = container.streams.video
    remarks = (
        [_assumed(path, "consists of pictures and does not say how many of them make a second", rate)]
        if is_assumed
        else []
    )
    if frames.empty:
        remarks.append(f"{path} has {frames.empty} empty file{'s' * (frames.empty > 1)} among its pictures.")
    return Opened(container, stream, demuxed_packets(container, [stream]), rate, False, tuple(remarks))


def _assumed(path: Path, doubt: str, rate: Fraction) -> str:
    return f"{path} {doubt}; {float(rate):.4g} frames/s is assumed. If that is wrong, give --fps."


def demuxed_packets(container: InputContainer, streams: Sequence[VideoStream]) -> Iterator[Packet[VideoStream]]:
    """Yield the packets of streams. A stream that appears only in mid-file is passed over."""
    packets = container.demux(*streams)
    while True:
        try:
            packet = next(packets, None)
        except IndexError:  # a packet of a stream that appears only here; demuxing goes on behind it
            packets = container.demux(*streams)
            continue
        if packet is None:
            return
        yield cast("Packet[VideoStream]", packet)


def seconds(packet: Packet[VideoStream]) -> float | None:
    """Return the time of a packet in s, None where it has none."""
    stamp = packet.pts if packet.pts is not None else packet.dts
    return None if stamp is None or packet.time_base is None else float(stamp * packet.time_base)


def _decoder(path: Path, device: str) -> tuple[HWAccel | None, list[str]]:
    """Return what decodes a file on a device, if its first picture can be decoded there; else None and a remark."""
    faults = []
    for kind in hwdevices_available() if device == "auto" else [device]:
        decoder = HWAccel(kind, allow_software_fallback=False)
        try:
            with _plain(path, decoder) as container:
                next(container.decode(video=0))
        except (av.FFmpegError, OSError, RuntimeError, ValueError, StopIteration) as error:
            faults.append(f"{kind}: {reason_of(error)}")
        else:
            return decoder, []
    why = "; ".join(faults) or "there is none"
    return None, [f"{path} cannot be decoded on a device ({why}): the processor does it."]


def _plain(path: Path, decoder: HWAccel | None) -> InputContainer:
    # With "file:", a colon in the name is not taken for a protocol, and a playlist cannot reach the network.
    options = {"protocol_whitelist": _PROTOCOLS}
    return av.open(f"file:{path}", options=options, metadata_errors="replace", hwaccel=decoder)


def _container(path: Path, decoder: HWAccel | None = None) -> InputContainer:
    if path.is_dir():
        raise VideoError(f"{path} is a folder, and does not hold the pictures of a video.")
    if not path.exists():
        raise VideoError(f"There is no video '{path}'.")
    try:
        if path.is_file() and path.stat().st_size == 0:
            raise VideoError(f"{path} is an empty file.")
        container = _plain(path, decoder)
    except PermissionError as error:
        raise VideoError(f"{path} may not be read: permission denied.") from error
    except (av.FFmpegError, OSError, ValueError) as error:
        raise VideoError(
            f"{path} is not a video, or is damaged beyond reading ({reason_of(error)}). "
            "A recording that was cut off before its index was written cannot be opened."
        ) from error
    if container.format.name == "tty":  # FFmpeg plays any text file as a terminal recording
        container.close()
        raise VideoError(f"{path} is a text file, not a video.")
    if container.format.name.endswith("_pipe") or container.format.name == "image2":
        container.close()
        raise VideoError(f"{path} is a picture, not a video.")
    return container


def _streams(container: InputContainer, path: Path) -> list[VideoStream]:
    """Return the streams that can be decoded and are not the cover of an audio file."""
    streams = [stream for stream in container.streams.video if Disposition.attached_pic not in stream.disposition]
    if not streams:
        what = "only sound" if container.streams.audio else "no video stream"
        raise VideoError(f"{path} holds {what}: there is no picture to look at.")
    known = [stream for stream in streams if getattr(stream, "codec_context", None) is not None]
    if not known:
        raise VideoError(f"{path} uses a video codec that this FFmpeg does not know. Convert it to H.264.")
    return known


def _first(packets: Iterator[Packet[VideoStream]]) -> tuple[list[Packet[VideoStream]], Iterator[Packet[VideoStream]]]:
    """Return the first packets and an iterator of the others, which begins with the error if there was one."""
    first: list[Packet[VideoStream]] = []
    size = 0
    try:
        for packet in packets:
            first.append(packet)
            size += packet.size
            if len(first) == _PACKETS or size > _BYTES:
                break
    except (av.FFmpegError, OSError) as error:
        return first, map(_fail, [error])
    return first, packets


def _fail(error: Exception) -> Packet[VideoStream]:
    raise error


def _amount(stream: VideoStream, first: Sequence[Packet[VideoStream]]) -> tuple[bool, int, bool, int]:
    """Return how much there is to see in a stream: whether it was filmed at all, then pictures times pixels."""
    pictures = sum(packet.stream is stream and packet.size > 0 for packet in first)
    filmed = not stream.disposition & _NOT_FILMED and pictures > 1
    return filmed, pictures * stream.width * stream.height, Disposition.default in stream.disposition, -stream.index


def _ignored(
    path: Path, stream: VideoStream, streams: Sequence[VideoStream], first: Sequence[Packet[VideoStream]]
) -> str:
    others = ", ".join(_named(other) for other in streams if other is not stream)
    count = len(_cameras(streams, first))
    names = f" Its cameras can be given as '{path.name}#1' to '{path.name}#{count}'." if count > 1 else ""
    return f"{path} holds {len(streams)} video streams; {_named(stream)} is used and not {others}.{names}"


def _named(stream: VideoStream) -> str:
    return f"stream {stream.index} ({stream.width}x{stream.height} px)"


def _times(packets: Sequence[Packet[VideoStream]]) -> list[float]:
    """Return the times of packets in s, in the order in which their pictures follow each other."""
    stamps = [packet.dts for packet in packets if packet.dts is not None]
    if len(stamps) < sum(packet.size > 0 for packet in packets):  # only times of presentation, which are not in order
        stamps = sorted(packet.pts for packet in packets if packet.pts is not None)
    return [float(stamp * packets[0].time_base) for stamp in stamps]


def _rate(container: InputContainer, stream: VideoStream, times: Sequence[float]) -> tuple[Fraction, str]:
    """Return the pictures a second, and why the times in the file cannot be believed, else an empty string.

    The rate is that of the pictures' own times, because rates in headers are often wrong: a recording with pauses has
    too low a mean. Of a rate that changes, the higher one counts, so that no picture is lost.
    """
    said = [rate for rate in (stream.average_rate, stream.guessed_rate) if rate is not None and rate > 0]
    if container.format.flags & _NO_TIMES:
        believed = next((rate for rate in said if rate <= _FASTEST_RATE), FALLBACK_RATE)
        return Fraction(believed), "has no times"
    if len(stream.index_entries) == stream.frames:  # an index that lists every picture
        times = [float(entry.timestamp * (stream.time_base or 0)) for entry in stream.index_entries] or times
    measured = _fastest(np.asarray(times))
    if not measured:
        believed = next((rate for rate in said if rate <= _FASTEST_RATE), Fraction(0))
        return (Fraction(believed), "") if believed else (FALLBACK_RATE, "does not say its frame rate")
    if measured > _FASTEST_RATE:
        return FALLBACK_RATE, f"claims {float(measured):.0f} frames/s, which is hardly right"
    if measured < _SLOWEST_RATE:
        return FALLBACK_RATE, f"claims a frame every {float(1 / measured):.0f} s, which is hardly right"
    exact = next((rate for rate in said if abs(rate - measured) <= _ALIKE * measured), None)
    return Fraction(exact) if exact is not None else measured.limit_denominator(1001), ""


def _fastest(times: Doubles) -> Fraction:
    """Return the highest rate at which some second of pictures comes; 0 where that is unknown.

    It is at most about twice the usual rate, because some recorders give a burst of pictures after a delay.
    """
    steps = np.diff(times)
    steps = steps[steps > 0]
    if not len(steps):
        return Fraction(0)
    usual = float(np.sort(steps)[(len(steps) - 1) // 2])  # a step that there is, unlike the median of two
    size = min(len(steps), max(2, round(1 / usual)))
    ordinary = float(steps[(steps > usual / 2) & (steps < usual * 1.5)].mean())  # between pauses, less than a second
    shortest = min(ordinary, float(np.convolve(steps, np.full(size, 1 / size), "valid").min()))
    return Fraction(1 / max(shortest, usual / 2.2))
