"""Work for the nodes of a cluster, which import it by its name."""

from __future__ import annotations

import os
import time
from pathlib import Path

from app.errors import VideoError


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


def refuse(number: int) -> int:
    """Return the number, except for 2."""
    if number == 2:
        raise VideoError("video 2 is broken")
    return number
