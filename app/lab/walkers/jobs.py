"""Work on many people, one file or folder for each, that can be stopped and goes on where it was."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from app.errors import OutputError
from app.lab.walkers.body import BodyModel
from app.lab.walkers.wardrobe import Wardrobe
from app.progress import Progress, Silent
from app.workers import spread


def make_missing(
    make: Callable[..., object],
    jobs: Mapping[Path, tuple[Any, ...]],
    cache: Path,
    workers: int,
    progress: Progress | None,
    cluster: str | None = None,
) -> None:
    """Call ``make(*arguments)`` for each of `jobs` whose path is not there yet, in several processes.

    `jobs` maps the path that appears when a job is done to its arguments; `cache` is the folder of the body model. With
    the address of a `cluster` its machines do the jobs; then all paths, also those in the arguments, must be absolute.

    Raises:
        OutputError: what the machines of the cluster have made is not here.
    """
    todo = [path for path in jobs if not path.exists()]
    _clear(todo)
    with (progress or Silent()).stage("People", len(jobs)) as advance:
        advance(len(jobs) - len(todo))
        if todo:
            BodyModel.load(cache)  # made here, once, not by every worker
        for _ in spread(make, [jobs[path] for path in todo], workers, cluster):
            advance(1)
    if cluster is not None:
        _clear(todo)  # a machine that was lost may have left something
        if missing := [path for path in todo if not path.exists()]:
            raise OutputError(
                f"The cluster {cluster} has made {missing[0]}, but it is not there on this machine. Give an --out "
                "folder that all machines see under the same path."
            )


def _clear(paths: Sequence[Path]) -> None:
    """Remove what killed runs have left of `paths`: it would look like people to a loader that lists the folder."""
    for path in paths:
        for leftover in path.parent.glob(f".{path.stem}.*.partial"):
            shutil.rmtree(leftover, ignore_errors=True)


@lru_cache(maxsize=1)
def body_model(cache: Path) -> BodyModel:
    """Return the body model, read once in every process."""
    return BodyModel.load(cache)


@lru_cache(maxsize=1)
def wardrobe_in(folder: Path | None) -> Wardrobe | None:
    """Return the wardrobe of a folder, read once in every process; None where there is no folder."""
    return None if folder is None else Wardrobe(folder)
