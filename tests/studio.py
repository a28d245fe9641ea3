"""A web folder with made-up videos, people and results, and the page served from it, for tests of the web page."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Picture
from PIL import ImageDraw

from app.gallery.opening import open_store, open_strangers
from app.gallery.store import NewWalk
from app.results.report import ModelReport
from app.types import Embedding, GaitSequence, ModelCard
from app.web.inspection import Header
from app.web.jobs import Job, JobStore
from app.web.options import WebOptions
from app.web.outcome import KnownIdentity, Outcome, SeenVideo, StoredWalks
from app.web.people import People
from app.web.results import RunResult
from app.web.videos import Video, VideoLibrary

FPS = 25.0
FRAMES = list(range(10, 40))


@dataclass
class Studio:
    """A web folder with made-up videos and results."""

    options: WebOptions
    jobs: JobStore
    videos: VideoLibrary
    people: People

    def video(self, name: str) -> str:
        video_id = uuid.uuid4().hex
        folder = self.options.folder / "uploads" / video_id
        folder.mkdir(parents=True)
        (folder / name).write_bytes(b"film of " + name.encode())
        video = Video(video_id=video_id, name=name, source="upload", bytes=1, added=0.0, seen=Header())
        (folder / "video.json").write_text(video.model_dump_json())
        return video_id

    def result(
        self, videos: Mapping[str, Mapping[int, str | None]], known: Mapping[str, int] | None = None
    ) -> RunResult:
        """A job that found these tracks, by video id, named after `known`, and kept a walk of each."""
        names = {video_id: self.videos.get(video_id).name for video_id in videos}
        job = Job(kind="identify", probes=list(videos), names=names, state="done")
        folder = self.jobs.result(job)
        reports = []
        for video_id, tracks in videos.items():
            stem = Path(names[video_id]).stem
            for kind in ("features", "run/crops"):
                (folder / kind / stem).mkdir(parents=True)
            reports.append(_report(names[video_id], tracks))
            for track_id, identity in tracks.items():
                if identity == "unusable":
                    continue
                pictures = folder / "silhouettes" / stem / f"{track_id:03d}"
                pictures.mkdir(parents=True)
                rng = np.random.default_rng(int(video_id[:8], 16) + track_id)
                silhouettes = rng.integers(0, 255, (len(FRAMES), 64, 64)).astype(np.uint8)
                for index, silhouette in zip(FRAMES, silhouettes, strict=True):
                    Picture.fromarray(silhouette).save(pictures / f"{index:06d}.png")
                embedding = Embedding(rng.normal(size=(2, 8)).astype(np.float32), "gei", len(FRAMES))
                sequence = GaitSequence(np.asarray(FRAMES), silhouettes, FPS)
                write_features(folder / "features" / stem, track_id, embedding, sequence)
                (folder / "run" / "crops" / stem / f"{track_id}.jpg").write_bytes(b"\xff\xd8 picture")
        (folder / "run" / "results.json").write_text(
            json.dumps({"gallery": None, "probes": reports, "models": {}, "timings": {}})
        )
        outcome = Outcome(
            videos=[SeenVideo(video_id=i, name=Path(n).stem, painted=f"{Path(n).stem}.mp4") for i, n in names.items()],
            identities=[
                KnownIdentity(name=name, colour="#000000", person_id=person_id, walks=self.walks_of(person_id))
                for name, person_id in (known or {}).items()
            ],
        )
        (folder / "outcome.json").write_text(outcome.model_dump_json())
        self.jobs.save(job)
        return RunResult(job, folder)

    def walks_of(self, person_id: int) -> list[int]:
        return [walk_id for walk_id, owner in self.people.known().owners.items() if owner == person_id]

    def names(self) -> list[str]:
        return sorted(self.people.known().names.values())


def write_features(folder: Path, track_id: int, embedding: Embedding, sequence: GaitSequence) -> None:
    """Write a file as runs do."""
    np.savez(
        folder / f"{track_id:03d}.npz",
        parts=embedding.parts,
        model_id=np.asarray(embedding.model_id),
        frames=np.asarray(embedding.frames),
        frame_indices=sequence.frame_indices,
    )


def _report(video: str, tracks: Mapping[int, str | None]) -> dict[str, Any]:
    return {
        "video": video, "width": 64, "height": 48, "fps": FPS, "frame_count": 50, "warnings": [],
        "tracks": [
            {
                "track_id": track_id, "frames": FRAMES, "boxes": [[0.0, 0, 10, 20]] * len(FRAMES),
                "status": "unusable" if identity == "unusable" else "identified" if identity else "unknown",
                "identity": None if identity == "unusable" else identity, "confidence": None, "distance": None,
                "threshold": None, "probability": None, "margin": None, "part_of": None,
                "reason": "too short: 0.2 s" if identity == "unusable" else None, "candidates": [],
            }
            for track_id, identity in tracks.items()
        ],
    }  # fmt: skip


def new_studio(folder: Path) -> Studio:
    """An empty studio in `folder`."""
    options = WebOptions(folder / "web", folder / "gallery.db", folder / "input")
    jobs, videos = JobStore(options.folder), VideoLibrary(options)
    return Studio(options, jobs, videos, People(options, jobs, videos))


def compare_run(studio: Studio, threshold: float | None) -> RunResult:
    """A run that has compared a video with the two people of a gallery video: track 5 is like the second of them."""
    gallery, probe = studio.video("gallery.mp4"), studio.video("yard.mp4")
    result = studio.result({gallery: {1: "gallery-001", 2: "gallery-002"}, probe: {5: "gallery-002"}})
    near, sequence = (
        StoredWalks(result.folder, "gallery").embedding(2),
        StoredWalks(result.folder, "yard").sequence(5, FPS),
    )
    assert near is not None
    assert sequence is not None
    write_features(result.folder / "features" / "yard", 5, replace(near, parts=near.parts + np.float32(0.05)), sequence)
    path = result.folder / "run" / "results.json"
    report = json.loads(path.read_text())
    gait = ModelReport.of(ModelCard("gait", "gei", "weight-free", "none")).model_dump()
    report |= {"gaitprint": "0", "created": "2026-01-01T00:00:00+00:00", "settings": {}, "models": {"gait": gait}}
    report |= {"timings": {"total": 1.0}}
    for video, name in zip(report["probes"], ("gallery", "yard"), strict=True):
        video["name"] = name
    candidates = [{"identity": "gallery-002", "distance": 0.05}, {"identity": "gallery-001", "distance": 2.0}]
    report["probes"][1]["tracks"][0] |= {"candidates": candidates, "distance": 0.05, "threshold": threshold}
    report["gallery"] = report["probes"].pop(0)
    path.write_text(json.dumps(report))
    identities = [KnownIdentity(name=f"gallery-00{number}", colour="#000000") for number in (1, 2)]
    outcome = result.outcome.model_copy(update={"identities": identities})
    (result.folder / "outcome.json").write_text(outcome.model_dump_json())
    job = result.job.model_copy(update={"kind": "compare", "gallery": gallery, "probes": [probe]})
    studio.jobs.save(job)
    return RunResult(job, result.folder)


def picture_of(camera: str) -> bytes:
    """A small picture, a JPEG, which names the camera."""
    out = BytesIO()
    colours = np.random.default_rng(len(camera)).integers(0, 255, (32, 16, 3)).astype(np.uint8)
    Picture.fromarray(colours).save(out, "JPEG", comment=f"seen by {camera}".encode())
    return out.getvalue()


def portrait_of(upper: tuple[int, int, int], lower: tuple[int, int, int]) -> bytes:
    """A portrait as runs make them, a JPEG: somebody in clothes of these colours (RGB) before a wall and a lawn."""
    picture = Picture.new("RGB", (128, 256), (240, 236, 228))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 190, 128, 256), fill=(96, 128, 72))
    draw.ellipse((52, 14, 76, 46), fill=(224, 172, 140))
    draw.polygon([(42, 50), (86, 50), (82, 136), (46, 136)], fill=upper)
    draw.polygon([(46, 136), (82, 136), (96, 236), (78, 236), (64, 160), (50, 236), (32, 236)], fill=lower)
    noise = np.random.default_rng(0).normal(0, 6, (256, 128, 3))
    out = BytesIO()
    Picture.fromarray(np.clip(np.asarray(picture) + noise, 0, 255).astype(np.uint8)).save(out, "JPEG", quality=85)
    return out.getvalue()


def meet_strangers(gallery_db: Path, *cameras: str) -> None:
    """Let cameras see one stranger each, and keep a picture of all but the last."""
    rng = np.random.default_rng(len(cameras))
    with open_store(gallery_db) as gallery:
        strangers = open_strangers(gallery_db, create=True)
        assert strangers is not None
        with strangers:
            for camera in cameras:
                walk = NewWalk(
                    Embedding(rng.normal(size=(2, 8)).astype(np.float32), "gei", 9),
                    camera,
                    thumbnail=picture_of(camera) if camera != cameras[-1] else None,
                )
                one = strangers.enrol_stranger([walk], retain_days=3)
                gallery.record("left", source=camera, name=None, stranger=one.name)


@contextmanager
def served(options: WebOptions) -> Iterator[str]:
    """Serve the page from a thread during the block; yields its address."""
    import uvicorn

    from app.web.server import create_app, listen

    with listen("127.0.0.1", 0) as listener:
        config = uvicorn.Config(create_app(options), log_level="warning", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(20)
