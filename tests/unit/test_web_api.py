"""The requests of the page: how much they cost, and that no request makes the server fail."""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs the extra 'web'")
pytest.importorskip("httpx2", reason="needs httpx2, for the test client")

from starlette.routing import Route
from starlette.testclient import TestClient

from app.gallery.sqlite import SqliteDatabase, SqliteGallery
from app.gallery.store import NewWalk
from app.types import Embedding
from app.video.sources import distinct_names
from app.web import server
from app.web.api import router
from app.web.jobs import Job, JobStore
from app.web.options import WebError, WebOptions
from app.web.outcome import Outcome, SeenVideo
from app.web.security import TOKEN_HEADER
from app.web.server import create_app
from tests.clips import Scene, write_clip

HERE = "http://127.0.0.1:8765"


ODD_TEXTS = (
    "0", "-1", " 1", "1_0", "1e3", "NaN", str(2**63), str(2**64), "1" * 5000, "%ED%A0%80", "%00", "%FF", "..",
    "%2e%2e%2f", "[", "results.json", "a" * 32, "a" * 300, "%F0%9F%98%80", "%0d%0aX:1",
)  # fmt: skip
ODD_VALUES = (
    None, True, 0, -1, 2**63, -(2**70), 1e308, float("nan"), float("inf"), 1e-320, "", "x", "x" * 5000, "\ud800",
    "a\x00b", "\x1b[31m", "=1+1", [], {}, [[]], ["\ud800"], ["x"] * 30, {"name": {}},
)  # fmt: skip
ODD_BODIES = (b"", b"{", b"\xff\xfe", b"null", b"[]", b'"\\ud800"', b"[" * 30_000, b'{"a":' * 5000, b'{"name": NaN}')
FIELDS = (
    "name", "consent", "retain_days", "keep_silhouettes", "person_id", "password", "kind", "gallery", "probes", "blur",
    "far",
)  # fmt: skip
ODD_HEADERS: tuple[str | bytes, ...] = (
    "[",
    "http://[",
    "]",
    "-1",
    "1e3",
    "bytes=-",
    "bytes=9-1,,",
    "x" * 9000,
    "a;b=\t",
    b"\xff",
)


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
    reading = SqliteDatabase.reading

    async def never(*_: object) -> None:
        """Instead of the task that follows the gallery beside the requests, whose readings would be counted too."""

    monkeypatch.setattr(server, "_keep_following", never)

    def counted(database: SqliteDatabase) -> Any:
        nonlocal reads
        reads += 1
        return reading(database)

    with TestClient(create_app(options), base_url=HERE) as client:
        client.get("/api/session")
        counts: dict[str, set[int]] = {path: set() for path in ("people", "people/1", "log", "jobs", "people/1/traces")}
        for more in (0, 3, 12):
            people(more)
            client.get("/api/jobs")  # who is known is read once after each change
            for path in counts:
                with monkeypatch.context() as patch:
                    patch.setattr(SqliteDatabase, "reading", counted)
                    before = reads
                    assert client.get(f"/api/{path}").status_code == 200
                    counts[path].add(reads - before)
        assert {path: len(found) for path, found in counts.items()} == dict.fromkeys(counts, 1), counts
        pictures = {person["name"] for person in client.get("/api/people").json() if person["has_picture"]}
        assert pictures == {f"{count} {number}" for count in (3, 12) for number in range(1, count, 2)}


def finished(options: WebOptions, name: str = "walk.mp4") -> Job:
    """A run that is done, whose one video has a file of a run and a picture."""
    video_id = "1" * 32
    jobs = JobStore(options.folder)
    job = Job(kind="survey", probes=[video_id], names={video_id: name}, state="done")
    folder = jobs.result(job)
    (folder / "run" / "crops" / "walk").mkdir(parents=True)
    track = {
        **dict.fromkeys(("identity", "probability", "confidence", "threshold")), "track_id": 1, "frames": [0],
        "boxes": [[0, 0, 1, 1]], "status": "unusable", "reason": "too short: 0.2 s", "candidates": [],
    }  # fmt: skip
    report = {"video": name, "width": 8, "height": 8, "fps": 25.0, "frame_count": 9, "warnings": [], "tracks": [track]}
    (folder / "run" / "results.json").write_text(json.dumps({"probes": [report], "models": {}, "timings": {}}))
    (folder / "run" / "crops" / "walk" / "1.jpg").write_bytes(b"picture")
    outcome = Outcome(videos=[SeenVideo(video_id=video_id, name="walk", painted="walk.mp4")], identities=[])
    (folder / "outcome.json").write_text(outcome.model_dump_json())
    jobs.save(job)
    return job


