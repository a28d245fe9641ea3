"""Commands that write are killed, or asked to stop, at random moments: nothing is lost, and the next command mends all.

Each command runs as ``python -m app`` does, in a process that was forked after everything was imported, because
importing takes longer than most of the work. One in twenty is a process started anew, so that signals hit its start.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any

import cv2
import numpy as np

from app.cli.main import main
from app.errors import GaitprintError
from app.gallery.sqlite import SqliteGallery
from app.gallery.transfer import read_gallery, write_gallery
from app.lab.walkers.body import CACHE
from app.progress import Silent
from tests.campaigns.crew import Attempt, FaultError, Part, SkippedError, forked
from tests.campaigns.inputs import people
from tests.clips import Walker, crossing, write_clip

ROOT = Path(__file__).resolve().parents[2]
DB = ("--gallery-db", "gallery.db")
MODELS = ("--detector", "motion", "--segmenter", "motion", "--gait", "gei", "--set", "output.summary=false")
BODY = Path(os.environ.get("GAITPRINT_BODY", ROOT / CACHE))
"""The folder of the body model of the virtual walkers; without it they are left out."""
_PATIENCE = 40.0  # s in which a command must end after a signal
_STOPPED = b"Stopping. Finished work is kept"

State = Mapping[str, object]


@dataclass(frozen=True)
class Command:
    """A command that writes.

    Attributes:
        arguments: of ``python -m app``, in a folder that `prepare` has filled.
        prepare: fills a folder.
        state: returns what the folder holds, as far as it matters, by name.
        next: what somebody does next where the command had done its work before it was killed. It removes what is left.
        share: how many of all kills hit it.
        steps: whether it may be left half done: then each thing is as before or as afterwards, on its own.
        traces: what must not stand in any file afterwards.
    """

    arguments: Sequence[str]
    prepare: Callable[[Path], None]
    state: Callable[[Path], State]
    next: Sequence[str] = ("gallery", "list", *DB)
    share: int = 4
    steps: bool = False
    traces: bytes = b""


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
        gallery.enrol("Zarq Vexley", people(seed=3)["Person 3.0"], consent="as Zarq Vexley said")
        gallery.record("identify", names=["Zarq Vexley"])
    cache = folder / "output" / "cache"
    cache.mkdir(parents=True)
    (cache / f"{'a' * 32}.zip").write_bytes(b"silhouettes of Zarq Vexley")


def prepare_expired(folder: Path) -> None:
    prepare_gallery(folder)
    with closing(sqlite3.connect(folder / "gallery.db")) as db, db:
        db.execute("UPDATE person SET expires = '2020-01-01T00:00:00.000000+00:00' WHERE name = 'Zarq Vexley'")


def who(folder: Path) -> State:
    """Return everybody in a gallery with their walks, all of which must be whole."""
    with SqliteGallery(folder / "gallery.db", create=False) as gallery:
        walks = gallery.walks()
        gallery.embeddings([walk.walk_id for walk in walks])
        for walk in walks:
            gallery.silhouettes(walk.walk_id)
        found: dict[str, object] = {person.name: (person.consent, person.walks) for person in gallery.people()}
        return found | {f"walk {walk.walk_id}": (walk.model_id, walk.source, walk.person_id) for walk in walks}


def gallery_state(folder: Path) -> State:
    return {"everybody": who(folder)}


def export_state(folder: Path) -> State:
    exported = {person.name: len(walks) for person, walks, _ in read_gallery(folder / "out.jsonl.gz")}
    return {"exported": exported, "everybody": who(folder)}


def prepare_videos(folder: Path) -> None:
    (folder / "input_videos").mkdir()
    size: dict[str, Any] = {"width": 256, "height": 192, "fps": Fraction(20)}
    for seed, name in enumerate(("gallery", "probe")):
        pair = [Walker(1, 5 * seed), Walker(2, 6 * seed)]
        scene = crossing(pair, gap=0.8, first=-0.7, seconds=2.8, seed=seed, **size)
        write_clip(folder / "input_videos" / f"{name}.mp4", scene)


def prepare_enrolled(folder: Path) -> None:
    prepare_videos(folder)
    run(["enrol", "gallery.mp4", "--name", "Anna", "--consent", "yes", "--track", "1", *DB, *MODELS[:-2]], folder)


def prepare_folder(folder: Path) -> None:
    prepare_videos(folder)
    for name, walker in (("Anna", 1), ("Bo", 2)):
        (folder / "people" / name).mkdir(parents=True)
        scene = crossing(
            [Walker(walker)], first=-0.7, seconds=2.4, width=256, height=192, fps=Fraction(20), seed=walker
        )
        write_clip(folder / "people" / name / "walk.mp4", scene)


def run_state(folder: Path) -> State:
    """Return the files of each run that can be seen, and whom its report names.

    Two runs with the same results count as one, because their folders differ only in the time.
    """
    found: dict[str, object] = {}
    for place in (folder / "output" / "OutputVideos").glob("[!.]*"):
        report = json.loads((place / "results.json").read_text(encoding="utf-8"))
        named = [track["identity"] for probe in report["probes"] for track in probe["tracks"]]
        files = sorted(str(path.relative_to(place)) for path in place.rglob("*") if path.is_file())
        if any(not (place / file).stat().st_size for file in files):
            raise FaultError(f"{place} has an empty file")
        found["run"] = [files, named]
    if (folder / "gallery.db").exists():
        found["everybody"] = who(folder)
    return found


def enrolled_state(folder: Path) -> State:
    return who(folder) if (folder / "gallery.db").exists() else {}


def prepare_raw(folder: Path) -> None:
    for person in ("001", "075", "076"):
        for condition in ("nm-01", "nm-02"):
            for step in range(6):
                picture = np.zeros((96, 80), np.uint8)
                cv2.ellipse(picture, (30 + step, 48), (8 + step % 3, 40), 3.0 * step, 0, 360, (255,), -1)
                path = folder / "raw" / person / condition / "090" / f"{person}-{condition}-090-{step:03d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(cv2.imencode(".png", picture)[1].tobytes())


def prepare_data(folder: Path) -> None:
    """Make silhouettes and keypoints of people who can be told apart."""
    random = np.random.default_rng(0)
    for person in range(12):
        for number, walk in enumerate(("nm-01/000", "nm-01/090", "nm-05/000", "nm-05/090")):
            bodies = np.zeros((8 + number, 64, 44), np.uint8)
            for index, frame in enumerate(bodies):
                width = 4 + 2 * person
                frame[:40, 22 - width // 2 : 22 + width // 2] = 255
                stride = round(4 * np.sin(index))
                frame[40:, 18 + stride : 22 + stride] = 255
            joints = random.uniform(10, 60, (8, 17, 3)).astype(np.float32)
            joints[..., 2] = 0.9
            for name, array in (("data", bodies), ("pose", joints)):
                path = folder / name / f"{person:03d}" / walk / f"{name}.pkl"
                path.parent.mkdir(parents=True)
                path.write_bytes(pickle.dumps(array))


def prepare_walkers(folder: Path) -> None:
    if not list(BODY.glob("body-*.npz")):
        raise SkippedError("the body model is missing; python -m app walkers sheet makes it")


def files_in(name: str, passed_over: str = "") -> Callable[[Path], State]:
    """Return a function that returns what the visible files below the folder `name` hold, as digests."""

    def state(folder: Path) -> State:
        found = {}
        for path in sorted((folder / name).rglob("*")):
            relative = str(path.relative_to(folder))
            hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
            if path.is_file() and not hidden and not (passed_over and re.search(passed_over, relative)):
                found[relative] = hashlib.sha256(path.read_bytes()).hexdigest()
        return found

    return state


def _gait(*more: str) -> list[str]:
    values = (
        "out=out", "data=data", "steps=12", "batch=2", "walks_each=2", "frames=[3, 6]", "held_out=2", "workers=0",
        "threads=1", "frame_widths=[4, 6]", "set_widths=[8, 8]", "channels=6", "save_every=3", "check_every=6",
        "filmed_share=0", "together=1", "temporal=false", *more,
    )  # fmt: skip
    return ["train", "gait", *(word for value in values for word in ("--set", value))]


_RAW = ("prepare", "silhouettes", "casia-b", "raw", "out", "--workers")
_SCENE = (
    *("walkers", "scene", "--out", "out", "--people", "1", "--seconds", "0.5", "--fps", "10", "--size", "160x120"),
    *("--cache", str(BODY)),
)
_WALKERS = (
    *("walkers", "dataset", "--out", "out", "--subjects", "2", "--conditions", "nm:1", "--views", "2", "--frames", "4"),
    *("--workers", "1", "--cache", str(BODY)),
)
_DEMO = ("demo", "--gallery", "gallery", "--probe", "probe", *MODELS)
_ENROL = ("enrol", "probe.mp4", "--name", "Bo", "--consent", "yes", "--track", "2", *DB, *MODELS[:-2])
_FOLDER = ("enrol", "--folder", "people", "--consent", "yes", *DB, *MODELS[:-2])
_IDENTIFY = ("identify", "probe.mp4", *DB, *MODELS)

COMMANDS: dict[str, Command] = {
    "export": Command(
        ["gallery", "export", "out.jsonl.gz", "--overwrite", *DB], prepare_gallery, export_state, share=8
    ),
    "import": Command(["gallery", "import", "others.jsonl.gz", *DB], prepare_gallery, gallery_state, share=8),
    "rename": Command(["gallery", "rename", "Person 0.1", "Anna", *DB], prepare_gallery, gallery_state),
    "merge": Command(["gallery", "merge", "Person 0.1", "Person 0.2", *DB], prepare_gallery, gallery_state),
    "move": Command(["gallery", "move", "3", "Person 0.4", *DB], prepare_gallery, gallery_state),
    "forget": Command(
        ["gallery", "forget", "Zarq Vexley", "--yes", *DB], prepare_gallery, gallery_state, share=8, traces=b"Vexley"
    ),
    "forget walk": Command(["gallery", "forget-walk", "4", "--yes", *DB], prepare_gallery, gallery_state),
    "expire": Command(["gallery", "list", *DB], prepare_expired, gallery_state, share=6, traces=b"Vexley"),
    "re-embed": Command(["gallery", "re-embed", "--gait", "gei", *DB], prepare_gallery, who, steps=True),
    "enrol": Command(_ENROL, prepare_enrolled, enrolled_state, next=_ENROL, share=6),
    "enrol folder": Command(_FOLDER, prepare_folder, enrolled_state, next=_FOLDER, steps=True),
    "identify": Command(_IDENTIFY, prepare_enrolled, run_state, next=_IDENTIFY, share=6),
    "demo": Command(_DEMO, prepare_videos, run_state, next=_DEMO, share=8),
    "silhouettes": Command([*_RAW, "1"], prepare_raw, files_in("out", "report|convert"), next=[*_RAW, "1"], steps=True),
    "silhouettes, two processes": Command(
        [*_RAW, "2"], prepare_raw, files_in("out", "report|convert"), next=[*_RAW, "2"], steps=True, share=1
    ),
    "heatmaps": Command(
        heatmaps := ["prepare", "heatmaps", "--pose-data-path", "pose", "--save-root", "out", "--dataset-name", "maps",
         "--workers", "1"],
        prepare_data, files_in("out", "report|convert"), next=heatmaps, steps=True,
    ),
    "from videos": Command(
        ["prepare", "from-videos", "input_videos", "out", "--set", "detector.name=motion", "--set",
         "segmenter.name=motion", "--set", "gait.name=gei"],
        prepare_videos, files_in("out", "cache"), next=["models"], steps=True, share=3,  # its own table stops it
    ),
    "scene": Command(_SCENE, prepare_walkers, files_in("out"), next=_SCENE, steps=True, share=3),
    "walkers": Command(_WALKERS, prepare_walkers, files_in("out"), next=_WALKERS, steps=True, share=3),
    "train": Command(
        _gait(), prepare_data, files_in("out", r"log/|last|\.yaml|walks"), next=_gait(), steps=True, share=3
    ),
    "calibrate": Command(
        calibrated := ["calibrate", "--data", "data", "--gait", "gei", "--out", "scores.json"],
        prepare_data, files_in("", "data|pose|output"), next=calibrated, steps=True,
    ),
    "evaluate": Command(
        evaluated := ["evaluate", "--data", "data", "--protocol", "casia-b", "--gait", "gei", "--json", "out/a.json",
         "--csv", "out/a.csv"],
        prepare_data, files_in("out"), next=evaluated, steps=True, share=3,
    ),
}  # fmt: skip


def run(arguments: Sequence[str], place: Path) -> None:
    """Run a command to its end.

    Raises:
        FaultError: it fails, or leaves half files.
    """
    child = begin(arguments, place)
    _, status = os.waitpid(child, 0)
    text = said(place)
    if status or "Traceback" in text:
        raise FaultError(f"{' '.join(arguments)} ends with {_ending(status)}: {text[-3000:]}")
    _need_no_half_files(place, " ".join(arguments))


def begin(arguments: Sequence[str], place: Path, *, anew: bool = False) -> int:
    """Start a command in a folder, forked or anew, and return its process id."""
    said = place.with_name(place.name + ".output")
    said.write_bytes(b"")
    if anew:
        with said.open("wb") as file:
            return subprocess.Popen(
                [sys.executable, "-m", "app", *arguments], cwd=place, env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True,
            ).pid  # fmt: skip

    def work() -> int:
        os.chdir(place)
        sys.argv = ["python -m app"]
        return main(arguments)

    return forked(work, said)


def said(place: Path) -> str:
    """Return what the last command in a folder printed."""
    return place.with_name(place.name + ".output").read_text(encoding="utf-8", errors="replace")


def _ending(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return signal.Signals(-code).name if code < 0 else f"code {code}"


def _need_no_half_files(place: Path, what: str) -> None:
    half = [str(path.relative_to(place)) for path in place.rglob(".*") if re.search("partial|export", path.name)]
    if half:
        raise FaultError(f"{what} leaves half files: {half}\n{said(place)[-2000:]}")


class Killing:
    """Kills one command again and again. Its undisturbed run says how long it takes and what it should come to."""

    def __init__(self, command: Command, folder: Path, fresh: Path) -> None:
        """`folder` is where the command runs, and `fresh` is one that its `prepare` has filled."""
        self.command, self._fresh, self.place = command, fresh, folder / "place"
        folder.mkdir(parents=True)
        self._before = command.state(self._fresh)
        whole = self._copied()
        started = time.monotonic()
        run(command.arguments, whole)
        self._seconds = time.monotonic() - started
        self._after = command.state(whole)
        if self._after == self._before:
            raise AssertionError(f"{command.arguments} changes nothing: {said(whole)}")
        shutil.rmtree(whole)

    def kill(self, random: Random, number: signal.Signals = signal.SIGKILL, *, anew: bool = False) -> None:
        """Send the command a signal at a random moment, and run it again.

        Raises:
            FaultError: something was lost or left, or it does not come to its end.
        """
        place = self._copied()
        child = self._begin(place, anew)
        time.sleep(random.uniform(0, 1.05 * self._seconds + (0.5 if anew else 0.0)))
        os.kill(child, number)
        if number == signal.SIGKILL:
            os.waitpid(child, 0)
        else:
            if random.random() < 0.2:
                time.sleep(random.uniform(0, 0.1))
                with suppress(ProcessLookupError):
                    os.kill(child, number)
            self._need_good_end(child, number, place)
        try:
            left = self.command.state(place)
            if not self._may_be(left):
                raise FaultError(
                    f"there is neither what was before nor what should be: {str(left)[:1500]}\n{said(place)}"
                )
            run(self.command.next if left == self._after else self.command.arguments, place)
            if (final := self.command.state(place)) != self._after:
                raise FaultError(f"the same command again comes to {final}, not to {self._after}"[:4000])
            if self.command.traces:
                self._need_no_traces(place)
        except GaitprintError as error:
            raise FaultError(f"afterwards: {error}") from error

    def _need_good_end(self, child: int, number: signal.Signals, place: Path) -> None:
        """Make sure that a command which was asked to stop does so, says so, and leaves nothing half done."""
        end = time.monotonic() + _PATIENCE
        while True:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                break
            if time.monotonic() > end:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                raise FaultError(f"it goes on {_PATIENCE:.0f} s after {number.name}")
            time.sleep(0.005)
        text, code = said(place), os.waitstatus_to_exitcode(status)
        if code not in (0, 128 + number, -number):  # a signal that comes before the command begins ends it at once
            raise FaultError(f"{number.name} ends it with code {code}: {text[-3000:]}")
        # Python itself gives a traceback when Ctrl-C comes before the first line of the program.
        had_begun = code != -signal.SIGINT or f"{ROOT / 'app'}{os.sep}" in text
        if had_begun and ("Traceback" in text or "Exception ignored" in text):
            raise FaultError(f"{number.name} gives a traceback: {text[-3000:]}")
        if code == 130 and _STOPPED.decode() not in text:
            raise FaultError(f"{number.name} ends it without a word: {text[-3000:]}")
        if code != -number:
            _need_no_half_files(place, number.name)

    def _may_be(self, left: State) -> bool:
        if left in (self._before, self._after):
            return True
        names = {*left, *self._before, *self._after}
        return self.command.steps and all(
            left.get(name) in (self._before.get(name), self._after.get(name)) for name in names
        )

    def _need_no_traces(self, place: Path) -> None:
        left = [path for path in place.rglob("*") if path.is_file() and self.command.traces in path.read_bytes()]
        if left:
            raise FaultError(f"{self.command.traces!r} still stands in {left}")

    def _copied(self) -> Path:
        """Return the folder in which the command runs, always the same, because some files name it."""
        place = self.place
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(self._fresh, place)
        return place

    def _begin(self, place: Path, anew: bool) -> int:
        return begin(self.command.arguments, place, anew=anew)


def prepared(commands: Sequence[Command], folder: Path) -> dict[Callable[[Path], None], Path | SkippedError]:
    """Return a folder for each `prepare` of the commands, filled by it, or why it could not be.

    This is done once for all processes, because it takes longer than most kills.
    """
    fresh: dict[Callable[[Path], None], Path | SkippedError] = {}
    for command in commands:
        if command.prepare not in fresh:
            place = folder / f"fresh {len(fresh)}"
            place.mkdir()
            fresh[command.prepare] = place
            try:
                command.prepare(place)
            except SkippedError as reason:
                fresh[command.prepare] = reason
    return fresh


def prepare_for(signals: Sequence[signal.Signals]) -> Callable[[Path], Attempt]:
    """Return a part that sends commands one of several signals."""

    def prepare(folder: Path) -> Attempt:
        fresh = prepared(list(COMMANDS.values()), folder)
        killings: dict[str, Killing] = {}

        def attempt(random: Random, place: Path) -> None:
            names = list(COMMANDS)
            name = random.choices(names, [COMMANDS[name].share for name in names])[0]
            print(name)
            made = fresh[COMMANDS[name].prepare]
            if isinstance(made, SkippedError):
                raise GaitprintError(f"{name} is left out: {made}")
            if name not in killings:
                killings[name] = Killing(COMMANDS[name], folder / f"{os.getpid()} {name}", made)
            number = random.choice(signals)
            print(number.name)
            try:
                killings[name].kill(random, number, anew=random.random() < 0.05)
            except FaultError:
                shutil.copytree(killings[name].place, place / "left", symlinks=True)  # to be kept
                raise

        return attempt

    return prepare


PARTS: dict[str, Part] = {
    "kills": Part(prepare_for([signal.SIGKILL]), 500, seconds=180, what="kills"),
    "signals": Part(
        prepare_for([signal.SIGINT, signal.SIGINT, signal.SIGTERM, signal.SIGHUP]), 300, 180, what="signals"
    ),
}
