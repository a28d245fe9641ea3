"""Runs through the web interface, with real worker processes on a drawn clip."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the extra 'web'")
pytest.importorskip("httpx2", reason="needs httpx2, for the test client")

from starlette.testclient import TestClient

from app.cli.main import main
from app.settings import MatchSettings
from app.web.jobs import Job, JobStore
from app.web.options import ConflictError, WebOptions
from app.web.security import TOKEN_HEADER
from app.web.server import create_app
from tests.clips import Walker, crossing, write_clip

WEIGHT_FREE = ("detector.name=motion", "segmenter.name=motion", "gait.name=gei")
PATIENCE = 180.0  # s; a run takes a few on a quiet machine


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "walk.mp4"
    scene = crossing(
        [Walker(1), Walker(2)], gap=0.7, first=-0.7, seconds=2.6, width=256, height=192, fps=Fraction(20), seed=1
    )
    write_clip(path, scene)
    return path


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> WebOptions:
    folder = tmp_path_factory.mktemp("site")
    return WebOptions(folder / "web", folder / "gallery.db", folder / "input", assignments=WEIGHT_FREE)


@pytest.fixture(scope="module")
def client(options: WebOptions) -> Iterator[TestClient]:
    with TestClient(create_app(options), base_url="http://127.0.0.1:8765") as client:
        client.headers[TOKEN_HEADER] = client.get("/api/session").json()["token"]
        yield client


@pytest.fixture(scope="module")
def video(client: TestClient, clip: Path) -> str:
    answer = client.post("/api/videos", params={"name": "walk.mp4"}, content=clip.read_bytes())
    assert answer.status_code == 201, answer.text
    return str(answer.json()["video_id"])


def ended(client: TestClient, job_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        job: dict[str, Any] = client.get(f"/api/jobs/{job_id}").json()
        if job["state"] not in ("queued", "running"):
            return job
        time.sleep(0.05)
    raise AssertionError(f"the run does not end: {job}")


def start(client: TestClient, video: str, **more: Any) -> str:
    answer = client.post("/api/jobs", json={"kind": "survey", "probes": [video], **more})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["job_id"])


@pytest.fixture(scope="module")
def done(client: TestClient, video: str) -> dict[str, Any]:
    job = ended(client, start(client, video))
    assert job["state"] == "done", job
    return job


def test_a_run_tells_its_steps_and_models(done: dict[str, Any]) -> None:
    assert [step["title"] for step in done["steps"]] == ["walk: follow and cut out", "walk.mp4: paint"]
    assert all(step["done"] == step["total"] == 52 for step in done["steps"])
    assert [line.partition(":")[0] for line in done["models"]] == ["detector", "segmenter", "gait"]


def readable_by_others(folder: Path) -> list[Path]:
    """What others can read: of a folder that they may not enter, nothing."""
    found = [path for path in folder.iterdir() if path.stat().st_mode & 0o077]
    return found + [deeper for path in found if path.is_dir() for deeper in readable_by_others(path)]


@pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
def test_nobody_else_can_read_what_the_page_keeps(
    client: TestClient, options: WebOptions, done: dict[str, Any]
) -> None:
    kept = [path for path in options.folder.rglob("*") if path.is_file()]
    assert {".png", ".npz", ".mp4", ".jpg", ".json"} <= {path.suffix for path in kept}
    assert [path for path in kept if path.stat().st_mode & 0o077] == []
    assert readable_by_others(options.folder) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
def test_what_an_earlier_version_kept_is_closed_to_others(tmp_path: Path) -> None:
    options = WebOptions(tmp_path / "web", tmp_path / "gallery.db", tmp_path / "input")
    one = "1" * 32
    for name in (f"uploads/{one}/walk.mp4", f"results/{one}/walk.mp4", f"inputs/{one}/x.jpg", "work/cache/1.zip"):
        path = options.folder / name
        path.parent.mkdir(parents=True)
        path.touch()
    before = os.umask(0)
    os.umask(before)
    with TestClient(create_app(options), base_url="http://127.0.0.1:8765"):
        assert readable_by_others(options.folder) == []
    now = os.umask(before)
    assert now == before


@pytest.mark.parametrize("place", ["uploads", "inputs", "jobs", "results", "work"])
@pytest.mark.parametrize("foreign", ["thesis.pdf", "2024/summer.mp4", ".git/config", "results.json"])
def test_a_folder_that_holds_something_else_is_refused_and_stays(place: str, foreign: str, tmp_path: Path) -> None:
    options = WebOptions(tmp_path / "web", tmp_path / "gallery.db", tmp_path / "input")
    path = options.folder / place / foreign
    path.parent.mkdir(parents=True)
    path.write_text("precious")
    with pytest.raises(ConflictError, match=r"does not belong to the web page.*give another --folder"):
        create_app(options)
    assert path.read_text() == "precious"
    assert [found for found in tmp_path.rglob("*") if found.is_file()] == [path]


def test_a_folder_of_the_page_is_taken_again(options: WebOptions, done: dict[str, Any]) -> None:
    (options.folder / "results" / ".DS_Store").touch()
    copy = options.folder.with_name("copy")
    shutil.copytree(options.folder, copy)
    with TestClient(create_app(replace(options, folder=copy)), base_url="http://127.0.0.1:8765") as client:
        client.get("/api/session")
        assert client.get(f"/api/jobs/{done['job_id']}/result").status_code == 200


def test_a_result_has_boxes_crops_report_and_ranges(client: TestClient, done: dict[str, Any]) -> None:
    base = f"/api/jobs/{done['job_id']}"
    result = client.get(f"{base}/result").json()
    (seen,) = result["videos"]
    usable = [track for track in seen["tracks"] if track["status"] == "unknown"]
    assert usable, seen["tracks"]
    assert "frames" not in usable[0]
    boxes = client.get(f"{base}/videos/0/boxes").json()[str(usable[0]["track_id"])]
    assert len(boxes["frames"]) == len(boxes["boxes"]) > 10
    crop = client.get(f"{base}/videos/0/crops/{usable[0]['track_id']}")
    assert crop.content.startswith(b"\xff\xd8")
    whole = client.get(f"{base}/files/walk.mp4")
    part = client.get(f"{base}/files/walk.mp4", headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, whole.content[100:200])
    report = client.get(f"{base}/files/report.html")
    assert report.status_code == 200
    assert "connect-src" not in report.headers["Content-Security-Policy"], "default-src 'none' forbids it"
    assert "default-src 'none'" in report.headers["Content-Security-Policy"]


@pytest.mark.parametrize("name", ["../outcome.json", "..%2foutcome.json", "%2e%2e/outcome.json", "nothing", "."])
def test_files_are_looked_up_by_name_only(client: TestClient, done: dict[str, Any], name: str) -> None:
    assert client.get(f"/api/jobs/{done['job_id']}/files/{name}").status_code == 404


@pytest.mark.parametrize(
    "path",
    ["/api/jobs/x", "/api/jobs/../x/result", "/api/videos/x/thumbnail", "/api/people/7", "/api/people/7/picture"],
)
def test_what_is_not_there(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


def identity(client: TestClient, job_id: str, track_id: int) -> str | None:
    tracks = client.get(f"/api/jobs/{job_id}/result").json()["videos"][0]["tracks"]
    name: str | None = next(track["identity"] for track in tracks if track["track_id"] == track_id)
    return name


def test_enrolled_from_one_run_and_named_in_the_others(client: TestClient, done: dict[str, Any], video: str) -> None:
    base = f"/api/jobs/{done['job_id']}"
    earlier = ended(client, start(client, video))["job_id"]
    assert "Anna" not in client.get(f"/api/jobs/{earlier}/files/results.csv").text
    tracks = client.get(f"{base}/result").json()["videos"][0]["tracks"]
    track_id = next(track["track_id"] for track in tracks if track["status"] == "unknown")
    path = f"{base}/videos/0/tracks/{track_id}/person"
    assert client.post(path, json={"name": "Anna"}).status_code == 422, "no consent"
    named = client.post(path, json={"name": "Anna", "consent": "said yes"}).json()
    person_id = named["person_id"]
    assert (named["before"], named["undo"]) == (None, True)
    seen = client.get(f"/api/jobs/{earlier}/result").json()
    anna = next(track for track in seen["videos"][0]["tracks"] if track["track_id"] == track_id)
    assert (anna["person"], anna["painted"]) == ({"person_id": person_id, "name": "Anna"}, None), "named at once"
    assert [known["name"] for known in seen["identities"]] == ["Anna"]
    assert anna["candidates"][0]["person_id"] == person_id
    for name in ("results.csv", "results.json", "report.html"):
        assert "Anna" in client.get(f"/api/jobs/{earlier}/files/{name}").text, name
    assert client.patch(f"/api/people/{person_id}", json={"name": "Annabel"}).status_code == 204
    assert "Annabel" in client.get(f"/api/jobs/{earlier}/files/results.csv").text
    assert client.patch(f"/api/people/{person_id}", json={"name": "Anna"}).status_code == 204
    denied = f"/api/jobs/{earlier}/videos/0/tracks/{track_id}/denied/{person_id}"
    assert client.put(denied).status_code == 204
    later = ended(client, start(client, video, kind="identify"))["job_id"]
    runs = (earlier, later)
    assert [identity(client, run, track_id) for run in runs] == [None, None], "also in another run of the same video"
    (said,) = client.get(f"/api/people/{person_id}").json()["denials"]
    assert (said["source"], said["track_id"]) == (client.get("/api/videos").json()[0]["name"], track_id)
    assert client.delete(denied).status_code == 204
    assert [identity(client, run, track_id) for run in runs] == ["Anna", "Anna"]
    assert client.put(f"{denied}9").status_code == 404, "there is no such person"
    assert client.put(denied).status_code == 204
    (said,) = client.get(f"/api/people/{person_id}").json()["denials"]
    back = f"/api/people/{person_id}/denials/{said['denial_id']}"
    assert [client.delete(back).status_code for _ in range(2)] == [204, 404]
    assert client.delete(f"/api/jobs/{later}").status_code == 204
    job = ended(client, start(client, video, kind="identify"))
    assert job["state"] == "done", job
    found = client.get(f"/api/jobs/{job['job_id']}/result").json()["videos"][0]["tracks"]
    anna = next(track for track in found if track["track_id"] == track_id)
    assert anna["person"] == {"person_id": person_id, "name": "Anna"}
    confirmed = client.post(f"/api/jobs/{job['job_id']}/videos/0/tracks/{track_id}/person", json={"name": "Anna"})
    assert confirmed.json() == {"person_id": person_id, "before": "Anna", "undo": False}, (
        "an undo would delete her walk"
    )
    assert anna["distance"] == pytest.approx(0, abs=1e-3)
    traces = client.get(f"/api/people/{person_id}/traces").json()
    assert {one["job_id"] for one in traces["results"]} == {done["job_id"], job["job_id"]}
    assert client.get(f"/api/people/{person_id}/picture").content.startswith(b"\xff\xd8")


def test_named_after_the_people_of_another_video(client: TestClient, clip: Path, video: str) -> None:
    answer = client.post("/api/videos", params={"name": "again.mp4"}, content=clip.read_bytes())
    job = ended(client, start(client, str(answer.json()["video_id"]), kind="compare", gallery=video))
    assert job["state"] == "done", job
    painted = [step["title"] for step in job["steps"] if step["title"].endswith("paint")]
    assert painted == ["gallery.mp4: paint", "G-walk_P-again.mp4: paint"]
    known, seen = client.get(f"/api/jobs/{job['job_id']}/result").json()["videos"]
    assert (known["role"], seen["role"]) == ("gallery", "probe")
    assert {track["identity"] for track in seen["tracks"]} >= {"walk-001"}
    crop = client.get(f"/api/jobs/{job['job_id']}/videos/1/crops/{seen['tracks'][0]['track_id']}")
    assert crop.content.startswith(b"\xff\xd8")
    track_id = next(track["track_id"] for track in known["tracks"] if track["identity"] == "walk-001")
    path = f"/api/jobs/{job['job_id']}/videos/0/tracks/{track_id}/person"
    assert client.post(path, json={"name": "Anna", "consent": "said yes"}).status_code == 200
    for name in ("results.csv", "results.json", "report.html"):
        text = client.get(f"/api/jobs/{job['job_id']}/files/{name}").text
        assert ("Anna" in text, "walk-001" in text) == (True, False), name
    assert client.delete(path).status_code in (200, 204)
    assert "walk-001" in client.get(f"/api/jobs/{job['job_id']}/files/results.csv").text


@pytest.mark.slow
def test_bodies_are_fitted_in_a_run_of_the_page(tmp_path: Path, clip: Path) -> None:
    shutil.copytree(clip.parent, tmp_path / "input")
    bodies = (*WEIGHT_FREE, "body.show=true", "body.name=lift")
    options = WebOptions(tmp_path / "web", tmp_path / "gallery.db", tmp_path / "input", assignments=bodies)
    with TestClient(create_app(options), base_url="http://127.0.0.1:8765") as client:
        client.headers[TOKEN_HEADER] = client.get("/api/session").json()["token"]
        (video,) = client.get("/api/videos").json()
        job = ended(client, start(client, video["video_id"]))
        assert job["state"] == "done", job
        assert "walk: fit bodies" in [step["title"] for step in job["steps"]]
        (seen,) = client.get(f"/api/jobs/{job['job_id']}/result").json()["videos"]
        track_id = next(track["track_id"] for track in seen["tracks"] if track["status"] != "unusable")
        path = f"/api/jobs/{job['job_id']}/videos/0/tracks/{track_id}/person"
        anna = client.post(path, json={"name": "Anna", "consent": "said yes"}).json()["person_id"]
        (walk,) = client.get(f"/api/people/{anna}").json()["walk_list"]
        assert walk["seen_from"] is not None


def test_cancelled_and_begun_again(client: TestClient, options: WebOptions, video: str) -> None:
    first, second = start(client, video), start(client, video)
    assert client.delete(f"/api/videos/{video}").status_code == 409, "in use"
    assert client.delete(f"/api/jobs/{second}").status_code == 409, "not over"
    assert client.post(f"/api/jobs/{second}/cancel").status_code == 204
    assert client.post(f"/api/jobs/{first}/cancel").status_code == 204
    assert [ended(client, job)["state"] for job in (second, first)] == ["cancelled", "cancelled"]
    assert not (options.folder / "results" / first).exists()
    assert client.post(f"/api/jobs/{first}/restart").status_code == 204
    assert ended(client, first)["state"] == "done"
    assert client.post(f"/api/jobs/{first}/restart").status_code == 409
    assert client.delete(f"/api/jobs/{first}").status_code == 204
    assert not list(options.folder.glob(f"*/{first}*"))


def test_a_worker_that_is_killed(client: TestClient, options: WebOptions, video: str) -> None:
    half = [options.folder / "work" / "cache" / ".0.partial.zip", options.folder / "results" / ".1.partial" / "run"]
    for path in half:  # as an earlier one may have left them
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    job_id = start(client, video)
    queue = client.app.state.site.queue  # type: ignore[attr-defined]
    while queue._process is None:
        time.sleep(0.01)
    os.kill(queue._process.pid, signal.SIGKILL)
    job = ended(client, job_id)
    assert job["state"] == "failed"
    assert "SIGKILL" in job["message"]
    assert not [path for path in half if path.exists()]


def test_a_run_that_cannot_be_begun_does_not_hold_up_the_next(client: TestClient, clip: Path, video: str) -> None:
    answer = client.post("/api/videos", params={"name": "gone.mp4"}, content=clip.read_bytes())
    site = client.app.state.site  # type: ignore[attr-defined]
    first, second = start(client, video), start(client, answer.json()["video_id"])
    site.videos.remove(site.videos.get(answer.json()["video_id"]))  # behind the application's back
    third = start(client, video)
    assert client.post(f"/api/jobs/{first}/cancel").status_code == 204
    assert "not there any more" in ended(client, second)["message"]
    assert client.post(f"/api/jobs/{third}/cancel").status_code == 204
    assert ended(client, third)["state"] == "cancelled"


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"kind": "compare"}, "Choose the video"),
        ({"kind": "compare", "gallery": "VIDEO"}, "chosen twice"),
        ({"kind": "survey", "gallery": "VIDEO"}, "Choose the video"),
        ({"kind": "identify", "probes": []}, ""),
        ({"kind": "other"}, ""),
        ({"blur": "somebody"}, ""),
    ],
)
def test_runs_that_make_no_sense(client: TestClient, video: str, wanted: dict[str, Any], message: str) -> None:
    wanted = {key: video if value == "VIDEO" else value for key, value in wanted.items()}
    answer = client.post("/api/jobs", json={"kind": "survey", "probes": [video], **wanted})
    assert answer.status_code == 422
    assert message in str(answer.json()["detail"])


def test_who_is_forgotten_on_the_command_line_is_served_no_more(
    client: TestClient, options: WebOptions, done: dict[str, Any]
) -> None:
    base, result = f"/api/jobs/{done['job_id']}", options.folder / "results" / done["job_id"]
    tracks = client.get(f"{base}/result").json()["videos"][0]["tracks"]
    track_id = next(track["track_id"] for track in tracks if track["status"] == "unknown")
    enrolling = client.post(
        f"{base}/videos/0/tracks/{track_id}/person", json={"name": "Dora Quist", "consent": "said yes"}
    )
    assert enrolling.status_code == 200, enrolling.text
    assert client.get(f"{base}/videos/0/crops/{track_id}").status_code == 200
    assert result.is_dir()
    assert main(["gallery", "forget", "Dora Quist", "--yes", "--gallery-db", str(options.gallery)]) == 0
    answer = client.get(f"{base}/videos/0/crops/{track_id}")
    assert (answer.status_code, "forgotten" in answer.text) == (404, True)
    assert not result.exists()
    assert done["job_id"] not in [job["job_id"] for job in client.get("/api/jobs").json()]
    for path in [*options.folder.rglob("*"), *options.gallery.parent.glob("gallery.db*")]:
        assert not path.is_file() or b"Quist" not in path.read_bytes(), path


def test_the_false_accept_rate_is_the_command_lines(client: TestClient, video: str) -> None:
    assert Job.model_fields["far"].default == MatchSettings().far
    for far in (0, 1, -0.1, "few"):
        answer = client.post("/api/jobs", json={"kind": "identify", "probes": [video], "far": far})
        assert answer.status_code == 422


def test_the_worker_ends_with_a_killed_server(tmp_path: Path, clip: Path) -> None:
    (tmp_path / "input_videos").mkdir()
    (tmp_path / "input_videos" / "walk.mp4").write_bytes(clip.read_bytes())
    script = """
