"""How implementations are found, named and chosen."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from app.errors import CheckpointError, SettingsError
from app.weights.checkpoints import CheckpointFile
from app.weights.registry import PINS, Registry, detectors, gait_models, segmenters


def suffix(wanted: str) -> Any:
    def accepts(path: Path) -> bool:
        if path.name.startswith("bad"):
            raise CheckpointError(f"{path} is broken")
        return path.suffix == wanted

    return accepts


@pytest.fixture
def registry() -> Registry[Any, Any]:
    """Two implementations with files, one without."""
    made: Registry[Any, Any] = Registry(
        "detector", "app.detect", ("detector", "old_model", "embedded/detector"), "plain"
    )
    made._imported = True  # nothing of the real package
    for name, accepts in (("red", suffix(".red")), ("blue", suffix(".blue")), ("plain", None)):

        def build(checkpoint: CheckpointFile | None, settings: Any) -> Any:
            return checkpoint, settings

        assert made.register(name, licence="MIT", about=f"reads {name}", accepts=accepts)(build) is build
    return made


def put(folder: Path, *names: str) -> Path:
    for size, name in enumerate(names, 1):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"0" * size)
    return folder


def test_names_are_unique_and_sorted(registry: Registry[Any, Any]) -> None:
    assert [entry.name for entry in registry.entries()] == ["blue", "plain", "red"]
    with pytest.raises(ValueError, match="two detectors are called 'red'"):
        registry.register("red", licence="MIT", about="again")(lambda checkpoint, settings: None)


def test_unknown_names_get_the_nearest(registry: Registry[Any, Any]) -> None:
    with pytest.raises(SettingsError, match="Did you mean 'blue'"):
        registry.get("bleu")
    with pytest.raises(SettingsError, match="Known: blue, plain, red"):
        registry.get("xyzzy")


def test_the_users_file_decides(registry: Registry[Any, Any], tmp_path: Path) -> None:
    put(tmp_path, "mine.red", "detector/other.blue", "detector/deep/down.red")
    choice = registry.choose("auto", tmp_path / "mine.red", (tmp_path,))
    entry, file = choice.entry, choice.file
    assert (entry.name, file) == ("red", CheckpointFile(tmp_path / "mine.red", "given"))
    choice = registry.choose("auto", Path("down.red"), (tmp_path,))
    entry, file = choice.entry, choice.file
    assert (entry.name, file) == ("red", CheckpointFile(tmp_path / "detector/deep/down.red", "given"))
    with pytest.raises(CheckpointError, match=r"mine\.red is not a checkpoint for the detector 'blue'"):
        registry.choose("blue", tmp_path / "mine.red", (tmp_path,))
    with pytest.raises(CheckpointError, match="for the detector 'plain'"):
        registry.choose("plain", tmp_path / "mine.red", (tmp_path,))
    with pytest.raises(CheckpointError, match=r"Did you mean 'mine\.red'"):
        registry.choose("auto", tmp_path / "mime.red", (tmp_path,))
    with pytest.raises(CheckpointError, match=r"can read\. It reads: blue: reads blue; red: reads red"):
        registry.choose("auto", put(tmp_path, "odd.green") / "odd.green", (tmp_path,))


def test_what_is_found_comes_in_order(
    registry: Registry[Any, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def chosen(name: str = "auto") -> tuple[str, str | None, str | None]:
        choice = registry.choose(name, None, (tmp_path,))
        file = choice.file
        return choice.entry.name, file.path.name if file else None, file.origin if file else None

    assert chosen() == ("plain", None, None)
    put(tmp_path, "embedded/detector/own.red")
    assert chosen() == ("red", "own.red", "embedded")
    put(tmp_path, "old_model/small.blue")
    assert chosen() == ("blue", "small.blue", "found")
    put(tmp_path, "detector/a.red", "detector/b.blue", "detector/notes.md")
    assert chosen() == ("red", "a.red", "found"), "by name, not by size"
    assert chosen("blue") == ("blue", "b.blue", "found")
    assert chosen("plain") == ("plain", None, None)
    with caplog.at_level(logging.WARNING):
        put(tmp_path, "detector/another.green", *(f"detector/bad{number}.red" for number in range(9)))
        assert chosen() == ("red", "a.red", "found")
    assert "Not used" in caplog.text
    assert "bad8.red is broken" in caplog.text
    assert "another.green is not a detector checkpoint" in caplog.text


def test_the_choice_says_why_and_equal_files_are_told(
    registry: Registry[Any, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def reason() -> str:
        caplog.clear()
        return registry.choose("auto", None, (tmp_path,)).reason

    assert "no network was found" in reason()
    assert "'plain' is used" in caplog.text, "never weak in silence"
    assert "--detector plain" in caplog.text
    assert registry.choose("plain", None, (tmp_path,)).reason.startswith("you chose it")
    put(tmp_path, "embedded/detector/own.red")
    assert reason() == "it comes with Gaitprint, and you have no usable file of your own"
    assert not caplog.records
    put(tmp_path, "detector/yolox-m/x.red", "detector/bytetrack-x/x.red", "detector/yolox-x/x.red")
    assert "list of published checkpoints" in reason()
    assert "(bytetrack-x)" in reason()
    assert not caplog.records, "the published ones have an order"
    put(tmp_path, "detector/mine.red")
    assert reason() == f"it is your own file in {tmp_path / 'detector'}"
    assert not caplog.records
    put(tmp_path, "detector/zoe/other.blue", "old_model/third.red")
    assert reason() == f"it is your own file in {tmp_path / 'detector'}"
    (record,) = caplog.records
    for words in ("mine.red, zoe/other.blue", "'mine.red' is used", f"'detector: FILE' into {tmp_path / PINS}"):
        assert words in record.getMessage()
    assert registry.choose("auto", tmp_path / "old_model/third.red", (tmp_path,)).reason.startswith("you gave it")


@pytest.mark.parametrize(
    ("pin", "chosen"),
    [
        ("detector/b.red", ("red", "detector/b.red")),
        ("b.red", ("red", "detector/b.red")),
        ("yolox-x", ("blue", "detector/yolox-x/net.blue")),
        ("blue", ("blue", "detector/yolox-x/net.blue")),
        ("plain", ("plain", None)),
    ],
)
def test_pins(
    registry: Registry[Any, Any], tmp_path: Path, pin: str, chosen: tuple[str, str | None], caplog: Any
) -> None:
    put(tmp_path, "detector/a.red", "detector/b.red", "detector/yolox-x/net.blue")
    (tmp_path / PINS).write_text(f"gait: gei\ndetector: {pin}\n")
    roots = (tmp_path, tmp_path / "elsewhere")
    choice = registry.choose("auto", None, roots)
    found = str(choice.file.path.relative_to(tmp_path)) if choice.file else None
    assert (choice.entry.name, found) == chosen
    assert choice.reason == f"{tmp_path / PINS} pins it"
    assert not caplog.records, "a pin settles it"
    other = registry.choose("auto", tmp_path / "detector/a.red", roots)
    assert other.file is not None
    assert other.file.path.name == "a.red", "what is given comes before the pin"
    assert registry.choose("plain", None, roots).entry.name == "plain"


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        ("detector: [", SettingsError, r"default\.yaml is not YAML"),
        ("detectr: a.red", SettingsError, "Its keys are detector, segmenter, pose, body, parser, gait"),
        ("- a.red", SettingsError, "must hold lines such as 'detector: FILE'"),
        ("detector: c.red", CheckpointError, r"pins 'c\.red' for the detector: There is no checkpoint"),
        ("detector: [a.red]", CheckpointError, "There is no checkpoint"),
        ("detector: blue", SettingsError, "pins the detector 'blue', but"),
    ],
)
def test_pins_that_cannot_be_used(
    registry: Registry[Any, Any], tmp_path: Path, content: str, error: type[Exception], message: str
) -> None:
    put(tmp_path, "detector/a.red")
    (tmp_path / PINS).write_text(content)
    with pytest.raises(error, match=message) as caught:
        registry.choose("auto", None, (tmp_path,))
    assert str(tmp_path / PINS) in str(caught.value)


def test_a_name_that_needs_a_file_says_where_to_put_it(registry: Registry[Any, Any], tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="needs a checkpoint and none was found") as caught:
        registry.choose("red", None, (tmp_path,))
    assert str(tmp_path / "old_model") in str(caught.value)
    assert "--detector-checkpoint FILE" in str(caught.value)


@pytest.mark.parametrize("registry", [detectors, segmenters, gait_models], ids=lambda registry: str(registry.stage))
def test_every_stage_has_a_variant_without_weights_and_says_what_it_has(registry: Registry[Any, Any]) -> None:
    assert registry.get(registry.fallback).accepts is None
    for entry in registry.entries():
        assert entry.name == entry.name.lower()
        assert entry.about
        assert entry.licence
    choice = registry.choose("auto", None, (Path("no such folder"),))
    entry, file = choice.entry, choice.file
    assert (entry.name, file) == (registry.fallback, None)
