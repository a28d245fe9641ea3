from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import pytest

from app.types import VideoInfo
from app.video.prefetch import alone_if_large, prefetched


def alive() -> int:
    return sum(thread.name.startswith("prefetch") for thread in threading.enumerate())


def test_loses_nothing_and_keeps_the_order() -> None:
    for depth in (1, 3, 100):
        with prefetched(range(500), depth) as items:
            assert list(items) == list(range(500))
            assert next(items, None) is None
        assert alive() == 0


def test_runs_at_most_depth_ahead() -> None:
    made: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    with prefetched(numbers(), 4) as items:
        for taken, _ in zip(range(20), items, strict=False):
            time.sleep(0.001)
            assert len(made) <= taken + 1 + 4
    assert len(made) < 30


def test_the_room_is_counted_in_bytes_and_one_item_always_fits() -> None:
    made: list[int] = []

    def sizes() -> Iterator[int]:
        for size in [40, 40, 40, 500, 500, 500, 1, 1]:
            made.append(size)
            yield size

    with prefetched(sizes(), 100, lambda size: size) as items:
        for count in range(1, 9):
            next(items)
            time.sleep(0.05)
            assert sum(made[count:-1] if len(made) > count else []) < 100, "the last one made did not fit any more"
        assert next(items, None) is None


def test_errors_are_raised_after_the_items_before_them() -> None:
    def broken() -> Iterator[int]:
        yield 1
        yield 2
        raise OSError("disk on fire")

    with prefetched(broken(), 8) as items:
        assert [next(items), next(items)] == [1, 2]
        with pytest.raises(OSError, match="disk on fire"):
            next(items)
    assert alive() == 0


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, ValueError])
def test_stopping_early_joins_the_thread_and_closes_the_source(interruption: type[BaseException]) -> None:
    closed = threading.Event()

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    def stop_early() -> None:
        with prefetched(endless(), 2) as items:
            next(items)
            raise interruption

    with pytest.raises(interruption):
        stop_early()
    assert closed.is_set()
    assert alive() == 0


def test_taking_after_the_block_ends_at_once() -> None:
    with prefetched(range(10), 2) as items:
        next(items)
    assert list(items) == []


def test_the_next_item_is_made_while_one_is_used() -> None:
    begun = [threading.Event() for _ in range(10)]

    def made() -> Iterator[int]:
        for number, event in enumerate(begun):
            event.set()
            yield number

    with prefetched(made(), 2) as items:
        for number in items:
            assert all(event.wait(30) for event in begun[number + 1 : number + 2]), "the next is made meanwhile"


def test_refuses_a_depth_of_zero() -> None:
    with pytest.raises(ValueError, match="at least 1"), prefetched([], 0):
        pass


def test_ctrl_c_while_the_thread_starts_is_only_an_interruption(monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start

    def interrupted_start(thread: threading.Thread) -> None:
        start(thread)
        time.sleep(0.05)  # the thread takes whatever it is given
        raise KeyboardInterrupt

    def slow() -> Iterator[int]:
        while True:
            time.sleep(0.2)
            yield 1

    items = slow()
    monkeypatch.setattr(threading.Thread, "start", interrupted_start)
    with pytest.raises(KeyboardInterrupt), prefetched(items, 2) as taken:
        next(taken)
    assert next(items, None) is None, "it is closed"


def test_videos_of_large_pictures_are_not_worked_at_side_by_side() -> None:
    large, small = (VideoInfo(Path("clip.mp4"), *size, Fraction(25), 50) for size in ((3840, 2160), (1920, 1080)))
    entered = {"large": threading.Event(), "small": threading.Event()}

    def work(name: str, info: VideoInfo) -> None:
        with alone_if_large(info):
            entered[name].set()

    with ThreadPoolExecutor(2) as pool:
        with alone_if_large(large):
            pool.submit(work, "large", large)
            pool.submit(work, "small", small)
            assert entered["small"].wait(30)
            assert not entered["large"].wait(0.3)
        assert entered["large"].wait(30)
