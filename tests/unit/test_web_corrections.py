"""The gallery corrected through the web interface: the requests that the page sends, without a run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timezone
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs the extra 'web'")
pytest.importorskip("httpx2", reason="needs httpx2, for the test client")

from starlette.testclient import TestClient

from app.gallery.sqlite import SqliteGallery
from app.gallery.store import Merge, NewWalk, Person
from app.types import Embedding
from app.web.bin import Bin, DeletedWalk
from app.web.options import NotThereError, WebOptions
from app.web.security import TOKEN_HEADER
from app.web.server import create_app
from app.workspace import in_use
from tests.clips import Scene, write_clip


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    rng = np.random.default_rng(0)
    with SqliteGallery(tmp_path / "gallery.db") as gallery:
        for name in ("Anna", "Ben", "Cleo"):
            parts = rng.normal(size=(2, 8)).astype(np.float32)
            gallery.enrol(name, [NewWalk(Embedding(parts, "gei", 9), f"{name}.mp4")], consent="yes")
    options = WebOptions(tmp_path / "web", tmp_path / "gallery.db", tmp_path / "input")
    with TestClient(create_app(options), base_url="http://127.0.0.1:8765") as client:
        client.headers[TOKEN_HEADER] = client.get("/api/session").json()["token"]
        yield client


def people(client: TestClient) -> dict[str, int]:
    return {person["name"]: person["walks"] for person in client.get("/api/people").json()}


def test_people_are_corrected_and_forgotten(client: TestClient) -> None:
    anna, ben, cleo = (person["person_id"] for person in client.get("/api/people").json())
    assert client.patch(f"/api/people/{ben}", json={"name": "Benno"}).status_code == 204
    (walk,) = client.get(f"/api/people/{ben}").json()["walk_list"]
    assert client.post(f"/api/walks/{walk['walk_id']}/move", json={"name": "Cleo"}).status_code == 204
    assert people(client) == {"Anna": 1, "Benno": 0, "Cleo": 2}
    assert client.post(f"/api/people/{cleo}/merge", json={"person_id": anna}).status_code == 200
    assert people(client) == {"Anna": 3, "Benno": 0}
    assert client.delete(f"/api/walks/{walk['walk_id']}").status_code == 200
    assert people(client) == {"Anna": 2, "Benno": 0}
    assert client.delete(f"/api/people/{anna}").json() == {"walks": 2, "results": 0}
    assert people(client) == {"Benno": 0}
    events = [event["event"] for event in client.get("/api/log").json()]
    assert events[:5] == ["forget", "forget walk", "merge", "move", "rename"]


def test_consent_and_retention_are_changed(client: TestClient) -> None:
    anna = client.get("/api/people").json()[0]["person_id"]
    path, until = f"/api/people/{anna}/consent", "2030-01-02T03:04:05+00:00"
    assert client.put(path, json={"consent": "form 8", "expires": until}).status_code == 204
    told = client.get(f"/api/people/{anna}").json()
    assert (told["consent"], told["expires"]) == ("form 8", until.replace("+", "+"))
    assert client.put(path, json={"consent": "form 8", "expires": None}).status_code == 204
    assert client.get(f"/api/people/{anna}").json()["expires"] is None
    past = {"consent": "x", "expires": "2001-01-01T00:00:00Z"}
    blank = [{"consent": text, "expires": None} for text in ("", " ")]
    for wrong in (*blank, past, {"consent": "x"}, {"consent": "x", "expires": "soon"}):
        assert client.put(path, json=wrong).status_code == 422, wrong


def test_who_asks_for_access_gets_a_zip(client: TestClient) -> None:
    anna = client.get("/api/people").json()[0]["person_id"]
    assert client.patch(f"/api/people/{anna}", json={"name": "Änna/B"}).status_code == 204
    answer = client.get(f"/api/people/{anna}/access")
    assert answer.headers["Content-Disposition"] == "attachment; filename*=UTF-8''%C3%84nna%2FB.zip"
    with ZipFile(BytesIO(answer.content)) as archive:
        assert json.loads(archive.read("person.json"))["name"] == "Änna/B"
        assert "videos.json" in archive.namelist()
    assert client.get("/api/people/99/access").status_code == 404


def test_how_walks_stand_between_their_person_and_others(client: TestClient) -> None:
    anna, ben, _ = (person["person_id"] for person in client.get("/api/people").json())
    (one,) = client.get(f"/api/people/{anna}/standings").json()
    assert (one["own"], one["harms"], one["nearest"] in ("Ben", "Cleo")) == (None, False, True)
    client.post(f"/api/people/{ben}/merge", json={"person_id": anna})
    first, second = client.get(f"/api/people/{anna}/standings").json()
    assert first["own"] == second["own"] > 0
    assert client.get("/api/people/99/standings").status_code == 404


def test_merges_and_deleted_walks_can_be_undone(client: TestClient) -> None:
    anna, _, cleo = (person["person_id"] for person in client.get("/api/people").json())
    merge = client.post(f"/api/people/{cleo}/merge", json={"person_id": anna}).json()["key"]
    walks = client.get(f"/api/people/{anna}").json()["walk_list"]
    deleted = client.delete(f"/api/walks/{walks[0]['walk_id']}").json()["key"]
    told = [{**entry, "seconds": entry["seconds"] > 590} for entry in client.get("/api/bin").json()]
    assert told == [
        {"key": deleted, "kind": "walk", "seconds": True, "name": "Anna", "person_id": anna, "source": "Anna.mp4"},
        {"key": merge, "kind": "merge", "seconds": True, "name": "Cleo", "into": "Anna"},
    ]
    for key in (merge, deleted):
        assert client.post(f"/api/bin/{key}/restore").status_code == 204
        again = client.post(f"/api/bin/{key}/restore")
        assert (again.status_code, "cannot be undone" in again.text) == (404, True)
    assert people(client) == {"Anna": 1, "Ben": 1, "Cleo": 1}
    assert client.get("/api/bin").json() == []


def test_forgetting_empties_the_bin_of_the_person(client: TestClient, tmp_path: Path) -> None:
    anna, ben, cleo = (person["person_id"] for person in client.get("/api/people").json())
    (walk,) = client.get(f"/api/people/{cleo}").json()["walk_list"]
    keys = [client.delete(f"/api/walks/{walk['walk_id']}").json()["key"]]
    keys.append(client.post(f"/api/people/{cleo}/merge", json={"person_id": anna}).json()["key"])
    kept = client.post(f"/api/people/{anna}/merge", json={"person_id": ben}).json()["key"]
    assert client.delete(f"/api/bin/{kept}").status_code == 204
    assert [entry["key"] for entry in client.get("/api/bin").json()] == []  # nobody could be found again
    for key in keys:
        assert client.post(f"/api/bin/{key}/restore").status_code == 404
    assert people(client) == {"Ben": 2}


def test_the_bin_follows_who_is_forgotten_elsewhere_and_empties_itself() -> None:
    now = 0.0
    bin_ = Bin(lambda: now)
    long_ago = datetime(2026, 1, 1, tzinfo=timezone.utc)
    anna, ben, cleo = (Person(number, name, "yes", long_ago, None, 1) for number, name in enumerate("ABC", 1))
    walk = NewWalk(Embedding(np.zeros((2, 8), np.float32), "gei", 9), "a.mp4")
    deleted, merge = bin_.put(DeletedWalk(anna, 1, walk)), bin_.put(Merge(anna, ben, (), (), (), ()))
    other = bin_.put(DeletedWalk(cleo, 2, walk))
    bin_.keep_only({2, 3})
    assert [entry.key for entry in bin_.all()] == [other, merge, deleted], "Anna was merged into Ben, who is there"
    bin_.keep_only({3})
    assert [entry.key for entry in bin_.all()] == [other]
    now = 599.0
    assert bin_.get(other)
    now = 601.0
    assert bin_.all() == []
    with pytest.raises(NotThereError):
        bin_.get(other)


def test_what_cannot_be_done_says_why(client: TestClient, tmp_path: Path) -> None:
    anna, ben, _ = (person["person_id"] for person in client.get("/api/people").json())
    for method, path, content, status, why in (
        ("PATCH", f"/api/people/{anna}", {"name": "Ben"}, 422, "Somebody is called 'Ben' already"),
        ("PATCH", f"/api/people/{anna}", {"name": ""}, 422, "name: String should have at least 1 character"),
        ("PATCH", f"/api/people/{anna}", {}, 422, "name: Field required"),
        ("PATCH", "/api/people/99", {"name": "Zoe"}, 404, "not there any more"),
        ("POST", f"/api/people/{anna}/merge", {"person_id": anna}, 422, "cannot be merged"),
        ("POST", f"/api/people/{anna}/merge", {"person_id": 99}, 404, "not there any more"),
        ("POST", f"/api/people/{anna}/merge", {"person_id": "Ben"}, 422, "person_id: Input should be a valid integer"),
        ("POST", "/api/walks/1/move", {"name": "Zoe"}, 422, "no 'Zoe'"),
        ("DELETE", "/api/walks/99", None, 422, "no walk 99"),
    ):
        answer = client.request(method, path, json=content)
        assert answer.status_code == status, (method, path, content, answer.text)
        assert why in answer.text, (method, path, content, answer.text)
    with in_use(tmp_path):
        for path in ("/api/walks/1", f"/api/people/{ben}"):
            answer = client.delete(path)
            assert (answer.status_code, "Another program is at work" in answer.text) == (422, True)
    assert people(client) == {"Anna": 1, "Ben": 1, "Cleo": 1}


def test_a_deleted_upload_leaves_no_silhouettes(client: TestClient, tmp_path: Path) -> None:
    write_clip(tmp_path / "walk.mp4", Scene((), width=64, height=48, seconds=0.2))
    content = (tmp_path / "walk.mp4").read_bytes()
    video_id = client.post("/api/videos", params={"name": "walk.mp4"}, content=content).json()["video_id"]
    archive = tmp_path / "web" / "work" / "cache" / f"{'0a' * 16}.zip"
    archive.parent.mkdir(parents=True)
    archive.write_bytes(b"silhouettes")
    with in_use(tmp_path):  # a command at work elsewhere is no reason to refuse
        assert client.delete(f"/api/videos/{video_id}").status_code == 204
    assert not archive.exists()
    assert client.get("/api/videos").json() == []


def test_an_unknown_address_gets_the_page_and_says_so(client: TestClient) -> None:
    page = client.get("/no/such/place", headers={"Accept": "text/html"})
    assert (page.status_code, "js/main.js" in page.text) == (404, True)
    for address in ("/api/nowhere", "/nowhere.js"):
        answer = client.get(address, headers={"Accept": "*/*"})
        assert (answer.status_code, answer.json()) == (404, {"detail": "There is nothing at this address."})
