from __future__ import annotations

from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from app.errors import SettingsError
from app.settings import PROFILES, Settings


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


def value_of(settings: Settings, key: str) -> object:
    section, _, name = key.partition(".")
    return getattr(getattr(settings, section), name)


@pytest.mark.parametrize("speed", PROFILES)
def test_a_speed_sets_its_profile_and_a_setting_comes_before_it(speed: str, tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("video: {looks: 7}\n")
    settings = Settings.load(config, ["segmenter.mirror=true"], {"speed": speed})
    assert settings.speed == speed
    assert settings.video.looks == 7
    assert settings.segmenter.mirror is True
    for loaded in (Settings.load(None, [f"speed={speed}"]), Settings().changed({"speed": speed})):
        assert {key: value_of(loaded, key) for key in PROFILES[loaded.speed]} == PROFILES[loaded.speed]
    changed = Settings.load(named={"speed": "fast"}).changed({"speed": speed, "video.looks": 3})
    assert changed.video.looks == 3
    assert changed.output.preset == PROFILES[changed.speed]["output.preset"]


def test_profiles_set_the_same_and_the_defaults_are_balanced() -> None:
    assert {frozenset(profile) for profile in PROFILES.values()} == {frozenset(PROFILES["balanced"])}
    assert Settings.load(named={"speed": "balanced"}) == Settings()


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("speed=quick", "'accurate', 'balanced' or 'fast'"),
        ("speed=[fast]", "speed"),
        ("track.high_scor=0.3", "'track.high_score'"),
        ("trak.high_score=0.3", "'track.high_score'"),
        ("lost_secnds=3", "'track.lost_seconds'"),
        ("xyzzy=3", "The sections are body, "),
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


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("track.high_score=7", "cannot be 7: give a number from 0 to 1."),
        ("track.high_score=-1", "cannot be -1: give a number from 0 to 1."),
        ("track.high_score=.nan", "cannot be nan: give a number from 0 to 1."),
        ("track.lost_seconds=.inf", "cannot be inf: give a number from 0 on."),
        ("gait.max_frames=0", "cannot be 0: give a whole number from 8 on."),
        ("gait.max_frames=12.5", "cannot be 12.5: give a whole number from 8 on."),
        ("video.looks=0", "cannot be 0: give a number above 0 to 1000."),
        ("segmenter.threshold=1.5", "cannot be 1.5: give a number from 0 to 1."),
        ("detector.threads=-1", "cannot be -1: give a whole number from 0 to 1024."),
        ("detector.input_size=[0, 96]", "cannot be 0: give a whole number from 32 to 8192."),
        ("match.threshold=-0.1", "cannot be -0.1: give a number from 0 on."),
        ("match.threshold=.inf", "cannot be inf: give a number from 0 on."),
        ("output.blur=face", "cannot be 'face': give 'none', 'faces', 'unknown' or 'everyone'."),
        ("match.closed=maybe", "cannot be 'maybe': give true or false."),
        ("track.low_score=low", "cannot be 'low': give a number from 0 to 1."),
    ],
)
def test_numbers_out_of_range_are_refused(tmp_path: Path, assignment: str, said: str) -> None:
    name, _, value = assignment.partition("=")
    with pytest.raises(SettingsError) as caught:
        Settings.load(None, [assignment])
    assert str(caught.value) == f"--set {assignment}: the setting '{name}' {said}"
    config = tmp_path / "c.yaml"
    section, key = name.split(".")
    config.write_text(f"{section}:\n  {key}: {value}\n")
    with pytest.raises(SettingsError, match=r"c\.yaml: the setting") as caught:
        Settings.load(config)


def test_every_number_has_limits() -> None:
    for section in fields(Settings):
        owner = type(getattr(Settings(), section.name))
        for name, hint in get_type_hints(owner, include_extras=True).items() if is_dataclass(owner) else []:
            if {int, float} & {hint, *([] if hasattr(hint, "__metadata__") else get_args(hint))}:
                pytest.fail(f"{section.name}.{name} takes any number")


@pytest.mark.parametrize(
    "content",
    ["[1, 2]", "a: b: c", "\x00", "trakc: {}", "track:", "track: {high_score: {a: 1}}", "3: 4", "track: {3: 4}"],
)
def test_bad_file_is_named(tmp_path: Path, content: str) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(content)
    with pytest.raises(SettingsError, match=r"c\.yaml"):
        Settings.load(config)


def test_a_section_may_be_empty_or_given_at_once(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("track: {}")
    assert Settings.load(config) == Settings()
    assert Settings.load(None, ["track={high_score: 0.3}", "track.new_score=0.4"]).track.high_score == 0.3


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.yaml"):
        Settings.load(tmp_path / "nowhere.yaml")


def test_values_take_their_types() -> None:
    settings = Settings.load(
        None, ["detector.input_size=[608, 1088]", "segmenter.checkpoint=a/b.onnx", "detector.threads=2"]
    )
    assert settings.detector.input_size == (608, 1088)
    assert settings.segmenter.checkpoint == Path("a/b.onnx")


@pytest.mark.parametrize("name", ["output.folder", "detector.checkpoint", "checkpoints", "gait.name"])
def test_no_text_holds_nul(tmp_path: Path, name: str) -> None:
    (tmp_path / "nul.yaml").write_text(f'{name}: "a\\0b"\n')
    with pytest.raises(SettingsError, match="no text may hold NUL"):
        Settings.load(tmp_path / "nul.yaml")
    with pytest.raises(SettingsError, match="no text may hold NUL"):
        Settings.load(named={name: Path("a\0b")})


def test_anchored_settings_mean_the_same_in_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    given = {"gait.checkpoint": Path("net.onnx"), "detector.checkpoint": Path("~/d.onnx"), "output.folder": Path("out")}
    settings = Settings.load(named=given).anchored()
    assert settings.gait.checkpoint == tmp_path / "net.onnx"
    assert settings.detector.checkpoint == Path("~/d.onnx"), "it stays in the user's own folder"
    assert settings.output.folder == tmp_path / "out"
    assert settings.checkpoints == tmp_path / "checkpoints"
    assert settings.segmenter.checkpoint is None
    assert settings.anchored() == settings
