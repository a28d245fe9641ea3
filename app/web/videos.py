"""The videos that a run can use: uploads, and those in the input folder."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import shutil
import time
import unicodedata
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from app.files import write_text, written_whole
from app.video.formats import HEAD, container_of
from app.video.sources import disk_key, plain_name, videos_in
from app.web.coming import Coming, ComingUploads
from app.web.inspection import Header, inspect
from app.web.options import NotThereError, TooLargeError, WebError, WebOptions, read_model

_LONGEST_STEM = 80  # bytes
_ABOUT = ("video.json", "thumbnail.jpg")  # what is kept about an upload, beside it


class Video(BaseModel):
    """A video and its header, where the number of frames is a hint.

    `seen` is None for a video of the input folder that nobody has looked into yet (`VideoLibrary.look_into`).
    """

    video_id: str
    name: str
    source: Literal["upload", "input"]
    bytes: int
    added: float
    seen: Header | None


def safe_stem(name: str) -> str:
    """Return the part of a client's file name that is safe: without folders, suffix and unusual characters."""
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", name))[-1]
    stem = last.rpartition(".")[0] or last
    stem = re.sub(r"[^\w\- ]+", "_", stem).strip(" ._-")
    stem = stem.encode()[:_LONGEST_STEM].decode(errors="ignore").strip()
    return plain_name(stem or "video")


