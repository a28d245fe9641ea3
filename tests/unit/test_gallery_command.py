"""``python -m app gallery``, as somebody types it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from app.cli.gallery import app
from app.errors import GaitprintError
from app.gallery.sqlite import SqliteGallery
from app.gallery.store import NewWalk
from app.types import Embedding, GaitSequence

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
def run(db: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("COLUMNS", "160")

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
    assert shown.count("kept") == 2  # until when, and one walk's silhouettes
    with pytest.raises(GaitprintError, match="Did you mean 'Ben'"):
        run("show", "Benn")


def test_an_empty_gallery_says_how_to_fill_it(run: Run) -> None:
    for name in ("Anna Berg", "Ben"):
        run("forget", name, "--yes")
    assert "app enrol" in run("list")


def test_rename_merge_and_move(run: Run, db: Path) -> None:
    run("rename", "Ben", "Benno")
    run("move", "1", "Benno")
    assert people(db) == {"Anna Berg": 1, "Benno": 2}
    assert "Anna Berg has 3 walks now" in run("merge", "Benno", "Anna Berg")
    assert people(db) == {"Anna Berg": 3}


def test_forgetting_asks_first(run: Run, db: Path) -> None:
    run("forget", "Ben", code=1, answer="n\n")
    run("forget", "Ben", code=1)  # nobody there to answer
    run("forget-walk", "1", code=1, answer="n\n")
    assert people(db) == {"Anna Berg": 2, "Ben": 1}
    told = run("forget", "Ben", answer="y\n")
    assert "Removed with 1 walk:" in told
    assert "Exports" in told
    run("forget-walk", "1", "--yes")
    assert people(db) == {"Anna Berg": 1}
    assert "Ben" not in run("log")


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
    with pytest.raises(GaitprintError, match="no exported gallery"):
        run("import", str(db))


def test_stats_and_log(run: Run) -> None:
    told = run("stats")
    assert "walks of m@12345678" in told
    assert "MB" in told
    run("rename", "Ben", "Benno")
    log = run("log")
    assert log.index("enrol") < log.index("rename")
    assert "new: Benno" in log
    lines = [json.loads(line) for line in run("log", "--json", "--limit", "2").splitlines()]
    assert [line["event"] for line in lines] == ["enrol", "rename"]


def test_walks_are_embedded_anew(run: Run, db: Path) -> None:
    told = run("re-embed", "--gait", "gei")
    assert "Embedded 1 walk with gei" in told
    assert "2 walks without silhouettes stay as they are" in told
    assert "2, 3" in told
    with SqliteGallery(db) as gallery:
        assert gallery.model_ids() == {"gei": 1, "m@12345678": 2}


def test_those_whose_time_is_over_are_forgotten_by_any_command(run: Run, db: Path) -> None:
    with SqliteGallery(db) as gallery:
        records = [(person, walks) for person, walks in gallery.records() if person.name == "Anna Berg"]
        gallery.forget("Anna Berg")
        past = datetime.now(timezone.utc) - timedelta(days=1)
        gallery.restore([(type(person)(0, "Old", "yes", past, past, 2), walks) for person, walks in records])
    assert "Forgotten, as their time was over: Old" in run("stats")
    assert people(db) == {"Ben": 1}


def test_a_gallery_that_is_not_there_is_not_made(run: Run, db: Path) -> None:
    db.unlink()
    for command in (["list"], ["stats"], ["log"], ["forget", "Ben", "--yes"], ["export", str(db.parent / "x")]):
        with pytest.raises(GaitprintError, match="no gallery at"):
            run(*command)
    assert list(db.parent.glob("*")) == []
