"""A PostgreSQL server for the tests, from Debian's package or whatever `pg_config` finds."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "shared_buffers": "32MB",
    "max_connections": "40",
}


def programs() -> Path | None:
    """Return the folder of the server's programs; None where it is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    initdb = shutil.which("initdb")
    return Path(initdb).parent if initdb else None


class Server:
    """A server that runs, with its data below `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._free: list[str] = []
        self._used: list[str] = []

    def address(self, database: str = "postgres") -> str:
        return f"postgresql://tester@/{database}?host={self.folder}"

    def new_database(self) -> str:
        """Return the address of a database without a gallery."""
        import psycopg

        if not self._free:
            name = f"test{len(self._used)}"
            with psycopg.connect(self.address(), autocommit=True) as db:
                db.execute(f"CREATE DATABASE {name}".encode())
            self._free.append(self.address(name))
        self._used.append(self._free.pop())
        return self._used[-1]

    def recycle(self) -> None:
        """Remove the galleries from all databases, for another test: making a database takes longer."""
        import psycopg

        while self._used:
            with psycopg.connect(self._used[-1]) as db:
                db.execute("DROP SCHEMA IF EXISTS gaitprint CASCADE")
            self._free.append(self._used.pop())


@contextmanager
def running(place: Path | None = None) -> Iterator[Server]:
    """Start a server with its data below `place` (None: in memory where possible), and stop it at the end.

    It refuses to run as root, so then the user ``nobody`` runs it.
    """
    binaries = programs()
    assert binaries is not None
    memory = Path("/dev/shm")  # much quicker than a disk
    if place is None and os.access(memory, os.W_OK):
        place = memory
    folder = Path(tempfile.mkdtemp(prefix="gaitprint-postgres", dir=place))
    data = folder / "data"
    user = "nobody" if os.geteuid() == 0 else None
    if user is not None:
        os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
    options = " ".join(
        f"-c {name}='{value}'" for name, value in {**SETTINGS, "unix_socket_directories": folder}.items()
    )

    def call(program: str, *arguments: str) -> None:
        command = [str(binaries / program), "-D", str(data), *arguments]
        subprocess.run(command, check=True, cwd=folder, user=user, stdout=subprocess.DEVNULL)

    try:
        call("initdb", "--no-sync", "-A", "trust", "-U", "tester", "-E", "UTF8", "--locale=C")
        call("pg_ctl", "start", "-w", "-l", str(folder / "log"), "-o", options)
        try:
            yield Server(folder)
        finally:
            call("pg_ctl", "stop", "-m", "immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
