"""Training pictures for the detector, composed on the fly from photographs, frames of clips and cut-out people.

There are four kinds: a piece of a labelled photograph; a piece of a clip's frame with a teacher's boxes; either with
further people pasted in; and a picture without people filled with pasted ones (Dwibedi et al. 2017, arXiv 1708.01642),
who pass in front of each other as pedestrians do. The box of a pasted person reaches round the whole body, also where
another person hides a part, as in the ground truth of tracking.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from app.errors import SettingsError
from app.lab.synthesis.cutouts import Cutouts
from app.lab.synthesis.photos import Photo
from app.lab.synthesis.pictures import degrade
from app.track.bytetrack import iou
from app.types import Bytes, Detections, Floats, Image

T = TypeVar("T")
Owners: TypeAlias = NDArray[np.int16]
"""For every pixel the number of the pasted person who is seen there; -1 for a thing, 0 for the picture itself."""

PAD = 114
"""Grey level beyond the picture."""
_SMALLEST = 9.0
"""People less high than this, in px of the training picture, are too small to be learnt and are ignored."""
_VISIBLE = 0.25
"""Share of a pasted person that must be visible. Less than half of it is no person, what lies between is ignored."""
_GROUPS = 0.5
"""Share of the composed pictures in which people walk in groups and pass close to each other."""


@dataclass(frozen=True, eq=False)
class Scene:
    """`image` uint8 BGR (H, W, 3); `boxes` (N, 4) of its people and `ignore` (K, 4) of what may be people, px."""

    image: Image
    boxes: Floats
    ignore: Floats


@dataclass
class Sources:
    """What scenes are made of.

    `labelled` are photographs and `frames` pictures of clips with a teacher's boxes, of any size; `backgrounds` are
    pictures without people; `real` are people cut out of photographs, uint8 BGRA (h, w, 4), and `walkers` a bank of
    virtual ones. `shares` are those of photographs and of frames among the scenes; the others are composed.

    Raises:
        SettingsError: there is nobody to paste.
    """

    labelled: Sequence[Scene]
    frames: Sequence[Scene]
    backgrounds: Sequence[Image]
    real: Sequence[Bytes]
    walkers: Cutouts | None = None
    shares: tuple[float, float] = (0.65, 0.1)

    def __post_init__(self) -> None:
        if not self.real and self.walkers is None:
            raise SettingsError(
                "There is nobody to compose scenes of. Give a bank of walkers (cutouts=FOLDER, made by 'python -m app "
                "train cutouts'), or photographs with polygons of people who are seen from head to foot."
            )


def labelled_scene(photo: Photo, teacher: Callable[[Image], Detections] | None) -> Scene:
    """Return a photograph with its people. Groups are ignored.

    Photographs may show people without labels: those of far crowds, and everybody else where the labels are not
    complete. So whatever the `teacher` detects beside the labels is ignored. Without a teacher, the whole picture is
    ignored where the labels are not complete.
    """
    image = photo.read()
    boxes = stacked([person.box for person in photo.people if not person.crowd])
    ignore = [person.box for person in photo.people if person.crowd]
    if teacher is not None:
        found = teacher(image).boxes
        ignore.extend(found[iou(found, boxes).max(axis=1, initial=0) < 0.5])
    elif not photo.complete:
        ignore.append(np.array([0, 0, photo.width, photo.height], np.float32))
    return Scene(image, boxes, stacked(ignore))


def taught_scene(image: Image, detections: Detections) -> Scene:
    """Return a picture with a teacher's boxes: people from the score 0.5 on; below it they are ignored."""
    people = detections.scores >= 0.5
    return Scene(image, detections.boxes[people], detections.boxes[~people])


def people_of(photo: Photo, tallest: int = 320) -> list[Bytes]:
    """Cut the people with polygons and feet out of a photograph, uint8 BGRA (h, w, 4), at most `tallest` px high."""
    image = photo.read()
    people = []
    for person in photo.people:
        shows_feet = person.full or (person.keypoints is not None and bool((person.keypoints[15:, 2] > 0).any()))
        mask = person.mask(photo.height, photo.width)
        if mask is None or person.crowd or not shows_feet:  # half a person would teach boxes round halves
            continue
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if len(rows) < 60 or len(rows) < 1.2 * len(columns):  # too small, or hardly upright
            continue
        inner = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        alpha = cv2.GaussianBlur(mask[inner].astype(np.uint8) * 255, (3, 3), 0)
        pixels = np.dstack([image[inner], alpha])
        scale = min(1.0, tallest / len(rows))
        people.append(np.asarray(cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8))
    return people


