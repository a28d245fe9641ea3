"""``python -m app gallery``, as somebody types it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from app.cli.gallery import app
from app.errors import GaitprintError
from app.gallery.sqlite import SqliteGallery
from app.gallery.store import JSON, NewWalk, Person
from app.types import Embedding, GaitSequence
from app.workspace import in_use

Run = Callable[..., str]


def walk(seed: int, model: str = "m@12345678", silhouettes: bool = False) -> NewWalk:
    parts = np.random.default_rng(seed).normal(size=(2, 4)).astype(np.float32)
    pictures = np.zeros((4, 64, 64), np.uint8)
    pictures[:, :, 20:40] = 255
    sequence = GaitSequence(np.arange(4), pictures, 25.0) if silhouettes else None
    return NewWalk(Embedding(parts, model, 9), f"video{seed}.mp4", seed, "front", 1.0, sequence)


@pytest.fixture
def db(tmp_path: Path) -> Path:
    with SqliteGallery(tmp_path / "g.db") as gallery:
        gallery.enrol("Anna Berg", [walk(1, silhouettes=True), walk(2)], consent="signed [form 7]", retain_days=9)
        gallery.enrol("Ben", [walk(3)], consent="said yes")
    return tmp_path / "g.db"


@pytest.fixture
def run(db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.chdir(tmp_path)  # the default output folder is below it

    def run(*arguments: str, code: int = 0, answer: str = "") -> str:
        found = CliRunner().invoke(app, [*arguments, "--gallery-db", str(db)], input=answer)
        if isinstance(found.exception, GaitprintError):
            raise found.exception
        assert found.exit_code == code, found.output
        return found.output

    return run


def people(db: Path) -> dict[str, int]:
    with SqliteGallery(db) as gallery:
        return {person.name: person.walks for person in gallery.people()}


def test_list_and_show(run: Run) -> None:
    listed = run("list")
    assert "Anna Berg" in listed
    assert "signed [form 7]" in listed
    assert [person["name"] for person in json.loads(run("list", "--json"))] == ["Anna Berg", "Ben"]
    shown = run("show", "Anna Berg")
    assert "video2.mp4" in shown
    assert "m@12345678" in shown
    assert "Embedded with m@12345678: 1, 2\n" in shown
    assert "Silhouettes are kept of: 1\n" in shown
    with pytest.raises(GaitprintError, match="Did you mean 'Ben'"):
        run("show", "Benn")


def test_headings_are_whole_on_narrow_terminals(run: Run, db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with SqliteGallery(db) as gallery:
        long = replace(walk(9), source="a_rather_long_name_of_a_video_from_the_garden.mp4", view="from the front, dusk")
        gallery.enrol("Ben", [long], consent="a long story about the consent that he has given, on paper, in spring")
    monkeypatch.setenv("COLUMNS", "80")
    for command, heading in {
        ("list",): ["name", "walks", "enrolled", "kept", "until", "consent"],
        ("show", "Ben"): ["walk", "video", "track", "view", "frames", "seconds", "added"],
    }.items():
        lines = run(*command).splitlines()
        assert heading in [line.split() for line in lines]
        assert max(map(len, lines[2:])) <= 80


def test_an_empty_gallery_says_how_to_fill_it(run: Run) -> None:
    for name in ("Anna Berg", "Ben"):
        run("forget", name, "--yes")
    assert "app enrol" in run("list")


def test_rename_merge_and_move(run: Run, db: Path) -> None:
    run("rename", "Ben", "Benno")
    run("move", "1", "Benno")
    assert people(db) == {"Anna Berg": 1, "Benno": 2}
    assert "Anna Berg has 3 walks now. Anna Berg is kept until 2" in run("merge", "Benno", "Anna Berg")
    assert people(db) == {"Anna Berg": 3}


@pytest.mark.parametrize("days", ["36526", "99999999", "9" * 20])
def test_nobody_is_kept_for_longer_than_a_century(run: Run, days: str) -> None:
    with pytest.raises(GaitprintError, match=f"Nobody can be kept for {days} days: give 1 to 36525"):
        run("consent", "Ben", "--retain-days", days)


def test_forgetting_asks_first(run: Run, db: Path) -> None:
    run("forget", "Ben", code=1, answer="n\n")
    run("forget", "Ben", code=1)  # nobody there to answer
    run("forget-walk", "1", code=1, answer="n\n")
    assert people(db) == {"Anna Berg": 2, "Ben": 1}
    told = run("forget", "Ben", answer="y\n")
    assert "Removed 1 walk:" in told
    assert "exports that were written before" in told
    run("forget-walk", "1", "--yes")
    assert people(db) == {"Anna Berg": 1}
    assert "Ben" not in run("log")


def followed(output: Path) -> list[Path]:
    """What the cache of an output folder holds after two videos, one with several walks."""
    files = [output / "cache" / name for name in (f"{'0a' * 16}.zip", "gallery-walks.png")]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"silhouettes")
    return files


@pytest.mark.parametrize("command", [("forget", "Ben"), ("forget-walk", "1")])
def test_forgetting_clears_the_caches(run: Run, db: Path, tmp_path: Path, command: tuple[str, str]) -> None:
    files = [*followed(tmp_path), *followed(tmp_path / "out")]
    mine = tmp_path / "cache" / "mine.zip"
    mine.write_bytes(b"not ours")
    run(*command, "--output", str(tmp_path / "out"), code=1, answer="n\n")
    assert all(file.exists() for file in files)
    told = run(*command, "--output", str(tmp_path / "out"), "--yes")
    assert str(tmp_path / "out" / "cache") in told
    assert "cannot know of other places: other output folders" in told
    assert not any(file.exists() for file in files)
    assert mine.exists()
    assert not (tmp_path / "out" / "cache").exists()


def test_nobody_is_forgotten_by_halves(run: Run, db: Path, tmp_path: Path) -> None:
    files = followed(tmp_path)
    with in_use(tmp_path), pytest.raises(GaitprintError, match="Another program is at work"):
        run("forget", "Ben", "--yes")
    assert "Ben" in people(db)
    assert all(file.exists() for file in files)


def test_without_walks_somebody_is_still_known(run: Run) -> None:
    told = run("forget-walk", "3", "--yes")
    assert "Ben stays in the gallery with 0 walks" in told
    assert "gallery forget Ben" in told
    assert "stays" not in run("forget-walk", "1", "--yes")


def test_export_and_import(run: Run, db: Path, tmp_path: Path) -> None:
    file = tmp_path / "out.jsonl.gz"
    assert "2 people with 3 walks" in run("export", str(file))
    with pytest.raises(GaitprintError, match="--overwrite"):
        run("export", str(file))
    run("export", str(file), "--overwrite")
    with pytest.raises(GaitprintError, match="'Anna Berg' already"):
        run("import", str(file))
    run("forget", "Ben", "--yes")
    assert "Added 1 walk of 1 person" in run("import", str(file), "--merge")
    assert people(db) == {"Anna Berg": 2, "Ben": 1}
    db.unlink()
    damaged = tmp_path / "damaged.gz"
    damaged.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(GaitprintError, match="nothing was imported"):
        run("import", str(damaged))
    assert not db.exists()
    assert "Added 3 walks of 2 people" in run("import", str(file))
    assert people(db) == {"Anna Berg": 2, "Ben": 1}
    with pytest.raises(GaitprintError, match="not an exported gallery"):
        run("import", str(db))


def test_stats_and_log(run: Run) -> None:
    told = run("stats")
    assert "walks of m@12345678" in told
    assert "MB" in told
    run("rename", "Ben", "Benno")
    log = run("log", "--limit", "9" * 20)
    assert log.index("enrol") < log.index("rename")
    assert "new: Benno" in log
    lines = [json.loads(line) for line in run("log", "--json", "--limit", "2").splitlines()]
    assert [line["event"] for line in lines] == ["enrol", "rename"]


def test_the_log_shows_no_python(run: Run, db: Path) -> None:
    matches: JSON = [{"track_id": 2, "name": "Ben", "distance": 0.957231}, {"track_id": 3, "name": "Anna", "p": None}]
    with SqliteGallery(db) as gallery:
        gallery.record("identify", video="yard.mp4", matches=matches, names=[])
    log = " ".join(run("log").split())  # however wide the terminal is
    assert "video: yard.mp4, matches: track_id 2, name Ben, distance 0.957; track_id 3, name Anna" in log
    assert not set("{[") & set(log)
    assert "None" not in log
    assert "names:" not in log


def test_walks_are_embedded_anew(run: Run, db: Path) -> None:
    told = run("re-embed", "--gait", "gei")
    assert "Embedded 1 walk with gei" in told
    assert "for want of silhouettes: walk 2, 3." in told
    with SqliteGallery(db) as gallery:
        assert gallery.model_ids() == {"gei": 1, "m@12345678": 2}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no special files")
@pytest.mark.parametrize("kind", ["pipe", "device", "link to a pipe"])
def test_an_export_replaces_no_special_file(kind: str, run: Run, tmp_path: Path) -> None:
    target = tmp_path / "special.gz"
    if kind == "device":
        target.symlink_to("/dev/null")  # only root can make a device
    else:
        os.mkfifo(tmp_path / "pipe")
        target = tmp_path / "pipe"
    if kind == "link to a pipe":
        target = tmp_path / "link.gz"
        target.symlink_to(tmp_path / "pipe")
    before = target.lstat()
    with pytest.raises(GaitprintError, match="which Gaitprint does not replace"):
        run("export", str(target), "--overwrite")
    assert (target.lstat().st_ino, target.lstat().st_mode) == (before.st_ino, before.st_mode)


@pytest.fixture
def over(db: Path) -> None:
    """Anna's walks are Old's now, whose time was over yesterday."""
    with SqliteGallery(db) as gallery:
        (record,) = gallery.records("Anna Berg")
        gallery.forget("Anna Berg")
        past = datetime.now(timezone.utc) - timedelta(days=1)
        gallery.restore([record._replace(person=Person(0, "Old", "yes", past, past, 2))])


@pytest.mark.usefixtures("over")
def test_those_whose_time_is_over_are_forgotten_by_any_command(run: Run, db: Path, tmp_path: Path) -> None:
    files = followed(tmp_path)
    assert "Forgotten, because their time was over: Old" in run("stats")
    assert not any(file.exists() for file in files)
    assert people(db) == {"Ben": 1}


@pytest.mark.usefixtures("over")
def test_nobody_is_kept_longer_because_a_program_is_at_work(run: Run, db: Path, tmp_path: Path) -> None:
    files = followed(tmp_path)
    with in_use(tmp_path):
        told = run("stats")
        assert "Another program is at work" in told
        assert "Forgotten, because their time was over: Old" in told
        assert people(db) == {"Ben": 1}
        assert all(file.exists() for file in files)
    assert not any(file.exists() for file in files), "deleted when that program ended"


def test_a_gallery_that_is_not_there_is_not_made(run: Run, db: Path) -> None:
    db.unlink()
    for command in (["list"], ["stats"], ["log"], ["forget", "Ben", "--yes"], ["export", str(db.parent / "x")]):
        with pytest.raises(GaitprintError, match="no gallery at"):
            run(*command)
    assert list(db.parent.glob("*")) == []
