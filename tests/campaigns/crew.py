"""Attempts by the thousand: a few processes that live long make them, and this one watches how long and how large.

An attempt must be quick, and one that hangs, takes all memory or crashes must not end the campaign. So the processes
are forked, with everything imported; each makes one attempt after another, and is replaced when it fails.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from random import Random
from typing import Literal, TypeAlias

from app.errors import GaitprintError

Verdict: TypeAlias = Literal["fine", "refused", "traceback", "wrong", "crash", "hang", "memory"]
FAULTS: tuple[Verdict, ...] = ("traceback", "wrong", "crash", "hang", "memory")
Attempt: TypeAlias = Callable[[Random, Path], None]
"""Tries one thing that the random numbers choose, in an empty folder, which is also the current one.

It returns where all went well, and raises `GaitprintError` where the input was refused, or `FaultError`.
"""

MEGABYTES = 3000.0
_LIVES = 400  # attempts of one process
_LOOK = 0.02  # s between two looks at how much memory a process has


class FaultError(Exception):
    """Something was lost, left behind, or answered that must not be."""


class SkippedError(Exception):
    """A part cannot be tried on this machine; the message says why."""


@dataclass(frozen=True)
class Part:
    """A part of the campaign.

    Attributes:
        prepare: makes good material in a folder, and returns what is tried with it.
        count: how many attempts are usual.
        seconds: an attempt that takes longer hangs.
        each: how many of `what` each attempt is.
        what: what is counted.
    """

    prepare: Callable[[Path], Attempt]
    count: int
    seconds: float = 60.0
    each: int = 1
    what: str = "inputs"


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended: the verdict, what was said, how long it took in s, and the most memory then, in MB.

    Its folder `place` stays until the next outcome is asked for.
    """

    number: int
    verdict: Verdict
    text: str
    seconds: float
    megabytes: float
    place: Path

    @property
    def is_fault(self) -> bool:
        return self.verdict in FAULTS


@dataclass
class _Member:
    """A process that makes attempts. `number` is what it is at, since the time `began`."""

    process: int
    connection: Connection
    place: Path
    number: int | None = None
    began: float = 0.0
    made: int = 0
    most: float = field(default=0.0)


def attempts(
    attempt: Attempt,
    name: str,
    seed: int,
    numbers: Iterable[int],
    folder: Path,
    *,
    workers: int = 1,
    seconds: float = 60.0,
    megabytes: float = MEGABYTES,
) -> Iterator[Outcome]:
    """Make attempts, and yield how each ended, in any order.

    Args:
        attempt: what is tried; its random numbers come from `name`, `seed` and its number alone.
        name: of the part.
        seed: of the campaign.
        numbers: of the attempts.
        folder: where the attempts have their folders.
        workers: how many processes work side by side.
        seconds: a process is killed when an attempt takes longer.
        megabytes: a process is killed when it takes more memory.
    """
    todo, crew = iter(numbers), list[_Member]()

    def work(member: _Member, others: list[_Member]) -> None:
        for other in others:
            other.connection.close()
        while True:
            try:
                number = member.connection.recv()
            except EOFError:
                return
            os.chdir(member.place)
            _forget_peak()
            verdict = _verdict(partial(attempt, Random(f"{seed} {name} {number}"), member.place))
            sys.stdout.flush()
            member.connection.send((verdict, _peak(os.getpid())))

    def joined() -> _Member:
        place = folder / f"place {len(crew)}" if len(crew) < workers else folder / f"place {time.monotonic_ns()}"
        place.mkdir(exist_ok=True)
        ours, theirs = Pipe()
        others = list(crew)
        process = forked(
            lambda: work(_Member(0, theirs, place), [*others, _Member(0, ours, place)]), place.with_suffix(".said")
        )
        theirs.close()
        return _Member(process, ours, place)

    def give(member: _Member) -> bool:
        number = next(todo, None)
        if number is None:
            return False
        shutil.rmtree(member.place, ignore_errors=True)
        member.place.mkdir()
        member.number, member.began, member.most = number, time.monotonic(), 0.0
        os.truncate(member.place.with_suffix(".said"), 0)
        member.connection.send(number)
        return True

    try:
        for _ in range(workers):
            crew.append(joined())
        idle = [member for member in crew if not give(member)]
        while len(idle) < len(crew):
            ready = wait([member.connection for member in crew if member.number is not None], _LOOK)
            for place, member in enumerate(crew):
                if member.number is None:
                    continue
                outcome = _looked_at(member, member.connection in ready, seconds, megabytes)
                if outcome is None:
                    continue
                yield outcome
                member.number, member.made = None, member.made + 1
                if outcome.verdict in ("crash", "hang", "memory") or member.made >= _LIVES:
                    _end(member)
                    shutil.rmtree(member.place, ignore_errors=True)
                    crew[place] = member = joined()
                if not give(member):
                    idle.append(member)
    finally:
        for member in crew:
            _end(member)


