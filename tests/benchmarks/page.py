"""The web page with many people and runs: how long it takes to show something, and the server for each request.

    python -m tests.benchmarks.page [--people 5000] [--runs 2000] [--only pages|requests]

It fills a folder with made-up people and results. First it opens pages in headless Chromium, each several times in a
new server process and a new browser, and then once more in the same ones: it prints when the first content is painted
and when the first entry of a list is shown with its text, both from the beginning of the navigation. The first page is
also opened with nobody and 30 clips in the input folder, into which the server has not looked yet.

Then it asks for everything that the pages ask for, each several times, and prints the median and the longest time in
ms, and the median of the processor time, which others on the machine hardly change. The first request after the start
is printed too.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shutil
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from starlette.testclient import TestClient

from app.gallery.sqlite import SqliteGallery
from app.gallery.store import NewWalk
from app.types import Embedding
from app.web.jobs import Job, JobStore
from app.web.options import WebOptions
from app.web.outcome import KnownIdentity, Outcome, SeenVideo
from app.web.security import TOKEN_HEADER
from app.web.server import create_app, listen, serve
from tests.browser import new_page, wait_until
from tests.clips import Walker, crossing, write_clip

_FPS, _FRAMES = 25.0, list(range(0, 200, 2))


def _track(number: int, identity: str | None) -> dict[str, Any]:
    return {
        "track_id": number, "frames": _FRAMES, "boxes": [[10.0, 20.0, 60.0, 160.0]] * len(_FRAMES),
        "status": "identified" if identity else "unknown", "identity": identity,
        "confidence": 0.8 if identity else None,
        "distance": 0.4, "threshold": 0.6, "probability": 0.9, "margin": 0.2, "pieces": None, "agreeing": None,
        "part_of": None, "same_recording": False, "reason": None if identity else "nobody is near enough",
        "candidates": [{"identity": identity or "Person 0", "distance": 0.4}],
    }  # fmt: skip


def fill(options: WebOptions, people: int, runs: int) -> tuple[int, str]:
    """Make the gallery and the results. Return the id of a person and of a run that names them."""
    rng = np.random.default_rng(0)
    names = [f"Person {number}" for number in range(people)]
    with SqliteGallery(options.gallery) as gallery:
        for name in names:
            walk = Embedding(rng.normal(size=(2, 8)).astype(np.float32), "gei", 30)
            gallery.enrol(name, [NewWalk(walk, f"{name}.mp4")], consent="said yes")
        ids = {person.name: person.person_id for person in gallery.people()}
    jobs = JobStore(options.folder)
    job_id = ""
    for number in range(runs):
        video, named = uuid.uuid4().hex, [names[(3 * number + k) % people] for k in range(3)]
        job = Job(kind="identify", probes=[video], names={video: f"yard {number}.mp4"}, state="done")
        job.started = job.ended = time.time()
        folder = jobs.result(job)
        (folder / "run").mkdir(parents=True)
        (folder / "features" / "yard").mkdir(parents=True)
        for track in range(1, 5):
            np.savez(
                folder / "features" / "yard" / f"{track:03d}.npz",
                parts=rng.normal(size=(2, 8)).astype(np.float32),
                model_id=np.asarray("gei"),
                frames=np.asarray(30),
                frame_indices=np.zeros(0, np.int64),
            )
        tracks = [_track(place, name) for place, name in enumerate([*named, None], 1)]
        model = {
            "name": "gei", "model_id": "gei", "origin": "weight-free", "file": None, "sha256": None, "licence": "free",
            "runtime": "numpy", "note": "",
        }  # fmt: skip
        seen = {
            "video": f"yard {number}.mp4", "name": "yard", "width": 854, "height": 480, "fps": _FPS, "frame_count": 200,
            "warnings": [], "tracks": tracks,
        }  # fmt: skip
        report = {
            "schema_version": 1, "gaitprint": "0", "created": "2026-01-01T00:00:00+00:00", "models": {"gait": model},
            "settings": {}, "timings": {"total": 1.0}, "gallery": None, "probes": [seen], "failures": [],
        }  # fmt: skip
        (folder / "run" / "results.json").write_text(json.dumps(report))
        (folder / "run" / "results.csv").write_text("")
        outcome = Outcome(
            videos=[SeenVideo(video_id=video, name="yard", painted="yard.mp4")],
            identities=[KnownIdentity(name=name, colour="#000000", person_id=ids[name]) for name in named],
        )
        (folder / "outcome.json").write_text(outcome.model_dump_json())
        jobs.save(job)
        job_id = job.job_id
    return ids[named[0]], job_id


_PAGES = {"/": ".video .name", "/people": ".person .who", "/runs": ".job > a"}
"""What is opened, and what the first entry of its list is."""
_WATCH = """
addEventListener("DOMContentLoaded", () => {
  const note = () => (window.firstEntry = performance.now());
  const observer = new MutationObserver(() => {
    if (!document.querySelector(SELECTOR)?.textContent.trim()) return;
    observer.disconnect();
    requestAnimationFrame(() => requestAnimationFrame(note)); // it is painted by then
  });
  observer.observe(document, { childList: true, subtree: true, characterData: true });
});
"""
_PAINTED = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"


def _serve(options: WebOptions, ports: Connection) -> None:
    with listen("127.0.0.1", 0) as listener:
        ports.send(listener.getsockname()[1])
        serve(options, listener)


@contextmanager
def _server(options: WebOptions) -> Iterator[str]:
    """Serve from a new process during the block; yields the address."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(options, theirs))
    process.start()
    yield f"http://127.0.0.1:{ours.recv()}"
    process.terminate()
    process.join()


