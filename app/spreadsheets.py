"""Cells of tables that people open in a spreadsheet, which takes texts such as the name ``=1+1`` for formulas."""

from __future__ import annotations

from typing import Any

_BEGIN_FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n")


def cell(value: Any) -> Any:
    """Return a value as it is written into a CSV file.

    A text that a spreadsheet would take for a formula gets a ``'`` in front. Other values are left as they are.
    """
    if not isinstance(value, str):
        return value
    text = value.replace("\r", " ")  # which begins a new row where it is written without quotes
    return f"'{text}" if value.startswith(_BEGIN_FORMULAS) else text


def text_of(written: str) -> str:
    """Return the text that `cell` wrote, without the ``'`` in front."""
    return written[1:] if written.startswith("'") and written[1:].startswith(_BEGIN_FORMULAS) else written
