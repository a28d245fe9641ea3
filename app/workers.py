"""Work in several processes side by side, on this machine or on those of a cluster."""

from __future__ import annotations

import atexit
import logging
import math
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from importlib import import_module
from multiprocessing import get_context, parent_process
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from app.errors import GaitprintError, SettingsError, counted, needing, reason_of
from app.settings import cores

T = TypeVar("T")
_logger = logging.getLogger(__name__)

_EACH = 4
"""Processes for each core, at most; beyond that they only wait for each other."""
_ALWAYS = 16
"""So many processes may work even where there are fewer cores."""


def need_few(workers: int, given: str) -> int:
    """Return `workers`, the number of processes that somebody asked for by the setting or option `given`.

    Raises:
        SettingsError: there would be so many that they only wait for each other, and fill the memory.
    """
    most = max(_ALWAYS, _EACH * cores())
    if workers > most:
        raise SettingsError(
            f"{given} {workers} is too much for a machine of {counted(cores(), 'core')}: each process takes some 300 "
            f"MB of memory, and more than {most} would stop the machine. Give at most {most}."
        )
    return workers


def side_by_side(work: Callable[..., T], todo: Sequence[tuple[Any, ...]], workers: int) -> Iterator[T]:
    """Yield ``work(*arguments)`` for each item of `todo`, in the order in which they are done.

    With 0 there are as many workers as cores. Several workers are processes with one thread each; `work` must then be a
    function of a module. Ctrl-C reaches this process only. The workers end when it ends, even if it is killed.

    Raises:
        GaitprintError: a worker was killed.
        SettingsError: there would be too many workers.
    """
    workers = need_few(workers, "--workers") or cores()
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


def spread(
    work: Callable[..., T], todo: Sequence[tuple[Any, ...]], workers: int = 1, cluster: str | None = None
) -> Iterator[T]:
    """Yield ``work(*arguments)`` for each item, as `on_cluster` does at the address `cluster`, else `side_by_side`."""
    return on_cluster(work, todo, cluster) if cluster is not None else side_by_side(work, todo, workers)


_RETRIES = 5
"""How often an item is begun anew whose machine or worker was lost."""
_LOOK = 2.0
"""s between two looks at whether the cluster is still there."""
_LOST = 20.0
"""s without an answer after which a cluster counts as lost. Ray itself ends this process after 60 s, without a word."""
_EMPTY = 30.0
"""s without a machine that could work after which that is said."""
_FAREWELL = 5.0
"""s that are given to Ray to leave a cluster that is lost."""


def on_cluster(work: Callable[..., T], todo: Sequence[tuple[Any, ...]], address: str) -> Iterator[T]:
    """Yield ``work(*arguments)`` for each item of `todo`, in the order in which they are done, on a cluster of Ray.

    Every item takes one core. A worker stays for the next items, so what it has loaded stays too. If a machine is lost,
    its items are begun anew on another, so `work` must be such that doing it twice does no harm. Only a few more items
    than there are cores wait in the cluster. The machines must have the same Gaitprint and see the same files.

    Args:
        work: a function of a module.
        todo: the arguments of each item. They and the answers go through the network, so they should be small.
        address: of the cluster, such as ``ray://HOST:10001`` or ``HOST:6379``; ``auto`` for one that runs on this
            machine.

    Raises:
        MissingExtraError: Ray is not installed.
        GaitprintError: the cluster cannot be reached or was lost, or an item was lost too often.
    """
    with needing('A cluster needs Ray: pip install -e ".[cluster]"'):
        ray: Any = import_module("ray")

    terminated = signal.getsignal(signal.SIGTERM)
    try:
        _need_listener(address)
        ray.init(address, log_to_driver=False, logging_level=logging.CRITICAL)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise GaitprintError(
            f"The cluster {address} cannot be reached ({reason_of(error)}). Check the address, or start one: ray "
            "start --head"
        ) from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, terminated)  # Ray has put a handler of its own in its place
    place = address if address.startswith("ray://") else ray.get_runtime_context().gcs_address
    is_lost, running = False, list[Any]()
    try:
        task = ray.remote(num_cpus=1, max_retries=_RETRIES, retry_exceptions=False)(work)
        waiting = list(reversed(todo))
        cluster, worked = _Cluster(ray), time.monotonic()
        try:
            while waiting or running:
                now = time.monotonic()
                if now - cluster.answered > _LOST:
                    raise _LostError
                if cluster.cores:
                    worked = now
                elif now - worked > _EMPTY:
                    worked = math.inf
                    _logger.warning(
                        "No machine of the cluster %s can work now. The work waits for one. Ctrl-C ends it; finished "
                        "work is kept.", address
                    )  # fmt: skip
                while waiting and len(running) < 2 + int(1.5 * cluster.cores):
                    running.append(task.remote(*waiting.pop()))
                done, running = ray.wait(running, timeout=_LOOK)
                for answer in done:
                    yield ray.get(answer)
        except ray.exceptions.RayTaskError as error:
            cause = error.cause
            raise cause if isinstance(cause, Exception) else GaitprintError(str(error)) from None
        except (ray.exceptions.RayError, ConnectionError, _LostError) as error:
            is_lost = isinstance(error, _LostError) or not _listens(place)
            what = (
                "was lost: it was stopped, or cannot be reached any more. Start it again, and run the command again"
                if is_lost
                else f"lost a piece of work {_RETRIES} times, or the part of it on this machine was lost "
                f"({type(error).__name__}). Run the command again"
            )
            raise GaitprintError(f"The cluster {address} {what}; finished work is kept.") from error
        finally:
            cluster.end()
            for answer in [] if is_lost else running:
                ray.cancel(answer, force=True)
    finally:
        if is_lost:  # Ray waits for an answer, also when Python ends
            atexit.unregister(ray.shutdown)
            leaving = threading.Thread(target=ray.shutdown, daemon=True)
            leaving.start()
            leaving.join(_FAREWELL)
        else:
            ray.shutdown()


class _LostError(Exception):
    """The cluster has not answered for long."""


class _Cluster:
    """How many `cores` a cluster has, which may grow and shrink, and when it `answered` that last.

    A thread asks, because a cluster that is lost lets its caller wait until Ray ends the process.
    """

    def __init__(self, ray: Any) -> None:
        self._ended, self._ray = threading.Event(), ray
        self._ask()
        self._thread = threading.Thread(target=self._work, name="cluster", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Ask no more: once Ray was left, it would start a cluster of its own to answer."""
        self._ended.set()
        self._thread.join(_FAREWELL)

    def _ask(self) -> None:
        self.cores = float(self._ray.cluster_resources().get("CPU", 0))
        self.answered = time.monotonic()

    def _work(self) -> None:
        while not self._ended.wait(_LOOK):
            with suppress(Exception):  # whatever it is, there was no answer
                self._ask()


def _listens(address: str) -> bool:
    try:
        _need_listener(address)
    except OSError:
        return False
    return True


def _need_listener(address: str) -> None:
    """Raise OSError where nobody listens at an address with a port: Ray itself would wait for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


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
