from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import SettingsError
from app.settings import Settings


def test_defaults_are_the_dataclasses_own() -> None:
    assert Settings.load() == Settings()


def test_file_then_assignment_then_option(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("track: {high_score: 0.4, new_score: 0.5}\noutput: {folder: here}\ncheckpoints: weights\n")
    settings = Settings.load(config, ["track.high_score=0.3"], {"output.folder": Path("there")})
    assert settings.track.high_score == 0.3
    assert settings.track.new_score == 0.5
    assert settings.output.folder == Path("there")
    assert settings.checkpoints == Path("weights")


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("track.high_scor=0.3", "'track.high_score'"),
        ("trak.high_score=0.3", "'track'"),
        ("high_score=0.3", "'track.high_score'"),
        ("track.high_score", "section.key=value"),
        ("track.high_score=much", "track.high_score"),
        ("track=3", "is a section"),
        ("match.metric=manhattan", "match.metric"),
        ("detector.input_size=[1,2,3]", "detector.input_size"),
    ],
)
def test_bad_assignment_is_named(assignment: str, said: str) -> None:
    with pytest.raises(SettingsError, match=assignment.split("=")[0].split(".")[0]) as caught:
        Settings.load(None, [assignment])
    assert said in str(caught.value)


@pytest.mark.parametrize("content", ["[1, 2]", "a: b: c", "\x00"])
def test_bad_file_is_named(tmp_path: Path, content: str) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(content)
    with pytest.raises(SettingsError, match=r"c\.yaml"):
        Settings.load(config)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.yaml"):
        Settings.load(tmp_path / "nowhere.yaml")


def test_values_take_their_types() -> None:
    settings = Settings.load(
        None, ["detector.input_size=[608, 1088]", "segmenter.checkpoint=a/b.onnx", "detector.threads=2"]
    )
    assert settings.detector.input_size == (608, 1088)
    assert settings.segmenter.checkpoint == Path("a/b.onnx")
