"""Working ahead in a thread."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def prefetched(items: Iterable[T], depth: int) -> Iterator[Iterator[T]]:
    """Run `items` in a thread, at most `depth` items ahead of whoever takes them.

    Worth it where making an item releases the interpreter lock, as decoding does. What `items` raises, the taker
    gets, after the items before it. The thread has ended when the block is left, however it is left; an `items`
    with a ``close`` method (a generator) is closed then.

    Args:
        items: iterated once, in the thread.
        depth: how many finished items may wait, at least 1.
    """
    if depth < 1:
        raise ValueError(f"a prefetch depth of {depth} is not at least 1")
    # Each queue entry is one item, or none and the error that ended the items (None: they just ended).
    ready: SimpleQueue[tuple[list[T], BaseException | None]] = SimpleQueue()
    room = threading.Semaphore(depth)
    left = threading.Event()

    def work() -> None:
        error: BaseException | None = None
        try:
            iterator = iter(items)
            try:
                while True:
                    room.acquire()
                    if left.is_set():
                        break
                    try:
                        item = next(iterator)
                    except StopIteration:
                        break
                    ready.put(([item], None))
                    del item
            finally:
                close = getattr(iterator, "close", None)
                if close is not None:
                    close()
        except BaseException as caught:  # it belongs to the taker, KeyboardInterrupt and SystemExit too
            error = caught
        ready.put(([], error))

    def take() -> Generator[T, None, None]:
        while True:
            item, error = ready.get()
            if error is not None:
                raise error
            if not item:
                return
            room.release()
            yield item.pop()

    thread = threading.Thread(target=work, name="prefetch", daemon=True)
    taken = take()
    try:
        thread.start()  # in here, as Ctrl-C may come while it is started
        yield taken
    finally:
        left.set()
        room.release()
        with suppress(RuntimeError):  # not running yet: it will see that `left` is set and touch nothing
            thread.join()
        taken.close()  # nothing can be taken once the thread is gone
