"""Video: reading, writing and painting, cameras and streams, and the background of a fixed camera."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.video.reader import VideoReader

__all__ = ["read_video"]


def read_video(path: Path | str) -> VideoReader:
    """Open a video: a context manager that yields its frames, once; its header is the reader's `info`.

    Raises:
        VideoError: the file is missing, unreadable, or no video.
    """
    from app.video.reader import VideoReader  # FFmpeg is loaded only here

    return VideoReader(Path(path))
