"""Uploads in pieces: they go on where they were, however they were interrupted, and leave nothing behind."""

from __future__ import annotations

import asyncio
import os
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the extra 'web'")
pytest.importorskip("httpx2", reason="needs httpx2, for the test client")

from starlette.requests import ClientDisconnect
from starlette.testclient import TestClient

from app.web import coming
from app.web.options import ConflictError, NotThereError, WebOptions
from app.web.security import TOKEN_HEADER
from app.web.server import create_app
from app.web.videos import VideoLibrary
from tests.clips import Scene, write_clip
from tests.studio import new_studio

HERE = "http://127.0.0.1:8765"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    write_clip(path, Scene((), width=64, height=48, seconds=0.2))
    return path.read_bytes()


@pytest.fixture
def options(tmp_path: Path) -> WebOptions:
    return WebOptions(tmp_path / "web", tmp_path / "gallery.db", tmp_path / "input", largest_upload=1 << 20)


@pytest.fixture
def client(options: WebOptions) -> Iterator[TestClient]:
    with begun(options) as client:
        yield client


def begun(options: WebOptions) -> TestClient:
    client = TestClient(create_app(options), base_url=HERE)
    client.headers[TOKEN_HEADER] = client.get("/api/session").json()["token"]
    return client


def begin(client: TestClient, length: int, name: str = "my walk.exe", modified: int | None = None) -> str:
    told = f"filename {b64encode(name.encode()).decode()}"
    if modified is not None:
        told += f",modified {b64encode(str(modified).encode()).decode()}"
    answer = client.post("/api/uploads", headers={"Upload-Length": str(length), "Upload-Metadata": told})
    assert answer.status_code == 201, answer.text
    assert answer.headers["Tus-Resumable"] == "1.0.0"
    return f"/api/{answer.headers['Location']}"


