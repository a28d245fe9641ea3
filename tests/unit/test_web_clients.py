"""Programs with tokens: what each scope may do, and that nobody else gets in."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs the extra 'web'")
pytest.importorskip("httpx2", reason="needs httpx2, for the test client")

from fastapi.routing import APIRoute
from starlette.testclient import TestClient

from app.cli.main import main
from app.gallery.sqlite import SqliteGallery
from app.gallery.store import NewWalk
from app.types import Embedding
from app.web.api import router
from app.web.clients import Clients
from app.web.options import WebOptions
from app.web.security import TOKEN_HEADER
from app.web.server import create_app
from tests.documentation.pages import ROOT, blocks_of
from tests.studio import served

HERE = "http://127.0.0.1:8765"


@pytest.fixture
def options(tmp_path: Path) -> WebOptions:
    with SqliteGallery(tmp_path / "gallery.db") as gallery:
        walk = NewWalk(Embedding(np.ones((2, 8), np.float32), "gei", 9), "anna.mp4")
        gallery.enrol("Anna", [walk], consent="yes")
    return WebOptions(tmp_path / "web", tmp_path / "gallery.db", tmp_path / "input", password="secret")


@pytest.fixture
def client(options: WebOptions) -> Iterator[TestClient]:
    """Somebody without cookies."""
    with TestClient(create_app(options), base_url=HERE) as client:
        yield client


def header(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_each_scope_allows_what_those_before_it_allow(client: TestClient, options: WebOptions) -> None:
    requests = (
        ("GET", "/api/people", None, (200, 200, 200)),
        ("GET", "/api/openapi.json", None, (200, 200, 200)),
        ("POST", "/api/jobs", {"kind": "survey", "probes": ["1" * 32]}, (403, 404, 404)),
        ("POST", "/api/videos?name=a.mp4", None, (403, 422, 422)),
        ("GET", "/api/clients", None, (403, 403, 200)),
        ("PATCH", "/api/people/1", {"name": "Anne"}, (403, 403, 204)),
        ("POST", "/api/clients", {"name": "more", "scope": "admin"}, (403, 403, 201)),
        ("DELETE", "/api/people/1", None, (403, 403, 200)),
    )
    for place, scope in enumerate(("read", "enrol", "admin")):
        sent = header(Clients(options.folder).create(f"a {scope}", scope))
        for method, path, content, status in requests:
            answer = client.request(method, path, json=content, headers=sent)
            assert answer.status_code == status[place], (scope, method, path, answer.text)
            if answer.status_code == 403:
                assert f"has the scope {scope}, but" in answer.json()["detail"]


def test_a_read_token_changes_nothing_whatever_it_asks_for(client: TestClient, options: WebOptions) -> None:
    sent = header(Clients(options.folder).create("reader", "read"))
    changing = [
        (method, route.path)
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in sorted(route.methods - {"GET", "HEAD"})
    ]
    assert len(changing) > 15
    for method, path in changing:
        filled = path.replace("{person_id}", "1").replace("{walk_id}", "1").replace("{place}", "0")
        assert client.request(method, filled, headers=sent).status_code == 403, (method, path)


def test_tokens_that_nobody_has_let_nobody_in(client: TestClient, options: WebOptions) -> None:
    clients = Clients(options.folder)
    token = clients.create("door sign", "admin")
    digest = next((options.folder / "clients").iterdir()).stem
    (options.folder / "clients" / "note.json").write_text("{}")
    for wrong in ("", "x", token[:-1], token.upper(), digest, "note", "../clients/note", "secret", "a" * 9000):
        assert client.get("/api/people", headers=header(wrong)).status_code == 401, wrong
    for scheme in ("Basic", "", "bearer x"):
        assert client.get("/api/people", headers={"Authorization": f"{scheme} {token}"}).status_code == 401, scheme
    assert client.get("/api/people", headers={**header(token), "Host": "evil.example"}).status_code == 421
    assert client.get("/api/people", headers={"Authorization": f"bearer {token}"}).status_code == 200
    assert client.get("/metrics", headers=header(token)).status_code == 200
    clients.revoke("door sign")
    assert client.get("/api/people", headers=header(token)).status_code == 401
    assert client.get("/metrics", headers=header(token)).status_code == 401


def test_the_token_is_nowhere_in_the_files(options: WebOptions) -> None:
    token = Clients(options.folder).create("door sign", "read")
    (path,) = (options.folder / "clients").iterdir()
    assert token.encode() not in path.read_bytes() + path.name.encode()
    if os.name != "nt":
        assert path.stat().st_mode & 0o077 == 0


def test_a_browser_makes_and_revokes_tokens(client: TestClient) -> None:
    client.headers[TOKEN_HEADER] = client.get("/api/session").json()["token"]
    client.headers[TOKEN_HEADER] = client.post("/api/login", json={"password": "secret"}).json()["token"]
    token = client.post("/api/clients", json={"name": "a/b ü", "scope": "enrol"}).json()["token"]
    assert client.post("/api/clients", json={"name": "a/b ü"}).status_code == 409
    assert client.post("/api/clients", json={"name": "c", "scope": "all"}).status_code == 422
    (told,) = client.get("/api/clients").json()
    assert (told["name"], told["scope"], token in str(told)) == ("a/b ü", "enrol", False)
    assert [client.delete("/api/clients/a%2Fb%20%C3%BC").status_code for _ in range(2)] == [204, 404]


def test_the_command_line_makes_lists_and_revokes_tokens(
    client: TestClient, options: WebOptions, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*words: str) -> tuple[int, str]:
        code = main(["tokens", *words, "--folder", str(options.folder)])
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    assert "No program has a token" in run("list")[1]
    code, text = run("create", "door sign", "--scope", "enrol")
    assert code == 0
    token = text.split()[0]
    assert client.get("/api/jobs", headers=header(token)).status_code == 200
    assert "door sign" in run("list")[1]
    code, text = run("create", "door sign")
    assert (code, "already" in text) == (2, True), text
    assert run("revoke", "door sign")[0] == 0
    assert run("revoke", "door sign")[0] == 2
    assert client.get("/api/jobs", headers=header(token)).status_code == 401


def test_every_request_is_described_with_its_scope(client: TestClient, options: WebOptions) -> None:
    sent = header(Clients(options.folder).create("reader", "read"))
    schema = client.get("/api/openapi.json", headers=sent).json()
    asked = {(method, path) for path, methods in schema["paths"].items() for method in methods}
    there = {
        (method.lower(), route.path_format)
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in route.methods - {"HEAD"}
    }
    assert asked == there
    scopes = {(m, p): about["x-scope"] for p, methods in schema["paths"].items() for m, about in methods.items()}
    assert set(scopes.values()) == {"read", "enrol", "admin"}
    assert scopes["delete", "/api/people/{person_id}"] == "admin"
    assert all(about["description"] for methods in schema["paths"].values() for about in methods.values())


def test_the_example_of_the_guide_runs(options: WebOptions) -> None:
    (example,) = [block.text for block in blocks_of(ROOT / "docs/guide/programs.md") if block.language == "python"]
    token = Clients(options.folder).create("example", "read")
    with served(options) as address:
        ran = subprocess.run(
            [sys.executable, "-c", example],
            env=os.environ | {"GAITPRINT_URL": address, "GAITPRINT_TOKEN": token},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert (ran.returncode, ran.stdout) == (0, "Anna 1\n"), ran.stderr
