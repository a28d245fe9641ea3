"""The five clips in ``input_videos/``, and scenes on demand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from app.errors import SettingsError
from app.lab.walkers.background import Background
from app.lab.walkers.body import BodyModel
from app.lab.walkers.camera import Camera
from app.lab.walkers.choices import PLACES, VIEWS, Burden, Condition, Place, View
from app.lab.walkers.path import Path as Route
from app.lab.walkers.person import Dressed, Person
from app.lab.walkers.scene import Actor, Scene, write_clip
from app.lab.walkers.wardrobe import Wardrobe
from app.progress import Progress, Titled

_NAMES = ("anna", "bashir", "chen", "daria", "emeka")
_SEEDS = (0, 18, 11, 29, 24)
"""The demo's people; the last is the stranger. Chosen by eye, to be different from each other."""


@dataclass(frozen=True)
class Part:
    """Somebody's part in a clip: who, where they start (m), in which direction (degrees), what is different."""

    who: int
    start: tuple[float, float]
    heading: float
    phase: float = 0.0
    condition: Condition = "nm"
    bag: Burden | None = None


@dataclass(frozen=True)
class Placing:
    """Where a camera stands and what it looks at, m, and how wide its field is, degrees."""

    position: tuple[float, float, float]
    target: tuple[float, float, float]
    field: float

    def camera(self, width: int, height: int, zoom: float = 1.0) -> Camera:
        """Return the camera, its field `zoom` times as wide."""
        return Camera.look_at(self.position, self.target, width, height, self.field * zoom)


@dataclass(frozen=True)
class Clip:
    """One of the demo's clips. `room` scales how far the walls of the place stand from its middle."""

    name: str
    place: Place
    room: float
    place_seed: int
    placing: Placing
    seconds: float
    parts: Sequence[Part]


CLIPS = (
    Clip(
        "gallery", "street", 1.25, 3, Placing((-17.5, 0.0, 1.6), (0.0, 0.0, 0.95), 29.0), 9.0,
        [Part(0, (4.6, 2.25), 180.0), Part(1, (3.2, 0.8), 180.0, 0.3), Part(2, (5.0, -0.65), 180.0, 0.6),
         Part(3, (3.8, -2.1), 180.0, 0.8)],
    ),
    Clip(
        "probe1", "square", 1.0, 5, Placing((-9.5, -6.5, 4.2), (0.6, 0.4, 0.7), 44.0), 9.0,
        [Part(0, (5.6, 1.9), 188.0), Part(1, (6.4, -0.6), 176.0, 0.4), Part(2, (-5.4, -2.3), 12.0, 0.2),
         Part(3, (-6.4, 2.4), -8.0, 0.7)],
    ),
    Clip(
        "probe2", "park", 1.25, 1, Placing((-10.5, 0.2, 1.65), (6.0, 0.0, 0.95), 33.0), 8.0,
        [Part(2, (-2.2, 2.1), 0.0), Part(0, (-1.4, 0.75), 0.0, 0.5), Part(3, (-2.5, -0.7), 0.0, 0.2),
         Part(1, (-1.6, -2.0), 0.0, 0.8)],
    ),
    Clip(
        "probe3", "hall", 1.0, 2, Placing((-15.5, -4.4, 1.9), (0.0, -0.4, 0.85), 32.0), 9.0,
        [Part(0, (5.2, 2.0), 184.0, 0.0, "cl"), Part(1, (3.8, 0.5), 184.0, 0.4, "bg", "backpack"),
         Part(2, (6.6, -0.9), 184.0, 0.7, "bg", "trolley"), Part(3, (4.6, -2.4), 182.0, 0.1, "cl")],
    ),
    Clip(
        "probe4", "street", 1.1, 11, Placing((0.0, -8.2, 1.5), (0.0, 0.0, 1.0), 50.0), 10.0,
        [Part(0, (-3.6, 0.3), 0.0), Part(1, (3.6, 1.6), 180.0, 0.3), Part(4, (-7.2, 0.9), 0.0, 0.6),
         Part(2, (8.8, -0.3), 180.0, 0.1), Part(3, (-10.2, 0.2), 0.0, 0.8)],
    ),
)  # fmt: skip
"""The clips of the demo: the stranger walks in the last one."""

_PLACINGS: dict[View, Placing] = {
    "front": Placing((-17.0, 0.0, 1.6), (0.0, 0.0, 0.95), 30.0),
    "raised": Placing((-9.5, -6.5, 4.2), (0.6, 0.4, 0.7), 44.0),
    "back": Placing((14.0, 0.0, 1.6), (-3.0, 0.0, 0.95), 36.0),
    "side": Placing((0.0, -8.5, 1.5), (0.0, 0.0, 1.05), 56.0),
    "oblique": Placing((-11.0, -6.0, 1.7), (0.0, 0.0, 0.9), 42.0),
    "surveillance": Placing((-9.0, -4.0, 5.5), (0.5, 0.0, 0.4), 52.0),
    "handheld": Placing((-14.0, -2.0, 1.6), (0.0, 0.0, 1.0), 36.0),
}

