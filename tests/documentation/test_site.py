"""The site is built strictly, and its pages load nothing from the network."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.documentation.pages import ROOT

LOADED = re.compile(
    r"""(?:<(?:script|img|iframe|source|video|audio|link)\b[^>]*?\b(?:src|href)=|url\()["']?(https?://[^"')\s>]+)"""
)
NOT_LOADED = (
    "canonical",
    "next",
    "prev",
    "alternate",
)  # links that say where a page belongs; browsers do not fetch them


def foreign(text: str) -> list[str]:
    """Return the addresses of other hosts that a browser would load for a page or stylesheet."""
    kept = re.sub(rf"<link[^>]*\brel=[\"']?(?:{'|'.join(NOT_LOADED)})\b[^>]*>", "", text)
    return LOADED.findall(kept)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("zensical") is None, reason="needs the extra docs (Python 3.11)")
def test_the_site_is_built_strictly_and_loads_nothing_foreign(tmp_path: Path) -> None:
    for name in ("docs", "app", "checkpoints"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "*.onnx"))
    for name in ("mkdocs.yml", "CHANGELOG.md"):
        shutil.copy(ROOT / name, tmp_path)
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    site = tmp_path / "site"
    assert (site / "python" / "reference.html").read_text(encoding="utf-8").count("doc-heading") > 20
    pages = [*site.rglob("*.html"), *site.rglob("*.css")]
    assert len(pages) > 40
    wrong = {page.name: found for page in pages if (found := foreign(page.read_text(encoding="utf-8")))}
    assert not wrong


@pytest.mark.parametrize(
    "text",
    [
        '<script src="https://cdn.example/a.js">',
        '<link rel="stylesheet" href="https://fonts.example/css">',
        "@font-face { src: url(https://fonts.example/a.woff2) }",
        "<img alt='' src='http://example/a.png'>",
    ],
)
def test_foreign_addresses_are_noticed(text: str) -> None:
    assert foreign(text)


@pytest.mark.parametrize(
    "text", ['<a href="https://example/">', '<link rel="canonical" href="https://x/">', "<img src='a.png'>"]
)
def test_links_that_are_only_followed_are_allowed(text: str) -> None:
    assert not foreign(text)
