"""Raw data sets, folders of pictures, become silhouettes in OpenGait's layout.

How the folders of a data set are named is data (``app/lab/data/layouts``). A layout of the user's own is a YAML file
too.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import cv2
import numpy as np

from app.errors import SettingsError, nearest
from app.files import written_whole
from app.lab.data.conversion import Outcome, Progress, Report, convert, write_json
from app.lab.data.opengait import DataSetError, write_array
from app.types import Bytes
from app.walks.silhouette import normalise

FOLDER = Path(__file__).parent / "layouts"


@dataclass(frozen=True)
class Place:
    """Where walks lie: the `folder` of a walk, below the raw one, and what the walk is called.

    `folder` is a regular expression for each level, with ``{identity}``, ``{condition}`` and ``{view}`` for those
    parts; in the three names they may be used again, as may ``{number}``, which counts the walks of a person from 1.
    """

    folder: str
    identity: str = "{identity}"
    condition: str = "{condition}"
    view: str = "{view}"


@dataclass(frozen=True)
class Layout:
    """The folders of a raw data set.

    `parts` are regular expressions for identity, condition and view; `frames` the names of the pictures, with ``*``;
    `ignored` a regular expression for folders that may lie there and hold other things; `train` one for the
    identities of the published training set, where it can be put so.
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
            for level in place.folder.split("/"):
                self.pattern(level)
            some: dict[str, Any] = {"identity": "x", "condition": "x", "view": "x", "number": 1}
            for text in (place.identity, place.condition, place.view):
                try:
                    text.format(**some)
                except (KeyError, ValueError, IndexError) as error:
                    raise ValueError(f"'{text}' is no name: {error}") from error
        for text in (self.ignored, self.train or ""):
            _compiled(text)

    def pattern(self, level: str) -> re.Pattern[str]:
        """Return the regular expression for the names of a level of folders."""
        for part in ("identity", "condition", "view"):
            level = level.replace(f"{{{part}}}", f"(?P<{part}>{self.parts.get(part, '.+')})")
        return _compiled(level)


@dataclass(frozen=True)
class RawWalk:
    """One walk: its name, ``identity/condition/view``, and the folder of its pictures."""

    name: str
    folder: Path


def known_layouts() -> list[str]:
    """Return the names of the layouts that come with the project."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def read_layout(name: str) -> Layout:
    """Read a layout by its name, or from a YAML file of the user's own.

    Raises:
        SettingsError: there is none of that name, or the file does not hold one.
    """
    import yaml
    from pydantic import TypeAdapter, ValidationError

    path = Path(name) if name.endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    if path.parent == FOLDER and name not in known_layouts():
        hint = nearest(name.lower(), known_layouts()) or f" Known: {', '.join(known_layouts())}; or give a .yaml file."
        raise SettingsError(f"There is no data set '{name}'.{hint}")
    try:
        return TypeAdapter(Layout).validate_python(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"The layout {path} cannot be read: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"The layout {path} is wrong{f' at {place}' if place else ''}: {first['msg']}.") from error


def raw_walks(raw: Path, layout: Layout) -> tuple[list[RawWalk], dict[str, str]]:
    """Find the walks below `raw`, sorted, and the folders that are none, with the reason.

    Raises:
        DataSetError: there are no walks, or two have the same name.
    """
    if not raw.is_dir():
        raise DataSetError(f"There is no folder {raw}.")
    left_out: dict[str, str] = {}
    numbers: Counter[tuple[Place, str]] = Counter()
    walks: dict[str, RawWalk] = {}
    for place, parts, folder in _matching(raw, layout, left_out):
        numbers[place, parts.get("identity", "")] += 1
        known = {
            "identity": "",
            "condition": "",
            "view": "",
            **parts,
            "number": numbers[place, parts.get("identity", "")],
        }
        names = [text.format(**known) for text in (place.identity, place.condition, place.view)]
        if any(not name or name.startswith(".") or "/" in name or "\\" in name for name in names):
            raise DataSetError(f"{folder} would be called {names}, which cannot name folders. Mend the layout.")
        walk = RawWalk("/".join(names), folder)
        if walk.name in walks:
            raise DataSetError(f"{folder} and {walks[walk.name].folder} would both become {walk.name}.")
        walks[walk.name] = walk
    if not walks:
        expected = " or ".join(f"{place.folder}/{layout.frames[0]}" for place in layout.places)
        found = ", ".join(list(left_out)[:5]) or ", ".join(sorted(path.name for path in raw.iterdir())[:5]) or "nothing"
        raise DataSetError(
            f"{raw} holds no walks of this data set. Expected: {expected}. Found: {found}. "
            "Unpack archives; give the folder that holds these folders."
        )
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

    Each is uint8 (T, size, size), made by `app.walks.silhouette.normalise`, in the natural order of the
    pictures' names.
    Beside them ``dataset.json``, ``report.json`` and, where it is given or the layout knows it, ``partition.json``.

    Args:
        layout: how the raw folders are named.
        raw: the data set.
        out: a run that was stopped goes on.
        size: of the silhouettes, 64 or 128 px.
        min_frames: walks of which less is left are dropped.
        partition: OpenGait's JSON; people it names and the data set lacks, and the other way round, are reported.
        workers: processes.
        progress: gets the walks done and all of them.

    Raises:
        DataSetError: no walks are found, none is left, or the partition is wrong.
        OutputError: `out` holds another data set or cannot be written.
    """
    walks, left_out = raw_walks(raw, layout)
    people = sorted({walk.name.partition("/")[0] for walk in walks})
    parts = _partition(layout, partition, people, left_out)
    about = {
        "layout": asdict(layout), "raw": str(raw.resolve()), "size": size, "min_frames": min_frames,
    }  # fmt: skip
    work = partial(_prepared, out=out, frames=layout.frames, size=size, min_frames=min_frames)
    report = convert(walks, work, out, about, left_out=left_out, workers=workers, progress=progress)
    if parts is not None:
        write_json(parts, out / "partition.json")
    return report


