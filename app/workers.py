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
    """Yield ``work(*arguments)`` for each item of `todo`, in the order in which they are done.

    Several workers are processes with one thread each; `work` must then be a function of a module. Ctrl-C reaches this
    process only. The workers end when it ends, even if it is killed.

    Raises:
        GaitprintError: a worker was killed.
    """
    if workers <= 1 or len(todo) <= 1:
        for arguments in todo:
            yield work(*arguments)
        return
    with _one_thread(), ProcessPoolExecutor(min(workers, len(todo)), get_context("spawn"), _set_up_worker) as pool:
        futures = [pool.submit(work, *arguments) for arguments in todo]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise GaitprintError(
                "A worker was killed, perhaps because memory ran out. Run the command again; finished work is kept."
            ) from error
        finally:
            for future in futures:
                future.cancel()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let NumPy use one thread in each worker, because there are as many workers as cores."""
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


def _set_up_worker() -> None:
    """Set up a worker: it ignores Ctrl-C, uses one core, and ends with the process that started it."""
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with, args=(parent_process(),), daemon=True).start()


def _end_with(parent: BaseProcess | None) -> None:
    if parent is not None:
        parent.join()
        os._exit(1)
