"""``python -m tests.campaigns``: hostile inputs and kills, by the hundred. Not part of the test suite.

Each input is made from the seed, its kind and its number alone, so a fault is seen again with
``python -m tests.campaigns KIND --seed SEED --first NUMBER --count 1``. The exit code is 1 where there was a fault.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path
from random import Random

os.environ.setdefault("OMP_NUM_THREADS", "1")  # and no other threads, because children are forked

from tests.campaigns.child import FAULTS, in_child
from tests.campaigns.inputs import KINDS
from tests.campaigns.kills import COMMANDS, Killing


def damage(kind: str, seed: int, numbers: range, folder: Path, kept: Path) -> bool:
    """Damage inputs of a kind, and use each in a child; return whether there was no fault."""
    started = time.monotonic()
    good = _made(kind, folder / kind)
    for path in _made(kind, folder / f"{kind} whole"):  # if good files were refused, damaged ones would show nothing
        outcome = in_child(partial(KINDS[kind].use, path), folder / "said.txt")
        if outcome.verdict != "fine":
            raise SystemExit(f"{path.name} is a good file, but: {outcome.verdict}: {outcome.text}")
    verdicts: Counter[str] = Counter()
    most = 0.0
    for number in numbers:
        random = Random(f"{seed} {kind} {number}")
        source = random.choice(good)
        content = KINDS[kind].damage(source.read_bytes(), random)
        shutil.rmtree(folder / "input", ignore_errors=True)
        path = folder / "input" / source.name
        path.parent.mkdir()
        path.write_bytes(content)
        outcome = in_child(partial(KINDS[kind].use, path), folder / "said.txt")
        verdicts[outcome.verdict] += 1
        most = max(most, outcome.megabytes)
        if outcome.is_fault:
            kept.mkdir(parents=True, exist_ok=True)
            (kept / f"{kind}-{number}-{path.name}").write_bytes(content)
            print(f"{kind} {number}, {path.name}: {outcome.verdict} after {outcome.seconds:.1f} s\n{outcome.text}")
    told = ", ".join(f"{verdicts[verdict]} {verdict}" for verdict in ("fine", "refused", *FAULTS))
    _say(kind, f"{len(numbers)} inputs, seed {seed}: {told}; at most {most:.0f} MB", started)
    return not any(verdicts[fault] for fault in FAULTS)


def kills(seed: int, numbers: range, folder: Path) -> bool:
    """Kill each command that writes again and again; return whether nothing was lost."""
    started, wrong = time.monotonic(), 0
    killing = {name: Killing(command, folder / f"kill {name}") for name, command in COMMANDS.items()}
    for number in numbers:
        random = Random(f"{seed} kills {number}")
        name = list(killing)[number % len(killing)]
        if fault := killing[name].kill(random):
            wrong += 1
            print(f"kills {number}, {name}: {fault}")
    _say(
        "kills",
        f"{len(numbers)} kills of {len(killing)} commands, seed {seed}: {wrong} lost or left something",
        started,
    )
    return not wrong


def _made(kind: str, folder: Path) -> list[Path]:
    folder.mkdir()
    KINDS[kind].make(folder)
    return sorted(path for path in folder.iterdir() if path.is_file())


def _say(what: str, text: str, started: float) -> None:
    print(f"{what}: {text}; {time.monotonic() - started:.0f} s", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns", description=__doc__.partition("\n")[0])
    parser.add_argument("what", nargs="*", choices=[*KINDS, "kills"], help="default: everything", metavar="KIND")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="the number of the first input")
    parser.add_argument("--count", type=int, default=200, help="inputs of each kind")
    parser.add_argument("--kills", type=int, default=60, help="kills of all commands together")
    parser.add_argument(
        "--keep", type=Path, default=Path("output/campaigns"), help="folder for inputs that show a fault"
    )
    options = parser.parse_args()
    good = True
    with tempfile.TemporaryDirectory() as name:
        for what in options.what or [*KINDS, "kills"]:
            first = options.first
            if what == "kills":
                good &= kills(options.seed, range(first, first + options.kills), Path(name))
            else:
                good &= damage(what, options.seed, range(first, first + options.count), Path(name), options.keep)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
