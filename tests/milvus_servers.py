"""A Milvus for the tests: milvus-lite or Milvus itself, a process of its own that can be stopped and started again."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

ADDRESS = "GAITPRINT_TEST_MILVUS"
"""The environment variable with the address of a Milvus that runs already, for tests that need not stop it."""
_PATIENCE = 240.0  # s for a server to start; a quiet machine needs three, and Milvus itself ten
_PORTS = ("root_coord", "proxy", "proxy_internal", "query_coord", "query_node", "index_coord", "index_node", "data_coord", "data_node")  # fmt: skip # noqa: E501


class Server:
    """milvus-lite with its data in `folder`, at a port of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = _free_ports(1)[0]
        self.address = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> int:
        """The number of its process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        self._process = self._started()
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end and self._process.poll() is None:
            with suppress(OSError):
                if self._ready():
                    return
            time.sleep(0.1)
        self.stop()
        raise RuntimeError(f"Milvus did not start within {_PATIENCE:.0f} s. Its logs are in {self.folder}.")

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _started(self) -> subprocess.Popen[bytes]:
        program = "from milvus_lite.cmdline import main; main()"
        words = ["server", "--data-dir", str(self.folder), "--port", str(self.port)]
        return subprocess.Popen(
            [sys.executable, "-c", program, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def _ready(self) -> bool:
        socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        return True


class WholeServer(Server):
    """Milvus itself in one process, of the package `milvus`. All its ports are its own, etcd's too."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        *others, self._health, etcd, peers = _free_ports(len(_PORTS) + 2)
        ports = dict(zip((f"{name}_port" for name in _PORTS), [others[0], self.port, *others[1:]], strict=True))
        config = import_module("milvus").MilvusServerConfig(data_dir=str(folder), etcd_port=etcd, **ports)
        config.resolve()
        here, beside = f"http://127.0.0.1:{etcd}", f"http://127.0.0.1:{peers}"
        (folder / "etcd.yaml").write_text(
            f"name: default\ndata-dir: {folder / 'data' / 'etcd.data'}\nlisten-client-urls: {here}\n"
            f"advertise-client-urls: {here}\nlisten-peer-urls: {beside}\ninitial-advertise-peer-urls: {beside}\n"
            f"initial-cluster: default={beside}\nlog-outputs: [{folder / 'logs' / 'etcd.log'}]\n"
        )

    def _started(self) -> subprocess.Popen[bytes]:
        programs = _programs()
        own = {
            "DEPLOY_MODE": "STANDALONE",
            "ETCD_CONFIG_PATH": str(self.folder / "etcd.yaml"),
            "METRICS_PORT": str(self._health),
            "MILVUS_RUN_DIR": str(self.folder / "run"),
            "LD_LIBRARY_PATH": os.pathsep.join([str(programs), os.environ.get("LD_LIBRARY_PATH", "")]),
        }
        log = (self.folder / "logs" / "output.log").open("ab")
        return subprocess.Popen(
            [programs / "milvus", "run", "standalone"],
            cwd=self.folder,
            env=os.environ | own,
            stdout=log,
            stderr=subprocess.STDOUT,
        )

    def _ready(self) -> bool:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._health}/healthz", timeout=5) as answer:
            return b"OK" in answer.read()


def whole() -> bool:
    """Whether Milvus itself is installed: `pip install milvus`."""
    return sys.platform == "linux" and find_spec("milvus") is not None


@contextmanager
def running(folder: Path, kind: type[Server] = Server) -> Iterator[Server]:
    """Start a server with its data in `folder`, and stop it at the end."""
    server = kind(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@cache
def _unpacked() -> tempfile.TemporaryDirectory[str]:
    """Milvus' program and libraries, 250 MB, which the package has compressed."""
    folder = tempfile.TemporaryDirectory(prefix="gaitprint-milvus")
    import_module("milvus")._initialize_data_files(folder.name)
    return folder


def _programs() -> Path:
    return Path(_unpacked().name) / "bin"


def _free_ports(count: int) -> list[int]:
    """Numbers of ports that nobody uses now."""
    free = [socket.socket() for _ in range(count)]
    try:
        for one in free:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in free]
    finally:
        for one in free:
            one.close()
