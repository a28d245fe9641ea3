"""Many videos by several processes: the same results whichever way, and what is done is not done again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli.main import app as cli
from app.gallery.sqlite import SqliteGallery

MODELS = ("detector.name=motion", "segmenter.name=motion", "gait.name=gei", "match.threshold=0.9")


def run(studio: Path, gallery: Path, output: Path, *more: str, code: int = 0) -> str:
    sets = [word for model in MODELS for word in ("--set", model)]
    videos = [str(studio / "input_videos" / name) for name in ("probe1.mp4", "probe2.mp4")]
    words = ["batch", *videos, "--gallery-db", str(gallery), "--output", str(output), *sets, *more]
    answer = CliRunner().invoke(cli, words)
    assert answer.exit_code == code, answer.output
    return " ".join(f"{answer.output} {answer.exception or ''}".split())


def results(output: Path) -> dict[str, Any]:
    found = {path.parent.name: json.loads(path.read_text()) for path in output.glob("batch/*/results.json")}
    for report in found.values():
        for key in ("created", "timings", "run", "settings", "peak_memory_mb"):
            report.pop(key, None)
    return found


@pytest.fixture(scope="module")
def alone(studio: Path, enrolled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a single worker; nobody may change it."""
    output = tmp_path_factory.mktemp("alone")
    gallery = Path(shutil.copy(enrolled, output / "gallery.db"))
    assert "Named 2 of 2 videos." in run(studio, gallery, output, "--workers", "1")
    assert set(results(output)) == {"probe1", "probe2"}
    return output


def test_workers_give_the_same_results_and_done_work_is_kept(
    studio: Path, gallery: Path, alone: Path, tmp_path: Path
) -> None:
    assert "Named 2 of 2 videos." in run(studio, gallery, tmp_path / "one", "--workers", "2")
    assert results(tmp_path / "one") == results(alone)
    assert "2 of them before" in run(studio, gallery, tmp_path / "one", "--workers", "1")
    shutil.rmtree(tmp_path / "one" / "batch" / "probe2")
    assert "1 of them before" in run(studio, gallery, tmp_path / "one", "--workers", "1")
    with SqliteGallery(gallery) as store:
        store.rename("Ben", "Benjamin")
    assert "before" not in run(studio, gallery, tmp_path / "one", "--workers", "1")
    assert "Benjamin" in str(results(tmp_path / "one"))


def test_a_video_that_cannot_be_used_stops_no_other(studio: Path, gallery: Path, tmp_path: Path) -> None:
    broken = tmp_path / "archive" / "day 2" / "broken.mp4"
    broken.parent.mkdir(parents=True)
    (tmp_path / "archive" / "empty.mp4").mkdir()
    broken.write_bytes(b"no video" * 100)
    output = run(studio, gallery, tmp_path / "out", str(tmp_path / "archive"), "--workers", "1", code=1)
    assert "Named 2 of 3 videos" in output
    assert output.count(str(broken)) == 1
    assert set(results(tmp_path / "out")) == {"probe1", "probe2"}


def test_a_place_where_nothing_can_be_written_is_named_before_the_long_work(
    studio: Path, gallery: Path, tmp_path: Path
) -> None:
    output = run(studio, gallery, tmp_path / "out", "--results", str(gallery), code=1)
    assert str(gallery) in output.replace("\n", "")
    for nowhere in ("", "s3://", "s3:/bucket/folder", "nonsense://x"):
        output = run(studio, gallery, tmp_path / "out", "--results", nowhere, code=1)
        assert "cannot go to" in output or "nonsense://x cannot be used" in output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["folder", pytest.param("file", marks=pytest.mark.slow), "memory"])
def test_results_go_where_they_are_wanted(studio: Path, gallery: Path, alone: Path, tmp_path: Path, kind: str) -> None:
    fsspec = pytest.importorskip("fsspec", reason="needs fsspec, which comes with torch")
    place = {"folder": f"{tmp_path}/there", "file": f"file://{tmp_path}/there", "memory": "memory://there"}[kind]
    workers = "1" if kind == "memory" else "2"  # only this process has that memory
    said = run(studio, gallery, tmp_path / "out", "--workers", workers, "--results", place)
    assert place in said.replace(" ", "")
    assert "2 of them before" in run(studio, gallery, tmp_path / "out", "--workers", workers, "--results", place)
    assert not (tmp_path / "out" / "batch").exists()
    files, folder = fsspec.core.url_to_fs(place)
    for name in ("probe1", "probe2"):
        found = json.loads(files.cat_file(f"{folder}/{name}/results.json"))
        for key in ("created", "timings", "run", "settings", "peak_memory_mb"):
            found.pop(key, None)
        assert found == results(alone)[name]
