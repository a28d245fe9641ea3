"""Several processes use one gallery at once: each confirmed change is there at the end, and no other."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from random import Random

from app.cli.main import main
from app.errors import GaitprintError
from app.gallery.service import GalleryService
from app.gallery.sqlite import SqliteGallery
from app.gallery.transfer import read_gallery
from tests.campaigns.crew import Attempt, FaultError, Part, forked
from tests.campaigns.inputs import people

PROCESSES = 4
OPERATIONS = 6
_PATIENCE = 100.0


def prepare(folder: Path) -> Attempt:
    def attempt(random: Random, place: Path) -> None:
        path = place / "gallery.db"
        with SqliteGallery(path) as gallery:
            for name, walks in people(seed=99, count=4).items():
                gallery.enrol(name, walks, consent="yes")
        seeds = [random.getrandbits(60) for _ in range(PROCESSES)]
        children = [
            forked(lambda number=number, seed=seed: _member(number, Random(seed), place), place / f"{number}.said")
            for number, seed in enumerate(seeds)
        ]
        killed = {number for number in range(PROCESSES) if random.random() < 0.15}
        for number in killed:
            time.sleep(random.uniform(0, 0.3))
            os.kill(children[number], signal.SIGKILL)
        end = time.monotonic() + _PATIENCE
        for number, child in enumerate(children):
            while not (ended := os.waitpid(child, os.WNOHANG))[0]:
                if time.monotonic() > end:
                    os.kill(child, signal.SIGKILL)
                    os.waitpid(child, 0)
                    raise FaultError(f"process {number} does not end: {(place / f'{number}.said').read_text()[-2000:]}")
                time.sleep(0.005)
            said = (place / f"{number}.said").read_text(errors="replace")
            if number not in killed and (ended[1] or "Traceback" in said):
                raise FaultError(f"process {number} ends with {ended[1]}: {said[-3000:]}")
        _check(place)

    return attempt


def _member(number: int, random: Random, place: Path) -> int:
    """Do what one program does, and write down what was confirmed, beginning with what is about to be tried."""
    os.chdir(place)
    notes = (place / f"{number}.notes").open("a", buffering=1)
    mine: list[str] = []
    with GalleryService(SqliteGallery(place / "gallery.db"), [place / f"out{number}"]) as gallery:
        for step in range(OPERATIONS):
            what = random.choice(["enrol", "enrol", "forget", "rename", "search", "export", "command", "expire"])
            name = f"P {number}.{step}"
            if what == "enrol" or not mine:
                notes.write(f"try\tenrol\t{name}\n")
                gallery.store.enrol(name, people(number, 1)[f"Person {number}.0"], consent="yes")
                mine.append(name)
                notes.write(f"done\tenrol\t{name}\n")
            elif what == "forget":
                gone = mine.pop(random.randrange(len(mine)))
                notes.write(f"try\tforget\t{gone}\n")
                try:
                    gallery.forget(gone)
                except GaitprintError as error:
                    if "traces are left" not in str(error):  # said where others read at the same time; they go later
                        raise
                notes.write(f"done\tforget\t{gone}\n")
            elif what == "rename":
                old = mine.pop(random.randrange(len(mine)))
                notes.write(f"try\trename\t{old}\t{name}\n")
                gallery.rename(old, name)
                mine.append(name)
                notes.write(f"done\trename\t{old}\t{name}\n")
            elif what == "search":
                walks = gallery.store.embeddings([walk.walk_id for walk in gallery.walks(mine[0])])
                nearest = gallery.store.search(walks, 2)
                if not all(row and row[0].distance < 1e-3 for row in nearest):
                    raise FaultError(f"a walk of {mine[0]} does not find itself: {nearest}")
            elif what == "export":
                gallery.export(place / f"{number}.jsonl.gz")
                known = {person.name for person, *_ in read_gallery(place / f"{number}.jsonl.gz")}
                if not set(mine) <= known:
                    raise FaultError(f"the export lacks {set(mine) - known}")
            elif what == "expire":
                gallery.expire()
            else:
                old, new = mine[0], f"{name} c"
                notes.write(f"try\trename\t{old}\t{new}\n")
                if main(["gallery", "rename", old, new, "--gallery-db", "gallery.db"]) == 0:
                    mine[0] = new
                    notes.write(f"done\trename\t{old}\t{new}\n")
                else:
                    notes.write(f"done\tnothing\t{old}\t{new}\n")
    return 0


def _check(place: Path) -> None:
    """Compare the gallery with what the processes wrote down."""
    with SqliteGallery(place / "gallery.db", create=False) as gallery:
        found = {person.name: person.walks for person in gallery.people()}
        gallery.embeddings([walk.walk_id for walk in gallery.walks()])
    expected = {f"Person 99.{number}" for number in range(4)}
    open_: set[str] = set()  # of whom it is not known, because a process was killed in the middle
    for number in range(PROCESSES):
        notes = place / f"{number}.notes"
        for line in notes.read_text().splitlines() if notes.exists() else ():
            state, what, *names = line.split("\t")
            if state == "try":
                open_ |= set(names)
                continue
            open_ -= set(names)
            expected -= {names[0]} if what in ("forget", "rename") else set()
            expected |= {names[-1]} if what in ("enrol", "rename") else set()
    sure = {name for name in expected if name not in open_}
    if missing := sure - set(found):
        raise FaultError(f"confirmed and lost: {missing}")
    if extra := set(found) - expected - open_:
        raise FaultError(f"not there to be: {extra}")
    if wrong := {name: walks for name, walks in found.items() if walks != 2}:
        raise FaultError(f"walks are missing: {wrong}")


PARTS: dict[str, Part] = {
    "crowds": Part(prepare, 60, seconds=150, each=PROCESSES * OPERATIONS, what="operations of several processes")
}
