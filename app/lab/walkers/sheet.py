"""Contact sheets: many people, one gait cycle from eleven views, the conditions. For looking at the generator."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from app.files import written_whole
from app.lab.walkers.body import BodyModel
from app.lab.walkers.camera import Camera
from app.lab.walkers.choices import CASIA_VIEWS
from app.lab.walkers.gait import GaitTraits
from app.lab.walkers.path import Path as Route
from app.lab.walkers.person import Dressed, Motion, Person
from app.lab.walkers.renderer import Light, Material, draw
from app.lab.walkers.wardrobe import Outfit, Wardrobe
from app.types import Image

_FPS = 25.0


def write_sheets(folder: Path, model: BodyModel, wardrobe: Wardrobe | None = None, seed: int = 0) -> list[Path]:
    """Write ``people.png``, ``cycle.png``, ``conditions.png`` and ``life.png`` into `folder` and return their paths.

    Raises:
        OutputError: a file cannot be written.
    """
    sheets = {
        "people": people_sheet(model, wardrobe, seed),
        "cycle": cycle_sheet(model, wardrobe, seed),
        "conditions": conditions_sheet(model, wardrobe, seed),
        "life": life_sheet(model, wardrobe, seed),
    }
    paths = []
    for name, sheet in sheets.items():
        path = folder / f"{name}.png"
        with written_whole(path) as temporary:
            temporary.write_bytes(cv2.imencode(".png", sheet)[1].tobytes())
        paths.append(path)
    return paths


def people_sheet(model: BodyModel, wardrobe: Wardrobe | None, seed: int) -> Image:
    """24 people, from the front left, with stature and mass."""
    cells = []
    for number in range(24):
        person = Person.sample(seed + number)
        motion = _walking(model, person, person.outfit(0, wardrobe), wardrobe)
        shape = motion.dressed.shape
        cell = still(motion, 8, 24.0, 150, 320)
        cells.append(_labelled(cell, f"{seed + number}: {shape.traits.stature:.2f} m, {shape.mass:.0f} kg"))
    return _grid(cells, 8)


def cycle_sheet(model: BodyModel, wardrobe: Wardrobe | None, seed: int) -> Image:
    """One gait cycle (rows) from the eleven views of CASIA-B (columns)."""
    person = Person.sample(seed)
    motion = _walking(model, person, person.outfit(0, wardrobe), wardrobe)
    frames = np.linspace(6, 6 + 1.1 * _FPS, 9)[:8].astype(int)
    cells = [still(motion, int(frame), view, 120, 230) for frame in frames for view in CASIA_VIEWS]
    for index, view in enumerate(CASIA_VIEWS):
        cells[index] = _labelled(cells[index], f"{view}")
    return _grid(cells, len(CASIA_VIEWS))


def conditions_sheet(model: BodyModel, wardrobe: Wardrobe | None, seed: int) -> Image:
    """Four people (rows) with every bag, coat, hat and hair (columns)."""
    cells = []
    coat = Material((0.28, 0.24, 0.20), fold=0.5)
    for number in range(4):
        person = Person.sample(seed + number)
        plain = person.outfit(0, wardrobe)
        bag = Material((0.20, 0.24, 0.52), fold=0.15, gloss=0.1)
        bagged = replace(plain, bag_material=bag)
        variants: dict[str, Outfit] = {
            "nm": plain,
            "bg handbag": replace(bagged, bag="handbag"),
            "bg backpack": replace(bagged, bag="backpack"),
            "bg trolley": replace(bagged, bag="trolley"),
            "cl jacket": replace(plain, coat=coat, coat_length=0.34, suit=None),
            "cl coat": replace(plain, coat=coat, coat_length=0.95, suit=None),
            "cl hood": replace(plain, coat=coat, coat_length=0.4, hood=True, suit=None),
            "cl skirt": replace(plain, skirt=1.1, suit=None),
            "beanie": replace(plain, hat="beanie"),
            "cap": replace(plain, hat="cap"),
            "brimmed": replace(plain, hat="brimmed"),
            "long hair": replace(plain, hair_style="long", hat=None),
        }
        for name, outfit in variants.items():
            motion = _walking(model, person, outfit, wardrobe)
            cells.append(_labelled(still(motion, 10, 40.0 + 35.0 * (number % 3), 150, 290), name))
    return _grid(cells, 12)


def life_sheet(model: BodyModel, wardrobe: Wardrobe | None, seed: int) -> Image:
    """Three people (rows) as everyday life changes them (columns)."""
    cells = []
    coat = Material((0.28, 0.24, 0.20), fold=0.5)
    for number in range(3):
        person = Person.sample(seed + number)
        plain = replace(person.outfit(0, wardrobe), suit=None, bag_material=Material((0.20, 0.24, 0.52), fold=0.15))
        variants: dict[str, Outfit] = {
            "shoulder bag": replace(plain, bag="shoulder bag"),
            "briefcase": replace(plain, bag="briefcase"),
            "carrier": replace(plain, bag="carrier"),
            "carriers": replace(plain, bag="carriers"),
            "phone": replace(plain, hands="phone"),
            "calling": replace(plain, hands="calling"),
            "pockets": replace(plain, hands="pockets"),
            "wide trousers": replace(plain, leg=1.96, leg_loose=0.05, skirt=None),
            "open jacket": replace(plain, coat=coat, coat_length=0.34, coat_open=True),
            "open coat": replace(plain, coat=coat, coat_length=0.85, coat_open=True),
        }
        gait = person.session(0).gait
        walks = [(name, outfit, gait) for name, outfit in variants.items()]
        walks += [("stooped", plain, gait.stooped(0.8)), ("limping", plain, gait.limping("r", 0.8))]
        for name, outfit, moved in walks:
            motion = _walking(model, person, outfit, wardrobe, moved)
            cells.append(_labelled(still(motion, 10, 30.0 + 30.0 * number, 150, 290), name))
    return _grid(cells, 12)


def still(motion: Motion, frame: int, view: float, width: int, height: int) -> Image:
    """One picture of a walker who walks along +x, from `view` degrees (0 front, 90 left, 180 behind)."""
    middle = motion.joints[frame, 0]
    angle = np.radians(view)
    place = (float(middle[0] + 7 * np.cos(angle)), float(middle[1] + 7 * np.sin(angle)), 1.35)
    field = float(np.degrees(2 * np.arctan(1.12 / 7 * width / height)))
    camera = Camera.look_at(place, (float(middle[0]), float(middle[1]), 0.93), width, height, field)
    vertices, normals = motion.skinned(frame)
    tile = draw(motion.dressed.figure, vertices, normals, camera, Light(), fine=3)
    picture = np.full((height, width, 3), 0.80, np.float32)
    if tile is not None:
        tile.lay_over(picture)
    return np.asarray(np.clip(picture, 0, 1) * 255, np.uint8)


def _walking(
    model: BodyModel, person: Person, outfit: Outfit, wardrobe: Wardrobe | None, gait: GaitTraits | None = None
) -> Motion:
    session = person.session(0)
    dressed = Dressed.make(model, session, outfit, wardrobe)
    return dressed.walk(gait or session.gait, Route.line((0.0, 0.0), 0.0, 20.0), None, _FPS, 1.8, session.seed)


def _labelled(cell: Image, text: str) -> Image:
    cv2.putText(cell, text, (3, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.36, (40, 40, 40), 1, cv2.LINE_AA)
    return cell


def _grid(cells: list[Image], columns: int) -> Image:
    rows = [np.hstack(cells[start : start + columns]) for start in range(0, len(cells), columns)]
    return np.asarray(np.vstack(rows), np.uint8)
