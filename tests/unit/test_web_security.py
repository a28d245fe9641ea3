"""Who is let in: host names, tokens, passwords, headers."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the extra 'web'")
pytest.importorskip("httpx2", reason="needs httpx2, for the test client")

from starlette.datastructures import URL
from starlette.requests import Request
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from app.web.clients import Clients
from app.web.options import WebOptions
from app.web.security import TOKEN_HEADER, Guard, Sessions
from app.web.server import create_app

HERE = "http://127.0.0.1:8765"


@pytest.fixture
def open_client(tmp_path: Path) -> Iterator[TestClient]:
    with client_of(tmp_path) as client:
        yield client


def client_of(folder: Path, **more: Any) -> TestClient:
    options = WebOptions(folder / "web", folder / "gallery.db", folder / "input", **more)
    return TestClient(create_app(options), base_url=HERE)


def token(client: TestClient) -> dict[str, str]:
    return {TOKEN_HEADER: client.get("/api/session").json()["token"]}


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example:8765",
        "",
        "192.168.0.7:8765",
        *(
            f"localhost{rest}"
            for rest in ("/x", "/evil.com", "?x", "#x", "\\x", "@evil.com", ":x", ":", ":1/x", ":123456")
        ),
        *(f"localhost{rest}" for rest in (" ", ",localhost", "%2f", ":8765:8765", "\t")),
        *(
            "evil.com@localhost",
            "//localhost",
            "http://localhost",
            "[::1",
            "::1]",
            "[localhost]",
            "[::1]evil",
            "[",
            "]",
        ),
    ],
)
def test_a_foreign_host_name_is_refused(open_client: TestClient, host: str) -> None:
    assert open_client.get("/", headers={"Host": host}).status_code == 421
    assert open_client.get("/api/session", headers={"Host": host}).status_code == 421


def test_own_host_names(tmp_path: Path, open_client: TestClient) -> None:
    for host in ("localhost:8765", "127.0.0.1", "[::1]:8765", "LOCALHOST"):
        assert open_client.get("/", headers={"Host": host}).status_code == 200, host
    with client_of(tmp_path / "2", local_only=False, host_names=frozenset({"gait.example"}), password="x") as client:
        for host, status in {"gait.example": 200, "192.168.0.7:8765": 200, "evil.example": 421}.items():
            assert client.get("/", headers={"Host": host}).status_code == status, host


def test_two_host_names_are_refused(open_client: TestClient) -> None:
    for second in ("evil.example", "localhost"):
        headers = [("Host", "localhost"), ("Host", second)]
        assert open_client.get("/api/session", headers=headers).status_code == 421  # type: ignore[arg-type]


@pytest.mark.parametrize("origin", ["http://[", "http://]", "http://127.0.0.1:8765/x", "x://127.0.0.1:8765", "//"])
def test_an_origin_that_is_none_is_refused(origin: str, open_client: TestClient) -> None:
    answer = open_client.post("/api/logout", headers={**token(open_client), "Origin": origin})
    assert answer.status_code == 403


@pytest.mark.parametrize("claimed", ["/", "/api/session", "/api/login", "/x/api/people"])
def test_only_the_path_that_is_routed_counts(claimed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Starlette before 1.0.1 makes `Request.url` of the Host header, which the sender chooses."""
    with client_of(tmp_path, password="open sesame") as client:
        headers = token(client)
        monkeypatch.setattr(Request, "url", URL(f"{HERE}{claimed}"))
        for path in ("/api/people", "/api/jobs", "/api/videos", "/api/people/1", "/api/events"):
            assert client.get(path).status_code == 401, path
        assert client.post("/api/videos?name=x.mp4", content=b"x", headers=headers).status_code == 401
        for path in ("/api/people/1", f"/api/videos/{'a' * 32}", f"/api/jobs/{'a' * 32}"):
            assert client.delete(path, headers=headers).status_code == 401, path


