"""Which files are videos, by their names and by their first bytes. One list for the command line and the web page."""

from __future__ import annotations

_FORMATS = """
    3g2 3gp amv asf avi av1 dav divx dv f4v flv gif h264 264 h265 265 hevc ivf m1v m2t m2ts m2v m4v mj2 mjpeg mjpg mkv
    mod mov mp4 mpe mpeg mpg mpv mts mxf nut obu ogg ogm ogv qt rm rmvb tod tp trp ts vob webm wmv wtv y4m
"""
VIDEO_SUFFIXES = frozenset(f".{name}" for name in _FORMATS.split())
"""Suffixes of the formats that FFmpeg opens and that people film in. They decide which files of a folder are videos. A
file that is named may have any suffix."""

HEAD = 1024
"""So many bytes tell what a file is (`container_of`)."""

_BEGINNINGS = {
    b"\x1a\x45\xdf\xa3": ".mkv",
    b"\x00\x00\x01\xba": ".mpg",  # a program stream, as of DVDs and camcorders
    b"\x00\x00\x01\xb3": ".m2v",
    b"\x00\x00\x01\xb0": ".m4v",
    b"\x00\x00\x00\x0cjP  \r\n\x87\n": ".mj2",
    b"\x06\x0e\x2b\x34": ".mxf",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": ".wmv",
    b"\xb7\xd8\x00\x20\x37\x49\xda\x11": ".wtv",
    b"\x1f\x07\x00": ".dv",
    b"\x12\x00\x0a": ".obu",
    b"\xff\xd8\xff": ".mjpeg",
    b"OggS": ".ogv",
    b"FLV\x01": ".flv",
    b"GIF8": ".gif",
    b"DKIF": ".ivf",
    b"YUV4MPEG2 ": ".y4m",
    b".RMF": ".rm",
    b"nut/multimedia container\x00": ".nut",
    b"DHAV": ".dav",  # Dahua's recorders
}
_BOXES = (b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
_H265 = (b"\x40\x01", b"\x42\x01", b"\x46\x01")
_H264 = (5, 6, 7, 8, 9)
"""The units with which raw streams begin: parameters, marks, or a key picture."""
_PACKETS = {188: ".ts", 192: ".m2ts"}
"""Bytes in a packet of a transport stream; camcorders write four bytes of time before each."""


def container_of(head: bytes) -> str | None:
    """Return the file suffix for the format that the first `HEAD` bytes of a file belong to; None for no video.

    Texts such as playlists, which can name other files, are no videos.
    """
    kind, brand = head[4:8], head[8:12]
    if kind == b"ftyp":
        return ".mov" if brand == b"qt  " else ".mp4"
    if kind in _BOXES:
        return ".mov"
    if head.startswith(b"RIFF"):
        return {b"AVI ": ".avi", b"AMV ": ".amv"}.get(brand)
    if head.startswith(b"\x1a\x45\xdf\xa3") and b"webm" in head[:64]:
        return ".webm"
    for beginning, suffix in _BEGINNINGS.items():
        if head.startswith(beginning):
            return suffix
    return _raw_stream(head) or _transport_stream(head)


def _raw_stream(head: bytes) -> str | None:
    """Recognise H.264 and H.265 without a container: a start code and the head of a unit."""
    start = head.find(b"\x00\x00\x01", 0, 4)
    unit = head[start + 3 : start + 5]
    if start < 0 or any(head[:start]) or len(unit) < 2:
        return None
    if unit in _H265:
        return ".h265"
    return ".h264" if unit[0] & 0x9F in _H264 else None


def _transport_stream(head: bytes) -> str | None:
    """Recognise packets by their first byte. A stream that was cut out of a recording may begin inside of one."""
    for size, suffix in _PACKETS.items():
        for start in range(size):
            marks = head[start::size]
            if len(marks) >= 3 and marks.count(0x47) == len(marks):
                return suffix
    return None