def open_pages(options_of: Callable[[int], WebOptions], paths: Sequence[str], times: int) -> None:
    """Open pages, and print how long their first content and their first entry take, in ms: median and longest.

    `options_of` gives the options of each time.
    """
    for path in paths:
        rows: dict[str, list[tuple[float, float]]] = {"new": [], "again": []}
        for number in range(times):
            with _server(options_of(number)) as address, new_page() as page:
                page.add_init_script(_WATCH.replace("SELECTOR", json.dumps(_PAGES[path])))
                for kind in rows:
                    page.goto(address + path)
                    wait_until(page, f"window.firstEntry && {_PAINTED}")
                    rows[kind].append((page.evaluate(_PAINTED), page.evaluate("window.firstEntry")))
        for kind, found in rows.items():
            columns = zip(*found, strict=True)
            told = "".join(f"{statistics.median(column):12.0f}{max(column):9.0f}" for column in columns)
            print(f"{path:10}{kind:8}{told}")


def _thirty_clips(folder: Path) -> None:
    folder.mkdir()
    write_clip(folder / "clip 00.mp4", crossing([Walker(1), Walker(2)], gap=0.9, first=-0.7, seconds=3.0))
    for number in range(1, 30):
        shutil.copy(folder / "clip 00.mp4", folder / f"clip {number:02d}.mp4")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=5000)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--times", type=int, default=7)
    parser.add_argument("--only", choices=("pages", "requests"))
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        options = WebOptions(folder / "web", folder / "gallery.db", folder / "input")
        _thirty_clips(options.input_videos)
        if wanted.only != "requests":
            print(f"{'':18}{'first content':>21}{'first entry':>21} ms (median, longest)")
            print("30 clips, nobody, no run:")
            open_pages(
                lambda number: replace(options, folder=folder / f"web {number}", gallery=folder / f"{number}.db"),
                ["/"],
                wanted.times,
            )
        person_id, job_id = fill(options, wanted.people, wanted.runs)
        if wanted.only != "requests":
            print(f"{wanted.people} people, {wanted.runs} runs, 30 clips:")
            open_pages(lambda _: options, list(_PAGES), wanted.times)
        if wanted.only == "pages":
            return
        begin = time.perf_counter()
        with TestClient(create_app(options), base_url="http://127.0.0.1:8765") as client:
            print(f"start of the server: {1000 * (time.perf_counter() - begin):.0f} ms")
            client.headers[TOKEN_HEADER] = client.get("/api/session").json()["token"]
            name = f"/api/people/{person_id}"
            print(
                f"{wanted.people} people, {wanted.runs} runs{'':17}{'first':>9}{'median':>9}{'longest':>9}{'CPU':>9} ms"
                f"{'kB':>8}"
            )
            for method, path, content in (
                ("GET", "/api/people", None),
                ("GET", name, None),
                ("GET", f"{name}/sightings", None),
                ("GET", f"{name}/cameras", None),
                ("GET", f"{name}/traces", None),
                ("GET", f"{name}/standings", None),
                ("GET", "/api/bin", None),
                ("GET", "/api/strangers", None),
                ("GET", "/api/live", None),
                ("GET", "/api/log", None),
                ("GET", "/api/jobs", None),
                ("GET", "/api/videos", None),
                ("GET", f"/api/jobs/{job_id}", None),
                ("GET", f"/api/jobs/{job_id}/result", None),
                ("GET", f"/api/jobs/{job_id}/videos/0/boxes", None),
                ("GET", f"/api/jobs/{job_id}/files/results.csv", None),
                ("PATCH", name, {"name": "Somebody else"}),
                ("GET", f"/api/jobs/{job_id}/result", None),
                ("GET", f"{name}/sightings", None),
            ):
                times, busy = [], []
                for _ in range(wanted.times):
                    begin, worked = time.perf_counter(), time.process_time()
                    answer = client.request(method, path, json=content)
                    times.append(1000 * (time.perf_counter() - begin))
                    busy.append(1000 * (time.process_time() - worked))
                    assert answer.is_success, (path, answer.text)
                shown = path.replace(job_id, "ID")
                print(
                    f"{method:6}{shown:38}{times[0]:9.0f}{statistics.median(times):9.0f}{max(times):9.0f}"
                    f"{statistics.median(busy):9.0f}"
                    f"{len(answer.content) / 1000:11.0f}"
                )


if __name__ == "__main__":
    main()