def signed_in(options: WebOptions, **more: Any) -> TestClient:
    client = TestClient(create_app(options), base_url=HERE, **more)
    client.headers[TOKEN_HEADER] = client.get("/api/session").json()["token"]
    return client


def routes(client: TestClient) -> Iterator[tuple[str, str]]:
    """Every method of every route but the endless one."""
    for route in (*client.app.routes, *router.routes):  # type: ignore[attr-defined]
        if isinstance(route, Route) and route.path != "/api/events":
            for method in sorted(route.methods or ()):
                yield method, route.path


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_no_request_makes_the_server_fail(seed: int, options: WebOptions) -> None:
    job, rng = finished(options), random.Random(seed)
    right = {"job_id": job.job_id, "place": "0", "track_id": "1", "person_id": "1", "name": "results.json"}
    with signed_in(options, raise_server_exceptions=False) as client:
        found = set(routes(client))
        assert len(found) > 40
        for method, path in sorted(found):
            for _ in range(8):
                filled = re.sub(
                    r"\{(\w+)(:path)?\}",
                    lambda part: rng.choice((right.get(part[1], "1" * 32), *rng.sample(ODD_TEXTS, 2))),
                    path,
                )
                query = f"?{rng.choice(('name', 'token', 'x'))}={rng.choice(ODD_TEXTS)}"
                fields = {field: rng.choice(ODD_VALUES) for field in FIELDS if rng.random() < 0.8}
                body = rng.choice((*ODD_BODIES, *[json.dumps(fields).encode()] * 20))
                name = rng.choice(("Range", "Origin", "Host", "Cookie", "Content-Length", "If-Range", "Content-Type"))
                headers: dict[str, Any] = {"Content-Type": "application/json"}
                if rng.random() < 0.3:
                    headers[name] = rng.choice(ODD_HEADERS)
                answer = client.request(method, filled + query, content=body, headers=headers)
                assert answer.status_code < 500, (method, filled, query, body[:200], headers)


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "another kind": lambda content: b"[]",
    "no number": lambda content: content.replace(b"25.0", b"NaN").replace(b"walk", b"\\ud800"),
    "deep": lambda content: b"[" * 100_000,
    "a field less": lambda content: content.replace(b'"frames"', b'"x"').replace(b'"video_id"', b'"x"'),
    "nothing": lambda content: content.replace(b"[0]", b"[]").replace(b"1" * 32, b"2" * 32),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["run/results.json", "outcome.json", "features/walk/001.npz"])
def test_a_damaged_file_of_a_run_is_named(name: str, damage: str, options: WebOptions) -> None:
    job = finished(options)
    path = JobStore(options.folder).result(job) / name
    if name.startswith("features"):
        path.parent.mkdir(parents=True)
        with path.open("wb") as file:
            np.savez(file, parts=np.zeros((1, 2), np.float32), model_id="gei", frames=3)
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    asked = ("", "/result", "/videos/0/boxes", "/videos/0/crops/1", "/files/results.json")
    naming = {"name": "Ann", "consent": "yes"}
    if name == "outcome.json" and damage != "nothing":  # nobody knows whose results these are, so nothing begins
        with pytest.raises(WebError, match=r"outcome\.json cannot be read"):
            create_app(options)
        return
    client = signed_in(options, raise_server_exceptions=False)
    with client:
        answers = [client.get(f"/api/jobs/{job.job_id}{path}") for path in asked]
        answers.append(client.post(f"/api/jobs/{job.job_id}/videos/0/tracks/1/person", json=naming))
        answers += [client.get(f"/api/{path}") for path in ("jobs", "people", "log")]
        assert [answer.status_code for answer in answers if answer.status_code >= 500] == []


