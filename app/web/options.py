"""The options of the web application, and the errors with which it answers."""

from __future__ import annotations

import hashlib
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from app.errors import GaitprintError, reason_of
from app.settings import Blur


@dataclass(frozen=True)
class WebOptions:
    """Where everything is stored, and what is allowed.

    `folder` has the application's own files, and `gallery` is the database of enrolled people. Videos in `input_videos`
    can be chosen for runs. `config` and `assignments` are settings for every run, as the command line takes them.
    """

    folder: Path = Path("output/web")
    gallery: str | Path = Path("output/gallery.db")
    input_videos: Path = Path("input_videos")
    config: Path | None = None
    assignments: tuple[str, ...] = ()
    blur: Blur = "none"
    """Who is blurred, unless a run says otherwise."""
    password: str | None = None
    token: str | None = None
    """What the link that is printed at the start carries. It is asked for where there is no password."""
    local_only: bool = True
    """Whether only this machine is served; then only its own names are accepted as Host."""
    host_names: frozenset[str] = frozenset()
    """Further names under which the application may be reached."""
    secure: bool = False
    """Whether it is served over TLS, so that the cookie is only sent over TLS."""
    largest_upload: int = 2 << 30
    """Bytes."""
    most_uploads: int = 100
    most_waiting: int = 100
    """Runs in the queue."""

    @property
    def cookie(self) -> str:
        """The name of the cookie.

        Browsers send a cookie to every port and path of a host, so each server needs a name of its own there.
        """
        own = f"{socket.gethostname()}\0{self.folder.resolve()}"
        return f"gaitprint-{hashlib.sha256(own.encode(errors='surrogateescape')).hexdigest()[:8]}"


class WebError(GaitprintError):
    """A request that cannot be fulfilled; `status` is the HTTP status code."""

    status = 422


class NotThereError(WebError):
    """What was asked for does not exist, or no longer."""

    status = 404


class ForbiddenError(WebError):
    """The token of a program does not allow it."""

    status = 403


class ConflictError(WebError):
    """It cannot be done at present."""

    status = 409


class TooLargeError(WebError):
    """An upload is larger than the limit, or there are too many."""

    status = 413


M = TypeVar("M", bound=BaseModel)


def read_model(model: type[M], path: Path) -> M:
    """Read a file that the application wrote earlier.

    Raises:
        WebError: the file is damaged, or another version of the program wrote it.
    """
    try:
        return model.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise damaged(path, f"{error.error_count()} faults") from error
    except OSError as error:
        raise damaged(path, reason_of(error)) from error


def damaged(path: Path, reason: str) -> WebError:
    """Return the error that says that a file of the application cannot be read."""
    return WebError(
        f"{path} cannot be read ({reason}): it is damaged, or another version wrote it. Move it away, or give another "
        "--folder."
    )