def append(client: TestClient, address: str, offset: int, content: bytes) -> int:
    headers = {"Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
    answer = client.patch(address, headers=headers, content=content)
    if answer.status_code == 204:
        assert answer.headers["Upload-Offset"] == str(offset + len(content))
    return answer.status_code


def test_an_upload_in_pieces_becomes_a_video(client: TestClient, options: WebOptions, clip: bytes) -> None:
    about = client.options("/api/uploads").headers
    assert (about["Tus-Version"], about["Tus-Max-Size"]) == ("1.0.0", str(1 << 20))
    address = begin(client, len(clip), modified=1234)
    upload_id = address.rpartition("/")[2]
    for start in range(0, len(clip), 1000):
        assert client.head(address).headers["Upload-Offset"] == str(start)
        assert append(client, address, start, clip[start : start + 1000]) == 204
        if start == 0:
            assert client.get("/api/videos").json() == []
            (told,) = client.get("/api/uploads").json()
            assert (told["name"], told["offset"], told["modified"]) == ("my walk.exe", 1000, 1234)
    (video,) = client.get("/api/videos").json()
    assert (video["video_id"], video["name"], video["bytes"]) == (upload_id, "my walk.mp4", len(clip))
    assert client.get(f"/api/videos/{upload_id}/thumbnail").content.startswith(b"\xff\xd8")
    assert (client.get("/api/uploads").json(), client.head(address).status_code) == ([], 404)
    assert not list((options.folder / "coming").iterdir())


def test_it_goes_on_after_a_restart(options: WebOptions, clip: bytes) -> None:
    with begun(options) as client:
        address = begin(client, len(clip))
        assert append(client, address, 0, clip[:900]) == 204
    content = next((options.folder / "coming").glob("*/content"))
    with content.open("ab") as file:  # bytes of which the client was not told
        file.write(b"torn")
    with begun(options) as client:
        assert client.head(address).headers["Upload-Offset"] == "900"
        assert append(client, address, 900, clip[900:]) == 204
        (video,) = client.get("/api/videos").json()
        assert video["bytes"] == len(clip)


def test_what_arrives_before_the_connection_breaks_is_kept(options: WebOptions, clip: bytes) -> None:
    async def breaks() -> AsyncIterator[bytes]:
        yield clip[:700]
        raise ClientDisconnect

    library = VideoLibrary(options)
    upload = library.begin("walk.mp4", len(clip), None)
    assert asyncio.run(library.append(upload.upload_id, 0, breaks())).offset == 700
    assert library.coming.get(upload.upload_id).offset == 700


def test_bytes_that_belong_elsewhere_are_refused(client: TestClient, clip: bytes) -> None:
    address = begin(client, len(clip))
    assert append(client, address, 5, clip) == 409
    assert append(client, address, 0, clip + b"x") == 413
    assert client.head(address).headers["Upload-Offset"] == "0"
    for headers in ({"Upload-Offset": "0"}, {"Upload-Offset": "-1", "Content-Type": "application/offset+octet-stream"}):
        assert client.patch(address, headers=headers, content=b"x").status_code in (415, 422)
    for length in ("", "-1", "1e3", "9" * 40):
        assert client.post("/api/uploads", headers={"Upload-Length": length}).status_code == 422
    assert client.post("/api/uploads", headers={"Upload-Length": str(1 << 21)}).status_code == 413
    assert client.patch(f"/api/uploads/{'1' * 32}", headers={"Upload-Offset": "0"}).status_code == 415


@pytest.mark.parametrize("content", [b"hello" * 500, b"", b"\0\0\0\x20ftypisom" + b"\0" * 2000])
def test_what_is_no_video_leaves_nothing(client: TestClient, options: WebOptions, content: bytes) -> None:
    address = begin(client, len(content))
    assert append(client, address, 0, content) == 422
    assert client.head(address).status_code == 404
    assert not [path for name in ("coming", "uploads") for path in (options.folder / name).glob("*")]


def test_it_is_refused_as_soon_as_it_is_clearly_no_video(client: TestClient) -> None:
    address = begin(client, 1 << 20)
    assert append(client, address, 0, b"hello" * 500) == 422


def test_somebody_stops_it(client: TestClient, options: WebOptions, clip: bytes) -> None:
    address = begin(client, len(clip))
    append(client, address, 0, clip[:1000])
    assert [client.delete(address).status_code for _ in range(2)] == [204, 404]
    assert not list((options.folder / "coming").iterdir())


def test_only_one_connection_at_a_time_sends(options: WebOptions, clip: bytes) -> None:
    library = VideoLibrary(options)
    upload = library.begin("walk.mp4", len(clip), None)

    async def slow() -> AsyncIterator[bytes]:
        yield clip[:100]
        with pytest.raises(ConflictError, match="Another connection"):
            await library.append(upload.upload_id, 0, slow())
        with pytest.raises(ConflictError, match="arriving"):
            library.coming.remove(upload.upload_id)

    assert asyncio.run(library.append(upload.upload_id, 0, slow())).offset == 100


def test_it_waits_for_a_day(options: WebOptions, clip: bytes) -> None:
    library = VideoLibrary(options)
    old, new = (library.begin("walk.mp4", len(clip), None).upload_id for _ in range(2))
    begun_at = time.time() - coming.KEPT - 1
    os.utime(options.folder / "coming" / old / "upload.json", (begun_at, begun_at))
    library.tidy()
    assert library.coming.get(new)
    with pytest.raises(NotThereError):
        library.coming.get(old)


def test_it_is_not_called_after_somebody_forgotten(tmp_path: Path, clip: bytes) -> None:
    studio = new_studio(tmp_path)
    result = studio.result({studio.video("a.mp4"): {1: None}})
    person_id = studio.people.name_track(result, 0, 1, "Zarq Vexley", "yes", None, True)
    upload = studio.videos.begin("zarq-vexley 2.mp4", len(clip), None)

    async def meanwhile() -> AsyncIterator[bytes]:
        yield clip[:100]
        studio.people.forget(person_id)
        yield clip[100:200]

    asyncio.run(studio.videos.append(upload.upload_id, 0, meanwhile()))
    assert studio.videos.coming.get(upload.upload_id).name == "(forgotten) 2.mp4"
    assert studio.videos.coming.get(upload.upload_id).offset == 200