def test_versions_in_which_the_password_can_be_bypassed_are_not_admitted() -> None:
    project = (Path(__file__).resolve().parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    (lowest,) = re.findall(r'"starlette>=([0-9.]+)', project)
    assert tuple(map(int, lowest.split("."))) >= (1, 0, 1)


def _pieces(size: int) -> Iterator[bytes]:
    for _ in range(0, size, 1 << 16):
        yield b"x" * (1 << 16)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/login"),
        ("POST", "/api/logout"),
        ("POST", "/api/jobs"),
        ("PATCH", "/api/people/1"),
        ("GET", "/api/session"),
        ("GET", "/"),
        ("PUT", "/api/videos"),
        ("POST", "/nothing"),
    ],
)
def test_a_large_body_is_refused_without_being_held(
    method: str, path: str, whole: bool, open_client: TestClient
) -> None:
    headers = token(open_client)
    size = 1 << 20
    content = b"x" * size if whole else _pieces(size)
    answer = open_client.request(method, path, content=content, headers=headers)
    assert answer.status_code == 413
    assert len(answer.content) < 1000


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("path", ["/", "/api/session", "/api/people"])
def test_a_large_head_is_refused(path: str, many: bool, open_client: TestClient) -> None:
    headers = {f"X-{number}": "x" * 700 for number in range(60)} if many else {"X-Long": "x" * 40000}
    assert open_client.get(path, headers=headers).status_code == 431
    assert open_client.get(f"{path}?{'x' * 40000}").status_code == 431
    assert open_client.get(f"/{'x' * 40000}").status_code == 431


def test_a_body_that_does_not_arrive_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.web.security._BODY_TIME", 0.05)
    sent: list[Message] = []

    async def never() -> Message:
        await asyncio.sleep(3600)
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    async def routed(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError

    headers = [(b"host", b"localhost")]
    scope = {"type": "http", "method": "GET", "path": "/api/session", "headers": headers, "query_string": b""}
    guard = Guard(routed, WebOptions(tmp_path), Sessions(None), Clients(tmp_path))
    asyncio.run(guard(scope, never, send))
    assert sent[0]["status"] == 408


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/login", {"password": "secret" * 1000}),
        ("/api/login", {"password": ["secret"]}),
        ("/api/login", {"passwort": "secret"}),
        ("/api/login", "secret"),
        ("/api/login", ["secret"]),
        ("/api/jobs", {"kind": "secret", "probes": "secret", "far": "secret"}),
        ("/api/jobs", {"secret": "secret"}),
        ("/api/people/secret/merge", {"person_id": "secret"}),
        ("/api/jobs/x/videos/secret/tracks/secret/person", {"name": "secret" * 100, "retain_days": "secret"}),
    ],
)
def test_answers_never_repeat_what_was_sent(path: str, body: Any, open_client: TestClient) -> None:
    headers = token(open_client)
    answers = [open_client.post(path, json=body, headers=headers)]
    answers.append(open_client.post(path, content=b'{"password": "secret', headers=headers))
    for answer in answers:
        assert answer.status_code in (404, 422)
        assert "secret" not in answer.text
    refused = open_client.get("/", headers={"Host": "secret.example"})
    assert "secret" not in refused.text


def test_nothing_without_a_session(open_client: TestClient) -> None:
    assert open_client.get("/api/people").status_code == 401
    open_client.get("/api/session")
    assert open_client.get("/api/people").json() == []


def test_changes_need_the_token_and_the_right_origin(open_client: TestClient) -> None:
    good = token(open_client)
    job = {"kind": "survey", "probes": ["a" * 32]}
    assert open_client.post("/api/jobs", json=job).status_code == 403
    assert open_client.post("/api/jobs", json=job, headers={TOKEN_HEADER: "wrong"}).status_code == 403
    for bad in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        assert open_client.post("/api/jobs", json=job, headers=good | bad).status_code == 403, bad
    answer = open_client.post("/api/jobs", json=job, headers=good | {"Origin": HERE, "Sec-Fetch-Site": "same-origin"})
    assert answer.status_code == 404, "let in, but there is no such video"


