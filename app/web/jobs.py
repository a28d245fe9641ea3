"""Jobs: runs that somebody asked for on the web page.

A job is one JSON file in ``jobs/``, written whole at each change of state. Its result is one folder in ``results/``,
which appears whole or not at all. A job whose result exists is done, whatever else happened.
"""

from __future__ import annotations

import shutil
import time
import uuid
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from app.files import explained, write_text
from app.settings import Blur, MatchSettings
from app.web.options import ConflictError, NotThereError, read_model

Kind = Literal["compare", "identify", "survey"]
State = Literal["queued", "running", "done", "failed", "cancelled", "interrupted"]

_ATTEMPTS = 2  # a job that crashes the whole program is not begun again more often


class Job(BaseModel):
    """A run: ``compare`` recognises the people of a gallery video, ``identify`` those of the gallery's database, and
    ``survey`` names nobody.

    `names` has the file name of each video by its id. `far` is the false accept rate, which only ``identify`` uses.
    Times are in s since 1970. `labels` has the tracks that somebody named: the id of the gallery's walk that each
    became, by ``video/track``, where the video is given by its place in the result. `denied` has, in the same way, the
    people of a gallery video who a track is not, as somebody said, as ``compare`` calls them.
    """

    job_id: str = Field(default_factory=lambda: uuid.uuid4().hex)
    kind: Kind
    gallery: str | None = None
    probes: list[str]
    names: dict[str, str]
    blur: Blur = "none"
    far: float = MatchSettings().far
    state: State = "queued"
    created: float = Field(default_factory=time.time)
    queued: float = Field(default_factory=time.time)
    started: float | None = None
    ended: float | None = None
    attempts: int = 0
    message: str | None = None
    models: list[str] = []
    warnings: list[str] = []
    labels: dict[str, int] = {}
    denied: dict[str, list[str]] = {}

    @property
    def videos(self) -> list[str]:
        """The ids of all its videos, the gallery video first."""
        return [*([self.gallery] if self.gallery else []), *self.probes]

    @property
    def is_open(self) -> bool:
        """Whether it is waiting or running."""
        return self.state in ("queued", "running")


class Step(BaseModel):
    """The progress of one step of a running job; `rate` is in frames/s, None while it is not known."""

    title: str
    done: int = 0
    total: int | None = None
    rate: float | None = None


class JobStore:
    """The jobs on the disk, which are read once, at the start."""

    def __init__(self, folder: Path) -> None:
        self._jobs_folder, self._results = folder / "jobs", folder / "results"
        self._jobs: dict[str, Job] = {}
        for path in self._jobs_folder.glob("[!.]*.json"):
            job = read_model(Job, path)
            self._jobs[job.job_id] = job
        self._recover()

    def all(self) -> list[Job]:
        """Return every job, the newest first."""
        return sorted(self._jobs.values(), key=lambda job: -job.created)

    def get(self, job_id: str) -> Job:
        """Return a job; `NotThereError` where there is none of that id."""
        if job_id not in self._jobs:
            raise NotThereError("This run is not there any more.")
        return self._jobs[job_id]

    def find(self, job_id: str) -> Job | None:
        """Return a job, or None where there is none of that id."""
        return self._jobs.get(job_id)

    def next_queued(self) -> Job | None:
        """Return the job that is next."""
        return min((job for job in self._jobs.values() if job.state == "queued"), key=lambda j: j.queued, default=None)

    def before(self, job: Job) -> int:
        """Return how many jobs come before one that is waiting."""
        return sum(
            1 for j in self._jobs.values() if j.state == "running" or (j.state == "queued" and j.queued < job.queued)
        )

    def save(self, job: Job) -> None:
        """Write a job in its present state to the disk."""
        write_text(self._path(job), job.model_dump_json(indent=1))
        self._jobs[job.job_id] = job

    def result(self, job: Job) -> Path:
        """Return the folder of a job's result, which may not exist yet."""
        return self._results / job.job_id

    def remove(self, job: Job) -> None:
        """Delete a job and its result.

        Raises:
            ConflictError: the job is waiting or running.
            OutputError: there is no permission.
        """
        if job.is_open:
            raise ConflictError("This run has not ended. Cancel it first.")
        with explained(self.result(job)):
            # The result goes last: one without a job is removed at the next start, should this be interrupted.
            self._path(job).unlink(missing_ok=True)
            del self._jobs[job.job_id]
            if self.result(job).exists():
                shutil.rmtree(self.result(job))

    def using(self, video_id: str) -> list[Job]:
        """Return the jobs in which a video takes part."""
        return [job for job in self.all() if video_id in job.videos]

    def _path(self, job: Job) -> Path:
        return self._jobs_folder / f"{job.job_id}.json"

    def _recover(self) -> None:
        """Repair what a killed program left behind."""
        for path in [*self._jobs_folder.glob(".*"), *self._results.glob("*")]:
            if path.name not in self._jobs:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        for job in self._jobs.values():
            if job.state != "running":
                continue
            if self.result(job).is_dir():
                job.state, job.ended = "done", time.time()
            elif job.attempts < _ATTEMPTS:
                job.state = "queued"
            else:
                job.state = "interrupted"
                job.message = f"The program crashed {job.attempts} times during this run."
            self.save(job)
