"""The reader of YAML: what it returns, and that every mistake is named with its place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from app.errors import CheckpointError, SettingsError
from app.yaml_files import parse_yaml, read_yaml, validated


@dataclass(frozen=True)
class Box:
    width: int
    folder: Path = Path()


def test_a_file_becomes_a_dataclass(tmp_path: Path) -> None:
    path = tmp_path / "box.yaml"
    path.write_text("width: 3\nfolder: a/b\n")
    assert validated(Box, read_yaml(path, SettingsError), str(path), SettingsError) == Box(3, Path("a/b"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"box\.yaml cannot be read: No such file"),
        (b"\xff\xfe\x00", r"box\.yaml is not a text file in UTF-8"),
        (b"a: 1\nb: [", r"box\.yaml is not YAML \(line 2\): "),
    ],
)
def test_files_that_cannot_be_read_are_named(content: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "box.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        read_yaml(path, CheckpointError)


def test_an_option_that_is_not_yaml_is_named() -> None:
    with pytest.raises(SettingsError, match=r"--set a=\[ is not YAML"):
        parse_yaml("[", "--set a=[", SettingsError)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "box: 'width' is missing"),
        ({"width": "wide"}, "box: 'width' cannot be used: Input should be a valid integer"),
        ([], "box: Input should be"),
    ],
)
def test_values_that_cannot_be_used_are_named(content: Any, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        validated(Box, content, "box", SettingsError)
