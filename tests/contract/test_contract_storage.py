"""What every place for results promises: a folder, and what fsspec knows, S3 by its real protocol among it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from app.errors import MissingExtraError, OutputError
from app.runs import storage as module
from app.runs.batch import Outcome, name_batch
from app.runs.storage import Storage, need_storage, storage_at
from app.settings import Settings

KINDS = ["folder", "file", "memory", "s3"]


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a bucket on a server of the tests' own that speaks S3's protocol."""
    if find_spec("s3fs") is None or find_spec("moto") is None or find_spec("flask") is None:
        pytest.skip("needs s3fs and a server of S3's protocol: pip install s3fs 'moto[server]'")
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = (tmp_path_factory.mktemp("s3") / "log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-p", str(port)], stdout=log, stderr=subprocess.STDOUT
    )
    own = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "me",
        "AWS_SECRET_ACCESS_KEY": "word",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    before = {name: os.environ.get(name) for name in own}
    try:
        end = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"{own['AWS_ENDPOINT_URL']}/moto-api/data.json", timeout=5).close()
                break
            except OSError:
                assert process.poll() is None
                assert time.monotonic() < end
                time.sleep(0.2)
        os.environ.update(own)
        import s3fs

        s3fs.S3FileSystem().mkdir("results")
        yield "s3://results"
    finally:
        process.kill()
        process.wait()
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    if request.param == "folder":
        return tmp_path / "a folder" / "video"
    pytest.importorskip("fsspec", reason="needs fsspec, which comes with torch")
    if request.param == "file":
        return f"file://{tmp_path}/new/video"
    if request.param == "memory":
        return f"memory://{uuid4().hex}/video"
    return f"{request.getfixturevalue('bucket')}/{uuid4().hex}/video"


@pytest.fixture
def storage(place: Path | str) -> Storage:
    return storage_at(place)


def test_what_is_written_is_read_again_by_others(storage: Storage, place: Path | str) -> None:
    assert storage.read("results.json") is None
    storage.remove("results.json")
    text = json.dumps({"name": "Zoë", "long": "x" * 100_000}, ensure_ascii=False)
    storage.write("results.json", text)
    storage.write(".made-of", "key")
    assert storage_at(place).read("results.json") == text
    storage.write("results.json", "{}")
    assert storage_at(place).read("results.json") == "{}"
    assert storage_at(place).read(".made-of") == "key"
    storage.remove(".made-of")
    assert storage_at(place).read(".made-of") is None
    assert storage.read("results.json") == "{}"


def test_a_place_that_cannot_be_used_is_said(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OutputError, match=r"s3://nobody-has-this/x cannot be used"):
        storage_at("s3://nobody-has-this/x").write("a", "b")
    with pytest.raises(
        OutputError, match=r"s3://nobody-has-this/x cannot be used \(The specified bucket does not exist"
    ):
        need_storage("s3://nobody-has-this/x")
    with pytest.raises(OutputError, match="cannot be used"):
        storage_at("nonsense://x").read("a")


def test_a_place_is_tried_before_the_work(place: Path | str) -> None:
    """Reading what is not there yet says nothing: neither that there is no bucket, nor that nobody may write there."""
    if isinstance(place, Path):
        return
    need_storage(place)
    fsspec = pytest.importorskip("fsspec")
    files, folder = fsspec.core.url_to_fs(place, skip_instance_cache=True)
    assert not files.exists(folder) or files.find(folder) == []


@pytest.mark.parametrize("refused", ["pipe_file", "rm_file"])
def test_a_place_that_may_only_be_read_is_said_before_the_work(
    refused: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = pytest.importorskip("fsspec.implementations.memory").MemoryFileSystem

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError("Access Denied\nwith more lines")

    monkeypatch.setattr(memory, refused, refuse)
    with pytest.raises(OutputError, match=r"memory://bucket/x cannot be used \(Access Denied\)\. Check"):
        next(name_batch([tmp_path / "a.mp4"], tmp_path / "none.db", Settings(), results="memory://bucket/x"))


@pytest.mark.parametrize(("gone", "done"), [(True, 5), (False, 9)])
def test_a_batch_ends_where_its_storage_is_gone(
    gone: bool, done: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise each of thousands of videos would wait for it and fail. Videos may also fail by themselves."""
    asked: list[str] = []

    def tried(address: str) -> None:
        asked.append(address)
        if gone and len(asked) > 1:
            raise OutputError("It cannot be used.")

    def named(work: Any, todo: list[Any], *_: Any) -> Iterator[Outcome]:
        for number, (video, folder, *_) in enumerate(todo):
            yield Outcome(video, folder, reason="it is gone" if number > 1 else None)

    monkeypatch.setattr("app.runs.batch.need_storage", tried)
    monkeypatch.setattr("app.runs.batch.spread", named)
    videos, found = [tmp_path / f"{number}.mp4" for number in range(9)], list[Outcome]()
    with (
        pytest.raises(OutputError, match=r"cannot be used\. No more videos.*again to go on") if gone else nullcontext()
    ):
        for outcome in name_batch(videos, tmp_path / "none.db", Settings(), results="s3://bucket/x"):
            found.append(outcome)
    assert len(asked) == (2 if gone else 3)
    assert len(found) == done


@pytest.mark.parametrize("error", ["No module named 'fsspec'", "Install s3fs to access S3"])
def test_a_package_that_is_missing_is_named(error: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ImportError(error)

    monkeypatch.setattr(module, "import_module", missing)
    with pytest.raises(MissingExtraError, match=r"\[s3\]"):
        storage_at("s3://results/x").read("a")
