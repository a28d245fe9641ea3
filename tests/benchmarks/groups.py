"""The demo with other people: ``python -m tests.benchmarks.groups FOLDER [--groups 6] [--shared ../shared]``.

The demo's 16 walks are few, and its four people were chosen to be unlike each other. Here other groups of four people
and a stranger walk through clips like the demo's: a street from the front as the gallery, then a square before a raised
camera, a park from behind, a hall with bags and coats, and a street from the side, through which the stranger walks,
too. Places, distances, light, sharpness, noise and compression differ from clip to clip. In every second group people
look alike: they have the same sex, age and clothes, and nearly the same height and weight.

Number `FIRST` and the following people are in no training, and no threshold was chosen on them. Clips are made once, in
FOLDER, and kept: a group takes some minutes. The whole program names the four clips of a group after its gallery, with
its defaults and with ``--closed``. Printed is what became of each person of each clip: of several tracks of somebody,
the longest that can be compared counts.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from app.lab.walkers.background import Background
from app.lab.walkers.body import CACHE, BodyModel
from app.lab.walkers.demo import CLIPS, Clip
from app.lab.walkers.jobs import body_model, wardrobe_in
from app.lab.walkers.path import Path as Route
from app.lab.walkers.person import Dressed, Person
from app.lab.walkers.scene import Actor, Scene
from app.lab.walkers.wardrobe import Wardrobe
from app.settings import Settings
from tests.benchmarks.accuracy import Followed
from tests.benchmarks.raised import FPS, HEIGHT, WIDTH, Lens, shoot

FIRST = 7_200_001
PEOPLE = 5
"""In a group. The last is the stranger."""
VERDICTS = ("right", "wrong", "unknown", "not compared")


def people(group: int, model: BodyModel) -> list[Person]:
    """Draw the people of a group; those of groups with odd numbers look alike."""
    drawn = [Person.sample(FIRST + PEOPLE * group + place) for place in range(PEOPLE)]
    first, *others = drawn
    if group % 2 == 0:
        return drawn
    return [replace(first, dressed_as=first.seed), *(other.look_alike(first, model) for other in others)]


def film(folder: Path, group: int, model: BodyModel, clothes: Wardrobe | None) -> list[Path]:
    """Return the clips of a group, the gallery first; those that are missing are made."""
    drawn, videos = people(group, model), []
    for number, clip in enumerate(CLIPS):
        video = folder / f"group{group:02}" / f"{clip.name}.mp4"
        if not video.with_suffix(".gt.txt").is_file():
            scene = _scene(clip, number, group, drawn, model, clothes)
            shoot(scene, Lens.sample(10_000 + 10 * group + number), video)
        videos.append(video)
    return videos


def _scene(
    clip: Clip, number: int, group: int, drawn: list[Person], model: BodyModel, clothes: Wardrobe | None
) -> Scene:
    rng, actors = np.random.default_rng([group, number, 0xC0]), []
    for part in clip.parts:
        session = drawn[part.who].session(number + 100 * group, part.condition)
        outfit = session.outfit(clothes)
        if part.bag is not None:
            outfit = replace(outfit, bag=part.bag)
        dressed = Dressed.make(model, session, outfit, clothes)
        start = (part.start[0] + float(rng.normal(0, 0.3)), part.start[1] + float(rng.normal(0, 0.1)))
        route = Route.line(start, float(np.radians(part.heading + rng.normal(0, 2))), 30.0)
        motion = dressed.walk(session.gait, route, None, FPS, clip.seconds, session.seed, float(rng.random()))
        actors.append(Actor(part.who + 1, f"person{part.who + 1}", session, motion))
    camera = clip.placing.camera(WIDTH, HEIGHT, float(rng.uniform(0.92, 1.08)))
    place = Background.sample(rng, clip.place, clip.room)
    return Scene(camera, place, actors, Fraction(FPS), number + 10 * group, exposures=2)


def verdicts(followed: Followed, number: int) -> Iterator[tuple[int, str]]:
    """Yield each person of a probe (from 1), and what became of them."""
    judged = [each for each in followed.judged(number) if each[1] != "unusable"]
    for person in sorted({person for truth in followed.truths[number].values() for person in truth}):
        own = [(len(track.frames), verdict) for whose, verdict, track in judged if whose == person]
        verdict = max(own)[1] if own else "not compared"
        yield person, "unknown" if verdict == "stranger unknown" else verdict


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the clips are, or are to be")
    parser.add_argument("--groups", type=int, default=6)
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="the folder in which 'wardrobe' lies")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    model, clothes = body_model(CACHE), wardrobe_in(options.shared / "wardrobe")
    found: dict[tuple[bool, str, bool], Counter[str]] = {}
    for group in range(options.groups):
        gallery, *probes = film(options.folder, group, model, clothes)
        with tempfile.TemporaryDirectory() as out:  # what is found in the clips is kept in it from run to run
            for closed in (False, True):
                settings = Settings.load(named={"output.folder": out, "match.closed": closed})
                followed = Followed.through(settings, gallery, probes)
                for number, probe in enumerate(probes, 1):
                    for person, verdict in verdicts(followed, number):
                        found.setdefault((closed, probe.stem, person == PEOPLE), Counter())[verdict] += 1
        print(f"group {group}: done", flush=True)
    table = Table(
        "", "clip", "people", *VERDICTS, title=f"People of {options.groups} groups, named by the whole program"
    )
    for (closed, clip, stranger), counts in sorted(found.items()):
        if stranger and closed:
            continue  # in a closed set everybody is somebody of the gallery
        who = "strangers" if stranger else "known"
        table.add_row("--closed" if closed else "defaults", f"{clip}, {who}", str(counts.total()),
                      *(str(counts[verdict]) for verdict in VERDICTS))  # fmt: skip
    for closed in (False, True):
        total = sum((counts for key, counts in found.items() if key[0] == closed and not key[2]), Counter[str]())
        table.add_row("--closed" if closed else "defaults", "all known", str(total.total()),
                      *(str(total[verdict]) for verdict in VERDICTS), style="bold")  # fmt: skip
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
