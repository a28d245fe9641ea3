"""The page as somebody uses it, in headless Chromium: upload, run, enrol, correct a name, forget."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.browser import check_looks, new_page, wait_until
from tests.clips import Walker, crossing, write_clip

pytest.importorskip("fastapi", reason="needs the extra 'web'")
pytest.importorskip("playwright", reason="needs playwright")

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT = Path(__file__).resolve().parents[2]
WEIGHT_FREE = ("detector.name=motion", "segmenter.name=motion", "gait.name=gei")
ANOTHER_WINDOW = """() => {
    window.told = [];
    window.Notification = class {
        static permission = "granted";
        constructor(title, { body }) { told.push([title, body]); }
    };
    Object.defineProperty(document, "hidden", { get: () => true });
}"""
"""As if somebody looked at another window, and had allowed notifications."""
PATIENCE = 200_000.0  # ms; a run takes a few seconds on a quiet machine


@pytest.fixture
def studio(tmp_path: Path) -> Path:
    """A folder with two clips of the same two people."""
    for name, walkers, seed in (("monday", (1, 2), 1), ("tuesday", (2, 1), 2)):
        people = [Walker(walker, 4 * seed + walker) for walker in walkers]
        scene = crossing(people, gap=0.7, first=-0.7, seconds=2.8, width=256, height=192, fps=Fraction(20), seed=seed)
        write_clip(tmp_path / f"{name}.mp4", scene)
    return tmp_path


@pytest.fixture
def address(studio: Path) -> Iterator[str]:
    """The link that ``python -m app serve`` prints, started in the studio."""
    settings = [word for setting in WEIGHT_FREE for word in ("--set", setting)]
    server = subprocess.Popen(
        [sys.executable, "-m", "app", "serve", "--port", "0", *settings],
        cwd=studio,
        env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert server.stdout is not None
    first = server.stdout.readline()
    found = re.search(r"http://127\.0\.0\.1:\d+/\?token=\S+", first)
    assert found, first + server.stdout.read()
    yield found[0]
    server.send_signal(signal.SIGINT)
    rest, _ = server.communicate(timeout=60)
    assert (server.returncode, rest) == (0, ""), "Ctrl-C ends it cleanly and quietly"


@pytest.fixture
def page(address: str) -> Iterator[Page]:
    """The first page, in a window as wide as a laptop's; errors of its scripts fail the test."""
    with new_page() as page:
        page.goto(address)
        yield page


def begin(page: Page, kind: str, video: str) -> None:
    """Begin a run."""
    page.get_by_role("radio", name=kind).check()
    for card in page.locator(".video").all():
        card.get_by_role("checkbox").set_checked(video in card.inner_text())
    page.get_by_role("button", name="Start").click()


def run(page: Page, kind: str, video: str) -> None:
    """Begin a run and wait for its result."""
    begin(page, kind, video)
    page.locator(".steps li", has_text="follow and cut out").wait_for(timeout=PATIENCE)
    page.locator(".player").wait_for(timeout=PATIENCE)


def name_first(page: Page, name: str, consent: str) -> None:
    """Enrol the first track that nobody has named."""
    page.locator(".track", has=page.get_by_text("Unknown", exact=True)).first.click()
    page.get_by_label("Name").fill(name)
    page.get_by_label("Consent of this person").fill(consent)
    page.get_by_role("button", name="Enrol", exact=True).click()
    page.locator(".track", has=page.get_by_text(name, exact=True)).first.wait_for()


