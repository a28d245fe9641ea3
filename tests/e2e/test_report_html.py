"""report.html of a real run, and in a real browser where there is one."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from app.cli.main import main
from app.types import Image
from tests.browser import check_looks
from tests.e2e.conftest import weight_free
from tests.unit.test_report_page import long_page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


def run(folder: Path, *settings: str) -> Path:
    """Run the main job on one probe and return the newest folder of results."""
    arguments = ["--probe", "probe1.mp4", "--output", str(folder)]
    for setting in ("output.summary=false", *settings):
        arguments += ["--set", setting]
    assert main(["demo", *arguments, *weight_free(arguments)]) == 0
    return max((folder / "OutputVideos").iterdir(), key=lambda path: (path.stat().st_mtime_ns, path.name))


@pytest.fixture(scope="module")
def output(studio: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("reported")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(studio)
        yield folder


@pytest.fixture(scope="module")
def result(output: Path) -> Path:
    return run(output)


def frames(video: Path) -> list[Image]:
    with av.open(str(video)) as opened:
        return [np.asarray(picture.to_ndarray(format="bgr24"), np.uint8) for picture in opened.decode(video=0)]


def heads(folder: Path, name: str) -> list[tuple[int, tuple[slice, slice]]]:
    """Frames with the place of each head in the probe, inside the painted box."""
    report = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    video = report["gallery"] if name == "gallery" else report["probes"][0]
    found = []
    for track in video["tracks"]:
        for index, (x1, y1, x2, y2) in zip(track["frames"], track["boxes"], strict=True):
            if min(x1, y1) > 4 and x2 < 316:
                rows = slice(round(y1) + 5, round(y1 + (y2 - y1) / 6))
                found.append((index, (rows, slice(round(x1) + 5, round(x2) - 5))))
    return found


def test_each_run_has_a_page_with_pictures_of_everybody(result: Path, studio: Path) -> None:
    html = (result / "report.html").read_text(encoding="utf-8")
    report = json.loads((result / "results.json").read_text(encoding="utf-8"))
    usable = [t for video in (report["gallery"], *report["probes"]) for t in video["tracks"] if t["candidates"]]
    assert usable
    assert html.count('class="crop"') >= len(usable)
    assert html.count('class="energy"') >= len(usable)
    assert 'src="G-gallery_P-probe1.mp4"' in html
    assert 'src="gallery.mp4"' in html
    assert str(studio) not in html
    assert len(html) < 400_000
    assert report["timings"]["report"] < report["timings"]["total"]


def test_no_page_where_none_is_wanted_and_videos_in_it_where_they_are(output: Path, result: Path) -> None:
    assert not (run(output, "output.report=false") / "report.html").exists()
    html = (run(output, "output.embed_videos=true") / "report.html").read_text(encoding="utf-8")
    assert html.count('src="data:video/mp4;base64,') == 2
    assert '.mp4"' not in re.sub(r'aria-label="[^"]*"', "", html)


def test_faces_are_blurred_in_videos_and_the_page(output: Path, result: Path) -> None:
    blurred = run(output, "output.blur=faces")
    name = "G-gallery_P-probe1"
    before, after = frames(result / f"{name}.mp4"), frames(blurred / f"{name}.mp4")
    places = heads(result, name)
    assert len(places) > 20
    detail = [
        np.abs(np.diff(f[index][place].astype(int), axis=1)).max() for f in (before, after) for index, place in places
    ]
    sharp, soft = np.median(detail[: len(places)]), np.median(detail[len(places) :])
    assert soft < 0.7 * sharp
    feet = [(index, (slice(rows.stop + 20, rows.stop + 40), columns)) for index, (rows, columns) in places]
    assert np.median([np.abs(before[i][p].astype(int) - after[i][p]).mean() for i, p in feet]) < 5
    crops = [
        re.findall(r'class="crop" src="([^"]+)"', (f / "report.html").read_text("utf-8")) for f in (result, blurred)
    ]
    assert len(crops[0]) == len(crops[1])
    assert not set(crops[0]) & set(crops[1])


def test_the_page_in_a_browser(result: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    complaints: list[str] = []
    asked: list[str] = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page: Any = browser.new_page(viewport={"width": 360, "height": 740}, reduced_motion="reduce")
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto((result / "report.html").as_uri())
        check_looks(page, "report")
        page.wait_for_function("document.querySelector('#probe-1-video').readyState > 0")
        bar = page.locator("#probe-1 .span.identified, #probe-1 .span.unknown").last
        bar.focus()
        page.keyboard.press("Enter")
        wanted = float(bar.get_attribute("data-seek"))
        page.wait_for_function(f"Math.abs(document.querySelector('#probe-1-video').currentTime - {wanted}) < 0.05")
        page.locator(".matrix td[tabindex='0']").focus()
        first = page.inner_text(".says")
        page.keyboard.press("ArrowRight")
        assert page.inner_text(".says") != first
        assert page.locator(".matrix td[tabindex='0']").count() == 1
        browser.close()
    assert not complaints
    assert {Path(url).name for url in asked if not url.startswith("data:")} == {
        "report.html",
        "gallery.mp4",
        "G-gallery_P-probe1.mp4",
    }


@pytest.mark.slow
def test_a_long_video_is_seen_at_a_glance_and_printed_whole(tmp_path: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    (tmp_path / "report.html").write_text(long_page(), encoding="utf-8")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page: Any = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto((tmp_path / "report.html").as_uri())
        overview = page.evaluate("document.querySelector('.all').getBoundingClientRect().top")
        assert overview < 3 * 900
        page.get_by_text("All 200 walks").click()
        page.get_by_role("searchbox").fill("person-007")
        found = page.locator(".all .track:visible")
        assert 0 < found.count() < 100
        assert all("person-007" in text for text in found.all_inner_texts())
        page.set_viewport_size({"width": 390, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= 390  # wide tables scroll by themselves
        page.emulate_media(media="print")
        page.set_viewport_size({"width": 680, "height": 900})  # the width of a printed A4 page
        assert page.evaluate("document.querySelector('.matrix').getBoundingClientRect().right") <= 680
        browser.close()
