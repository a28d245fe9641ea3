"""Real pictures with people in them, as the training of detector, segmenter and pose network reads them.

The folder holds ``coco/labels.json`` with ``coco/images/``, ``coco/backgrounds/`` (no people), ``intel/*.gif`` and
``textures/*.png``. Labels are COCO's (Lin et al. 2014): for each picture its size, whether every person is labelled
(`complete`), and of every person ``bbox`` (x, y, width, height px), polygons ``seg``, 17 keypoints ``kp``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
"""Ids of the 40 pictures for validation: every fifth of the sorted ids. No training sees them."""


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


def read_photos(folder: Path, held_out: bool) -> list[Photo]:
    """Return the labelled pictures of `folder`: those held out for validation, or the others.

    Raises:
        SettingsError: there are none, or the labels are not understood.
    """
    labels = folder / "coco" / "labels.json"
    try:
        content = json.loads(labels.read_text(encoding="utf-8"))
        return [
            Photo(
                name,
                labels.parent / "images" / f"{name}.jpg",
                int(entry["w"]),
                int(entry["h"]),
                tuple(_person(person) for person in entry["persons"]),
                bool(entry["complete"]),
            )
            for name, entry in sorted(content.items())
            if (name in HELD_OUT) is held_out
        ]
    except OSError as error:
        raise SettingsError(f"There are no labelled pictures: {labels} cannot be read ({error.strerror}).") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SettingsError(f"{labels} is not understood: {error!r}. See app/lab/synthesis/photos.py.") from error


def _person(entry: dict[str, Any]) -> Annotated:
    x, y, width, height = entry["bbox"]
    points = entry.get("kp")
    return Annotated(
        np.array([x, y, x + width, y + height], np.float32),
        tuple(np.asarray(polygon, np.float32).reshape(-1, 2) for polygon in entry.get("seg") or ()),
        None if points is None else np.asarray(points, np.float32).reshape(17, 3),
        bool(entry.get("crowd", False)),
        bool(entry.get("full", False)),
    )


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