_CROSSING = 0.25
"""Share of the people of a scene who walk the other way, and share of those on a bent path."""


def make_demo(
    folder: Path,
    model: BodyModel,
    wardrobe: Wardrobe | None = None,
    *,
    only: Sequence[str] = (),
    progress: Progress | None = None,
) -> list[Path]:
    """Write the demo's clips (those named in `only`, or all) into `folder`, 854 x 480 px at 25 frames a second.

    Beside ``NAME.mp4`` lie ``NAME.truth.json`` and, as boxes in the MOT challenge's format, ``NAME.gt.txt``. Returns
    the videos.

    Raises:
        OutputError: a file cannot be written.
        SettingsError: `only` names a clip that does not exist.
    """
    unknown = set(only) - {clip.name for clip in CLIPS}
    if unknown:
        known = ", ".join(clip.name for clip in CLIPS)
        raise SettingsError(f"The demo has no clip '{min(unknown)}'. Its clips are: {known}.")
    videos = []
    for number, clip in enumerate(CLIPS):
        if only and clip.name not in only:
            continue
        actors = [_actor(model, wardrobe, part, number, clip.seconds) for part in clip.parts]
        background = Background.sample(np.random.default_rng(clip.place_seed), clip.place, clip.room)
        scene = Scene(clip.placing.camera(854, 480), background, actors, Fraction(25), seed=number, exposures=2)
        video = folder / f"{clip.name}.mp4"
        truth, boxes = folder / f"{clip.name}.truth.json", folder / f"{clip.name}.gt.txt"
        write_clip(scene, video, truth, boxes=boxes, poses=False, progress=Titled(progress, clip.name.capitalize()))
        videos.append(video)
    return videos


def _actor(model: BodyModel, wardrobe: Wardrobe | None, part: Part, number: int, seconds: float) -> Actor:
    session = Person.sample(_SEEDS[part.who]).session(number, part.condition)
    outfit = session.outfit(wardrobe)
    if part.bag is not None:
        outfit = replace(outfit, bag=part.bag)
    dressed = Dressed.make(model, session, outfit, wardrobe)
    route = Route.line(part.start, np.radians(part.heading), 30.0)
    motion = dressed.walk(session.gait, route, None, 25, seconds, session.seed, part.phase)
    return Actor(part.who + 1, _NAMES[part.who], session, motion)


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
    wardrobe: Wardrobe | None = None,
) -> Scene:
    """Draw a scene: `people` walk along lanes, some of them the other way or on a bent path.

    Raises:
        SettingsError: nobody, an unknown view or place, or fewer than two frames.
    """
    if people < 1 or seconds * fps < 2:
        raise SettingsError("A scene needs at least one person and two frames.")
    if view not in VIEWS or (place is not None and place not in PLACES):
        raise SettingsError(f"The cameras are {', '.join(VIEWS)}; the places are {', '.join(PLACES)}.")
    rng = np.random.default_rng([seed, 0x5CE])
    camera = _PLACINGS[view].camera(width, height, float(rng.uniform(0.92, 1.08)))
    where = place or PLACES[rng.integers(4)]
    background = Background.sample(rng, where, 1.25 if where != "corridor" else 1.4)
    actors = []
    for index, lane in enumerate(_lanes(people, rng)):
        session = Person.sample(int(rng.integers(1_000_000))).session(seed, condition)
        dressed = Dressed.make(model, session, session.outfit(wardrobe), wardrobe)
        route = _route(lane, session.gait.speed * seconds, rng)
        motion = dressed.walk(session.gait, route, None, fps, seconds, session.seed, float(rng.random()))
        actors.append(Actor(index + 1, f"person{index + 1}", session, motion))
    shake = 0.3 if view == "handheld" else 0.0
    return Scene(camera, background, actors, Fraction(fps), seed, exposures, shake)


def _lanes(people: int, rng: np.random.Generator) -> list[float]:
    """Return where across the way everybody walks, m from its middle."""
    lanes = np.linspace(-0.72, 0.72, people) * (people - 1) if people > 1 else np.zeros(1)
    lanes = lanes * min(1.0, 5.2 / max(0.1, float(np.ptp(lanes)) or 5.2)) + rng.uniform(-0.15, 0.15, people)
    rng.shuffle(lanes)
    return [float(lane) for lane in lanes]


def _route(lane: float, reach: float, rng: np.random.Generator) -> Route:
    """Return a way of about `reach` m that passes the middle of the place."""
    side = 1.0 if rng.random() < _CROSSING else -1.0
    x = float(reach / 2 + rng.uniform(-1.0, 1.6))
    if rng.random() >= _CROSSING:
        return Route.line((-side * x, lane), 0.0 if side > 0 else np.pi, 30.0)
    drift = float(rng.uniform(-1.5, 1.5))
    return Route.through([(-side * x, lane), (-side * x * 0.2, lane + drift * 0.3), (side * (x + 4), lane + drift)])
