"""Making people unrecognisable in pictures: of heads or whole people, only a few blotches of colour are left."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np

from app.types import Floats, Image

# Blotches across the shorter side of a region. A head is half as wide as its region, so about two fall on the face.
_CELLS = 3
# The size of a head with room for error: a share of the height (a head is 1/7 to 1/8 of it) or, if the legs are out of
# sight, of the width.
_OF_HEIGHT, _OF_WIDTH = 0.2, 0.5
_ROOM = 0.04  # margin around a box in body heights, because boxes may cut hair, hands and feet
_FACE = slice(0, 5)  # nose, eyes and ears of COCO's joints
_SURE = 0.3
_SURE_JOINTS = 2


def head_region(box: Floats, keypoints: Floats | None = None) -> Floats:
    """Return where the head of a person is, generously, float32 (4,) px.

    It is a square around the face, if two joints of it in `keypoints` (17, 3), x, y px and score, are sure; else the
    upper part of the box (4,), in its full width.
    """
    x1, y1, x2, y2 = box.tolist()
    side = max(_OF_HEIGHT * (y2 - y1), _OF_WIDTH * (x2 - x1))
    if keypoints is not None:
        face = keypoints[_FACE]
        sure = face[face[:, 2] >= _SURE, :2]
        if len(sure) >= _SURE_JOINTS:
            x, y = sure.mean(axis=0).tolist()
            half = max(side / 2, float(np.abs(sure - (x, y)).max()) * 1.5)
            return np.array([x - half, y - 1.2 * half, x + half, y + half], np.float32)
    return np.array([x1, y1 - _ROOM * (y2 - y1), x2, y1 + side], np.float32)


def body_region(box: Floats) -> Floats:
    """Return where the whole of a person is, generously: the box, float32 (4,) px, with a margin."""
    room = _ROOM * float(box[3] - box[1])
    return box + np.array([-room, -room, room, room], np.float32)


def blur(image: Image, regions: Iterable[Floats]) -> Image:
    """Blur the `regions`, float32 (4,) x1, y1, x2, y2 px each, of `image` itself, uint8 (H, W, 3), and return it.

    Only the mean colours of a few cells are left, three of them across the shorter side of a region. The picture no
    longer holds what would be needed to undo this. Regions may reach beyond the picture.
    """
    height, width = image.shape[:2]
    for region in regions:
        x1, y1 = np.floor(region[:2]).astype(int).clip(0, (width, height)).tolist()
        x2, y2 = np.ceil(region[2:]).astype(int).clip(0, (width, height)).tolist()
        if x1 >= x2 or y1 >= y2:
            continue
        area = image[y1:y2, x1:x2]
        size = np.array([x2 - x1, y2 - y1])
        cells = np.minimum(np.maximum(1, np.round(_CELLS * size / size.min())), size).astype(int)
        means = cv2.resize(area, cells.tolist(), interpolation=cv2.INTER_AREA)
        area[:] = cv2.resize(means, size.tolist(), interpolation=cv2.INTER_LINEAR)
    return image
