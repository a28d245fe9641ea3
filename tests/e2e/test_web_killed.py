"""kill -9, wherever it hits: what was confirmed stays, half files stay hidden, the next start clears up and goes on."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from app.gallery.sqlite import SqliteGallery
from tests.clips import Walker, crossing, write_clip

pytest.importorskip("fastapi", reason="needs the extra 'web'")

ROOT = Path(__file__).resolve().parents[2]
WEIGHT_FREE = [
    word for name in ("detector.name=motion", "segmenter.name=motion", "gait.name=gei") for word in ("--set", name)
]
PATIENCE = 180.0  # s; everything takes a few on a quiet machine
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def program(home: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "app", *words, *WEIGHT_FREE],
        cwd=home,
        env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for(what: Callable[[], Any]) -> Any:
    end = time.monotonic() + PATIENCE
    while not (found := what()):
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.002)
    return found


def hidden(folder: Path) -> list[Path]:
    return [path for path in folder.rglob(".*") if path.name != ".lock"]


class Server:
    """``python -m app serve`` in a process of its own, with a browser's session. A context manager."""

    def __init__(self, home: Path) -> None:
        self._process = program(home, "serve", "--port", "0")
        assert self._process.stdout is not None
        first = self._process.stdout.readline()
        found = re.search(r"127\.0\.0\.1:(\d+)(/\?token=\S+)", first)
        assert found, first + self._process.stdout.read()
        self._port, self._headers = int(found[1]), dict[str, str]()
        answer = self._send("GET", found[2])
        self._headers = {"Cookie": str(answer.headers["Set-Cookie"]).partition(";")[0]}
        self._headers["X-Gaitprint-Token"] = self.ask("GET", "/session")["token"]

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        """Take it down without a warning."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()

    def ask(self, method: str, path: str, content: object = None) -> Any:
        body = content if isinstance(content, bytes) or content is None else json.dumps(content).encode()
        answer = self._send(method, f"/api{path}", body)
        text = answer.read().decode()
        assert answer.status < 400, text
        return json.loads(text) if text else None

    def begin_upload(self, announced: int, sent: bytes) -> http.client.HTTPConnection:
        """Send a part of a video and stop there."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        connection.putrequest("POST", "/api/videos?name=half.mp4")
        for name, value in {**self._headers, "Content-Length": str(announced)}.items():
            connection.putheader(name, value)
        connection.endheaders(sent)
        return connection

    def ended(self, job_id: str) -> dict[str, Any]:
        """Wait for the end of a run."""

        def over() -> dict[str, Any] | None:
            time.sleep(0.05)
            job: dict[str, Any] = self.ask("GET", f"/jobs/{job_id}")
            return None if job["state"] in ("queued", "running") else job

        return dict(wait_for(over))

    def _send(self, method: str, path: str, body: bytes | None = None) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        connection.request(method, path, body, {"Content-Type": "application/json", **self._headers})
        return connection.getresponse()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two clips of the same people, one of them enrolled."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "input_videos").mkdir()
    for name, walkers, seed in (("monday", (1, 2), 1), ("tuesday", (2, 1), 2)):
        people = [Walker(walker, 4 * seed + walker) for walker in walkers]
        scene = crossing(people, gap=0.7, first=-0.7, seconds=2.8, width=256, height=192, fps=Fraction(20), seed=seed)
        write_clip(folder / "input_videos" / f"{name}.mp4", scene)
    enrolling = program(
        folder,
        "enrol",
        "monday.mp4",
        "--name",
        "Anna",
        "--consent",
        "said yes",
        "--track",
        "1",
        "--output",
        "enrolling",
    )
    out, _ = enrolling.communicate(timeout=PATIENCE)
    assert enrolling.returncode == 0, out
    return folder


def people(home: Path) -> list[tuple[str, int]]:
    with SqliteGallery(home / "output" / "gallery.db", create=False) as gallery:
        return [(person.name, person.walks) for person in gallery.people()]


def test_during_an_upload(home: Path) -> None:
    uploads, content = home / "output" / "web" / "uploads", (home / "input_videos" / "monday.mp4").read_bytes()
    with Server(home) as server:
        whole = server.ask("POST", "/videos?name=whole.mp4", content)["video_id"]
        connection = server.begin_upload(len(content), content[: len(content) // 2])
        wait_for(lambda: [path for path in uploads.glob(".*.partial/content") if path.stat().st_size])
        server.kill()
        connection.close()
    assert {path.name for path in uploads.glob("[!.]*")} == {whole}
    assert hidden(uploads), "what came of the half one is still there, but hidden"
    with Server(home) as server:
        assert not hidden(uploads)
        listed = {video["name"]: video["video_id"] for video in server.ask("GET", "/videos")}
        assert listed["whole.mp4"] == whole
        assert set(listed) == {"whole.mp4", "monday.mp4", "tuesday.mp4"}
        assert (uploads / whole / "whole.mp4").read_bytes() == content
        server.ask("DELETE", f"/videos/{whole}")


def test_the_server_and_its_worker_during_an_identification(home: Path) -> None:
    web = home / "output" / "web"
    with Server(home) as server:
        video = next(one for one in server.ask("GET", "/videos") if one["name"] == "tuesday.mp4")["video_id"]
        first, second = (
            server.ask("POST", "/jobs", {"kind": kind, "probes": [video], "far": 0.05})["job_id"]
            for kind in ("identify", "survey")
        )
        wait_for(lambda: list(web.glob("work/cache/.*.partial.zip")))
        server.kill()  # the worker notices, and ends
    assert people(home) == [("Anna", 1)]
    assert not list((web / "results").glob("[!.]*"))
    with Server(home) as server:
        for job_id in (first, second):
            job = server.ended(job_id)
            assert job["state"] == "done", job
        assert job["probes"] == [video]
        tracks = server.ask("GET", f"/jobs/{first}/result")["videos"][0]["tracks"]
        assert "Anna" in {track["identity"] for track in tracks}
        assert server.ask("GET", f"/jobs/{first}")["far"] == 0.05
        assert len(server.ask("GET", "/jobs")) == 2
        assert not hidden(web)
    assert people(home) == [("Anna", 1)]


@pytest.mark.parametrize("sign", ["cache/.*.partial.zip", "OutputVideos/.*.partial/.tuesday.*.partial.mp4"])
def test_during_identify_on_the_command_line(home: Path, tmp_path: Path, sign: str) -> None:
    out = tmp_path / "out"
    words = ("identify", "tuesday.mp4", "--output", str(out))
    process = program(home, *words)
    wait_for(lambda: list(out.glob(sign)) or process.poll() is not None)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "it was over too soon"
    assert people(home) == [("Anna", 1)]
    assert hidden(out)
    assert not list(out.glob("OutputVideos/[!.]*"))
    again = program(home, *words)
    said, _ = again.communicate(timeout=PATIENCE)
    assert again.returncode == 0, said
    assert not list(out.rglob(".*")), "the next start clears up"
    (run,) = (out / "OutputVideos").iterdir()
    assert "Anna" in (run / "results.csv").read_text(encoding="utf-8")
    assert ("of an earlier run are used" in said) == sign.startswith("OutputVideos")