def compose(sources: Sources, size: int, rng: np.random.Generator, strength: float = 1.0) -> Scene:
    """Return a training picture of `size` x `size` px.

    `strength` scales how often it is degraded (`app.lab.synthesis.pictures`) and how far its shape is changed.
    """
    kind = rng.random()
    photographs, frames = sources.shares
    if kind < photographs and sources.labelled:
        scene = _piece(_one(sources.labelled, rng), size, rng, strength)
        extra = 0 if rng.random() < 0.65 else int(rng.integers(1, 3))
    elif kind < photographs + frames and sources.frames:
        scene = _piece(_one(sources.frames, rng), size, rng, strength)
        extra = 0 if rng.random() < 0.5 else int(rng.integers(1, 4))
    else:
        scene = Scene(_ground(sources, size, rng), stacked([]), stacked([]))
        extra = 0 if rng.random() < 0.12 else 1 + min(int(rng.poisson(2.0)), 8)
    scene = _peopled(scene, sources, extra, rng)
    if rng.random() < 0.5:
        scene = _mirrored(scene)
    return Scene(degrade(scene.image, rng, strength), scene.boxes, scene.ignore)


@dataclass(frozen=True)
class _Window:
    """The part of a picture from `left`, `top` px that becomes a training picture of `size` x `size` px.

    It is scaled `across` times in x and `scale` times in y.
    """

    left: float
    top: float
    across: float
    scale: float
    size: int

    def cut(self, image: Image) -> Image:
        """Return the part of `image`; what lies beyond the picture is grey."""
        height, width = image.shape[:2]
        x1, y1 = max(0, int(self.left)), max(0, int(self.top))
        x2 = min(width, int(np.ceil(self.left + self.size / self.across)))
        y2 = min(height, int(np.ceil(self.top + self.size / self.scale)))
        canvas = np.full((self.size, self.size, 3), PAD, np.uint8)
        if x2 <= x1 or y2 <= y1:
            return canvas
        columns, rows = max(1, round((x2 - x1) * self.across)), max(1, round((y2 - y1) * self.scale))
        method = cv2.INTER_AREA if self.scale < 0.6 else cv2.INTER_LINEAR
        part = np.asarray(cv2.resize(image[y1:y2, x1:x2], (columns, rows), interpolation=method), np.uint8)
        x, y = round((x1 - self.left) * self.across), round((y1 - self.top) * self.scale)
        target, inner = _overlap(x, y, part, self.size)
        canvas[target] = inner
        return canvas

    def moved(self, boxes: Floats) -> tuple[Floats, Floats]:
        """Return `boxes` (N, 4) of the picture in px of the window, clipped to it, and the share that is inside."""
        moved = boxes - np.array([self.left, self.top] * 2, np.float32)
        moved *= np.array([self.across, self.scale] * 2, np.float32)
        clipped = np.clip(moved, 0, self.size).astype(np.float32)
        return clipped, np.asarray(_areas(clipped) / np.maximum(_areas(moved), 1e-6), np.float32)


def _overlap(x: int, y: int, part: Bytes, size: int) -> tuple[tuple[slice, slice], Bytes]:
    """Where in a square of `size` px a part at `x`, `y` lies, and what of it is inside."""
    inner = part[max(0, -y) : max(0, size - y), max(0, -x) : max(0, size - x)]
    x, y = max(0, x), max(0, y)
    return (slice(y, y + inner.shape[0]), slice(x, x + inner.shape[1])), inner


def _areas(boxes: Floats) -> Floats:
    areas: Floats = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return areas


def _piece(scene: Scene, size: int, rng: np.random.Generator, strength: float) -> Scene:
    """Cut a square out of `scene`, mostly round one of its people, scaled so that this one is small or large.

    The other squares lie anywhere. They show animals, statues and things, which are easily taken for people.
    """
    height, width = scene.image.shape[:2]
    if len(scene.boxes) and rng.random() < 0.7:
        x1, y1, x2, y2 = scene.boxes[int(rng.integers(len(scene.boxes)))].tolist()
        tall = max(y2 - y1, 1.4 * (x2 - x1), 1.0)
        scale = float(np.exp(rng.uniform(np.log(0.07 * size), np.log(0.9 * size)))) / tall
        scale = float(np.clip(scale, 0.95 * size / max(height, width), 2.5))
        reach = size / scale
        left = _start(x1, x2, reach, width, rng)
        top = _start(y1, y2, reach, height, rng)
    else:
        scale = size / float(rng.uniform(0.5, 1.0) * max(height, width))
        reach = size / scale
        left = float(rng.uniform(min(0, width - reach), max(0, width - reach)))
        top = float(rng.uniform(min(0, height - reach), max(0, height - reach)))
    window = _Window(left, top, scale * float(np.exp(rng.normal(0, 0.06 * strength))), scale, size)
    boxes, inside = window.moved(scene.boxes)
    ignore, partly = window.moved(scene.ignore)
    clear = (inside >= 0.5) & (boxes[:, 3] - boxes[:, 1] >= _SMALLEST)
    doubtful = ~clear & (inside > 0.1)
    return Scene(window.cut(scene.image), boxes[clear], np.concatenate([ignore[partly > 0], boxes[doubtful]]))


