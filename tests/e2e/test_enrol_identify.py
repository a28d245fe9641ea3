"""People are enrolled with their consent, and named in other videos; weight-free, on drawn clips."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from PIL import Image as Pictures

from app.cli.main import main
from app.gallery.sqlite import SqliteGallery
from app.gallery.store import NewWalk
from app.results.report import schema
from app.types import Embedding
from tests.clips import Walker, crossing, write_clip
from tests.e2e.conftest import SIZE, Ended, weight_free

Run = Callable[..., Ended]
WAYS = ("--config", "fast.yaml")


@pytest.fixture(scope="module")
def home(studio: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `input_videos/`, a clip of one person alone, and settings that leave out the pages."""
    folder = tmp_path_factory.mktemp("home")
    shutil.copytree(studio / "input_videos", folder / "input_videos")
    alone = crossing([Walker(1)], gap=0.9, first=-0.7, seconds=3.0, **SIZE, seed=5)
    write_clip(folder / "alone.mp4", alone, index_first=True)
    (folder / "fast.yaml").write_text("output: {report: false, summary: false}\n", encoding="utf-8")
    return folder


@pytest.fixture
def run(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in the folder, in this process."""
    monkeypatch.chdir(home)
    monkeypatch.setenv("COLUMNS", "200")

    def command(*arguments: object) -> Ended:
        capsys.readouterr()
        code = main([*map(str, arguments), *weight_free(arguments), *WAYS])
        return Ended(code, *capsys.readouterr())

    return command


def people(home: Path, file: str) -> dict[str, int]:
    with SqliteGallery(home / file) as gallery:
        return {person.name: person.walks for person in gallery.people()}


def test_several_walks_must_be_chosen_from(run: Run, home: Path) -> None:
    db = ("--gallery-db", "several.db")
    run("enrol", "gallery.mp4", "--name", "Anna", *db).failed_with("--consent TEXT", "--consent none")
    ended = run("enrol", "gallery.mp4", "--name", "Anna", "--consent", "yes", *db)
    ended.failed_with("several walks: track 1", "gallery-walks.png", "--track NUMBER")
    with Pictures.open(home / "output" / "cache" / "gallery-walks.png") as sheet:
        assert sheet.size == (360, 300)
        assert np.asarray(sheet).std() > 10, "somebody is to be seen"
    run("enrol", "gallery.mp4", "--name", "Anna", "--consent", "yes", "--track", 9, *db).failed_with(
        "Track 9", "track 1"
    )
    run("enrol", "gallery.mp4", "--consent", "yes", *db).failed_with("--name NAME")
    run("enrol", "--consent", "yes", *db).failed_with("--folder")
    run("enrol", "nobody.mp4", "--name", "Anna", "--consent", "yes", *db).failed_with("nobody.mp4")
    assert people(home, "several.db") == {}


def test_people_enrolled_are_named_in_other_videos(run: Run, home: Path) -> None:
    db = ("--gallery-db", "known.db")
    run("identify", "probe1", *db).failed_with("known.db")
    first = run("enrol", "gallery.mp4", "--name", "Anna", "--consent", "form 7", "--track", 1, "--retain-days", 9, *db)
    assert first.code == 0, first.err
    assert "Anna: 1 walk added, 1 in all, kept until" in first.out
    second = run(
        "enrol", "gallery.mp4", "--name", "Ben", "--consent", "form 8", "--track", 2, "--keep-silhouettes", *db
    )
    assert second.code == 0, second.err
    again = run("enrol", "gallery.mp4", "--name", "Ben", "--consent", "form 8", "--track", 2, *db)
    assert "Ben has this very walk already, as walk 2" in again.out
    run("enrol", "gallery.mp4", "--name", "Zoe", "--consent", "no", "--track", 2, *db).failed_with("walk 2 of 'Ben'")
    with SqliteGallery(home / "known.db") as gallery:
        assert [(p.name, p.consent, p.walks) for p in gallery.people()] == [("Anna", "form 7", 1), ("Ben", "form 8", 1)]
        assert gallery.silhouettes(1) is None
        assert gallery.silhouettes(2) is not None
        assert (gallery.thumbnail("Anna") or b"")[:2] == b"\xff\xd8"

    ended = run("identify", "probe1", "probe2.mp4", *db, "--output", "found", "--blur", "unknown")
    assert ended.code == 0, ended.err
    (folder,) = (home / "found" / "OutputVideos").iterdir()
    assert {path.name for path in folder.iterdir()} == {"probe1.mp4", "probe2.mp4", "results.json", "results.csv"}
    report: dict[str, Any] = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    jsonschema.validate(report, schema(), cls=jsonschema.Draft202012Validator)
    assert report["gallery"] is None
    named, strange = ([t for t in probe["tracks"] if t["status"] != "unusable"] for probe in report["probes"])
    assert {track["identity"] for track in named} == {"Anna", "Ben"}
    for track in named + strange:
        assert track["margin"] is not None
        assert track["probability"] is None
        assert len(track["candidates"]) == 2
    for name in {track["identity"] for track in named}:
        assert name in ended.out
    with SqliteGallery(home / "known.db") as gallery:
        seen = [event.details for event in gallery.log() if event.event == "identify"]
        assert {str(details["video"]) for details in seen} == {"probe1.mp4", "probe2.mp4"}
        (of_probe1,) = (details for details in seen if details["video"] == "probe1.mp4")
        assert {match["name"] for match in of_probe1["matches"]} == {"Anna", "Ben"}  # type: ignore[union-attr,index,call-overload]


@pytest.mark.slow
def test_walks_are_measured_later_where_something_of_them_is_left(run: Run, home: Path) -> None:
    def enrol(name: str, video: str, *more: object) -> None:
        shutil.copy(home / "alone.mp4", home / video)
        ended = run("enrol", video, "--name", name, "--consent", "yes", *db, *more)
        assert ended.code == 0, ended.err

    def measured() -> dict[str, bool]:
        with SqliteGallery(home / "later" / "later.db") as gallery:
            return {walk.source: walk.seen_from is not None for walk in gallery.walks()}

    db, keypoints = ("--gallery-db", "later/later.db"), ("--set", "pose.when=always")
    measure = ("gallery", "measure", "--body", "lift", *db)
    enrol("Video", "still_there.mp4", "--output", "first")
    told = run(*measure, "Video", "--video", home / "still_there.mp4", "--output", "first")
    assert told.out.split("Measured")[1].strip() == "1 walk."
    assert measured() == {"still_there.mp4": True}

    # The same recording is one walk, so each of these has a gallery of its own.
    db, measure = ("--gallery-db", "archive/archive.db"), (*measure[:4], "--gallery-db", "archive/archive.db")
    enrol("Archive", "gone.mp4", "--output", "second", *keypoints)
    (home / "gone.mp4").unlink()
    lacking = " ".join(run(*measure, "--output", "none").out.split())
    assert "Walk 1 could not be measured: nothing kept of it has keypoints, and no video" in lacking
    assert "is called gone.mp4" in lacking
    shutil.copy(home / "input_videos" / "probe1.mp4", home / "gone.mp4")
    other = " ".join(run(*measure, "--video", "gone.mp4", "--output", "none").out.split())
    assert "no walk in gone.mp4 is the one that was enrolled" in other
    (home / "gone.mp4").unlink()
    assert "Measured 1 walk." in run(*measure, "--output", "second").out
    assert "Measured 0 walks." in run(*measure, "--output", "second").out

    db, measure = ("--gallery-db", "kept/kept.db"), (*measure[:4], "--gallery-db", "kept/kept.db")
    enrol("Kept", "kept.mp4", "--output", "third", "--keep-silhouettes", *keypoints)
    (home / "kept.mp4").unlink()
    assert "Measured 1 walk." in run(*measure, "--output", "none").out
    with SqliteGallery(home / "kept" / "kept.db") as gallery:
        (walk,) = gallery.walks()
        assert [one.name for one in walk.measures][:2] == ["height in the picture", "cadence"]
        assert [event.event for event in gallery.log(1)] == ["measure"]
    run(*measure, "Kepd").failed_with("Did you mean 'Kept'")


def test_walks_that_another_network_embedded_are_not_measured_from_videos(run: Run, home: Path) -> None:
    with SqliteGallery(home / "foreign.db") as gallery:
        parts = np.ones((2, 3), np.float32)
        gallery.enrol("Anna", [NewWalk(Embedding(parts, "other@1", 9), "alone.mp4")], consent="yes")
    told = run("gallery", "measure", "--gallery-db", "foreign.db", "--video", "alone.mp4", "--output", "none").out
    assert "it was embedded with other@1, and the gait model of this run is gei" in " ".join(told.split())


def test_a_folder_of_people(run: Run, home: Path) -> None:
    db = ("--gallery-db", "folder.db")
    (home / "people" / "Anna").mkdir(parents=True)
    (home / "people" / "Ben").mkdir()
    (home / "people" / "Nobody").mkdir()
    shutil.copy(home / "alone.mp4", home / "people" / "Anna")
    shutil.copy(home / "input_videos" / "gallery.mp4", home / "people" / "Ben" / "both.mp4")
    ended = run("enrol", "--folder", "people", "--consent", "none", *db)
    ended.failed_with("both.mp4 shows several walks")
    ended.failed_with("enrol it without --folder, with --name NAME --track NUMBER")
    assert "Anna: 1 walk added" in ended.out
    assert people(home, "folder.db") == {"Anna": 1}
    run("enrol", "--folder", "people/Nobody", "--consent", "none", *db).failed_with("no sub-folder with videos")
    run("enrol", "--folder", "people", "--name", "Anna", "--consent", "none", *db).failed_with("--name and --track")


def test_options_of_live_need_a_source(run: Run) -> None:
    run("identify", "probe1", "--save", "x.mp4").failed_with("--save can only be used with --live")
    run("identify", "--live", "0", "probe1", "--save", "x.mp4").failed_with("--save paints the video of one source")
    run("identify").failed_with("There is no video")
