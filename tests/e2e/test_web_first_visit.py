"""A first visit in headless Chromium: the run that is offered on the built-in clips, and the first name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("fastapi", reason="needs the extra 'web'")
pytest.importorskip("playwright", reason="needs playwright")

from app.web.options import WebOptions
from tests.browser import check_looks, new_page
from tests.studio import served

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # with the networks that everybody uses

CLIPS = Path(__file__).resolve().parents[2] / "input_videos"
PATIENCE = 300_000.0  # ms


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    """The first page of an empty folder."""
    options = WebOptions(tmp_path / "web", tmp_path / "gallery.db", CLIPS)
    with served(options) as address, new_page() as page:
        page.goto(address)
        yield page


def named(page: Page) -> list[str]:
    """Return the names of the walks that are listed."""
    page.locator(".track .who").first.wait_for()
    return [name.removesuffix("?") for name in page.locator(".track .who").all_text_contents()]


def choose(page: Page, video: str) -> None:
    """Go to another video of a run, and wait until it is shown."""
    buttons = page.get_by_role("group", name="Videos")
    buttons.get_by_role("button", name=video).click()
    buttons.get_by_role("button", name=video, pressed=True).wait_for()


def test_one_click_shows_it_on_the_built_in_clips(page: Page, tmp_path: Path) -> None:
    page.get_by_role("button", name="See it on the built-in clips").click()
    page.locator(".progress .steps li", has_text="gallery.mp4").first.wait_for(timeout=PATIENCE)
    page.get_by_role("progressbar", name="The whole run").wait_for(timeout=PATIENCE)
    page.locator(".player").wait_for(timeout=PATIENCE)
    page.get_by_text("Compared with the people in gallery.mp4").wait_for()
    check_looks(page, "built-in")
    number = next(name for name in named(page) if name.startswith("gallery-"))

    held: list[Route] = []
    page.route("**/videos/0/boxes", lambda route: held.append(route))  # the answer about the gallery comes late
    page.get_by_role("group", name="Videos").get_by_role("button", name="gallery.mp4").click()
    with page.expect_response("**/videos/1/boxes"):
        page.get_by_role("group", name="Videos").get_by_role("button", name="probe1.mp4").click()
    with page.expect_response("**/videos/0/boxes"):
        held[0].continue_()
    page.unroute("**/videos/0/boxes")
    page.wait_for_timeout(300)
    assert page.locator(".player video").get_attribute("src", timeout=1000).endswith("P-probe1.mp4"), (  # type: ignore[union-attr]
        "what was chosen last is shown"
    )

    choose(page, "gallery.mp4")
    page.locator(".track", has=page.get_by_text(number, exact=True)).first.click()
    page.get_by_label("Name").fill("Anna")
    page.get_by_label("Consent of this person").fill("said yes")
    page.get_by_role("button", name="Enrol", exact=True).click()
    page.locator(".track", has_text="Annaenrolled").wait_for()
    choose(page, "probe1.mp4")
    page.locator(".track", has_text="Anna").first.wait_for()
    assert number not in named(page)
    with page.expect_download() as download:
        page.get_by_role("link", name="Table (CSV)").click()
    download.value.save_as(tmp_path / "results.csv")
    table = (tmp_path / "results.csv").read_text()
    assert ("Anna" in table, number in table) == (True, False)
    page.get_by_role("link", name="New run").click()
    page.get_by_role("heading", name="Latest runs").wait_for()
    assert page.get_by_role("button", name="See it on the built-in clips").count() == 0, (
        "this is no first visit any more"
    )
