"""One command from two videos to names: every file it promises, and the ways to call it."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import jsonschema
import numpy as np
import pytest
from PIL import Image as Pictures

from app.results.report import CSV_COLUMNS, schema
from tests.clips import Walker, write_clip
from tests.contract.samples import CHECKPOINTS
from tests.e2e.conftest import Demo, pair, start, tree


def results(output: Path) -> Path:
    """The newest folder of results."""
    return max((output / "OutputVideos").iterdir(), key=lambda path: (path.stat().st_mtime_ns, path.name))


def report_of(output: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((results(output) / "results.json").read_text(encoding="utf-8"))
    jsonschema.validate(content, schema(), cls=jsonschema.Draft202012Validator)
    return content


def without_times(report: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in report.items() if key not in ("timings", "created")}


@pytest.fixture(scope="module")
def first(studio: Path) -> Iterator[Path]:
    """The output folder of a run without any argument but --set, in a process of its own."""
    process = start(studio, "--set", "detector.batch=8")
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, out + err
    assert "Traceback" not in err
    assert "Models: motion, gei (weight-free)" in out
    assert "licence" not in out
    yield studio / "output"
    shutil.rmtree(studio / "output")


def test_every_promised_file_is_there(first: Path) -> None:
    names = {"gallery.mp4", "G-gallery_P-probe1.mp4", "G-gallery_P-probe2.mp4", "results.json", "results.csv"}
    assert {path.name for path in results(first).iterdir()} == names | {"summary.gif", "report.html", "crops"}
    assert not list(first.rglob(".*")), "nothing hidden is left"
    report = report_of(first)
    for video, name in zip([report["gallery"], *report["probes"]], ["gallery", "probe1", "probe2"], strict=True):
        usable = [track for track in video["tracks"] if track["status"] != "unusable"]
        assert usable, name
        for track in usable:
            pictures = sorted((first / "GaitSilhouette" / name / f"{track['track_id']:03d}").glob("*.png"))
            assert len(pictures) >= 12
            assert {int(path.stem) for path in pictures} <= set(track["frames"])
            picture = np.asarray(Pictures.open(pictures[len(pictures) // 2]))
            assert picture.shape == (64, 64)
            with np.load(
                first / "GaitFeatures" / name / f"{track['track_id']:03d}.npz", allow_pickle=False
            ) as features:
                assert features["parts"].shape == (16, 88)
                assert str(features["model_id"]) == report["models"]["gait"]["model_id"] == "gei"


def test_painted_videos_play_anywhere_and_keep_size_rate_and_duration(first: Path, studio: Path) -> None:
    for painted, source in (("gallery", "gallery"), ("G-gallery_P-probe1", "probe1")):
        path = results(first) / f"{painted}.mp4"
        with av.open(str(path)) as video, av.open(str(studio / "input_videos" / f"{source}.mp4")) as before:
            stream, of = video.streams.video[0], before.streams.video[0]
            assert not video.streams.audio
            assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
            assert (stream.width, stream.height, stream.average_rate) == (of.width, of.height, of.average_rate)
            assert stream.duration is not None
            assert stream.time_base is not None
            assert stream.duration * stream.time_base == Fraction(90, 25)
            pictures = [picture.to_ndarray(format="bgr24") for picture in video.decode(stream)]
            assert len(pictures) == sum(1 for _ in before.decode(of)) == 90
        content = path.read_bytes()
        assert content.index(b"moov") < content.index(b"mdat")


def test_boxes_and_legend_are_painted(first: Path, studio: Path) -> None:
    report = report_of(first)
    track = next(track for track in report["gallery"]["tracks"] if track["identity"] == "gallery-001")
    middle = len(track["frames"]) // 2
    index, (x1, y1, _x2, y2) = track["frames"][middle], track["boxes"][middle]
    pictures = []
    for path in (results(first) / "gallery.mp4", studio / "input_videos" / "gallery.mp4"):
        with av.open(str(path)) as video:
            pictures.append(
                next(p for i, p in enumerate(video.decode(video=0)) if i == index).to_ndarray(format="bgr24")
            )
    changed = np.abs(pictures[0].astype(int) - pictures[1]).max(axis=2) > 40
    side = changed[round(y1) : round(y2), max(0, round(x1) - 3) : round(x1) + 4]
    assert side.any(axis=1).mean() > 0.8, "the left side of the box"
    assert changed[:60, :60].any(), "the legend"


def test_the_report_is_sound(first: Path, studio: Path) -> None:
    report = report_of(first)
    gallery = report["gallery"]
    known = {track["identity"] for track in gallery["tracks"] if track["identity"]}
    assert known == {"gallery-001", "gallery-002"}
    assert (gallery["width"], gallery["height"], gallery["fps"], gallery["frame_count"]) == (320, 240, 25.0, 90)
    assert report["timings"]["total"] > 0
    assert [Path(probe["video"]).name for probe in report["probes"]] == ["probe1.mp4", "probe2.mp4"]
    for probe in report["probes"]:
        for track in probe["tracks"]:
            assert len(track["frames"]) == len(track["boxes"])
            assert track["frames"] == sorted(set(track["frames"]))
            assert (track["identity"] is not None) == (track["status"] == "identified")
            assert (track["reason"] is not None) == (track["identity"] is None)
            if track["status"] != "unusable":
                assert {candidate["identity"] for candidate in track["candidates"]} == known
                distances = [candidate["distance"] for candidate in track["candidates"]]
                assert distances == sorted(distances)
            if track["identity"]:
                assert track["distance"] <= track["threshold"]
                assert 0 < track["confidence"] <= 1
    with (results(first) / "results.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert tuple(rows[0]) == CSV_COLUMNS
    assert len(rows) == sum(len(video["tracks"]) for video in [gallery, *report["probes"]])
    assert {row["role"] for row in rows} == {"gallery", "probe"}


def test_the_summary_moves(first: Path) -> None:
    with Pictures.open(results(first) / "summary.gif") as gif:
        assert getattr(gif, "n_frames", 1) > 10
        assert gif.info.get("loop") == 0


def test_a_second_run_uses_what_the_first_found_and_says_the_same(first: Path, studio: Path, demo: Demo) -> None:
    before = report_of(first)
    cache = tree(first / "cache")
    again = demo(summary=True)
    assert again.code == 0, again.out + again.err
    assert again.out.count("of an earlier run are used") == 3
    assert tree(first / "cache") == cache
    assert without_times(report_of(first)) == without_times(before)
    assert len(list((first / "OutputVideos").iterdir())) == 2
    fresh = demo("--fresh", summary=True)
    assert fresh.code == 0
    assert "earlier run" not in fresh.out
    assert without_times(report_of(first)) == without_times(before)


@pytest.mark.slow
def test_a_damaged_archive_is_made_anew(first: Path, demo: Demo) -> None:
    before = report_of(first)
    for archive in (first / "cache").iterdir():
        content = bytearray(archive.read_bytes())
        content[len(content) // 3 : len(content) // 3 + 200] = bytes(200)
        archive.write_bytes(content)
    again = demo(summary=True)
    assert again.code == 0, again.out + again.err
    assert "earlier run" not in again.out
    assert without_times(report_of(first)) == without_times(before)


@pytest.mark.slow
def test_probes_may_be_named_in_any_way(demo: Demo, tmp_path: Path) -> None:
    ways: list[tuple[str, ...]] = [
        ("--probe", "probe1.mp4", "probe2"),
        ("--probe", "input_videos/probe1.mp4", "--probe", "probe2.mp4"),
        ("--probe", "probe1", "--probe", "probe2", "--probe", "probe1"),
    ]
    config = tmp_path / "settings.yaml"
    config.write_text("output:\n  silhouettes: false\n  features: false\nquality:\n  min_seconds: 1.4\n")
    for way in ways:
        ended = demo("--gallery", "gallery.mp4", *way, "--config", config, "--output", tmp_path / "out")
        assert ended.code == 0, ended.out + ended.err
        report = report_of(tmp_path / "out")
        assert [Path(probe["video"]).stem for probe in report["probes"]] == ["probe1", "probe2"]
        assert report["settings"]["quality"]["min_seconds"] == 1.4
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["OutputVideos", "cache"]
    ended = demo(
        "--probe", "probe1", "--config", config, "--set", "quality.min_seconds=9", "--output", tmp_path / "out"
    )
    ended.failed_with("no walk that can be used", "too short", "but 9.0 s are needed")


def test_a_closed_set_has_no_threshold_anywhere(demo: Demo, tmp_path: Path) -> None:
    ended = demo("--probe", "probe1", "--closed", "--output", tmp_path / "out")
    assert ended.code == 0, ended.out + ended.err
    said = " ".join(ended.out.split())
    assert "Closed set: everybody in the probe is taken to be in the gallery." in said
    assert "Threshold" not in said
    tracks = [track for track in report_of(tmp_path / "out")["probes"][0]["tracks"] if track["status"] != "unusable"]
    assert tracks
    assert all(track["threshold"] is None for track in tracks)
    assert all(track["identity"] for track in tracks), "no more people walk at once than the gallery has"
    html = (results(tmp_path / "out") / "report.html").read_text(encoding="utf-8")
    assert "Closed set: everybody in the probe is taken to be in the gallery." in html
    assert "a stranger would get a name too" in html
    demo("--probe", "probe1", "--closed", "--threshold", "0.5").failed_with("A closed set has no threshold", "--closed")


@pytest.mark.slow
def test_names_of_all_kinds(studio: Path, demo: Demo, tmp_path: Path) -> None:
    odd = [
        "with spaces -- and-dashes.v2 [50%] 'q' $HOME.mp4",
        "步态 ünïcödé.mp4",
        "12:30:05.mp4",
        "probe1.mp4",
        f"{'x' * 240}.mp4",
        "[bold]-..mp4",
    ]
    folder = tmp_path / "ordner mit leer"
    folder.mkdir()
    for name in odd:
        shutil.copy(studio / "input_videos" / "probe1.mp4", folder / name)
    gallery = shutil.copy(studio / "input_videos" / "gallery.mp4", folder / "мой галерея - 1.mp4")
    probes = [*(folder / name for name in odd), studio / "input_videos" / "probe1.mp4"]
    ended = demo("--gallery", gallery, "--probe", *probes, "--output", tmp_path / "out put")
    assert ended.code == 0, ended.out + ended.err
    report = report_of(tmp_path / "out put")
    assert [probe["video"] for probe in report["probes"]] == [str(probe) for probe in probes]
    painted = {path.name for path in results(tmp_path / "out put").glob("*.mp4")}
    assert len(painted) == len(probes) + 1
    assert {"G-мой галерея - 1_P-probe1.mp4", "G-мой галерея - 1_P-probe1-2.mp4"} <= painted
    assert {track["identity"] for track in report["gallery"]["tracks"] if track["identity"]} == {
        "мой галерея - 1-001",
        "мой галерея - 1-002",
    }


def test_with_checkpoints_given_and_found(studio: Path, demo: Demo, tmp_path: Path) -> None:
    detector, gait = CHECKPOINTS["yolox"](tmp_path), CHECKPOINTS["opengait"](tmp_path)
    clip = tmp_path / "small.mp4"
    write_clip(clip, pair(Walker(1), Walker(2), seconds=1.6, width=160, height=120))
    options = ["--set", "detector.input_size=[96, 96]", "--set", "quality.min_seconds=0.2", "--set"]
    options += ["quality.min_frames=2", "--set", "quality.min_motion=0", "--set", "quality.min_height=4"]
    both = ["--gallery", studio / "input_videos" / "gallery.mp4", "--probe", clip, "--output", tmp_path / "out"]
    # Random weights find nobody who could be followed: what counts is that they are loaded and named.
    ended = demo(*both, "--detector-checkpoint", detector, "--gait-checkpoint", gait, *options)
    assert f"yolox-w4d1 ({detector})" in " ".join(ended.out.split())
    assert f"gaitbase ({gait})" in " ".join(ended.out.split())
    assert ended.code in (0, 2)
    assert "Traceback" not in ended.err

    found = tmp_path / "checkpoints" / "gait_model"
    found.mkdir(parents=True)
    shutil.copy(gait, found / "GaitBase_DA-180000.pt")
    (found / "junk.pt").write_bytes(b"junk")
    ended = demo(
        *both[:2], "--probe", "probe1", *both[4:], "--gait", "auto", "--set", f"checkpoints={tmp_path / 'checkpoints'}"
    )
    assert ended.code == 0, ended.out + ended.err
    model = report_of(tmp_path / "out")["models"]["gait"]
    assert (model["name"], model["origin"]) == ("gaitbase", "found")
    assert model["model_id"] == f"gaitbase@{model['sha256'][:8]}"
    assert "academic use only" in model["licence"]
