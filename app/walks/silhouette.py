"""From a matte to the silhouette of 64x64 px that a gait network sees."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from app.types import Bytes, Floats, Matte, PartMap

# OpenGait drops a mask whose grey levels sum to no more than this, 39 white pixels.
_EMPTY_SUM = 10_000

# Larger mattes are reduced to this many rows, which are four times as many as `normalise` leaves.
_MAX_ROWS = 256

# Lengths are shares of the height of the tracked box, and areas are shares of the area of the body.
_MARGIN = 0.04  # how far a swinging foot or a hat may reach beyond the box
_GAP = 0.04  # widest gap between a body and a part of it, such as a foot whose thin ankle the network lost
_PART_AREA = 0.004  # smaller pieces are noise; a foot seen from the front is about 0.01
_HEAD_AREA = 0.03  # a part above the body must be as large as a head, because it changes the scale of the body
_MIN_ROWS = 0.5  # a body that fills less of its box is a torso or a bag
_MIN_AREA = 0.06  # of the box height squared: half a slim person seen from the side

# Where two boxes overlap, the share of the nearer person reaches this much further, in units of the box width.
_NEARER = 0.2


def normalise(mask: Bytes, size: int = 64) -> Bytes | None:
    """Scale a silhouette to `size` rows and centre it: OpenGait's pre-treatment, bit for bit.

    The rows that have any pixel are cut out and scaled to `size` rows with cubic interpolation, which keeps the aspect
    ratio. The column with half of the mass on each side becomes the centre of a window that is `size` px wide. Zeros
    fill the window where it leaves the picture.

    Args:
        mask: uint8 (H, W), 0 where there is no body.
        size: side of the result in px.

    Returns:
        uint8 (size, size), or None where the mask is (nearly) empty, so that its grey levels sum to at most 10000.

    Source: OpenGait (Fan et al., CVPR 2023), the data preparation it publishes.
    """
    scaled = _scaled(mask, size)
    return None if scaled is None else _centred(scaled[0], scaled[1], size)


def _scaled(mask: Bytes, size: int) -> tuple[Bytes, int, slice] | None:
    """Return the body scaled to `size` rows, the column of its window's left edge, and the rows it was cut from."""
    row_sums = cv2.reduce(mask, 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S)[:, 0]
    if row_sums.sum(dtype=np.int64) <= _EMPTY_SUM:
        return None
    rows = np.flatnonzero(row_sums)
    used = slice(int(rows[0]), int(rows[-1]) + 1)
    body = mask[used]
    width = int(size * (body.shape[1] / body.shape[0]))
    if width < 1:  # a mask more than 64 times as high as wide is no body
        return None
    body = np.asarray(cv2.resize(body, (width, size), interpolation=cv2.INTER_CUBIC), np.uint8)
    mass = np.cumsum(cv2.reduce(body, 0, cv2.REDUCE_SUM, dtype=cv2.CV_32S)[0])
    centre = int(np.searchsorted(mass, mass[-1] / 2, side="right"))
    return body, centre - size // 2, used


def _centred(body: Bytes, left: int, size: int) -> Bytes:
    """Return the columns of `body` from `left` on, (size, size); zeros fill what lies beyond it."""
    result = np.zeros((size, size), np.uint8)
    first, last = max(left, 0), min(left + size, body.shape[1])
    result[:, first - left : last - left] = body[:, first:last]
    return result


