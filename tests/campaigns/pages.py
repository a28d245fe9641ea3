"""The web page is killed, or asked to stop, while a run goes on and a video comes in: both are there afterwards."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

from tests.campaigns.crew import Attempt, FaultError, Part, SkippedError
from tests.campaigns.inputs import WEIGHT_FREE
from tests.campaigns.kills import begin, prepare_enrolled, said, who

_PATIENCE = 120.0
_SERVE = [
    "serve",
    "--port",
    "0",
    "--gallery-db",
    "gallery.db",
    *(word for name in WEIGHT_FREE for word in ("--set", name)),
]
_SIGNALS = [signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP]


class Page:
    """``python -m app serve`` in a process of its own, with a browser's session."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self.process: int | None = begin(_SERVE, home)
        link = _wait_for(lambda: re.search(r"127\.0\.0\.1:(\d+)(/\?token=\S+)", said(home)), lambda: said(home))
        self._port, self._headers = int(link[1]), dict[str, str]()
        answer = _wait_for(lambda: self._tried("GET", link[2]), lambda: said(home))
        self._headers = {"Cookie": str(answer.headers["Set-Cookie"]).partition(";")[0]}
        self._headers["X-Gaitprint-Token"] = self.ask("GET", "/session")["token"]

    def ask(self, method: str, path: str, content: object = None) -> Any:
        """Send a request and return its JSON."""
        body = content if isinstance(content, bytes) or content is None else json.dumps(content).encode()
        answer = self._send(method, f"/api{path}", body)
        text = answer.read().decode()
        if answer.status >= 400:
            raise FaultError(f"{method} {path}: {answer.status} {text}")
        return json.loads(text) if text else None

    def end(self, number: signal.Signals) -> None:
        """Send the server a signal, and wait for its end."""
        assert self.process is not None
        process, self.process = self.process, None
        os.kill(process, number)
        found: list[int] = []

        def ended() -> bool:
            one, status = os.waitpid(process, os.WNOHANG)
            found.append(status)
            return bool(one)

        _wait_for(ended, lambda: f"it goes on after {number.name}: {said(self._home)[-3000:]}")
        code = os.waitstatus_to_exitcode(found[-1])
        if number != signal.SIGKILL and (code not in (0, 128 + number) or "Traceback" in said(self._home)):
            raise FaultError(f"{number.name} ends the page with {code}: {said(self._home)[-3000:]}")

    def kill(self) -> None:
        """Take it down if it still works."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.kill(self.process, signal.SIGKILL)
            os.waitpid(self.process, 0)

    def _send(self, method: str, path: str, body: bytes | None = None) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        connection.request(method, path, body, {"Content-Type": "application/json", **self._headers})
        return connection.getresponse()

    def _tried(self, method: str, path: str) -> http.client.HTTPResponse | None:
        try:
            return self._send(method, path)
        except OSError:  # it does not serve yet
            return None


def _wait_for(what: Callable[[], Any], about: Callable[[], str]) -> Any:
    end = time.monotonic() + _PATIENCE
    while not (found := what()):
        if time.monotonic() > end:
            raise FaultError(f"it does not come: {about()}")
        time.sleep(0.01)
    return found


def prepare(folder: Path) -> Attempt:
    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise SkippedError(f"needs the extra [web] ({error})") from error
    (folder / "fresh").mkdir()
    prepare_enrolled(folder / "fresh")

    def attempt(random: Random, place: Path) -> None:
        home = place / "home"
        shutil.copytree(folder / "fresh", home)
        before = who(home)
        number = random.choice(_SIGNALS)
        print(number.name)
        content = (home / "input_videos" / "gallery.mp4").read_bytes()
        page = Page(home)
        try:
            video = next(one for one in page.ask("GET", "/videos") if one["name"] == "probe.mp4")["video_id"]
            job = page.ask("POST", "/jobs", {"kind": "identify", "probes": [video], "far": 0.05})["job_id"]
            upload = page.ask("POST", "/videos?name=sent.mp4", content)["video_id"] if random.random() < 0.5 else None
            time.sleep(random.uniform(0, 5))
            page.end(number)
        finally:
            page.kill()
        web = home / "output" / "web"
        for result in (web / "results").glob("[!.]*"):
            if not (result / "outcome.json").is_file() or not (result / "run" / "results.json").is_file():
                raise FaultError(f"{result} is half a result")
        page = Page(home)
        try:
            if upload and (web / "uploads" / upload / "sent.mp4").read_bytes() != content:
                raise FaultError("a confirmed upload is not whole")
            about = _wait_for(lambda: _over(page, job), lambda: said(home))
            if about["state"] != "done":
                raise FaultError(f"the run ended as {about['state']}: {about['message']}")
            tracks = page.ask("GET", f"/jobs/{job}/result")["videos"][0]["tracks"]
            if "Anna" not in {one["identity"] for track in tracks for one in track["candidates"]}:
                raise FaultError(f"nobody was compared: {tracks}")
            page.end(signal.SIGTERM)
        finally:
            page.kill()
        if who(home) != before:
            raise FaultError(f"the gallery has changed: {who(home)}")
        if half := [path for path in web.rglob(".*") if "partial" in path.name]:
            raise FaultError(f"half files are left: {half}")

    return attempt


def _over(page: Page, job: str) -> Any:
    time.sleep(0.05)
    about = page.ask("GET", f"/jobs/{job}")
    return None if about["state"] in ("queued", "running") else about


PARTS: dict[str, Part] = {"pages": Part(prepare, 25, seconds=300, what="kills of the page")}
