"""Colours of people and their clothes, BGR 0 to 1."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

Colour: TypeAlias = tuple[float, float, float]

TOPS: tuple[Colour, ...] = (
    (0.92, 0.92, 0.91), (0.80, 0.80, 0.78), (0.22, 0.21, 0.21), (0.12, 0.12, 0.13), (0.48, 0.28, 0.16),
    (0.62, 0.42, 0.24), (0.72, 0.60, 0.42), (0.24, 0.20, 0.58), (0.20, 0.18, 0.75), (0.30, 0.48, 0.82),
    (0.30, 0.70, 0.86), (0.32, 0.44, 0.28), (0.42, 0.58, 0.40), (0.52, 0.52, 0.30), (0.60, 0.46, 0.66),
    (0.70, 0.62, 0.82), (0.46, 0.30, 0.42), (0.66, 0.72, 0.80), (0.35, 0.42, 0.55), (0.52, 0.52, 0.52),
)  # fmt: skip
BOTTOMS: tuple[Colour, ...] = (
    (0.36, 0.25, 0.17), (0.26, 0.17, 0.12), (0.50, 0.38, 0.28), (0.13, 0.12, 0.12), (0.30, 0.29, 0.28),
    (0.42, 0.54, 0.64), (0.28, 0.36, 0.44), (0.22, 0.28, 0.26), (0.55, 0.62, 0.68), (0.18, 0.18, 0.22),
)  # fmt: skip
COATS: tuple[Colour, ...] = (
    (0.14, 0.14, 0.15), (0.30, 0.22, 0.16), (0.44, 0.58, 0.68), (0.22, 0.30, 0.26), (0.20, 0.16, 0.42),
    (0.40, 0.40, 0.41), (0.24, 0.34, 0.46), (0.22, 0.56, 0.74),
)  # fmt: skip
SHOES: tuple[Colour, ...] = (
    (0.10, 0.10, 0.10), (0.14, 0.18, 0.26), (0.85, 0.85, 0.84), (0.42, 0.42, 0.42), (0.35, 0.22, 0.16),
)  # fmt: skip
BAGS: tuple[Colour, ...] = (
    (0.12, 0.12, 0.13), (0.16, 0.22, 0.42), (0.46, 0.28, 0.16), (0.20, 0.18, 0.62), (0.30, 0.42, 0.30),
    (0.26, 0.50, 0.72),
)  # fmt: skip
_HAIRS: tuple[Colour, ...] = (
    (0.06, 0.06, 0.07), (0.09, 0.12, 0.18), (0.14, 0.22, 0.36), (0.32, 0.50, 0.66), (0.16, 0.26, 0.50),
    (0.55, 0.55, 0.55), (0.78, 0.78, 0.78),
)  # fmt: skip
_HAIR_SHARES = {
    "light skin": (0.34, 0.27, 0.20, 0.12, 0.05, 0.02, 0.0),
    "dark skin": (0.68, 0.26, 0.03, 0.0, 0.0, 0.03, 0.0),
    "old": (0.12, 0.12, 0.08, 0.06, 0.0, 0.36, 0.26),
}
# Light to dark; the ends of the range as on Monk's skin-tone scale, approximately.
_TONES: tuple[Colour, ...] = (
    (0.70, 0.78, 0.90), (0.63, 0.74, 0.89), (0.56, 0.69, 0.86), (0.48, 0.62, 0.81), (0.42, 0.56, 0.74),
    (0.34, 0.47, 0.65), (0.26, 0.37, 0.53), (0.19, 0.28, 0.42), (0.15, 0.21, 0.32),
)  # fmt: skip


def skin_colour(tone: float) -> Colour:
    """Return the colour of a skin `tone` from 0 (light) to 1 (dark)."""
    place = tone * (len(_TONES) - 1)
    b, g, r = (float(np.interp(place, np.arange(len(_TONES)), channel)) for channel in np.transpose(_TONES))
    return b, g, r


def hair_colour(rng: np.random.Generator, tone: float, age: float) -> Colour:
    """Draw the colour of somebody's hair, by the tone of their skin and their age in years."""
    group = "old" if age > 57 else "dark skin" if tone > 0.45 else "light skin"
    b, g, r = rng.choice(np.array(_HAIRS), p=_HAIR_SHARES[group]).tolist()
    return b, g, r


def lighter(colour: Colour, factor: float) -> Colour:
    """Return `colour` about `factor` times as bright."""
    b, g, r = (min(1.0, channel * factor + 0.02) for channel in colour)
    return b, g, r