def test_a_token_is_worth_nothing_in_another_session(tmp_path: Path, open_client: TestClient) -> None:
    stolen = token(open_client)
    open_client.cookies.clear()
    token(open_client)
    assert open_client.post("/api/logout", headers=stolen).status_code == 403


def test_headers(open_client: TestClient) -> None:
    page, session = open_client.get("/"), open_client.get("/api/session")
    for answer in (page, session, open_client.get("/nothing"), open_client.get("/", headers={"Host": "evil"})):
        policy = answer.headers["Content-Security-Policy"]
        assert "unsafe" not in policy
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert "server" not in answer.headers
    assert session.headers["Cache-Control"] == "no-store"
    cookie = session.headers["Set-Cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie


def test_pages_hold_no_inline_script_and_fetch_nothing_from_elsewhere() -> None:
    folder = Path(__file__).resolve().parents[2] / "app" / "web" / "pages"
    for path in [*folder.rglob("*.html"), *folder.rglob("*.js"), *folder.rglob("*.css")]:
        text = path.read_text(encoding="utf-8")
        for word in ("https://", "http://", "innerHTML", "insertAdjacentHTML", "document.write", "eval(", ' onclick="'):
            assert word not in text, f"{path.name}: {word}"


@pytest.mark.parametrize("path", ["/../pyproject.toml", "/%2e%2e/server.py", "/js/..%2f..%2fserver.py", "//etc/passwd"])
def test_static_files_stay_in_their_folder(open_client: TestClient, path: str) -> None:
    assert open_client.get(path).status_code in (404, 405)


def test_a_password(tmp_path: Path) -> None:
    with client_of(tmp_path, password="open sesame") as client:
        headers = token(client)
        assert client.get("/api/people").status_code == 401
        assert client.post("/api/login", json={"password": "open sesame"}).status_code == 403, "no token"
        assert client.post("/api/login", json={"password": "wrong"}, headers=headers).status_code == 401
        (before,) = client.cookies.values()
        answer = client.post("/api/login", json={"password": "open sesame"}, headers=headers)
        assert answer.status_code == 200
        assert before not in client.cookies.values(), "a session from before cannot be known by somebody else"
        assert client.get("/api/people").status_code == 200
        assert client.post("/api/logout", headers={TOKEN_HEADER: answer.json()["token"]}).status_code == 204
        assert client.get("/api/people").status_code == 401


def test_guessing_is_slowed_down(tmp_path: Path) -> None:
    with client_of(tmp_path, password="open sesame") as client:
        headers = token(client)
        answers = [client.post("/api/login", json={"password": str(n)}, headers=headers) for n in range(6)]
        assert [answer.status_code for answer in answers] == [401] * 5 + [429]
        assert 0 < int(answers[-1].headers["Retry-After"]) <= 61
        right = client.post("/api/login", json={"password": "open sesame"}, headers=headers)
        assert right.status_code == 429, "also for the right one, or the answer would tell"


def test_waiting_ends_and_is_counted_by_address(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("app.web.security.time.monotonic", lambda: now)
    sessions = Sessions("secret")
    for _ in range(5):
        sessions.count_wrong("10.0.0.1")
    assert sessions.wait("10.0.0.1") == pytest.approx(60)
    assert sessions.wait("10.0.0.2") == 0
    now += 61
    assert sessions.wait("10.0.0.1") == 0


def test_sessions_end_and_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("app.web.security.time.monotonic", lambda: now)
    sessions = Sessions("secret")
    owner, _ = sessions.begin(signed_in=True)
    for _ in range(1500):  # whoever floods the server does not throw out those who gave the password
        sessions.begin()
    assert sessions.find(owner) is not None
    now += 13 * 3600
    assert sessions.find(owner) is None
