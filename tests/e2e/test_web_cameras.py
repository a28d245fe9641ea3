"""Cameras on the page, in headless Chromium: a video in place of a camera is watched, and people are followed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image as Picture

pytest.importorskip("fastapi", reason="needs the extra 'web'")
pytest.importorskip("playwright", reason="needs playwright")

from app.web.options import WebOptions
from tests.browser import check_looks, new_page
from tests.clips import Walker, crossing, write_clip
from tests.studio import served

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

WEIGHT_FREE = ("detector.name=motion", "segmenter.name=motion", "gait.name=gei")
PATIENCE = 120_000.0  # ms


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    (tmp_path / "input").mkdir()
    people = [Walker(walker, 4 + walker) for walker in (1, 2)]
    scene = crossing(people, gap=0.7, first=-0.7, seconds=2.8, width=256, height=192, fps=Fraction(20), seed=1)
    write_clip(tmp_path / "input" / "yard.mp4", scene)
    options = WebOptions(tmp_path / "web", tmp_path / "gallery.db", tmp_path / "input", assignments=WEIGHT_FREE)
    with served(options) as address, new_page(expected="status of (404|422)") as page:
        page.goto(f"{address}/live")
        page.get_by_role("heading", name="Live", exact=True).wait_for()
        yield page


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_cameras_are_tried_added_watched_and_removed(page: Page, tmp_path: Path) -> None:
    page.get_by_label("Name").fill("Yard")
    page.get_by_label("Address").fill("http://127.0.0.1:9/x")
    page.get_by_role("button", name="Test").click()
    page.get_by_text("nothing listens at this port").wait_for(timeout=PATIENCE)
    page.get_by_label("Or play a video").select_option(label="yard.mp4")
    page.get_by_role("button", name="Test").click()
    page.get_by_role("img", name="Test picture").wait_for(timeout=PATIENCE)
    check_looks(page, "camera-test")
    page.get_by_role("button", name="Add", exact=True).click()
    page.get_by_role("img", name="Yard: somebody unknown").wait_for(timeout=PATIENCE)
    page.locator(".events li", has_text="Somebody has come into view").first.wait_for(timeout=PATIENCE)
    page.locator(".camera .hint", has_text="dropped").wait_for(timeout=PATIENCE)
    page.locator(".camera .hint", has_text="ms late").wait_for(timeout=PATIENCE)
    check_looks(page, "live")
    with page.expect_download() as download:
        page.get_by_role("button", name="Snapshot").click()
    download.value.save_as(tmp_path / "snapshot.png")
    assert Picture.open(tmp_path / "snapshot.png").size == (256, 192)
    page.get_by_role("button", name="Stop watching").click()
    page.get_by_text("not watched").wait_for()
    # The answer comes when the page has been shown anew meanwhile, for another reason.
    held: list[Route] = []
    page.route("**/live/cameras/Yard", lambda route: held.append(route))
    page.get_by_role("button", name="Remove Yard").click()
    page.get_by_role("button", name="Remove", exact=True).click()
    page.get_by_role("button", name="Watch again").click()
    page.get_by_role("button", name="Stop watching").wait_for()
    held[0].continue_()
    page.locator(".camera").wait_for(state="detached")


@pytest.mark.slow
def test_no_label_covers_another_where_there_is_room(page: Page) -> None:
    boxes = [[90 + 45 * person, 300, 125 + 45 * person, 390] for person in range(4)]  # side by side in an upright video
    found = page.evaluate(
        "async (boxes) => (await import('./js/live.js')).places(boxes, [70, 80, 120, 90], 26, 480, 854)", boxes
    )
    spans = [(x, x + wide, y, y + 26) for (x, y), wide in zip(found, (70, 80, 120, 90), strict=True)]
    assert len(spans) == 4
    for one, other in itertools.combinations(spans, 2):
        assert one[1] <= other[0] or other[1] <= one[0] or one[3] <= other[2] or other[3] <= one[2], spans
    assert all(x >= 0 and end <= 480 for x, end, _, _ in spans)