def _matching(raw: Path, layout: Layout, left_out: dict[str, str]) -> Iterator[tuple[Place, dict[str, str], Path]]:
    """Go down the folders as long as they fit a place; note those that fit none."""
    levels = [(place, [layout.pattern(level) for level in place.folder.split("/")]) for place in layout.places]
    ignored = _compiled(layout.ignored)

    def below(
        folder: Path, depth: int, candidates: list[tuple[Place, list[re.Pattern[str]], dict[str, str]]]
    ) -> Iterator[tuple[Place, dict[str, str], Path]]:
        for child in sorted((path for path in folder.iterdir() if path.is_dir()), key=_natural):
            deeper = []
            for place, patterns, parts in candidates:
                match = patterns[depth].fullmatch(child.name)
                if match is not None:
                    deeper.append((place, patterns, {**parts, **match.groupdict()}))
            ended = [(place, parts) for place, patterns, parts in deeper if len(patterns) == depth + 1]
            for place, parts in ended[:1]:
                yield place, parts, child
            if not deeper and not child.name.startswith(".") and not ignored.fullmatch(child.name):
                expected = " or ".join(sorted({patterns[depth].pattern for _, patterns, _ in candidates}))
                left_out[child.relative_to(raw).as_posix()] = (
                    f"its name does not fit {re.sub(r'[?]P<[a-z]+>', '', expected)}"
                )
            longer = [found for found in deeper if len(found[1]) > depth + 1]
            if longer:
                yield from below(child, depth + 1, longer)

    yield from below(raw, 0, [(place, patterns, {}) for place, patterns in levels])


def _prepared(walk: RawWalk, out: Path, frames: Sequence[str], size: int, min_frames: int) -> Outcome:
    dropped: Counter[str] = Counter()
    kept: list[Bytes] = []
    for path in sorted(walk.folder.iterdir(), key=_natural):
        if path.name.startswith(".") or not any(fnmatchcase(path.name, pattern) for pattern in frames):
            continue
        picture = _picture(path)
        silhouette = normalise(picture, size) if picture is not None else None
        if silhouette is not None:
            kept.append(silhouette)
        else:
            dropped["unreadable" if picture is None else "nearly empty"] += 1
    lost = dict(dropped)
    if len(kept) < min_frames:
        causes = "".join(f", {count} {cause}" for cause, count in dropped.items())
        return Outcome(walk.name, 0, lost, f"{len(kept)} silhouettes of {min_frames} needed{causes}")
    with written_whole(out / "data" / walk.name) as temporary:
        temporary.mkdir()
        write_array(np.stack(kept), temporary / "0_silhouette.pkl")
    return Outcome(walk.name, len(kept), lost)


def _picture(path: Path) -> Bytes | None:
    content = np.frombuffer(path.read_bytes(), np.uint8)
    try:
        picture = cv2.imdecode(content, cv2.IMREAD_GRAYSCALE)
    except cv2.error:  # an empty file
        return None
    return None if picture is None else np.asarray(picture, np.uint8)


def _partition(
    layout: Layout, path: Path | None, people: Sequence[str], left_out: dict[str, str]
) -> dict[str, Any] | None:
    """Read and check the partition, or make the published one; note who is in no part, and who is missing."""
    if path is None:
        if layout.train is None:
            return None
        for_training = _compiled(layout.train)
        learnt = [person for person in people if for_training.fullmatch(person)]
        return {"TRAIN_SET": learnt, "TEST_SET": sorted(set(people) - set(learnt))}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        train, test = ({str(person) for person in content[key]} for key in ("TRAIN_SET", "TEST_SET"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise DataSetError(f"{path} is not a partition with TRAIN_SET and TEST_SET: {error}") from error
    both = sorted(train & test)
    if both:
        raise DataSetError(f"{path} has {', '.join(both[:5])} both in TRAIN_SET and in TEST_SET.")
    named, there = train | test, set(people)
    if not named & there:
        raise DataSetError(f"{path} names nobody of the data set: {', '.join(sorted(named)[:3])} and others.")
    left_out.update({f"person {person}": "in the partition, not in the data set" for person in sorted(named - there)})
    left_out.update({f"person {person}": "in the data set, not in the partition" for person in sorted(there - named)})
    return dict(content)


def _natural(path: Path) -> tuple[list[tuple[int, int, str]], str]:
    """Sort names with their numbers as numbers: f9 before f10."""
    pieces = re.findall(r"\d+|\D+", path.name)
    return [(0, int(piece), "") if piece.isdecimal() else (1, 0, piece) for piece in pieces], path.name


def _compiled(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise ValueError(f"'{text}' is no regular expression: {error}") from error
