"""Pictures that several threads bring to one network run as one batch, where its device gains by that."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Answers = list[NDArray[Any]]
"""The outputs of a network; the first axis of each counts pictures."""


@dataclass(eq=False)
class _Waiting:
    """The pictures of a thread, (N, ...), and what became of them."""

    pictures: NDArray[Any]
    answers: Answers | None = None
    error: Exception | None = None


class Gathering:
    """Runs a network for several threads. While it is busy, what comes meanwhile waits and makes the next batch.

    So nobody waits for company, and a thread alone is answered as without this. Each gets the answers to its own
    pictures; where a batch fails, its threads are tried one by one, so that one thread's error is no other's.
    """

    def __init__(self, run: Callable[[NDArray[Any]], Answers], most: int) -> None:
        """Take what runs a batch of pictures (N, ...), and how many a batch has at most, unless one thread has more."""
        self._run, self._most = run, most
        self._busy, self._lock = threading.Lock(), threading.Lock()
        self._waiting: list[_Waiting] = []

    def run(self, pictures: NDArray[Any]) -> Answers:
        """Return the network's outputs for pictures (N, ...)."""
        mine = _Waiting(pictures)
        with self._lock:
            self._waiting.append(mine)
        with self._busy:
            if mine.answers is None and mine.error is None:  # no other thread has taken them along
                self._answer(self._batch(mine))
        if mine.error is not None:
            raise mine.error
        assert mine.answers is not None
        return mine.answers

    def _batch(self, mine: _Waiting) -> list[_Waiting]:
        """Take from those that wait `mine`, and others whose pictures have the same size."""
        batch, room = [mine], self._most - len(mine.pictures)
        with self._lock:
            for other in self._waiting:
                alike = other.pictures.shape[1:] == mine.pictures.shape[1:]
                if other is not mine and alike and len(other.pictures) <= room:
                    batch.append(other)
                    room -= len(other.pictures)
            self._waiting = [one for one in self._waiting if one not in batch]
        return batch

    def _answer(self, batch: list[_Waiting]) -> None:
        try:
            together = self._run(np.concatenate([one.pictures for one in batch]))
        except Exception as error:
            if len(batch) == 1:
                batch[0].error = error
            else:
                for one in batch:
                    self._answer([one])
            return
        ends = np.cumsum([len(one.pictures) for one in batch])[:-1]
        pieces = [np.split(output, ends) for output in together]
        for number, one in enumerate(batch):
            one.answers = [of_output[number] for of_output in pieces]


wanted: ContextVar[bool] = ContextVar("wanted", default=False)


@contextmanager
def gathered() -> Iterator[None]:
    """Let the networks that are opened in this context gather the pictures of several threads."""
    token = wanted.set(True)
    try:
        yield
    finally:
        wanted.reset(token)
