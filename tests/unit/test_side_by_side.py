"""Several videos at once: the same answers in the same order, and one that fails or is interrupted stops the others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

import app.stages as module
from app.errors import VideoError
from app.progress import Progress, Silent, Stoppable
from app.stages import Run, Stages


class OneAtATime:
    """A place that can show one stage only, as the web page's."""

    @contextmanager
    def stage(self, title: str, total: int | None) -> Iterator[Callable[[int], None]]:
        yield lambda done: None


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "cores", lambda: 2)


def run_of(progress: Progress) -> Run:
    """A run whose stages have a twin."""
    stages = SimpleNamespace()
    stages.twin = lambda: SimpleNamespace(of=stages)
    return Run(cast(Stages, stages), progress)


def test_answers_keep_the_order_of_the_items() -> None:
    second_is_done = threading.Event()

    def work(item: int, run: Run) -> int:
        if item == 1:
            assert second_is_done.wait(10), "the second item was not worked at meanwhile"
        if item == 2:
            second_is_done.set()
        return item * 10

    assert run_of(Silent()).side_by_side(work, [1, 2, 3]) == [10, 20, 30]


def test_each_video_has_stages_of_its_own_and_the_shared_watch() -> None:
    run = run_of(Silent())
    runs: list[Any] = run.side_by_side(lambda item, own: own, [1, 2])
    assert len({id(own.stages) for own in runs}) == 2
    assert all(cast(Any, own.stages).of is run.stages for own in runs)
    assert all(own.watch is run.watch for own in runs)


@pytest.mark.parametrize("threads", [1, 2])
def test_one_after_the_other_where_only_one_can_be_shown(threads: int) -> None:
    progress = OneAtATime() if threads == 2 else Silent()
    run = run_of(cast(Progress, progress))
    assert (
        run.side_by_side(lambda item, own: (threading.current_thread(), own), [1, 2], threads)
        == [(threading.main_thread(), run)] * 2
    )


def test_the_first_error_in_the_order_of_items_is_raised_and_the_others_are_stopped() -> None:
    begun, stopped = threading.Event(), threading.Event()

    def work(item: int, run: Run) -> None:
        if item == 0:
            assert begun.wait(10)
            raise VideoError("the gallery is broken")
        try:
            with run.progress.stage("follow", None) as advance:
                begun.set()
                while True:
                    advance(1)
        except KeyboardInterrupt:
            stopped.set()
            raise

    with pytest.raises(VideoError, match="the gallery is broken"):
        run_of(Silent()).side_by_side(work, [0, 1, 2])
    assert stopped.is_set()


def test_an_interruption_reaches_every_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    running, ended = threading.Barrier(3), []

    def work(item: int, run: Run) -> None:
        try:
            with run.progress.stage("follow", None) as advance:
                running.wait(10)
                while True:
                    advance(1)
        finally:
            ended.append(item)

    class Interrupted(module.ThreadPoolExecutor):
        """As if Ctrl-C came while the main thread waits."""

        def submit(self, *arguments: Any, **options: Any) -> Any:  # type: ignore[override]
            future = super().submit(*arguments, **options)

            def result(timeout: float | None = None) -> None:
                running.wait(10)
                raise KeyboardInterrupt

            future.result = result  # type: ignore[method-assign]
            return future

    monkeypatch.setattr(module, "ThreadPoolExecutor", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_of(Silent()).side_by_side(work, [0, 1])
    assert sorted(ended) == [0, 1]


def test_what_is_stopped_reports_no_more() -> None:
    progress = Stoppable(Silent())
    with progress.stage("paint", 3) as advance:
        advance(1)
        progress.stop()
        with pytest.raises(KeyboardInterrupt):
            advance(1)
