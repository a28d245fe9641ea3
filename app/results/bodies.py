"""How somebody walks, for people to look at: the body from three sides, angles over the gait cycle, and figures."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from app.body.kinematics import at_frames
from app.body.measures import Gait
from app.body.render import Body
from app.results.curves import gait_curves
from app.types import BodyMotion, Image

_VIEWS = {"side": (90.0, 4.0), "front": (0.0, 4.0), "top": (90.0, 86.0)}
"""Azimuth and elevation of the views, degrees."""
_COLOUR = (0, 114, 178)
_WIDTH = 760


def body_picture(motion: BodyMotion, gait: Gait) -> bytes:
    """Return the body from three sides, and below it the angles over the gait cycle, as a JPEG."""
    rows = [views_of(motion, _COLOUR), gait_curves(gait.cycles())]
    scaled = [
        cv2.resize(row, (_WIDTH, round(row.shape[0] * _WIDTH / row.shape[1])), interpolation=cv2.INTER_AREA)
        for row in rows
    ]
    return cv2.imencode(".jpg", np.concatenate(scaled), [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()


def views_of(motion: BodyMotion, colour: Sequence[int], columns: int = 8, size: int = 220) -> Image:
    """Return rows of pictures over about one gait cycle from the side, the front and the top."""
    first, last = motion.frame_indices[[0, -1]].tolist()
    middle, cycle = (first + last) / 2, min(1.1 * motion.fps, last - first)
    frames = np.round(middle - cycle / 2 + cycle * np.arange(columns) / columns).astype(np.int64)
    order, back = np.unique(np.clip(frames, first, last), return_inverse=True)
    shown = Body(at_frames(motion, order))
    rows = []
    for azimuth, elevation in _VIEWS.values():
        row = [shown.seen(int(i), np.radians(azimuth), np.radians(elevation), size, colour) for i in back]
        rows.append(np.concatenate([picture[:, size // 6 : -size // 6] for picture in row], 1))
    return np.concatenate(rows)
