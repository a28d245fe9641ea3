"""Fixtures every test may use."""

from __future__ import annotations

import gc
import os
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.postgres import Server

# The networks of the tests are tiny: a second thread costs more than it brings, and much more where others are busy.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# What is measured here must not decide how the user's own runs compute, nor the other way round.
_cache = tempfile.TemporaryDirectory(prefix="gaitprint-tests")
os.environ["GAITPRINT_CACHE"] = _cache.name

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Do not look for garbage among what is imported: it stays, and looking takes a third of the collection."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(autouse=True)
def one_thread_of_torch() -> Iterator[None]:
    """Take back the threads that a test gave to torch: its networks keep them for as long as the process lives."""
    yield
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() > 1:
        torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def sqlite_settings() -> Iterator[tuple[str, ...]]:
    """Let galleries in this process not wait for the disk, as no test cuts the power; gives the settings of users."""
    from app.gallery import sqlite

    settings = sqlite.SETTINGS
    sqlite.SETTINGS = ("synchronous = OFF", *settings[1:])
    yield settings
    sqlite.SETTINGS = settings


@pytest.fixture(scope="session", autouse=True)
def trial() -> Iterator[Callable[[Path, int], str | None]]:
    """Take the ONNX files of tests for harmless: trying each in a process of its own takes longer than most tests."""
    from app.weights import sessions

    trial = sessions._harm_of
    sessions._harm_of = lambda path, changed: None  # type: ignore[assignment]
    yield trial
    sessions._harm_of = trial


@pytest.fixture
def tried(trial: Callable[[Path, int], str | None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ONNX files be tried as those of users are."""
    monkeypatch.setattr("app.weights.sessions._harm_of", trial)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Golden vectors, real clips and teacher models beside the project; a fresh clone has none."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the folder {SHARED.name}/ beside the project")
    return SHARED


@pytest.fixture(scope="session")
def parity() -> Callable[[str], Path]:
    """Find a golden file by its name below `parity/`: the few in the clone, else those beside the project."""

    def find(name: str) -> Path:
        for folder in (Path(__file__).parent / "parity" / "golden", SHARED / "parity"):
            if (folder / name).exists():
                return folder / name
        pytest.skip(f"needs {SHARED.name}/parity/{name} beside the project")

    return find


@pytest.fixture(scope="session")
def milvus_lite() -> Iterator[None]:
    """Skip where there is no Milvus for tests.

    It makes an index at once, but pymilvus sleeps for half a second before it looks; here for a hundredth.
    """
    if find_spec("pymilvus") is None or find_spec("milvus_lite") is None:
        pytest.skip('needs pymilvus and milvus-lite: pip install -e ".[milvus]" milvus-lite')
    brief = SimpleNamespace(time=time.time, sleep=lambda seconds: time.sleep(seconds / 50))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pymilvus.client.grpc_handler.time", brief)
        yield


@pytest.fixture(scope="session")
def milvus_lite_server(milvus_lite: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server of milvus-lite of the tests' own."""
    from tests.milvus_servers import running

    with running(tmp_path_factory.mktemp("milvus")) as server:
        yield server.address


@pytest.fixture(scope="session")
def milvus_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of Milvus itself, which is started where it is installed."""
    from tests.milvus_servers import ADDRESS, WholeServer, running, whole

    if find_spec("pymilvus") is None:
        pytest.skip('needs pymilvus: pip install -e ".[milvus]"')
    if given := os.environ.get(ADDRESS):
        yield given
    elif whole():
        with running(tmp_path_factory.mktemp("milvus"), WholeServer) as server:
            yield server.address
    else:
        pytest.skip(f"needs Milvus itself: pip install milvus (on Linux), or its address in {ADDRESS}")


@pytest.fixture(scope="session", params=["milvus_lite_server", pytest.param("milvus_server", marks=pytest.mark.slow)])
def milvus(request: pytest.FixtureRequest) -> str:
    """The address of a Milvus for the tests."""
    return str(request.getfixturevalue(request.param))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server of the tests' own."""
    if find_spec("psycopg") is None:
        pytest.skip('needs psycopg: pip install -e ".[postgres]"')
    if os.name == "nt":
        pytest.skip("the server of the tests needs a Unix socket")
    from tests.postgres import programs, running

    if programs() is None:
        pytest.skip("needs PostgreSQL's server: apt-get install postgresql")
    with running() as server:
        yield server
