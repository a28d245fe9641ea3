"""Requests to every route of the web page: none makes the server fail, and without the password nothing is answered."""

from __future__ import annotations

import contextlib
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote

from app.gallery.sqlite import SqliteGallery
from tests.campaigns.crew import Attempt, FaultError, Part, SkippedError
from tests.campaigns.inputs import people
from tests.campaigns.mutations import mutated, mutated_json

REQUESTS = 40
"""How many requests an attempt makes."""
_TEXTS = (
    *(
        "0",
        "-1",
        " 1",
        "1_0",
        "1e3",
        "NaN",
        str(2**63),
        str(2**64),
        "1" * 5000,
        "%ED%A0%80",
        "%00",
        "%FF",
        "..",
        "%2e%2e%2f",
    ),
    *(
        "[",
        "results.json",
        "a" * 32,
        "a" * 300,
        "%F0%9F%98%80",
        "%0d%0aX:1",
        "..%5c",
        "~",
        "CON",
        "x;y",
        "a?b=c",
        "//evil",
    ),
)
_VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        0,
        -1,
        2**63,
        -(2**70),
        1e308,
        float("nan"),
        float("inf"),
        1e-320,
        "",
        "x",
        "x" * 5000,
        "\ud800",
        "a\x00b",
    ),
    *(
        "\x1b[31m",
        "=1+1",
        [],
        {},
        [[]],
        ["\ud800"],
        ["x"] * 30,
        {"name": {}},
        "identify",
        "survey",
        "compare",
        "Zoe",
        0.05,
    ),
)
_FIELDS = (
    *(
        "name",
        "consent",
        "retain_days",
        "keep_silhouettes",
        "person_id",
        "password",
        "kind",
        "gallery",
        "probes",
        "blur",
    ),
    *("far", "x"),
)
_HEADERS: tuple[str | bytes, ...] = (
    *(
        "[",
        "http://[",
        "]",
        "-1",
        "1e3",
        "bytes=-",
        "bytes=9-1,,",
        "bytes=0-0,5-",
        "x" * 9000,
        "a;b=\t",
        b"\xff",
        "null",
    ),
    *(
        "localhost/x",
        "localhost:99999",
        "127.0.0.1:8765@evil",
        "evil.com",
        "",
        "gzip, chunked",
        'W/"',
        "text/html; charset=x",
    ),
)
_NAMES = (
    *("Range", "Origin", "Host", "Cookie", "Content-Length", "If-Range", "Content-Type", "If-None-Match", "Accept"),
    *("X-Gaitprint-Token", "X-Forwarded-For", "Transfer-Encoding", "Sec-Fetch-Site", "If-Modified-Since", "Expect"),
)
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "get", "X" * 300)
_OPEN = {"/api/session", "/api/login"}
_SECRET = "0.123456789012"  # stands in every body of an answer that only who is let in may see


