"""The pictures of each track on the page: its crop, a strip of silhouettes and the gait energy image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from app.results.gait_table import read_gait_table
from app.types import Bytes, GaitSequence, Ints, Measure

_STRIP, _STRIP_SECONDS = 8, 1.2  # silhouettes over one gait cycle (Winter 1991)
_FEW = 3  # silhouettes where they stand for a photograph
_BODY = slice(10, 54)  # gait recognition usually keeps these 44 of 64 columns
_GREYS = 17  # grey levels that are kept, which halves the size of the pictures

_PART_COLOURS = np.array(
    [
        (90, 90, 90), (60, 20, 220), (80, 160, 60), (220, 130, 40), (0, 150, 230), (200, 60, 200), (130, 40, 130),
        (180, 160, 20), (20, 90, 220), (110, 110, 0), (20, 60, 130), (160, 150, 220),
    ],
    np.uint8,
)  # fmt: skip
"""BGR of what is no body part, and of each of `app.types.BODY_PARTS`."""


@dataclass(frozen=True)
class TrackPictures:
    """The pictures of one track: `crop` is a JPEG, `strip` and `energy` are PNGs, transparent beside the body.

    `body` is a JPEG of the body in space, and `gait` holds the names and texts of figures of how it walks; where nobody
    fitted a body, there are none.
    """

    crop: bytes | None = None
    strip: bytes | None = None
    energy: bytes | None = None
    body: bytes | None = None
    gait: Sequence[tuple[str, str]] = ()


def pictures_of(folder: Path, tracks: Mapping[int, GaitSequence | None]) -> dict[int, TrackPictures]:
    """Return the pictures of tracks: those that a run has written into `folder`, and those made from silhouettes.

    The folder holds ``N.jpg``, the best picture of track N, and where bodies were fitted ``N-body.jpg`` and
    ``gait.csv`` (`app.results.bodies`). Each of them may be missing. A track is None where nothing could be cut out.
    """
    figures = read_gait_table(folder / "gait.csv")
    found = {}
    for number, sequence in tracks.items():
        crop, body = (
            path.read_bytes() if path.is_file() else None
            for path in (folder / f"{number}.jpg", folder / f"{number}-body.jpg")
        )
        strip = energy = None
        if sequence is not None:
            silhouettes = sequence.silhouettes[:, :, _BODY]
            parts = None if sequence.parts is None else sequence.parts[:, :, _BODY]
            strip = _strip(sequence.frame_indices, silhouettes, parts, sequence.fps)
            energy = _ink(np.round(silhouettes.mean(axis=0)).astype(np.uint8))  # gait energy image, Han and Bhanu 2006
        gait = tuple((measure.name, _text(measure)) for measure in figures.get(number, ()))
        found[number] = TrackPictures(crop, strip, energy, body, gait)
    return found


def _text(measure: Measure) -> str:
    text = f"{measure.value:.3g}"
    if measure.uncertainty:
        text += f" ± {measure.uncertainty:.1g}"
    text += f" {measure.unit}"
    if measure.left is not None and measure.right is not None and "asymmetry" not in measure.name:
        text += f", left {measure.left:.3g}, right {measure.right:.3g}"
    return text


def _strip(frames: Ints, silhouettes: Bytes, parts: Bytes | None, fps: float) -> bytes:
    """Return silhouettes side by side, evenly spread over a gait cycle in the middle of the walk.

    Where body parts are known, each has its colour.
    """
    rows = _over_a_cycle(frames, fps, _STRIP)
    opacity = np.concatenate(list(silhouettes[rows]), axis=1)
    if parts is None:
        return _ink(opacity)
    return _ink(opacity, _PART_COLOURS[np.concatenate(list(parts[rows]), axis=1)])


def _over_a_cycle(frames: Ints, fps: float, most: int) -> Ints:
    """Return up to `most` places in a walk, evenly spread over a gait cycle in its middle."""
    cycle = np.flatnonzero(np.abs(frames - frames[len(frames) // 2]) <= fps * _STRIP_SECONDS / 2)
    places: Ints = cycle[np.linspace(0, len(cycle) - 1, min(most, len(cycle))).round().astype(int)]
    return places


def silhouettes_jpeg(sequence: GaitSequence) -> bytes:
    """Return a few silhouettes of a walk side by side, dark on a light ground, as a JPEG."""
    rows = _over_a_cycle(sequence.frame_indices, sequence.fps, _FEW)
    picture = 255 - np.concatenate(list(sequence.silhouettes[rows][:, :, _BODY]), axis=1) // 5 * 4
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()


def _ink(opacity: Bytes, colours: Bytes | None = None) -> bytes:
    """Return a PNG with this `opacity`, 0..255, black or in `colours`, BGR (h, w, 3)."""
    step = 255 / (_GREYS - 1)
    picture = np.zeros((*opacity.shape, 4), np.uint8)
    if colours is not None:
        picture[..., :3] = colours
    picture[..., 3] = np.round(np.round(opacity / step) * step)
    return cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes()
