"""``python -m tests.campaigns``: ten thousand hostile inputs, and hundreds of kills. Not part of the test suite.

Each attempt is made from the seed, the part and its number alone. What shows a fault is kept, with the command that
tries it again: ``python -m tests.campaigns --only PART --seed SEED --first NUMBER --count 1``. The last lines are the
figures, as a table. The exit code is 1 where there was a fault.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

# No threads beside the first: processes are forked, and there are as many of them as cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", "1")

from tests.campaigns import crowds, disks, inputs, kills, pages, requests
from tests.campaigns.crew import FAULTS, Part, SkippedError, attempts

_OF_KINDS = (inputs, requests, kills, pages, crowds, disks)
PARTS: dict[str, Part] = {name: part for kind in _OF_KINDS for name, part in kind.PARTS.items()}


def campaign(name: str, part: Part, options: argparse.Namespace, folder: Path) -> tuple[str, bool]:
    """Run a part of the campaign; return its line of the table, and whether there was no fault."""
    count = options.count if options.count is not None else part.count
    numbers = range(options.first, options.first + count)
    started, spent = time.monotonic(), _processor_time()
    verdicts: Counter[str] = Counter()
    most = slowest = 0.0
    try:
        material = folder / name
        material.mkdir()
        attempt = part.prepare(material)
        for outcome in attempts(
            attempt,
            name,
            options.seed,
            numbers,
            folder,
            workers=options.workers,
            seconds=part.seconds * options.patience,
        ):
            verdicts[outcome.verdict] += 1
            if (done := verdicts.total()) % max(1, count // 20) == 0:
                print(f"{name}: {done} of {count}", file=sys.stderr, flush=True)
            most, slowest = max(most, outcome.megabytes), max(slowest, outcome.seconds)
            if options.verbose or outcome.is_fault:
                print(
                    f"{name} {outcome.number}: {outcome.verdict} after {outcome.seconds:.1f} s\n{outcome.text[-4000:]}"
                )
            if outcome.is_fault:
                kept = options.keep / f"{name}-{options.seed}-{outcome.number}"
                shutil.rmtree(kept, ignore_errors=True)
                shutil.copytree(outcome.place, kept, symlinks=True, ignore_dangling_symlinks=True)
                print(
                    f"Kept in {kept}. Again: python -m tests.campaigns --only {name} --seed {options.seed} "
                    f"--first {outcome.number} --count 1",
                    flush=True,
                )
    except SkippedError as reason:
        return f"| {name} | skipped: {reason} | | | | | |", True
    what = "" if part.each == 1 and part.what == "inputs" else f" ({count * part.each} {part.what})"
    faults = ", ".join(f"{verdicts[fault]} {fault}" for fault in FAULTS if verdicts[fault]) or "none"
    wall, spent = time.monotonic() - started, _processor_time() - spent
    return (
        f"| {name} | {count}{what} | {verdicts['fine']} | {verdicts['refused']} | {faults} | {most:.0f} MB | "
        f"{slowest:.1f} s | {wall:.0f} s | {spent:.0f} s |",
        not any(verdicts[fault] for fault in FAULTS),
    )


def _processor_time() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def main() -> int:
    """Run the campaign that the command line describes."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", action="append", choices=PARTS, help="a part; may be repeated", metavar="PART")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="the number of the first attempt of each part")
    parser.add_argument("--count", type=int, help=f"attempts of each part; usual are {_counts()}")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes side by side")
    parser.add_argument("--patience", type=float, default=1.0, help="factor of all limits of time, for a busy machine")
    parser.add_argument("--keep", type=Path, default=Path("output/campaigns"), help="folder for what shows a fault")
    parser.add_argument("--verbose", action="store_true", help="show what each attempt said")
    options = parser.parse_args()
    options.keep = options.keep.absolute()
    lines = []
    good = True
    # No TemporaryDirectory, which a forked process might remove as well.
    folder = Path(tempfile.mkdtemp(prefix="campaign-", dir=_memory()))
    try:
        for part in options.only or PARTS:
            line, is_good = campaign(part, PARTS[part], options, folder)
            good &= is_good
            lines.append(line)
            print(line, flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(
        f"\nSeed {options.seed}:\n\n| Part | Attempts | Fine | Refused | Faults | Memory | Slowest | Time | Processor |"
    )
    print("|" + "---|" * 9, *lines, sep="\n")
    return 0 if good else 1


def _memory() -> str | None:
    """Return a folder in memory if there is one with room: SQLite waits for a disk at every change."""
    shared = Path("/dev/shm")
    return str(shared) if shared.is_dir() and shutil.disk_usage(shared).free > 2 << 30 else None


def _counts() -> str:
    return ", ".join(f"{part.count} {name}" for name, part in PARTS.items())


if __name__ == "__main__":
    sys.exit(main())
