"""The page of the settings says what the code says."""

from __future__ import annotations

from tests.documentation.settings_page import PAGE, render


def test_the_page_is_up_to_date() -> None:
    written = PAGE.read_text(encoding="utf-8")
    assert written == render(), "write it again: python -m tests.documentation.settings_page"
