"""Runs one job after the other, each in a separate process, so that it can be cancelled and may crash."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import shutil
import signal
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from app.errors import OutputError
from app.web.inspection import environment
from app.web.jobs import Job, JobStore, Step
from app.web.options import ConflictError, WebOptions
from app.web.videos import VideoLibrary
from app.web.worker import Task, TaskVideo

logger = logging.getLogger(__name__)

_PATIENCE = 15.0  # s that a cancelled worker has to end by itself
_LAST_OUTPUT = 600  # characters of a crashed worker's output that are shown


class JobQueue:
    """Runs jobs, and announces every change to those who wait for it.

    Every method must be called in the thread of the event loop.
    """

    def __init__(self, options: WebOptions, jobs: JobStore, videos: VideoLibrary) -> None:
        self._options, self._jobs, self._videos = options, jobs, videos
        self._work = options.folder / "work"
        self._wake = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._cancelled: set[str] = set()
        self._ending: asyncio.Task[None] | None = None  # kept, because the garbage collector removes unreferenced tasks
        self.steps: dict[str, list[Step]] = defaultdict(list)
        self.left: dict[str, float | None] = {}
        """How many s the present run will still take, by its id; None while that cannot be estimated."""
        self._revision = 0
        self._revisions: dict[str, int] = {}
        self._waiting: set[asyncio.Event] = set()
        self._working = asyncio.Lock()
        self._running: Job | None = None
        self.closing = False

    async def run(self) -> None:
        """Work until cancelled. The job that is running then is stopped, and begun again at the next start."""
        while True:
            async with self._working:
                self._running = self._jobs.next_queued()
                if self._running is not None:
                    try:
                        await self._run(self._running)
                    except Exception as error:  # a run that cannot even be begun must not stop the others
                        logger.exception("The run %s could not be begun.", self._running.job_id)
                        await self._fail(self._running, str(error) or type(error).__name__)
                    continue
            self._wake.clear()
            await self._wake.wait()

    @contextlib.asynccontextmanager
    async def at_rest(self) -> AsyncIterator[None]:
        """Let no job begin during the block; `ConflictError` where a job is running."""
        if self._running is not None:
            raise ConflictError("A run is going on. Wait until it ends, or cancel it first.")
        async with self._working:
            yield

    async def submit(self, job: Job) -> None:
        """Put a job, which is new or has ended, at the end of the queue."""
        if job.state == "running":
            raise ConflictError("This run is going on already.")
        waiting = sum(other.state == "queued" for other in self._jobs.all() if other is not job)
        if waiting >= self._options.most_waiting:
            raise ConflictError(f"{waiting} runs are waiting already, and no more are allowed. Wait, or cancel some.")
        if self._jobs.result(job).is_dir():
            raise ConflictError("This run is done. Start a new one.")
        job.state, job.queued, job.message, job.attempts, job.ended = "queued", time.time(), None, 0, None
        self._jobs.save(job)
        self._wake.set()
        await self.announce(job.job_id)

    async def cancel(self, job: Job) -> None:
        """Stop a job that is waiting or running; a job that has ended stays as it is."""
        if job.state == "queued":
            job.state, job.ended = "cancelled", time.time()
            self._jobs.save(job)
            await self.announce(job.job_id)
        elif job.state == "running" and self._process is not None:
            self._cancelled.add(job.job_id)
            self._ending = asyncio.create_task(_ended(self._process))

    async def announce(self, job_id: str) -> None:
        """Tell everybody who waits for changes that a job has changed or was deleted."""
        self._revision += 1
        self._revisions[job_id] = self._revision
        self._release()

    async def changes(self, after: int, patience: float) -> tuple[int, list[str]]:
        """Wait at most `patience` s for changes after a revision; return the new revision and the changed jobs' ids."""
        if self._revision <= after and not self.closing:
            # Not a Condition: whoever waits is often cancelled, and its lock may then be another's.
            changed = asyncio.Event()
            self._waiting.add(changed)
            try:
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(changed.wait(), patience)
            finally:
                self._waiting.discard(changed)
        return self._revision, [job_id for job_id, revision in self._revisions.items() if revision > after]

    async def close(self) -> None:
        """Release everybody who waits for changes."""
        self.closing = True
        self._release()

    def _release(self) -> None:
        for waiting in self._waiting:
            waiting.set()

    async def _run(self, job: Job) -> None:
        job.state, job.started, job.attempts = "running", time.time(), job.attempts + 1
        job.models, job.warnings = [], []
        self.steps.pop(job.job_id, None)
        self.left.clear()
        self._jobs.save(job)
        await self.announce(job.job_id)
        try:
            await self._supervise(job)
        except asyncio.CancelledError:  # the server ends; the job is begun again at its next start
            job.state, job.attempts = "queued", 0
            self._jobs.save(job)
            raise
        job.ended = time.time()
        self._cancelled.discard(job.job_id)
        self._jobs.save(job)
        await self.announce(job.job_id)

    async def _fail(self, job: Job, message: str) -> None:
        job.state, job.message, job.ended = "failed", message, time.time()
        with contextlib.suppress(OutputError):  # there may be no space for this either
            self._jobs.save(job)
        await self.announce(job.job_id)

    async def _supervise(self, job: Job) -> None:
        """Run the worker process of a job and read its messages."""
        result = self._jobs.result(job)
        task = await self._task(job, result)
        self._clear()
        log = self._options.folder / "worker.log"
        with log.open("wb") as errors:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "app.web.worker"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                env=environment(),
                limit=1 << 20,
                # Ctrl-C in the terminal must reach the server only, which then ends its worker.
                start_new_session=True,
            )
        self._process = process
        assert process.stdin is not None
        assert process.stdout is not None
        failure = None
        try:
            # The pipe stays open. The worker ends when it is closed, so it never outlives a killed server.
            process.stdin.write(task.model_dump_json().encode() + b"\n")
            await process.stdin.drain()
            async for line in process.stdout:
                failure = self._read_message(job, json.loads(line)) or failure
                await self.announce(job.job_id)
            code = await process.wait()
        except BaseException:
            await _ended(process)
            raise
        finally:
            self._process = None
            process.stdin.close()
        if result.is_dir():
            job.state, job.message = "done", None
        elif job.job_id in self._cancelled:
            job.state, job.message = "cancelled", None
        else:
            job.state, job.message = "failed", failure or _reason_of(code, log)

    def _clear(self) -> None:
        """Remove what a killed worker left behind."""
        self._work.mkdir(parents=True, exist_ok=True)
        left = [path for path in self._work.iterdir() if path.name != "cache"]
        for folder in (self._work / "cache", self._options.folder / "results"):
            left += folder.glob(".*")
        for path in left:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()

    async def _task(self, job: Job, result: Path) -> Task:
        options = self._options
        videos = []
        for video in [await self._videos.look_into(video_id) for video_id in job.videos]:
            assert video.seen is not None
            path, pixels = self._videos.path(video), video.seen.width * video.seen.height
            videos.append(TaskVideo(video_id=video.video_id, path=path, frames=video.seen.frames, pixels=pixels))
        return Task(
            kind=job.kind,
            gallery=videos[0] if job.gallery else None,
            probes=videos[1:] if job.gallery else videos,
            database=options.gallery,
            far=job.far,
            config=options.config,
            assignments=[*options.assignments, f"output.blur={job.blur}"],
            work=self._work,
            result=result,
        )

    def _read_message(self, job: Job, message: dict[str, Any]) -> str | None:
        """Handle a message of the worker; return its error, if it is one."""
        if "step" in message:
            step, steps = Step.model_validate(message["step"]), self.steps[job.job_id]
            self.left[job.job_id] = message["left"]
            if steps and steps[-1].title == step.title:
                steps[-1] = step
            else:
                steps.append(step)
        elif "warning" in message:
            job.warnings.append(message["warning"])
        elif "model" in message:
            job.models.append(message["model"])
        elif "error" in message:
            return str(message["error"])
        return None


async def _ended(process: asyncio.subprocess.Process) -> None:
    """Ask a worker to end, and kill it if it does not."""
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), _PATIENCE)
    except asyncio.TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _reason_of(code: int, log: Path) -> str:
    if code < 0:
        name = signal.Signals(-code).name
        hint = " (out of memory?)" if name == "SIGKILL" else ""
        return f"The worker was ended by {name}{hint}. Start the run again: videos that were analysed are kept."
    last_line = log.read_text(encoding="utf-8", errors="replace").strip()[-_LAST_OUTPUT:].rpartition("\n")[2]
    return f"The worker crashed: {last_line or f'exit code {code}'}. This is a fault of the program; see {log}."
