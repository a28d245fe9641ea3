"""Commands that write, killed at random moments: nothing is lost, and the next command mends the rest."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from random import Random

from app.cli.main import main
from app.errors import GaitprintError
from app.gallery.sqlite import SqliteGallery
from app.gallery.transfer import read_gallery, write_gallery
from app.progress import Silent
from tests.campaigns.child import fork
from tests.campaigns.inputs import people
from tests.clips import Walker, crossing, write_clip

DB = ("--gallery-db", "gallery.db")
RUN = (
    *("demo", "--gallery", "gallery", "--probe", "probe", "--detector", "motion", "--segmenter", "motion"),
    *("--gait", "gei", "--set", "output.summary=false"),
)


@dataclass(frozen=True)
class Command:
    """A command that writes.

    `prepare` fills a folder, and `state` returns what the folder holds, as far as it matters. `next` is what somebody
    does next, where the command had done its work before it was killed; it must remove what is left.
    """

    arguments: Sequence[str]
    prepare: Callable[[Path], None]
    state: Callable[[Path], object]
    next: Sequence[str] = ("gallery", "list", *DB)


def prepare_gallery(folder: Path) -> None:
    with SqliteGallery(folder / "gallery.db") as gallery:
        for name, walks in people().items():
            gallery.enrol(name, walks, consent="form 7")
        write_gallery(gallery, folder / "out.jsonl.gz", Silent())
    with SqliteGallery(None) as other:
        for name, walks in people(seed=1, count=40).items():
            other.enrol(name, walks, consent="form 8")
        write_gallery(other, folder / "others.jsonl.gz", Silent())
    with SqliteGallery(folder / "gallery.db") as gallery:
        gallery.enrol("Person 0.1", people(seed=2)["Person 2.0"], consent="form 9")


def who(path: Path) -> object:
    """Return everybody in a gallery with the numbers of their walks, all of which must be whole."""
    with SqliteGallery(path, create=False) as gallery:
        walks = gallery.walks()
        gallery.embeddings([walk.walk_id for walk in walks])
        return [(person.name, person.consent, person.walks) for person in gallery.people()]


def gallery_state(folder: Path) -> object:
    return who(folder / "gallery.db")


def export_state(folder: Path) -> object:
    exported = [(person.name, len(walks)) for person, walks in read_gallery(folder / "out.jsonl.gz")]
    return exported, who(folder / "gallery.db")


def prepare_run(folder: Path) -> None:
    (folder / "input_videos").mkdir()
    size = {"width": 320, "height": 240, "fps": Fraction(25)}
    for seed, name in enumerate(("gallery", "probe")):
        pair = [Walker(1, 5 * seed), Walker(2, 6 * seed)]
        scene = crossing(pair, gap=0.9, first=-0.7, seconds=3.6, seed=seed, **size)  # type: ignore[arg-type]
        write_clip(folder / "input_videos" / f"{name}.mp4", scene, index_first=True)


def run_state(folder: Path) -> object:
    """Return the files of each run that can be seen, whether they hold anything, and whom its report names.

    Two runs with the same results count as one, because their folders differ only in the time.
    """
    found = set()
    for run in (folder / "output" / "OutputVideos").glob("[!.]*"):
        files = [path for path in run.rglob("*") if path.is_file()]
        report = json.loads((run / "results.json").read_text(encoding="utf-8"))
        named = [track["identity"] for probe in report["probes"] for track in probe["tracks"]]
        found.add(
            (tuple(sorted((str(path.relative_to(run)), path.stat().st_size > 0) for path in files)), tuple(named))
        )
    return found


COMMANDS = {
    "export": Command(["gallery", "export", "out.jsonl.gz", "--overwrite", *DB], prepare_gallery, export_state),
    "import": Command(["gallery", "import", "others.jsonl.gz", *DB], prepare_gallery, gallery_state),
    "rename": Command(["gallery", "rename", "Person 0.1", "Anna", *DB], prepare_gallery, gallery_state),
    "merge": Command(["gallery", "merge", "Person 0.1", "Person 0.2", *DB], prepare_gallery, gallery_state),
    "forget": Command(["gallery", "forget", "Person 0.1", "--yes", *DB], prepare_gallery, gallery_state),
    "run": Command(RUN, prepare_run, run_state, next=RUN),
}


class Killing:
    """Kills one command again and again. Its undisturbed run says how long it takes and what it should come to."""

    def __init__(self, command: Command, folder: Path) -> None:
        self.command, self._folder = command, folder
        self._fresh = folder / "fresh"
        self._fresh.mkdir(parents=True)
        command.prepare(self._fresh)
        self._before = self._state(self._fresh)
        whole = self._copy()
        started = time.monotonic()
        self._finish(whole, command.arguments)
        self._seconds = time.monotonic() - started
        self._after = self._state(whole)
        if self._after == self._before:
            raise AssertionError(f"{command.arguments} changes nothing")

    def kill(self, random: Random) -> str:
        """Kill the command once; return what is wrong afterwards, or an empty string."""
        place = self._copy()
        child = self._start(place, self.command.arguments)
        time.sleep(random.uniform(0, 1.05 * self._seconds))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        try:
            left = self._state(place)
            if left not in (self._before, self._after):
                return f"after the kill there is neither what was before nor what should be: {str(left)[:500]}"
            self._finish(place, self.command.arguments if left == self._before else self.command.next)
            if self._state(place) != self._after:
                return "the same command again does not come to what it should"
        except (GaitprintError, AssertionError, OSError, ValueError, KeyError) as error:
            return f"{type(error).__name__}: {error}"
        return ""

    def _copy(self) -> Path:
        place = self._folder / "place"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(self._fresh, place)
        return place

    def _state(self, place: Path) -> object:
        return self.command.state(place)

    def _start(self, place: Path, arguments: Sequence[str]) -> int:
        def work() -> int:
            os.chdir(place)
            return main(arguments)

        return fork(work, self._folder / "said.txt")

    def _finish(self, place: Path, arguments: Sequence[str]) -> None:
        _, status = os.waitpid(self._start(place, arguments), 0)
        said = (self._folder / "said.txt").read_text(encoding="utf-8", errors="replace")
        if status or "Traceback" in said:
            raise AssertionError(f"{' '.join(arguments)} ends with {status}: {said[-2000:]}")
        hidden = [str(path.relative_to(place)) for path in place.rglob(".*")]
        if hidden:
            raise AssertionError(f"it leaves hidden files: {hidden}")
