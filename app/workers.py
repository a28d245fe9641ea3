"""Work in several processes side by side."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from app.errors import GaitprintError

T = TypeVar("T")


def side_by_side(work: Callable[..., T], todo: Sequence[tuple[Any, ...]], workers: int) -> Iterator[T]:
    """Yield ``work(*arguments)`` for each of `todo`, as they come.

    With several workers each is a process of its own with one thread, `work` being a function of a module. Ctrl-C
    reaches this process alone, and the workers end with it, even when it is killed.

    Raises:
        GaitprintError: a worker was killed.
    """
    if workers <= 1 or len(todo) <= 1:
        for arguments in todo:
            yield work(*arguments)
        return
    with _one_thread(), ProcessPoolExecutor(min(workers, len(todo)), get_context("spawn"), _obedient) as pool:
        futures = [pool.submit(work, *arguments) for arguments in todo]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise GaitprintError(
                "A worker was killed, for lack of memory perhaps. Run again: what is done counts."
            ) from error
        finally:
            for future in futures:
                future.cancel()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let the workers' NumPy use one thread each: they are as many as there are cores."""
    before = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    os.environ.update(dict.fromkeys(before, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _obedient() -> None:
    """Leave Ctrl-C and the other cores to others, and end with the process that started this one."""
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with, args=(parent_process(),), daemon=True).start()


def _end_with(parent: BaseProcess | None) -> None:
    if parent is not None:
        parent.join()
        os._exit(1)
