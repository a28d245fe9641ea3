"""Silhouettes as a segmenter cuts them: the walks of a data set of virtual walkers, drawn in colour and cut out again.

A gait network that was trained on perfect outlines alone meets worse ones in practice. `app.lab.training.silhouettes`
imitates the errors of segmenters. Here a segmenter makes them itself, and an error lasts as long as its cause: a pole,
or a white shirt in front of a white wall. People, clothes and walks are those of the data set, so a network can learn
from both together.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from app.errors import reason_of
from app.files import written_whole
from app.lab.data.conversion import claim
from app.lab.data.opengait import WALK_FILES, DataSetError, write_array
from app.lab.synthesis.cutouts import Cutout, Cutouts, light
from app.lab.synthesis.photos import read_grounds
from app.lab.synthesis.pictures import degrade
from app.lab.walkers.camera import Camera
from app.lab.walkers.dataset import BEFORE, Plan, PlannedWalk, walks_of
from app.lab.walkers.jobs import body_model, make_missing
from app.lab.walkers.renderer import Light, draw
from app.progress import Progress
from app.settings import SegmenterSettings
from app.stages import Parser, PoseEstimator, Segmenter
from app.types import Bytes, Floats, Frame, Image, Ints
from app.walks.silhouette import cut, normalise, normalise_parts, parts_of
from app.weights.checkpoints import CheckpointFile
from app.weights.registry import segmenters

FRAMES = 16
"""Pictures of a walk."""
_FEWEST = 8
"""Silhouettes that a walk must have to be kept."""
_ROWS = (50.0, 260.0)
"""How tall people are in the pictures, px."""
_BYSTANDERS = 0.4
"""Share of walks with bystanders."""
_SEED = 0xF11


@dataclass(frozen=True)
class Studio:
    """What walks are filmed with.

    `data` is the folder of the data set of virtual walkers, `photos` that of the pictures (see
    `app.lab.synthesis.photos`), `cutouts` that of the bystanders, `segmenters` the segmenters' files, `cache` the
    folder of the body model and `wardrobe` that of MakeHuman clothes. `walks` of every person are filmed, by one camera
    each, and cut out by one of the segmenters each. A gait network that has seen the errors of several is less bound to
    one.
    """

    data: Path
    photos: Path
    cutouts: Path
    segmenters: tuple[Path, ...]
    cache: Path
    wardrobe: Path | None
    walks: int


def write_filmed(
    folder: Path,
    studio: Studio,
    *,
    people: int | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> None:
    """Film the first `people` (None: all) of a data set into `folder`, in OpenGait's layout.

    A person's folder appears when all of their walks are done; people who are there already are kept.

    Raises:
        DataSetError: the data set was not made by ``python -m app walkers dataset``.
        OutputError: `folder` holds walks that were filmed with other settings, or cannot be written.
    """
    plan = _plan(studio.data)
    networks = [CheckpointFile.given(segmenter).sha256() for segmenter in studio.segmenters]
    claim(folder / "filmed.json", {"data": asdict(plan), "walks": studio.walks, "segmenters": networks})
    chosen = range(plan.subjects if people is None else min(people, plan.subjects))
    jobs = {folder / "data" / plan.identity(index): (folder, studio, index) for index in chosen}
    make_missing(write_person, jobs, studio.cache, workers, progress)


def write_person(folder: Path, studio: Studio, index: int) -> None:
    """Film person `index` of the data set, or write nothing."""
    plan = _plan(studio.data)
    with written_whole(folder / "data" / plan.identity(index), rf"[^/]+(/[^/]+(/{WALK_FILES})?)?") as temporary:
        temporary.mkdir(parents=True)
        for walk, view, silhouettes in filmed(studio, index):
            place = temporary / f"{walk.condition}-{walk.number:02d}" / f"{view:03d}"
            place.mkdir(parents=True)
            write_array(silhouettes, place / "0_silhouette.pkl")


def filmed(studio: Studio, index: int) -> Iterator[tuple[PlannedWalk, int, Bytes]]:
    """Yield the walks of person `index` that are filmed, the view, and the silhouettes, uint8 (T, 64, 64).

    Walks of which less than half can be cut out are left out.
    """
    plan = _plan(studio.data)
    rng = np.random.default_rng([plan.seed, plan.first + index, _SEED])
    count = sum(number for _, number in plan.conditions)
    chosen = set(rng.choice(count, min(studio.walks, count), replace=False).tolist())
    for walk in walks_of(plan, index, body_model(studio.cache), studio.wardrobe, chosen):
        view = int(rng.choice(list(walk.cameras)))
        camera, bystanders = walk.cameras[view], _cutouts(studio.cutouts)
        segmenter = _segmenter(studio.segmenters[int(rng.integers(len(studio.segmenters)))])
        seen = filmed_walk(walk, camera, Shot.drawn(rng), segmenter, studio.photos, bystanders, FRAMES, rng)
        if len(seen.silhouettes) >= _FEWEST:
            yield walk, view, seen.silhouettes


@dataclass(frozen=True)
class Shot:
    """What a place, its light and its camera do to every walk that is filmed there.

    People are about `rows` px tall. `ground` is the seed of the place, `look` that of what camera and compression do to
    the pictures, and `strength` says how strongly they do it (`app.lab.synthesis.pictures.degrade`). `gain` is how
    bright people are before their surroundings.
    """

    rows: float
    ground: int
    lamp: Light
    look: int
    strength: float
    gain: float

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> Shot:
        """Draw a place and a camera."""
        return cls(
            float(np.exp(rng.uniform(*np.log(_ROWS)))),
            int(rng.integers(2**31)),
            light(rng),
            int(rng.integers(2**31)),
            float(rng.uniform(0.3, 1.0)),
            float(np.exp(rng.normal(0, 0.15))),
        )


@dataclass(frozen=True, eq=False)
class SeenWalk:
    """What a camera saw of a walk: `frames` (T,), the `boxes` in them (T, 4) px, and the `silhouettes` (T, 64, 64).

    `keypoints` are (T, 17, 3), px and a score, and `parts` (T, 64, 64) labels of body parts; None if nobody looked for
    them.
    """

    frames: Ints
    boxes: Floats
    silhouettes: Bytes
    keypoints: Floats | None = None
    parts: Bytes | None = None


def filmed_walk(
    walk: PlannedWalk,
    camera: Camera,
    shot: Shot,
    segmenter: Segmenter,
    photos: Path,
    bystanders: Cutouts | None,
    frames: int,
    rng: np.random.Generator,
    pose: PoseEstimator | None = None,
    parser: Parser | None = None,
) -> SeenWalk:
    """Film at most `frames` frames of a walk and cut them out. Frames in which nobody is found are left out.

    The camera's lens is changed so that people are as tall as `shot` says, which also has the place, the light, and
    what the camera does to pictures. `photos` is a folder of pictures of places. `bystanders` stand behind some of the
    walks. `pose` finds the keypoints and `parser` the body parts, where they are wanted.
    """
    indices, boxes, silhouettes, keypoints, parts = [], [], [], [], []
    for frame, box, others, origin in _pictures(walk, camera, shot, photos, bystanders, frames, rng):
        ((matte,),) = segmenter.segment([frame], [box[None]])
        mask = cut(matte, box, others, segmenter.threshold)
        silhouette = None if mask is None else normalise(mask)
        if mask is not None and silhouette is not None:
            indices.append(frame.index)
            boxes.append(box + origin)
            silhouettes.append(silhouette)
            if pose is not None:
                (found,) = pose.estimate([frame], [box[None]])
                keypoints.append(found[0] + np.array([*origin[:2], 0], np.float32))
            if parser is not None:
                ((labels,),) = parser.parse([frame], [box[None]])
                rows, columns = mask.shape
                parts.append(normalise_parts(parts_of(labels, matte, box, (rows, columns)), mask))
    return SeenWalk(
        np.array(indices, np.int64),
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(silhouettes, np.uint8).reshape(-1, 64, 64),
        None if pose is None else np.array(keypoints, np.float32).reshape(-1, 17, 3),
        None if parser is None else np.array(parts, np.uint8).reshape(-1, 64, 64),
    )


def _pictures(
    walk: PlannedWalk,
    camera: Camera,
    shot: Shot,
    photos: Path,
    bystanders: Cutouts | None,
    length: int,
    rng: np.random.Generator,
) -> Iterator[tuple[Frame, Floats, Floats, Floats]]:
    """Film `walk`.

    Yields the picture around the walker, the walker's box in it (4,) as a detector would give it, the boxes of
    bystanders (n, 4), and where in the camera's picture it begins: x, y, x, y px.
    """
    motion = walk.motion
    first = int(rng.integers(0, max(1, len(motion) - length + 1)))
    frames = range(first, min(first + length, len(motion)))
    camera = _fitted(camera, motion.joints[frames.start : frames.stop], shot.rows)
    ground = _ground(camera, photos, np.random.default_rng(shot.ground))
    tall = float(np.ptp(camera.project(motion.joints[frames[len(frames) // 2]])[:, 1]))
    others = np.zeros((0, 4), np.float32)
    if bystanders is not None and rng.random() < _BYSTANDERS:
        ground, others = _bystanders(ground, tall, bystanders, rng)
    loose, drift = rng.normal(0.01, 0.03, 4), np.zeros(4)
    for index in frames:
        tile = draw(motion.dressed.figure, *motion.skinned(index), camera, shot.lamp)
        drift = 0.8 * drift + rng.normal(0, 0.012, 4)
        if tile is None:
            continue
        box = np.array(tile.extent(0.3), np.float32)
        if box[2] - box[0] < 2 or box[3] - box[1] < 2:
            continue
        box += np.array([tile.left, tile.top] * 2, np.float32)
        height = float(box[3] - box[1])
        box += ((loose + drift) * height * (-0.6, -1, 0.6, 1)).astype(np.float32)
        box = np.clip(box, 0, [camera.width, camera.height] * 2).astype(np.float32)
        picture = ground.copy()
        walker = np.clip(tile.colour * shot.gain, 0, 1) * 255
        lit = picture[tile.region] * (1 - tile.coverage[..., None]) + walker
        picture[tile.region] = np.clip(np.round(lit), 0, 255)
        # The segmenter sees only what is near the walker, so only that is degraded.
        reach = 0.3 * height
        left, top = max(0, int(box[0] - reach)), max(0, int(box[1] - reach))
        window = np.ascontiguousarray(picture[top : int(box[3] + reach), left : int(box[2] + reach)])
        origin = np.array([left, top] * 2, np.float32)
        # The same draws in every picture: a camera does not change within a walk.
        degraded = degrade(window, np.random.default_rng(shot.look), shot.strength)
        yield Frame(index, index / walk.fps, degraded), box - origin, others - origin, origin


def _fitted(camera: Camera, joints: Floats, rows: float) -> Camera:
    """`camera` with another lens, so that people are `rows` px tall, and a picture just large enough for the walk."""
    tall = float(np.median(np.ptp(camera.project(joints)[..., 1], axis=1)))
    focal = camera.focal * rows / max(tall, 1.0)
    local = (joints - np.array(camera.position, np.float32)) @ camera.rotation.T
    reach = np.abs(focal * local[..., :2] / np.maximum(local[..., 2:], 0.3)).reshape(-1, 2).max(0) + 0.6 * rows
    width, height = np.minimum(2 * np.ceil(reach), 1600).astype(int).tolist()
    return replace(camera, focal=focal, width=width, height=height)


def _ground(camera: Camera, photos: Path, rng: np.random.Generator) -> Image:
    """Some part of a picture without people, as large as the camera's."""
    pictures = _backgrounds(photos)
    image = pictures[int(rng.integers(len(pictures)))]
    rows, columns = image.shape[:2]
    share = float(rng.uniform(0.4, 1.0)) * min(rows / camera.height, columns / camera.width)
    down, across = max(2, int(camera.height * share)), max(2, int(camera.width * share))
    top, left = int(rng.integers(0, rows - down + 1)), int(rng.integers(0, columns - across + 1))
    part = image[top : top + down, left : left + across]
    if rng.random() < 0.5:
        part = part[:, ::-1]
    return np.asarray(cv2.resize(part, (camera.width, camera.height), interpolation=cv2.INTER_LINEAR), np.uint8)