class Proxy(BaseHTTPRequestHandler):
    """Serves the page below ``/gait/``, with the Host that the browser knows, as nginx does."""

    protocol_version = "HTTP/1.1"

    def _pass_on(self) -> None:
        assert self.path.startswith("/gait/"), self.path
        server = http.client.HTTPConnection("127.0.0.1", self.server.upstream)  # type: ignore[attr-defined]
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))) or None
        server.request(self.command, self.path[len("/gait") :], body, dict(self.headers))
        answer = server.getresponse()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection"):
                self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        with contextlib.suppress(OSError):  # the browser has left the page
            while piece := answer.read1():
                self.wfile.write(piece)
                self.wfile.flush()
        self.close_connection = True

    do_GET = do_HEAD = do_POST = do_DELETE = do_PATCH = _pass_on  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def proxied(address: str) -> Iterator[str]:
    """The link of the page behind a proxy, below a path."""
    here = urlsplit(address)
    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as proxy:
        proxy.daemon_threads = True
        proxy.upstream = here.port  # type: ignore[attr-defined]
        threading.Thread(target=proxy.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{proxy.server_port}/gait/?{here.query}"
        proxy.shutdown()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_below_a_path_behind_a_proxy(page: Page, proxied: str, studio: Path) -> None:
    page.goto("about:blank")
    page.context.clear_cookies()
    page.goto(proxied.split("?")[0])
    page.get_by_role("heading", name="Sign in").wait_for()
    check_looks(page, "sign-in")
    page.goto(proxied)
    page.get_by_role("heading", name="Who is walking there?").wait_for()
    assert urlsplit(page.url).path == "/gait/"
    assert "token" not in page.url
    page.locator("#files").set_input_files(studio / "monday.mp4")
    picture = page.locator(".video img")
    picture.wait_for(timeout=PATIENCE)
    wait_until(page, "() => document.querySelector('.video img').naturalWidth > 0")
    page.get_by_role("checkbox").check()
    page.get_by_role("button", name="Start").click()
    page.locator(".progress, .player").first.wait_for()
    assert urlsplit(page.url).path.startswith("/gait/runs/")
    page.reload()  # the address is two levels deep now
    page.locator(".progress, .player").first.wait_for()
    for name, path in (("People", "people"), ("Runs", "runs"), ("Limits", "about"), ("New run", "")):
        page.get_by_role("navigation").get_by_role("link", name=name).click()
        page.wait_for_url(f"**/gait/{path}")
        page.locator("h1").wait_for()
        page.reload()
        page.locator("h1").wait_for()
    page.go_back()
    page.get_by_role("heading", name="Limits and responsible use").wait_for()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_from_upload_to_being_forgotten(page: Page, studio: Path) -> None:
    page.get_by_role("heading", name="How it goes").wait_for()
    check_looks(page, "first-visit")
    page.locator("#files").set_input_files([studio / "monday.mp4", studio / "tuesday.mp4"])
    for name in ("monday.mp4", "tuesday.mp4"):
        page.locator(".video", has_text=name).wait_for(timeout=PATIENCE)

    check_looks(page, "new-run")
    # While the page is looked at, no news that the run has ended may come.
    page.route("**/api/events", lambda route: route.fulfill(content_type="text/event-stream", body="retry: 99\n\n"))
    begin(page, "Nobody yet", "monday.mp4")
    page.locator(".progress").wait_for()
    check_looks(page, "progress")
    page.unroute("**/api/events")
    page.locator(".player").wait_for(timeout=PATIENCE)
    page.get_by_text("Click on somebody, here or in the video").wait_for()
    check_looks(page, "result")
    page.get_by_role("slider", name="Time").fill("1.4")
    box = page.locator(".overlay button:visible").first
    for time in ("1.45", "1.5", "1.55"):  # people are looked at in some of these frames, and are there in all of them
        page.get_by_role("slider", name="Time").fill(time)
        box.wait_for()
    box.click(force=True)  # somebody in the picture
    page.get_by_role("heading", name="Who is this?").wait_for()
    assert page.evaluate("document.activeElement.id") == "dialog-title"
    check_looks(page, "who-is-this")
    page.keyboard.press("Escape")
    with page.expect_popup() as opened:
        page.get_by_role("link", name="Full report").click()
    opened.value.locator("h1").wait_for()
    ready = "() => [...document.querySelectorAll('video')].some((video) => video.readyState > 0)"
    opened.value.evaluate("document.querySelectorAll('video').forEach((video) => video.load())")
    wait_until(opened.value, ready)
    opened.value.close()
    name_first(page, "Anna", "said yes on Monday")
    name_first(page, "Ben", "said yes on Monday")
    page.get_by_role("button", name="Undo").click()
    page.locator(".track", has=page.get_by_text("Unknown", exact=True)).wait_for()
    name_first(page, "Ben", "said yes on Monday")
    assert sorted(page.locator(".renamed").all_text_contents()) == ["Anna", "Ben"]  # the painting says "unknown"
    wait_until(page, "document.activeElement.classList.contains('track')")  # where the keyboard was before

    page.get_by_role("link", name="New run").click()
    assert page.get_by_role("radio", name="The gallery").is_checked(), "there are people now"
    page.get_by_label("How often a stranger may be given a name").select_option(label="One in ten")
    page.evaluate(ANOTHER_WINDOW)
    run(page, "The gallery", "tuesday.mp4")
    assert page.evaluate("told") == [["The run is done", "tuesday.mp4"]]
    page.get_by_text("false accepts: 10 %").wait_for()
    page.locator(".track").first.click()
    who = page.locator("dialog h2").inner_text()
    check_looks(page, "is-this")
    wrong = page.get_by_role("button", name="No, somebody else")
    if wrong.is_visible():
        wrong.click()
    right = "Anna" if who == "Ben" else "Ben"
    page.get_by_label("Name").fill(right)
    page.locator("dialog form button").click()
    page.locator(".track", has_text=f"{right}enrolled").wait_for()

    page.get_by_role("link", name="People").click()
    page.get_by_role("link", name=right).wait_for()
    check_looks(page, "people")
    page.get_by_role("link", name=right).click()
    page.get_by_role("heading", name="2 walks in the gallery").wait_for()
    check_looks(page, "person")
    page.locator(".sightings a", has_text="tuesday.mp4").click()
    page.locator(".player").wait_for()
    page.go_back()
    page.get_by_role("heading", name="2 walks in the gallery").wait_for()
    page.get_by_role("button", name=f"Forget {right}").click()
    page.get_by_text("the result of the run “tuesday.mp4”").wait_for()
    check_looks(page, "forget")
    page.keyboard.press("Escape")
    wait_until(page, "document.activeElement.textContent.startsWith('Forget')")
    page.get_by_role("button", name=f"Forget {right}").click()
    page.get_by_role("button", name="Forget", exact=True).click()
    page.get_by_text("Forgotten: 2 walks").wait_for()
    page.get_by_role("link", name="Runs").click()
    page.get_by_text("No run yet").wait_for()
    page.get_by_role("link", name="Limits").click()
    page.get_by_role("heading", name="Limits and responsible use").wait_for()
    check_looks(page, "limits")
    for path in (studio / "output").rglob("*"):
        assert path.is_dir() or right.encode() not in path.read_bytes(), path
