"""Download published checkpoints into the folder of checkpoints.

A download that breaks off is kept beside its destination (``.NAME.partial``) and is resumed later (RFC 9110, sections
13.1.5 and 14.2). The size and the digest of a complete download are checked, archives are unpacked, and the
implementation that reads such files must recognise it. Only then does the whole folder appear. A download that fails
one of these checks is kept as ``NAME.rejected``, which nothing reads.

The transfer is written with urllib, because pooch cannot resume a download and httpx would replace only the few lines
that open the connection.
"""

from __future__ import annotations

import json
import os
import re
import stat
import time
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date
from http.client import HTTPException, HTTPResponse
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn
from urllib.error import HTTPError, URLError

from app import __version__
from app.errors import CheckpointError, OutputError, reason_of
from app.files import explained, need_space, write_text, written_whole
from app.hub.inventory import registry_of
from app.weights.checkpoints import CheckpointFile, find_checkpoints, load_pickle_safely
from app.weights.published import Address, Published

Progress = Callable[[int, int | None], None]
"""Is called with the number of bytes received so far and, where the server tells it, the number of all bytes."""

_TIMEOUT = 30.0  # s without receiving anything
_CONNECTIONS = 5  # so often a transfer that breaks off is resumed before giving up
_BLOCK = 1 << 18  # bytes read at once
_MEMORY = "fetched.json"


@dataclass(frozen=True)
class Fetched:
    """What was downloaded, from where and when. A later download from the same address must have the same digest.

    `known` says whether the digest was known beforehand and has been compared.
    """

    url: str
    bytes: int
    sha256: str
    date: str
    known: bool


def fetch(model: Published, checkpoints: Path, progress: Progress = lambda done, total: None) -> Fetched:
    """Download `model` into its folder under `checkpoints`, from the first of its addresses that can be reached.

    An earlier copy is replaced once the new one is complete.

    Raises:
        CheckpointError: no address could be reached, or the download is not the file: it is a web page, has the wrong
            size or digest, is an unsafe or damaged archive, or is no checkpoint of that kind. The message says how to
            download the file by hand.
        OutputError: there is no space, or no permission to write.
    """
    folder = model.folder(checkpoints)
    failures = []
    for address in model.addresses:
        partial = folder.with_name(f".{model.name}.partial")
        try:
            _download(address, partial, progress)
            fetched = _checked(model, address, partial, checkpoints)
            _install(model, address, partial, folder)
        except CheckpointError as error:
            failures.append(f"{error}\n  By hand: open {address.url} and put {_by_hand(address)} into {folder}.")
            continue
        _remember(model, fetched, checkpoints)
        return fetched
    raise CheckpointError("\n  ".join([f"{model.name} could not be fetched.", *failures]))


def direct(url: str) -> str:
    """Return the address of the file itself where `url` is a page of Google Drive about it."""
    if found := re.fullmatch(r"https://drive\.google\.com/file/d/([\w-]+)/view", url):
        return f"https://drive.usercontent.google.com/download?id={found[1]}&export=download&confirm=t"
    return url


def _by_hand(address: Address) -> str:
    return f"the content of {address.file}" if _is_archive(address) else address.file


def _is_archive(address: Address) -> bool:
    return address.file.endswith(".zip")


@dataclass(frozen=True)
class _State:
    """Which file a partial download belongs to. `validator` is its entity tag, or its date of change, or empty."""

    url: str
    validator: str
    total: int | None


def _notes(partial: Path) -> Path:
    return partial.with_name(partial.name + ".json")