def normalise_parts(labels: Bytes, mask: Bytes, size: int = 64) -> Bytes | None:
    """Scale and centre a map of body parts exactly as `normalise` does the silhouette `mask` of the same picture.

    `labels` are those of `app.types.BODY_PARTS`, uint8 (H, W) as the mask. The result, uint8 (size, size), is 0 outside
    of the silhouette, and None where that is (nearly) empty.
    """
    scaled = _scaled(mask, size)
    if scaled is None:
        return None
    body, left, used = scaled
    # The scaled silhouette reaches a little beyond the mask, and what is there belongs to the part beside it.
    reach = 2 * -(-(used.stop - used.start) // size) + 1
    grown = cv2.dilate(labels[used], np.ones((reach, reach), np.uint8))
    inside = np.where(mask[used] > 0, labels[used], np.asarray(grown, np.uint8))
    parts = cv2.resize(inside, (body.shape[1], size), interpolation=cv2.INTER_NEAREST)
    return _centred(np.where(body > 127, np.asarray(parts, np.uint8), np.uint8(0)), left, size)


def cut(matte: Matte, box: Floats, others: Floats, threshold: float) -> Bytes | None:
    """Cut the tracked person out of a matte that may show more than one.

    Four rules, in this order:

    1. Only the tracked box and a small margin count, because pixels beyond belong to nobody who is followed.
    2. Where another tracked box overlaps, each column goes to the person whose middle is closer, in units of the width
       of that person's own box. The person nearer to the camera gets the larger share; that is the one whose box ends
       lower, as both stand on the same ground. `app.walks.quality` drops people who are hidden by more than that.
    3. The largest connected piece is the body. Small pieces are removed wherever they are, because one stray pixel
       above a head would change the scale of the whole silhouette.
    4. Pieces of some size that are very close to the body stay, because the network loses thin ankles and a walk
       without feet has lost its stride. A piece above the body must be as large as a head.

    Args:
        matte: the crop, in frame pixels.
        box: (4,) of the tracked person, px.
        others: (M, 4) boxes of the other tracked people of the frame, px.
        threshold: probability from which a pixel is body, 0..1.

    Returns:
        uint8 (h, w) of 0 and 255, the part of the matte inside the box, reduced to 256 rows where it is larger. None
        where no body is found, or where the body is less than half as high as the box or too thin to be whole.
    """
    height = float(box[3] - box[1])
    left, top, right, bottom = around(box, matte)
    if left >= right or top >= bottom:
        return None
    alpha = matte.alpha[top:bottom, left:right]
    scale = 1.0
    if alpha.shape[0] > _MAX_ROWS:
        scale = _MAX_ROWS / alpha.shape[0]
        size = (max(1, round(alpha.shape[1] * scale)), _MAX_ROWS)
        alpha = np.asarray(cv2.resize(alpha, size, interpolation=cv2.INTER_AREA), np.uint8)
    mask = np.asarray(cv2.threshold(alpha, max(np.ceil(threshold * 255), 1) - 1, 255, cv2.THRESH_BINARY)[1], np.uint8)
    if len(others):
        origin = np.array([matte.left + left, matte.top + top] * 2)
        _give_away(mask, (box - origin) * scale, (others - origin) * scale)
    return _body(mask, height * scale)


def around(box: Floats, matte: Matte) -> tuple[int, int, int, int]:
    """Return the part of a matte that `cut` looks at: its left, top, right and bottom px in the matte."""
    x1, y1, x2, y2 = (float(value) for value in box)
    margin = _MARGIN * (y2 - y1)
    rows, columns = matte.alpha.shape
    return (
        max(int(x1 - margin) - matte.left, 0),
        max(int(y1 - margin) - matte.top, 0),
        min(int(np.ceil(x2 + margin)) - matte.left, columns),
        min(int(np.ceil(y2 + margin)) - matte.top, rows),
    )


def parts_of(found: PartMap, matte: Matte, box: Floats, shape: tuple[int, int]) -> Bytes:
    """Return the labels of what `cut` has made of a matte and a box: uint8 of its `shape` (h, w)."""
    left, top, right, bottom = around(box, matte)
    height, width = matte.alpha.shape
    whole = np.zeros((height, width), np.uint8)
    # Both maps are of the same frame, but their margins may differ.
    across, down = found.left - matte.left, found.top - matte.top
    rows, columns = found.labels.shape
    x1, y1 = max(across, 0), max(down, 0)
    x2, y2 = min(across + columns, width), min(down + rows, height)
    if x1 < x2 and y1 < y2:
        whole[y1:y2, x1:x2] = found.labels[y1 - down : y2 - down, x1 - across : x2 - across]
    inside = whole[top:bottom, left:right]
    rows, columns = shape
    return np.asarray(cv2.resize(inside, (columns, rows), interpolation=cv2.INTER_NEAREST), np.uint8)


def _give_away(mask: Bytes, box: npt.NDArray[np.floating], others: npt.NDArray[np.floating]) -> None:
    """Clear in `mask` the columns of an overlap that belong to somebody else (rule 2)."""
    rows, columns = mask.shape
    x = np.arange(columns) + 0.5
    for other in others:
        left, top, right, bottom = (round(float(value)) for value in other)
        left, top, right, bottom = max(left, 0), max(top, 0), min(right, columns), min(bottom, rows)
        if left >= right or top >= bottom:
            continue
        to_own_middle = abs(x[left:right] - (box[0] + box[2]) / 2) / max(box[2] - box[0], 1)
        to_other_middle = abs(x[left:right] - (other[0] + other[2]) / 2) / max(other[2] - other[0], 1)
        is_other = to_other_middle < to_own_middle + (_NEARER if other[3] > box[3] else -_NEARER)
        mask[top:bottom, left:right][:, is_other] = 0


def _body(mask: Bytes, box_height: float) -> Bytes | None:
    """Keep the largest piece and the parts that belong to it (rules 3 and 4)."""
    count, label_image, values, _ = cv2.connectedComponentsWithStats(mask, connectivity=8, ltype=cv2.CV_16U)
    labels, stats = np.asarray(label_image, np.uint16), np.asarray(values, np.int32)
    if count < 2:
        return None
    areas = stats[1:, cv2.CC_STAT_AREA]
    body = 1 + int(areas.argmax())
    belongs = np.zeros(count, bool)
    belongs[body] = True
    if count > 2:
        parts = [label for label in (1 + np.flatnonzero(areas >= _PART_AREA * areas.max())).tolist() if label != body]
        if parts:
            _add_parts(belongs, parts, labels, stats, body, box_height)
        mask = (belongs.astype(np.uint8) * 255)[labels]
    tops = stats[belongs, cv2.CC_STAT_TOP]
    bottoms = tops + stats[belongs, cv2.CC_STAT_HEIGHT]
    is_whole = bottoms.max() - tops.min() >= _MIN_ROWS * box_height
    is_whole &= stats[belongs, cv2.CC_STAT_AREA].sum() >= _MIN_AREA * box_height**2
    return mask if is_whole else None


def _add_parts(
    belongs: npt.NDArray[np.bool_],
    parts: list[int],
    labels: npt.NDArray[np.uint16],
    stats: npt.NDArray[np.int32],
    body: int,
    box_height: float,
) -> None:
    gap = max(2, round(_GAP * box_height))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * gap + 1, 2 * gap + 1))
    near = np.bincount(labels[cv2.dilate((labels == body).view(np.uint8), kernel) > 0], minlength=len(belongs)) > 0
    for label in parts:
        above = stats[label, cv2.CC_STAT_TOP] + stats[label, cv2.CC_STAT_HEIGHT] <= stats[body, cv2.CC_STAT_TOP]
        smallest = _HEAD_AREA if above else _PART_AREA
        belongs[label] = near[label] and stats[label, cv2.CC_STAT_AREA] >= smallest * stats[body, cv2.CC_STAT_AREA]