def test_whatever_can_be_asked_for_answers_head(options: WebOptions) -> None:
    job = finished(options)
    with signed_in(options) as client:
        paths = ["/", "/runs", f"/runs/{job.job_id}", "/people", "/people/1", "/about", "/page.css", "/js/main.js"]
        paths += ["/api/session", "/api/videos", "/api/jobs", f"/api/jobs/{job.job_id}", "/api/people", "/api/log"]
        paths += [f"/api/jobs/{job.job_id}/{rest}" for rest in ("result", "videos/0/boxes", "videos/0/crops/1")]
        paths += [f"/api/jobs/{job.job_id}/files/results.json", "/api/people/1", "/nothing", "/api/nothing"]
        paths.append("/api/overview")
        for path in paths:
            whole, head = client.get(path), client.head(path)
            assert head.status_code == whole.status_code, path
            assert head.headers.get("Content-Type") == whole.headers.get("Content-Type"), path
        assert client.head("/api/events").status_code == 200, "it ends"


def test_the_first_page_gets_no_more_than_it_shows(options: WebOptions) -> None:
    for _ in range(5):
        finished(options)
    with SqliteGallery(Path(options.gallery)) as gallery:
        gallery.enrol("Anna", [NewWalk(Embedding(np.ones((2, 8), np.float32), "gei", 9), "a.mp4")], consent="yes")
    with signed_in(options) as client:
        found = client.get("/api/overview").json()
        assert (found["people"], found["runs"]) == (1, 5)
        assert found["newest"] == client.get("/api/jobs").json()[:4]


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
@pytest.mark.parametrize("place", ["file", "folder", "picture", "run"])
def test_links_lead_nowhere(place: str, options: WebOptions, tmp_path: Path) -> None:
    run = JobStore(options.folder).result(finished(options)) / "run"
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "secret.txt").write_text("secret")
    (secret / "1.jpg").write_text("secret")
    crops = run / "crops" / "walk"
    if place == "file":
        (run / "secret.txt").symlink_to(secret / "secret.txt")
    elif place == "picture":
        (crops / "1.jpg").unlink()
        (crops / "1.jpg").symlink_to(secret / "1.jpg")
    elif place == "folder":
        crops.rename(tmp_path / "before")
        crops.symlink_to(secret)
    else:
        (secret / "results.json").write_bytes((run / "results.json").read_bytes())
        run.rename(tmp_path / "before")
        run.symlink_to(secret)
    job_id = run.parent.name
    with signed_in(options) as client:
        for path in ("files/secret.txt", "videos/0/crops/1"):
            answer = client.get(f"/api/jobs/{job_id}/{path}")
            assert "secret" not in answer.text
            assert answer.status_code == 404 or answer.text == "picture"


