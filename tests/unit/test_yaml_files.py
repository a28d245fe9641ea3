"""The reader of YAML: what it returns, and that every mistake is named with its place."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from app.errors import CheckpointError, SettingsError
from app.settings import Settings
from app.yaml_files import parse_yaml, read_yaml, validated


@dataclass(frozen=True)
class Box:
    width: int
    folder: Path = Path()

    def __post_init__(self) -> None:
        if self.width < 0:
            raise ValueError("no box is narrower than nothing")


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
        ({"width": -1}, "^box cannot be used: no box is narrower than nothing"),
        ([], r"box must hold lines such as 'name: value', not \[\]\."),
        (None, "not None"),
    ],
)
def test_values_that_cannot_be_used_are_named(content: Any, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        validated(Box, content, "box", SettingsError)


def nested(depth: int, open_: str, close: str) -> str:
    return open_ * depth + "1" + close * depth


LAUGHS = "[&a [x, x, x, x, x, x, x, x, x]," + ",".join(
    f"&{this} [{', '.join([f'*{last}'] * 9)}]" for last, this in pairwise("abcdefgh")
)
HOSTILE = {
    "deep lists": (nested(5000, "[", "]"), "inside of each other"),
    "deep sections": (nested(2000, "{a: ", "}"), "inside of each other"),
    "aliases of aliases": (f"{LAUGHS}]", "values, counting what its aliases stand for"),
    "an alias of itself": ("&a [*a]", "stands inside of what it stands for"),
    "an alias in a merge": ("{<<: &a {x: *a}}", "stands inside of what it stands for"),
    "many values": ("[" + "1," * 40_000 + "]", "more than 20000 values"),
    "a date that is none": ("2026-13-01", "month must be in"),
    "an hour that is none": ("2026-01-01 25:00:00", "hour must be in"),
    "a long number": ("9" * 6000, "a value of 6000 characters"),
    "a long number in bits": ("0b" + "1" * 100_000, "a value of 100002 characters"),
    "a long key": (f"? {'k' * 200_000}\n: 1", "a value of 200000 characters"),
    "a long time of day": (":".join(["59"] * 20_000) + ".5", "a value of"),
    "a time of day beyond all numbers": (":".join(["59"] * 900) + ".5", "cannot be read"),
    "a wrong number": ("!!int ''", "cannot be read"),
    "a wrong float": ("!!float x", "cannot be read"),
    "a wrong truth": ("!!bool x", "cannot be read"),
    "a wrong time": ("!!timestamp x", "cannot be read"),
    "code": ("!!python/object/apply:os.system [ls]", "is not YAML"),
    "a surrogate": ("\ud800", "is not YAML"),
    "an escaped surrogate": ('"\\ud800"', "half a character"),
    "a key with a surrogate": ('{"a\\udfff": 1}', "half a character"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_yaml_is_refused_at_once(what: str) -> None:
    text, message = HOSTILE[what]
    begun = time.process_time()
    with pytest.raises(SettingsError, match=f"The file.*{message}") as caught:
        parse_yaml(text, "The file", SettingsError)
    assert time.process_time() - begun < 30  # without limits, aliases of aliases take longer than anybody waits
    assert len(str(caught.value)) < 400
    with pytest.raises(SettingsError) as caught:
        Settings.load(assignments=[f"match.threshold={text}"])
    assert len(str(caught.value)) < 500


def test_aliases_are_allowed() -> None:
    assert parse_yaml("{a: &x [1, 2], b: *x, c: {<<: &y {d: 3}, e: 4}}", "it", SettingsError) == {
        "a": [1, 2],
        "b": [1, 2],
        "c": {"d": 3, "e": 4},
    }


def test_only_files_of_a_settings_size_are_read(tmp_path: Path) -> None:
    large, pipe = tmp_path / "large.yaml", tmp_path / "pipe.yaml"
    large.write_bytes(b"# a comment\n" * 200_000)
    places = [(large, "is larger than 1 MiB"), (tmp_path, "is not a file"), (Path(os.devnull), "is not a file")]
    if hasattr(os, "mkfifo"):  # Windows has none
        os.mkfifo(pipe)
        places.append((pipe, "is not a file"))
    for path, message in places:
        with pytest.raises(SettingsError, match=message):
            read_yaml(path, SettingsError)


def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "box.yaml"
    path.write_bytes(b"\xef\xbb\xbfwidth: 3\n")
    assert read_yaml(path, SettingsError) == {"width": 3}


@pytest.mark.parametrize(
    ("text", "key", "lines"),
    [
        ("a: 1\nb: 2\na: 3\n", "a", "in line 1 and in line 3"),
        ("{far: 1, far: 2}", "far", "in line 1 and in line 1"),
        ("match:\n  far: 1\n  k: 1\n  far: 2\n", "far", "in line 2 and in line 4"),
        ("- {x: {y: 1, y: 1}}", "y", "in line 1"),
        ("a: &a {k: 1, k: 2}\nb: *a\nc: *a\n", "k", "in line 1"),
    ],
)
def test_a_key_that_stands_twice_is_named(text: str, key: str, lines: str, caplog: pytest.LogCaptureFixture) -> None:
    parse_yaml(text, "box.yaml", SettingsError)
    (message,) = caplog.messages
    assert message.startswith(f"box.yaml: '{key}' stands twice in a section, {lines}")
    caplog.clear()
    assert parse_yaml("a: {k: 1}\nb: {k: 2}\n", "box.yaml", SettingsError) == {"a": {"k": 1}, "b": {"k": 2}}
    assert not caplog.messages
