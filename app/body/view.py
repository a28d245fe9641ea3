"""From where a camera sees a walk, in words."""

from __future__ import annotations

from collections.abc import Sequence

from app.types import Measure

AZIMUTH, ELEVATION = "camera azimuth", "camera elevation"
"""Measures in degrees: 0 where the camera is in front of the walker, 90 at their left; and how far it is above them."""
_ABOVE = 45.0
_SIDES = ("the front", "the left", "behind", "the right")


def seen_from(measures: Sequence[Measure]) -> str | None:
    """Return from where the camera sees a walk; None where nobody measured it."""
    known = {measure.name: measure.value for measure in measures}
    if known.get(ELEVATION, 0.0) > _ABOVE:
        return "above"
    return _SIDES[round(known[AZIMUTH] / 90) % 4] if AZIMUTH in known else None
