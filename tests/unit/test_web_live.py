"""Cameras through the web interface: what may be added, what is shown, and that nothing of anybody forgotten stays."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs the extra 'web'")
pytest.importorskip("httpx2", reason="needs httpx2, for the test client")

from starlette.testclient import TestClient

from app.gallery.service import GalleryService
from app.gallery.sqlite import SqliteGallery
from app.gallery.store import NewWalk
from app.runs.watch import WatchConfig
from app.types import Embedding
from app.web.cameras import Camera, Live
from app.web.live_worker import _Messages, watch
from app.web.options import WebOptions
from app.web.security import TOKEN_HEADER
from app.web.server import create_app
from app.web.videos import VideoLibrary
from tests.clips import Scene, write_clip


@pytest.fixture
def options(tmp_path: Path) -> WebOptions:
    (tmp_path / "input").mkdir()
    write_clip(tmp_path / "input" / "yard.mp4", Scene((), width=64, height=48, seconds=0.4))
    return WebOptions(tmp_path / "web", tmp_path / "gallery.db", tmp_path / "input")


@pytest.fixture
def client(options: WebOptions) -> Iterator[TestClient]:
    with TestClient(create_app(options), base_url="http://127.0.0.1:8765") as client:
        client.headers[TOKEN_HEADER] = client.get("/api/session").json()["token"]
        assert client.put("/api/live/watching", json={"watching": False}).status_code == 204
        yield client


@pytest.fixture
def stills() -> Iterator[str]:
    """The address of a camera that gives one picture for each request."""
    picture = cv2.imencode(".jpg", np.full((48, 64, 3), 99, np.uint8))[1].tobytes()

    class Still(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "image/jpeg")
            self.send_header("Content-Length", str(len(picture)))
            self.end_headers()
            self.wfile.write(picture)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Still) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/still.jpg"
        server.shutdown()


def test_cameras_are_added_kept_and_removed(client: TestClient, options: WebOptions) -> None:
    (video,) = client.get("/api/videos").json()
    yard = {"name": "Yard", "address": "rtsp://anna:s3cret@192.168.0.9/stream?key=s3cret"}
    assert client.post("/api/live/cameras", json=yard).status_code == 201
    assert client.post("/api/live/cameras", json=yard).status_code == 409
    assert client.post("/api/live/cameras", json={"name": "Film", "video_id": video["video_id"]}).status_code == 201
    told = client.get("/api/live")
    assert [camera["name"] for camera in told.json()["cameras"]] == ["Yard", "Film"]
    assert told.json()["cameras"][0]["address"] == "rtsp://192.168.0.9/stream"
    assert "s3cret" not in told.text
    assert client.get("/api/live/cameras/Yard/picture").status_code == 204, "it has shown nothing yet"
    kept = Live(options, VideoLibrary(options)).known
    assert (kept.watching, [camera.name for camera in kept.cameras]) == (False, ["Yard", "Film"])
    if sys.platform != "win32":
        assert (options.folder / "cameras.json").stat().st_mode & 0o077 == 0
    assert [client.delete("/api/live/cameras/Yard").status_code for _ in range(2)] == [204, 404]
    assert client.get("/api/live/cameras/Yard/picture").status_code == 404


@pytest.mark.parametrize(
    "camera",
    [
        {"address": "/etc/passwd"},
        {"address": "file:///etc/passwd"},
        {"address": "concat:/etc/passwd"},
        {"address": "yard.mp4"},
        {"address": "-1"},
        {"address": "12345"},
        {"address": ""},
        {"video_id": "../../etc/passwd"},
        {"address": "rtsp://x", "video_id": "1"},
        {},
    ],
)
def test_nothing_but_cameras_and_videos_of_the_page_is_opened(client: TestClient, camera: dict[str, str]) -> None:
    assert client.post("/api/live/cameras", json={"name": "Yard", **camera}).status_code in (404, 422)
    assert client.post("/api/live/test", json=camera).status_code in (404, 422)
    assert client.get("/api/live").json()["cameras"] == []


@pytest.mark.parametrize("name", ["", "a/b", "a\nb", "x" * 61])
def test_names_of_cameras(client: TestClient, name: str) -> None:
    assert client.post("/api/live/cameras", json={"name": name, "address": "0"}).status_code == 422


def test_a_camera_is_tried_first(client: TestClient, stills: str) -> None:
    (video,) = client.get("/api/videos").json()
    for camera, size in (({"address": stills}, (48, 64)), ({"video_id": video["video_id"]}, (48, 64))):
        answer = client.post("/api/live/test", json=camera)
        assert answer.status_code == 200, answer.text
        picture = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None
        assert picture.shape[:2] == size
    answer = client.post("/api/live/test", json={"address": "http://127.0.0.1:9/x"})
    assert (answer.status_code, "nothing listens" in answer.text) == (422, True), answer.text


def test_pictures_and_events_go_with_whom_they_may_show(client: TestClient, options: WebOptions) -> None:
    live: Live = client.app.state.site.live  # type: ignore[attr-defined]
    with SqliteGallery(options.gallery) as gallery:
        walk = NewWalk(Embedding(np.ones((2, 8), np.float32), "gei", 9), "a.mp4")
        anna = gallery.enrol("Anna", [walk], consent="yes").person_id
    assert client.post("/api/live/cameras", json={"name": "Yard", "address": "0"}).status_code == 201
    label = {"box": [0, 0, 1, 1], "name": "Änna", "note": "", "doubtful": False}
    live._take({"kind": "picture", "camera": "Yard", "labels": [label], "latency": 0.1}, b"\xff\xd8 picture")
    live._take({"kind": "event", "event": {"event": "named", "name": "Anna", "source": "Yard"}}, b"")
    live._take({"kind": "event", "event": {"event": "dropped", "source": "Yard"}}, b"")
    live._take({"kind": "state", "cameras": {"Yard": {"state": "watching", "frames": 3}}}, b"")
    answer = client.get("/api/live/cameras/Yard/picture")
    assert (answer.content, "\\u00c4nna" in answer.headers["X-Picture"]) == (b"\xff\xd8 picture", True)
    told = client.get("/api/live").json()
    assert (told["cameras"][0]["frames"], [event["name"] for event in told["events"]]) == (3, ["Anna"])
    assert client.get(f"/api/live?after={told['events'][0]['number']}").json()["events"] == []
    assert client.delete(f"/api/people/{anna}").status_code == 200
    assert client.get("/api/live").json()["events"] == []
    assert client.get("/api/live/cameras/Yard/picture").status_code == 204


def test_a_watch_that_fails_stands_in_nobodys_way(
    client: TestClient, options: WebOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(live: Live) -> None:
        raise OSError("no processes left")

    monkeypatch.setattr(Live, "_supervise", fails)
    assert client.post("/api/live/cameras", json={"name": "Yard", "address": "0"}).status_code == 201
    with SqliteGallery(options.gallery) as gallery:
        walk = NewWalk(Embedding(np.ones((2, 8), np.float32), "gei", 9), "a.mp4")
        anna = gallery.enrol("Anna", [walk], consent="yes").person_id
    assert client.put("/api/live/watching", json={"watching": True}).status_code == 204
    assert client.delete(f"/api/people/{anna}").status_code == 200
    assert "no processes left" in client.get("/api/live").json()["problem"]


@pytest.mark.parametrize("told", [True, False])
def test_strangers_get_numbers_if_somebody_wants_that(
    client: TestClient, options: WebOptions, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client.get("/api/live").json()["strangers"] is False
    assert client.put("/api/live/strangers", json={"strangers": told}).status_code == 204
    assert client.get("/api/live").json()["strangers"] is told
    seen: list[tuple[WatchConfig, GalleryService]] = []

    class Watched:
        cameras: ClassVar[dict[str, object]] = {}

        def __init__(self, config: WatchConfig, gallery: GalleryService, *_: object) -> None:
            seen.append((config, gallery))

        def run(self, stop: threading.Event) -> None:
            """End at once."""

    monkeypatch.setattr("app.runs.watch.Watch", Watched)
    task = Live(options, VideoLibrary(options))._task()
    weight_free = ["detector.name=motion", "segmenter.name=motion", "gait.name=gei"]
    task = task.model_copy(update={"cameras": {"Yard": "0"}, "assignments": weight_free})
    stop = threading.Event()
    stop.set()
    watch(task, _Messages(BytesIO()), stop)
    ((config, gallery),) = seen
    assert (config.strangers is not None, gallery.strangers is not None) == (told, told)
    if config.strangers is not None:
        assert config.strangers.retain_days == 7, "the page says so"


def test_who_waits_for_a_picture_gets_it_at_once(options: WebOptions) -> None:
    async def wait() -> int:
        live = Live(options, VideoLibrary(options))
        await live.add(Camera(name="Yard", address="0"))
        waiting = asyncio.create_task(live.picture("Yard", 0, 60))
        await asyncio.sleep(0)
        live._take({"kind": "picture", "camera": "Yard", "labels": [], "latency": 0.1}, b"\xff\xd8")
        return (await asyncio.wait_for(waiting, 10)).number

    assert asyncio.run(wait()) == 1
