"""Turn raw data sets, folders of pictures, into silhouettes in OpenGait's layout.

How the folders of a data set are named is written in YAML files (``app/lab/data/layouts``). Users can write their own.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Literal

import cv2
import numpy as np

from app.errors import SettingsError
from app.files import written_whole
from app.lab.data.conversion import Outcome, Report, convert, write_json
from app.lab.data.definitions import read_definition
from app.lab.data.opengait import WALK_FILES, DataSetError, is_own, read_partition, write_array
from app.progress import Progress
from app.types import Bytes
from app.walks.silhouette import normalise

FOLDER = Path(__file__).parent / "layouts"

_ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar")


@dataclass(frozen=True)
class Place:
    """Where walks are found: the folder of a walk, below the raw data set, and what the walk is called.

    `folder` is a regular expression for each level, with ``{identity}``, ``{condition}`` and ``{view}`` for these
    parts. The three names may use the parts again, and ``{number}``, which counts the walks of a person from 1.
    """

    folder: str
    identity: str = "{identity}"
    condition: str = "{condition}"
    view: str = "{view}"


@dataclass(frozen=True)
class Layout:
    """The folders of a raw data set.

    - `source`: the publication.
    - `places`: where walks are found.
    - `parts`: regular expressions for the identity, the condition and the view in names of folders.
    - `frames`: the names of the pictures, with ``*``.
    - `ignored`: a regular expression for folders that hold something else.
    - `train`: a regular expression for the identities of the published training set, where that is possible.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    source: str
    places: tuple[Place, ...]
    parts: dict[Literal["identity", "condition", "view"], str] = field(default_factory=dict)
    frames: tuple[str, ...] = ("*.png",)
    ignored: str = ""
    train: str | None = None

    def __post_init__(self) -> None:
        for place in self.places:
            self.levels(place)
            some: dict[str, Any] = {"identity": "x", "condition": "x", "view": "x", "number": 1}
            for text in (place.identity, place.condition, place.view):
                try:
                    text.format(**some)
                except (KeyError, ValueError, IndexError) as error:
                    raise ValueError(f"'{text}' cannot be a name: {error}") from error
        for text in (self.ignored, self.train or ""):
            _compiled(text)

    def levels(self, place: Place) -> list[re.Pattern[str]]:
        """Return the regular expression for each level of folders of `place`."""
        text = place.folder
        for part in ("identity", "condition", "view"):
            text = text.replace(f"{{{part}}}", f"(?P<{part}>{self.parts.get(part, '.+')})")
        return [_compiled(level) for level in text.split("/")]


@dataclass(frozen=True)
class RawWalk:
    """One walk: its name, ``identity/condition/view``, and the folder of its pictures."""

    name: str
    folder: Path


def read_layout(name: str) -> Layout:
    """Read a layout by its name, or from a user's own YAML file.

    Raises:
        SettingsError: there is no layout of that name, or the file does not hold one.
    """
    return read_definition(name, FOLDER, Layout, "data set")


def raw_walks(raw: Path, layout: Layout) -> tuple[list[RawWalk], dict[str, str]]:
    """Return the walks below `raw`, sorted, and the other folders with the reason why they are not walks.

    Raises:
        DataSetError: there are no walks, or two have the same name.
    """
    if not raw.is_dir():
        is_file = f"{raw} is a file. Unpack it if it is an archive, and give the folder."
        raise DataSetError(is_file if raw.exists() else f"There is no folder {raw}.")
    left_out: dict[str, str] = {}
    numbers: Counter[tuple[Place, str]] = Counter()
    walks: dict[str, RawWalk] = {}
    for place, parts, folder in _matching(raw, layout, left_out):
        identity = parts.get("identity", "")
        numbers[place, identity] += 1
        known: dict[str, Any] = {"identity": "", "condition": "", "view": "", **parts}
        known["number"] = numbers[place, identity]
        names = [text.format(**known) for text in (place.identity, place.condition, place.view)]
        if any(not name or name.startswith(".") or "/" in name or "\\" in name for name in names):
            raise DataSetError(f"{folder} would be called {names}, which cannot be names of folders. Mend the layout.")
        walk = RawWalk("/".join(names), folder)
        if walk.name in walks:
            raise DataSetError(f"{folder} and {walks[walk.name].folder} would both become {walk.name}.")
        walks[walk.name] = walk
    if not walks:
        expected = " or ".join(f"{place.folder}/{layout.frames[0]}" for place in layout.places)
        noted = [f"{name} ({reason})" for name, reason in left_out.items()]
        found = ", ".join((noted or sorted(path.name for path in raw.iterdir()))[:5]) or "nothing"
        deeper = _with_walks(raw, layout)
        advice = (
            f"Give {deeper[0]}"
            if len(deeper) == 1
            else "Unpack archives, and give the folder in which these folders are"
        )
        raise DataSetError(f"{raw} has no walks of this data set. Expected: {expected}. Found: {found}. {advice}.")
    return [walks[name] for name in sorted(walks)], left_out


