"""Real pictures with people in them, as the training of detector, segmenter and pose network reads them.

The folder holds ``coco/labels.json`` with ``coco/images/``, ``coco_val/`` of the same form (either may be missing),
``coco/backgrounds/`` (no people), ``intel/*.gif`` and ``textures/*.png``. Labels are COCO's (Lin et al.
2014): for each picture its size, whether every person is labelled (`complete`), and of every person ``bbox`` (x, y,
width, height px), polygons ``seg``, 17 keypoints ``kp``, and whether it is a ``crowd`` and seen in ``full``.

The last two are not marked in ``coco_val``; there they follow from the other labels (`_shows_everything`, `_is_crowd`).
On the 883 people of ``coco`` these rules give the same answer as the marks for every ``full``, and find no crowd that
is not marked.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import cv2
import numpy as np

from app.errors import SettingsError
from app.types import Bools, Floats, Image

_IDS = """
000000000049 000000000113 000000000151 000000000294 000000000360 000000000397 000000000471 000000000532
000000000572 000000000872 000000001761 000000002685 000000005060 000000006471 000000007816 000000009400
000000010707 000000011511 000000012576 000000017627 000000060623 000000105912 000000125870 000000145311
000000167572 000000194875 000000214704 000000231460 000000252639 000000288685 000000312489 000000337264
000000350679 000000370208 000000397133 000000423617 000000434204 000000458045 000000519208 000000536038
"""
HELD_OUT = frozenset(_IDS.split())
"""Ids of the 40 pictures of ``coco`` for validation: every fifth of the sorted ids. No training sees them."""
VAL_SHARE = 12
"""One in so many pictures of ``coco_val`` is for validation (see `held_out_part`). No training sees those either."""

HeldOut: TypeAlias = Literal["forty", "val"]
"""The two sets of held-out pictures: `HELD_OUT` of ``coco``, and one in `VAL_SHARE` of ``coco_val``."""

_CROWDED = 14
"""COCO's labels name at most 13 people of a picture; the 14th box is a crowd."""


@dataclass(frozen=True, eq=False)
class Annotated:
    """A labelled person.

    `box` float32 (4,) x1, y1, x2, y2 px; `polygons` float32 (n, 2) px each, empty where there are none; `keypoints`
    float32 (17, 3) x, y px and 0 not labelled, 1 hidden, 2 visible, or None; `crowd` says that the box holds a group;
    `full` says that the picture shows the person from head to foot.
    """

    box: Floats
    polygons: tuple[Floats, ...]
    keypoints: Floats | None
    crowd: bool
    full: bool

    def mask(self, height: int, width: int) -> Bools | None:
        """The person's pixels, (height, width), or None without polygons."""
        if not self.polygons:
            return None
        mask = np.zeros((height, width), np.uint8)
        cv2.fillPoly(mask, [np.round(polygon).astype(np.int32) for polygon in self.polygons], 1)
        return mask.astype(bool)


@dataclass(frozen=True, eq=False)
class Photo:
    """A picture and its labelled people. Where it is not `complete`, it also shows people without labels."""

    id: str
    path: Path
    width: int
    height: int
    people: tuple[Annotated, ...]
    complete: bool

    def read(self) -> Image:
        """The picture, uint8 BGR (height, width, 3)."""
        return read_image(self.path)


