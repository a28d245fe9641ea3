"""Put silhouettes beside skeleton maps or SMPL parameters, as SkeletonGait++ and SMPLGait read them, by links."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

from numpy.typing import NDArray

from app.files import explained, written_whole
from app.lab.data.conversion import Outcome, Report, convert
from app.lab.data.opengait import WALK_FILES, DataSetError, read_heatmaps, read_silhouettes, read_smpl, walk_files
from app.lab.data.skeleton_maps import copy_partition
from app.progress import Progress

logger = logging.getLogger(__name__)

Other: TypeAlias = Literal["heatmap", "smpl"]
"""What is linked with silhouettes."""

_READ: dict[Other, Callable[[Path], NDArray[Any]]] = {"heatmap": read_heatmaps, "smpl": read_smpl}
_PLURALS: dict[Other, str] = {"heatmap": "heatmaps", "smpl": "SMPL parameters"}


@dataclass(frozen=True)
class Pair:
    """The two files of a walk."""

    name: str
    other: Path
    silhouettes: Path


def link(
    other: Path,
    silhouettes: Path,
    out: Path,
    modality: Other = "heatmap",
    *,
    workers: int = 1,
    progress: Progress | None = None,
) -> Report:
    """Link every walk that both data sets have.

    Each folder of `out` has ``0_heatmap.pkl`` and ``1_silhouette.pkl``, or ``0_silhouette.pkl`` and ``1_smpl.pkl``, the
    order in which OpenGait's networks take them. Walks whose numbers of frames differ are dropped. Where symbolic links
    are not allowed, as on Windows without developer mode, hard links are made, and copies where the folders are on
    different disks; a warning says so.

    Args:
        other: the data set of skeleton maps or of SMPL parameters.
        silhouettes: the data set of silhouettes. ``partition.json`` is copied from `other` or from here.
        out: the new data set. A run that was stopped continues.

    Raises:
        DataSetError: a data set has no walks, or none can be linked.
        OutputError: `out` is one of the two or lies in one, holds another data set, or cannot be written.
    """
    others = {walk.name: walk.path.resolve() for walk in walk_files(other, modality=modality)}
    pictures = {walk.name: walk.path.resolve() for walk in walk_files(silhouettes)}
    pairs = [Pair(name, others[name], pictures[name]) for name in sorted(others.keys() & pictures.keys())]
    left_out = dict.fromkeys(sorted(others.keys() - pictures.keys()), "has no silhouettes")
    left_out |= dict.fromkeys(sorted(pictures.keys() - others.keys()), f"has no {_PLURALS[modality]}")
    about = {_PLURALS[modality]: str(other.resolve()), "silhouettes": str(silhouettes.resolve())}
    work = partial(_linked, out=out, modality=modality)
    read = (other, silhouettes)
    report = convert(pairs, work, out, about, read=read, left_out=left_out, workers=workers, progress=progress)
    example = next((out / "data").rglob("[01]_*"), None)
    if example is not None and not example.is_symlink():
        logger.warning("Symbolic links cannot be made in %s. It has hard links or copies instead.", out)
    copy_partition(silhouettes, out)
    copy_partition(other, out)
    return report


def _linked(pair: Pair, out: Path, modality: Other) -> Outcome:
    try:
        others, frames = len(_READ[modality](pair.other)), len(read_silhouettes(pair.silhouettes, None))
    except DataSetError as error:
        return Outcome(pair.name, 0, reason=str(error))
    if others != frames:
        return Outcome(pair.name, 0, reason=f"{others} {_PLURALS[modality]} and {frames} silhouettes")
    files = [(modality, pair.other), ("silhouette", pair.silhouettes)]
    place = out / "data" / pair.name
    with written_whole(place, WALK_FILES) as temporary, explained(place):
        temporary.mkdir()
        for order, (name, file) in enumerate(sorted(files)):
            _link(file, temporary / f"{order}_{name}{file.suffix}")
    return Outcome(pair.name, frames)


def _link(file: Path, place: Path) -> None:
    """Make `place` a symbolic link to `file`, or else a hard link, or else a copy."""
    try:
        place.symlink_to(file)
    except OSError:
        try:
            place.hardlink_to(file)
        except OSError:
            shutil.copyfile(file, place)
