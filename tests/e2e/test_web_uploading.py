"""Uploads as somebody makes them, in headless Chromium: many, folders, a broken connection, a reload."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("fastapi", reason="needs the extra 'web'")
pytest.importorskip("playwright", reason="needs playwright")

from app.web.options import WebOptions
from tests.browser import check_looks, new_page, wait_until
from tests.clips import Scene, write_clip
from tests.studio import served

if TYPE_CHECKING:
    from playwright.sync_api import Page

MEGABYTE = 1 << 20
COPIES = """new Promise((resolve) => {
    const opening = indexedDB.open("gaitprint", 1);
    opening.onsuccess = () => {
        const asked = opening.result.transaction("uploads").objectStore("uploads").getAllKeys();
        asked.onsuccess = () => { opening.result.close(); resolve(asked.result); };
    };
})"""
"""The uploads of which the browser keeps a copy."""


@pytest.fixture
def options(tmp_path: Path) -> WebOptions:
    return WebOptions(tmp_path / "web", tmp_path / "gallery.db", tmp_path / "input")


@pytest.fixture
def page(options: WebOptions) -> Iterator[Page]:
    with served(options) as address, new_page(expected="ERR_INTERNET_DISCONNECTED|status of (404|409|422)") as page:
        page.goto(address)
        page.get_by_role("heading", name="Who is walking there?").wait_for()
        yield page


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """A folder with two short clips, one of them deeper, and one of 20 MB."""
    folder = tmp_path / "films"
    (folder / "deeper").mkdir(parents=True)
    for name in ("yard.mp4", "deeper/hall.mp4", "long.mp4"):
        write_clip(folder / name, Scene((), width=64, height=48, seconds=0.2))
    with (folder / "long.mp4").open("ab") as file:  # a box that every reader passes over
        file.write(struct.pack(">I4s", 20 * MEGABYTE, b"free") + bytes(20 * MEGABYTE - 8))
    (folder / "notes.txt").write_text("no video")
    return folder


class Line:
    """The connection of the page to the server."""

    def __init__(self, page: Page) -> None:
        self._devtools = page.context.new_cdp_session(page)

    def carry(self, rate: int, offline: bool = False) -> None:
        """Let uploads be no faster than `rate` bytes a second, or break the connection."""
        speed = {"offline": offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": rate}
        self._devtools.send("Network.emulateNetworkConditions", speed)


@pytest.mark.slow
def test_a_whole_folder_is_sent_while_another_page_is_open(page: Page, films: Path) -> None:
    line = Line(page)
    line.carry(MEGABYTE)
    page.locator("#folder").set_input_files(films)
    page.get_by_text("1 of 4 files are no videos and were left out").wait_for()
    page.get_by_role("link", name="Runs").click()
    page.get_by_text("No run yet").wait_for()
    uploads = page.get_by_role("region", name="Uploads")
    uploads.get_by_text("long.mp4").wait_for()
    check_looks(page, "uploading")
    assert page.evaluate("window.dispatchEvent(new Event('beforeunload', {cancelable: true}))") is False, "it asks"
    line.carry(-1)
    uploads.wait_for(state="hidden")
    assert page.evaluate("window.dispatchEvent(new Event('beforeunload', {cancelable: true}))") is True
    page.get_by_role("link", name="New run").click()
    page.locator(".video").nth(2).wait_for()
    names = sorted(page.locator(".video .name").all_text_contents())
    assert names == ["hall.mp4", "long.mp4", "yard.mp4"]
    assert page.locator(".video :checked").count() == 3


def test_files_and_folders_are_dropped(page: Page, films: Path) -> None:
    clip = (films / "yard.mp4").read_bytes().hex()
    transfer = page.evaluate_handle(
        """(hex) => {
            const bytes = Uint8Array.from(hex.match(/../g), (pair) => parseInt(pair, 16));
            const transfer = new DataTransfer();
            for (const name of ["one.mp4", "two.mp4"])
                transfer.items.add(new File([bytes], name, { type: "video/mp4" }));
            return transfer;
        }""",
        clip,
    )
    page.dispatch_event(".drop", "drop", {"dataTransfer": transfer})
    for name in ("one.mp4", "two.mp4"):
        page.locator(".video", has_text=name).wait_for()


def test_it_goes_on_after_the_connection_broke_and_after_a_reload(page: Page, films: Path, options: WebOptions) -> None:
    line = Line(page)
    line.carry(5 * MEGABYTE)
    page.locator("#files").set_input_files(films / "long.mp4")
    uploads = page.get_by_role("region", name="Uploads")
    wait_until(page, "() => document.querySelector('.upload progress').value > 0.5")
    line.carry(0, offline=True)
    uploads.get_by_text("The connection broke. It goes on by itself.").wait_for()
    check_looks(page, "broken-upload")
    line.carry(2 * MEGABYTE)
    wait_until(page, "() => document.querySelector('.upload .said').textContent.includes('% of')")
    wait_until(page, f"async () => (await {COPIES}).length === 1")
    page.on("dialog", lambda dialog: dialog.accept())
    page.reload()
    wait_until(page, "() => document.querySelector('.upload progress')?.value > 0.35")
    with page.expect_popup() as opened:
        page.evaluate("() => { setTimeout(() => window.open(location.href)); }")
    opened.value.locator(".video, .empty, .drop").first.wait_for()
    assert opened.value.get_by_role("region", name="Uploads").is_hidden(), "one window alone sends it"
    opened.value.close()
    line.carry(-1)
    page.locator(".video", has_text="long.mp4").wait_for()
    (stored,) = (options.folder / "uploads").glob("*/long.mp4")
    assert stored.read_bytes() == (films / "long.mp4").read_bytes()
    uploads.wait_for(state="hidden")
    wait_until(page, f"async () => (await {COPIES}).length === 0")


@pytest.mark.slow
def test_without_a_copy_it_goes_on_when_the_file_is_added_again(page: Page, films: Path, options: WebOptions) -> None:
    page.add_init_script("indexedDB.open = () => { throw new DOMException('full', 'QuotaExceededError'); };")
    page.reload()
    line = Line(page)
    line.carry(5 * MEGABYTE)
    page.locator("#files").set_input_files(films / "long.mp4")
    uploads = page.get_by_role("region", name="Uploads")
    wait_until(page, "() => document.querySelector('.upload progress').value > 0.5")
    page.on("dialog", lambda dialog: dialog.accept())
    page.reload()
    uploads.get_by_text("has arrived. Add the same file again to go on.").wait_for()
    check_looks(page, "unfinished-upload")
    assert page.locator(".upload progress").evaluate("(bar) => bar.value") > 0.35
    line.carry(-1)
    page.locator("#files").set_input_files(films / "long.mp4")
    page.locator(".video", has_text="long.mp4").wait_for()
    (stored,) = (options.folder / "uploads").glob("*/long.mp4")
    assert stored.read_bytes() == (films / "long.mp4").read_bytes()
    uploads.wait_for(state="hidden")


@pytest.mark.slow
def test_what_cannot_be_taken_says_why_and_can_be_removed(page: Page, films: Path, options: WebOptions) -> None:
    (films / "no.mp4").write_bytes(b"hello" * 500)
    Line(page).carry(MEGABYTE)
    page.locator("#files").set_input_files([films / "no.mp4", films / "long.mp4"])
    uploads = page.get_by_role("region", name="Uploads")
    uploads.get_by_text("This is not a video, or it has a format that is not supported.").wait_for()
    check_looks(page, "failed-upload")
    uploads.get_by_role("button", name="Remove no.mp4").click()
    uploads.get_by_role("button", name="Stop long.mp4").click()
    uploads.wait_for(state="hidden")
    wait_until(page, "async () => (await (await fetch('api/uploads')).json()).length === 0")
    page.goto(f"{page.url}nowhere")
    page.get_by_role("heading", name="There is nothing here").wait_for()
    check_looks(page, "nowhere")
