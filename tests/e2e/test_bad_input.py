"""Whatever is wrong: one clear message, exit code 2, nothing half-written."""

from __future__ import annotations

import resource
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from app.walks.archive import read_ending
from tests.clips import truncated_copy, write_sound
from tests.contract.samples import CHECKPOINTS, Evil
from tests.e2e.conftest import Demo, start, tree
from tests.e2e.test_happy_path import report_of


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def test_a_missing_file_names_the_nearest(demo: Demo, out: Path) -> None:
    demo("--gallery", "galery.mp4", "--output", out).failed_with("galery.mp4", "Did you mean 'gallery.mp4'?")
    demo("--probe", "prob1", "--output", out).failed_with("prob1", "Did you mean 'probe1.mp4'?")
    demo("--probe", "probe1", "/nowhere/at/all.mp4", "--output", out).failed_with("/nowhere/at/all.mp4")
    assert not out.exists()


def test_a_probe_that_is_the_gallery(demo: Demo, studio: Path, out: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.mp4"
    link.symlink_to(studio / "input_videos" / "gallery.mp4")
    for same in ("gallery", studio / "input_videos" / "gallery.mp4", link):
        demo("--probe", "probe1", same, "--output", out).failed_with("both as gallery and as probe")
    assert not out.exists()


def test_no_probe_at_all(demo: Demo, studio: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from app.cli.main import main

    (tmp_path / "input_videos").mkdir()
    shutil.copy(studio / "input_videos" / "gallery.mp4", tmp_path / "input_videos")
    monkeypatch.chdir(tmp_path)
    assert main(["demo"]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["input_videos"]


@pytest.mark.parametrize("role", ["--gallery", "--probe"])
def test_files_that_are_no_video(demo: Demo, studio: Path, tmp_path: Path, out: Path, role: str) -> None:
    (tmp_path / "notes.mp4").write_text("this is not a video\n" * 50)
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "folder.mp4").mkdir()
    write_sound(tmp_path / "song.m4a")
    truncated_copy(studio / "short.mp4", tmp_path / "no index.mp4", 0.6)
    other = ("--gallery", "gallery") if role == "--probe" else ("--probe", "probe1")
    for name, words in {
        "notes.mp4": "not a video",
        "empty.mp4": "empty",
        "folder.mp4": "folder",
        "song.m4a": "only sound",
        "no index.mp4": "damaged",
    }.items():
        demo(role, tmp_path / name, *other, "--output", out).failed_with(name, words)
    assert not out.exists()


def test_a_truncated_video_is_used_as_far_as_it_goes(demo: Demo, studio: Path, tmp_path: Path, out: Path) -> None:
    truncated_copy(studio / "input_videos" / "probe1.mp4", tmp_path / "cut.mp4", 0.8)
    ended = demo("--probe", tmp_path / "cut.mp4", "--output", out)
    assert ended.code == 0, ended.err
    assert "Warning" in ended.out
    (probe,) = report_of(out)["probes"]
    assert 30 < probe["frame_count"] < 90
    assert "damaged" in probe["warnings"][0]
    again = demo("--probe", tmp_path / "cut.mp4", "--output", out)
    assert "Warning" in again.out, "an archive remembers what was wrong"


def test_bad_probes_do_not_lose_the_others(demo: Demo, studio: Path, out: Path, tmp_path: Path) -> None:
    bad = {studio / "nobody.mp4": "No pedestrian was found", tmp_path / "empty.mp4": "empty"}
    (tmp_path / "empty.mp4").touch()
    ended = demo("--probe", *bad, "probe1", "--output", out)
    ended.failed_with("2 videos cannot be used", "nobody.mp4", "30 frames", "empty.mp4", *bad.values())
    assert (ended.out + ended.err).count("No pedestrian was found") == 1
    report = report_of(out)
    assert [probe["name"] for probe in report["probes"]] == ["probe1"]
    assert [failure["video"] for failure in report["failures"]] == list(map(str, bad))
    page = next(out.rglob("report.html")).read_text(encoding="utf-8")
    for failure, (video, reason) in zip(report["failures"], bad.items(), strict=True):
        assert reason in failure["reason"]
        assert reason in page
        assert video.name in page
    assert not list(out.rglob("*nobody*"))
    assert not list(out.rglob(".*"))


def test_file_names_that_are_no_text(demo: Demo, studio: Path, out: Path, tmp_path: Path) -> None:
    """The bytes of such names are escaped in every result, and a long run is not lost for them."""
    odd, broken = tmp_path / "pr\udcff\udc80be.mp4", tmp_path / "\udcfe.mp4"
    try:
        shutil.copy(studio / "input_videos" / "probe1.mp4", odd)
        broken.touch()
    except (OSError, UnicodeEncodeError):
        pytest.skip("this file system takes only text")
    demo("--probe", odd, broken, "--output", out / "\udcff").failed_with(r"\udcfe.mp4", "empty")
    report = report_of(out / "\udcff")
    assert report["probes"][0]["video"] == str(tmp_path / r"pr\udcff\udc80be.mp4")
    assert report["failures"][0]["video"] == str(tmp_path / r"\udcfe.mp4")
    assert report["settings"]["output"]["folder"] == str(out / r"\udcff")
    page = next(out.rglob("report.html")).read_text(encoding="utf-8")
    assert r"\udcfe.mp4" in page


def test_only_probes_without_people(demo: Demo, studio: Path, out: Path) -> None:
    demo("--probe", studio / "nobody.mp4", "--output", out).failed_with("No pedestrian was found")
    assert not (out / "OutputVideos").exists()
    assert not list(out.rglob("*nobody*"))
    assert not list(out.rglob(".*"))


def only_finished_archives(out: Path) -> bool:
    """Whether nothing is in the folder but what was found in videos that were looked at meanwhile and are done."""
    files = [path for path in out.rglob("*") if path.is_file()] if out.exists() else []
    return all(path.parent == out / "cache" and read_ending(path) is not None for path in files)


def test_a_gallery_without_people_writes_nothing(demo: Demo, studio: Path, out: Path) -> None:
    ended = demo("--gallery", studio / "nobody.mp4", "--probe", "probe1", "--output", out)
    ended.failed_with("nobody.mp4", "No pedestrian was found")
    assert only_finished_archives(out)


def test_a_gallery_without_usable_walks(demo: Demo, studio: Path, out: Path) -> None:
    ended = demo("--gallery", studio / "short.mp4", "--probe", "probe1", "--output", out)
    ended.failed_with("short.mp4", "no walk that can be used", "track 1")
    assert not (out / "OutputVideos").exists()
    assert not list(out.rglob(".*"))


def test_checkpoints_of_the_wrong_kind(demo: Demo, tmp_path: Path, out: Path) -> None:
    detector, gait = CHECKPOINTS["yolox"](tmp_path), CHECKPOINTS["opengait"](tmp_path)
    weights = torch.load(gait, weights_only=True)
    del weights["model"]["Backbone.forward_block.conv1.conv.weight"]
    torch.save(weights, tmp_path / "keyless.pt")
    torch.save({"model": weights["model"], "evil": Evil(tmp_path / "ran")}, tmp_path / "evil.pt")
    (tmp_path / "cut.pt").write_bytes(gait.read_bytes()[:3000])
    for option, file, words in (
        ("--gait-checkpoint", detector, "YOLOX"),
        ("--detector-checkpoint", gait, "not a detector checkpoint"),
        ("--segmenter-checkpoint", gait, "not a segmenter checkpoint"),
        ("--gait-checkpoint", tmp_path / "keyless.pt", "missing: Backbone.forward_block.conv1.conv.weight"),
        ("--gait-checkpoint", tmp_path / "evil.pt", "refused"),
        ("--detector-checkpoint", tmp_path / "evil.pt", "refused"),
        ("--segmenter-checkpoint", tmp_path / "evil.pt", "refused"),
        ("--gait-checkpoint", tmp_path / "cut.pt", "cut.pt"),
        ("--gait-checkpoint", tmp_path / "keyles.pt", "Did you mean 'keyless.pt'?"),
        ("--gait-checkpoint", tmp_path, "not a gait checkpoint"),
    ):
        demo("--probe", "probe1", option, file, "--output", out).failed_with(str(file.name), words)
    assert not (tmp_path / "ran").exists()
    assert not out.exists()


def test_settings_that_do_not_exist_or_fit(demo: Demo, tmp_path: Path, out: Path) -> None:
    config = tmp_path / "bad.yaml"
    config.write_text("trakc:\n  high_score: 0.4\n")
    for arguments, words in (
        (("--set", "track.high_scor=0.4"), "Did you mean 'track.high_score'?"),
        (("--set", "match.threshold=near"), "match.threshold"),
        *((("--threshold", wrong), "match.threshold") for wrong in ("nan", "inf", "-3")),
        (("--set", "threshold"), "section.key=value"),
        (("--config", config), "Did you mean 'track.high_score'?"),
        (("--config", tmp_path / "absent.yaml"), "absent.yaml"),
        (("--gait", "gie"), "Did you mean 'gei'?"),
        (("--detector", "yolox"), "needs a checkpoint"),
    ):
        demo("--probe", "probe1", *arguments, "--output", out).failed_with(words)
    assert not out.exists()


def test_options_that_do_not_exist(demo: Demo) -> None:
    ended = demo("--galery", "x")
    assert ended.code == 2
    assert "--gallery" in ended.err


def test_an_output_folder_that_cannot_be_made(demo: Demo, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    for place in (file, file / "below"):
        demo("--probe", "probe1", "--output", place).failed_with("file", "Give another folder")
    assert file.read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let no file grow beyond `size` bytes: what a full disk does, without one."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_no_space(demo: Demo, out: Path) -> None:
    with largest_file(10_000):
        demo("--probe", "probe1", "--output", out).failed_with("No space is left", str(out))
    assert not out.exists()
    assert demo("--probe", "probe1", "--output", out).code == 0
    shutil.rmtree(out / "OutputVideos")
    with largest_file(10_000):
        demo("--probe", "probe1", "--output", out).failed_with("No space is left", str(out))
    assert not (out / "OutputVideos").exists()
    assert not list(out.rglob(".*"))


@pytest.mark.parametrize(
    ("number", "code", "sign"),
    [
        (signal.SIGINT, 130, "cache/.*.partial.zip"),
        (signal.SIGINT, 130, "OutputVideos/.*.partial/.gallery.*.partial.mp4"),
        (signal.SIGTERM, 143, "OutputVideos/.*.partial/.G-*.partial.mp4"),
    ],
    ids=["Ctrl-C in the first pass", "Ctrl-C while painting", "SIGTERM while painting"],
)
def test_an_interrupted_run_leaves_nothing_and_is_resumed(
    demo: Demo, studio: Path, out: Path, number: signal.Signals, code: int, sign: str
) -> None:
    process = start(studio, "--gallery", "gallery", "--probe", "probe1", "--output", out)
    patience = time.monotonic() + 100
    while process.poll() is None and not list(out.glob(sign)) and time.monotonic() < patience:
        time.sleep(0.002)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == code, stdout + stderr
    assert "Traceback" not in stderr
    assert ("Stopping. Finished work is kept" in stderr) == (number == signal.SIGINT)
    left = tree(out) if out.exists() else {}
    assert not [
        name for name in left if name.endswith((".mp4", ".gif", ".json", ".csv")) or "/." in name or "partial" in name
    ]
    if sign.startswith("cache"):
        assert only_finished_archives(out)
        return
    assert len([name for name in left if name.startswith("cache/") and name.endswith(".zip")]) == 2
    again = demo("--probe", "probe1", "--output", out)
    assert again.code == 0
    assert again.out.count("of an earlier run are used") == 2