def read_image(path: Path) -> Image:
    """Read a picture, uint8 BGR (H, W, 3); `SettingsError` where it cannot be."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise SettingsError(f"The picture {path} cannot be read. Is it there, and is it an image?")
    return np.asarray(image, np.uint8)


def held_out_part(source: str, name: str) -> HeldOut | None:
    """Return the set of held-out pictures that a picture belongs to, or None if trainings may see it.

    `source` is the folder it is from, ``coco`` or ``coco_val``, and `name` its id, twelve digits. Of ``coco_val`` those
    are held out whose SHA-256 is a multiple of `VAL_SHARE`.
    """
    if source == "coco":
        return "forty" if name in HELD_OUT else None
    return "val" if int(hashlib.sha256(name.encode()).hexdigest(), 16) % VAL_SHARE == 0 else None


def read_photos(folder: Path, held_out: HeldOut | None) -> list[Photo]:
    """Return the labelled pictures of ``coco`` and, where it is there, ``coco_val`` in `folder`.

    They are those of the set for validation `held_out`; None: all that trainings may see.

    Raises:
        SettingsError: there are none, or the labels are not understood.
    """
    present = [source for source in ("coco", "coco_val") if (folder / source).is_dir()] or ["coco"]
    photos = [photo for source in present for photo in _labelled(folder, source, held_out)]
    if not photos:
        part = "for training" if held_out is None else f"of the held-out set {held_out!r}"
        raise SettingsError(f"There are no labelled pictures {part} in {folder}. See app/lab/synthesis/photos.py.")
    return photos


def _labelled(folder: Path, source: str, held_out: HeldOut | None) -> list[Photo]:
    labels = folder / source / "labels.json"
    try:
        content = json.loads(labels.read_text(encoding="utf-8"))
        return [
            Photo(
                name,
                labels.parent / "images" / f"{name}.jpg",
                int(entry["w"]),
                int(entry["h"]),
                _people(entry["persons"]),
                bool(entry["complete"]),
            )
            for name, entry in sorted(content.items())
            if held_out_part(source, name) == held_out
        ]
    except OSError as error:
        raise SettingsError(f"There are no labelled pictures: {labels} cannot be read ({error.strerror}).") from error
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise SettingsError(f"{labels} is not understood: {error!r}. See app/lab/synthesis/photos.py.") from error


def _people(entries: Sequence[dict[str, Any]]) -> tuple[Annotated, ...]:
    sides = np.array([entry["bbox"] for entry in entries], np.float32).reshape(-1, 4)
    boxes = np.hstack([sides[:, :2], sides[:, :2] + sides[:, 2:]])
    people = []
    for number, entry in enumerate(entries):
        points = entry.get("kp")
        keypoints = None if points is None else np.asarray(points, np.float32).reshape(17, 3)
        outline = tuple(np.asarray(polygon, np.float32).reshape(-1, 2) for polygon in entry.get("seg") or ())
        single = keypoints is not None or bool(outline)
        crowd = bool(entry.get("crowd", not single and _is_crowd(boxes, number)))
        full = bool(entry.get("full", keypoints is not None and _shows_everything(sides[number], keypoints)))
        people.append(Annotated(boxes[number], outline, keypoints, crowd, full))
    return tuple(people)


def _is_crowd(boxes: Floats, number: int) -> bool:
    """Whether a box without keypoints and outline, of all `boxes` (N, 4) of a picture, is that of a crowd.

    It is if it is the 14th, or if at least three boxes half as large or smaller lie in it, each with 0.7 of its area.
    COCO gives a crowd neither keypoints nor polygons, and names it last.
    """
    if number == _CROWDED - 1:
        return True
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    shared = np.minimum(boxes[:, 2:], boxes[number, 2:]) - np.maximum(boxes[:, :2], boxes[number, :2])
    within = np.prod(shared.clip(0), axis=1) > 0.7 * areas
    return int((within & (areas < 0.5 * areas[number])).sum()) >= 3


def _shows_everything(side: Floats, keypoints: Floats) -> bool:
    """Whether somebody is seen from head to foot: `side` x, y, width, height px; `keypoints` (17, 3).

    Some point of the head and both shoulders, hips and ankles are labelled, and the box is at least 80 px high and 1.3
    times as high as wide.
    """
    known = keypoints[:, 2] > 0
    parts = known[:5].any() and known[5:7].all() and known[11:13].all() and known[15:].all()
    return bool(parts and side[3] >= 80 and side[3] >= 1.3 * side[2])


def read_backgrounds(folder: Path) -> list[Path]:
    """Return the pictures without people; `SettingsError` where there are none."""
    paths = sorted((folder / "coco" / "backgrounds").glob("*.jpg"))
    if not paths:
        raise SettingsError(
            f"There are no pictures in {folder / 'coco' / 'backgrounds'}: put pictures without people there."
        )
    return paths


def read_textures(folder: Path) -> list[Path]:
    """Return the pictures of plain surfaces."""
    return sorted((folder / "textures").glob("*.png"))


def read_grounds(folder: Path) -> list[Image]:
    """Read the pictures without people, and those of plain surfaces."""
    return [read_image(path) for path in (*read_backgrounds(folder), *read_textures(folder))]


def frames_of(path: Path, every: int) -> list[Image]:
    """Return every `every`-th picture of a clip (also an animated GIF), uint8 BGR."""
    from app.video.reader import VideoReader

    with VideoReader(path) as reader:
        return [frame.image for frame in reader if frame.index % every == 0]
