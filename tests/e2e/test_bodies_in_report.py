"""`body.show`: the report of a run shows everybody's body in space."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from tests.e2e.conftest import Demo


@pytest.mark.slow
def test_the_report_shows_bodies(demo: Demo, tmp_path: Path) -> None:
    ended = demo(
        "--probe", "probe1", "--output", tmp_path / "out", "--set", "body.show=true", "--set", "body.name=lift"
    )
    assert ended.code == 0, ended.out + ended.err
    (run,) = (tmp_path / "out" / "OutputVideos").iterdir()
    page = (run / "report.html").read_text(encoding="utf-8")
    pictures = sorted((run / "crops" / "probe1").glob("*-body.jpg"))
    assert pictures
    assert page.count("Body in space and gait</summary>") == len(list(run.glob("crops/*/*-body.jpg")))
    with (run / "crops" / "probe1" / "gait.csv").open(encoding="utf-8", newline="") as file:
        assert {int(row["track"]) for row in csv.DictReader(file)} <= {int(path.name[:-9]) for path in pictures}
    refused = demo("--probe", "probe1", "--set", "body.show=true", "--set", "pose.when=never")
    refused.failed_with("pose.when is 'never', but body.show needs keypoints")
