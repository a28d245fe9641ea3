"""Skeleton maps and silhouettes side by side, as SkeletonGait++ reads them: links, nothing is copied."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias

from app.data.conversion import Outcome, Progress, Report, claim, convert
from app.data.opengait import DataSetError, read_heatmaps, read_silhouettes, walk_files
from app.data.skeleton_maps import copy_partition
from app.errors import OutputError
from app.files import explained, written_whole

logger = logging.getLogger(__name__)

Way: TypeAlias = Literal["symbolic link", "hard link", "copy"]

_PUT: dict[Way, Callable[[Path, Path], object]] = {
    "symbolic link": os.symlink,
    "hard link": os.link,
    "copy": shutil.copyfile,
}


@dataclass(frozen=True)
class Pair:
    """The two files of a walk."""

    name: str
    heatmaps: Path
    silhouettes: Path


def link(heatmaps: Path, silhouettes: Path, out: Path, *, workers: int = 1, progress: Progress | None = None) -> Report:
    """Link every walk that both data sets have: ``0_heatmap.pkl`` and ``1_silhouette.pkl`` in each folder of `out`.

    Walks whose numbers of frames differ are dropped. Where symbolic links are not allowed, as on Windows without
    developer mode, hard links serve, and copies where the folders are on different disks; a warning says so. No shell
    is involved: names may hold any character.

    Args:
        heatmaps: data set of skeleton maps; its ``partition.json`` or that of the silhouettes is taken along.
        silhouettes: data set of silhouettes.
        out: a run that was stopped goes on.
        workers: processes.
        progress: gets the walks done and all of them.

    Raises:
        DataSetError: a data set has no walks, or none can be linked.
        OutputError: `out` is one of the two, holds another data set, or cannot be written.
    """
    if out.resolve() in (heatmaps.resolve(), silhouettes.resolve()):
        raise OutputError(f"{out} is one of the data sets that are linked. Give another folder.")
    maps = {walk.name: walk.path.resolve() for walk in walk_files(heatmaps, modality="heatmap")}
    bodies = {walk.name: walk.path.resolve() for walk in walk_files(silhouettes)}
    pairs = [Pair(name, maps[name], bodies[name]) for name in sorted(maps.keys() & bodies.keys())]
    left_out = dict.fromkeys(sorted(maps.keys() - bodies.keys()), "has no silhouettes")
    left_out |= dict.fromkeys(sorted(bodies.keys() - maps.keys()), "has no heatmaps")
    about = {"heatmaps": str(heatmaps.resolve()), "silhouettes": str(silhouettes.resolve())}
    claim(out, about)
    way = _way(out, [path for pair in pairs[:1] for path in (pair.heatmaps, pair.silhouettes)])
    work = partial(_linked, out=out, way=way)
    report = convert(pairs, work, out, about, left_out=left_out, workers=workers, progress=progress)
    copy_partition(silhouettes, out)
    copy_partition(heatmaps, out)
    return report


def _way(out: Path, files: list[Path]) -> Way:
    """Try how files can be linked into `out`."""
    for way in ("symbolic link", "hard link"):
        try:
            for number, file in enumerate(files):
                place = out / f".{way.replace(' ', '-')}-{os.getpid()}-{number}"
                try:
                    _PUT[way](file, place)
                finally:
                    place.unlink(missing_ok=True)
        except OSError as error:
            instead = "hard links" if way == "symbolic link" else "copies"
            logger.warning("A %s cannot be made in %s (%s): %s are made instead.", way, out, error.strerror, instead)
        else:
            return way
    return "copy"


def _linked(pair: Pair, out: Path, way: Way) -> Outcome:
    try:
        frames, others = len(read_heatmaps(pair.heatmaps)), len(read_silhouettes(pair.silhouettes))
    except DataSetError as error:
        return Outcome(pair.name, 0, reason=str(error))
    if frames != others:
        return Outcome(pair.name, 0, reason=f"{frames} heatmaps and {others} silhouettes")
    place = out / "data" / pair.name
    with written_whole(place) as temporary, explained(place):
        temporary.mkdir()
        _PUT[way](pair.heatmaps, temporary / f"0_heatmap{pair.heatmaps.suffix}")
        _PUT[way](pair.silhouettes, temporary / f"1_silhouette{pair.silhouettes.suffix}")
    return Outcome(pair.name, frames)
