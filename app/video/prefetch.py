"""Working ahead in a thread, with a queue of limited size."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from threading import Condition, Lock
from typing import TypeVar

from app.types import Frame, VideoInfo

T = TypeVar("T")

QUEUE = 8 << 20
"""Bytes of pictures that wait between two steps: enough for both to be busy, and the same for pictures of any size."""


_LARGE = 4 << 20
"""Pixels from which on two videos are not worked at side by side: one in 4K needs about a gigabyte."""
_large = Lock()


@contextmanager
def alone_if_large(info: VideoInfo) -> Iterator[None]:
    """Wait until no other thread of this program works at a video with large pictures, if this one has them."""
    with _large if info.width * info.height >= _LARGE else nullcontext():
        yield


def bytes_of(frame: Frame) -> int:
    """Return how much memory a frame needs."""
    return frame.image.nbytes


def _one(item: object) -> int:
    return 1


@contextmanager
def prefetched(items: Iterable[T], room: int, size: Callable[[T], int] = _one) -> Iterator[Iterator[T]]:
    """Run `items` in a thread, ahead of the code that takes them, until the finished ones fill `room` (at least 1).

    `size` is how much room an item takes up; by default each counts 1. This pays off if making an item releases the
    interpreter lock, as decoding does. An error that `items` raises is raised again where the items are taken, after
    the items before it. However the block is left, the thread ends, and an `items` with a ``close`` method (a
    generator) is closed.
    """
    if room < 1:
        raise ValueError(f"a queue with room for {room} is too small: it must be at least 1")
    iterator = iter(items)
    waiting: deque[T] = deque()
    changed = Condition()
    taken_up, ended, stopped = 0, False, False

    def may_go_on() -> bool:
        return taken_up < room or stopped

    def make() -> None:
        nonlocal taken_up, ended
        try:
            for item in iterator:
                with changed:
                    taken_up += size(item)
                    waiting.append(item)
                    del item  # not kept here: an item may be large
                    changed.notify_all()
                    changed.wait_for(may_go_on)
                    if stopped:
                        return
        finally:
            with changed:
                ended = True
                changed.notify_all()

    def take() -> Generator[T, None, None]:
        nonlocal taken_up
        made = thread.submit(make)
        while True:
            with changed:
                changed.wait_for(lambda: waiting or ended)
                if not waiting:
                    break
                taken = [waiting.popleft()]
                taken_up -= size(taken[0])
                changed.notify_all()
            yield taken.pop()
        made.result()

    with ThreadPoolExecutor(1, thread_name_prefix="prefetch") as thread:
        results = take()
        try:
            # Ctrl-C while the thread starts leaves a thread that the executor does not know and cannot wait for. So it
            # starts before it has anything to do with `items`.
            thread.submit(lambda: None).result()
            yield results
        finally:
            with changed:
                stopped = True
                changed.notify_all()
            thread.shutdown(cancel_futures=True)
            results.close()
            if isinstance(iterator, Generator):
                iterator.close()
