"""The five clips in ``input_videos/``, and scenes on demand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import numpy as np

from app.errors import SettingsError
from app.lab.walkers.background import PLACES, Background, Place
from app.lab.walkers.body import BodyModel
from app.lab.walkers.camera import Camera, CameraMotion
from app.lab.walkers.gait import Burden
from app.lab.walkers.path import Path as Route
from app.lab.walkers.person import Dressed, Person
from app.lab.walkers.scene import Actor, Scene, write_clip
from app.lab.walkers.wardrobe import Condition, Outfit, Wardrobe

View: TypeAlias = Literal["front", "raised", "back", "side", "oblique", "surveillance", "handheld"]
VIEWS: tuple[View, ...] = get_args(View)

NAMES = ("anna", "bashir", "chen", "daria", "emeka")
_SEEDS = (0, 18, 11, 29, 24)
"""The demo's people; the last is the stranger. Chosen by eye, to be different from each other."""


@dataclass(frozen=True)
class Part:
    """Somebody's part in a clip: who, where they start (m), in which direction (degrees), what is different."""

    who: int
    start: tuple[float, float]
    heading: float
    condition: Condition = "nm"
    bag: Burden | None = None
    phase: float = 0.0


@dataclass(frozen=True)
class Clip:
    """One of the demo's clips."""

    name: str
    place: Place
    room: float
    place_seed: int
    camera: Camera
    parts: Sequence[Part]
    seconds: float
    motion: CameraMotion = field(default_factory=CameraMotion)


def _clips(width: int, height: int) -> list[Clip]:
    def camera(position: tuple[float, float, float], target: tuple[float, float, float], field: float) -> Camera:
        return Camera.look_at(position, target, width, height, field)

    return [
        Clip(
            "gallery", "street", 1.25, 3, camera((-17.5, 0.0, 1.6), (0.0, 0.0, 0.95), 29.0),
            [
                Part(0, (4.6, 2.25), 180.0), Part(1, (3.2, 0.8), 180.0, phase=0.3),
                Part(2, (5.0, -0.65), 180.0, phase=0.6), Part(3, (3.8, -2.1), 180.0, phase=0.8),
            ],
            9.0,
        ),
        Clip(
            "probe1", "square", 1.0, 5, camera((-9.5, -6.5, 4.2), (0.6, 0.4, 0.7), 44.0),
            [
                Part(0, (5.6, 1.9), 188.0), Part(1, (6.4, -0.6), 176.0, phase=0.4),
                Part(2, (-5.4, -2.3), 12.0, phase=0.2), Part(3, (-6.4, 2.4), -8.0, phase=0.7),
            ],
            9.0,
        ),
        Clip(
            "probe2", "park", 1.25, 1, camera((-10.5, 0.2, 1.65), (6.0, 0.0, 0.95), 33.0),
            [
                Part(2, (-2.2, 2.1), 0.0), Part(0, (-1.4, 0.75), 0.0, phase=0.5),
                Part(3, (-2.5, -0.7), 0.0, phase=0.2), Part(1, (-1.6, -2.0), 0.0, phase=0.8),
            ],
            8.0,
        ),
        Clip(
            "probe3", "hall", 1.0, 2, camera((-15.5, -4.4, 1.9), (0.0, -0.4, 0.85), 32.0),
            [
                Part(0, (5.2, 2.0), 184.0, "cl"), Part(1, (3.8, 0.5), 184.0, "bg", "backpack", 0.4),
                Part(2, (6.6, -0.9), 184.0, "bg", "trolley", 0.7), Part(3, (4.6, -2.4), 182.0, "cl", None, 0.1),
            ],
            9.0,
        ),
        Clip(
            "probe4", "street", 1.1, 11, camera((0.0, -8.2, 1.5), (0.0, 0.0, 1.0), 50.0),
            [
                Part(0, (-3.6, 0.3), 0.0), Part(1, (3.6, 1.6), 180.0, phase=0.3), Part(4, (-7.2, 0.9), 0.0, phase=0.6),
                Part(2, (8.8, -0.3), 180.0, phase=0.1), Part(3, (-10.2, 0.2), 0.0, phase=0.8),
            ],
            10.0,
        ),
    ]  # fmt: skip


