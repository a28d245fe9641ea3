"""Which files are videos, where they are looked for, and what each one is called in a run."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from app.errors import VideoError, nearest
from app.files import expanded
from app.video.formats import VIDEO_SUFFIXES
from app.video.paths import camera_of, exists, frames_of, title

logger = logging.getLogger(__name__)

INPUT_VIDEOS = Path("input_videos")
"""The folder in which names of videos are looked up."""

_CLUTTER = frozenset(("thumbs.db", "desktop.ini", "ehthumbs.db", "__macosx", "@eadir", "lost+found", "$recycle.bin"))
_NOTES = frozenset((".txt", ".json", ".csv", ".md", ".xml", ".srt", ".yaml", ".yml"))
"""Suffixes of what often lies beside videos."""
_LONGEST_NAME = 110  # bytes: ``G-<gallery>_P-<probe>.mp4`` must fit into the 255 bytes of a file name
# Besides what systems forbid, what ends a line or turns the direction of writing, so that a name looks like another.
_NOT_IN_NAMES = re.compile(r'[\x00-\x1f\x7f-\x9f<>:"/\\|?*\u2028-\u202e\u2066-\u2069\ufeff]')
_DOTS_AT_ENDS = re.compile(r"^[. ]+|[. ]+$")
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[\d¹²³])( *\.|$)")
_OPTIONS = re.compile(r"[?#&;=]")  # where the options of an address begin


def is_file(name: str) -> bool:
    """Whether the name of a source means a file, and not the number of a camera or an address."""
    return not (name.isdigit() or "://" in name)


def public_name(name: str) -> str:
    """Return the name of a source as people may read it: an address without user, password and options, a file without
    folders.
    """
    if is_file(name):
        return Path(name).name
    if name.isdigit():
        return f"camera {name}"
    # Not parsed by the rules of addresses, because a password that breaks them must not appear either. Some recorders
    # have the password in the path, as in user=me&password=secret.
    scheme, _, rest = name.partition("://")
    return f"{scheme}://{_OPTIONS.split(rest.rpartition('@')[2], maxsplit=1)[0]}"


def videos_in(folder: Path) -> list[Path]:
    """Return the videos of a folder by their suffix, sorted by name; an empty list where it cannot be read."""
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return []
    return [path for path in entries if path.suffix.lower() in VIDEO_SUFFIXES and not is_clutter(path)]


def is_clutter(path: Path) -> bool:
    """Whether a file or folder is something that file managers and editors leave behind, such as ``._walk.mp4``."""
    return path.name.startswith(".") or path.name.lower() in _CLUTTER


def videos_below(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the videos in a folder and in the folders in it, folders of pictures too, and what was passed over.

    Two cameras in one file are two videos. What file managers leave behind is in neither list.
    """
    videos, others = list[Path](), list[Path]()
    for path in sorted(folder.iterdir()):
        if is_clutter(path):
            continue
        if not path.is_dir():
            if path.suffix.lower() in VIDEO_SUFFIXES:
                videos += _cameras(path)
            else:
                others.append(path)
        elif frames_of(path) is not None:
            videos.append(path)
        else:
            more, over = videos_below(path)
            videos += more
            others += over
    return videos, others


def find_video(name: str, folder: Path = INPUT_VIDEOS) -> Path:
    """Find a video: `name` as given, else in `folder`, with or without its suffix.

    Raises:
        VideoError: there is none, or it is a folder without pictures of a video. The nearest name of either place is
            suggested.
    """
    given = expanded(name, VideoError)
    places = [given] if given.is_absolute() else [given, folder / given]
    for place in places:
        try:
            if exists(place):
                return place
        except OSError as error:
            raise VideoError(f"There is no video '{name}': {error.strerror}.") from error
    for place in places:
        for sibling in videos_in(place.parent):
            if sibling.stem == place.name:
                return sibling
    if given.is_dir():
        raise VideoError(
            f"{name} is a folder, and does not hold the pictures of a video.{_suggestion(given.name, videos_in(given))}"
        )
    around = [sibling for place in places for sibling in videos_in(place.parent)]
    searched = f" here or in {folder}" if len(places) > 1 else ""
    raise VideoError(f"There is no video '{name}'{searched}.{_suggestion(given.name, around)}")


def find_videos(names: Sequence[str], folder: Path = INPUT_VIDEOS) -> list[Path]:
    """Find several videos (`find_video`), each once, in the order given. Two cameras in one file are two videos.

    Raises:
        VideoError: some are missing; all of those are named.
    """
    paths: list[Path] = []
    missing: list[str] = []
    for name in names:
        try:
            paths += _cameras(find_video(name, folder))
        except VideoError as error:
            missing.append(str(error))
    refuse_videos(missing)
    return list(dict.fromkeys(paths))


