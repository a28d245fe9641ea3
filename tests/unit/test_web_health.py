"""Health and metrics of the server."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("fastapi", reason="needs the extra 'web'")
pytest.importorskip("httpx2", reason="needs httpx2, for the test client")

from starlette.testclient import TestClient

from app.gallery.opening import open_store
from app.gallery.sqlite import SqliteGallery
from app.web.options import ConflictError, WebOptions
from app.web.server import create_app
from tests.unit.test_gallery_sqlite import walk

if TYPE_CHECKING:
    from tests.postgres import Server


def client_of(folder: Path, **more: Any) -> TestClient:
    options = WebOptions(folder / "web", folder / "gallery.db", folder / "input", **more)
    return TestClient(create_app(options), base_url="http://127.0.0.1:8765")


def test_health_follows_the_gallery(tmp_path: Path) -> None:
    with client_of(tmp_path, token="secret") as client:
        assert client.get("/healthz").json() == {"status": "ok"}
        # Another file in its place, as from a wrong backup. What is written into a file that is open counts for nothing
        # as long as SQLite's log of it has everything.
        (tmp_path / "other").write_bytes(b"no gallery" * 1000)
        (tmp_path / "other").replace(tmp_path / "gallery.db")
        for log in tmp_path.glob("gallery.db-*"):
            log.unlink(missing_ok=True)
        answer = client.get("/healthz")
        assert answer.status_code == 503
        assert str(tmp_path) not in answer.text


def test_metrics_are_in_the_text_format_of_prometheus(tmp_path: Path) -> None:
    with SqliteGallery(tmp_path / "gallery.db") as gallery:
        gallery.enrol("Anna", [walk(1), walk(2)], consent="yes")
    with client_of(tmp_path) as client:
        answer = client.get("/metrics")
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        lines = answer.text.splitlines()
        for line in lines:
            assert re.fullmatch(r"# (HELP|TYPE) \w+ .+|\w+(\{\w+=\"[^\"]*\"\})? [0-9.]+", line), line
        assert "gaitprint_people 1" in lines
        assert "gaitprint_walks 2" in lines
        assert 'gaitprint_runs{state="queued"} 0' in lines


def test_metrics_need_the_password_where_there_is_one(tmp_path: Path) -> None:
    with client_of(tmp_path, password="secret") as client:
        assert client.get("/metrics").status_code == 401
        assert client.get("/metrics", headers={"Authorization": "Bearer secret"}).status_code == 200
        answers = [client.get("/metrics", headers={"Authorization": "Bearer x"}).status_code for _ in range(7)]
        assert answers[0] == 401
        assert answers[-1] == 429
        assert client.get("/healthz").status_code == 200


def test_the_page_takes_a_gallery_in_postgres(postgres: Server, tmp_path: Path) -> None:
    address = postgres.new_database()
    options = WebOptions(tmp_path / "web", address, tmp_path / "input")
    with TestClient(create_app(options), base_url="http://127.0.0.1:8765") as client:
        token = client.get("/api/session").json()["token"]
        assert client.get("/api/people").json() == []
        with open_store(address) as gallery:
            gallery.enrol("Anna", [walk(1), walk(2)], consent="yes")
        (anna,) = client.get("/api/people").json()
        assert (anna["name"], anna["walks"]) == ("Anna", 2)
        assert "gaitprint_walks 2" in client.get("/metrics").text
        headers = {"X-Gaitprint-Token": token}
        place = f"/api/people/{anna['person_id']}"
        assert client.delete(place, headers=headers).status_code in (200, 204)
        assert client.get("/api/people").json() == []
    with pytest.raises(ConflictError, match="does not exist"):
        create_app(WebOptions(tmp_path / "web", postgres.new_database(), tmp_path / "input"))
    postgres.recycle()
