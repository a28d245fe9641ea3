"""Headless Chromium for tests of pages, and what every page must look like."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]
_WINDOWS = {"laptop": (1200, 800), "phone": (360, 740)}
_PICTURES = os.environ.get("GAITPRINT_TEST_PICTURES")
"""A folder for pictures of all states, for people who look at them."""


@contextmanager
def new_page(expected: str = "(?!)") -> Iterator[Page]:
    """Open a window as wide as a laptop's. Errors of its scripts fail the test when it ends, but those that match
    `expected`.
    """
    from playwright.sync_api import sync_playwright

    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_ARGUMENTS)
        page = browser.new_page(viewport={"width": 1200, "height": 800})
        page.set_default_timeout(30_000)
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        yield page
        browser.close()
        assert [error for error in errors if not re.search(expected, error)] == []


def wait_until(page: Page, condition: str) -> None:
    """Wait until a condition in JavaScript holds. Playwright's own way used ``eval`` once, which our pages forbid."""
    end = time.monotonic() + 60
    while not page.evaluate(condition):
        assert time.monotonic() < end, f"it does not come to this: {condition}"
        page.wait_for_timeout(50)


def check_looks(page: Page, name: str) -> None:
    """Check the page as it is now on laptop and phone, light and dark: it is not too wide, axe finds no violation, and
    nothing is shown that only programs say.

    Without axe (package axe-playwright-python), only the width is checked.
    """
    before = page.viewport_size
    assert before is not None
    words = page.locator("main").inner_text().split()
    assert not {"false", "undefined", "null", "NaN", "falsefalse", "[object"} & set(words), f"{name}: {words}"
    for window, (width, height) in _WINDOWS.items():
        page.set_viewport_size({"width": width, "height": height})
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, f"{name} is {wide} px wide on a {window}"
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            _check_axe(page, f"{name}, {window}, {scheme}")
            if _PICTURES:
                page.screenshot(path=Path(_PICTURES) / f"{name}-{window}-{scheme}.png", full_page=window == "phone")
    page.emulate_media(color_scheme="light")
    page.set_viewport_size(before)


def _check_axe(page: Page, where: str) -> None:
    try:
        from axe_playwright_python.sync_playwright import Axe
    except ModuleNotFoundError:
        return
    found = Axe().run(page).response["violations"]
    told = [f"{one['id']}: {node['html'][:200]}" for one in found for node in one["nodes"]]
    assert not told, f"{where}: {told}"