def prepare_silhouettes(
    layout: Layout,
    raw: Path,
    out: Path,
    *,
    size: int = 64,
    min_frames: int = 5,
    partition: Path | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> Report:
    """Write the silhouettes of a raw data set: ``out/data/identity/condition/view/0_silhouette.pkl``.

    Each is uint8 (T, size, size), made by `app.walks.silhouette.normalise`, in the natural order of the pictures'
    names. ``dataset.json`` and ``report.json`` are written too, and ``partition.json`` where it is given or the layout
    knows it.

    Args:
        out: the new data set. A run that was stopped continues.
        size: of the silhouettes, 64 or 128 px.
        min_frames: walks with fewer silhouettes are dropped.
        partition: OpenGait's JSON. People who are only in it or only in the data set are reported.

    Raises:
        SettingsError: silhouettes cannot have this size.
        DataSetError: no walks are found, all are dropped, or the partition is wrong.
        OutputError: `out` holds another data set, lies in `raw`, or cannot be written.
    """
    if size not in (64, 128):
        raise SettingsError(f"Silhouettes have 64 or 128 px, not {size}: give --size 64 or --size 128.")
    walks, left_out = raw_walks(raw, layout)
    people = sorted({walk.name.partition("/")[0] for walk in walks})
    parts = _partition(layout, partition, people, left_out)
    about = {"layout": asdict(layout), "raw": str(raw.resolve()), "size": size, "min_frames": min_frames}
    work = partial(_prepared, out=out, frames=layout.frames, size=size, min_frames=min_frames)
    report = convert(walks, work, out, about, read=(raw,), left_out=left_out, workers=workers, progress=progress)
    if parts is not None:
        write_json(out / "partition.json", parts)
    return report


def _with_walks(raw: Path, layout: Layout) -> list[Path]:
    """Return at most two of the folders, up to two folders below `raw`, in which there are walks of this layout."""
    below = (path for depth in ("*", "*/*") for path in islice(raw.glob(depth), 1000) if path.is_dir())
    return list(islice((folder for folder in below if any(True for _ in _matching(folder, layout, {}))), 2))


def _matching(raw: Path, layout: Layout, left_out: dict[str, str]) -> Iterator[tuple[Place, dict[str, str], Path]]:
    """Yield the folders of walks with their place and the parts of their names.

    Note the folders that fit no place or hold none that does, and the archives that were not unpacked.
    """
    levels = {place: layout.levels(place) for place in layout.places}
    ignored = _compiled(layout.ignored)

    def below(
        folder: Path, depth: int, candidates: list[tuple[Place, dict[str, str]]]
    ) -> Iterator[tuple[Place, dict[str, str], Path]]:
        own = sorted(filter(is_own, folder.iterdir()), key=_natural)
        children = [path for path in own if path.is_dir() and not ignored.fullmatch(path.name)]
        unpacked = {path.name for path in own if path.is_dir()}
        for path in own:
            if path.suffix.lower() in _ARCHIVES and path.name.partition(".")[0] not in unpacked and path.is_file():
                left_out[path.relative_to(raw).as_posix()] = "it is an archive that was not unpacked"
        for child in children:
            matches = [(place, parts, levels[place][depth].fullmatch(child.name)) for place, parts in candidates]
            fitting = [(place, parts | match.groupdict()) for place, parts, match in matches if match is not None]
            for place, parts in [found for found in fitting if len(levels[found[0]]) == depth + 1][:1]:
                yield place, parts, child
            if not fitting:
                expected = " or ".join(sorted({levels[place][depth].pattern for place, _ in candidates}))
                without_names = re.sub(r"[?]P<[a-z]+>", "", expected)
                left_out[child.relative_to(raw).as_posix()] = f"its name does not fit {without_names}"
            deeper = [found for found in fitting if len(levels[found[0]]) > depth + 1]
            if deeper:
                noted, is_empty = len(left_out), True
                for found in below(child, depth + 1, deeper):
                    is_empty = False
                    yield found
                if is_empty and len(left_out) == noted:
                    left_out[child.relative_to(raw).as_posix()] = "it has no folder of a walk"

    yield from below(raw, 0, [(place, {}) for place in layout.places])


def _prepared(walk: RawWalk, out: Path, frames: Sequence[str], size: int, min_frames: int) -> Outcome:
    dropped: Counter[str] = Counter()
    silhouettes: list[Bytes] = []
    files = sorted(filter(is_own, walk.folder.iterdir()), key=_natural)
    pictures = [path for path in files if any(fnmatchcase(path.name.lower(), pattern.lower()) for pattern in frames)]
    if not pictures:
        there = f"but {files[0].name}" if files else "it is empty"
        return Outcome(walk.name, 0, reason=f"its folder has no {' or '.join(frames)}, {there}")
    for path in pictures:
        picture = _picture(path)
        silhouette = normalise(picture, size) if picture is not None else None
        if silhouette is not None:
            silhouettes.append(silhouette)
        else:
            dropped["unreadable" if picture is None else "nearly empty"] += 1
    if len(silhouettes) < min_frames:
        causes = "".join(f", {count} {cause}" for cause, count in dropped.items())
        return Outcome(walk.name, 0, dict(dropped), f"{len(silhouettes)} silhouettes of {min_frames} needed{causes}")
    with written_whole(out / "data" / walk.name, WALK_FILES) as temporary:
        temporary.mkdir()
        write_array(np.stack(silhouettes), temporary / "0_silhouette.pkl")
    return Outcome(walk.name, len(silhouettes), dict(dropped))


def _picture(path: Path) -> Bytes | None:
    try:
        content = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError:  # no permission, a folder, a link to nothing
        return None
    picture = cv2.imdecode(content, cv2.IMREAD_GRAYSCALE) if len(content) else None
    return None if picture is None else np.asarray(picture, np.uint8)


def _partition(
    layout: Layout, path: Path | None, people: Sequence[str], left_out: dict[str, str]
) -> dict[str, Any] | None:
    """Read and check the partition, or make the published one; note the people who are missing on either side."""
    if path is None:
        if layout.train is None:
            return None
        pattern = _compiled(layout.train)
        published = [person for person in people if pattern.fullmatch(person)]
        return {"TRAIN_SET": published, "TEST_SET": sorted(set(people) - set(published))}
    train, test, present = set(read_partition(path, "train")), set(read_partition(path, "test")), set(people)
    if train & test:
        raise DataSetError(f"{path} has {', '.join(sorted(train & test)[:5])} both in TRAIN_SET and in TEST_SET.")
    listed = train | test
    if not listed & present:
        raise DataSetError(f"{path} lists nobody of this data set, but {', '.join(sorted(listed)[:3])} and others.")
    left_out |= {f"person {person}": "in the partition, not in the data set" for person in sorted(listed - present)}
    left_out |= {f"person {person}": "in the data set, not in the partition" for person in sorted(present - listed)}
    return dict(json.loads(path.read_text(encoding="utf-8")))


def _natural(path: Path) -> tuple[list[tuple[int, int, str]], str]:
    """Return a key that sorts names with their numbers as numbers: f9 before f10."""
    pieces = re.findall(r"\d+|\D+", path.name)
    return [(0, int(piece), "") if piece.isdecimal() else (1, 0, piece) for piece in pieces], path.name


def _compiled(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise ValueError(f"'{text}' is not a regular expression: {error}") from error
