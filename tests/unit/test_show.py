"""What a run says on the terminal in the end."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from app.cli.show import show_result
from app.results.report import CandidateReport, Report, TrackReport, VideoReport


def video(name: str, probability: float | None, identity: str | None = "home-001", **more: Any) -> VideoReport:
    track: dict[str, Any] = {
        "track_id": 1, "frames": [0, 1], "boxes": [[0, 0, 10, 20]] * 2, "identity": identity, "distance": 0.3,
        "status": "identified" if identity else "unknown", "confidence": 0.75 if identity else None, "threshold": 0.6,
        "probability": probability, "margin": 0.1, "reason": None,
        "candidates": [CandidateReport(identity="home-001", distance=0.3)],
    } | more  # fmt: skip
    return VideoReport(
        video=name, name=Path(name).stem, width=64, height=48, fps=25, frame_count=2, tracks=[TrackReport(**track)]
    )


def shown(gallery: VideoReport | None, *probes: VideoReport, width: int = 160) -> str:
    report = Report(
        gaitprint="1", created="", models={}, settings={}, timings={"total": 2.0}, gallery=gallery, probes=list(probes)
    )
    out = io.StringIO()
    show_result(Console(width=width, file=out), report, Path("run"))
    return out.getvalue()


@pytest.mark.parametrize("kept", [True, False])
def test_the_table_says_how_probable_a_name_is_where_that_is_known(kept: bool) -> None:
    gallery = None if kept else video("home.mp4", None)
    text = shown(gallery, video("street.mp4", 0.93))
    assert "probability" in text
    assert "93 %" in text
    assert ("margin" in text) is kept
    assert "75" not in text, "a confidence reads as a probability"
    text = shown(gallery, video("street.mp4", None))
    assert "probability" not in text, "scores that do not hold here"
    assert "clear" in text
    assert "75" not in text


def test_nobody_is_more_than_nearly_sure() -> None:
    assert "over 99 %" in shown(None, video("street.mp4", 0.9999))


def test_a_name_that_is_more_likely_wrong_bears_a_question_mark() -> None:
    text = shown(video("home.mp4", None), video("street.mp4", 0.17))
    assert "home-001?" in text
    assert "17 %" in text
    assert "home-001?" not in shown(video("home.mp4", None), video("street.mp4", 0.5))


def test_the_probability_of_the_nearest_is_not_that_of_being_unknown() -> None:
    far = {"distance": 0.7, "candidates": [CandidateReport(identity="home-001", distance=0.7)]}
    assert "unknown (nearest: home-001, 20 %)" in shown(None, video("street.mp4", 0.2, None, **far))
    assert "unknown (nearest: home-001)" in shown(None, video("street.mp4", None, None, **far))


def test_no_name_is_cut_off_in_a_narrow_terminal() -> None:
    long = "town-hall-entrance-west-017"
    far = {"distance": 0.7, "candidates": [CandidateReport(identity=long, distance=0.7)], "pieces": None}
    for probe in (video("street.mp4", 0.2, None, **far), video("street.mp4", 0.2, long)):
        text = shown(video("home.mp4", None), probe, width=70)
        column = "".join(line.split("│")[3].strip() for line in text.splitlines() if line.count("│") > 3)
        assert long in column
        assert "…" not in text


def test_somebody_unknown_although_near_has_a_reason() -> None:
    reason = "home-001 was given to track 2, which is in view at the same time and is nearer"
    text = shown(video("home.mp4", None), video("street.mp4", 0.1, None, reason=reason))
    assert "unknown (home-001 was given to track 2)" in text


def test_the_rule_stands_above_the_tables() -> None:
    text = shown(None, video("street.mp4", 0.9), video("yard.mp4", 0.9))
    assert text.count("Threshold: 0.600.") == 1
    assert "Closed set" not in text
    nothing_compared = {"threshold": None, "candidates": [], "distance": None}
    text = shown(None, video("street.mp4", None, None, **nothing_compared))
    assert "Threshold" not in text
    assert "Closed set" not in text


def test_a_closed_set_has_no_threshold_and_unknown_walks_a_reason() -> None:
    text = shown(None, video("street.mp4", None, threshold=None))
    assert "Closed set: everybody in the probe is taken to be in the gallery." in text
    assert "Threshold" not in text
    assert "home-001 " in text
    reason = "home-001 was given to track 2, which is in view at the same time and is nearer"
    text = shown(None, video("street.mp4", 0.08, None, threshold=None, reason=reason))
    assert "unknown (home-001 was given to track 2)" in text
    assert "nearest" not in text


def test_videos_of_one_name_stay_apart() -> None:
    first, second = (video(f"{folder}/walk.mp4", 0.9) for folder in "ab")
    text = shown(None, first, second.model_copy(update={"name": "walk-2"}))
    assert [line.strip() for line in text.splitlines() if line.startswith("walk")] == ["walk", "walk-2"]


@pytest.mark.parametrize(
    ("fps", "words"), [(1, "; the video has only 1 frame a second"), (5, "5 frames a second"), (25, "")]
)
def test_where_no_walk_can_be_compared_a_low_rate_is_named(fps: float, words: str) -> None:
    probe = video("street.mp4", None, None, status="unusable", reason="too short", candidates=[], distance=None)
    text = shown(video("home.mp4", None), probe.model_copy(update={"fps": fps}))
    assert f"no walk can be compared{words}" in text if fps != 5 else words in text
    assert ("frame" in text.partition("compared")[2].partition("\n")[0]) == (fps < 10)
