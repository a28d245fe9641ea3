"""Virtual walkers cut out of their pictures: a bank to compose training pictures from."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from app.errors import OutputError, SettingsError
from app.files import written_whole
from app.types import Bytes, Floats
from app.workers import side_by_side

if TYPE_CHECKING:
    from app.lab.walkers.body import BodyModel
    from app.lab.walkers.renderer import Light
    from app.lab.walkers.wardrobe import Wardrobe

PICTURES = 12
"""Cut-outs of one person."""
_HEIGHTS = (120, 320)
_SEED = 0xC07
"""Persons of the bank have numbers of their own: nobody of a benchmark is among them."""
_FIRST = 900_001


@dataclass(frozen=True, eq=False)
class Cutout:
    """One walker. `pixels` uint8 (h, w, 4) BGRA, alpha is the coverage and the colour is not multiplied by it;
    `keypoints` float32 (17, 3): x, y px in it and 2 seen, 1 hidden by the walker's own body."""

    pixels: Bytes
    keypoints: Floats
    identity: int


class Cutouts:
    """The cut-outs in a folder, in a memory map: cheap to open in every process.

    Raises:
        SettingsError: the folder holds no complete bank.
    """

    def __init__(self, folder: Path) -> None:
        try:
            with np.load(folder / "index.npz", allow_pickle=False) as index:
                self._starts: NDArray[np.int64] = index["starts"]
                self._shapes: NDArray[np.int64] = index["shapes"]
                self._keypoints: Floats = index["keypoints"]
                self._identities: NDArray[np.int64] = index["identities"]
            self._pixels = np.memmap(folder / "pixels.bin", np.uint8, "r")
        except (OSError, KeyError, ValueError) as error:
            raise SettingsError(
                f"{folder} holds no cut-outs ({error}). Make them: python -m app train cutouts --out {folder}"
            ) from error

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: int) -> Cutout:
        start, (height, width) = int(self._starts[index]), self._shapes[index].tolist()
        pixels = np.asarray(self._pixels[start : start + height * width * 4]).reshape(height, width, 4)
        return Cutout(pixels, self._keypoints[index], int(self._identities[index]))


