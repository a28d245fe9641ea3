"""Reads the header and a picture of a video in a separate process, so that the server never decodes uploads itself."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from pydantic import BaseModel

from app.web.options import WebError

_PATIENCE = 60.0  # s
_LARGEST = 8192 * 4320  # px
_HEIGHT = 180  # px of the thumbnail
_LATEST = 25  # the frame that is shown, or the last one of a shorter video: first frames are often dark


class Header(BaseModel):
    """What the header of a video says; `error` says why it could not be read."""

    width: int = 0
    height: int = 0
    fps: float = 0.0
    frames: int | None = None
    error: str | None = None


async def inspect(video: Path, thumbnail: Path) -> Header:
    """Read the header and the first frames of `video`, and write one of them to `thumbnail` as a JPEG.

    Raises:
        WebError: it is not a video, cannot be decoded, or takes too long.
    """
    late = f"{video.name} could not be read within {_PATIENCE:.0f} s."
    code, out, _ = await asked(_PATIENCE, late, "app.web.inspection", str(video), str(thumbnail))
    if code:
        raise WebError(f"{video.name} could not be read: the decoder crashed.")
    header = Header.model_validate_json(out)
    if header.error is not None:
        raise WebError(header.error.replace(str(video), video.name))
    return header


async def asked(patience: float, late: str, *arguments: str) -> tuple[int, bytes, bytes]:
    """Run a module of this program, and return its exit code, what it printed, and its errors.

    Raises:
        WebError: it has not ended after `patience` seconds, which `late` says.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(),
    )
    try:
        out, errors = await asyncio.wait_for(process.communicate(), patience)
    except BaseException as error:
        if process.returncode is None:
            process.kill()
        if isinstance(error, asyncio.TimeoutError):
            raise WebError(late) from None
        raise
    return process.returncode or 0, out, errors


def environment() -> dict[str, str]:
    """Return environment variables for a process that runs a module of this program."""
    import os

    here = str(Path(__file__).resolve().parents[2])
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))}


def _read(video: Path, thumbnail: Path) -> Header:
    import cv2

    from app.errors import VideoError
    from app.video.reader import VideoReader

    try:
        with VideoReader(video) as reader:
            info = reader.info
            if info.width * info.height > _LARGEST:
                raise VideoError(f"{video} has frames of {info.width}x{info.height} px, which is too large.")
            for frame in reader:
                image = frame.image
                if frame.index >= _LATEST:
                    break
    except VideoError as error:
        return Header(error=str(error))
    small = cv2.resize(
        image, (max(1, round(info.width * _HEIGHT / info.height)), _HEIGHT), interpolation=cv2.INTER_AREA
    )
    thumbnail.write_bytes(cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes())
    return Header(width=info.width, height=info.height, fps=float(info.fps), frames=info.frame_count)


if __name__ == "__main__":
    print(json.dumps(_read(Path(sys.argv[1]), Path(sys.argv[2])).model_dump()))