def _bystanders(ground: Image, tall: float, people: Cutouts, rng: np.random.Generator) -> tuple[Image, Floats]:
    """Put one or two people behind the walk: the picture and their boxes."""
    boxes = []
    for _ in range(int(rng.integers(1, 3))):
        one: Cutout = people[int(rng.integers(len(people)))]
        height = max(16, round(tall * float(rng.uniform(0.7, 1.05))))
        width = max(4, round(one.pixels.shape[1] * height / one.pixels.shape[0]))
        rows, columns = ground.shape[:2]
        if height >= rows or width >= columns:
            continue
        pixels = np.asarray(cv2.resize(one.pixels, (width, height), interpolation=cv2.INTER_AREA), np.float32)
        top = int(np.clip(rows / 2 - height / 2 - rng.uniform(0, 0.15) * tall, 0, rows - height))
        left = int(rng.integers(0, columns - width))
        alpha = pixels[..., 3:] / 255
        part = ground[top : top + height, left : left + width]
        part[:] = np.round(part * (1 - alpha) + pixels[..., :3] * alpha)
        boxes.append((left, top, left + width, top + height))
    return ground, np.array(boxes, np.float32).reshape(-1, 4)


@lru_cache(maxsize=1)
def _plan(data: Path) -> Plan:
    try:
        manifest: dict[str, Any] = json.loads((data / "dataset.json").read_text(encoding="utf-8"))
        plan = {key: _tuples(value) for key, value in manifest.items() if key not in ("wardrobe", "note")}
        return Plan(**{**BEFORE, **plan})
    except (OSError, ValueError, TypeError) as error:
        raise DataSetError(
            f"{data} is no data set of virtual walkers ({reason_of(error)}). Make one with 'python -m app walkers "
            "dataset'."
        ) from error


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


@lru_cache(maxsize=8)
def _segmenter(path: Path) -> Segmenter:
    return segmenters.build(SegmenterSettings(checkpoint=path, threads=1), ())


_backgrounds = lru_cache(maxsize=1)(read_grounds)
_cutouts = lru_cache(maxsize=1)(Cutouts)