def _start(low: float, high: float, reach: float, length: int, rng: np.random.Generator) -> float:
    """Where a window of `reach` px begins that shows `low`..`high`, if it can, and little beyond the picture."""
    start, end = sorted((high - reach, low))
    least, most = sorted((0.0, length - reach))
    start, end = float(np.clip(start, least, most)), float(np.clip(end, least, most))
    return start + (end - start) * float(rng.random())


def _ground(sources: Sources, size: int, rng: np.random.Generator) -> Image:
    """A square of a picture without people."""
    image = _one(sources.backgrounds, rng)
    height, width = image.shape[:2]
    reach = float(rng.uniform(0.35, 1.0)) * min(height, width)
    left, top = rng.uniform(0, width - reach), rng.uniform(0, height - reach)
    return _Window(float(left), float(top), size / reach, size / reach, size).cut(image)


def _peopled(scene: Scene, sources: Sources, count: int, rng: np.random.Generator) -> Scene:
    """Paste about `count` people, the farther before the nearer, and things that are nobody."""
    size = scene.image.shape[0]
    bodies = _bodies(sources, count, size, rng)
    things = int(rng.poisson(0.35)) if count else 0
    owner = np.zeros((size, size), np.int16)
    areas: list[float] = []
    for number, (box, pixels) in enumerate(bodies, 1):
        if things and rng.random() < 0.4:
            _thing(scene.image, owner, sources, rng)
            things -= 1
        areas.append(_paste(scene.image, owner, number, box, pixels, rng))
    for _ in range(things):
        _thing(scene.image, owner, sources, rng)
    shares = np.bincount(owner.ravel().clip(0), minlength=len(bodies) + 1)[1:] / np.maximum(areas or [1.0], 1)
    pasted = stacked([np.clip(box, 0, size) for box, _ in bodies])
    shares = shares[: len(bodies)]
    hidden = pasted[(shares >= _VISIBLE / 2) & (shares < _VISIBLE)]
    boxes, ignore = scene.boxes, scene.ignore
    if len(boxes) and bodies:  # who was in the picture before may be hidden now
        covered = np.array(
            [(owner[int(y1) : int(y2) + 1, int(x1) : int(x2) + 1] != 0).mean() for x1, y1, x2, y2 in boxes]
        )
        ignore = np.concatenate([ignore, boxes[(covered >= 0.5) & (covered < 0.8)]])
        boxes = boxes[covered < 0.5]
    people = np.concatenate([boxes, pasted[shares >= _VISIBLE]])
    return Scene(scene.image, people, np.concatenate([ignore, hidden]))


def _bodies(sources: Sources, count: int, size: int, rng: np.random.Generator) -> list[tuple[Floats, Bytes]]:
    """Boxes and pixels of people of about the same height, far to near; small people stand in crowds."""
    grouped = rng.random() < _GROUPS
    largest = 0.4 if grouped else 0.95
    typical = float(np.exp(rng.uniform(np.log(0.06 * size), np.log(largest * size))))
    crowded = 2.0 if grouped else float(np.clip(2.2 - 1.6 * typical / size, 1, 2))
    bodies: list[tuple[Floats, Bytes]] = []
    for _ in range(round(count * crowded)):
        pixels = _person(sources, rng)
        tall = float(np.clip(typical * np.exp(rng.normal(0, 0.08 if grouped else 0.2)), 12, 1.15 * size))
        wide = tall / pixels.shape[0] * float(np.exp(rng.normal(0, 0.06))) * pixels.shape[1]
        bodies.append((_place(tall, wide, bodies, size, rng, grouped), pixels))
    return sorted(bodies, key=lambda body: float(body[0][3]))


def _person(sources: Sources, rng: np.random.Generator) -> Bytes:
    if sources.walkers is not None and (not sources.real or rng.random() < 0.65):
        pixels = sources.walkers[int(rng.integers(len(sources.walkers)))].pixels
    else:
        pixels = _one(sources.real, rng)
    return pixels[:, ::-1] if rng.random() < 0.5 else pixels


