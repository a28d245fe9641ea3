"""Working ahead in a thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def prefetched(items: Iterable[T], depth: int) -> Iterator[Iterator[T]]:
    """Run `items` in a thread, at most `depth` items ahead of the code that takes them.

    This pays off if making an item releases the interpreter lock, as decoding does. An error that `items` raises is
    raised again where the items are taken, after the items before it. However the block is left, the thread ends, and
    an `items` with a ``close`` method (a generator) is closed.

    Args:
        items: iterated once, in the thread.
        depth: how many finished items may wait, at least 1.
    """
    if depth < 1:
        raise ValueError(f"a prefetch depth of {depth} is not at least 1")
    iterator = iter(items)
    waiting: deque[Future[list[T]]] = deque()

    def make() -> list[T]:
        for item in iterator:
            return [item]
        return []

    def take() -> Generator[T, None, None]:
        waiting.extend(thread.submit(make) for _ in range(depth))
        while made := waiting.popleft().result():
            waiting.append(thread.submit(make))
            yield made.pop()  # not kept here: an item may be large

    with ThreadPoolExecutor(1, thread_name_prefix="prefetch") as thread:
        taken = take()
        try:
            # Ctrl-C while the thread starts leaves a thread that the executor does not know and cannot wait for. So it
            # starts before it has anything to do with `items`.
            thread.submit(lambda: None).result()
            yield taken
        finally:
            thread.shutdown(cancel_futures=True)
            taken.close()
            if isinstance(iterator, Generator):
                iterator.close()
