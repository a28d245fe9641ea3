"""The pictures of the page: of each track its crop, a strip of silhouettes and the gait energy image."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from app.types import Bytes, GaitSequence, Ints

_STRIP, _STRIP_SECONDS = 8, 1.2  # silhouettes over one gait cycle (Winter 1991)
_BODY = slice(10, 54)  # the 44 columns the field keeps of 64
_GREYS = 17  # levels kept in silhouettes, which halves their size


@dataclass(frozen=True)
class TrackPictures:
    """Of one track, ready for the page: `crop` a JPEG; `strip` and `energy` PNGs, transparent where no body is."""

    crop: bytes | None = None
    strip: bytes | None = None
    energy: bytes | None = None


def pictures_of(sequence: GaitSequence | None, crop: bytes | None) -> TrackPictures:
    """Return the pictures of one walk: its crop (a JPEG), and what is drawn from its silhouettes, if it has any."""
    if sequence is None:
        return TrackPictures(crop)
    silhouettes = sequence.silhouettes[:, :, _BODY]
    return TrackPictures(crop, _strip(sequence.frame_indices, silhouettes, sequence.fps), _energy(silhouettes))


def _strip(frames: Ints, silhouettes: Bytes, fps: float) -> bytes:
    """Silhouettes side by side, evenly spread over a gait cycle in the middle of the walk."""
    cycle = np.flatnonzero(np.abs(frames - frames[len(frames) // 2]) <= fps * _STRIP_SECONDS / 2)
    rows = cycle[np.linspace(0, len(cycle) - 1, min(_STRIP, len(cycle))).round().astype(int)]
    return _ink(np.concatenate(list(silhouettes[rows]), axis=1))


def _energy(silhouettes: Bytes) -> bytes:
    """The gait energy image: the mean silhouette (Han and Bhanu 2006)."""
    return _ink(np.round(silhouettes.mean(axis=0)).astype(np.uint8))


def _ink(opacity: Bytes) -> bytes:
    """Return a PNG that is black, `opacity` 0..255 thick."""
    step = 255 / (_GREYS - 1)
    picture = np.zeros((*opacity.shape, 4), np.uint8)
    picture[..., 3] = np.round(np.round(opacity / step) * step)
    return _encoded(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 9])


def _encoded(suffix: str, picture: npt.NDArray[np.uint8], options: list[int]) -> bytes:
    return bytes(cv2.imencode(suffix, picture, options)[1])
