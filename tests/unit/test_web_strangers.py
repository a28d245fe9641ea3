"""Strangers through the web interface: listed, named, merged, dropped."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the extra 'web'")
pytest.importorskip("httpx2", reason="needs httpx2, for the test client")

from starlette.testclient import TestClient

from app.gallery.sqlite import SqliteGallery
from app.web.options import WebOptions
from app.web.security import TOKEN_HEADER
from app.web.server import create_app
from app.workspace import in_use
from tests.studio import meet_strangers, picture_of


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    options = WebOptions(tmp_path / "web", tmp_path / "gallery.db", tmp_path / "input")
    with TestClient(create_app(options), base_url="http://127.0.0.1:8765") as client:
        client.headers[TOKEN_HEADER] = client.get("/api/session").json()["token"]
        yield client


def names(client: TestClient) -> dict[str, int]:
    return {one["name"]: one["walks"] for one in client.get("/api/strangers").json()}


def test_a_gallery_may_have_none(client: TestClient) -> None:
    assert client.get("/api/strangers").json() == []
    for method, path in (("GET", "1"), ("DELETE", "1"), ("POST", "1/name"), ("POST", "1/merge")):
        content = {"name": "Anna", "stranger_id": 2} if method == "POST" else None
        answer = client.request(method, f"/api/strangers/{path}", json=content)
        assert (answer.status_code, "no strangers" in answer.text) == (404, True), answer.text


def test_strangers_are_named_merged_and_dropped(client: TestClient, tmp_path: Path) -> None:
    meet_strangers(tmp_path / "gallery.db", "yard", "hall", "gate", "door")
    assert names(client) == {f"stranger-000{number}": 1 for number in (4, 3, 2, 1)}
    assert next(iter(names(client))) == "stranger-0004", "who was seen last comes first"
    first = client.get("/api/strangers/1").json()
    assert (first["cameras"], [seen["camera"] for seen in first["sightings"]]) == (["yard"], ["yard"])
    assert client.post("/api/strangers/1/merge", json={"stranger_id": 2}).status_code == 204
    second = client.get("/api/strangers/2").json()
    assert (second["cameras"], [seen["camera"] for seen in second["sightings"]]) == (["hall", "yard"], ["hall", "yard"])
    refused = client.post("/api/strangers/2/name", json={"name": "Anna"})
    assert (refused.status_code, "agreed" in refused.text) == (422, True)
    anna = client.post("/api/strangers/2/name", json={"name": "Anna", "consent": "yes", "retain_days": 9}).json()
    person = client.get(f"/api/people/{anna['person_id']}").json()
    assert (person["name"], person["walks"], bool(person["expires"])) == ("Anna", 2, True)
    seen = client.get(f"/api/people/{anna['person_id']}/cameras").json()
    assert [(one["camera"], one["event"]) for one in seen] == [("hall", "left"), ("yard", "left")]
    assert client.get("/api/people/99/cameras").status_code == 404
    assert client.post("/api/strangers/3/name", json={"name": "anna"}).json() == anna
    with in_use(tmp_path):
        assert client.delete("/api/strangers/4").status_code == 422
    assert client.delete("/api/strangers/4").json() == {"walks": 1}
    assert (names(client), client.get("/api/strangers/4").status_code) == ({}, 404)
    assert "stranger-0004" not in client.get("/api/log").text


def test_strangers_are_found_by_the_days_on_which_they_were_seen(client: TestClient, tmp_path: Path) -> None:
    meet_strangers(tmp_path / "gallery.db", "yard", "hall", "gate")
    with SqliteGallery(tmp_path / "gallery.db") as gallery:
        for _ in range(3):
            gallery.record("left", source="door", name=None, stranger="stranger-0002")
        gallery.record("left", source="door", name="Anna", stranger=None)
    with closing(sqlite3.connect(tmp_path / "gallery.db")) as db, db:
        times = ["2026-05-03T10:14:59", "2026-05-03T10:00:00", "2026-05-01T23:59:59"]
        rows = db.execute("SELECT event_id FROM event WHERE details LIKE '%door%' ORDER BY event_id").fetchall()
        for (number,), time in zip(rows, times, strict=False):
            db.execute("UPDATE event SET time = ? WHERE event_id = ?", (f"{time}.000000+00:00", number))
    assert client.post("/api/strangers/2/merge", json={"stranger_id": 3}).status_code == 204
    seen = {one["name"]: one["seen"] for one in client.get("/api/strangers").json()}
    assert [time[:16] for time in seen["stranger-0003"][:2]] == ["2026-05-01T23:45", "2026-05-03T10:00"]
    assert len(seen["stranger-0003"]) in (3, 4), "those two, and the meetings of just now"
    assert len(seen["stranger-0001"]) == 1


def kept(folder: Path, camera: str) -> list[Path]:
    """The files that hold the picture of whom a camera has seen."""
    content = picture_of(camera)[20:]  # without what all JPEGs begin with
    return [path for path in folder.rglob("*") if path.is_file() and content in path.read_bytes()]


def test_pictures_of_strangers_go_with_them(client: TestClient, tmp_path: Path) -> None:
    meet_strangers(tmp_path / "gallery.db", "yard", "hall", "gate", "door")
    assert [one["has_picture"] for one in client.get("/api/strangers").json()] == [False, True, True, True]
    assert client.get("/api/strangers/1/picture").content == picture_of("yard")
    assert client.get("/api/strangers/4/picture").status_code == 404
    client.post("/api/strangers/1/merge", json={"stranger_id": 2})
    second = client.get("/api/strangers/2").json()
    assert [(walk["camera"], walk["has_picture"]) for walk in second["walk_list"]] == [("yard", True), ("hall", True)]
    path = f"/api/strangers/{{}}/walks/{second['walk_list'][0]['walk_id']}/picture"
    assert client.get(path.format(2)).content == picture_of("yard")
    assert client.get(path.format(3)).status_code == 404, "it is nobody else's"
    anna = client.post("/api/strangers/2/name", json={"name": "Anna", "consent": "yes"}).json()["person_id"]
    assert client.get(f"/api/people/{anna}/picture").content in (picture_of("yard"), picture_of("hall"))
    assert [path.name for path in kept(tmp_path, "yard")] == ["gallery.db"]
    assert [path.name for path in kept(tmp_path, "gate")] == ["gallery.strangers.db"]
    assert client.delete(f"/api/people/{anna}").status_code == 200
    assert client.delete("/api/strangers/3").status_code == 200
    assert [kept(tmp_path, camera) for camera in ("yard", "hall", "gate")] == [[], [], []]


def test_pictures_of_strangers_go_when_their_time_is_over(client: TestClient, tmp_path: Path) -> None:
    meet_strangers(tmp_path / "gallery.db", "yard", "hall")
    site = client.app.state.site  # type: ignore[attr-defined]
    site.people.expire(datetime.now(timezone.utc) + timedelta(days=2))
    assert kept(tmp_path, "yard")
    site.people.expire(datetime.now(timezone.utc) + timedelta(days=4))
    assert (kept(tmp_path, "yard"), client.get("/api/strangers").json()) == ([], [])
