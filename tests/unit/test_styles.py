"""The style sheets of the web page and the report."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import app

SHEETS = ["web/pages/page.css", "results/page.css"]


@pytest.mark.parametrize("sheet", SHEETS)
def test_no_name_is_cut_off(sheet: str) -> None:
    # People of one video differ in the last digits of their names, and files of one camera in the last of theirs.
    rules = re.findall(r"([^{}]+)\{([^{}]*)\}", (Path(app.__file__).parent / sheet).read_text(encoding="utf-8"))
    assert rules
    assert not [selector for selector, style in rules if "text-overflow" in style or "line-clamp" in style]
