"""What the path of a video may mean.

It is a file; one camera of a file with several, ``walk.mkv#2``; a folder of numbered pictures; a pattern for their
names, ``img1/%06d.jpg``; or a folder with a sequence of MOT.
"""

from __future__ import annotations

import configparser
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from app.errors import VideoError

PICTURES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm"))
"""Suffixes of pictures."""
_NUMBER = re.compile(r"\d+")
_PATTERN = re.compile(r"%(0?\d*)d")
_CAMERA = re.compile(r"(.+)#([1-9]\d?)")
_SEQUENCE = "seqinfo.ini"  # MOT challenge: frame rate and the folder of the pictures
_MOT_PICTURES = "img1"


@dataclass(frozen=True)
class Frames:
    """The pictures of a video in their order, and how many of them make a second where that is written down.

    `empty` pictures, whose files hold nothing, are left out.
    """

    files: tuple[Path, ...]
    rate: Fraction | None
    empty: int = 0

    def playlist(self, rate: Fraction) -> bytes:
        """Return the list of the pictures that FFmpeg's "concat" format reads."""
        lines = ["ffconcat version 1.0"]
        for file in self.files:
            place = f"file:{file.absolute()}".replace("'", r"'\''")
            lines += [f"file '{place}'", f"duration {float(1 / rate):.9f}"]
        return "\n".join(lines).encode()


def frames_of(path: Path) -> Frames | None:
    """Return the pictures of a folder or pattern in the order of their numbers; None where there are not at least two.

    A pattern is such as ``img1/%06d.jpg`` or ``walk-*.png``; a folder may have MOT's ``seqinfo.ini``.

    Raises:
        VideoError: ``seqinfo.ini`` cannot be used.
    """
    if path.is_file():
        return None
    folder, pattern = (path, None) if path.is_dir() else (path.parent, _matcher(path.name))
    if not folder.is_dir() or (folder == path.parent and pattern is None):
        return None
    rate = None
    for place in (folder, folder.parent):
        sequence = place / _SEQUENCE
        if sequence.is_file():
            pictures, rate = _read_sequence(sequence)
            folder = pictures if place == folder else folder
            break
    try:
        names = [file for file in folder.iterdir() if pattern is None or pattern.fullmatch(file.name)]
    except OSError:  # a folder that may not be read holds nothing for us
        return None
    pictures_there = [file for file in names if file.suffix.lower() in PICTURES and file.name[0] != "."]
    if len(pictures_there) < 2:
        return None
    suffix = Counter(file.suffix for file in pictures_there).most_common(1)[0][0]
    files = sorted((file for file in pictures_there if file.suffix == suffix), key=_in_order)
    whole = tuple(file for file in files if file.stat().st_size)
    return Frames(whole, rate, len(files) - len(whole)) if whole else None


def camera_of(path: Path) -> tuple[Path, int | None]:
    """Return the file of a path such as ``walk.mkv#2``, and which of its cameras is meant; None for the best one."""
    match = None if path.exists() else _CAMERA.fullmatch(path.name)
    if match is not None and (file := path.with_name(match[1])).is_file():
        return file, int(match[2])
    return path, None


def exists(path: Path) -> bool:
    """Whether there is something at a path that may be a video."""
    return camera_of(path)[0].is_file() or frames_of(path) is not None


def files_of(video: Path) -> Iterator[Path]:
    """Yield the files that a video consists of, at least one, in their order."""
    frames = frames_of(video)
    yield from frames.files if frames is not None else (camera_of(video)[0],)


def title(video: Path) -> str:
    """Return what a video is called after: its file without suffix, or the folder of its pictures."""
    file, camera = camera_of(video)
    if camera is not None:
        return f"{file.stem}-camera-{camera}"
    if not video.is_dir():
        if video.is_file() or _matcher(video.name) is None:
            return video.stem
        video = video.parent
    video = video.absolute()
    return video.parent.name if video.name == _MOT_PICTURES and video.parent.name else video.name


def _matcher(name: str) -> re.Pattern[str] | None:
    """Return what matches the names of a pattern; None for a plain name."""
    if not _PATTERN.search(name) and "*" not in name:
        return None
    parts = re.split(r"(%0?\d*d|\*)", name)
    return re.compile("".join({"%": r"\d+", "*": ".*"}.get(part[:1], re.escape(part)) for part in parts))


def _in_order(file: Path) -> tuple[list[int], str]:
    return [int(number) for number in _NUMBER.findall(file.stem)[-2:]], file.name


def _read_sequence(file: Path) -> tuple[Path, Fraction | None]:
    """Return the folder of the pictures and the frame rate that a ``seqinfo.ini`` names."""
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(file.read_bytes().decode("utf-8-sig"))
        section = parser["Sequence"]
        folder = file.parent / Path(section.get("imDir", _MOT_PICTURES)).name
        rate = Fraction(section["frameRate"].strip()) if "frameRate" in section else None
    except (configparser.Error, KeyError, ValueError, ZeroDivisionError) as error:
        raise VideoError(f"{file} cannot be used: {' '.join(str(error).split())}.") from error
    if rate is not None and not 0 < rate <= 1000:
        raise VideoError(f"{file} cannot be used: frameRate is {rate}.")
    return folder if folder.is_dir() else file.parent, rate
