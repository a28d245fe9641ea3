"""The page of the settings says what the code says."""

from __future__ import annotations

from dataclasses import fields, is_dataclass

from app.settings import Settings
from tests.documentation.settings_page import PAGE, descriptions, render


def test_the_page_is_up_to_date() -> None:
    written = PAGE.read_text(encoding="utf-8")
    assert written == render(), "write it again: python -m tests.documentation.settings_page"


def test_every_setting_is_explained() -> None:
    owners = [type(value) for field in fields(Settings) if is_dataclass(value := getattr(Settings(), field.name))]
    silent = [f"{owner.__name__}.{name}" for owner in owners for name, text in descriptions(owner).items() if not text]
    assert not silent, f"without a docstring in app/settings.py: {', '.join(silent)}"
