"""A piece of work in a forked child with limits on time and memory, and what became of it."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from app.errors import GaitprintError

Verdict: TypeAlias = Literal["fine", "refused", "traceback", "signal", "hang", "memory"]
FAULTS: tuple[Verdict, ...] = ("traceback", "signal", "hang", "memory")
_CODES: dict[int, Verdict] = {0: "fine", 2: "refused"}


@dataclass(frozen=True)
class Outcome:
    """How a child ended: the verdict, the message or traceback, its seconds, and the most memory it had, in MB."""

    verdict: Verdict
    text: str
    seconds: float
    megabytes: float

    @property
    def is_fault(self) -> bool:
        return self.verdict in FAULTS


def in_child(work: Callable[[], None], said: Path, *, seconds: float = 30, megabytes: float = 3000) -> Outcome:
    """Do `work` in a child. A `GaitprintError` is a refusal, and any other exception a fault.

    Args:
        work: is called in the child, which shares nothing with this process afterwards.
        said: the file that receives what the child prints, and its traceback.
        seconds: the child is killed when it takes longer.
        megabytes: the child is killed when it takes more memory, with what this process has already.
    """
    started = time.monotonic()
    child = fork(lambda: _code_of(work), said)
    limit: Verdict | None = None
    while True:
        ended, status, usage = os.wait4(child, os.WNOHANG)
        if ended:
            break
        if limit is None and time.monotonic() - started > seconds:
            limit = "hang"
        if limit is None and resident(child) > megabytes:
            limit = "memory"
        if limit is not None:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.005)
    peak = usage.ru_maxrss / (1 << 10 if sys.platform == "linux" else 1 << 20)
    text = said.read_text(encoding="utf-8", errors="replace")
    if limit is None and os.WIFSIGNALED(status):
        limit, text = "signal", text + signal.Signals(os.WTERMSIG(status)).name
    if limit is None and peak > megabytes:
        limit = "memory"
    verdict = limit or _CODES.get(os.WEXITSTATUS(status), "traceback")
    return Outcome(verdict, text.strip(), time.monotonic() - started, peak)


def fork(work: Callable[[], int], said: Path) -> int:
    """Start a child that ends with the exit code that `work` returns; return its process id."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        return child
    code = 3
    try:
        file = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(file, stream)
        sys.stdout = sys.stderr = os.fdopen(file, "w", encoding="utf-8", errors="backslashreplace")
        code = work()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def _code_of(work: Callable[[], None]) -> int:
    try:
        work()
    except GaitprintError as error:
        print(error)
        return 2
    return 0


def resident(process: int) -> float:
    """Return how much memory a process has, in MB; 0 where the system does not say."""
    try:
        pages = Path(f"/proc/{process}/statm").read_text().split()[1]
    except (OSError, IndexError):
        return 0.0
    return int(pages) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