def find_gallery_and_probes(
    gallery: str, probes: Sequence[str], folder: Path = INPUT_VIDEOS
) -> tuple[Path, list[Path]]:
    """Find the gallery video and the probes. Without probes, every other video of `folder` is one.

    Raises:
        VideoError: a file is missing, the gallery or every probe is no video, or the gallery is also a probe.
    """
    if probes:
        find_videos([gallery, *probes], folder)  # so that all that are missing are named
    gallery_path = find_video(gallery, folder)
    probe_paths = find_videos(probes, folder)
    if not probes:
        _name_passed_over(folder)
        videos = [path for path in videos_in(folder) if not is_same(path, gallery_path)]
        probe_paths = [camera for path in videos for camera in _cameras(path)]
        if not probe_paths:
            raise VideoError(f"There is no probe: give one with --probe FILE, or put videos into {folder}/.")
    for probe in probe_paths:
        if is_same(probe, gallery_path):
            raise VideoError(
                f"{probe} is given both as gallery and as probe, so everybody would match themselves. Give another "
                "video."
            )
    check_headers(probe_paths, gallery_path)
    return gallery_path, probe_paths


def _name_passed_over(folder: Path) -> None:
    """Warn about what in a folder of videos is no video by its name and no note about one."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix.lower() not in VIDEO_SUFFIXES | _NOTES and not is_clutter(path):
            logger.warning("%s is passed over: its name is not that of a video.", path)


def _cameras(video: Path) -> list[Path]:
    """Return the video once for each camera in its file."""
    from app.video.opening import cameras  # here, so that listing files loads no decoder

    try:
        return cameras(video)
    except VideoError:  # said when it is read
        return [video]


def is_same(first: Path, second: Path) -> bool:
    """Whether two paths lead to the same video. A pattern for pictures is no file, and a file may have cameras."""
    (one, camera), (other, another) = camera_of(first), camera_of(second)
    if camera is not None and another is not None and camera != another:
        return False
    return one == other or (one.exists() and other.exists() and one.samefile(other))


def check_headers(probes: Sequence[Path], gallery: Path | None = None) -> None:
    """Say before the long work, not after it, that nothing can come of it.

    Some bad probes do not lose the others: they are reported among the failures of the run.

    Raises:
        VideoError: the gallery or every probe is no video; all that are none are named.
    """
    from app.video.reader import VideoReader  # here, so that listing files loads no decoder

    reasons: dict[Path, str] = {}
    for path in [*([gallery] if gallery else []), *probes]:
        try:
            with VideoReader(path):
                pass
        except VideoError as error:
            reasons[path] = str(error)
    if gallery in reasons or all(probe in reasons for probe in probes):
        refuse_videos(list(reasons.values()))


def refuse_videos(reasons: Sequence[str]) -> None:
    """Raise `VideoError`, which says why videos cannot be used; do nothing where there are no reasons."""
    if len(reasons) > 1:
        raise VideoError("\n- ".join([f"{len(reasons)} videos cannot be used.", *reasons]))
    if reasons:
        raise VideoError(reasons[0])


def distinct_names(videos: Sequence[Path]) -> list[str]:
    """Name each video by its file or folder, as a folder can be called. The second one of a name gets ``-2``."""
    names: dict[str, str] = {}
    for video in videos:
        stem = plain_name(title(video))
        name, number = stem, 1
        while disk_key(name) in names:
            number += 1
            name = f"{stem}-{number}"
        names[disk_key(name)] = name
    return list(names.values())


def disk_key(name: str) -> str:
    """Return what two names have in common that some disks take for one: the case and Unicode's form do not count."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def plain_name(text: str) -> str:
    """Return `text` as the name of a plain file or folder, on every system.

    What cannot stand in a name becomes ``_``: separators, control characters, bytes that are no text, and dots or
    spaces at either end. Names that Windows reserves get a ``_`` in front, and long names are cut at 110 bytes.
    """
    name = _NOT_IN_NAMES.sub("_", text.encode("utf-8", "replace").decode())
    name = name.encode()[:_LONGEST_NAME].decode(errors="ignore")
    name = _DOTS_AT_ENDS.sub("_", name)
    return f"_{name}" if not name or _RESERVED.match(name) else name


def _suggestion(word: str, videos: Sequence[Path]) -> str:
    names = list(dict.fromkeys(video.name for video in videos))
    if not names:
        return ""
    stems = {Path(name).stem: name for name in reversed(names)}
    hint = nearest(word, names) or nearest(word, stems)
    return hint or f" Videos there: {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}."