def prepare(folder: Path) -> Attempt:
    try:
        from starlette.testclient import TestClient
    except (ImportError, RuntimeError) as error:
        raise SkippedError(f"the test client of the page is missing ({error})") from error
    from app.web.api import router
    from app.web.jobs import Job, JobStore
    from app.web.options import WebOptions
    from app.web.outcome import Outcome, SeenVideo
    from app.web.server import create_app

    def site(place: Path, password: str | None, random: Random | None) -> tuple[Any, dict[str, str]]:
        """Make a page with people and a run; return the application, and ids that lead somewhere.

        With random numbers, one of the files that the page has written earlier is damaged.
        """
        options = WebOptions(place / "web", place / "gallery.db", place / "input", password=password, token="token")
        with SqliteGallery(options.gallery) as gallery:
            for name, walks in people(count=2).items():
                gallery.enrol(name, walks, consent=_SECRET)
        video_id, jobs = "1" * 32, JobStore(options.folder)
        job = Job(kind="survey", probes=[video_id], names={video_id: "walk.mp4"}, state="done")
        result = jobs.result(job)
        (result / "run" / "crops" / "walk").mkdir(parents=True)
        track = {
            **dict.fromkeys(("identity", "probability", "confidence", "threshold")), "track_id": 1, "frames": [0],
            "boxes": [[0, 0, 1, 1]], "status": "unusable", "reason": "too short: 0.2 s", "candidates": [],
        }  # fmt: skip
        report = {"video": "walk.mp4", "width": 8, "height": 8, "fps": 25.0, "frame_count": 9, "warnings": [_SECRET]}
        content = {"probes": [{**report, "tracks": [track]}], "models": {}, "timings": {}}
        (result / "run" / "results.json").write_text(json.dumps(content))
        (result / "run" / "crops" / "walk" / "1.jpg").write_bytes(b"picture")
        outcome = Outcome(videos=[SeenVideo(video_id=video_id, name="walk", painted="walk.mp4")], identities=[])
        (result / "outcome.json").write_text(outcome.model_dump_json())
        jobs.save(job)
        right = {"job_id": job.job_id, "place": "0", "track_id": "1", "person_id": "1", "name": "results.json"}
        if random is not None:
            path = random.choice(sorted(options.folder.rglob("*.json")))
            path.write_bytes(mutated_json(path.read_bytes(), random))
        return create_app(options), right

    def routes(application: Any) -> Iterator[tuple[str, str]]:
        for route in (*application.routes, *router.routes):
            if getattr(route, "methods", None) and route.path != "/api/events":  # that one has no end
                yield from ((method, route.path) for method in sorted(route.methods))

    def request(random: Random, found: list[tuple[str, str]], right: dict[str, str]) -> tuple[str, str, dict[str, Any]]:
        method, path = random.choice(found)
        if random.random() < 0.1:
            method = random.choice(_METHODS)

        def part(place: re.Match[str]) -> str:
            return random.choice((right.get(place[1], "1" * 32),) * 3 + tuple(random.sample(_TEXTS, 2)))

        path = re.sub(r"\{(\w+)(:path)?\}", part, path)
        if random.random() < 0.1:
            path = quote(mutated(path.encode(), random)) or "/"
        fields = {field: random.choice(_VALUES) for field in _FIELDS if random.random() < 0.7}
        body = json.dumps(fields).encode()
        if random.random() < 0.3:
            body = random.choice((mutated(body, random), mutated_json(body, random), b"", b"[" * 30_000, b"\xff\xfe"))
        headers: dict[str, Any] = {"Content-Type": "application/json"}
        while random.random() < 0.3:
            headers[random.choice(_NAMES)] = random.choice(_HEADERS)
        query = f"?{random.choice(('name', 'token', 'x', 'person_id'))}={random.choice(_TEXTS)}"
        return method, (path if path.startswith("/") else f"/{path}") + query, {"content": body, "headers": headers}

    def attempt(random: Random, place: Path) -> None:
        logging.getLogger("app").setLevel(logging.CRITICAL)
        password = random.choice(("open sesame", None))
        signed_in = random.random() < 0.6
        application, right = site(place, password, random if random.random() < 0.3 else None)
        found = sorted(set(routes(application)))
        here = "http://127.0.0.1:8765"
        with TestClient(application, base_url=here, raise_server_exceptions=False, follow_redirects=False) as client:
            token = client.get("/api/session").json()["token"]
            if signed_in and password:
                answer = client.post("/api/login", json={"password": password}, headers={"X-Gaitprint-Token": token})
                token = answer.json()["token"]
            elif signed_in:
                client.get("/?token=token")
                token = client.get("/api/session").json()["token"]
            client.headers["X-Gaitprint-Token"] = token
            for _ in range(REQUESTS):
                method, path, more = request(random, found, right)
                with contextlib.suppress(ValueError, TypeError):  # the client itself does not send some requests
                    answer = client.request(method, here + path, **more)
                    _check(answer, f"{method} {path[:300]} {more}"[:3000], signed_in)

    return attempt


def _check(answer: Any, asked: str, signed_in: bool) -> None:
    if answer.status_code >= 500:
        raise FaultError(f"{answer.status_code}: {asked}\n{answer.text[:2000]}")
    path = answer.url.path
    if signed_in:
        return
    if _SECRET in answer.text or (path.startswith("/api/") and path not in _OPEN and answer.status_code < 400):
        raise FaultError(f"answered without a password ({answer.status_code}): {asked}\n{answer.text[:2000]}")


PARTS: dict[str, Part] = {"requests": Part(prepare, 250, seconds=120, each=REQUESTS, what="requests")}