import sys, time
from pathlib import Path
from starlette.testclient import TestClient
from app.web.options import WebOptions
from app.web.security import TOKEN_HEADER
from app.web.server import create_app
options = WebOptions(Path("web"), Path("gallery.db"), assignments=tuple(sys.argv[1:]))
with TestClient(create_app(options), base_url="http://127.0.0.1:8765") as client:
    client.headers[TOKEN_HEADER] = client.get("/api/session").json()["token"]
    (video,) = client.get("/api/videos").json()
    client.post("/api/jobs", json={"kind": "survey", "probes": [video["video_id"]]})
    while client.app.state.site.queue._process is None:
        time.sleep(0.01)
    print(client.app.state.site.queue._process.pid, flush=True)
    time.sleep(600)
"""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    server = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", script, *WEIGHT_FREE],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    worker = int(server.stdout.readline())
    server.kill()
    server.communicate()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and Path(f"/proc/{worker}").exists() and not _is_zombie(worker):
        time.sleep(0.05)
    assert not Path(f"/proc/{worker}").exists() or _is_zombie(worker)
    (job,) = JobStore(tmp_path / "web").all()
    assert job.state in ("queued", "done"), "begun anew, or over before the server was killed"
    assert not list((tmp_path / "web").glob("results/.*"))


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True
