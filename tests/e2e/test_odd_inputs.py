"""Odd but legal videos go all the way through."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.clips import Scene, Walker, write_clip
from tests.e2e.conftest import Demo, pair
from tests.e2e.test_happy_path import report_of, results

CLIPS: dict[str, dict[str, Any]] = {
    "sixty.mp4": {"fps": Fraction(60), "seconds": 2.0},
    "five.mp4": {"fps": Fraction(5), "seconds": 5.0},
    "odd.mkv": {"width": 321, "height": 241, "seconds": 2.0},
    "portrait.mp4": {"width": 240, "height": 320, "seconds": 2.0},
    "variable.mp4": {"seconds": 2.0},
    "tiny.mp4": {"width": 64, "height": 48, "seconds": 2.0},
    "10:30.mp4": {"seconds": 2.0},
}


def late() -> Scene:
    """Nobody for six seconds, then people."""
    scene = pair(Walker(1), Walker(2))
    return replace(scene, seconds=9.0, walks=tuple(replace(walk, begin=walk.begin + 6) for walk in scene.walks))


@pytest.mark.slow
def test_all_kinds_of_videos(demo: Demo, studio: Path, tmp_path: Path) -> None:
    for name, changes in CLIPS.items():
        options: dict[str, Any] = {"codec": "ffv1", "pix_fmt": "bgr0"} if name.endswith("mkv") else {}
        write_clip(
            studio / name,
            pair(Walker(1), Walker(2), **changes),
            rotation=90 if name == "portrait.mp4" else 0,
            variable=name == "variable.mp4",
            **options,
        )
    write_clip(studio / "grey.mp4", pair(Walker(1), Walker(2), seconds=2.0), pix_fmt="gray")
    write_clip(studio / "late.mp4", late())
    names = [*CLIPS, "grey.mp4", "late.mp4"]
    ended = demo("--probe", *names, "--output", tmp_path / "out")
    assert ended.code == 0, ended.out + ended.err
    probes = {probe["video"]: probe for probe in report_of(tmp_path / "out")["probes"]}
    assert list(probes) == names
    for name, probe in probes.items():
        source = results(tmp_path / "out") / f"G-gallery_P-{probe['name']}.mp4"
        with av.open(f"file:{source}") as painted, av.open(f"file:{studio / name}") as before:
            times = [[float(p.time or 0) for p in video.decode(video=0)] for video in (painted, before)]
            assert times[0] == pytest.approx(times[1], abs=1e-3), name
            stream = painted.streams.video[0]
            # yuv420p needs even sides.
            assert (stream.width // 2, stream.height // 2) == ((probe["width"] + 1) // 2, (probe["height"] + 1) // 2)
        # Frames are numbered by time, so where the rate changes, some numbers may have no picture.
        spare = 2 if name == "variable.mp4" else 0
        assert len(times[1]) <= probe["frame_count"] <= len(times[1]) + spare, name
        usable = [track for track in probe["tracks"] if track["status"] != "unusable"]
        assert bool(usable) == (name != "tiny.mp4"), name
    assert (probes["portrait.mp4"]["width"], probes["portrait.mp4"]["height"]) == (240, 320)
    assert all(track["reason"].startswith(("too small", "too short")) for track in probes["tiny.mp4"]["tracks"])
    assert min(track["frames"][0] for track in probes["late.mp4"]["tracks"]) > 100
    pictures = tmp_path / "out" / "GaitSilhouette" / "sixty" / "001"
    numbers = sorted(int(path.stem) for path in pictures.iterdir())
    assert min(np.diff(numbers)) >= 4, "12.5 of 60 frames a second are cut out"


def test_one_person_in_the_gallery(demo: Demo, studio: Path, tmp_path: Path) -> None:
    scene = pair(Walker(1), Walker(2))
    write_clip(tmp_path / "single.mp4", replace(scene, walks=scene.walks[:1]))
    ended = demo(
        "--gallery", tmp_path / "single.mp4", "--probe", "probe1", "--threshold", 50, "--output", tmp_path / "out"
    )
    assert ended.code == 0, ended.out + ended.err
    (probe,) = report_of(tmp_path / "out")["probes"]
    named = [track for track in probe["tracks"] if track["status"] == "identified"]
    assert [track["identity"] for track in named] == ["single-001"], "nobody is in two places at once"
    write_clip(tmp_path / "both.mp4", replace(scene, walks=scene.walks[1:]))
    ended = demo("--gallery", tmp_path / "single.mp4", "--probe", tmp_path / "both.mp4", "--output", tmp_path / "out")
    assert ended.code == 0, ended.out + ended.err
    assert "a guess from walks of the same people" in " ".join(ended.out.split())
