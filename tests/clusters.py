"""Work for the nodes of a cluster, which import it by its name."""

from __future__ import annotations

import os
import time
from pathlib import Path

from app.errors import VideoError
from app.files import written_whole


def where(number: int) -> tuple[int, int]:
    """Return the number twice as large, and the process that did it."""
    return 2 * number, os.getpid()


def slowly(number: int, folder: Path) -> int:
    """Say in a file of its own that the item was begun, and where; then write its result whole."""
    with (folder / f"{number}.begun").open("a") as stream:
        stream.write(f"{os.getpid()}\n")
    time.sleep(1.0)
    (folder / f"{number}.done").write_text(str(number))
    return number


def fill(path: Path, seconds: float) -> None:
    """Write a folder of three files, whole or not at all, in so many seconds, and say that it was begun."""
    with (path.parent.parent / "begun.txt").open("a") as stream:
        stream.write(f"{path.name}\n")
    with written_whole(path, r"\d") as temporary:
        temporary.mkdir()
        for number in range(3):
            time.sleep(seconds / 3)
            (temporary / str(number)).write_text(path.name)


def refuse(number: int) -> int:
    """Return the number, except for 2."""
    if number == 2:
        raise VideoError("video 2 is broken")
    return number