def _state(partial: Path) -> _State | None:
    try:
        return _State(**json.loads(_notes(partial).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):  # there is no partial download, or the process was killed as it began
        return None


def _download(address: Address, partial: Path, progress: Progress) -> None:
    """Download the file of `address` to `partial`; continue a partial download of it."""
    for attempt in range(_CONNECTIONS):
        if attempt:
            time.sleep(attempt)  # a server that has just broken off gets a moment to recover
        state = _state(partial)
        have = partial.stat().st_size if partial.is_file() and state and state.url == address.url else 0
        if state and have and have == state.total:
            return
        if _receive(address, partial, have, state.validator if state and have else "", progress):
            return
    raise CheckpointError(
        f"The connection to {address.url} keeps breaking. Run the same command again to continue the download."
    )


def _receive(address: Address, partial: Path, have: int, validator: str, progress: Progress) -> bool:
    """Receive what one connection delivers, from byte `have` on; return whether the file is complete."""
    with _opened(address.url, have, validator) as response:
        if response is None:  # the server's file is now shorter than the partial download of an older one
            partial.unlink()
            return False
        start = have if response.status == 206 else 0
        if start and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            raise CheckpointError(f"{address.url} answers with another part of the file than the one requested.")
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isdecimal() else None
        if total is not None and address.bytes is not None and total != address.bytes:
            raise CheckpointError(f"{address.url} has {total} bytes instead of {address.bytes}.")
        block = _read(response)
        if response.headers.get_content_type() == "text/html" or (start == 0 and _is_page(block)):
            raise CheckpointError(f"{address.url} answers with a web page instead of the file.")
        state = _State(address.url, _validator(response), total)
        done = start
        with explained(partial):
            partial.parent.mkdir(parents=True, exist_ok=True)
            need_space(partial.parent, (total or 0) - start)
            # The file is emptied before the notes are written. Otherwise a kill in between would join two files.
            with partial.open("ab" if start else "wb") as stream:
                _notes(partial).write_text(json.dumps(asdict(state)), encoding="utf-8")
                while block:
                    stream.write(block)
                    done += len(block)
                    progress(done, total)
                    block = _read(response)
    return total is None or done == total


@contextmanager
def _opened(url: str, have: int, validator: str) -> Iterator[HTTPResponse | None]:
    """Open `url` from byte `have` on; yield None if the file has no such byte."""
    request = urllib.request.Request(direct(url), headers={"User-Agent": f"gaitprint/{__version__}"})
    if have:
        request.add_header("Range", f"bytes={have}-")
        if validator:
            request.add_header("If-Range", validator)
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except HTTPError as error:
        error.close()
        if error.code == 416:
            yield None
            return
        raise CheckpointError(f"{url} answers {error.code} {error.reason}.") from error
    except (URLError, HTTPException, OSError, ValueError) as error:
        reason = error.reason if isinstance(error, URLError) else error
        raise CheckpointError(f"{url} cannot be reached ({reason}).") from error
    with response:
        yield response


def _read(response: HTTPResponse) -> bytes:
    """Return the next block. It is empty at the end and if the connection breaks, so that what has arrived is kept."""
    try:
        return response.read(_BLOCK)
    except (OSError, HTTPException):
        return b""


def _validator(response: HTTPResponse) -> str:
    """Return what identifies this version of the file: its entity tag if that is a strong one, else its date."""
    tag: str = response.headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")


def _is_page(block: bytes) -> bool:
    return block.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html"))


def _checked(model: Published, address: Address, partial: Path, checkpoints: Path) -> Fetched:
    """Compare size and digest of a complete download with those that are known."""
    size, digest = partial.stat().st_size, CheckpointFile(partial, "given").sha256()
    earlier = _memory(checkpoints).get(model.name)
    remembered = earlier if earlier and earlier["url"] == address.url else None
    if address.bytes not in (None, size):
        _reject(model, partial, checkpoints, f"it has {size} bytes instead of {address.bytes}")
    if address.sha256 not in (None, digest):
        _reject(model, partial, checkpoints, f"its SHA-256 is {digest} instead of {address.sha256}")
    if address.sha256 is None and remembered and remembered["sha256"] != digest:
        _reject(
            model,
            partial,
            checkpoints,
            f"its SHA-256 is {digest}, but it was {remembered['sha256']} on {remembered['date']}. If the authors have "
            f"replaced the file, remove '{model.name}' from {checkpoints / _MEMORY}",
        )
    known = address.sha256 is not None or remembered is not None
    return Fetched(address.url, size, digest, date.today().isoformat(), known)


def _reject(model: Published, file: Path, checkpoints: Path, reason: str) -> NoReturn:
    """Move `file` to where nothing reads it, and raise an error with the reason."""
    rejected = model.folder(checkpoints).with_name(f"{model.name}.rejected")
    with explained(rejected):
        file.replace(rejected)
    raise CheckpointError(f"The download is not {model.name}: {reason.rstrip('.')}. It is kept as {rejected}.")


def _install(model: Published, address: Address, partial: Path, folder: Path) -> None:
    """Make `folder` from a complete download, once its reader recognises it."""
    checkpoints = folder.parent.parent
    with written_whole(folder, ".*") as temporary:
        temporary.mkdir()
        file = partial
        try:
            if _is_archive(address):
                _unpack(partial, temporary)
            else:
                file = partial.replace(temporary / address.file)
            _recognise(model, temporary)
        except CheckpointError as error:
            _reject(model, file, checkpoints, str(error).replace(f"{temporary}{os.sep}", ""))
    for done in (partial, _notes(partial)):
        done.unlink(missing_ok=True)


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip archive into `folder`. If everything lies in one folder of the archive, its content is unpacked.

    Raises:
        CheckpointError: the archive is damaged or encrypted, or an entry would land outside of `folder`.
    """
    try:
        with zipfile.ZipFile(archive) as zipped:
            entries = [entry for entry in zipped.infolist() if not entry.filename.startswith("__MACOSX/")]
            for entry in entries:
                path = PurePosixPath(entry.filename.replace("\\", "/"))
                if path.is_absolute() or ".." in path.parts or ":" in entry.filename:
                    raise CheckpointError(f"the archive is unsafe: '{entry.filename}' would land outside of its folder")
                if stat.S_ISLNK(entry.external_attr >> 16):
                    raise CheckpointError(f"the archive is unsafe: '{entry.filename}' is a link")
            need_space(folder, sum(entry.file_size for entry in entries))
            zipped.extractall(folder, entries)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise CheckpointError(f"it is not a complete zip archive ({error})") from error
    found = list(folder.iterdir())
    if len(found) == 1 and found[0].is_dir():
        inner = found[0].replace(folder / ".inner")
        for file in inner.iterdir():
            file.replace(folder / file.name)
        inner.rmdir()


def _recognise(model: Published, folder: Path) -> None:
    """Check that `folder` holds a file that the reader of `model` recognises.

    For a model without a reader, complete weights that can be opened safely are enough.

    Raises:
        CheckpointError: it does not.
    """
    registry = registry_of(model.stage)
    problems: list[str] = []
    found = find_checkpoints((folder.parent,), (folder.name,), lambda _, error: problems.append(str(error)))
    files = [candidate.file.path for candidate in found]
    if not files:
        raise CheckpointError("; ".join(problems) or "it holds no weights")
    if model.reader is None:
        for file in files:
            if file.suffix in {".pt", ".pth", ".tar"}:
                load_pickle_safely(file)
        return
    for file in files:
        try:
            if registry.recognise(file).name == model.reader:
                return
            problems.append(f"{file.name} is not of that kind")
        except CheckpointError as error:
            problems.append(str(error))
    raise CheckpointError("; ".join(problems))


def _memory(checkpoints: Path) -> dict[str, Any]:
    file = checkpoints / _MEMORY
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise OutputError(
            f"{file} cannot be read ({reason_of(error)}). Repair it, or delete it; then the digests of earlier "
            "downloads are lost."
        ) from error
    return content


def _remember(model: Published, fetched: Fetched, checkpoints: Path) -> None:
    digests = {key: value for key, value in asdict(fetched).items() if key != "known"}
    content = {**_memory(checkpoints), model.name: digests}
    write_text(checkpoints / _MEMORY, json.dumps(content, indent=1) + "\n")
