"""Jobs: what survives a killed program, and what the worker says of its work."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path

import pytest

from app.web.forecast import Forecast, PlannedStep
from app.web.jobs import Job, JobStore
from app.web.options import ConflictError, NotThereError, WebError, WebOptions
from app.web.queue import JobQueue
from app.web.results import _spans
from app.web.videos import VideoLibrary
from app.web.worker import Reporter, Task


def a_job(**more: object) -> Job:
    return Job.model_validate({"kind": "survey", "probes": ["a" * 32], "names": {"a" * 32: "walk.mp4"}, **more})


def test_a_job_is_what_it_was_after_a_restart(tmp_path: Path) -> None:
    job = a_job(state="failed", message="The disk is full.")
    JobStore(tmp_path).save(job)
    assert JobStore(tmp_path).get(job.job_id) == job


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    job = a_job(state="done")
    JobStore(tmp_path).save(job)
    (tmp_path / "jobs" / f"{job.job_id}.json").write_text('{"kind": "other"}')
    with pytest.raises(WebError, match=f"{job.job_id}.json cannot be read"):
        JobStore(tmp_path)


def test_the_job_that_waits_longest_comes_first(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    late, early, done = a_job(queued=2.0), a_job(queued=1.0), a_job(queued=0.0, state="done")
    for job in (late, early, done):
        store.save(job)
    assert store.next_queued() is early
    assert (store.before(early), store.before(late)) == (0, 1)


def test_a_job_that_ran_when_the_program_was_killed(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    first, second, finished = (a_job(state="running", attempts=number) for number in (1, 2, 1))
    for job in (first, second, finished):
        store.save(job)
    store.result(finished).mkdir(parents=True)  # it appears whole, so the job is done whatever its file says
    (tmp_path / "results" / ".half.partial").mkdir()
    (tmp_path / "results" / ("f" * 32)).mkdir()  # of a job that was being deleted
    again = JobStore(tmp_path)
    assert again.get(first.job_id).state == "queued"
    assert again.get(second.job_id).state == "interrupted"
    assert "2 times" in (again.get(second.job_id).message or "")
    assert again.get(finished.job_id).state == "done"
    assert [path.name for path in (tmp_path / "results").iterdir()] == [finished.job_id]


def test_deleting_a_job_takes_its_result_along(tmp_path: Path) -> None:
    store, job = JobStore(tmp_path), a_job(state="running")
    store.save(job)
    with pytest.raises(ConflictError, match="Cancel it"):
        store.remove(job)
    job.state = "done"
    store.result(job).mkdir(parents=True)
    store.remove(job)
    assert not store.result(job).exists()
    with pytest.raises(NotThereError):
        store.get(job.job_id)
    assert JobStore(tmp_path).all() == []


def test_progress_is_told_in_steps() -> None:
    out = io.StringIO()
    with Reporter(out, Forecast([PlannedStep("walk.mp4: follow", 90)])).stage("walk.mp4: follow", 100) as advance:
        for _ in range(13):
            advance(8)  # more than the header promised
    messages = [json.loads(line) for line in out.getvalue().splitlines()]
    steps = [message["step"] for message in messages]
    assert (steps[0]["done"], steps[0]["total"], steps[0]["rate"]) == (0, 100, None)
    assert (steps[-1]["done"], steps[-1]["total"]) == (104, 104)
    assert (messages[0]["left"], messages[-1]["left"]) == (None, 0)
    assert steps[-1]["rate"] > 0
    assert len(steps) < 13, "not a message for each batch"


def test_messages_name_videos_not_places() -> None:
    task = Task.model_validate({
        "kind": "survey", "gallery": None,
        "probes": [{"video_id": "a" * 32, "path": "web/uploads/aaa/walk.mp4", "pixels": 9}],
        "database": "gallery.db", "far": 0.01, "config": None, "assignments": [], "work": "work", "result": "result",
    })  # fmt: skip
    assert task.without_paths("Nobody in web/uploads/aaa/walk.mp4.") == "Nobody in walk.mp4."


def test_spans_bridge_short_gaps_only() -> None:
    assert _spans([0, 1, 2, 10, 11, 40], 25.0) == [(0.0, 0.48), (1.6, 1.64)]
    assert _spans([5], 25.0) == [(0.2, 0.24)]


def test_whoever_waits_for_changes_may_be_cancelled_at_any_moment(tmp_path: Path) -> None:
    """A browser leaves while others wait, and while a change is being announced: nobody else must notice."""
    options = WebOptions(tmp_path / "web", tmp_path / "gallery.db", tmp_path / "input")
    queue = JobQueue(options, JobStore(options.folder), VideoLibrary(options))

    async def watched() -> None:
        for spare in range(12):
            waiting = [asyncio.create_task(queue.changes(spare, 30)) for _ in range(6)]
            for _ in range(spare % 4):
                await asyncio.sleep(0)
            waiting[0].cancel()
            announced = asyncio.create_task(queue.announce(f"job {spare}"))
            waiting[1].cancel()
            await announced
            waiting[2].cancel()
            ended = await asyncio.gather(*waiting, return_exceptions=True)
            assert [one for one in ended[3:] if one != (spare + 1, [f"job {spare}"])] == []
        last = asyncio.create_task(queue.changes(12, 30))
        await asyncio.sleep(0)
        await queue.close()
        assert await asyncio.wait_for(last, 5) == (12, [])

    asyncio.run(watched())


@pytest.mark.timeout(60)
def test_who_leaves_is_cancelled_again_and_again_and_holds_nobody_up(tmp_path: Path) -> None:
    """Starlette's task groups cancel in each turn of the loop until a task has ended. With a lock this hangs."""
    options = WebOptions(tmp_path / "web", tmp_path / "gallery.db", tmp_path / "input")
    queue = JobQueue(options, JobStore(options.folder), VideoLibrary(options))

    async def leave(task: asyncio.Task[tuple[int, list[str]]]) -> None:
        for _ in range(100):
            task.cancel()
            await asyncio.sleep(0)

    async def watched() -> None:
        for turn in range(12):
            waiting = [asyncio.create_task(queue.changes(turn, 30)) for _ in range(6)]
            for _ in range(turn % 4):
                await asyncio.sleep(0)
            leaving = [asyncio.create_task(leave(task)) for task in waiting[:3]]
            for _ in range(turn % 3):
                await asyncio.sleep(0)
            await queue.announce(f"job {turn}")
            ended = await asyncio.gather(*waiting, return_exceptions=True)
            assert ended[3:] == [(turn + 1, [f"job {turn}"])] * 3
            assert all(isinstance(one, asyncio.CancelledError | tuple) for one in ended[:3])
            await asyncio.gather(*leaving)

    asyncio.run(watched())