class VideoLibrary:
    """Stores uploads, each in a folder that appears whole or not at all, and lists the input folder."""

    def __init__(self, options: WebOptions) -> None:
        self._options = options
        self._uploads = options.folder / "uploads"
        self._inputs = options.folder / "inputs"  # headers and pictures of the videos in the input folder
        self._inspecting = asyncio.Lock()
        self._receiving: dict[str, str] = {}  # the stems of uploads that arrive now, by id; "" if not chosen yet
        self.coming = ComingUploads(options)

    async def all(self) -> list[Video]:
        """Return every video, uploads first, the newest first. Nobody waits for a look into them (`look_into`)."""
        return await asyncio.to_thread(self._all)

    def get(self, video_id: str) -> Video:
        """Return a video that was listed; `NotThereError` where there is none."""
        for folder in (self._uploads, self._inputs):
            path = folder / video_id / "video.json"
            if re.fullmatch(r"[0-9a-f]{32}", video_id) and path.is_file():
                return self._read(path)
        for video in self._input_videos():
            if video.video_id == video_id:
                return video
        raise NotThereError("This video is not there any more.")

    async def look_into(self, video_id: str) -> Video:
        """Return a video with its header. Its first frames are decoded now if nobody has asked for that before.

        Raises:
            NotThereError: there is none.
            WebError: it cannot be read as a video.
        """
        video = self.get(video_id)
        if video.seen is None:
            async with self._inspecting:
                video = self.get(video_id)  # somebody else may have asked meanwhile
                if video.seen is None:
                    video = await self._inspect(video)
        if video.seen is not None and video.seen.error is not None:
            raise WebError(video.seen.error)
        return video

    def path(self, video: Video) -> Path:
        """Return the path of the file."""
        if video.source == "upload":
            folder = self._uploads / video.video_id
            return next((path for path in folder.glob("[!.]*") if path.name not in _ABOUT), folder / video.name)
        return self._options.input_videos / video.name

    def thumbnail(self, video: Video) -> Path:
        """Return the picture of a video, a JPEG."""
        folder = self._uploads if video.source == "upload" else self._inputs
        return folder / video.video_id / "thumbnail.jpg"

    async def receive(self, name: str, announced: int, content: AsyncIterator[bytes]) -> Video:
        """Store an upload that comes in one piece, of so many `announced` bytes, or 0 if the client does not say.

        When this returns, the video is complete on the disk; until then it does not exist.

        Raises:
            TooLargeError: there are too many bytes or too many uploads.
            WebError: the bytes are not a video.
            VideoError: the video cannot be read.
        """
        self._check_room()
        self._check(announced)
        video_id = uuid.uuid4().hex
        with self._naming(video_id), written_whole(self._uploads / video_id) as folder:
            folder.mkdir(mode=0o700)
            await self._write(folder / "content", content)
            return await self._take_in(video_id, name, folder)

    def begin(self, name: str, length: int, modified: int | None) -> Coming:
        """Make room for an upload that comes in pieces, of `length` bytes, of a file that was `modified` then, in ms
        since 1970.

        Raises:
            TooLargeError: there are too many bytes or too many uploads.
        """
        self._check_room()
        self._check(length)
        coming = Coming(name=name, length=length, modified=modified)
        self.coming.begin(coming)
        return coming

    async def append(self, upload_id: str, offset: int, pieces: AsyncIterator[bytes]) -> Coming:
        """Add bytes to an upload (`ComingUploads.append`). With the last ones it becomes a video of the same id.

        Raises:
            WebError: the bytes are not a video, or it cannot be read; then nothing is kept of them.
        """
        coming = await self.coming.append(upload_id, offset, pieces)
        content = self.coming.content(upload_id)
        try:
            if offset < HEAD <= coming.offset or coming.is_whole:
                with content.open("rb") as file:
                    _suffix(file.read(HEAD))
            if coming.is_whole:
                with self._naming(upload_id), written_whole(self._uploads / upload_id) as folder:
                    folder.mkdir(mode=0o700)
                    content.rename(folder / "content")
                    await self._take_in(upload_id, coming.name, folder)
                self.coming.remove(upload_id)
        except WebError:
            self.coming.remove(upload_id)
            raise
        return coming

    @contextlib.contextmanager
    def _naming(self, video_id: str) -> Iterator[None]:
        """Keep the stem that the upload chooses in the block from others."""
        self._receiving[video_id] = ""
        try:
            yield
        finally:
            del self._receiving[video_id]

    async def _take_in(self, video_id: str, name: str, folder: Path) -> Video:
        """Make a video of what has arrived as ``content`` in `folder`."""
        content = folder / "content"
        with content.open("rb") as file:
            suffix = _suffix(file.read(HEAD), name)
        stem = self._receiving[video_id] = self._free_stem(safe_stem(name))
        file_path = content.rename(folder / f"{stem}{suffix}")
        async with self._inspecting:
            seen = await inspect(file_path, folder / "thumbnail.jpg")
        video = Video(
            video_id=video_id,
            name=file_path.name,
            source="upload",
            bytes=file_path.stat().st_size,
            added=round(time.time(), 3),
            seen=seen,
        )
        (folder / "video.json").write_text(video.model_dump_json(), encoding="utf-8")
        return video

    def _check_room(self) -> None:
        count = sum(1 for _ in self._uploads.glob("[!.]*/video.json")) + len(self._receiving) + len(self.coming.all())
        if count >= self._options.most_uploads:
            raise TooLargeError(f"There are {count} uploads already, and no more are allowed. Delete one first.")

    def remove(self, video: Video) -> None:
        """Delete an upload.

        Raises:
            WebError: it is a file of the input folder, where the application deletes nothing.
        """
        if video.source != "upload":
            raise WebError(f"{video.name} is in the folder {self._options.input_videos}: delete it there.")
        hidden = self._uploads / f".{video.video_id}.partial"
        (self._uploads / video.video_id).rename(hidden)  # it disappears at once, even if the rest is interrupted
        shutil.rmtree(hidden)

    def rename(self, video: Video, name: str) -> Video:
        """Give an upload another name, and return it. If this is interrupted, it can be done again."""
        before = self.path(video)
        after = before.with_name(f"{self._free_stem(safe_stem(name))}{before.suffix}")
        before.rename(after)
        video = video.model_copy(update={"name": after.name})
        write_text(after.with_name("video.json"), video.model_dump_json())
        return video

    def uploads(self) -> list[Video]:
        """Return the uploads."""
        return [self._read(path) for path in self._uploads.glob("[!.]*/video.json")]

    def tidy(self) -> None:
        """Remove what an interrupted upload left behind, and those that nobody has gone on with for a day."""
        self.coming.remove_old()
        for folder in (self._uploads, self._inputs, self._options.folder / "coming"):
            for path in folder.glob(".*"):
                shutil.rmtree(path, ignore_errors=True)

    async def _write(self, path: Path, content: AsyncIterator[bytes]) -> None:
        """Write the bytes, and stop as soon as they are too many or clearly no video."""
        size, head = 0, b""
        with path.open("wb") as out:
            async for chunk in content:
                size += len(chunk)
                self._check(size)
                if len(head) < HEAD:
                    head += chunk[:HEAD]
                    if len(head) >= HEAD:
                        _suffix(head)
                await asyncio.to_thread(out.write, chunk)
            out.flush()
            await asyncio.to_thread(os.fsync, out.fileno())

    def _check(self, size: int) -> None:
        limit = self._options.largest_upload
        if size > limit:
            raise TooLargeError(f"The video is larger than {limit / (1 << 20):.0f} MiB, which is the limit.")

    def _free_stem(self, stem: str) -> str:
        """Return `stem`, with a number if another video has it, because runs name their files after it."""
        stems = [Path(video.name).stem for video in self.uploads()]
        stems += [path.stem for path in self._input_files()]
        taken = {disk_key(other) for other in (*stems, *self._receiving.values())}
        number, free = 1, stem
        while disk_key(free) in taken:
            number += 1
            free = f"{stem} {number}"
        return free

    def _input_files(self) -> list[Path]:
        return [path for path in videos_in(self._options.input_videos) if path.is_file()]

    def _all(self) -> list[Video]:
        uploads = self.uploads()
        inputs = [video for video in self._input_videos() if video.seen is None or video.seen.error is None]
        return sorted(uploads, key=lambda video: -video.added) + sorted(inputs, key=lambda video: video.name)

    def _input_videos(self) -> Iterator[Video]:
        """Yield the videos in the input folder, those that cannot be read too."""
        for path in self._input_files():
            # Somebody has just moved it away, or its name is no text, so that no request can hold it.
            with contextlib.suppress(FileNotFoundError, UnicodeEncodeError):
                about = path.stat()
                # A file that changes gets another id, so its header and picture can never be out of date.
                key = f"{path.name}\0{about.st_size}\0{about.st_mtime_ns}"
                video_id = hashlib.sha256(key.encode()).hexdigest()[:32]
                known = self._inputs / video_id / "video.json"
                yield (
                    self._read(known)
                    if known.is_file()
                    else Video(
                        video_id=video_id,
                        name=path.name,
                        source="input",
                        bytes=about.st_size,
                        added=about.st_mtime,
                        seen=None,
                    )
                )

    async def _inspect(self, video: Video) -> Video:
        with written_whole(self._inputs / video.video_id) as folder:
            folder.mkdir(mode=0o700)
            try:
                seen = await inspect(self.path(video), folder / "thumbnail.jpg")
            except WebError as error:
                seen = Header(error=str(error))
            video = video.model_copy(update={"seen": seen})
            (folder / "video.json").write_text(video.model_dump_json(), encoding="utf-8")
        return video

    @staticmethod
    def _read(path: Path) -> Video:
        return read_model(Video, path)


def _suffix(head: bytes, name: str = "") -> str:
    suffix = container_of(head)
    if suffix is None:
        raise WebError("This is not a video, or it has a format that is not supported.")
    own = Path(name).suffix.lower()
    # Both are read alike, and the gallery knows a recording by its name, on the command line too.
    return own if {own, suffix} == {".mp4", ".mov"} else suffix
