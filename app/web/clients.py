"""Programs that may use the requests of the page: each has a name, a token, and a scope that says what it may do.

Of a token only the SHA-256 digest is kept. It is the name of the client's file, so the file of a token is found without
comparing secrets, and each change is one file that appears or goes: the command line may make it while a server runs.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from pydantic import AwareDatetime, BaseModel, Field

from app.files import explained, write_text
from app.web.options import ConflictError, NotThereError, read_model

Scope: TypeAlias = Literal["read", "enrol", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
"""Each allows what those before it allow.

``read`` sees everything but exports of a person, ``enrol`` also uploads, starts runs and names walks, ``admin`` may do
all that the page can.
"""
LONGEST = 60
"""Characters of a client's name."""


class Client(BaseModel, frozen=True):
    """A program that has a token."""

    name: str = Field(min_length=1, max_length=LONGEST)
    scope: Scope
    created: AwareDatetime

    def may(self, needed: Scope) -> bool:
        """Whether the scope allows what needs `needed`."""
        return SCOPES.index(self.scope) >= SCOPES.index(needed)


class Clients:
    """The clients of the page whose files are in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "clients"

    def all(self) -> list[Client]:
        """Return all clients, in the order of their names."""
        return sorted(self._read().values(), key=lambda client: client.name)

    def find(self, token: str) -> Client | None:
        """Return the client that has a token; None where nobody has."""
        path = self._path(token)
        return read_model(Client, path) if path.is_file() else None

    def create(self, name: str, scope: Scope) -> str:
        """Make a client, and return its token, which nobody can find out later.

        Raises:
            ConflictError: there is one of that name.
            OutputError: the folder cannot be written.
        """
        if any(client.name == name for client in self.all()):
            raise ConflictError(f"There is a token for '{name}' already. Give another name, or revoke that one first.")
        token = f"gaitprint_{secrets.token_urlsafe(32)}"
        client = Client(name=name, scope=scope, created=datetime.now(timezone.utc))
        with explained(self._folder):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_text(self._path(token), client.model_dump_json(), private=True)
        return token

    def revoke(self, name: str) -> None:
        """Remove a client, whose token is worth nothing from now on.

        Raises:
            NotThereError: there is none of that name.
        """
        paths = [path for path, client in self._read().items() if client.name == name]
        if not paths:
            raise NotThereError(f"There is no token for '{name}'.")
        for path in paths:
            path.unlink(missing_ok=True)

    def _path(self, token: str) -> Path:
        digest = hashlib.sha256(token.encode(errors="surrogateescape")).hexdigest()
        return self._folder / f"{digest}.json"

    def _read(self) -> dict[Path, Client]:
        files = (path for path in self._folder.glob("*.json") if re.fullmatch(r"[0-9a-f]{64}", path.stem))
        return {path: read_model(Client, path) for path in files}