def _looked_at(member: _Member, answered: bool, seconds: float, megabytes: float) -> Outcome | None:
    """Return how the attempt of a member ended; None while it goes on."""
    assert member.number is not None
    taken = time.monotonic() - member.began
    member.most = max(member.most, resident(member.process))
    verdict: Verdict
    said = ""
    if answered:
        try:
            verdict, peak = member.connection.recv()
            member.most = max(member.most, peak)
            if member.most > megabytes:
                verdict = "memory"
        except (EOFError, ConnectionResetError):
            _, status = os.waitpid(member.process, 0)
            verdict = "crash"
            said = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else f"exit status {status}"
    elif member.most > megabytes:
        verdict = "memory"
    elif taken > seconds:
        verdict = "hang"
    else:
        return None
    file = member.place.with_suffix(".said")
    if not file.exists():
        raise RuntimeError(f"{file} is gone: something has removed the folder of the campaign")
    text = file.read_text(encoding="utf-8", errors="replace")
    return Outcome(member.number, verdict, (text + said).strip(), taken, member.most, member.place)


def _end(member: _Member) -> None:
    member.connection.close()
    with suppress(ProcessLookupError):
        os.killpg(member.process, signal.SIGKILL)  # with all that it has started
    with suppress(ChildProcessError):
        os.waitpid(member.process, 0)


def forked(work: Callable[[], int | None], said: Path) -> int:
    """Start a process that leads a group of its own and ends with the code that `work` returns; return its id.

    Args:
        work: is called in the new process, which shares nothing with this one afterwards.
        said: the file that receives what it prints, and its traceback.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    said.touch()
    child = os.fork()
    if child:
        with suppress(OSError):  # it does so itself, but perhaps too late for a signal
            os.setpgid(child, child)
        return child
    code = 3
    try:
        os.setpgid(0, 0)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        file = os.open(said, os.O_WRONLY | os.O_APPEND)
        for stream in (1, 2):
            os.dup2(file, stream)
        sys.stdout = sys.stderr = open(1, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
        code = work() or 0
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()  # which fails on a full disk
        finally:
            os._exit(code)


def _verdict(work: Callable[[], None]) -> Verdict:
    """Return how `work` ends. What the command line says in one line is a refusal; anything else is printed."""
    try:
        work()
    except GaitprintError as error:
        print(error)
        return "refused"
    except FaultError as fault:
        print(fault)
        return "wrong"
    except BaseException as error:
        if isinstance(error, OSError) and error.filename is not None:  # see `app.cli.main`
            print(error)
            return "refused"
        traceback.print_exc()
        return "traceback"
    return "fine"


def resident(process: int) -> float:
    """Return how much memory a process has, in MB; 0 where the system does not say."""
    try:
        pages = Path(f"/proc/{process}/statm").read_text().split()[1]
    except (OSError, IndexError):
        return 0.0
    return int(pages) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def _forget_peak() -> None:
    with suppress(OSError):  # not on every system; then the peak is that of all attempts of the process
        Path("/proc/self/clear_refs").write_text("5")


def _peak(process: int) -> float:
    with suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return 0.0
