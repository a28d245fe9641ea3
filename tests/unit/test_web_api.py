"""The requests of the page: how much they cost, and that no request makes the server fail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs the extra 'web'")
pytest.importorskip("httpx2", reason="needs httpx2, for the test client")

from starlette.testclient import TestClient

from app.gallery.database import Database
from app.gallery.sqlite import SqliteGallery
from app.gallery.store import NewWalk
from app.types import Embedding
from app.web.options import WebOptions
from app.web.server import create_app

HERE = "http://127.0.0.1:8765"


@pytest.fixture
def options(tmp_path: Path) -> WebOptions:
    return WebOptions(tmp_path / "web", tmp_path / "gallery.db", tmp_path / "input")


def test_how_often_the_gallery_is_read_does_not_depend_on_how_many_people_there_are(
    options: WebOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng, reads = np.random.default_rng(0), 0

    def people(count: int) -> None:
        with SqliteGallery(options.gallery) as gallery:
            for number in range(count):
                embedding = Embedding(rng.normal(size=(2, 8)).astype(np.float32), "gei", 30)
                picture = b"\xff\xd8" if number % 2 else None
                gallery.enrol(f"{count} {number}", [NewWalk(embedding, "x.mp4", thumbnail=picture)], consent="yes")

    people(1)
    reading = Database.reading

    def counted(database: Database) -> Any:
        nonlocal reads
        reads += 1
        return reading(database)

    with TestClient(create_app(options), base_url=HERE) as client:
        client.get("/api/session")
        counts: dict[str, set[int]] = {path: set() for path in ("people", "people/1", "log", "jobs", "people/1/traces")}
        for more in (0, 3, 12):
            people(more)
            for path in counts:
                with monkeypatch.context() as patch:
                    patch.setattr(Database, "reading", counted)
                    before = reads
                    assert client.get(f"/api/{path}").status_code == 200
                    counts[path].add(reads - before)
        assert {path: len(found) for path, found in counts.items()} == dict.fromkeys(counts, 1), counts
        pictures = {person["name"] for person in client.get("/api/people").json() if person["has_picture"]}
        assert pictures == {f"{count} {number}" for count in (3, 12) for number in range(1, count, 2)}
