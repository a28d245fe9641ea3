"""Parsers of body parts: one implementation per file.

`load_parser` builds the one you name, or the best one that is found. Nothing heavy is imported until then.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from app.stages import Parser

__all__ = ["load_parser"]


def load_parser(checkpoint: Path | str | None = None, name: str = "auto", **settings: Any) -> Parser:
    """Load a parser, which says which part of the body each px of a person shows.

    Arguments and errors are those of `app.detect.load_detector`; the settings are those of
    `app.settings.ParserSettings`.
    """
    from app.weights.registry import parsers

    return parsers.load(checkpoint, name, settings)
