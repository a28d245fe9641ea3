"""Virtual walkers cut out of their pictures: a bank to compose training pictures from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.errors import SettingsError, reason_of
from app.files import written_whole
from app.lab.data.conversion import claim
from app.lab.walkers.camera import Camera
from app.lab.walkers.choices import CONDITIONS, MOTION
from app.lab.walkers.jobs import body_model, make_missing, wardrobe_in
from app.lab.walkers.path import Path as Route
from app.lab.walkers.person import Dressed, Motion, Person
from app.lab.walkers.renderer import SKIN_DEPTH, Light, body_parts, draw
from app.progress import Progress
from app.types import Bytes, Floats

LIFE = 0.4
"""Share of walks in everyday life, see `app.lab.walkers.person.Person.session`."""
RAISED = 0.3
"""Share of pictures from a raised camera, as they hang in streets and halls."""
PICTURES = 12
"""Cut-outs of one person."""
_TALL = (120, 320)
"""How tall people are in the cut-outs, px."""
_LAYERS = 5
"""Bytes of each px in the file: blue, green, red, coverage and body part."""
_LABELS = 2
"""Version of the labels of body parts. In the first, those of suits did not end where the garments end."""
_SEED = 0xC07
_FIRST = 900_001
"""Number of the first person: nobody of a benchmark is among these people."""


@dataclass(frozen=True, eq=False)
class Cutout:
    """One walker.

    `pixels` uint8 (h, w, 4) BGRA: alpha is the coverage, and the colour is not multiplied by it; `parts` uint8 (h, w)
    are labels of `app.types.BODY_PARTS`, 0 for the background and what is carried; `keypoints` float32 (17, 3): x, y px
    in it and 2 seen, 1 hidden by the walker's own body; `identity` the person's number.
    """

    pixels: Bytes
    parts: Bytes
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
                f"{folder} holds no cut-outs ({reason_of(error)}). Make them: python -m app train cutouts "
                f"--out {folder}"
            ) from error

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: int) -> Cutout:
        start, (height, width) = int(self._starts[index]), self._shapes[index].tolist()
        layers = np.asarray(self._pixels[start : start + height * width * _LAYERS]).reshape(height, width, _LAYERS)
        return Cutout(layers[..., :4], layers[..., 4], self._keypoints[index], int(self._identities[index]))


def write_cutouts(
    folder: Path,
    people: int,
    *,
    cache: Path,
    wardrobe: Path | None = None,
    workers: int = 1,
    first: int = _FIRST,
    progress: Progress | None = None,
) -> None:
    """Render `people` walkers, `PICTURES` of each. A run that was stopped goes on where it was.

    Raises:
        MissingExtraError: the extra `walkers` is not installed.
        OutputError: `folder` cannot be written, or holds another bank.
    """
    about = {
        "first": first, "pictures": PICTURES, "wardrobe": wardrobe is not None, "motion": MOTION, "life": LIFE,
        "raised": RAISED, "layers": _LAYERS, "labels": _LABELS,
    }  # fmt: skip
    claim(folder / "about.json", about, {"motion": 1, "life": 0.0, "raised": 0.0, "layers": 4, "labels": 1})
    numbers = range(first, first + people)
    parts = [folder / "people" / f"{number}.npz" for number in numbers]
    jobs = {part: (part, number, cache, wardrobe) for part, number in zip(parts, numbers, strict=True)}
    make_missing(_write_person, jobs, cache, workers, progress)
    shapes, keypoints = [], []
    with written_whole(folder / "pixels.bin") as temporary, temporary.open("wb") as pixels:
        for path in parts:
            with np.load(path, allow_pickle=False) as part:
                shapes.append(part["shapes"])
                keypoints.append(part["keypoints"])
                pixels.write(part["pixels"].tobytes())
    sizes = _LAYERS * np.concatenate(shapes).prod(axis=1)
    with written_whole(folder / "index.npz") as temporary:
        np.savez(
            temporary,
            starts=np.cumsum(sizes) - sizes,
            shapes=np.concatenate(shapes),
            keypoints=np.concatenate(keypoints),
            identities=np.repeat(numbers, [len(of_person) for of_person in shapes]),
        )


def _write_person(path: Path, number: int, cache: Path, wardrobe: Path | None) -> None:
    cutouts = list(cutouts_of(number, cache, wardrobe))
    with written_whole(path) as temporary:
        np.savez(
            temporary,
            pixels=np.concatenate([np.dstack([cutout.pixels, cutout.parts]).ravel() for cutout in cutouts]),
            shapes=np.array([cutout.pixels.shape[:2] for cutout in cutouts]),
            keypoints=np.stack([cutout.keypoints for cutout in cutouts]),
        )


def cutouts_of(number: int, cache: Path, wardrobe: Path | None = None) -> Iterator[Cutout]:
    """Draw person `number` `PICTURES` times: from all around, near and far, walking and standing, in any light."""
    model, clothes = body_model(cache), wardrobe_in(wardrobe)
    rng = np.random.default_rng([number, _SEED])
    person = Person.sample(number)
    made = 0
    while True:
        condition = CONDITIONS[rng.choice(3, p=(0.5, 0.3, 0.2))]
        session = person.session(int(rng.integers(1_000_000)), condition, int(rng.integers(3)), life=LIFE)
        dressed = Dressed.make(model, session, session.outfit(clothes), clothes)
        speed = 0.0 if rng.random() < 0.15 else None
        motion = dressed.walk(
            session.gait, Route.line((0.0, 0.0), 0.0, 20.0), speed, 12.0, 2.0, session.seed, float(rng.random())
        )
        for frame in rng.choice(len(motion), 4, replace=False).tolist():
            cutout = _cutout(motion, frame, number, rng)
            if cutout is not None:
                yield cutout
                made += 1
                if made == PICTURES:
                    return


def _cutout(motion: Motion, frame: int, number: int, rng: np.random.Generator) -> Cutout | None:
    """Draw one frame of a walk from somewhere; None where the walker does not fit into the picture."""
    vertices, normals = motion.skinned(frame)
    angle, distance = rng.uniform(0, 2 * np.pi), float(np.exp(rng.uniform(np.log(2.5), np.log(25))))
    height = 0.3 + 5.0 * rng.random() ** 2
    if rng.random() < RAISED:
        distance, height = float(rng.uniform(8, 26)), float(rng.uniform(3, 8))
    x, y = motion.joints[frame, 0, :2]
    position = (float(x + distance * np.cos(angle)), float(y + distance * np.sin(angle)), float(height))
    camera = Camera.look_at(position, (float(x), float(y), 0.9), 900, 900)
    rows = float(rng.uniform(*_TALL))
    tall = np.ptp(camera.project(vertices)[:, 1])
    camera = replace(camera, focal=camera.focal * rows / float(tall), roll=float(rng.normal(0, 0.03)))
    tile = draw(motion.dressed.figure, vertices, normals, camera, light(rng))
    if tile is None or tile.left == 0 or tile.top == 0:
        return None
    screen = camera.project(vertices) - np.array([tile.left, tile.top, 0], np.float32)
    rows_of, columns_of = tile.coverage.shape
    parts = body_parts(motion.dressed.figure, screen, columns_of, rows_of)
    points = camera.project(motion.keypoints[frame])
    column = np.clip(points[:, 0].astype(int) - tile.left, 0, tile.coverage.shape[1] - 1)
    row = np.clip(points[:, 1].astype(int) - tile.top, 0, tile.coverage.shape[0] - 1)
    is_seen = tile.depth[row, column] > points[:, 2] - SKIN_DEPTH
    left, top, right, bottom = tile.extent(0.02)
    cover, colour = tile.coverage[top:bottom, left:right, None], tile.colour[top:bottom, left:right]
    pixels = np.concatenate([np.clip(colour / np.maximum(cover, 1e-3), 0, 1), cover], axis=2)
    place = points[:, :2] - (tile.left + left, tile.top + top)
    keypoints = np.concatenate([place, np.where(is_seen, 2, 1)[:, None]], axis=1)
    return Cutout(
        np.round(pixels * 255).astype(np.uint8), parts[top:bottom, left:right], keypoints.astype(np.float32), number
    )


def light(rng: np.random.Generator) -> Light:
    """Draw a lamp from somewhere above, and how strong it is."""
    towards = np.array([rng.normal(), rng.normal(), rng.uniform(0.3, 1.5)])
    x, y, z = (towards / np.linalg.norm(towards)).tolist()
    direct = float(rng.uniform(0.1, 0.75))
    return Light((x, y, z), direct=direct, ambient=float(rng.uniform(0.3, 0.95) - 0.4 * direct))