def _place(
    tall: float,
    wide: float,
    others: Sequence[tuple[Floats, Bytes]],
    size: int,
    rng: np.random.Generator,
    grouped: bool = False,
) -> Floats:
    """A box for somebody: beside or half behind another, or anywhere; seldom across the border.

    In groups more people stand close together. Before a raised camera one of two stands higher in the picture.
    """
    if others and rng.random() < (0.8 if grouped else 0.55):
        near = others[int(rng.integers(len(others)))][0]
        shift = float(rng.uniform(0.1 if grouped else 0.25, 1.2)) * wide * float(rng.choice((-1, 1)))
        depth = float(rng.normal(0, 0.16 if grouped else 0.06)) * tall
        x, feet = float(near[0] + near[2]) / 2 + shift, float(near[3]) + depth
    else:
        x, feet = float(rng.uniform(0, size)), float(rng.uniform(0.3, 1.05)) * size
    if rng.random() < 0.85:  # whole, if there is room
        x = float(np.clip(x, min(wide / 2, size / 2), max(size - wide / 2, size / 2)))
        feet = float(np.clip(feet, min(tall, size), size))
    else:
        x = float(np.clip(x, 0, size))
        feet = float(np.clip(feet, 0.6 * tall, size + 0.4 * tall))
    return np.array([x - wide / 2, feet - tall, x + wide / 2, feet], np.float32)


def _paste(
    image: Image,
    owner: Owners,
    number: int,
    box: Floats,
    pixels: Bytes,
    rng: np.random.Generator,
) -> int:
    """Draw `pixels` into `box` of the image; return how many px the whole body fills, also beyond the picture."""
    x1, y1 = round(float(box[0])), round(float(box[1]))
    columns, rows = max(2, round(float(box[2] - box[0]))), max(4, round(float(box[3] - box[1])))
    alpha = pixels[..., 3]
    colour = cv2.multiply(pixels[..., :3], cv2.merge([alpha, alpha, alpha]), scale=1 / 255)
    scaled = np.asarray(cv2.resize(np.dstack([colour, alpha]), (columns, rows), interpolation=cv2.INTER_AREA), np.uint8)
    target, part = _overlap(x1, y1, scaled, image.shape[0])
    cover = part[..., 3:].astype(np.uint16)
    gain = int(256 * float(np.exp(rng.normal(0, 0.12))))
    light = np.minimum(part[..., :3].astype(np.uint32) * gain >> 8, cover)
    image[target] = (image[target].astype(np.uint16) * (255 - cover) // 255 + light).astype(np.uint8)
    owner[target][part[..., 3] > 127] = number
    return int(np.count_nonzero(scaled[..., 3] > 127))


def _thing(image: Image, owner: Owners, sources: Sources, rng: np.random.Generator) -> None:
    """Put a post, a sign or a box before whoever is there: a rectangle of another picture or of one colour."""
    size = image.shape[0]
    wide, tall = (float(np.exp(rng.uniform(np.log(low), np.log(high)))) for low, high in ((3, 60), (20, 200)))
    columns, rows = min(int(wide), size - 1), min(int(tall), size - 1)
    x, y = int(rng.integers(0, size - columns)), int(rng.integers(0, size - rows))
    target = np.s_[y : y + rows, x : x + columns]
    if rng.random() < 0.5:
        image[target] = rng.integers(0, 256, 3)
    else:
        other = _one(sources.backgrounds, rng)
        top, left = (int(rng.integers(0, max(1, a - b))) for a, b in zip(other.shape[:2], (rows, columns), strict=True))
        piece = other[top : top + rows, left : left + columns]
        image[y : y + piece.shape[0], x : x + piece.shape[1]] = piece
    owner[target] = -1


def _mirrored(scene: Scene) -> Scene:
    width = scene.image.shape[1]

    def mirror(boxes: Floats) -> Floats:
        return np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], axis=1)

    return Scene(np.ascontiguousarray(scene.image[:, ::-1]), mirror(scene.boxes), mirror(scene.ignore))


def _one(items: Sequence[T], rng: np.random.Generator) -> T:
    return items[int(rng.integers(len(items)))]


def stacked(boxes: Sequence[Floats]) -> Floats:
    """Return boxes (4,) as rows (N, 4), also where there are none."""
    return np.stack(boxes).astype(np.float32) if len(boxes) else np.zeros((0, 4), np.float32)
