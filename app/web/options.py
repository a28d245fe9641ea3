"""How the web application is set up, and the errors it answers with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from app.errors import GaitprintError
from app.settings import Blur


@dataclass(frozen=True)
class WebOptions:
    """Where everything lies and what is allowed.

    `folder` holds the application's own state; `gallery` is the database of known people; videos of `input_videos` can
    be picked; `config` and `assignments` are settings as the command line takes them, used for every run.
    """

    folder: Path = Path("output/web")
    gallery: Path = Path("output/gallery.db")
    input_videos: Path = Path("input_videos")
    config: Path | None = None
    assignments: tuple[str, ...] = ()
    blur: Blur = "none"
    """Who is blurred where a run does not say."""
    password: str | None = None
    local_only: bool = True
    """Whether only this machine is served: then only its own names are accepted as Host."""
    host_names: frozenset[str] = frozenset()
    """Further names under which the application may be called."""
    secure: bool = False
    """Whether it is served over TLS, so that the cookie may demand it."""
    largest_upload: int = 2 << 30
    """Bytes."""
    most_uploads: int = 100


class WebError(GaitprintError):
    """A request that cannot be fulfilled; `status` is the HTTP status code."""

    status = 422


class NotThereError(WebError):
    """What was asked for does not exist (any more)."""

    status = 404


class ConflictError(WebError):
    """It cannot be done as things stand now."""

    status = 409


class TooLargeError(WebError):
    """An upload goes beyond the limits."""

    status = 413


M = TypeVar("M", bound=BaseModel)


def read_model(model: type[M], path: Path) -> M:
    """Read what the application wrote earlier.

    Raises:
        WebError: the file is damaged, or another version of the program wrote it.
    """
    try:
        return model.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise WebError(
            f"{path} cannot be read ({error.error_count()} faults): it is damaged, or another version wrote it. "
            "Move it away, or give another --folder."
        ) from error