def make_demo(
    folder: Path,
    model: BodyModel,
    wardrobe: Wardrobe | None = None,
    *,
    only: Sequence[str] = (),
    width: int = 854,
    height: int = 480,
    fps: int = 25,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[Path]:
    """Write the demo's clips (those in `only`, or all) into `folder`.

    Beside ``NAME.mp4`` lie ``NAME.truth.json`` and, as boxes in the MOT challenge's format, ``NAME.gt.txt``.

    Returns:
        The videos.

    Raises:
        OutputError: a file cannot be written.
    """
    videos = []
    for number, clip in enumerate(_clips(width, height)):
        if only and clip.name not in only:
            continue
        frames = round(clip.seconds * fps)
        actors = [_actor(model, wardrobe, part, number, frames, fps) for part in clip.parts]
        background = Background.sample(np.random.default_rng(clip.place_seed), clip.place, clip.room)
        scene = Scene(clip.camera, background, actors, Fraction(fps), clip.motion, seed=number, exposures=2)
        video = folder / f"{clip.name}.mp4"

        def report(done: int, total: int, name: str = clip.name) -> None:
            if progress is not None:
                progress(name, done, total)

        truth, boxes = folder / f"{clip.name}.truth.json", folder / f"{clip.name}.gt.txt"
        write_clip(scene, video, truth, boxes=boxes, poses=False, progress=report)
        videos.append(video)
    return videos


def _actor(model: BodyModel, wardrobe: Wardrobe | None, part: Part, number: int, frames: int, fps: int) -> Actor:
    person = Person.sample(_SEEDS[part.who])
    session = person.session(number, part.condition)
    outfit: Outfit = session.outfit(wardrobe)
    if part.bag is not None:
        outfit = replace(outfit, bag=part.bag)
    dressed = Dressed.make(model, session, outfit, wardrobe)
    route = Route.line(part.start, np.radians(part.heading), 30.0)
    motion = dressed.walk(session.gait, route, None, fps, frames / fps, session.seed, part.phase)
    return Actor(part.who + 1, NAMES[part.who], session, motion)


_PLACINGS: dict[str, tuple[tuple[float, float, float], tuple[float, float, float], float]] = {
    "front": ((-17.0, 0.0, 1.6), (0.0, 0.0, 0.95), 30.0),
    "raised": ((-9.5, -6.5, 4.2), (0.6, 0.4, 0.7), 44.0),
    "back": ((14.0, 0.0, 1.6), (-3.0, 0.0, 0.95), 36.0),
    "side": ((0.0, -8.5, 1.5), (0.0, 0.0, 1.05), 56.0),
    "oblique": ((-11.0, -6.0, 1.7), (0.0, 0.0, 0.9), 42.0),
    "surveillance": ((-9.0, -4.0, 5.5), (0.5, 0.0, 0.4), 52.0),
    "handheld": ((-14.0, -2.0, 1.6), (0.0, 0.0, 1.0), 36.0),
}


def make_scene(
    model: BodyModel,
    *,
    people: int = 4,
    seed: int = 7,
    condition: Condition = "nm",
    view: View = "front",
    place: Place | None = None,
    seconds: float = 8.0,
    fps: int = 25,
    width: int = 854,
    height: int = 480,
    exposures: int = 1,
    crossing: float = 0.25,
    wardrobe: Wardrobe | None = None,
) -> Scene:
    """Draw a scene: `people` walk along lanes, a share `crossing` of them the other way or on a bent path.

    Raises:
        SettingsError: nobody, an unknown view or place, no time.
    """
    if people < 1 or seconds * fps < 2:
        raise SettingsError("A scene needs at least one person and two frames.")
    if view not in VIEWS or (place is not None and place not in PLACES):
        raise SettingsError(f"Known cameras: {', '.join(VIEWS)}; known places: {', '.join(PLACES)}.")
    rng = np.random.default_rng([seed, 0x5CE])
    position, target, field = _PLACINGS[view]
    camera = Camera.look_at(position, target, width, height, field * float(rng.uniform(0.92, 1.08)))
    shake = CameraMotion(shake=0.3) if view == "handheld" else CameraMotion()
    where = place or PLACES[rng.integers(4)]
    background = Background.sample(rng, where, 1.25 if where != "corridor" else 1.4)
    lanes = np.linspace(-0.72, 0.72, people) * (people - 1) if people > 1 else np.zeros(1)
    lanes = lanes * min(1.0, 5.2 / max(0.1, float(np.ptp(lanes)) or 5.2)) + rng.uniform(-0.15, 0.15, people)
    rng.shuffle(lanes)
    actors = []
    for index in range(people):
        person = Person.sample(int(rng.integers(1_000_000)) if seed >= 0 else index)
        session = person.session(seed, condition)
        dressed = Dressed.make(model, session, session.outfit(wardrobe), wardrobe)
        away = bool(rng.random() < crossing)
        reach = session.gait.speed * seconds
        x = float(reach / 2 + rng.uniform(-1.0, 1.6))
        y = float(lanes[index])
        side = 1.0 if away else -1.0
        if rng.random() < crossing:
            drift = float(rng.uniform(-1.5, 1.5))
            route = Route.through([(-side * x, y), (-side * x * 0.2, y + drift * 0.3), (side * (x + 4), y + drift)])
        else:
            route = Route.line((-side * x, y), 0.0 if away else np.pi, 30.0)
        motion = dressed.walk(session.gait, route, None, fps, seconds, session.seed, float(rng.random()))
        actors.append(Actor(index + 1, f"person{index + 1}", session, motion))
    return Scene(camera, background, actors, Fraction(fps), shake, seed, exposures)
