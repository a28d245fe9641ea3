"""Who is searched for among whom: the protocols of the published data sets, as data (``protocols/``)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from app.errors import SettingsError, nearest
from app.lab.data.opengait import DataSetError, WalkFile
from app.types import Bools, Ints

FOLDER = Path(__file__).resolve().parent / "protocols"

Names = NDArray[np.str_]


@dataclass(frozen=True)
class Protocol:
    """What is compared with what, and what of it is reported.

    `probes` and `gallery` hold, for each group of probes that is reported apart, the conditions (folder names, with
    ``*`` and ``[1-4]`` as in file names); a `gallery` without groups serves them all. `listed` is the key of the
    partition under which probes stand as ``identity-condition-view``, all others being gallery. `gallery_views` is
    ``each`` where the gallery is one view at a time, and the figures are means over pairs of views, or ``all``, where
    they are means over the probe views: each counts alike, however many probes it has.
    `exclude` is ``same view``: with ``each``, pairs of identical views are left out of the means; with ``all``, a
    probe is not compared with walks of its person from its view. `view` is a regular expression for the part of the
    view folder's name that is the view; None takes all for one. `metrics` are ``Rank-k``, ``mAP`` and ``mINP``; the
    first is the one of tables by view. `fps` is the data set's frame rate, in 1/s.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    source: str
    probes: Mapping[str, tuple[str, ...]]
    gallery: tuple[str, ...] | Mapping[str, tuple[str, ...]]
    gallery_views: Literal["each", "all"]
    metrics: tuple[str, ...]
    exclude: Literal["nothing", "same view"] = "nothing"
    view: str | None = ".*"
    listed: str | None = None
    fps: float = 25.0

    def __post_init__(self) -> None:
        for metric in self.metrics:
            if metric not in ("mAP", "mINP") and not re.fullmatch(r"Rank-[1-9]\d?", metric):
                raise ValueError(f"there is no metric '{metric}'; known: Rank-1 to Rank-99, mAP, mINP")
        if not self.metrics or not self.probes:
            raise ValueError("a protocol needs metrics and probes")
        if not isinstance(self.gallery, tuple) and set(self.gallery) != set(self.probes):
            raise ValueError("gallery and probes must have the same groups")
        for name in self.probes:
            if not re.fullmatch(r"[\w .+-]{1,24}", name):  # they become names of files and sheets
                raise ValueError(f"'{name}' cannot name probes: letters, digits and -, 24 at most")
        if self.fps <= 0:
            raise ValueError(f"a frame rate of {self.fps} is not positive")
        try:
            re.compile(self.view or "")
        except re.error as error:
            raise ValueError(f"view: '{self.view}' is no regular expression: {error}") from error


@dataclass(frozen=True, eq=False)
class Group:
    """Probes that are reported together, and their gallery: indices of walks, (n,) and (m,)."""

    name: str
    probes: Ints
    gallery: Ints


def known_protocols() -> list[str]:
    """Return the names of the protocols that come with the project."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def read_protocol(name: str) -> Protocol:
    """Read a protocol by its name, or from a YAML file of the user's own.

    Raises:
        SettingsError: there is none of that name, or the file does not hold one.
    """
    import yaml
    from pydantic import TypeAdapter, ValidationError

    path = Path(name) if name.endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    if path.parent == FOLDER and name not in known_protocols():
        hint = nearest(name, known_protocols()) or f" Known: {', '.join(known_protocols())}; or give a .yaml file."
        raise SettingsError(f"There is no protocol '{name}'.{hint}")
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        return TypeAdapter(Protocol).validate_python(content)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"The protocol {path} cannot be read: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise SettingsError(
            f"The protocol {path} is wrong{f' at {place}' if place else ''}: {first['msg']}."
        ) from error


def views_of(protocol: Protocol, walks: Sequence[WalkFile]) -> Names:
    """Return the view of each walk, (N,); ``all`` where the protocol takes all for one.

    Raises:
        DataSetError: a view folder's name has no part that is a view.
    """
    if protocol.view is None:
        return np.full(len(walks), "all")
    found = [re.match(protocol.view, walk.view) for walk in walks]
    if None in found:
        walk = walks[found.index(None)]
        raise DataSetError(
            f"{walk.path.parent}: '{walk.view}' is no view to this protocol, which reads {protocol.view}."
        )
    return np.array([match[0] for match in found if match is not None])


def groups_of(protocol: Protocol, walks: Sequence[WalkFile], partition: Path | None) -> list[Group]:
    """Return the groups of probes with their galleries; those of which the data set has nothing are left out.

    Raises:
        DataSetError: nothing is left; a walk is both probe and gallery; the list of probes is missing.
    """
    names = np.array([walk.condition for walk in walks])
    may_probe = may_stay = np.ones(len(walks), np.bool_)
    if protocol.listed is not None:
        wanted = _listed(partition, protocol.listed)
        may_probe = np.array([f"{walk.identity}-{walk.condition}-{walk.view}" in wanted for walk in walks], np.bool_)
        may_stay = ~may_probe
    groups = []
    for name, conditions in protocol.probes.items():
        others = protocol.gallery if isinstance(protocol.gallery, tuple) else protocol.gallery[name]
        is_probe = _fits(names, conditions) & may_probe
        in_gallery = _fits(names, others) & may_stay
        both = np.flatnonzero(is_probe & in_gallery)
        if len(both):
            raise DataSetError(f"{walks[both[0]].path.parent} is both a probe and in the gallery of '{name}'.")
        if is_probe.any() and in_gallery.any():
            groups.append(Group(name, np.flatnonzero(is_probe), np.flatnonzero(in_gallery)))
    if not groups:
        found = ", ".join(np.unique(names)[:12])
        raise DataSetError(f"The data set lacks probes or gallery of this protocol. Its conditions are: {found}.")
    return groups


def _listed(partition: Path | None, key: str) -> frozenset[str]:
    if partition is None:
        raise DataSetError(f"This protocol reads its probes from the partition file, key {key}. Give --partition FILE.")
    try:
        return frozenset(json.loads(partition.read_text(encoding="utf-8"))[key])
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise DataSetError(f"{partition} has no list {key} of probes, which this protocol needs: {error}") from error


def _fits(names: Names, patterns: Sequence[str]) -> Bools:
    return np.array([any(fnmatchcase(name, pattern) for pattern in patterns) for name in names.tolist()], np.bool_)
