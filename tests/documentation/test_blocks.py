"""Every code block of the README and of the guide is run, or says why it is not."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import pytest

from app.cli.main import main
from tests.documentation.pages import ROOT, Block, Workspace, blocks_of

DOCS = ROOT / "docs"
PAGES = [
    ROOT / "README.md",
    *sorted(DOCS.glob("guide/*.md")),
    *sorted(DOCS.glob("stages/*.md")),
    *sorted(DOCS.glob("python/*.md")),
]
EVERY_PAGE = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "checkpoints/README.md", *sorted(DOCS.rglob("*.md"))]
KNOWN = {"confidence.md", "live.md"}  # pages that begin with people who are enrolled
RUNNABLE = {"sh", "bash", "python"}


def to_run(page: Path, slow: bool) -> list[Block]:
    """Return what is run of a page: commands, code and the files that it shows; slow blocks only with `slow`."""
    blocks = [b for b in blocks_of(page) if (b.language in RUNNABLE or b.title) and not b.not_run]
    return [block for block in blocks if slow or not block.slow]


def pages(slow: bool) -> list[object]:
    """Return the pages that have something to run that is slow, or that is not."""
    there = [page for page in PAGES if any(b.slow == slow and b.language in RUNNABLE for b in to_run(page, True))]
    return [pytest.param(page, id=str(page.relative_to(ROOT))) for page in there]


@pytest.mark.timeout(900)  # on a busy machine
@pytest.mark.parametrize("page", pages(slow=False))
def test_blocks_run(page: Path, workspace: Callable[..., Workspace]) -> None:
    clone = workspace(known=page.name in KNOWN)
    clone.run_all(to_run(page, slow=False))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", pages(slow=True) or [pytest.param(None, marks=pytest.mark.skip("none is slow"))])
def test_slow_blocks_run(page: Path, workspace: Callable[..., Workspace]) -> None:
    clone = workspace(known=page.name in KNOWN)
    clone.run_all(to_run(page, slow=True))


@lru_cache
def help_of(words: tuple[str, ...]) -> str:
    """Return what ``python -m app WORDS --help`` prints."""
    import contextlib
    import io

    text = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
        patch.setenv("COLUMNS", "250")
        patch.setenv("TERMINAL_WIDTH", "250")
        main([*words, "--help"])
    return re.sub(r"\x1b\[[0-9;]*m", "", text.getvalue())


def wrong_options(words: list[str]) -> list[str]:
    """Return the options of a command of Gaitprint that its ``--help`` does not know, and unknown sub-commands."""
    if words[:2] == ["python", "run_demo.py"]:
        arguments = ["demo", *words[2:]]
    elif words[:3] == ["python", "-m", "app"]:
        arguments = words[3:]
    elif words[:1] == ["gaitprint"]:
        arguments = words[1:]
    else:
        return []
    first_option = next((i for i, word in enumerate(arguments) if word.startswith("-")), len(arguments))
    text = help_of(tuple(arguments[:first_option]))
    if "No such command" in text:
        return [" ".join(arguments[:first_option])]
    options = [word.partition("=")[0] for word in arguments if re.match(r"^--?[a-zA-Z]", word)]
    return [option for option in options if not re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", text)]


def shell_blocks() -> list[object]:
    return [pytest.param(b, id=str(b)) for page in EVERY_PAGE for b in blocks_of(page) if b.language in {"sh", "bash"}]


@pytest.mark.parametrize("block", shell_blocks())
def test_commands_and_options_exist(block: Block) -> None:
    for words in block.commands():
        assert not wrong_options(words), f"{' '.join(words)}: not in --help"
        for extra in re.findall(r"\.\[([\w,]+)\]", " ".join(words)):
            known = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
            for name in extra.split(","):
                assert re.search(rf"^{name} = \[", known, flags=re.MULTILINE), f"there is no extra '{name}'"


def test_a_wrong_option_or_command_is_noticed() -> None:
    assert wrong_options(["python", "run_demo.py", "--galery", "a.mp4"]) == ["--galery"]
    assert wrong_options(["python", "-m", "app", "gallery", "forget", "Anna", "--yes"]) == []
    assert wrong_options(["python", "-m", "app", "gallery", "forgive", "Anna"]) == ["gallery forgive Anna"]


def test_reasons_are_given() -> None:
    for page in EVERY_PAGE:
        for block in blocks_of(page):
            assert block.not_run is None or len(block.not_run.split()) >= 3, f"{block} does not say why it is not run"


PATH = re.compile(r"^(?:app|tests|checkpoints|docs|input_videos)(?:/[\w.{}*-]+)+/?$")


@pytest.mark.parametrize("page", [pytest.param(page, id=str(page.relative_to(ROOT))) for page in EVERY_PAGE])
def test_named_files_and_modules_exist(page: Path) -> None:
    """A page must not name a file or module of the project that is gone."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    missing = []
    for words in re.findall(r"`([^`\n]+)`", text):
        name = words.strip()
        if PATH.match(name) and not list(ROOT.glob(name)) and not written_by_a_run(name):
            missing.append(name)
        for module in re.findall(r"-m (tests\.[\w.]+)", name):
            place = ROOT / module.replace(".", "/")
            if not (place.with_suffix(".py").exists() or (place / "__main__.py").exists()):
                missing.append(module)
    assert not missing, f"{page.relative_to(ROOT)} names what is not there: {', '.join(missing)}"


def written_by_a_run(name: str) -> bool:
    """Whether a path is one that the program writes, or a folder that users make."""
    return name.startswith(
        ("checkpoints/fetched", "checkpoints/default", "checkpoints/detector", "checkpoints/gait")
    ) or any(block.title == name for page in DOCS.rglob("*.md") for block in blocks_of(page))


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 200
