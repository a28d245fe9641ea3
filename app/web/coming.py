"""Uploads that come in pieces, after the protocol tus 1.0.0 (https://tus.io/protocols/resumable-upload).

What has arrived survives a broken connection, a reload of the page and a restart of the server, and the client goes on
where it was. Each lies in a folder of its own: ``content``, and ``upload.json``, which says how much of it has arrived.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

from pydantic import BaseModel, Field
from starlette.requests import ClientDisconnect

from app.files import write_text, written_whole
from app.web.options import ConflictError, NotThereError, TooLargeError, WebOptions, read_model

KEPT = 24 * 3600.0
"""Seconds after its last piece that an upload waits for the next one."""


class Coming(BaseModel):
    """An upload of which not everything is there.

    `name` is the client's; `length` and `offset` are in bytes: of the whole, and what has arrived. `modified` is when
    the client's file was changed, in ms since 1970: by it, a page finds an upload of the same file again.
    """

    upload_id: str = Field(default_factory=lambda: uuid.uuid4().hex)
    name: str
    length: int
    modified: int | None = None
    offset: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether everything has arrived."""
        return self.offset >= self.length


class ComingUploads:
    """The uploads that are on their way."""

    def __init__(self, options: WebOptions) -> None:
        self._folder = options.folder / "coming"
        self._busy: set[str] = set()

    def all(self) -> list[Coming]:
        """Return the uploads that have not arrived."""
        return [read_model(Coming, path) for path in sorted(self._folder.glob("[!.]*/upload.json"))]

    def get(self, upload_id: str) -> Coming:
        """Return an upload; `NotThereError` where there is none of that id, or no longer."""
        found = {path.name: path for path in self._folder.glob("[!.]*")}.get(upload_id)
        if found is None or not (found / "upload.json").is_file():
            raise NotThereError("This upload is not there any more. Begin it again.")
        coming, content = self._about(upload_id), self.content(upload_id)
        there = content.stat().st_size if content.is_file() else 0
        return coming.model_copy(update={"offset": min(coming.offset, there)})

    def begin(self, coming: Coming) -> None:
        """Make room for an upload."""
        with written_whole(self._folder / coming.upload_id) as folder:
            folder.mkdir(mode=0o700)
            (folder / "upload.json").write_text(coming.model_dump_json(), encoding="utf-8")

    def content(self, upload_id: str) -> Path:
        """Return the path of what has arrived of an upload."""
        return self._folder / upload_id / "content"

    async def append(self, upload_id: str, offset: int, pieces: AsyncIterator[bytes]) -> Coming:
        """Add bytes to an upload, at the place `offset` where the client believes they belong.

        What arrives before the connection breaks is kept.

        Raises:
            ConflictError: they belong elsewhere, or other bytes of this upload are arriving.
            TooLargeError: there are more bytes than were announced.
        """
        coming = self.get(upload_id)
        if upload_id in self._busy:
            raise ConflictError("Another connection is sending this upload.")
        if offset != coming.offset:
            raise ConflictError(f"{coming.offset} bytes of this upload have arrived, not {offset}.")
        self._busy.add(upload_id)
        arrived = offset
        try:
            with self.content(upload_id).open("r+b" if offset else "wb") as out:
                out.truncate(offset)
                out.seek(offset)
                try:
                    async for piece in pieces:
                        if arrived + len(piece) > coming.length:
                            raise TooLargeError(f"This upload was announced to have {coming.length} bytes.")
                        await asyncio.to_thread(out.write, piece)
                        arrived += len(piece)
                except ClientDisconnect:
                    pass
                finally:
                    out.flush()
                    await asyncio.to_thread(os.fsync, out.fileno())
                    # It may have got another name meanwhile.
                    coming = self._about(upload_id).model_copy(update={"offset": arrived})
                    self._save(coming)
        finally:
            self._busy.discard(upload_id)
        return coming

    def rename(self, coming: Coming, name: str) -> None:
        """Give an upload another name."""
        self._save(coming.model_copy(update={"name": name}))

    def remove(self, upload_id: str) -> None:
        """Remove what has arrived of an upload; `ConflictError` where bytes of it are arriving."""
        self.get(upload_id)
        if upload_id in self._busy:
            raise ConflictError("This upload is arriving. Stop it where it comes from.")
        shutil.rmtree(self._folder / upload_id)

    def remove_old(self) -> None:
        """Remove uploads that nobody has gone on with for `KEPT` seconds."""
        for about in self._folder.glob("[!.]*/upload.json"):
            if about.stat().st_mtime < time.time() - KEPT and about.parent.name not in self._busy:
                shutil.rmtree(about.parent, ignore_errors=True)

    def _about(self, upload_id: str) -> Coming:
        return read_model(Coming, self._folder / upload_id / "upload.json")

    def _save(self, coming: Coming) -> None:
        write_text(self._folder / coming.upload_id / "upload.json", coming.model_dump_json())
