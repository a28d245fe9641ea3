"""Protocols: which walks of a data set are probes, and with which gallery they are compared (``protocols/*.yaml``)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from app.lab.data.definitions import known_names, read_definition
from app.lab.data.opengait import DataSetError, WalkFile, read_list
from app.types import Bools, Ints

FOLDER = Path(__file__).resolve().parent / "protocols"

Names = NDArray[np.str_]


@dataclass(frozen=True)
class Protocol:
    """Which walks are compared with which, and which figures are reported.

    - `source`: the publication.
    - `probes`, `gallery`: the conditions (folder names, with ``*`` and ``[1-4]`` as in file names) of each group of
      probes that is reported separately, and of its gallery. A `gallery` without groups serves all probes.
    - `listed`: the key of the partition that lists the probes as ``identity-condition-view``. All other walks are in
      the gallery.
    - `gallery_views`: ``each`` compares with one view of the gallery at a time, and figures are means over pairs of
      views. ``all`` compares with the whole gallery, and figures are means over the views of the probes. Every view
      counts equally, however many probes it has.
    - `exclude`: ``same view`` leaves pairs of identical views out of the means (with ``each``), or does not compare a
      probe with walks of the same person from the same view (with ``all``).
    - `view`: a regular expression for the part of a view folder's name that is the view. None: all are one view.
    - `metrics`: ``Rank-k``, ``mAP`` and ``mINP``. Tables by view show the first.
    - `fps`: the data set's frame rate in 1/s.
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
                raise ValueError(f"there is no metric '{metric}'. Known: Rank-1 to Rank-99, mAP, mINP")
        if not self.metrics or not self.probes:
            raise ValueError("a protocol needs metrics and probes")
        if not isinstance(self.gallery, tuple) and set(self.gallery) != set(self.probes):
            raise ValueError("gallery and probes must have the same groups")
        for name in self.probes:
            if not re.fullmatch(r"[\w .+-]{1,24}", name):  # they become names of files and sheets
                raise ValueError(f"'{name}' cannot name probes: use at most 24 letters, digits and '-'")
        if self.fps <= 0:
            raise ValueError(f"fps must be above 0, not {self.fps}")
        try:
            re.compile(self.view or "")
        except re.error as error:
            raise ValueError(f"view: '{self.view}' is not a regular expression: {error}") from error


@dataclass(frozen=True, eq=False)
class Group:
    """Probes that are reported together, and their gallery: indices of walks (n,) and (m,)."""

    name: str
    probes: Ints
    gallery: Ints


def known_protocols() -> list[str]:
    """Return the names of the protocols that come with the project."""
    return known_names(FOLDER)


def read_protocol(name: str) -> Protocol:
    """Read a protocol by its name, or from a user's own YAML file.

    Raises:
        SettingsError: there is no protocol of that name, or the file does not hold one.
    """
    return read_definition(name, FOLDER, Protocol, "protocol")


def views_of(protocol: Protocol, walks: Sequence[WalkFile]) -> Names:
    """Return the view of each walk (N,); ``all`` where the protocol takes all views for one.

    Raises:
        DataSetError: the name of a view folder does not fit the protocol.
    """
    if protocol.view is None:
        return np.full(len(walks), "all")
    found = [re.match(protocol.view, walk.view) for walk in walks]
    if None in found:
        walk = walks[found.index(None)]
        raise DataSetError(
            f"{walk.path.parent}: the protocol expects names of views that match {protocol.view}, not '{walk.view}'."
        )
    return np.array([match[0] for match in found if match is not None])


def groups_of(protocol: Protocol, walks: Sequence[WalkFile], partition: Path | None) -> list[Group]:
    """Return the groups of probes with their galleries, except those of which the data set has no walks.

    Raises:
        DataSetError: there is no such group, a walk is both probe and in the gallery, or the list of probes is missing.
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
        raise DataSetError(
            f"The data set has no probes, or no gallery, for this protocol. Its conditions are: {found}. Choose the "
            "protocol of this data set, or write one of your own."
        )
    return groups


def _listed(partition: Path | None, key: str) -> frozenset[str]:
    if partition is None:
        raise DataSetError(
            f"This protocol takes its probes from the list {key} of the partition: give --partition FILE."
        )
    return frozenset(read_list(partition, key))


def _fits(names: Names, patterns: Sequence[str]) -> Bools:
    return np.array([any(fnmatchcase(name, pattern) for pattern in patterns) for name in names.tolist()], np.bool_)
