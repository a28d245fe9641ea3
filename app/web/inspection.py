"""A first look at a video, in a process of its own: a file from outside is never decoded where requests are served."""

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
_LATEST = 25  # the frame shown, where there are so many: the first is often dark


class Seen(BaseModel):
    """What a video's header says; `error` where it could not be read."""

    width: int = 0
    height: int = 0
    fps: float = 0.0
    frames: int | None = None
    error: str | None = None


async def inspect(video: Path, thumbnail: Path) -> Seen:
    """Read the header and the first pictures of `video` and write a JPEG of one to `thumbnail`.

    Raises:
        WebError: it is no video, or cannot be decoded, or takes too long.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app.web.inspection", str(video), str(thumbnail)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=environment(),
    )
    try:
        out, _ = await asyncio.wait_for(process.communicate(), _PATIENCE)
    except BaseException as error:
        if process.returncode is None:
            process.kill()
        if isinstance(error, asyncio.TimeoutError):
            raise WebError(f"{video.name} could not be read within {_PATIENCE:.0f} s.") from None
        raise
    if process.returncode:
        raise WebError(f"{video.name} could not be read: the decoder broke down over it.")
    seen = Seen.model_validate_json(out)
    if seen.error is not None:
        raise WebError(seen.error.replace(str(video), video.name))
    return seen


def environment() -> dict[str, str]:
    """Return the environment for a process that runs a module of this program."""
    import os

    here = str(Path(__file__).resolve().parents[2])
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))}


def _look(video: Path, thumbnail: Path) -> Seen:
    import cv2

    from app.errors import VideoError
    from app.video.reader import VideoReader

    try:
        with VideoReader(video) as reader:
            info = reader.info
            if info.width * info.height > _LARGEST:
                raise VideoError(f"{video} has pictures of {info.width}x{info.height} px, too large to be read here.")
            for frame in reader:
                image = frame.image
                if frame.index >= _LATEST:
                    break
    except VideoError as error:
        return Seen(error=str(error))
    small = cv2.resize(
        image, (max(1, round(info.width * _HEIGHT / info.height)), _HEIGHT), interpolation=cv2.INTER_AREA
    )
    thumbnail.write_bytes(cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes())
    return Seen(width=info.width, height=info.height, fps=float(info.fps), frames=info.frame_count)


if __name__ == "__main__":
    print(json.dumps(_look(Path(sys.argv[1]), Path(sys.argv[2])).model_dump()))
