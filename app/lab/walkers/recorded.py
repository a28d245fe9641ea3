"""``walkers-real``: people who walk with the recorded curves of subjects whom the model of motion has never seen.

They show whether what a network has learnt from drawn gaits holds for recorded ones. The recordings are not part of the
program: only who has them can film these people.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from app.errors import SettingsError
from app.gallery.distances import part_distances
from app.lab.walkers.body import BodyModel
from app.lab.walkers.dataset import camera_at, record
from app.lab.walkers.gait import GaitTraits
from app.lab.walkers.mocap.fit import HELD_OUT, Strides, recorded_cycles, strides_of
from app.lab.walkers.path import Path as Route
from app.lab.walkers.person import Dressed, Person, Session
from app.lab.walkers.population import MEASURE_UNIT, MEASURES, REFERENCE, Manner, Population
from app.stages import GaitModel
from app.types import Bytes, GaitSequence

VIEWS = (0, 45, 90, 135, 180)
"""Cameras, degrees: 0 from the front, 90 from the side."""
FRAMES = 30
FPS = 25.0
FIRST_BODY = 61
"""Number of the first body; it is everybody's where all have the same."""
_HEIGHT, _DISTANCE = 1.35, 6.5
_PLAIN = replace(GaitTraits(), knee_offset=0.0)


@dataclass(frozen=True)
class RealWalk:
    """A recorded walk: of which `subject`, and the `gait` with its mean curves."""

    subject: int
    gait: GaitTraits


@dataclass(frozen=True, eq=False)
class FilmedWalk:
    """Silhouettes uint8 (T, 64, 64) of a `subject` from a `view` in degrees; `walk` counts the walks of all."""

    subject: int
    walk: int
    view: int
    silhouettes: Bytes


def real_walks(folder: Path) -> list[RealWalk]:
    """Read the walks of the subjects of `HELD_OUT` from the recordings in `folder`: the mean of the strides of each.

    Raises:
        MotionFileError: a file is missing or cannot be read.
    """
    strides = strides_of(recorded_cycles(folder, HELD_OUT), Population.load().step, either_first=True)
    return list(walks_in(strides))


def walks_in(strides: Strides) -> Iterator[RealWalk]:
    """Yield the walks of which `strides` are known."""
    population = Population.load()
    usual = Manner((0.0,) * len(population.mean))
    # The recorded widths and angles take the place of the usual ones, so these are subtracted.
    known = np.array([getattr(_PLAIN, name) if name not in ("step", "stance") else 0.0 for name in MEASURES])
    for walk in np.unique(strides.walks):
        own = strides.walks == walk
        speed = float(strides.speeds[own].mean())
        vector = strides.vectors[own].mean(axis=0) - population.mean - (speed - REFERENCE) * population.slope
        vector[-len(MEASURES) :] -= known / MEASURE_UNIT
        gait = replace(_PLAIN, speed=min(speed, 1.75)).moved_as(Manner(tuple(vector.tolist())), usual)
        yield RealWalk(int(strides.subjects[own][0]), gait)


def film(walks: list[RealWalk], model: BodyModel, *, own_bodies: bool) -> Iterator[FilmedWalk]:
    """Let people walk with recorded gaits, all on the same body or each subject on a body of their own.

    All wear the clothes of the first.
    """
    subjects = sorted({walk.subject for walk in walks})
    bodies: dict[int, Dressed] = {}
    for number, walk in enumerate(walks):
        place = subjects.index(walk.subject) if own_bodies else 0
        person = replace(Person.sample(FIRST_BODY + place), dressed_as=FIRST_BODY)
        session = Session(person, person.body, walk.gait, "nm", 0, number, number)
        if place not in bodies:
            bodies[place] = Dressed.make(model, session, session.outfit())
        length = walk.gait.speed * FRAMES / FPS
        route = Route.line((-length / 2, 0.0), 0.0, 20.0)
        phase = float(np.random.default_rng([number, 0x4EA1]).random())
        motion = bodies[place].walk(walk.gait, route, None, FPS, FRAMES / FPS, number, phase)
        cameras = [camera_at(view, _DISTANCE, _HEIGHT) for view in VIEWS]
        for view, arrays in zip(VIEWS, record(motion, cameras, ("silhouette",), 64), strict=True):
            yield FilmedWalk(walk.subject, number, view, arrays["silhouette"])


def judge(model: GaitModel, filmed: list[FilmedWalk]) -> dict[str, float]:
    """Return how often `model` finds the right subject of those filmed, by what the views are, 0..1.

    Every walk is the probe once for each of its views; the gallery holds one walk of each subject from another view:
    their first, or their second where the probe is the first. ``chance`` is what guessing finds.

    Raises:
        SettingsError: fewer than two subjects walk twice.
    """
    walks_of: dict[int, list[int]] = {}
    for walk in filmed:
        if walk.walk not in walks_of.setdefault(walk.subject, []):
            walks_of[walk.subject].append(walk.walk)
    usable = {subject: walks for subject, walks in walks_of.items() if len(walks) > 1}
    if len(usable) < 2:
        raise SettingsError("Recorded people can be told apart only where two or more of them walk twice.")
    given = [GaitSequence(np.arange(len(walk.silhouettes)), walk.silhouettes, FPS) for walk in filmed]
    parts = np.stack([embedding.parts for embedding in model.embed(given)])
    place = {(walk.walk, walk.view): index for index, walk in enumerate(filmed)}
    hits: dict[str, list[list[bool]]] = {"any view to any other": [], "front to side": []}
    subjects = sorted(usable)
    for subject, walks in usable.items():
        of_subject: dict[str, list[bool]] = {name: [] for name in hits}
        for probe in walks:
            gallery = [
                next(walk for walk in usable[other] if walk != probe) if other == subject else usable[other][0]
                for other in subjects
            ]
            for seen in VIEWS:
                for view in set(VIEWS) - {seen}:
                    known = parts[[place[walk, view] for walk in gallery]]
                    nearest = int(part_distances(parts[[place[probe, seen]]], known)[0].argmin())
                    of_subject["any view to any other"].append(subjects[nearest] == subject)
                    if (view, seen) == (0, 90):
                        of_subject["front to side"].append(subjects[nearest] == subject)
        for name, found in of_subject.items():
            hits[name].append(found)
    shares = {name: float(np.mean([np.mean(found) for found in of_all])) for name, of_all in hits.items()}
    return shares | {"chance": 1 / len(subjects)}