def test_the_queue_has_a_limit(options: WebOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(self: object) -> None:
        """Begin no run."""

    monkeypatch.setattr("app.web.queue.JobQueue.run", never)
    jobs = JobStore(options.folder)
    ended = Job(kind="survey", probes=["a" * 32], names={"a" * 32: "x.mp4"}, state="failed")
    jobs.save(ended)
    for _ in range(options.most_waiting - 1):
        jobs.save(Job(kind="survey", probes=["a" * 32], names={"a" * 32: "x.mp4"}))
    with signed_in(options) as client:
        again = [client.post(f"/api/jobs/{ended.job_id}/restart").status_code for _ in range(2)]
        assert again == [204, 204], "one that waits already does not count twice"
        other = Job(kind="survey", probes=["a" * 32], names={"a" * 32: "x.mp4"}, state="cancelled")
        client.app.state.site.jobs.save(other)  # type: ignore[attr-defined]
        answer = client.post(f"/api/jobs/{other.job_id}/restart")
        assert (answer.status_code, answer.json()["detail"][:25]) == (409, "100 runs are waiting alre")


def test_videos_of_one_name_get_numbers_in_a_run(options: WebOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(self: object) -> None:
        """Begin no run."""

    monkeypatch.setattr("app.web.queue.JobQueue.run", never)
    options.input_videos.mkdir()
    for number, name in enumerate(("walk.mp4", "walk.mkv", "Walk.avi", "walk-2.mp4", "other.mp4")):
        write_clip(options.input_videos / "x.mp4", Scene((), width=64, height=48, seconds=0.2 + number / 10))
        (options.input_videos / "x.mp4").rename(options.input_videos / name)
    with signed_in(options) as client:
        ids = {video["name"]: video["video_id"] for video in client.get("/api/videos").json()}
        chosen = [ids[name] for name in ("walk.mp4", "walk.mkv", "walk-2.mp4", "Walk.avi", "other.mp4")]
        answer = client.post("/api/jobs", json={"kind": "compare", "gallery": chosen[0], "probes": chosen[1:]})
        assert answer.status_code == 201, answer.text
        job = client.app.state.site.jobs.get(answer.json()["job_id"])  # type: ignore[attr-defined]
    names = [job.names[video_id] for video_id in chosen]
    assert names == ["walk.mp4", "walk-2.mkv", "walk-2-2.mp4", "Walk-3.avi", "other.mp4"]
    assert [Path(name).stem for name in names] == distinct_names([Path(name) for name in (
        "walk.mp4", "walk.mkv", "walk-2.mp4", "Walk.avi", "other.mp4"
    )]), "the files of the run have the same numbers"  # fmt: skip


@pytest.mark.parametrize("prefix", ["", "/gait", "/a/b.c/d"])
@pytest.mark.parametrize("path", ["/", "/runs", "/runs/", f"/runs/{'a' * 32}", "/people/7", "/people/7/x", "/about"])
def test_the_page_works_below_any_path(prefix: str, path: str, options: WebOptions) -> None:
    """A proxy takes its prefix away and says nothing about it."""
    with TestClient(create_app(options), base_url=HERE) as client:
        for address in re.findall(r'(?:href|src)="([^#"]*)"', client.get(path).text):
            found = urlsplit(urljoin(f"{HERE}{prefix}{path}", address)).path
            assert found.startswith(f"{prefix}/"), address
            assert client.get(found[len(prefix) :]).status_code == 200, address


def test_the_scripts_address_nothing_without_the_prefix() -> None:
    folder = Path(__file__).resolve().parents[2] / "app" / "web" / "pages" / "js"
    for script in folder.glob("*.js"):
        text = script.read_text(encoding="utf-8")
        assert not re.search(r'(fetch|EventSource|open|pushState|import)\((null, "", )?["\'`]/', text), script.name
        assert not re.search(r'(\.src|\.href|location) = ["\'`]/', text), script.name


def test_servers_of_one_machine_do_not_sign_each_other_out(tmp_path: Path) -> None:
    """A browser sends its cookies to all ports and paths of a host."""
    browser: dict[str, str] = {}
    keys = []
    for _ in range(2):
        for name in ("a", "b", "c"):
            with TestClient(create_app(WebOptions(tmp_path / name, tmp_path / f"{name}.db", tmp_path)), HERE) as client:
                sent = "; ".join(f"{key}={value}" for key, value in browser.items())
                client.get("/api/session", headers={"Cookie": sent})
                browser |= dict(client.cookies)
                keys.append(len(browser))
    assert keys == [1, 2, 3, 3, 3, 3], "each has its own, and the same after a restart"


def test_other_users_of_the_machine_need_the_token_of_the_link(tmp_path: Path) -> None:
    options = WebOptions(tmp_path / "web", tmp_path / "gallery.db", tmp_path / "input", token="t0ken")
    with TestClient(create_app(options), base_url=HERE) as client:
        for link in ("/", "/?token=", "/?token=T0KEN", "/?token=t0ken%00", "/runs?token=wrong"):
            assert client.get(link).status_code == 200
            session = client.get("/api/session").json()
            assert (session["signed_in"], session["password"]) == (False, False)
            assert client.get("/api/people").status_code == 401
        headers = {TOKEN_HEADER: session["token"]}
        wrong = [client.post("/api/login", json={"password": "x"}, headers=headers).status_code for _ in range(40)]
        assert set(wrong) == {401}, "somebody else's attempts never shut out whoever has the token"
        answer = client.get("/?token=t0ken", follow_redirects=False)
        assert (answer.status_code, answer.headers["Location"]) == (303, "./"), "the token leaves the address"
        assert client.get("/api/people").status_code == 200
