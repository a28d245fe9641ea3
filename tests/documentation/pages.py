"""Reads the code blocks of Markdown pages, and runs them as a reader would: in order, in a folder of their own.

A block is run unless an HTML comment stands directly above it:

- ``<!-- not run: REASON -->``: it needs a network, hours, a camera, or files that are not part of the project. The
  options of its commands are still compared with ``--help``.
- ``<!-- needs: PACKAGE -->``: it is run where that package is installed.
- ``<!-- slow -->``: it is run only under ``python -m pytest -m slow``.

A block with a title writes a file (``python``, ``yaml``) or changes one (``diff``): the lines with ``+`` are put behind
the lines that stand above them in the block.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Block:
    """A fenced block: where it stands, its language, title and text, and what the comment above it says."""

    page: Path
    line: int
    language: str
    title: str | None
    text: str
    not_run: str | None
    slow: bool

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    def commands(self) -> Iterator[list[str]]:
        """Yield the words of each command of a shell block, those joined by ``&&`` one by one."""
        joined = self.text.replace("\\\n", " ")
        for line in joined.splitlines():
            words: list[str] = []
            for word in shlex.split(line, comments=True):
                if word in {"&&", "|", ";"}:
                    yield words
                    words = []
                else:
                    words.append(word)
            if words:
                yield words


def blocks_of(page: Path) -> list[Block]:
    """Return the fenced blocks of a page, in order."""
    blocks: list[Block] = []
    comment = ""
    lines = iter(enumerate(page.read_text(encoding="utf-8").splitlines(), 1))
    for number, line in lines:
        if opening := re.match(r"^(`{3,}|~{3,})\s*(\w*)\s*(.*)$", line):
            fence, language, attributes = opening.groups()
            text: list[str] = []
            for _, inner in lines:
                if inner.rstrip() == fence:
                    break
                text.append(inner)
            title = re.search(r'title="([^"]+)"', attributes)
            reason = re.search(r"<!--\s*not run:\s*(.+?)\s*-->", comment)
            package = re.search(r"<!--\s*needs:\s*(\S+)\s*-->", comment)
            absent = package is not None and importlib.util.find_spec(package[1]) is None
            blocks.append(
                Block(
                    page,
                    number,
                    language,
                    title[1] if title else None,
                    "\n".join(text) + "\n",
                    reason[1] if reason else "its package is missing" if absent else None,
                    "<!-- slow -->" in comment,
                )
            )
            comment = ""
        else:
            comment = line if line.startswith("<!--") else "" if line.strip() else comment
    return blocks


@dataclass(frozen=True)
class Workspace:
    """A folder that looks like a clone to a reader of the pages; nothing that is done in it touches the project."""

    folder: Path

    @classmethod
    def make(cls, folder: Path, own_code: bool = False) -> Workspace:
        """Lay out a clone in `folder`: links to the project or, with `own_code`, copies that may be changed."""
        for name in ("app", "tests", "checkpoints", "run_demo.py", "requirements.txt", "pyproject.toml"):
            source, target = ROOT / name, folder / name
            if source.is_file():  # Python looks for `app` beside the file that run_demo.py links to, so it is copied
                shutil.copy(source, target)
            elif own_code and name != "checkpoints":
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "golden", "e2e"))
            else:
                target.symlink_to(source)
        (folder / "input_videos").mkdir()
        python = folder / ".bin" / "python"
        python.parent.mkdir()
        python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        python.chmod(0o755)
        return cls(folder)

    def run_all(self, blocks: Sequence[Block]) -> None:
        """Run blocks in order. As imports are slow, Python blocks in a row share a process, but not their names."""
        for language, group in groupby(blocks, key=lambda block: None if block.title else block.language):
            together = list(group)
            if language == "python":
                script = "".join(f"exec(compile({b.text!r}, {str(b)!r}, 'exec'), {{}})\n" for b in together)
                self._execute([sys.executable, "-W", "error::UserWarning", "-c", script], together[0])
            else:
                for block in together:
                    self.run(block)

    def run(self, block: Block) -> None:
        """Run a block, or write or change the file that it shows; AssertionError tells what the command printed."""
        if block.title is not None and block.language == "diff":
            self._change(block)
        elif block.title is not None:
            path = self.folder / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
        elif block.language in {"sh", "bash"}:
            self._execute(["bash", "-euo", "pipefail", "-c", block.text], block)
        elif block.language == "python":
            self._execute([sys.executable, "-W", "error::UserWarning", "-c", block.text], block)

    def _execute(self, command: list[str], block: Block) -> None:
        path = os.pathsep.join([str(self.folder / ".bin"), os.environ.get("PATH", "")])
        environment = {**os.environ, "PATH": path, "PYTHONPATH": str(self.folder), "COLUMNS": "200"}
        ended = subprocess.run(
            command,
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=800,
        )
        assert ended.returncode == 0, f"{block} ended with {ended.returncode}:\n{block.text}\n{ended.stdout}"

    def _change(self, block: Block) -> None:
        assert block.title is not None
        path = self.folder / block.title
        before = "".join(f"{line[1:]}\n" for line in block.text.splitlines() if not line.startswith("+"))
        after = "".join(f"{line[1:]}\n" for line in block.text.splitlines())
        text = path.read_text(encoding="utf-8")
        assert text.count(before) == 1, f"{block}: {block.title} does not hold these lines exactly once:\n{before}"
        path.write_text(text.replace(before, after), encoding="utf-8")
