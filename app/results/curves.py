"""Joint angles over the gait cycle as a picture, beside those of most people."""

from __future__ import annotations

import cv2
import numpy as np

from app.body.measures import ANGLES, usual_cycle
from app.types import Floats, Image

_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 400, 320, 52, 40, 40
_RANGES = {"hip": (-35, 45), "knee": (-10, 80), "ankle": (-35, 40)}
_BAND, _OWN, _CYCLE, _INK = (225, 225, 225), (178, 114, 0), (225, 190, 150), (60, 60, 60)
"""Colours, BGR."""


def gait_curves(cycles: Floats) -> Image:
    """Draw the flexion of hip, knee and ankle, 1200x320 px.

    `cycles` (N, 3, 101) are in degrees, from heel contact to heel contact; see `app.body.measures.Gait.cycles`. The
    grey band is the mean of the virtual walkers and twice their spread on both sides; thin lines are the cycles, and
    the thick one is their mean.
    """
    band = usual_cycle()
    panels = [_panel(name, cycles[:, place], band[place]) for place, name in enumerate(ANGLES)]
    return np.concatenate(panels, axis=1)


def _panel(name: str, cycles: Floats, band: Floats) -> Image:
    picture = np.full((_HEIGHT, _WIDTH, 3), 255, np.uint8)
    low, high = _RANGES[name]

    def at(values: Floats) -> np.ndarray:
        x = np.linspace(_LEFT, _WIDTH - 14, len(values))
        y = _HEIGHT - _BOTTOM - (np.clip(values, low, high) - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)
        return np.round(16 * np.stack([x, y], 1)).astype(np.int32)

    edges = [at(band[:, 0] + sign * 2 * band[:, 1]) for sign in (1, -1)]
    cv2.fillPoly(picture, [np.concatenate([edges[0], edges[1][::-1]])], _BAND, cv2.LINE_AA, 4)
    for degrees in range(-20, 81, 20):
        if low <= degrees <= high:
            line = at(np.full(2, degrees, np.float32))
            cv2.polylines(picture, [line], False, (200, 200, 200), 1, cv2.LINE_AA, 4)
            _write(picture, f"{degrees}", (12, int(line[0, 1] / 16) + 4))
    for cycle in cycles:
        cv2.polylines(picture, [at(cycle)], False, _CYCLE, 1, cv2.LINE_AA, 4)
    if len(cycles):
        cv2.polylines(picture, [at(cycles.mean(axis=0))], False, _OWN, 3, cv2.LINE_AA, 4)
    count = f"{len(cycles)} cycles" if len(cycles) != 1 else "1 cycle"
    _write(picture, f"{name}, flexion in degrees ({count})", (_LEFT, 24), 0.5)
    for percent in (0, 50, 100):
        x = _LEFT + percent / 100 * (_WIDTH - 14 - _LEFT)
        _write(picture, f"{percent} %", (int(x) - 12 - percent // 6, _HEIGHT - 16))
    return picture


def _write(picture: Image, text: str, place: tuple[int, int], size: float = 0.42) -> None:
    cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, _INK, 1, cv2.LINE_AA)
