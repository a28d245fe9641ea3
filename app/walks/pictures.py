"""Pictures of a walk in colour, for networks that look at more than outlines."""

from __future__ import annotations

import cv2
import numpy as np

from app.types import PICTURE, Bytes, Floats, Image, Matte
from app.walks.silhouette import around

MOST = 64
"""Most frames of a walk that has pictures. A network that looks at them takes about a second for each on a CPU."""


def picture(image: Image, box: Floats, matte: Matte, mask: Bytes) -> tuple[Bytes, float]:
    """Cut a person out of a frame, BGR, in colour: uint8 (256, 128, 4), red, green, blue and the silhouette.

    The box (4,) px is brought to 256 rows without changing its shape, in the middle of 128 columns. What is wider is
    cut off, and what is missing is black. So BiggerGait (NeurIPS 2025) takes pictures. `mask` is the silhouette that
    `app.walks.silhouette.cut` has made of `matte` and `box`. Also returns how wide the box is, divided by its height,
    at most a half.
    """
    rows, columns = PICTURE
    height, width = image.shape[:2]
    left, top = max(int(box[0]), 0), max(int(box[1]), 0)
    right, bottom = min(int(np.ceil(box[2])), width), min(int(np.ceil(box[3])), height)
    inner = around(box, matte)
    alpha = np.asarray(cv2.resize(mask, (inner[2] - inner[0], inner[3] - inner[1])), np.uint8)
    # The silhouette reaches a little beyond the box, and may end before it at the edge of the matte.
    x, y = matte.left + inner[0], matte.top + inner[1]
    body = np.zeros((bottom - top, right - left), np.uint8)
    seen = alpha[max(top - y, 0) : bottom - y, max(left - x, 0) : right - x]
    down, across = max(y - top, 0), max(x - left, 0)
    body[down : down + seen.shape[0], across : across + seen.shape[1]] = seen
    pixels = np.dstack([image[top:bottom, left:right, ::-1], body])
    shape = (right - left) / (bottom - top)
    size = (max(1, round(rows * shape)), rows)
    way = cv2.INTER_AREA if bottom - top > rows else cv2.INTER_LINEAR
    scaled = np.asarray(cv2.resize(pixels, size, interpolation=way), np.uint8)
    found = np.zeros((rows, columns, 4), np.uint8)
    used = min(size[0], columns)
    cut = (size[0] - used) // 2
    margin = (columns - used) // 2
    found[:, margin : margin + used] = scaled[:, cut : cut + used]
    return found, used / rows