def write_cutouts(
    folder: Path,
    people: int,
    *,
    cache: Path,
    wardrobe: Path | None = None,
    workers: int = 1,
    first: int = _FIRST,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Render `people` walkers, `PICTURES` of each. A run that was stopped goes on where it was.

    Raises:
        MissingExtraError: the extra `walkers` is not installed.
        OutputError: `folder` cannot be written, or holds another bank.
    """
    from app.lab.walkers.body import BodyModel

    about = {"first": first, "pictures": PICTURES, "wardrobe": wardrobe is not None}
    manifest = folder / "about.json"
    if manifest.is_file() and json.loads(manifest.read_text(encoding="utf-8")) != about:
        raise OutputError(f"{folder} holds other cut-outs. Give another --out folder.")
    with written_whole(manifest) as temporary:
        temporary.write_text(json.dumps(about), encoding="utf-8")
    BodyModel.load(cache)
    numbers = range(first, first + people)
    todo = [number for number in numbers if not _part(folder, number).is_file()]
    made = side_by_side(_write_person, [(folder, number, cache, wardrobe) for number in todo], workers)
    for done, _ in enumerate(made, people - len(todo) + 1):
        if progress is not None:
            progress(done, people)
    starts, shapes, keypoints, identities, end = [], [], [], [], 0
    with written_whole(folder / "pixels.bin") as temporary, temporary.open("wb") as pixels:
        for number in numbers:
            with np.load(_part(folder, number), allow_pickle=False) as part:
                for shape, points in zip(part["shapes"], part["keypoints"], strict=True):
                    starts.append(end)
                    shapes.append(shape)
                    keypoints.append(points)
                    identities.append(number)
                    end += int(shape.prod()) * 4
                pixels.write(part["pixels"].tobytes())
    with written_whole(folder / "index.npz") as temporary:
        np.savez(
            temporary,
            starts=np.array(starts),
            shapes=np.stack(shapes),
            keypoints=np.stack(keypoints),
            identities=np.array(identities),
        )


def _part(folder: Path, number: int) -> Path:
    return folder / "people" / f"{number}.npz"


def _write_person(folder: Path, number: int, cache: Path, wardrobe: Path | None) -> None:
    found = list(cutouts_of(number, cache, wardrobe))
    with written_whole(_part(folder, number)) as temporary:
        np.savez(
            temporary,
            pixels=np.concatenate([one.pixels.ravel() for one in found]),
            shapes=np.array([one.pixels.shape[:2] for one in found]),
            keypoints=np.stack([one.keypoints for one in found]),
        )


def cutouts_of(number: int, cache: Path, wardrobe: Path | None = None) -> Iterator[Cutout]:
    """Draw person `number` `PICTURES` times: from all around, near and far, walking and standing, in any light."""
    from app.lab.walkers.camera import Camera
    from app.lab.walkers.choices import CONDITIONS
    from app.lab.walkers.path import Path as Route
    from app.lab.walkers.person import Dressed, Person
    from app.lab.walkers.renderer import draw, skin

    model, clothes = _model(cache), _clothes(wardrobe)
    rng = np.random.default_rng([number, _SEED])
    person = Person.sample(number)
    made = 0
    while made < PICTURES:
        condition = CONDITIONS[rng.choice(3, p=(0.5, 0.3, 0.2))]
        session = person.session(int(rng.integers(1_000_000)), condition, int(rng.integers(3)))
        dressed = Dressed.make(model, session, session.outfit(clothes), clothes)
        speed = 0.0 if rng.random() < 0.15 else None
        motion = dressed.walk(
            session.gait, Route.line((0.0, 0.0), 0.0, 20.0), speed, 12.0, 2.0, session.seed, float(rng.random())
        )
        for frame in rng.choice(len(motion), 4, replace=False).tolist():
            vertices, normals = skin(dressed.figure, motion.transforms[frame])
            angle, distance = rng.uniform(0, 2 * np.pi), float(np.exp(rng.uniform(np.log(2.5), np.log(25))))
            height = 0.3 + 5.0 * rng.random() ** 2
            x, y = motion.joints[frame, 0, :2]
            position = (float(x + distance * np.cos(angle)), float(y + distance * np.sin(angle)), float(height))
            camera = Camera.look_at(position, (float(x), float(y), 0.9), 900, 900)
            rows = float(rng.uniform(*_HEIGHTS))
            tall = np.ptp(camera.project(vertices)[:, 1])
            camera = replace(camera, focal=camera.focal * rows / float(tall), roll=float(rng.normal(0, 0.03)))
            tile = draw(dressed.figure, vertices, normals, camera, light(rng))
            if tile is None or tile.left == 0 or tile.top == 0:
                continue
            points = camera.project(motion.keypoints[frame])
            column = np.clip(points[:, 0].astype(int) - tile.left, 0, tile.coverage.shape[1] - 1)
            row = np.clip(points[:, 1].astype(int) - tile.top, 0, tile.coverage.shape[0] - 1)
            seen = tile.depth[row, column] > points[:, 2] - _INSIDE
            rows_of = np.flatnonzero(tile.coverage.max(1) > 0.02)
            columns_of = np.flatnonzero(tile.coverage.max(0) > 0.02)
            top, left = int(rows_of[0]), int(columns_of[0])
            inner = np.s_[top : rows_of[-1] + 1, left : columns_of[-1] + 1]
            cover = tile.coverage[inner]
            colour = tile.colour[inner] / np.maximum(cover, 1e-3)[..., None]
            pixels = np.concatenate([np.clip(colour, 0, 1), cover[..., None]], axis=2)
            place = points[:, :2] - (tile.left + left, tile.top + top)
            keypoints = np.concatenate([place, np.where(seen, 2, 1)[:, None]], axis=1)
            yield Cutout(np.round(pixels * 255).astype(np.uint8), keypoints.astype(np.float32), number)
            made += 1
            if made == PICTURES:
                return


_INSIDE = 0.13
"""A joint lies in the body: this much surface, m, in front of it does not hide it."""


def light(rng: np.random.Generator) -> Light:
    """Draw a lamp from somewhere above, and how strong it is."""
    from app.lab.walkers.renderer import Light

    towards = np.array([rng.normal(), rng.normal(), rng.uniform(0.3, 1.5)])
    towards /= np.linalg.norm(towards)
    direct = float(rng.uniform(0.1, 0.75))
    x, y, z = towards.tolist()
    return Light((x, y, z), direct=direct, ambient=float(rng.uniform(0.3, 0.95) - 0.4 * direct))


@lru_cache(maxsize=1)
def _model(cache: Path) -> BodyModel:
    from app.lab.walkers.body import BodyModel

    return BodyModel.load(cache)


@lru_cache(maxsize=1)
def _clothes(folder: Path | None) -> Wardrobe | None:
    from app.lab.walkers.wardrobe import Wardrobe

    return None if folder is None else Wardrobe(folder)
